"""Driving writes: who carries out what, what callers are told, and what stays for whoever finds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sidecar.errors import (
    CallLimit,
    GraphRefused,
    GraphUnavailable,
    OutcomeUnknown,
    RequestIdReused,
    RoomConflict,
    ServerDraining,
    SidecarError,
    StoreConflict,
    StoreUnavailable,
    Throttled,
)
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.room import Room
from sidecar.model.write import Write, WriteKind, WriteState
from sidecar.store.writes import Begun, NewWrite
from sidecar.telemetry.metrics import Telemetry
from sidecar.writes import driver as driver_module
from sidecar.writes.driver import CLAIM_S, Driver, Goal, Lapsed, Work
from sidecar.writes.failures import failure_of
from tests.support.counted import counted
from tests.support.stores import OpenStore, TickingClock, open_store

pytestmark = pytest.mark.looptime

Script = Callable[[Work], Awaitable[datetime | None]]


async def done(work: Work) -> None:
    """End well."""
    await work.note(state=WriteState.UNSETTLED, event_id=EventId("e1"))
    await work.note(state=WriteState.DONE, booking_key=BookingKey("k1"))


def raising(error: Exception, *, after_note: bool = False) -> Script:
    """Fail, before or after Exchange is known to have done something."""

    async def run(work: Work) -> None:
        if after_note:
            await work.note(state=WriteState.UNSETTLED, event_id=EventId("e1"))
        raise error

    return run


@dataclass
class Scripted:
    """Steps that do what the test says, a script for each try; the last one goes on for ever."""

    scripts: list[Script] = field(default_factory=list)
    tries: list[WriteState] = field(default_factory=list)

    async def carry_out(self, work: Work) -> datetime | None:
        """See `Steps`."""
        self.tries.append(work.write.state)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        return await script(work)


@dataclass
class Bench:
    """One process over a store."""

    opened: OpenStore
    room: Room
    steps: Scripted
    driver: Driver
    kind: WriteKind = WriteKind.CREATE

    def new(self, request_id: str = "q1", digest: bytes = b"d") -> NewWrite:
        """Ask for something."""
        return NewWrite(
            tenant_uid=self.room.tenant_uid,
            room_uid=self.room.uid,
            request_id=request_id,
            kind=self.kind,
            digest=digest,
            payload=b"p",
        )

    async def submit(self, request_id: str = "q1", *, goal: Goal = Goal.ENDED, wait_s: float = 20.0) -> Write:
        """Submit a write."""
        return await self.driver.submit(self.new(request_id), goal=goal, wait_s=wait_s)

    async def rows(self) -> list[tuple[str, bool]]:
        """Return the state of each row, and whether its contents are there."""
        found = await self.opened.fetch("SELECT state, sealed IS NOT NULL FROM writes ORDER BY request_id")
        return [(row[0], bool(row[1])) for row in found]


@asynccontextmanager
async def bench(folder: Path, *scripts: Script, kind: WriteKind = WriteKind.CREATE) -> AsyncIterator[Bench]:
    """Run a driver over a store of its own; not a fixture, because virtual time begins with the test."""
    async with open_store(folder / "d.sqlite3", clock=TickingClock()) as opened:
        await opened.add_tenant()
        room = await opened.add_filled_room()
        async with driving(opened, Scripted(list(scripts))) as (driver, steps):
            yield Bench(opened, room, steps, driver, kind)


@asynccontextmanager
async def driving(opened: OpenStore, steps: Scripted) -> AsyncIterator[tuple[Driver, Scripted]]:
    """Run a driver."""
    driver = Driver(
        writes=opened.store.writes, steps=dict.fromkeys(WriteKind, steps), clock=opened.clock, telemetry=Telemetry()
    )
    running = asyncio.create_task(driver.run())
    await asyncio.sleep(0)
    try:
        yield driver, steps
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_write_is_carried_out_and_its_contents_are_erased(tmp_path: Path) -> None:
    async with bench(tmp_path, done) as b:
        write = await b.submit()
        assert (write.state, write.booking_key, write.payload) == (WriteState.DONE, "k1", None)
        assert await b.rows() == [("done", False)]


@pytest.mark.parametrize(
    ("script", "outcomes"),
    [
        (done, ["done"]),
        (raising(GraphRefused("no")), ["refused"]),
        (raising(GraphUnavailable("lost")), ["left", "done"]),
    ],
)
async def test_write_is_counted_by_how_it_ended(tmp_path: Path, script: Script, outcomes: list[str]) -> None:
    """One whose outcome was not known is counted again when it is; only then it is known how long it took."""
    async with bench(tmp_path, script, done) as b:
        for _ in outcomes:
            with suppress(SidecarError):
                await b.submit()
        telemetry = b.driver._telemetry
        assert counted(telemetry, "writes") == {f'kind="create",outcome="{outcome}"': 1 for outcome in outcomes}
        assert counted(telemetry, "write_duration_seconds_count") == {"": 1}


async def test_equal_writes_at_once_are_carried_out_once(tmp_path: Path) -> None:
    async with bench(tmp_path, done) as b:
        writes = await asyncio.gather(*(b.submit() for _ in range(10)))
        assert {write.uid for write in writes} == {writes[0].uid}
        assert b.steps.tries == [WriteState.STARTED]


async def test_other_contents_are_refused_and_nothing_is_carried_out(tmp_path: Path) -> None:
    async with bench(tmp_path, done) as b:
        await b.submit()
        with pytest.raises(RequestIdReused):
            await b.driver.submit(b.new(digest=b"other"), goal=Goal.ENDED, wait_s=1.0)
        assert len(b.steps.tries) == 1


@pytest.mark.parametrize("error", [GraphRefused("no"), Throttled("slow down", retry_after_s=600.0)])
async def test_failure_that_did_nothing_is_told_and_the_write_is_forgotten(tmp_path: Path, error: SidecarError) -> None:
    """The same request begins anew."""
    error.may_be_done = False
    async with bench(tmp_path, raising(error), done) as b:
        with pytest.raises(type(error)):
            await b.submit()
        assert await b.rows() == []
        assert (await b.submit()).state is WriteState.DONE


@pytest.mark.parametrize("error", [GraphUnavailable("lost"), TimeoutError(), KeyError("a fault of ours")])
async def test_failure_that_may_have_done_something_leaves_the_outcome_unknown(
    tmp_path: Path, error: Exception
) -> None:
    """The row stays, with all that is needed to go on; asking again does."""
    async with bench(tmp_path, raising(error), done) as b:
        with pytest.raises(OutcomeUnknown):
            await b.submit()
        assert await b.rows() == [("sent", True)]
        assert (await b.submit()).state is WriteState.DONE
        assert b.steps.tries == [WriteState.STARTED, WriteState.SENT]


async def test_refusal_after_something_was_done_is_not_the_end(tmp_path: Path) -> None:
    """A permission that was taken away leaves what was made: it is tried again until it can be settled."""
    async with bench(tmp_path, raising(GraphRefused("no"), after_note=True), done) as b:
        with pytest.raises(OutcomeUnknown):
            await b.submit()
        assert await b.rows() == [("unsettled", True)]


async def test_refusal_of_a_second_try_does_not_forget_the_first(tmp_path: Path) -> None:
    refused = GraphRefused("no")
    async with bench(tmp_path, raising(GraphUnavailable("lost")), raising(refused)) as b:
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                await b.submit()
        assert await b.rows() == [("sent", True)]


async def test_write_of_which_nothing_exists_and_that_came_too_late_is_forgotten(tmp_path: Path) -> None:
    async with bench(tmp_path, raising(GraphUnavailable("lost")), raising(Lapsed())) as b:
        with pytest.raises(OutcomeUnknown):
            await b.submit()
        with pytest.raises(GraphUnavailable):
            await b.submit()
        assert await b.rows() == []


async def test_remembered_failure_is_told_again(tmp_path: Path) -> None:
    async def refuse(work: Work) -> None:
        conflict = RoomConflict("taken", details={"start_time": "then"})
        await work.note(state=WriteState.FAILED, failure=failure_of(conflict))

    async with bench(tmp_path, refuse) as b:
        for _ in range(2):
            with pytest.raises(RoomConflict) as caught:
                await b.submit()
            assert caught.value.details == {"start_time": "then"}
        assert len(b.steps.tries) == 1


async def test_caller_who_wants_to_know_that_it_is_taken_does_not_wait_for_the_end(tmp_path: Path) -> None:
    async def slow(work: Work) -> None:
        await work.note(state=WriteState.UNSETTLED)
        await asyncio.sleep(5)
        await work.note(state=WriteState.DONE)

    async with bench(tmp_path, slow) as b:
        assert (await b.submit(goal=Goal.TAKEN)).state is WriteState.UNSETTLED
        assert (await b.submit()).state is WriteState.DONE


async def test_caller_waits_no_longer_than_it_wants_to(tmp_path: Path) -> None:
    async def slow(work: Work) -> None:
        await asyncio.sleep(30)
        await done(work)

    async with bench(tmp_path, slow) as b:
        began_s = b.opened.clock.monotonic()
        with pytest.raises(OutcomeUnknown):
            await b.submit(wait_s=3.0)
        assert 3.0 <= b.opened.clock.monotonic() - began_s < 3.5
        assert await b.driver.wait_idle(60.0)
        assert await b.rows() == [("done", False)]


async def test_write_that_waits_for_something_is_left_and_due_then(tmp_path: Path) -> None:
    """Nobody holds it meanwhile, so another process may look again, or whoever asks again."""

    async def wait(work: Work) -> datetime:
        await work.note(state=WriteState.UNSETTLED)
        return b.opened.clock.now() + timedelta(seconds=60)

    async with bench(tmp_path, wait, done) as b:
        began_at = b.opened.clock.now()
        assert (await b.submit(goal=Goal.TAKEN)).state is WriteState.UNSETTLED
        assert await b.driver.wait_idle(1.0)
        ((key, ready_at),) = await b.opened.fetch("SELECT key, ready_at FROM intents WHERE kind = 'booking.write'")
        assert 59 <= ready_at / 1e6 - began_at.timestamp() <= 61
        assert await b.driver.resume(key) is None
        assert (await b.submit()).state is WriteState.DONE
        assert await b.opened.fetch("SELECT 1 FROM intents WHERE kind = 'booking.write'") == []


async def test_second_process_waits_for_the_first_and_hears_of_the_end(tmp_path: Path) -> None:
    async def slow(work: Work) -> None:
        await asyncio.sleep(5)
        await done(work)

    async with bench(tmp_path, slow) as b, driving(b.opened, Scripted([done])) as (other, steps):
        first = asyncio.create_task(b.submit())
        await asyncio.sleep(1)
        assert (await other.submit(b.new(), goal=Goal.ENDED, wait_s=20.0)).state is WriteState.DONE
        assert (await first).state is WriteState.DONE
        assert steps.tries == []


async def test_write_that_takes_long_is_not_taken_over_while_its_process_lives(tmp_path: Path) -> None:
    async def slow(work: Work) -> None:
        await asyncio.sleep(3 * CLAIM_S)
        await done(work)

    async with bench(tmp_path, slow) as b, driving(b.opened, Scripted([done])) as (other, steps):
        first = asyncio.create_task(b.submit(wait_s=100.0))
        await asyncio.sleep(2 * CLAIM_S)
        ((key,),) = await b.opened.fetch("SELECT key FROM intents WHERE kind = 'booking.write'")
        again_at = await other.resume(key)
        assert again_at is not None
        assert again_at > b.opened.clock.now()
        assert (await first).state is WriteState.DONE
        assert steps.tries == []


async def test_write_of_a_dead_process_is_taken_over_when_its_claim_is_over(tmp_path: Path) -> None:
    async def hang(work: Work) -> None:
        await asyncio.sleep(1e6)

    async with bench(tmp_path, done) as b:
        async with driving(b.opened, Scripted([hang])) as (dying, _):
            call = asyncio.create_task(dying.submit(b.new(), goal=Goal.ENDED, wait_s=100.0))
            await asyncio.sleep(1)
        with pytest.raises(OutcomeUnknown):
            await call
        await asyncio.sleep(CLAIM_S)
        assert (await b.submit()).state is WriteState.DONE
        assert b.steps.tries == [WriteState.SENT]


async def test_step_of_one_who_lost_its_claim_changes_nothing(tmp_path: Path) -> None:
    async def robbed(work: Work) -> None:
        await b.opened.execute("UPDATE writes SET fence = fence + 1")
        with pytest.raises(StoreConflict):
            await work.note(state=WriteState.DONE)
        raise StoreConflict("lost")

    async with bench(tmp_path, robbed) as b:
        with pytest.raises(OutcomeUnknown):
            await b.submit()
        assert await b.rows() == [("started", True)]


async def test_write_is_refused_while_nothing_is_carried_out(tmp_path: Path) -> None:
    async with bench(tmp_path, done) as b:
        idle = Driver(writes=b.opened.store.writes, steps={}, clock=b.opened.clock, telemetry=Telemetry())
        with pytest.raises(ServerDraining):
            await idle.submit(b.new(), goal=Goal.ENDED, wait_s=1.0)
        assert await b.rows() == []


@pytest.mark.parametrize("turns_count", range(0, 24))
async def test_caller_of_a_process_that_stops_hears_so_at_once(tmp_path: Path, turns_count: int) -> None:
    """At whatever turn of the loop: nobody waits in vain, nothing breaks, and nothing seems to be under way for ever."""

    async def endless(_: Work) -> datetime | None:
        await asyncio.Event().wait()
        return None

    async with bench(tmp_path, endless) as b:
        driver = Driver(
            writes=b.opened.store.writes, steps={WriteKind.CREATE: b.steps}, clock=b.opened.clock, telemetry=Telemetry()
        )
        running = asyncio.create_task(driver.run())
        await asyncio.sleep(0)
        call = asyncio.create_task(driver.submit(b.new(), goal=Goal.ENDED, wait_s=20.0))
        for _ in range(turns_count):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        async with asyncio.timeout(1.0):
            with pytest.raises((OutcomeUnknown, ServerDraining)):
                await call
        assert await driver.wait_idle(1.0)


async def leaving(work: Work) -> datetime:
    """Wait for a room's answer, as long as the process has the time."""
    await work.note(state=WriteState.UNSETTLED)
    while not work.must_leave:
        await work.news.wait(work.news.version, 30.0)
    return datetime.now(UTC)


@pytest.mark.parametrize("kind", [WriteKind.INVITE, WriteKind.REINVITE])
async def test_stop_tells_whoever_waits_for_a_room_that_it_has_not_answered_yet(
    tmp_path: Path, kind: WriteKind
) -> None:
    async with bench(tmp_path, leaving, kind=kind) as b:
        call = asyncio.create_task(b.submit())
        await asyncio.sleep(3.0)
        b.driver.drain()
        async with asyncio.timeout(0.5):
            assert (await call).state is WriteState.UNSETTLED
        assert await b.driver.wait_idle(0.5)
        assert await b.opened.fetch("SELECT 1 FROM intents WHERE kind = 'booking.write'") != []


async def test_stop_lets_a_write_that_only_exchange_decides_come_to_its_end(tmp_path: Path) -> None:
    async def slow(work: Work) -> None:
        await work.note(state=WriteState.UNSETTLED)
        await asyncio.sleep(3.0)
        await done(work)

    async with bench(tmp_path, slow) as b:
        call = asyncio.create_task(b.submit())
        await asyncio.sleep(1.0)
        b.driver.drain()
        assert (await call).state is WriteState.DONE


async def test_write_that_is_begun_while_the_process_stops_is_told_when_exchange_has_it(tmp_path: Path) -> None:
    async with bench(tmp_path, leaving, kind=WriteKind.INVITE) as b:
        b.driver.drain()
        async with asyncio.timeout(0.5):
            assert (await b.submit()).state is WriteState.UNSETTLED


async def test_more_writes_than_one_process_may_have_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "_UNDER_WAY_MAX", 2)

    async def slow(work: Work) -> None:
        await work.note(state=WriteState.UNSETTLED)
        await asyncio.sleep(5)
        await work.note(state=WriteState.DONE)

    async with bench(tmp_path, slow) as b:
        for number in range(2):
            await b.submit(f"q{number}", goal=Goal.TAKEN)
        with pytest.raises(CallLimit):
            await b.submit("q3")
        await b.driver.wait_idle(60.0)
        assert (await b.submit("q3")).state is WriteState.DONE


async def test_beginning_whose_commit_may_have_been_lost_leaves_the_outcome_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be carried out by whoever finds it; the same request gets the answer."""
    async with bench(tmp_path, done) as b:
        begin = b.opened.store.writes.begin

        async def lost(new: NewWrite, *, claim_s: float) -> Begun:
            await begin(new, claim_s=claim_s)
            raise StoreUnavailable("the connection broke")

        with monkeypatch.context() as patched:
            patched.setattr(b.opened.store.writes, "begin", lost)
            with pytest.raises(OutcomeUnknown):
                await b.submit()
        await asyncio.sleep(CLAIM_S)
        assert (await b.submit()).state is WriteState.DONE
        assert len(await b.rows()) == 1
