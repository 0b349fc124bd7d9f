"""Judges a JSON body by the types of a CSDL file: names, types, enum members, null, annotations.

A property that is missing is no fault: `$select`, PATCH and delta leave properties out. Null for a collection passes unless
the file forbids it, because Graph writes it (`scheduleItems` of an address it cannot resolve).

Source: OASIS "OData JSON Format Version 4.01" (control information, open types).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.support.csdl import Schema, StructuredType, TypeRef

_DATE = r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,12})?)?"
_GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_TEXTS = {
    "Edm.String": re.compile(r".*", re.DOTALL),
    "Edm.Date": re.compile(_DATE),
    "Edm.DateTimeOffset": re.compile(rf"{_DATE}T{_TIME}(?:Z|[+-]\d\d:\d\d)"),
    "Edm.TimeOfDay": re.compile(_TIME),
    "Edm.Guid": re.compile(_GUID),
}
_INT32 = range(-(2**31), 2**31)
_TEXT_ANNOTATIONS = frozenset({"odata.context", "odata.etag", "odata.id", "odata.nextLink", "odata.deltaLink"})
_LINK_ANNOTATIONS = frozenset({"odata.navigationLink", "odata.associationLink", "odata.nextLink", "odata.context"})
_REMOVED_REASONS = ("deleted", "changed")


class CsdlChecker:
    """Finds what in a body is not as the schema has it."""

    def __init__(
        self,
        schema: Schema,
        *,
        closed: frozenset[str] = frozenset(),
        novelties: frozenset[str] = frozenset(),
        enums_in_any_case: bool = False,
    ) -> None:
        """Make a checker.

        Args:
            closed: open types of which undeclared properties are faults all the same. An emulator adds nothing of its own
                to an event, so an undeclared name there is a misspelt one.
            novelties: properties that a closed type may have all the same.
            enums_in_any_case: take members of enums in any case of letters, as Graph does in what it is sent.
        """
        self.schema = schema
        self._closed = closed
        self._novelties = novelties
        self._enums_in_any_case = enums_in_any_case

    def for_requests(self) -> CsdlChecker:
        """Give a checker of what clients send."""
        return CsdlChecker(self.schema, closed=self._closed, novelties=self._novelties, enums_in_any_case=True)

    def faults(self, body: object, type_name: str, *, is_collection: bool = False, nullable: bool = False) -> list[str]:
        """Give what is wrong, each with the path to it; an empty list is a body as described.

        Args:
            type_name: `Edm.…`, an enum, or an entity or complex type of the schema.
        """
        reference = TypeRef(name=type_name, is_collection=is_collection, nullable=nullable)
        return list(self._value(body, reference, "$"))

    def page_faults(self, body: object, type_name: str) -> list[str]:
        """Judge a page: an object whose `value` is a collection of the type."""
        if not isinstance(body, dict) or not isinstance(body.get("value"), list):
            return ["$: a page needs a collection `value`"]
        found = [f"$.{name}: not part of a page" for name in body if name != "value" and not name.startswith("@")]
        found += [fault for name in body if name.startswith("@") for fault in _annotation(name, body[name], "$")]
        return found + self.faults(body["value"], type_name, is_collection=True)

    def action_faults(self, body: object, action: str) -> list[str]:
        """Judge the parameters of an action; Graph takes their names in any case."""
        parameters = {name.lower(): found for name, found in self.schema.actions[action.lower()].items()}
        if not isinstance(body, dict):
            return ["$: parameters are an object"]
        found = list[str]()
        for name, value in body.items():
            reference = parameters.get(name.lower())
            if reference is None:
                found.append(f"$.{name}: no parameter of {action}")
            else:
                found += self._value(value, reference, f"$.{name}")
        return found

    def _value(self, value: object, reference: TypeRef, path: str) -> Iterator[str]:
        if value is None:
            if not reference.nullable:
                yield f"{path}: null where the schema has none"
        elif reference.is_collection:
            if not isinstance(value, list):
                yield f"{path}: {value!r} is no collection"
                return
            inner = TypeRef(name=reference.name, nullable=False)
            for at, one in enumerate(value):
                yield from self._value(one, inner, f"{path}[{at}]")
        elif reference.name in self.schema.structured:
            yield from self._structured(value, self.schema.structured[reference.name], path)
        elif reference.name in self.schema.enums:
            if not self._is_member(value, self.schema.enums[reference.name]):
                yield f"{path}: {value!r} is no member of {reference.name}"
        elif reference.name.startswith("Edm.") and not _is_primitive(value, reference.name):
            yield f"{path}: {value!r} is no {reference.name}"

    def _structured(self, value: object, declared: StructuredType, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path}: {value!r} is no {declared.name}"
            return
        if "@odata.type" in value:
            told = self._told(value["@odata.type"])
            is_bag = declared.is_open and not declared.properties  # a notification's resourceData says it is an event
            if told is None or not (is_bag or self.schema.is_a(told.name, declared.name)):
                yield f"{path}.@odata.type: {value['@odata.type']!r} is no {declared.name}"
                return
            declared = told
        for name, one in value.items():
            if "@" in name:
                yield from _annotation(name, one, path, declared)
                continue
            reference = declared.properties.get(name) or declared.navigation.get(name)
            if reference is not None:
                yield from self._value(one, reference, f"{path}.{name}")
            elif not declared.is_open or (declared.name in self._closed and name not in self._novelties):
                yield f"{path}.{name}: no property of {declared.name}"

    def _is_member(self, value: object, members: frozenset[str]) -> bool:
        if self._enums_in_any_case and isinstance(value, str):
            return value.lower() in {one.lower() for one in members}
        return isinstance(value, str) and value in members

    def _told(self, text: object) -> StructuredType | None:
        """Find the type an `@odata.type` names; notifications write it with capitals."""
        lower = str(text).removeprefix("#").rpartition(".")[2].lower()
        return next((found for name, found in self.schema.structured.items() if name.lower() == lower), None)


def _is_primitive(value: object, name: str) -> bool:
    match name:
        case "Edm.Boolean":
            return isinstance(value, bool)
        case "Edm.Int32":
            return isinstance(value, int) and not isinstance(value, bool) and value in _INT32
        case "Edm.Double":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _ if name in _TEXTS:
            return isinstance(value, str) and _TEXTS[name].fullmatch(value) is not None
        case _:
            raise ValueError(f"the schema uses {name}, which nobody here can judge")


def _annotation(name: str, value: object, path: str, declared: StructuredType | None = None) -> Iterator[str]:
    """Judge control information of a body (`@odata.etag`) or of one of its properties (`attendees@odata.count`)."""
    target, _, term = name.partition("@")
    if target and (declared is None or target not in {**declared.properties, **declared.navigation}):
        yield f"{path}.{name}: annotates a property that is not there"
    elif term in ("odata.type", *_TEXT_ANNOTATIONS) or (target and term in _LINK_ANNOTATIONS):
        if not isinstance(value, str):
            yield f"{path}.{name}: {value!r} is no text"
    elif term == "odata.count":
        if not _is_primitive(value, "Edm.Int32"):
            yield f"{path}.{name}: {value!r} is no number"
    elif term == "removed":
        if not isinstance(value, dict) or value.get("reason") not in _REMOVED_REASONS or len(value) != 1:
            yield f"{path}.{name}: {value!r} is no removal"
    else:
        yield f"{path}.{name}: no annotation that Graph writes"
