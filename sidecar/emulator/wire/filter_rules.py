"""What a filter means: names get types, and the tree becomes a question that can be put to an item.

Types are checked when the question is built, so that a wrong filter is refused over an empty calendar too. Texts are compared
without regard to case, as Exchange compares them; null equals null only and is neither more nor less than anything.

Source: OASIS "OData Version 4.01, Part 2: URL Conventions", 5.1.1; refusals are worded as those of Microsoft's OData library.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.wire.filter import parse_filter, refuse_filter
from sidecar.emulator.wire.filter_tree import (
    Comparison,
    Expression,
    FunctionCall,
    Junction,
    Lambda,
    Literal,
    LiteralKind,
    Membership,
    Negation,
    Path,
)
from sidecar.emulator.wire.filter_vocabulary import TEXT_TESTS, Field, FieldKind, Item, Many, Vocabulary
from sidecar.emulator.zones import parse_local

Question = Callable[[Item, Item], bool]  # of an item and, inside a lambda, the element at hand
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {  # Any: both sides have one type, checked before
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_OPERATOR_NAMES = {
    "eq": "Equal",
    "ne": "NotEqual",
    "gt": "GreaterThan",
    "ge": "GreaterThanOrEqual",
    "lt": "LessThan",
    "le": "LessThanOrEqual",
}
_MIRRORED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}
_OTHER_FUNCTIONS = frozenset(
    """concat indexof length substring tolower toupper trim matchespattern year month day hour minute second
    fractionalseconds date time totaloffsetminutes now mindatetime maxdatetime totalseconds round floor ceiling cast isof
    substringof""".split()  # noqa: SIM905  (a list of names is easier to read)
)


def build_question(text: str, vocabulary: Vocabulary) -> Callable[[Item], bool]:
    """Turn a filter into a question to an item.

    Raises:
        GraphError: 400 for a filter Graph would refuse, 501 for one the emulator does not play.
    """
    question = _Builder(vocabulary).build(parse_filter(text))
    return lambda item: question(item, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """A field, and whether it is read from the element a lambda is at."""

    field: Field
    of_element: bool

    def reader(self) -> Callable[[Item, Item], Any]:  # Any: as `Field.read`
        read = self.field.read
        if self.field.kind in (FieldKind.TEXT, FieldKind.ENUM):
            if self.of_element:
                return lambda item, one: _folded(read(one))
            return lambda item, one: _folded(read(item))
        if self.of_element:
            return lambda item, one: read(one)
        return lambda item, one: read(item)


class _Builder:
    def __init__(self, vocabulary: Vocabulary, variable: str = "", element: Many | None = None) -> None:
        self._vocabulary = vocabulary
        self._variable = variable
        self._element = element

    def build(self, node: Expression) -> Question:
        match node:
            case Junction():
                return self._junction(node)
            case Negation():
                self._check_played("not")
                operand = self.build(node.operand)
                return lambda item, one: not operand(item, one)
            case Comparison():
                return self._comparison(node)
            case Membership():
                self._check_played("in")
                return self._membership(node)
            case FunctionCall():
                return self._call(node)
            case Lambda():
                return self._lambda(node)
            case Path():
                flag = self._subject(node)
                if flag.field.kind is not FieldKind.FLAG:
                    raise refuse_filter("The $filter expression must evaluate to a single boolean value.")
                return self._test(flag, "eq", Literal(kind=LiteralKind.BOOLEAN, value=True))
            case Literal(kind=LiteralKind.BOOLEAN):
                return lambda item, one: bool(node.value)
            case _:
                raise refuse_filter("The $filter expression must evaluate to a single boolean value.")

    def _junction(self, node: Junction) -> Question:
        operands = [self.build(one) for one in node.operands]
        quantify = all if node.is_and else any
        return lambda item, one: quantify(operand(item, one) for operand in operands)

    def _membership(self, node: Membership) -> Question:
        subject, literals = self._subject(node.left), [self._literal(one) for one in node.options]
        wanted = frozenset(
            None if one.kind is LiteralKind.NULL else _wanted(subject.field, "eq", one) for one in literals
        )
        read = subject.reader()
        return lambda item, one: read(item, one) in wanted

    def _comparison(self, node: Comparison) -> Question:
        left, right, sign = node.left, node.right, node.operator
        self._check_played(sign)
        if isinstance(left, Literal) and not isinstance(right, Literal):
            left, right, sign = right, left, _MIRRORED.get(sign, sign)
        return self._test(self._subject(left), sign, self._literal(right))

    def _subject(self, node: Expression) -> "_Subject":
        if isinstance(node, FunctionCall):
            raise self._no_function(node)
        if not isinstance(node, Path):
            raise NotEmulated("a filter that compares anything but a property with a constant")
        names = [name.lower() for name in node.names]
        if self._element is not None and node.names[0] == self._variable:
            found = self._element.fields.get("/".join(names[1:]))
            if found is None:
                raise NotEmulated(f"a filter on {str(node)!r} of a collection")
            return _Subject(field=found, of_element=True)
        found = self._vocabulary.fields.get("/".join(names))
        if found is None:
            raise self._no_name(node)
        return _Subject(field=found, of_element=False)

    def _no_name(self, node: Path) -> GraphError:
        known, others = (*self._vocabulary.fields, *self._vocabulary.many), self._vocabulary.others
        if others is None or node.names[0].lower() in others | {name.split("/")[0] for name in known}:
            return NotEmulated(f"a filter on the property {str(node)!r}")
        return refuse_filter(
            f"Could not find a property named '{node.names[0]}' on type '{self._vocabulary.type_name}'."
        )

    def _literal(self, node: Expression) -> Literal:
        if isinstance(node, FunctionCall):
            raise self._no_function(node)
        if not isinstance(node, Literal):
            raise NotEmulated("a filter that compares two properties")
        return node

    def _test(self, subject: "_Subject", sign: str, literal: Literal) -> Question:
        read = subject.reader()
        if literal.kind is LiteralKind.NULL:
            if sign not in ("eq", "ne"):
                return lambda item, one: False
            return lambda item, one: (read(item, one) is None) == (sign == "eq")
        wanted, compare = _wanted(subject.field, sign, literal), _OPERATORS[sign]
        if sign == "ne":
            return lambda item, one: read(item, one) != wanted

        def ask(item: Item, one: Item) -> bool:
            value = read(item, one)
            return value is not None and compare(value, wanted)

        return ask

    def _call(self, node: FunctionCall) -> Question:
        test = TEXT_TESTS.get(node.name)
        if test is None:
            raise self._no_function(node)
        self._check_played(node.name)
        if len(node.arguments) != 2:
            raise refuse_filter(
                f"No function signature for the function with name '{node.name}' matches the arguments."
            )
        subject, part = self._subject(node.arguments[0]), self._literal(node.arguments[1])
        if subject.field.kind is not FieldKind.TEXT or part.kind is not LiteralKind.STRING:
            raise refuse_filter(
                f"No function signature for the function with name '{node.name}' matches the arguments."
            )
        read, wanted = subject.reader(), _folded(part.value)

        def ask(item: Item, one: Item) -> bool:
            value = read(item, one)
            return value is not None and test(value, wanted)

        return ask

    def _check_played(self, operator_name: str) -> None:
        if operator_name not in self._vocabulary.operators:
            raise NotEmulated(f"{operator_name!r} in a filter on {self._vocabulary.type_name}")

    def _no_function(self, node: FunctionCall) -> GraphError:
        if node.name in TEXT_TESTS or node.name in _OTHER_FUNCTIONS:
            return NotEmulated(f"the filter function {node.name!r} here")
        return refuse_filter(f"An unknown function with name '{node.name}' was found.")

    def _lambda(self, node: Lambda) -> Question:
        if self._element is not None:
            raise NotEmulated("a lambda within a lambda")
        many = self._vocabulary.many.get(str(node.collection).lower())
        if many is None:
            raise self._no_name(node.collection)
        if node.body is None:
            return lambda item, one: any(True for _ in many.read(item))
        body = _Builder(self._vocabulary, node.variable, many).build(node.body)
        quantify = any if node.is_any else all
        return lambda item, one: quantify(body(item, element) for element in many.read(item))


def _wanted(subject: Field, sign: str, literal: Literal) -> Any:  # Any: by kind
    kind, value = subject.kind, literal.value
    if kind in (FieldKind.ENUM, FieldKind.FLAG, FieldKind.KEY) and sign not in ("eq", "ne"):
        raise NotEmulated(f"the filter operator {sign!r} on this property")
    match kind, literal.kind:
        case FieldKind.ENUM, LiteralKind.STRING | LiteralKind.ENUM:
            return _member(subject, str(value))
        case FieldKind.TEXT, LiteralKind.STRING:
            return _folded(value)
        case FieldKind.KEY, LiteralKind.STRING:
            return subject.convert(str(value))
        case FieldKind.FLAG, LiteralKind.BOOLEAN:
            return value
        case FieldKind.NUMBER, LiteralKind.NUMBER:
            return value
        case ((FieldKind.INSTANT | FieldKind.WALL_TIME), (LiteralKind.INSTANT | LiteralKind.DATE)):
            return value
        case FieldKind.WALL_TIME, LiteralKind.STRING:
            return _moment(str(value))
        case _:
            raise refuse_filter(
                "A binary operator with incompatible types was detected. Found operand types "
                f"'{kind.type_name}' and '{literal.kind.value}' for operator kind '{_OPERATOR_NAMES[sign]}'."
            )


def _member(subject: Field, value: str) -> str:
    lower = value.lower()
    if lower not in {one.lower() for one in subject.members}:
        raise refuse_filter(f"The string '{value}' is not a valid enumeration type constant.")
    return lower


def _moment(text: str) -> datetime:
    try:
        at = parse_local(text.replace(" ", "+"))
    except ValueError:
        raise refuse_filter(f"The value '{text}' is not a date and time.") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _folded(value: object) -> Any:  # Any: a text or None
    return None if value is None else str(value).casefold()
