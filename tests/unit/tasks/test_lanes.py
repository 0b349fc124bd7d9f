"""The engine: what is due runs once, again when marked meanwhile, later when it failed, and never twice at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from sidecar.errors import GraphUnavailable
from sidecar.graph.urgency import Urgency, current_urgency, urgency_of
from sidecar.model.ids import TenantUid
from sidecar.model.intent import Intent, IntentKind, Lease, Priority
from sidecar.settings import TasksSettings
from sidecar.tasks.chores import Chores, Done, Outcome, PutOff
from sidecar.tasks.lanes import Lanes
from sidecar.tasks.runner import EmbeddedRunner
from sidecar.telemetry.metrics import Telemetry
from sidecar.telemetry.tracing import OFF, Tracing
from tests.support.counted import counted
from tests.support.stores import OpenStore, TickingClock, open_store, run_virtually
from tests.support.traces import Traces, attributes_of

LANE = TenantUid("t1")
SETTINGS = TasksSettings(
    lease_s=3.0, linger_s=0.2, slice_s=1.0, sweep_s=5.0, rooms_per_lane_max=4, rooms_kept_for_hints=1, lanes_max=2
)


class Bench:
    """A store with an engine whose chore is the test's own."""

    def __init__(
        self, opened: OpenStore, work: Callable[[Intent], Awaitable[Outcome | None]], *, tracing: Tracing = OFF
    ) -> None:
        self.opened = opened
        self.clock = cast(TickingClock, opened.clock)  # the store was opened with one
        self.ran: list[str] = []
        self.running: set[str] = set()
        self.most_at_once = 0
        self._work = work
        self.telemetry = Telemetry()
        chores = SimpleNamespace(by_kind=dict.fromkeys(IntentKind, self._chore))
        self.lanes = Lanes(
            store=opened.store,
            chores=cast(Chores, chores),  # only by_kind is used
            owner="test",
            clock=self.clock,
            rng=Random(1),
            settings=SETTINGS,
            telemetry=self.telemetry,
            tracing=tracing,
        )
        self.runner = EmbeddedRunner(store=opened.store, lanes=self.lanes, clock=self.clock, settings=SETTINGS)

    async def _chore(self, intent: Intent, lease: Lease) -> Outcome:
        assert intent.key not in self.running, "the same key twice at once"
        self.running.add(intent.key)
        self.most_at_once = max(self.most_at_once, len(self.running))
        try:
            outcome = await self._work(intent)
        finally:
            self.running.discard(intent.key)
        self.ran.append(intent.key)
        return outcome or Done()

    async def mark(self, key: str, *, lane: str = LANE, priority: Priority = Priority.HINT, in_s: float = 0) -> None:
        """Make work due."""
        ready_at = self.clock.now() + timedelta(seconds=in_s) if in_s else None
        await self.opened.store.intents.mark(
            IntentKind.ROOM_SYNC, key, TenantUid(lane), priority=priority, ready_at=ready_at
        )

    async def count(self) -> int:
        """Return how much work is known."""
        return await self.opened.store.intents.count()

    @asynccontextmanager
    async def running_engine(self) -> AsyncIterator[None]:
        """Run the embedded runner while inside."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.runner.run())
            yield
            self.runner.stop()
            await task


def on_bench(
    tmp_path: Path,
    work: Callable[[Intent], Awaitable[Outcome | None]],
    play: Callable[[Bench], Awaitable[None]],
    *,
    tracing: Tracing = OFF,
) -> Bench:
    """Play on virtual time, and return the bench."""

    async def main() -> Bench:
        async with open_store(tmp_path / "exchange.sqlite3", clock=TickingClock()) as opened:
            bench = Bench(opened, work, tracing=tracing)
            await play(bench)
            bench.telemetry.close()
            return bench

    return run_virtually(main)


async def nothing(intent: Intent) -> None:
    """Do nothing."""


def test_due_work_runs_and_is_forgotten(tmp_path: Path) -> None:
    """What is done is no longer known."""

    async def play(bench: Bench) -> None:
        await bench.mark("r1")
        await bench.lanes.drain(LANE)
        assert await bench.count() == 0

    assert on_bench(tmp_path, nothing, play).ran == ["r1"]


def test_mark_during_a_run_runs_once_more(tmp_path: Path) -> None:
    """A mark made while the work runs is about something the run may not have seen."""
    marks = [3]

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> None:
            while marks[0] > 0:
                marks[0] -= 1
                await bench.mark("r1")

        bench._work = work
        await bench.mark("r1")
        await bench.lanes.drain(LANE)
        assert await bench.count() == 0

    assert on_bench(tmp_path, nothing, play).ran == ["r1", "r1"]


def test_two_drains_of_a_lane_in_one_process_part_in_peace_when_one_has_lost_it(tmp_path: Path) -> None:
    """The schedule's and one on request: the second takes the lane once the lease has run out, and the first finds out."""

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> None:
            await bench.clock.sleep(2 * SETTINGS.lease_s)

        bench._work = work
        await bench.mark("r1")
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.lanes.drain(LANE))
            await bench.clock.sleep(SETTINGS.lease_s / 10)
            await bench.opened.execute("UPDATE lanes SET lease_until = 0")
            await bench.opened.execute("UPDATE intents SET ready_at = ready_at + 5000000")
            await bench.mark("r2")
            second = group.create_task(bench.lanes.drain(LANE))
            await bench.clock.sleep(SETTINGS.lease_s)
            assert bench.lanes.is_draining(LANE)
            await second
        assert not bench.lanes.is_draining(LANE)
        assert "r2" in bench.ran

    on_bench(tmp_path, nothing, play)


def test_keys_run_side_by_side_up_to_the_limit(tmp_path: Path) -> None:
    """Rooms of one tenant are worked on at once, but not without bound."""

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> None:
            await bench.clock.sleep(1)

        bench._work = work
        for number in range(10):
            await bench.mark(f"r{number}")
        await bench.lanes.drain(LANE)

    bench = on_bench(tmp_path, nothing, play)
    assert sorted(bench.ran) == sorted(f"r{number}" for number in range(10))
    assert bench.most_at_once == SETTINGS.rooms_per_lane_max


def test_urgent_work_goes_first(tmp_path: Path) -> None:
    """A notified room does not stand in line behind an import."""

    async def play(bench: Bench) -> None:
        for number in range(8):
            await bench.mark(f"import{number}", priority=Priority.IMPORT)
        await bench.mark("hint", priority=Priority.HINT)
        await bench.lanes.drain(LANE)

    assert on_bench(tmp_path, nothing, play).ran.index("hint") < SETTINGS.rooms_per_lane_max


def test_hint_starts_at_once_though_imports_take_all_they_may(tmp_path: Path) -> None:
    """Some of the rooms worked on at once are kept for rooms in which something changed."""

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> None:
            await bench.clock.sleep(1 if intent.key == "hint" else 100)

        bench._work = work
        for number in range(8):
            await bench.mark(f"import{number}", priority=Priority.IMPORT)
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.lanes.drain(LANE))
            while len(bench.running) < SETTINGS.rooms_per_lane_max - SETTINGS.rooms_kept_for_hints:
                await bench.clock.sleep(0.01)
            await bench.mark("hint")
            bench.lanes.nudge(LANE)
            await bench.clock.sleep(2)
            assert bench.ran == ["hint"]
            assert len(bench.running) == SETTINGS.rooms_per_lane_max - SETTINGS.rooms_kept_for_hints

    assert len(on_bench(tmp_path, nothing, play).ran) == 9


def test_requests_of_work_are_as_urgent_as_the_work(tmp_path: Path) -> None:
    """What a lane runs goes to Microsoft with the urgency of its mark."""
    seen: dict[str, Urgency] = {}

    async def work(intent: Intent) -> None:
        seen[intent.key] = current_urgency()

    async def play(bench: Bench) -> None:
        for priority in Priority:
            await bench.mark(priority.name, priority=priority)
        await bench.lanes.drain(LANE)

    on_bench(tmp_path, work, play)
    assert seen == {priority.name: urgency_of(priority) for priority in Priority}
    assert seen["HINT"] < seen["COMPARE"] < seen["IMPORT"]


def test_failed_work_is_tried_again_later(tmp_path: Path) -> None:
    """An obstacle puts work off; it is not lost, and others go on."""
    failures = [2]

    async def work(intent: Intent) -> None:
        if intent.key == "bad" and failures[0] > 0:
            failures[0] -= 1
            raise GraphUnavailable("away", retry_after_s=4.0)

    async def play(bench: Bench) -> None:
        await bench.mark("bad")
        await bench.mark("good")
        async with bench.running_engine():
            began_s = bench.clock.monotonic()
            while await bench.count():
                await bench.clock.sleep(0.5)
            assert bench.clock.monotonic() - began_s >= 8.0

    assert on_bench(tmp_path, work, play).ran == ["good", "bad"]


def test_bug_in_a_chore_does_not_stop_the_others(tmp_path: Path) -> None:
    """A fault in one room's work is contained, counted, and tried again."""
    failures = [1]

    async def work(intent: Intent) -> None:
        if intent.key == "bad" and failures[0] > 0:
            failures[0] -= 1
            raise ZeroDivisionError

    async def play(bench: Bench) -> None:
        await bench.mark("bad")
        await bench.mark("good")
        async with bench.running_engine():
            while await bench.count():
                await bench.clock.sleep(0.5)
        assert counted(bench.telemetry, "intents_failed") == {'kind="room.sync"': 1}
        assert counted(bench.telemetry, "intents_done") == {'kind="room.sync"': 2}

    assert on_bench(tmp_path, work, play).ran == ["good", "bad"]


@pytest.mark.parametrize(("kind", "is_measured"), [(IntentKind.ROOM_SYNC, True), (IntentKind.ROOM_CHECK, False)])
def test_way_to_the_commit_is_measured_for_announced_changes_alone(
    tmp_path: Path, kind: IntentKind, is_measured: bool
) -> None:
    """Checks and imports wait by design; their waits would hide those of changes that people have made."""

    async def play(bench: Bench) -> None:
        await bench.opened.store.intents.mark(kind, "r1", TenantUid(LANE), priority=Priority.HINT)
        await bench.lanes.drain(LANE)
        found = counted(bench.telemetry, "hint_to_commit_seconds_count")
        assert found == ({"": 1} if is_measured else {})

    on_bench(tmp_path, nothing, play)


def test_work_that_is_not_allowed_now_is_counted_apart_from_failures(tmp_path: Path) -> None:
    async def work(intent: Intent) -> PutOff:
        return PutOff(intent.ready_at + timedelta(hours=1), "MAILBOX_ACCESS_DENIED")

    async def play(bench: Bench) -> None:
        await bench.mark("r1")
        await bench.lanes.drain(LANE)
        assert counted(bench.telemetry, "intents_put_off") == {'kind="room.sync"': 1}
        assert counted(bench.telemetry, "intents_failed") == counted(bench.telemetry, "intents_done") == {}

    on_bench(tmp_path, work, play)


def test_work_that_ends_while_the_list_is_read_does_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of due work may be older than the end of what it names."""
    may_end = asyncio.Event()

    async def work(intent: Intent) -> None:
        if intent.key == "r1":
            await may_end.wait()

    async def play(bench: Bench) -> None:
        intents = bench.opened.store.intents
        read = intents.due

        async def read_and_dawdle(lane: TenantUid, *, count_max: int, lease: Lease | None) -> Sequence[Intent]:
            due = await read(lane, count_max=count_max, lease=lease)
            if {intent.key for intent in due} == {"r1", "r2"}:
                may_end.set()
                await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name().endswith(" r1")])
            return due

        monkeypatch.setattr(intents, "due", read_and_dawdle)
        await bench.mark("r1")
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.lanes.drain(LANE))
            while "r1" not in bench.running:
                await bench.clock.sleep(0.01)
            await bench.mark("r2")
            bench.lanes.nudge(LANE)

    assert sorted(on_bench(tmp_path, work, play).ran) == ["r1", "r2"]


def test_runner_looks_everywhere_when_anything_may_be_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks that another process made while nobody heard are found at once, in lanes at work and in idle ones."""

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> None:
            if intent.key == "long":
                await bench.clock.sleep(100)

        bench._work = work
        heard: list[Callable[[str], None]] = []

        def listen(_: str, listener: Callable[[str], None]) -> Callable[[], None]:
            heard.append(listener)
            return heard.clear

        monkeypatch.setattr(bench.opened.engine, "listen", listen)
        await bench.mark("long")
        async with bench.running_engine():
            while "long" not in bench.running:
                await bench.clock.sleep(0.01)
            await bench.mark("r1")
            await bench.mark("r2", lane="other")
            for listener in heard:
                listener("")
            await bench.clock.sleep(0.5)  # less than a sweep
            assert sorted(bench.ran) == ["r1", "r2"]

    on_bench(tmp_path, nothing, play)


def test_blocked_work_waits_and_a_forced_mark_frees_it(tmp_path: Path) -> None:
    """Ordinary marks do not hurry what Microsoft refuses; somebody who mended it does."""
    is_blocked = [True]

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> Outcome:
            if is_blocked[0]:
                return PutOff(bench.clock.now() + timedelta(hours=1), "MAILBOX_ACCESS_DENIED")
            return Done()

        bench._work = work
        await bench.mark("r1")
        await bench.lanes.drain(LANE)
        is_blocked[0] = False
        await bench.mark("r1")
        await bench.lanes.drain(LANE)
        assert bench.ran == ["r1"]
        await bench.opened.store.intents.mark(IntentKind.ROOM_SYNC, "r1", LANE, priority=Priority.HINT, force=True)
        await bench.lanes.drain(LANE)

    assert on_bench(tmp_path, nothing, play).ran == ["r1", "r1"]


def test_lane_is_drained_in_one_place_at_a_time(tmp_path: Path) -> None:
    """Who does not get the lease goes away at once."""

    async def play(bench: Bench) -> None:
        lease = await bench.opened.store.intents.take_lane(LANE, owner="other", lease_s=100)
        assert lease is not None
        await bench.mark("r1")
        await bench.lanes.drain(LANE)
        assert bench.ran == []
        await bench.opened.store.intents.release_lane(lease, if_idle=False)
        await bench.lanes.drain(LANE)

    assert on_bench(tmp_path, nothing, play).ran == ["r1"]


def test_long_work_keeps_its_lease(tmp_path: Path) -> None:
    """The lease is renewed while work runs, however long it takes."""

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> None:
            await bench.clock.sleep(SETTINGS.lease_s * 5)
            assert await bench.opened.store.intents.take_lane(LANE, owner="other", lease_s=1) is None

        bench._work = work
        await bench.mark("r1")
        await bench.lanes.drain(LANE)

    assert on_bench(tmp_path, nothing, play).ran == ["r1"]


def test_stolen_lane_ends_the_drain_quietly(tmp_path: Path) -> None:
    """A worker that was away too long finds its lane taken, stops, and what it did not finish stays due."""

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> None:
            await bench.opened.store.intents.break_leases()
            await bench.clock.sleep(SETTINGS.lease_s)

        bench._work = work
        await bench.mark("r1")
        await bench.lanes.drain(LANE)
        assert await bench.count() == 1

    assert on_bench(tmp_path, nothing, play).ran == []


def test_future_work_starts_when_it_is_due(tmp_path: Path) -> None:
    """The runner wakes by itself at the time of the next work, not at the next sweep."""
    started: list[float] = []

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> None:
            started.append(bench.clock.monotonic())

        bench._work = work
        async with bench.running_engine():
            began_s = bench.clock.monotonic()
            await bench.mark("r1", in_s=2.0)
            while await bench.count():
                await bench.clock.sleep(0.1)
            assert 1.99 < started[0] - began_s < 2.2

    on_bench(tmp_path, nothing, play)


def test_slow_room_does_not_keep_others_of_its_tenant_waiting(tmp_path: Path) -> None:
    """What becomes due while something runs starts at its time."""
    started: dict[str, float] = {}

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> None:
            started[intent.key] = bench.clock.monotonic()
            await bench.clock.sleep(30.0 if intent.key == "slow" else 0.1)

        bench._work = work
        began_s = bench.clock.monotonic()
        await bench.mark("slow")
        await bench.mark("hinted", in_s=2.0)
        await bench.lanes.drain(LANE)
        assert 1.99 < started["hinted"] - began_s < 2.2

    on_bench(tmp_path, nothing, play)


def test_work_that_becomes_due_during_a_look_starts_beside_slow_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look takes a moment; what becomes due in that moment does not wait until the slow work ends."""

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> None:
            await bench.clock.sleep(60.0 if intent.key == "slow" else 0.1)

        bench._work = work
        intents = bench.opened.store.intents
        look = intents.due

        async def slow_look(lane: TenantUid, *, count_max: int, lease: Lease | None) -> Sequence[Intent]:
            found = await look(lane, count_max=count_max, lease=lease)
            await bench.clock.sleep(0.5)
            return found

        monkeypatch.setattr(intents, "due", slow_look)
        await bench.mark("slow")
        await bench.mark("planned", in_s=0.25)
        async with bench.running_engine():
            await bench.clock.sleep(10)
            assert bench.ran == ["planned"]
            await bench.clock.sleep(60)

    assert on_bench(tmp_path, nothing, play).ran == ["planned", "slow"]


def test_endless_tenant_makes_way_for_others(tmp_path: Path) -> None:
    """With every slot taken by tenants that never run dry, a third one still gets its turn."""
    is_over = [False]

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> Outcome:
            await bench.clock.sleep(0.3)
            if intent.lane != "small" and not is_over[0]:
                return Done(bench.clock.now())
            is_over[0] = True
            return Done()

        bench._work = work
        for lane in ("big1", "big2"):
            await bench.mark(f"room of {lane}", lane=lane)
        async with bench.running_engine():
            await bench.clock.sleep(1.0)
            began_s = bench.clock.monotonic()
            await bench.mark("room of small", lane="small")
            while not is_over[0]:
                await bench.clock.sleep(0.1)
            assert bench.clock.monotonic() - began_s < 4.0

    assert "room of small" in on_bench(tmp_path, nothing, play).ran


def test_work_survives_a_stop(tmp_path: Path) -> None:
    """What was not begun when the process stops is due after the next start."""

    async def play(bench: Bench) -> None:
        async with bench.running_engine():
            await bench.mark("later", in_s=30.0)
        assert await bench.count() == 1

    assert on_bench(tmp_path, nothing, play).ran == []


@pytest.mark.parametrize("seed", range(5))
def test_marks_from_many_sides_are_all_answered(tmp_path: Path, seed: int) -> None:
    """For each mark there is a run that began after it, whatever the timing (seeded, printed by the test's name)."""
    rng = Random(seed)
    last_mark: dict[str, float] = {}
    last_start: dict[str, float] = {}

    async def play(bench: Bench) -> None:
        async def work(intent: Intent) -> None:
            last_start[intent.key] = bench.clock.now().timestamp()
            await bench.clock.sleep(rng.random())

        bench._work = work
        async with bench.running_engine():
            for _ in range(200):
                key = f"r{rng.randrange(8)}"
                last_mark[key] = bench.clock.now().timestamp()
                await bench.mark(key, lane=rng.choice([LANE, LANE, "t2"]) if key == "r9" else LANE)
                if rng.random() < 0.3:
                    await bench.clock.sleep(rng.random())
            while await bench.count():
                await bench.clock.sleep(0.5)

    on_bench(tmp_path, nothing, play)
    assert all(last_start[key] >= marked for key, marked in last_mark.items())


def test_suspension_cancels_what_is_under_way_at_once(tmp_path: Path) -> None:
    """It does not wait for a slow room, nor for the next time that the lease is renewed."""
    cancelled: list[str] = []

    async def work(intent: Intent) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(intent.key)
            raise

    async def play(bench: Bench) -> None:
        tenant = await bench.opened.add_tenant()
        await bench.mark("r1", lane=tenant.uid)
        async with bench.running_engine():
            while bench.running != {"r1", tenant.uid}:  # the tenant's first verification is under way, too
                await bench.clock.sleep(0.01)
            began_s = bench.clock.monotonic()
            await bench.opened.store.lifecycle.suspend(tenant.tenant_id, reason="")
            while bench.running:
                await bench.clock.sleep(0.01)
            assert bench.clock.monotonic() - began_s < 0.1
            count = await bench.count()
            await bench.clock.sleep(1_000)
            assert await bench.count() == count

    bench = on_bench(tmp_path, work, play)
    assert "r1" in cancelled
    assert len(cancelled) == 2
    assert bench.ran == []


def test_work_is_one_part_of_a_trace_with_how_it_ended(tmp_path: Path) -> None:
    """Planned work begins a trace; what notifications cause is only a part of theirs, and these were not traced."""
    traces = Traces(ratio=1.0)

    async def work(intent: Intent) -> None:
        if intent.kind is IntentKind.ROOM_CHECK and intent.attempts == 0:
            raise GraphUnavailable("away", retry_after_s=1.0)

    async def play(bench: Bench) -> None:
        await bench.mark("announced")
        kind, priority = IntentKind.ROOM_CHECK, Priority.CHECK
        await bench.opened.store.intents.mark(kind, "checked", LANE, priority=priority)
        async with bench.running_engine():
            while await bench.count():
                await bench.clock.sleep(0.5)

    on_bench(tmp_path, work, play, tracing=traces.tracing)
    assert traces.names == ["room.check", "room.check"]
    first, second = map(attributes_of, traces.spans)
    assert first == {
        "exchange.intent": "room.check",
        "exchange.tenant_uid": LANE,
        "exchange.room_uid": "checked",
        "exchange.attempt": 0,
        "error.type": "EXCHANGE_UNAVAILABLE",
    }
    assert second["exchange.attempt"] == 1
    assert "error.type" not in second
