"""Which names and operators a filter may use, and how they are read from an item. What they mean is in `filter_rules.py`.

Source: Graph "Use the $filter query parameter" page; type names are the v1.0 metadata's.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sidecar.emulator.wire.filter_tree import COMPARISONS

Item = Any  # Any: whatever the fields read from
TEXT_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "startswith": lambda text, part: text.startswith(part),
    "endswith": lambda text, part: text.endswith(part),
}
EVERY_OPERATOR = frozenset({*COMPARISONS, *TEXT_TESTS, "in", "not"})


class FieldKind(Enum):
    """What a property can be compared with."""

    TEXT = "text"
    KEY = "key"
    """A text with a normal form of its own, given by the field's `convert`; equal or not, nothing else."""
    ENUM = "enum"
    FLAG = "flag"
    NUMBER = "number"
    INSTANT = "instant"
    WALL_TIME = "wall time"
    """`dateTime` of a dateTimeTimeZone: a text by its type, compared as the moment it names."""

    @property
    def type_name(self) -> str:
        """Give the OData type, as refusals name it."""
        return _TYPE_NAMES.get(self, "Edm.String")


_TYPE_NAMES = {
    FieldKind.ENUM: "Edm.Enum",
    FieldKind.FLAG: "Edm.Boolean",
    FieldKind.NUMBER: "Edm.Int32",
    FieldKind.INSTANT: "Edm.DateTimeOffset",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A property a filter may name: its kind, and how to read it in the form it is compared in."""

    kind: FieldKind
    read: Callable[[Item], Any]  # Any: by kind; texts in any case
    members: Collection[str] = ()
    """Of an enumeration."""
    convert: Callable[[str], str] = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    """A collection a lambda may walk: its elements and their fields; "" is the element itself."""

    read: Callable[[Item], Iterable[Item]]
    fields: Mapping[str, Field]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The names of one type, lower case: what a filter may use, and what exists besides."""

    type_name: str
    fields: Mapping[str, Field]
    many: Mapping[str, Many] = field(default_factory=dict)
    others: frozenset[str] | None = frozenset()
    """Properties that exist and are not played in filters; None where it is not known which exist."""
    operators: frozenset[str] = EVERY_OPERATOR
    """Comparisons, other operators and functions that are played; Graph differs from resource to resource."""
