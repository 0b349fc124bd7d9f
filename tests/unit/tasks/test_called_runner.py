"""The runner that is called: drains belong to it, and where nothing else looks for work it says that nobody calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from sidecar.aio.supervise import keep_running
from sidecar.errors import ServerDraining, StoreUnavailable, WatcherLimit
from sidecar.model.ids import TenantId, TenantUid
from sidecar.model.intent import Intent, IntentKind, Priority
from sidecar.tasks import driving
from sidecar.tasks.called_runner import BothRunners, CalledRunner
from sidecar.tasks.driving import LaneDriving
from sidecar.tasks.runner import EmbeddedRunner
from tests.support.driven import SETTINGS, Work, make_called, nothing
from tests.support.stores import OpenStore, TickingClock, open_store, run_virtually

LANE = TenantUid("t1")
Play = Callable[[OpenStore, CalledRunner], Awaitable[None]]


def played(tmp_path: Path, play: Play, *, work: Work = nothing, is_relied_on: bool = False) -> None:
    """Play on virtual time beside a running runner."""

    async def main() -> None:
        async with open_store(tmp_path / "exchange.sqlite3", clock=TickingClock()) as opened:
            runner = make_called(opened.store, work, clock=opened.clock, is_relied_on=is_relied_on)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(runner.run())
                await asyncio.sleep(0.01)
                await play(opened, runner)
                runner.stop()
                await task

    run_virtually(main)


async def mark(opened: OpenStore, key: str = "k", lane: TenantUid = LANE) -> None:
    await opened.store.intents.mark(IntentKind.ROOM_SYNC, key, lane, priority=Priority.HINT)


def test_nothing_is_drained_that_nobody_asked_for(tmp_path: Path) -> None:
    async def play(opened: OpenStore, runner: CalledRunner) -> None:
        await mark(opened)
        await asyncio.sleep(3_600)
        assert await opened.store.intents.count() == 1

    played(tmp_path, play)


def test_work_that_nobody_asks_for_is_told_again_and_again(tmp_path: Path) -> None:
    """Once it is a minute old, and every five minutes; not while somebody has the lane, and no more once it is done."""

    async def play(opened: OpenStore, runner: CalledRunner) -> None:
        def told() -> int:
            return [entry["event"] for entry in logs].count("tasks.nobody_drains")

        with capture_logs() as logs:
            await mark(opened)
            await asyncio.sleep(50)
            assert told() == 0
            await asyncio.sleep(50)
            assert told() == 1
            await asyncio.sleep(600)
            assert told() == 3
            now_s = opened.clock.monotonic()
            await runner.drain(LANE, ends_s=now_s + 5, answer_s=now_s + 9)
            await asyncio.sleep(3_600)
            assert told() == 3

    played(tmp_path, play, is_relied_on=True)


def test_nothing_is_begun_after_the_time_is_over(tmp_path: Path) -> None:
    ran: list[str] = []

    async def work(intent: Intent) -> None:
        ran.append(intent.key)
        await asyncio.sleep(2)

    async def play(opened: OpenStore, runner: CalledRunner) -> None:
        for number in range(3 * SETTINGS.rooms_per_lane_max):
            await mark(opened, f"k{number}")
        began_s = opened.clock.monotonic()
        drained = await runner.drain(LANE, ends_s=began_s + 1, answer_s=began_s + 60)
        assert len(ran) == SETTINGS.rooms_per_lane_max == sum(drained.endings.values())
        assert not drained.is_unfinished
        assert opened.clock.monotonic() - began_s < 3
        assert [lane async for lane in _held(opened)] == []

    played(tmp_path, play, work=work)


async def _held(opened: OpenStore) -> AsyncIterator[str]:
    for row in await opened.fetch("SELECT lane FROM lanes WHERE owner IS NOT NULL"):
        yield row[0]


def test_a_stop_lets_a_drain_finish_what_it_has_begun(tmp_path: Path) -> None:
    ended: list[str] = []

    async def work(intent: Intent) -> None:
        await asyncio.sleep(2)
        ended.append(intent.key)

    async def play(opened: OpenStore, runner: CalledRunner) -> None:
        await mark(opened)
        now_s = opened.clock.monotonic()
        async with asyncio.TaskGroup() as group:
            call = group.create_task(runner.drain(LANE, ends_s=now_s + 60, answer_s=now_s + 60))
            await asyncio.sleep(1)
            runner.stop()
            await mark(opened, "k2")
            assert sum((await call).endings.values()) == 1
        with pytest.raises(ServerDraining):
            await runner.drain(LANE, ends_s=now_s + 60, answer_s=now_s + 60)

    played(tmp_path, play, work=work)
    assert ended == ["k"]


def test_schedule_that_fails_is_run_again_and_so_is_what_is_called(tmp_path: Path) -> None:
    """The database is away for a moment; afterwards both do their work as before."""

    async def main() -> None:
        async with open_store(tmp_path / "exchange.sqlite3", clock=TickingClock()) as opened:
            called = make_called(opened.store, clock=opened.clock)
            inner = EmbeddedRunner(store=opened.store, lanes=called._lanes, clock=opened.clock, settings=SETTINGS)
            real, failures = opened.store.intents.due_lanes, [3]

            async def due_lanes(*, count_max: int) -> list[TenantUid]:
                if failures[0]:
                    failures[0] -= 1
                    raise StoreUnavailable("the disk is full")
                return await real(count_max=count_max)

            opened.store.intents.due_lanes = due_lanes  # type: ignore[method-assign]
            both = BothRunners(inner, called)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(keep_running("runner", both.run, clock=opened.clock, rng=Random(1)))
                await mark(opened)
                await asyncio.sleep(600)
                assert failures == [0]
                assert await opened.store.intents.count() == 0
                now_s = opened.clock.monotonic()
                assert not (await called.drain(LANE, ends_s=now_s + 5, answer_s=now_s + 9)).is_refused
                both.stop()
                await task

    run_virtually(main)


@pytest.mark.parametrize("call", ["take_lane", "due", "release_lane"])
def test_failure_of_the_database_is_the_callers_news(tmp_path: Path, call: str) -> None:
    async def play(opened: OpenStore, runner: CalledRunner) -> None:
        await mark(opened)

        async def fail(*_: object, **__: object) -> None:
            raise StoreUnavailable("the disk is full")

        setattr(opened.store.intents, call, fail)
        now_s = opened.clock.monotonic()
        with pytest.raises(StoreUnavailable):
            await runner.drain(LANE, ends_s=now_s + 5, answer_s=now_s + 9)

    played(tmp_path, play)


def test_only_so_many_wait_for_lanes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of them may be callers that may name the same; whoever does not wait is answered all the same."""
    monkeypatch.setattr(driving, "_WAITING_MAX", 4)

    async def play(opened: OpenStore, runner: CalledRunner) -> None:
        lanes = LaneDriving(store=opened.store, runner=runner, clock=opened.clock, sweep_s=SETTINGS.sweep_s)
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(lanes.wait_due(visible={TenantId("a")}, count_max=1, wait_s=9.0))
            await asyncio.sleep(1)
            with pytest.raises(WatcherLimit):
                await lanes.wait_due(visible={TenantId("a")}, count_max=1, wait_s=9.0)
            for _ in range(2):
                group.create_task(lanes.wait_due(visible=None, count_max=1, wait_s=9.0))
            await asyncio.sleep(1)
            with pytest.raises(WatcherLimit):
                await lanes.wait_due(visible=None, count_max=1, wait_s=9.0)
            assert await lanes.wait_due(visible=None, count_max=1, wait_s=0.0) == []
        assert await lanes.wait_due(visible=None, count_max=1, wait_s=1.0) == []

    played(tmp_path, play)


def test_wait_for_a_lane_ends_when_work_becomes_due_by_itself(tmp_path: Path) -> None:
    async def play(opened: OpenStore, runner: CalledRunner) -> None:
        tenant = await opened.add_tenant("acme")
        await opened.execute("DELETE FROM intents")
        now = opened.clock.now()
        at = now.replace(microsecond=0)
        await opened.store.intents.mark(
            IntentKind.ROOM_SYNC, "k", tenant.uid, priority=Priority.HINT, ready_at=at.replace(minute=at.minute + 1)
        )
        driving = LaneDriving(store=opened.store, runner=runner, clock=opened.clock, sweep_s=SETTINGS.sweep_s)
        assert await driving.wait_due(visible=None, count_max=10, wait_s=5.0) == []
        (lane,) = await driving.wait_due(visible={TenantId("acme")}, count_max=10, wait_s=120.0)
        assert lane.tenant_id == "acme"
        assert (opened.clock.now() - at).total_seconds() == pytest.approx(60.0, abs=1.0)

    played(tmp_path, play)
