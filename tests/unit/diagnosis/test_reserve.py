"""The reserve test: it hits nothing, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from sidecar.diagnosis.reserve import REMOVE_WITHIN, ReserveTest
from sidecar.errors import GraphUnavailable, MailboxDenied, SidecarError
from sidecar.graph.clouds import TenantRef
from sidecar.graph.wire import GraphEvent, GraphTime
from sidecar.model.check import CheckOutcome
from sidecar.model.ids import EventId
from sidecar.model.intent import Intent, IntentKind
from sidecar.model.tenant import Tenant
from sidecar.settings import SyncSettings
from tests.support.builders import NOW
from tests.support.fake_microsoft import FakeMicrosoft, make_reserve
from tests.support.stores import ManualClock, OpenStore, open_store

ROOM = "r1@contoso.example"


@dataclass
class Bench:
    """A tenant, a Microsoft that answers as told, and the test."""

    db: OpenStore
    clock: ManualClock
    tenant: Tenant
    microsoft: FakeMicrosoft
    reserve: ReserveTest

    async def due(self) -> list[Intent]:
        """Return what is due of removals by now."""
        found = await self.db.store.intents.due(self.tenant.uid, count_max=9)
        return [intent for intent in found if intent.kind is IntentKind.TEST_BOOKING_REMOVE]

    async def clear(self) -> int:
        """Let a minute pass, and do what is due then; return how many bookings it removed."""
        self.clock.advance(REMOVE_WITHIN.total_seconds())
        return sum([await self.reserve.clear(intent.key, self.tenant) for intent in await self.due()])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = ManualClock()
    async with open_store(tmp_path / "r.sqlite3", clock=clock) as db:
        tenant, microsoft = await db.add_tenant(), FakeMicrosoft()
        yield Bench(db, clock, tenant, microsoft, make_reserve(db.store, microsoft, clock))


async def test_minute_is_booked_beyond_the_copy_and_removed(bench: Bench) -> None:
    result = await bench.reserve.run(bench.tenant, ROOM)
    assert result.outcome is CheckOutcome.PASSED
    assert bench.microsoft.placed == {}
    (window,) = bench.microsoft.windows
    assert window.end_at - window.start_at == timedelta(minutes=1)
    assert window.start_at > NOW + timedelta(days=SyncSettings().future_days + 20)
    assert result.facts["event_id"] == "event-0"


async def test_taken_minutes_are_left_alone(bench: Bench) -> None:
    far = GraphTime("2000-01-01T00:00:00.0000000", "UTC"), GraphTime("2099-01-01T00:00:00.0000000", "UTC")
    bench.microsoft.view = [GraphEvent(id=EventId("e1"), start=far[0], end=far[1])]
    result = await bench.reserve.run(bench.tenant, ROOM)
    assert result.outcome is CheckOutcome.WARNING
    assert result.problem is not None
    assert result.problem.reason == "TEST_NOT_MADE"
    assert bench.microsoft.windows == []


async def test_refusal_to_write_says_which_permission_is_missing(bench: Bench) -> None:
    bench.microsoft.errors = {"place": MailboxDenied("no", details={"request_id": "r-1"})}
    result = await bench.reserve.run(bench.tenant, ROOM)
    assert result.outcome is CheckOutcome.FAILED
    assert result.problem is not None
    assert result.problem.reason == "MAILBOX_WRITE_DENIED"
    assert result.facts["request_id"] == "r-1"


@pytest.mark.parametrize("step", ["placed", "is_there", "remove"])
async def test_whatever_fails_after_placing_the_booking_goes_within_a_minute(bench: Bench, step: str) -> None:
    """Also when the answer to placing it was lost, so that nobody learned its id."""
    bench.microsoft.errors = {step: GraphUnavailable("away")}
    result = await bench.reserve.run(bench.tenant, ROOM)
    assert result.outcome is not CheckOutcome.PASSED
    assert len(bench.microsoft.placed) == 1
    bench.microsoft.errors = {}
    assert await bench.clear() == 1
    assert bench.microsoft.placed == {}


async def test_caller_who_hangs_up_between_placing_and_removing_leaves_nothing(bench: Bench) -> None:
    async def hang(tenant: TenantRef, mailbox: str, event_id: EventId) -> bool:
        raise asyncio.CancelledError

    is_there, bench.microsoft.is_there = bench.microsoft.is_there, hang  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await bench.reserve.run(bench.tenant, ROOM)
    bench.microsoft.is_there = is_there  # type: ignore[method-assign]
    assert await bench.due() == []  # a test that is under way is given its time
    assert await bench.clear() == 1


async def test_process_that_dies_between_placing_and_removing_leaves_its_duty_in_the_store(tmp_path: Path) -> None:
    clock, microsoft = ManualClock(), FakeMicrosoft(errors={"placed": SidecarError("the process ends here")})
    async with open_store(tmp_path / "d.sqlite3", clock=clock) as db:
        tenant = await db.add_tenant()
        await make_reserve(db.store, microsoft, clock).run(tenant, ROOM)
    microsoft.errors = {}
    async with open_store(tmp_path / "d.sqlite3", clock=clock) as db:
        again = Bench(db, clock, tenant, microsoft, make_reserve(db.store, microsoft, clock))
        assert await again.clear() == 1
    assert microsoft.placed == {}


async def test_removal_is_due_in_the_store_before_anything_is_placed(bench: Bench) -> None:
    async def place(tenant: TenantRef, mailbox: str, window: object, *, transaction_id: str) -> EventId:
        bench.clock.advance(REMOVE_WITHIN.total_seconds())
        (intent,) = await bench.due()
        assert intent.key == f"{transaction_id}/{ROOM}"
        return EventId("e1")

    bench.microsoft.place = place  # type: ignore[method-assign]
    await bench.reserve.run(bench.tenant, ROOM)


async def test_removal_of_one_test_leaves_another_one_under_way_alone(bench: Bench) -> None:
    bench.microsoft.errors = {"remove": GraphUnavailable("away")}
    await bench.reserve.run(bench.tenant, ROOM)
    bench.microsoft.errors = {}
    bench.microsoft.placed[EventId("other")] = "another transaction"
    assert await bench.clear() == 1
    assert bench.microsoft.placed == {EventId("other"): "another transaction"}


async def test_booking_that_vanishes_at_once_is_a_failure(bench: Bench) -> None:
    async def gone(tenant: TenantRef, mailbox: str, event_id: EventId) -> bool:
        return False

    bench.microsoft.is_there = gone  # type: ignore[method-assign]
    result = await bench.reserve.run(bench.tenant, ROOM)
    assert result.outcome is CheckOutcome.FAILED
    assert bench.microsoft.placed == {}


@pytest.mark.parametrize("error", [GraphUnavailable("away"), SidecarError("odd")])
async def test_trouble_before_placing_is_told(bench: Bench, error: SidecarError) -> None:
    bench.microsoft.errors = {"place": error}
    result = await bench.reserve.run(bench.tenant, ROOM)
    assert result.error is error
