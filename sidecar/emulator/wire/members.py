"""Reading members of JSON objects that callers wrote, by the types the metadata gives them.

Everything here raises a GraphError with status 400 for a value of another type.

Source: Graph v1.0 metadata; refusals are worded as those of Microsoft's OData library.
"""

import re
from collections.abc import Collection
from typing import Any

from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.event import JsonObject

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,10}")
_NESTING_MAX = 50  # of objects and lists; what reads and writes them again has a limit, too
_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def check_content_type(body: bytes, content_type: str) -> None:
    """Refuse a body that does not say that it is JSON."""
    if body and "json" not in content_type.lower():
        raise GraphError(
            400,
            "BadRequest",
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON "
            "format.",
        )


def check_nesting(body: bytes) -> None:
    """Refuse JSON that is nested too deeply; whether it is JSON at all is not asked."""
    if body.count(b"[") + body.count(b"{") <= _NESTING_MAX:
        return
    depth = 0
    for match in _BRACKET.finditer(body):
        if match[0] in (b"[", b"{"):
            depth += 1
        elif match[0] in (b"]", b"}"):
            depth -= 1
        if depth > _NESTING_MAX:
            raise GraphError(400, "BadRequest", "The request payload is nested too deeply.")


def read_members(wire: Any, type_name: str, known: Collection[str]) -> JsonObject:  # Any: JSON from the wire
    """Read a complex value, refusing members its type does not have."""
    if not isinstance(wire, dict):
        raise GraphError(400, "RequestBodyRead", f"A value of type 'microsoft.graph.{type_name}' must be an object.")
    for name in wire:
        if name not in known and not name.startswith("@"):
            message = f"The property '{name}' does not exist on type 'microsoft.graph.{type_name}'."
            raise GraphError(400, "RequestBodyRead", message)
    return wire


def read_object(wire: JsonObject, name: str, type_name: str, known: Collection[str]) -> JsonObject:
    """Read a member that is a complex value; missing or null is one without members."""
    found = wire.get(name)
    return {} if found is None else read_members(found, type_name, known)


def read_list(wire: JsonObject, name: str) -> list[Any]:  # Any: JSON from the wire
    """Read a list; null is an empty one."""
    found = wire[name]
    if found is not None and not isinstance(found, list):
        raise wrong_type(name)
    return found or []


def read_text(wire: JsonObject, name: str) -> str | None:
    """Read a text, or null."""
    found = wire.get(name)
    if found is not None and not isinstance(found, str):
        raise wrong_type(name)
    return found


def read_flag(wire: JsonObject, name: str) -> bool:
    """Read a boolean, also when it is written as a text, which Graph's reader converts; missing or null is false."""
    found = wire.get(name)
    if isinstance(found, str) and found.lower() in ("true", "false"):
        return found.lower() == "true"
    if found is not None and not isinstance(found, bool):
        raise wrong_type(name)
    return bool(found)


def read_whole_number(wire: JsonObject, name: str) -> int:
    """Read an Int32, also when it is written as a text."""
    found = wire[name]
    if isinstance(found, str) and _WHOLE_NUMBER.fullmatch(found):
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool) or not -(2**31) <= found < 2**31:
        raise wrong_type(name)
    return found


def read_choice(wire: JsonObject, name: str, members: Collection[str]) -> str | None:
    """Read an enumeration's member, in any case; gives it as the metadata spells it."""
    found = wire.get(name)
    if found is None:
        return None
    for member in members:
        if str(found).lower() == member.lower():
            return member
    raise GraphError(400, "ErrorInvalidPropertyValue", f"The value '{found}' is not valid for {name}.")


def wrong_type(name: str) -> GraphError:
    """Build the refusal for a value of another type than the property's."""
    return GraphError(400, "RequestBodyRead", f"Cannot convert the value of '{name}' to the type of the property.")
