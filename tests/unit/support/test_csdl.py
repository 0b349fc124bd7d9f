"""The judge of bodies finds what is wrong, and only that. Its schema is written here, so that it needs no file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.csdl import read_schema
from tests.support.csdl_check import CsdlChecker

SCHEMA = """<?xml version="1.0"?>
<edmx:Edmx xmlns="http://docs.oasis-open.org/odata/ns/edm" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">
  <edmx:DataServices><Schema Namespace="garden" Alias="g">
    <EnumType Name="colour"><Member Name="red" Value="0"/><Member Name="blue" Value="1"/></EnumType>
    <ComplexType Name="soil">
      <Property Name="acid" Type="Edm.Boolean"/><Property Name="name" Type="Edm.String" Nullable="false"/>
    </ComplexType>
    <ComplexType Name="note" OpenType="true"/>
    <EntityType Name="thing" Abstract="true"><Property Name="id" Type="Edm.String" Nullable="false"/></EntityType>
    <EntityType Name="plant" BaseType="g.thing">
      <Property Name="height" Type="Edm.Int32"/><Property Name="weight" Type="Edm.Double"/>
      <Property Name="colours" Type="Collection(g.colour)"/><Property Name="colour" Type="g.colour"/>
      <Property Name="soil" Type="g.soil"/><Property Name="soils" Type="Collection(g.soil)" Nullable="false"/>
      <Property Name="sown" Type="Edm.Date"/><Property Name="seen" Type="Edm.DateTimeOffset"/>
      <Property Name="wakes" Type="Edm.TimeOfDay"/><Property Name="tag" Type="Edm.Guid"/>
      <Property Name="note" Type="g.note"/>
      <NavigationProperty Name="neighbours" Type="Collection(g.plant)"/>
    </EntityType>
    <EntityType Name="tree" BaseType="g.plant"><Property Name="rings" Type="Edm.Int32"/></EntityType>
    <EntityType Name="weed" BaseType="g.plant" OpenType="true"/>
    <Action Name="water" IsBound="true">
      <Parameter Name="bindingParameter" Type="g.plant"/><Parameter Name="Litres" Type="Edm.Double" Nullable="false"/>
    </Action>
  </Schema></edmx:DataServices>
</edmx:Edmx>"""
GOOD: dict[str, Any] = {
    "@odata.context": "https://garden.example/$metadata#plants/$entity",
    "@odata.etag": 'W/"1"',
    "id": "rose",
    "height": 3,
    "weight": 1,
    "colour": "red",
    "colours": ["red", "blue"],
    "soil": {"name": "clay", "acid": None},
    "soils": [],
    "sown": "2026-11-23",
    "seen": "2026-11-23T08:00:00.0000000Z",
    "wakes": "08:00:00.0000000",
    "tag": "0f7a1c52-7f0e-4a57-9e55-3a1f7c0c9d10",
    "note": {"anything": [1]},
    "neighbours": [{"id": "oak", "@odata.type": "#garden.tree", "rings": 40}],
    "neighbours@odata.count": 1,
}


@pytest.fixture
def checker(tmp_path: Path) -> CsdlChecker:
    path = tmp_path / "garden.csdl"
    path.write_text(SCHEMA)
    return CsdlChecker(read_schema(path), closed=frozenset({"weed"}))


def test_good_body_has_no_faults(checker: CsdlChecker) -> None:
    assert checker.faults(GOOD, "plant") == []


def test_missing_properties_are_no_fault(checker: CsdlChecker) -> None:
    assert checker.faults({}, "plant") == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"hight": 3}, "$.hight"),
        ({"Height": 3}, "$.Height"),
        ({"height": "3"}, "$.height"),
        ({"height": True}, "$.height"),
        ({"height": 3.5}, "$.height"),
        ({"height": 2**31}, "$.height"),
        ({"weight": "1.5"}, "$.weight"),
        ({"colour": "green"}, "$.colour"),
        ({"colour": "Red"}, "$.colour"),
        ({"colours": "red"}, "$.colours"),
        ({"colours": ["red", "green"]}, "$.colours[1]"),
        ({"soil": "clay"}, "$.soil"),
        ({"soil": {"name": None}}, "$.soil.name"),
        ({"soil": {"naem": "clay"}}, "$.soil.naem"),
        ({"soils": None}, "$.soils"),
        ({"id": None}, "$.id"),
        ({"sown": "2026-13-01"}, "$.sown"),
        ({"sown": "2026-11-23T00:00:00Z"}, "$.sown"),
        ({"seen": "2026-11-23T08:00:00"}, "$.seen"),
        ({"wakes": "8 o'clock"}, "$.wakes"),
        ({"tag": "rose"}, "$.tag"),
        ({"neighbours": [{"rings": 1}]}, "$.neighbours[0].rings"),
        ({"@odata.type": "#garden.soil"}, "$.@odata.type"),
        ({"note": {"@odata.type": "#garden.moss"}}, "$.note.@odata.type"),
        ({"note": {"@odata.type": "#Garden.Plant", "height": "3"}}, "$.note.height"),
        ({"@odata.etag": 7}, "$.@odata.etag"),
        ({"@odata.colour": "x"}, "$.@odata.colour"),
        ({"weeds@odata.count": 1}, "$.weeds@odata.count"),
        ({"@removed": {"reason": "bored"}}, "$.@removed"),
    ],
)
def test_fault_is_found_where_it_is(checker: CsdlChecker, change: dict[str, Any], where: str) -> None:
    found = checker.faults({**GOOD, **change}, "plant")
    assert [fault.partition(": ")[0] for fault in found] == [where]


def test_open_type_takes_any_name_unless_it_is_closed_by_the_caller(checker: CsdlChecker) -> None:
    schema = checker.schema
    assert CsdlChecker(schema).faults({"smell": "bad"}, "weed") == []
    assert checker.faults({"smell": "bad"}, "weed") == ["$.smell: no property of weed"]


def test_enum_is_judged_by_the_letter_unless_a_client_sent_it(checker: CsdlChecker) -> None:
    body = {"colours": ["Red", "BLUE"]}
    assert len(checker.faults(body, "plant")) == 2
    assert checker.for_requests().faults(body, "plant") == []
    assert checker.for_requests().faults({"colour": "green"}, "plant") != []


def test_novelty_passes_in_a_closed_type_by_its_name_only(checker: CsdlChecker) -> None:
    tolerant = CsdlChecker(checker.schema, closed=frozenset({"weed"}), novelties=frozenset({"smell"}))
    assert tolerant.faults({"smell": "bad"}, "weed") == []
    assert tolerant.faults({"taste": "bad"}, "weed") != []


def test_null_body_is_a_fault(checker: CsdlChecker) -> None:
    assert checker.faults(None, "plant") == ["$: null where the schema has none"]


@pytest.mark.parametrize(
    ("body", "faulty"),
    [
        ({"value": [GOOD], "@odata.nextLink": "https://x"}, False),
        ({"value": [{"height": "tall"}]}, True),
        ({"value": {}}, True),
        ({"value": [], "total": 3}, True),
        ({"value": [], "@odata.nextlink": "https://x"}, True),
    ],
)
def test_page_is_judged_item_by_item(checker: CsdlChecker, body: dict[str, Any], faulty: bool) -> None:
    assert bool(checker.page_faults(body, "plant")) is faulty


@pytest.mark.parametrize(
    ("body", "faulty"), [({"litres": 2}, False), ({"Litres": None}, True), ({"buckets": 1}, True), ([], True)]
)
def test_action_is_judged_by_its_parameters(checker: CsdlChecker, body: object, faulty: bool) -> None:
    assert bool(checker.action_faults(body, "water")) is faulty
