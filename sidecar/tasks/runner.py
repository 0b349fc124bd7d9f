"""Runners decide which lanes are drained here and now. They keep nothing: what is due is rows of the store.

All a runner does is call `Lanes.drain`, so whatever it misses or does twice costs latency, never truth. The one in this file
drains what is due inside this process; `procrastinate_runner.py` shares the work among processes through a queue, and
`called_runner.py` drains what it is told to.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import structlog

from sidecar.aio.clock import Clock
from sidecar.aio.supervise import contain
from sidecar.aio.wakeup import Wakeup
from sidecar.model.ids import TenantUid
from sidecar.settings import TasksSettings
from sidecar.store.store import Store
from sidecar.tasks.lanes import Lanes, Visit

log = structlog.get_logger(__name__)

_RECHECK_S = 0.05
"""Work that is due but did not start (its lane has just been released, or there is no slot) is looked at this soon again."""


class Runner(Protocol):
    """Has lanes drained, from `run` until `stop`."""

    async def run(self) -> None:
        """Work until `stop`; then return once what was begun is finished."""

    def stop(self) -> None:
        """Begin nothing new."""

    def silent_s(self) -> float:
        """Return how long ago it last managed to look for work; it grows while the runner cannot work."""


class Slots:
    """The lanes that are drained in this process, `count_max` at most."""

    def __init__(self, lanes: Lanes, *, count_max: int, clock: Clock) -> None:
        self._lanes = lanes
        self._count_max = count_max
        self._clock = clock
        self._active: set[TenantUid] = set()

    @property
    def free_count(self) -> int:
        """How many lanes more may be drained."""
        return max(0, self._count_max - len(self._active))

    @property
    def active_count(self) -> int:
        """How many lanes are drained now."""
        return len(self._active)

    def __contains__(self, lane: TenantUid) -> bool:
        return lane in self._active

    def tell(self, lane: TenantUid) -> bool:
        """Pass on that work was marked in a lane (empty: perhaps in any); say whether somebody has to look for lanes."""
        if lane in self._active:
            self._lanes.nudge(lane)
            return False
        if not lane:
            for active in self._active:
                self._lanes.nudge(active)
        return True

    def take(self, lane: TenantUid) -> None:
        """Take a slot for a lane; `drain` gives it back."""
        self._active.add(lane)

    async def drain(
        self, lane: TenantUid, *, should_yield: Callable[[], bool] = lambda: False, visit: Visit | None = None
    ) -> Exception | None:
        """Drain a lane that has its slot. What went wrong is written down and returned, not raised; the work stays due."""
        try:
            error = await contain(self._lanes.drain(lane, should_yield=should_yield, visit=visit))
            if error is not None:
                log.error("lane.failed", lane=lane, exc_info=error)
                await self._clock.sleep(1.0)  # the database's trouble, most likely; the lane's lease runs out meanwhile
            return error
        finally:
            self._active.discard(lane)


class LaneRunner(ABC):
    """What runners that drain lanes in this process share: slots, a bell that marks ring, and when they looked last."""

    def __init__(self, *, store: Store, lanes: Lanes, clock: Clock, settings: TasksSettings) -> None:
        self._store = store
        self._lanes = lanes
        self._clock = clock
        self._settings = settings
        self._wakeup = Wakeup()
        self._slots = Slots(lanes, count_max=settings.lanes_max, clock=clock)
        self._looked_s: float | None = None

    async def run(self) -> None:
        """See `Runner.run`."""
        self._note_look()
        stop_listening = self._store.on_work(self._note_mark)
        try:
            async with asyncio.TaskGroup() as group:
                await self._work(group)
        finally:
            stop_listening()

    @abstractmethod
    async def _work(self, group: asyncio.TaskGroup) -> None:
        """Have drains started in a group until `stop`."""

    def stop(self) -> None:
        """See `Runner.stop`."""
        self._lanes.stop()
        self._wakeup.ring()

    def silent_s(self) -> float:
        """See `Runner.silent_s`."""
        return 0.0 if self._looked_s is None else self._clock.monotonic() - self._looked_s

    def _note_look(self) -> None:
        self._looked_s = self._clock.monotonic()

    def _note_mark(self, lane: TenantUid) -> None:
        if self._slots.tell(lane):
            self._wakeup.ring()


class EmbeddedRunner(LaneRunner):
    """Drains lanes inside this process as soon as something in them is due."""

    def __init__(self, *, store: Store, lanes: Lanes, clock: Clock, settings: TasksSettings) -> None:
        super().__init__(store=store, lanes=lanes, clock=clock, settings=settings)
        self._is_waiting_for_slot = False

    async def _work(self, group: asyncio.TaskGroup) -> None:
        while not self._lanes.is_stopping:
            await self._start_due(group)
            self._note_look()
            await self._wakeup.wait(await self._wait_s())

    async def _start_due(self, group: asyncio.TaskGroup) -> None:
        free = self._slots.free_count
        due = await self._store.intents.due_lanes(count_max=self._settings.lanes_max + self._slots.active_count + 1)
        waiting = [lane for lane in due if lane not in self._slots]
        for lane in waiting[:free]:
            self._slots.take(lane)
            group.create_task(self._drain(lane), name=f"drain {lane}")
        self._is_waiting_for_slot = len(waiting) > free

    async def _drain(self, lane: TenantUid) -> None:
        await self._slots.drain(lane, should_yield=lambda: self._is_waiting_for_slot)
        self._wakeup.ring()

    async def _wait_s(self) -> float:
        """Return how long nothing can become due by itself, at most the sweep's interval."""
        next_at = await self._store.intents.next_ready_at()
        if next_at is None:
            return self._settings.sweep_s
        wait_s = (next_at - self._clock.now()).total_seconds()
        return min(self._settings.sweep_s, max(wait_s, _RECHECK_S))
