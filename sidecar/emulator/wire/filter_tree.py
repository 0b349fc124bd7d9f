"""What an OData filter says, as a tree. `filter.py` reads it from text, `filter_rules.py` makes a question of it.

Source: OASIS "OData Version 4.01, Part 2: URL Conventions", 5.1.1.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

COMPARISONS = ("eq", "ne", "gt", "ge", "lt", "le")


class LiteralKind(Enum):
    """What a constant in a filter is, by its OData type."""

    STRING = "Edm.String"
    NUMBER = "Edm.Int32"
    BOOLEAN = "Edm.Boolean"
    INSTANT = "Edm.DateTimeOffset"
    DATE = "Edm.Date"
    ENUM = "Enum"
    NULL = "Null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """A constant; instants are aware, UTC if nothing else was written."""

    kind: LiteralKind
    value: str | float | bool | datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A property, or a part of one."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join(self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two sides and one of `COMPARISONS`."""

    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """`left in (options)`."""

    left: "Expression"
    options: tuple["Expression", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Junction:
    """What `and`, or `or`, joins: two operands or more."""

    is_and: bool
    operands: tuple["Expression", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Negation:
    """`not operand`."""

    operand: "Expression"


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """A function and its arguments; the name is lower case."""

    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lambda:
    """`collection/any(variable: body)`, or `all`; without a body `any` asks whether there is an element."""

    collection: Path
    is_any: bool
    variable: str
    body: "Expression | None"


Expression = Literal | Path | Comparison | Membership | Junction | Negation | FunctionCall | Lambda
