"""`$expand` on events: which navigation properties are wanted, and which of their members.

Source: Graph "Use query parameters" ($expand), "singleValueLegacyExtendedProperty: get", "openTypeExtension: get" and "Get
event" (exceptionOccurrences) pages.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.wire.extended import extension_key, property_id
from sidecar.emulator.wire.filter_rules import build_question
from sidecar.emulator.wire.filter_vocabulary import Field, FieldKind, Vocabulary
from sidecar.emulator.wire.properties import EVENT_PROPERTIES, NAVIGATION, parse_select

_EVERY_KIND = frozenset({"singleValueExtendedProperties", "multiValueExtendedProperties", "extensions"})
_OF_ONE_EVENT = frozenset({"exceptionOccurrences"})


def _vocabulary(type_name: str, convert: Callable[[str], str]) -> Vocabulary:
    """The members of an expanded collection are asked by the normal form of their id, and by nothing else."""
    key = Field(kind=FieldKind.KEY, read=lambda key: key, convert=convert)
    return Vocabulary(type_name=type_name, fields={"id": key}, others=frozenset({"value", "extensionname"}))


_VOCABULARIES = {
    "singleValueExtendedProperties": _vocabulary("microsoft.graph.singleValueLegacyExtendedProperty", property_id),
    "multiValueExtendedProperties": _vocabulary("microsoft.graph.multiValueLegacyExtendedProperty", property_id),
    "extensions": _vocabulary("microsoft.graph.extension", extension_key),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """One expanded navigation property."""

    name: str
    wants: Callable[[str], bool] | None = None
    """Tells by a member's key (`property_id`, `extension_key`) whether it is wanted; None wants all."""
    select: frozenset[str] | None = None


@lru_cache(maxsize=512)
def parse_expand(text: str | None, *, of_one_event: bool) -> tuple[Expansion, ...]:
    """Read `$expand`; equal texts give equal objects.

    Args:
        of_one_event: whether it stands on the path of an event rather than of a list.
    Raises:
        GraphError: 400 for names that do not exist, 501 for what the emulator does not expand.
    """
    if not text or not text.strip():
        return ()
    found = tuple(_expansion(one.strip(), of_one_event=of_one_event) for one in _split(text, ","))
    if len({one.name for one in found}) < len(found):
        raise GraphError(400, "BadRequest", "Invalid expand clause: a property is expanded more than once.")
    return found


def _expansion(text: str, *, of_one_event: bool) -> Expansion:
    head, bracket, rest = text.partition("(")
    if bracket and not rest.endswith(")"):
        raise _refuse(text)
    name = {known.lower(): known for known in NAVIGATION}.get(head.strip().lower())
    if name is None:
        message = f"Could not find a property named '{head.strip()}' on type 'microsoft.graph.event'."
        raise GraphError(400, "RequestBroker--ParseUri", message)
    if name not in _EVERY_KIND and not (of_one_event and name in _OF_ONE_EVENT):
        raise NotEmulated(f"$expand={name} on this path")
    options = _options(rest[:-1]) if bracket else {}
    known = {"$filter"} if name in _EVERY_KIND else {"$select"}
    for option in options:
        if option not in known:
            raise NotEmulated(f"the option {option!r} in $expand={name}")
    if name in _OF_ONE_EVENT:
        return Expansion(name=name, select=parse_select(options.get("$select"), EVENT_PROPERTIES))
    if "$filter" not in options and name != "extensions":
        raise NotEmulated(f"$expand={name} without a $filter")
    wants = build_question(options["$filter"], _VOCABULARIES[name]) if "$filter" in options else None
    return Expansion(name=name, wants=wants)


def _options(text: str) -> dict[str, str]:
    options = {}
    for one in _split(text, ";"):
        name, sign, value = one.partition("=")
        if not sign:
            raise _refuse(text)
        options[name.strip().lower()] = value.strip()
    return options


def _split(text: str, separator: str) -> Iterator[str]:
    """Split outside quotes and brackets."""
    depth, start, quoted = 0, 0, False
    for at, char in enumerate(text):
        if char == "'":
            quoted = not quoted
        elif not quoted and char in "()":
            depth += 1 if char == "(" else -1
        elif not quoted and depth == 0 and char == separator:
            yield text[start:at]
            start = at + 1
    if depth or quoted:
        raise _refuse(text)
    yield text[start:]


def _refuse(text: str) -> GraphError:
    return GraphError(400, "BadRequest", f"Invalid expand clause: Syntax error in '{text}'.")
