"""Microsoft's description of its types, read from a CSDL file: names, types, members, what may be null, what is open.

Which file is not decided here; `csdl_bodies.py` takes it from the environment. Judging bodies is in `csdl_check.py`.

Source: OASIS "OData Common Schema Definition Language (CSDL) XML Representation 4.01".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

_EDM = "{http://docs.oasis-open.org/odata/ns/edm}"
_COLLECTION = "Collection("


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeRef:
    """A type as a property names it: without namespace unless it is one of Edm's."""

    name: str
    is_collection: bool = False
    nullable: bool = True
    """Whether null may stand there; of a collection, whether null may stand in it or for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredType:
    """An entity or complex type with what it inherits."""

    name: str
    base: str | None
    properties: Mapping[str, TypeRef]
    navigation: Mapping[str, TypeRef]
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Every type of one file, by its name without namespace."""

    structured: Mapping[str, StructuredType]
    enums: Mapping[str, frozenset[str]]
    actions: Mapping[str, Mapping[str, TypeRef]]
    """Parameters of bound actions by lower-case name of the action; overloads are merged."""

    def is_a(self, name: str, base: str) -> bool:
        """Tell whether a type is another one or descends from it."""
        found = self.structured.get(name)
        return name == base or (found is not None and found.base is not None and self.is_a(found.base, base))


def read_schema(path: Path) -> Schema:
    """Read a CSDL file.

    Raises:
        OSError: there is no such file.
        xml.etree.ElementTree.ParseError: it is not XML.
    """
    schema = ElementTree.parse(path).getroot().find(f".//{_EDM}Schema")
    if schema is None:
        raise ValueError(f"{path} holds no schema")
    enums = {
        one.attrib["Name"]: frozenset(member.attrib["Name"] for member in one.findall(f"{_EDM}Member"))
        for one in schema.findall(f"{_EDM}EnumType")
    }
    declared = {
        one.attrib["Name"]: one for kind in ("ComplexType", "EntityType") for one in schema.findall(f"{_EDM}{kind}")
    }
    actions: dict[str, dict[str, TypeRef]] = {}
    for one in schema.findall(f"{_EDM}Action"):
        parameters = [node for node in one.findall(f"{_EDM}Parameter") if node.attrib["Name"].lower() != _BINDING]
        actions.setdefault(one.attrib["Name"].lower(), {}).update(_references(parameters))
    return Schema(structured={name: _structured(name, declared) for name in declared}, enums=enums, actions=actions)


_BINDING = "bindingparameter"


def _structured(name: str, declared: Mapping[str, ElementTree.Element]) -> StructuredType:
    node = declared[name]
    properties = _references(node.findall(f"{_EDM}Property"))
    navigation = _references(node.findall(f"{_EDM}NavigationProperty"))
    is_open = node.attrib.get("OpenType") == "true"
    base = _short(node.attrib["BaseType"]) if "BaseType" in node.attrib else None
    if base is not None:
        inherited = _structured(base, declared)
        properties = {**inherited.properties, **properties}
        navigation = {**inherited.navigation, **navigation}
        is_open = is_open or inherited.is_open
    return StructuredType(name=name, base=base, properties=properties, navigation=navigation, is_open=is_open)


def _references(nodes: list[ElementTree.Element]) -> dict[str, TypeRef]:
    return {node.attrib["Name"]: _reference(node) for node in nodes}


def _reference(node: ElementTree.Element) -> TypeRef:
    name = node.attrib["Type"]
    is_collection = name.startswith(_COLLECTION)
    if is_collection:
        name = name[len(_COLLECTION) : -1]
    return TypeRef(
        name=_short(name), is_collection=is_collection, nullable=node.attrib.get("Nullable", "true") == "true"
    )


def _short(name: str) -> str:
    return name if name.startswith("Edm.") else name.rpartition(".")[2]
