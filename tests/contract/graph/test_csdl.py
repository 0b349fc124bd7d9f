"""The other way round: every property Microsoft declares is in the emulator's full answer, or in a list with a reason.

That bodies hold nothing but what is declared is checked on every call of the suite; see `tests/support/csdl_bodies.py`.
"""

from __future__ import annotations

import pytest

from tests.contract.graph.emulated import Emulated, emulated
from tests.support.csdl_bodies import VARIABLE, given_checker
from tests.support.csdl_check import CsdlChecker

pytestmark = pytest.mark.looptime
_SELECT_ONLY = "Graph tells it only when it is selected"
EXCEPTIONS: dict[str, dict[str, str]] = {
    "event": {"cancelledOccurrences": _SELECT_ONLY, "originalStart": "only occurrences and exceptions have one"},
    "calendar": {},
    "subscription": {},
    "room": {
        "parentId": "a room outside a building of the places service has none, and the emulator has no buildings",
        "teamsEnabledState": "it depends on Teams devices, which are not played",
    },
}


@pytest.fixture
def checker() -> CsdlChecker:
    found = given_checker()
    if found is None:
        pytest.skip(f"{VARIABLE} names no CSDL file")
    return found


async def _event(s: Emulated) -> set[str]:
    return set(await s.get((await s.create())["id"]))


async def _calendar(s: Emulated) -> set[str]:
    return set((await s.graph.get(f"/users/{s.mailbox}/calendar")).json())


async def _subscription(s: Emulated) -> set[str]:
    return set(await s.subscribed())


async def _room(s: Emulated) -> set[str]:
    return set((await s.pages("/places/microsoft.graph.room"))[0])


_FULL = {"event": _event, "calendar": _calendar, "subscription": _subscription, "room": _room}


@pytest.mark.parametrize("type_name", list(_FULL))
async def test_every_declared_property_is_told_or_excused(checker: CsdlChecker, type_name: str) -> None:
    async with emulated() as s:
        told = await _FULL[type_name](s)
    declared = set(checker.schema.structured[type_name].properties)
    assert declared - told - set(EXCEPTIONS[type_name]) == set()


@pytest.mark.parametrize("type_name", list(_FULL))
def test_every_excuse_is_for_a_declared_property(checker: CsdlChecker, type_name: str) -> None:
    assert set(EXCEPTIONS[type_name]) <= set(checker.schema.structured[type_name].properties)


async def test_occurrence_tells_the_excused_ones(checker: CsdlChecker) -> None:
    async with emulated() as s:
        master = await s.create_series({"type": "daily"})
        (occurrence,) = await s.view(0, 1)
        assert "originalStart" in occurrence
        assert "cancelledOccurrences" in await s.get(master["id"], select="cancelledOccurrences")


@pytest.mark.parametrize(
    ("name", "value"), [("subjekt", "x"), ("subject", 7), ("showAs", "sleeping"), ("attendees", {}), ("start", "now")]
)
async def test_spoilt_answer_of_the_emulator_is_caught(checker: CsdlChecker, name: str, value: object) -> None:
    async with emulated() as s:
        event = await s.get((await s.create())["id"])
    assert checker.faults(event, "event") == []
    assert [fault.partition(":")[0] for fault in checker.faults({**event, name: value}, "event")] == [f"$.{name}"]
