"""Dumping objects that point at each other: what is read back is the same, and what is odd is refused."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any

import msgspec
import pytest

from sidecar.emulator.exchange.object_graph import NOT_DUMPED, StateInvalid, Types


class Colour(Enum):
    """A kind of something."""

    RED = "red"


@dataclass(frozen=True, slots=True)
class Value:
    """Something that is its content."""

    name: str
    at: datetime | None = None


class Settings(msgspec.Struct, frozen=True):
    """Settings."""

    size: int = 1


@dataclass(slots=True, eq=False)
class Node:
    """Something with an identity."""

    label: str
    others: list[Node] = field(default_factory=list)
    things: Any = None
    cache: bytes = field(default=b"", metadata=NOT_DUMPED)


class Shelf:
    """A class that writes its own state."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.labels: list[str] = []

    def dump_state(self) -> dict[str, Any]:
        return {"nodes": self.nodes}

    def load_state(self, state: dict[str, Any]) -> None:
        self.nodes = state["nodes"]
        self.labels = [node.label for node in self.nodes]  # dataclasses are whole by now


TYPES = Types([Colour, Value, Settings, Node, Shelf])


def through_json(**root: Any) -> dict[str, Any]:
    return TYPES.load(json.loads(json.dumps(TYPES.dump(root))))


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, 0.25, "text", b"\x00\xff", [1, [2]], (1, ("a",)), {3, 1}, frozenset({"b", "a"})),
        *(
            {"a": 1, 2: (3,), ("x", None): date(2027, 1, 1)},
            deque([1, 2], maxlen=5),
            {},
            (),
            {"ref": 0},
            {"is": "Node"},
        ),
        *(datetime(2027, 1, 1, 8, 0, 0, 1, tzinfo=UTC), date(2027, 1, 1), timedelta(days=3, microseconds=1)),
        *(Colour.RED, Value("a", datetime(2027, 1, 1, tzinfo=UTC)), Settings(size=4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_comes_back_equal(value: Any) -> None:
    back = through_json(value=value)["value"]
    assert back == value
    assert type(back) is type(value)
    if isinstance(value, deque):
        assert back.maxlen == value.maxlen


def test_identity_and_circles_come_back() -> None:
    """Who was pointed at twice is pointed at twice, and is one."""
    one, two = Node("one"), Node("two")
    one.others, two.others = [two, two], [one]
    back = through_json(first=one, again=one)
    assert back["first"] is back["again"]
    assert back["first"].others[0] is back["first"].others[1]
    assert back["first"].others[0].others == [back["first"]]


def test_long_chain_needs_no_deep_stack() -> None:
    first = node = Node("0")
    for number in range(1, 5_000):
        node.others = [Node(str(number))]
        (node,) = node.others
    back = through_json(first=first)["first"]
    count = 1
    while back.others:
        (back,) = back.others
        count += 1
    assert (count, back.label) == (5_000, "4999")


def test_cache_is_left_out() -> None:
    back = through_json(node=Node("a", cache=b"large"))["node"]
    assert back.cache == b""


def test_class_with_its_own_state_sees_whole_dataclasses() -> None:
    shelf = Shelf()
    shelf.nodes = [Node("a"), Node("b")]
    back = through_json(shelf=shelf, node=shelf.nodes[0])
    assert back["shelf"].labels == ["a", "b"]
    assert back["shelf"].nodes[0] is back["node"]


@dataclass(frozen=True)
class Stranger:
    """Not listed."""


def test_type_that_is_not_listed_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="Stranger is not among the types"):
        TYPES.dump({"value": Stranger()})


@pytest.mark.parametrize(
    ("dump", "message"),
    [
        ({"root": {"a": {"is": "Popen", "of": {}}}, "objects": []}, "holds a 'Popen'"),
        ({"root": {"a": {"is": "Value", "of": {"nome": "x"}}}, "objects": []}, "Value of this emulator has no nome"),
        ({"root": {"a": {"is": "Value", "of": {}}}, "objects": []}, "a Value without name"),
        ({"root": {"a": {"ref": 7}}, "objects": []}, "not whole"),
        ({"root": {"a": {"enum": "Colour", "value": "blue"}}, "objects": []}, "not whole"),
        ({"root": {"a": {"at": "yesterday"}}, "objects": []}, "not whole"),
        ({"root": {"a": {"lambda": 1}}, "objects": []}, "'lambda', which means nothing"),
        ({"root": {}}, "not whole"),
        ([], "not whole"),
    ],
)
def test_odd_dump_is_refused(dump: Any, message: str) -> None:
    with pytest.raises(StateInvalid, match=message):
        TYPES.load(dump)
