"""What applications keep beside an item, on the wire: extended properties and open extensions.

A property's id names its type and either a set with a name or number in it, or a tag. Set and type are read in any case; the
name is told apart by case.

Source: Graph "Outlook extended properties overview", "singleValueLegacyExtendedProperty resource type",
"multiValueLegacyExtendedProperty resource type", "openTypeExtension resource type" pages.
"""

import re
from typing import Any

from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.event import Extras, JsonObject

EXTENSION_TYPE = "#microsoft.graph.openTypeExtension"
_EXTENSION_PREFIX = "Microsoft.OutlookServices.OpenTypeExtension."
_EXTENSION_NAME_CHARS_MAX = 150
_PROPERTY_ID = re.compile(
    r"(?P<type>[A-Za-z]+)\s+(?:"
    r"\{?(?P<set>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})\}?\s+"
    r"(?:[Nn]ame\s+(?P<name>\S.*)|[Ii]d\s+(?P<number>0x[0-9A-Fa-f]{1,8}|[0-9]{1,10}))"
    r"|(?P<tag>0x[0-9A-Fa-f]{1,8}))"
)
_SINGLE_TYPES = """ApplicationTime Binary Boolean CLSID Currency Double Float Integer Long Null Object Short String
    SystemTime""".split()  # noqa: SIM905  (a list of names is easier to read)
_TYPES = {name.lower(): name for one in _SINGLE_TYPES for name in (one, f"{one}Array")}


def property_id(text: str) -> str:
    """Give the one form in which an extended property's id is kept and compared.

    Raises:
        GraphError: 400 for what is no such id.
    """
    match = _PROPERTY_ID.fullmatch(text.strip())
    if match is None or match["type"].lower() not in _TYPES:
        raise GraphError(400, "ErrorInvalidExtendedProperty", f"The extended property id '{text}' is not valid.")
    kind = _TYPES[match["type"].lower()]
    if match["tag"] is not None:
        return f"{kind} {int(match['tag'], 16):#x}"
    if match["name"] is not None:
        return f"{kind} {{{match['set'].lower()}}} Name {match['name']}"
    number = int(match["number"], 16 if match["number"].startswith("0x") else 10)
    return f"{kind} {{{match['set'].lower()}}} Id {number:#x}"


def merge_extras(wire: JsonObject, base: Extras) -> Extras:
    """Read the extended properties and extensions of an event's body over those there are.

    Properties the body does not name stay; a value of null takes one away.

    Raises:
        GraphError: 400 for ids, values or names that are not valid.
    """
    single, multi = dict(base.single_values), dict(base.multi_values)
    extensions = {extension_key(one["extensionName"]): one for one in base.extensions}
    for one in _objects(wire, "singleValueExtendedProperties"):
        _put(single, one, _single_value(one))
    for one in _objects(wire, "multiValueExtendedProperties"):
        _put(multi, one, _multi_value(one))
    for one in _objects(wire, "extensions"):
        made = read_extension(one)
        if extensions.setdefault(extension_key(made["extensionName"]), made) is not made:
            raise _bad(f"The extension '{made['extensionName']}' is given twice.")
    return Extras(
        single_values=tuple(single.items()),
        multi_values=tuple(multi.items()),
        extensions=tuple(extensions.values()),
    )


def read_extension(wire: JsonObject) -> JsonObject:
    """Read a new open extension; the result holds its name and data.

    Raises:
        GraphError: 400 without a name, or for a type that is no open extension.
    """
    name = wire.get("extensionName")
    if not isinstance(name, str) or not 1 <= len(name) <= _EXTENSION_NAME_CHARS_MAX:
        raise _bad("An open extension needs an extensionName.")
    kind = wire.get("@odata.type", EXTENSION_TYPE)
    if str(kind).lstrip("#").lower() != EXTENSION_TYPE.lstrip("#").lower():
        raise _bad(f"'{kind}' is not the type of an open extension.")
    return {"extensionName": name, **_data(wire)}


def change_extension(wire: JsonObject, base: JsonObject) -> JsonObject:
    """Merge a PATCH into an extension; null takes a property away."""
    merged = {**base, **_data(wire)}
    return {name: value for name, value in merged.items() if value is not None}


def find_extension(extensions: tuple[JsonObject, ...], key: str) -> JsonObject | None:
    """Find an extension by its name or its whole id, in any case."""
    wanted = extension_key(key)
    return next((one for one in extensions if extension_key(one["extensionName"]) == wanted), None)


def extension_key(text: str) -> str:
    """Give the form in which an extension's name or whole id is compared."""
    return text.lower().removeprefix(_EXTENSION_PREFIX.lower())


def render_extension(extension: JsonObject) -> JsonObject:
    """Write an open extension."""
    return {"@odata.type": EXTENSION_TYPE, "id": f"{_EXTENSION_PREFIX}{extension['extensionName']}", **extension}


def _objects(wire: JsonObject, name: str) -> list[JsonObject]:
    found = wire.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _bad(f"{name} must be a list of objects.")
    return found


def _put(values: dict[str, Any], wire: JsonObject, value: Any) -> None:  # Any: a text or several
    key = property_id(str(wire.get("id") or ""))
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value


def _single_value(wire: JsonObject) -> str | None:
    value = wire.get("value")
    if property_id(str(wire.get("id") or "")).split(" ")[0].endswith("Array"):
        raise _bad("An array is a multiValueExtendedProperty.")
    if value is not None and not isinstance(value, str):
        raise _bad("The value of a singleValueExtendedProperty must be a string.")
    return value


def _multi_value(wire: JsonObject) -> tuple[str, ...] | None:
    value = wire.get("value")
    if not property_id(str(wire.get("id") or "")).split(" ")[0].endswith("Array"):
        raise _bad("A multiValueExtendedProperty must be of an array type.")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _bad("The value of a multiValueExtendedProperty must be a list of strings.")
    return tuple(value)


def _data(wire: JsonObject) -> JsonObject:
    return {name: value for name, value in wire.items() if name[:1] != "@" and name not in ("id", "extensionName")}


def _bad(message: str) -> GraphError:
    return GraphError(400, "ErrorPropertyValidationFailure", message)
