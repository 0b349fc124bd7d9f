"""The runner over a queue: what it sends, when it is silent, and that it can always be ended. On virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.model.ids import TenantUid
from sidecar.model.intent import Intent, IntentKind, Lease, Priority
from sidecar.settings import TasksSettings
from sidecar.tasks.chores import Chores, Done, Outcome
from sidecar.tasks.lanes import Lanes
from sidecar.tasks.procrastinate_runner import ProcrastinateRunner, Take
from sidecar.telemetry.metrics import Telemetry
from tests.support.stores import OpenStore, TickingClock, open_store, run_virtually

SETTINGS = TasksSettings(lease_s=3.0, linger_s=0.2, sweep_s=2.0, lanes_max=2)


class FakeQueue:
    """Hints in memory. `is_jammed`: nobody takes them. `ends_at_once`: its worker does. `dawdles_s`: as long its end takes."""

    def __init__(self) -> None:
        self.sent: list[TenantUid] = []
        self.opened_count = 0
        self.is_jammed = self.ends_at_once = False
        self.dawdles_s = 0.0
        self._waiting: asyncio.Queue[tuple[TenantUid, datetime]] = asyncio.Queue()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connect."""
        self.opened_count += 1
        yield

    async def send(self, lane: TenantUid, *, now: datetime) -> None:
        """Keep a hint."""
        self.sent.append(lane)
        self._waiting.put_nowait((lane, now))

    async def waiting(self) -> frozenset[TenantUid]:
        """Return what nobody has taken."""
        return frozenset(self.sent) if self.is_jammed else frozenset()

    async def work(self, take: Take, *, count_max: int) -> None:
        """Hand hints on."""
        try:
            async with asyncio.TaskGroup() as group:
                while not self.ends_at_once:
                    lane, sent_at = await self._waiting.get()
                    if not self.is_jammed:
                        group.create_task(_taken(take, lane, sent_at))
        finally:
            await asyncio.sleep(self.dawdles_s)

    async def prune(self) -> int:
        """There is nothing to prune."""
        return 0


async def _taken(take: Take, lane: TenantUid, sent_at: datetime) -> None:
    await take(lane, sent_at)


class Rig:
    """A store, a queue, and a runner between them."""

    def __init__(self, opened: OpenStore) -> None:
        self.opened = opened
        self.clock = cast(TickingClock, opened.clock)  # the store was opened with one
        self.queue = FakeQueue()
        self.telemetry = Telemetry()
        self.ran_at: list[datetime] = []
        lanes = Lanes(
            store=opened.store,
            chores=cast(Chores, SimpleNamespace(by_kind=dict.fromkeys(IntentKind, self._chore))),  # all that is used
            owner="test",
            clock=self.clock,
            rng=Random(1),
            settings=SETTINGS,
            telemetry=self.telemetry,
        )
        self.runner = ProcrastinateRunner(
            store=opened.store,
            lanes=lanes,
            queue=self.queue,
            owner="test",
            clock=self.clock,
            rng=Random(1),
            settings=SETTINGS,
        )

    async def _chore(self, intent: Intent, lease: Lease) -> Outcome:
        self.ran_at.append(self.clock.now())
        return Done()

    async def mark(self, key: str, *, lane: str = "t1", in_s: float = 0.0) -> None:
        """Make work due."""
        ready_at = self.clock.now() + timedelta(seconds=in_s)
        intents = self.opened.store.intents
        await intents.mark(IntentKind.ROOM_SYNC, key, TenantUid(lane), priority=Priority.HINT, ready_at=ready_at)


def on_rig(tmp_path: Path, play: Callable[[Rig, asyncio.Task[None]], Awaitable[None]]) -> None:
    """Play on virtual time while the runner runs."""

    async def main() -> None:
        async with open_store(tmp_path / "exchange.sqlite3", clock=TickingClock()) as opened:
            rig = Rig(opened)
            running = asyncio.ensure_future(rig.runner.run())
            try:
                await play(rig, running)
            finally:
                running.cancel()
                await asyncio.wait([running])
                rig.telemetry.close()

    run_virtually(main)


def test_hint_that_waits_is_not_sent_again(tmp_path: Path) -> None:
    """All slots of all processes are taken: one hint for each lane waits, however long."""

    async def play(rig: Rig, _: asyncio.Task[None]) -> None:
        rig.queue.is_jammed = True
        for number in range(3):
            await rig.mark(f"r{number}", lane=f"t{number % 2}")
        await rig.clock.sleep(30)
        assert sorted(rig.queue.sent) == ["t0", "t1"]

    on_rig(tmp_path, play)


def test_lost_hint_is_sent_again(tmp_path: Path) -> None:
    """It was taken by a process that did nothing with it."""

    async def play(rig: Rig, _: asyncio.Task[None]) -> None:
        rig.queue.is_jammed = True
        await rig.mark("r1")
        await rig.clock.sleep(1)
        rig.queue.is_jammed = False
        await rig.clock.sleep(1)
        assert len(rig.ran_at) == 1

    on_rig(tmp_path, play)


def test_work_for_later_is_hinted_at_its_time(tmp_path: Path) -> None:
    """Not with the next sweep."""

    async def play(rig: Rig, _: asyncio.Task[None]) -> None:
        await rig.clock.sleep(5)
        began_at = rig.clock.now()
        await rig.mark("r1", in_s=1.5)
        await rig.clock.sleep(1.7)
        (ran_at,) = rig.ran_at
        assert 1.5 <= (ran_at - began_at).total_seconds() < 1.55

    on_rig(tmp_path, play)


def test_queue_whose_worker_ends_is_opened_again_and_tells_silence(tmp_path: Path) -> None:
    """A worker that keeps ending does no work, however often it is started."""

    async def play(rig: Rig, _: asyncio.Task[None]) -> None:
        await rig.clock.sleep(10)
        assert rig.runner.silent_s() <= SETTINGS.sweep_s
        rig.queue.ends_at_once = True
        await rig.mark("r1")  # wakes the worker, which then ends
        await rig.clock.sleep(60)
        assert rig.queue.opened_count > 10
        assert rig.runner.silent_s() > 30
        rig.queue.ends_at_once = False
        await rig.clock.sleep(5)
        assert rig.runner.silent_s() <= SETTINGS.sweep_s

    on_rig(tmp_path, play)


def test_cancelling_while_a_broken_queue_is_left_ends_the_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error that it is being left for must not hide that the process ends."""

    async def play(rig: Rig, running: asyncio.Task[None]) -> None:
        await rig.clock.sleep(1)
        rig.queue.dawdles_s = 5.0

        async def fail(*, count_max: int) -> list[TenantUid]:
            raise StoreUnavailable("away")

        monkeypatch.setattr(rig.opened.store.intents, "due_lanes", fail)
        await rig.mark("r1")
        await rig.clock.sleep(1)  # the look has failed, the worker is being waited for
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=20)
        assert done
        assert running.cancelled()

    on_rig(tmp_path, play)
