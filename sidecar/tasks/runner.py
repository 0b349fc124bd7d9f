"""The embedded runner: drains lanes inside this process as soon as something in them is due."""

from __future__ import annotations

import asyncio

import structlog

from sidecar.aio.clock import Clock
from sidecar.aio.supervise import contain
from sidecar.aio.wakeup import Wakeup
from sidecar.model.ids import TenantUid
from sidecar.settings import TasksSettings
from sidecar.store.store import Store
from sidecar.tasks.lanes import Lanes

log = structlog.get_logger(__name__)

_RECHECK_S = 0.05
"""Work that is due but did not start (its lane has just been released, or there is no slot) is looked at this soon again."""


class EmbeddedRunner:
    """Decides which lanes are drained here and now."""

    def __init__(self, *, store: Store, lanes: Lanes, clock: Clock, settings: TasksSettings) -> None:
        self._store = store
        self._lanes = lanes
        self._clock = clock
        self._settings = settings
        self._wakeup = Wakeup()
        self._active: set[TenantUid] = set()
        self._is_waiting_for_slot = False

    async def run(self) -> None:
        """Drain lanes until `stop`; then return once what was begun is finished."""
        stop_listening = self._store.on_work(self._note)
        try:
            async with asyncio.TaskGroup() as group:
                while not self._lanes.is_stopping:
                    await self._start_due(group)
                    await self._wakeup.wait(await self._wait_s())
        finally:
            stop_listening()

    def stop(self) -> None:
        """Begin nothing new."""
        self._lanes.stop()
        self._wakeup.ring()

    def _note(self, lane: TenantUid) -> None:
        if lane in self._active:
            self._lanes.nudge(lane)
            return
        if not lane:  # something may have been missed, in any lane
            for active in self._active:
                self._lanes.nudge(active)
        self._wakeup.ring()

    async def _start_due(self, group: asyncio.TaskGroup) -> None:
        free = self._settings.lanes_max - len(self._active)
        due = await self._store.intents.due_lanes(count_max=self._settings.lanes_max + len(self._active) + 1)
        waiting = [lane for lane in due if lane not in self._active]
        for lane in waiting[: max(0, free)]:
            self._active.add(lane)
            group.create_task(self._drain(lane), name=f"drain {lane}")
        self._is_waiting_for_slot = len(waiting) > free

    async def _drain(self, lane: TenantUid) -> None:
        try:
            error = await contain(self._lanes.drain(lane, should_yield=lambda: self._is_waiting_for_slot))
            if error is not None:
                log.error("lane.failed", lane=lane, exc_info=error)
                await self._clock.sleep(1.0)  # the database's trouble, most likely; the lane's lease runs out meanwhile
        finally:
            self._active.discard(lane)
            self._wakeup.ring()

    async def _wait_s(self) -> float:
        """Return how long nothing can become due by itself, at most the sweep's interval."""
        next_at = await self._store.intents.next_ready_at()
        if next_at is None:
            return self._settings.sweep_s
        wait_s = (next_at - self._clock.now()).total_seconds()
        return min(self._settings.sweep_s, max(wait_s, _RECHECK_S))
