"""Asking Exchange about many rooms: through which mailboxes, and each room's own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from sidecar.errors import GraphUnavailable, MailboxDenied, MailboxNotFound, SidecarError, TenantSuspended, Throttled
from sidecar.graph.clouds import TenantRef
from sidecar.graph.wire_schedules import Schedule, ScheduleError
from sidecar.model.room import Room
from sidecar.model.window import Window
from sidecar.writes.asking import ScheduleAsking
from tests.support.builders import HORIZON, TENANT, make_problem
from tests.support.stores import ManualClock, OpenStore, open_store


class FakeSchedules:
    """Tells that every address is free, but for `errors` of mailboxes asked through, and those that never answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.errors: dict[str, SidecarError] = {}
        self.silent: set[str] = set()
        self.unknown: set[str] = set()

    async def fetch_schedules(
        self, tenant: TenantRef, mailbox: str, addresses: Sequence[str], window: Window
    ) -> Mapping[str, Schedule]:
        """See `ScheduleReader`."""
        self.asked.append((mailbox, list(addresses)))
        if mailbox in self.silent:
            await asyncio.Event().wait()
        if mailbox in self.errors:
            raise self.errors[mailbox]
        no_mailbox = ScheduleError(response_code="5016")
        return {
            one: Schedule(schedule_id=one, schedule_items=[], error=no_mailbox if one in self.unknown else None)
            for one in addresses
        }


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenStore]:
    """A store with a tenant."""
    async with open_store(tmp_path / "x.sqlite3", clock=ManualClock()) as opened:
        await opened.add_tenant()
        yield opened


async def rooms_of(opened: OpenStore, count: int) -> list[Room]:
    return [await opened.add_room(f"r{number:02}") for number in range(count)]


async def ask(
    opened: OpenStore, schedules: FakeSchedules, rooms: Sequence[Room], budget_s: float | None = None
) -> list[object]:
    """Return outcomes in the order of the rooms: [] for free, or the reason of the error."""
    asking = ScheduleAsking(tenants=opened.store.tenants, reader=schedules)
    found = await asking.ask(rooms, HORIZON, budget_s=budget_s)
    outcomes = [found[room.uid] for room in rooms]
    return [one.reason if isinstance(one, SidecarError) else list(one) for one in outcomes]


async def test_rooms_are_asked_about_in_groups_of_twenty(opened: OpenStore) -> None:
    """Each group through another mailbox, so that none of them bears all."""
    schedules, rooms = FakeSchedules(), await rooms_of(opened, 45)
    assert await ask(opened, schedules, rooms) == [[]] * 45
    assert [len(addresses) for _, addresses in schedules.asked] == [20, 20, 5]
    assert len({door for door, _ in schedules.asked}) == 3


async def test_refused_mailbox_is_not_asked_through_again(opened: OpenStore) -> None:
    """Another one of the rooms opens the way; what is refused is known of others, too."""
    schedules, rooms = FakeSchedules(), await rooms_of(opened, 3)
    schedules.errors = {"r00@contoso.example": MailboxDenied("no")}
    assert await ask(opened, schedules, rooms) == [[], [], []]
    assert [door for door, _ in schedules.asked] == ["r00@contoso.example", "r01@contoso.example"]


async def test_room_in_trouble_is_asked_through_last(opened: OpenStore) -> None:
    schedules, rooms = FakeSchedules(), await rooms_of(opened, 2)
    await opened.store.rooms.set_problem(rooms[0].uid, make_problem(), lease=None)
    await ask(opened, schedules, [await opened.reload(room) for room in rooms])
    assert [door for door, _ in schedules.asked] == ["r01@contoso.example"]


async def test_nobody_lets_us_in_and_each_room_says_so(opened: OpenStore) -> None:
    """Those that were tried with their own refusal; tries are bounded."""
    schedules, rooms = FakeSchedules(), await rooms_of(opened, 5)
    schedules.errors = {room.mailbox: MailboxDenied("no") for room in rooms}
    schedules.errors["r01@contoso.example"] = MailboxNotFound("none")
    denied, missing = "MAILBOX_ACCESS_DENIED", "MAILBOX_NOT_FOUND"
    assert await ask(opened, schedules, rooms) == [denied, missing, denied, denied, denied]
    assert len(schedules.asked) == 3


async def test_room_unknown_to_exchange_harms_no_other(opened: OpenStore) -> None:
    schedules, rooms = FakeSchedules(), await rooms_of(opened, 2)
    schedules.unknown = {"r01@contoso.example"}
    assert await ask(opened, schedules, rooms) == [[], "MAILBOX_NOT_FOUND"]


@pytest.mark.parametrize("error", [GraphUnavailable("away"), Throttled("slow down")])
async def test_group_that_failed_harms_no_other_group(opened: OpenStore, error: SidecarError) -> None:
    schedules, rooms = FakeSchedules(), await rooms_of(opened, 21)
    schedules.errors = {"r00@contoso.example": error}
    assert await ask(opened, schedules, rooms) == [error.reason] * 20 + [[]]


async def test_what_is_not_answered_in_time_is_told_as_such(opened: OpenStore) -> None:
    """With what was answered."""
    schedules, rooms = FakeSchedules(), await rooms_of(opened, 21)
    schedules.silent = {"r00@contoso.example"}
    assert await ask(opened, schedules, rooms, budget_s=0.05) == ["EXCHANGE_UNAVAILABLE"] * 20 + [[]]


async def test_suspended_tenant_is_asked_nothing(opened: OpenStore) -> None:
    schedules, rooms = FakeSchedules(), await rooms_of(opened, 1)
    await opened.store.lifecycle.suspend(TENANT, reason="")
    with pytest.raises(TenantSuspended):
        await ask(opened, schedules, rooms)
    assert not schedules.asked
