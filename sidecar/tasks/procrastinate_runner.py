"""The runner that shares lanes among processes through a queue of hints; the queue is Procrastinate's, on the same PostgreSQL.

A hint only says "drain lane X". One process, which holds the sender's lease, hears what is marked and sends a hint for each
lane that is due and that nobody drains; whoever has a free slot takes it. There are as many hints as lanes that became due,
never one for each room, and never one for later: the sender sends at the time. Hints that are lost, doubled or late do no
harm, because each process also sweeps, sender or not, and because a lane is drained under its lease.

Drains belong to this runner and not to the queue's jobs, so that they outlive a queue that breaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from random import Random
from typing import Protocol

import structlog

from sidecar.aio.backoff import backoff_s
from sidecar.aio.clock import INSTANT_S, Clock
from sidecar.aio.supervise import contain
from sidecar.errors import StoreConflict
from sidecar.model.ids import TenantUid
from sidecar.model.intent import Lease
from sidecar.settings import TasksSettings
from sidecar.store.store import Store
from sidecar.tasks.lanes import Lanes
from sidecar.tasks.runner import LaneRunner

log = structlog.get_logger(__name__)

Take = Callable[[TenantUid, datetime], Awaitable[None]]

_SENDER = TenantUid("(sender of hints)")
"""A lane that no tenant has: its lease makes one process the sender."""
_HINT_S = 10.0
"""A hint older than this is dropped: it waited through an outage or a jam, and the sweep has said by now what is due."""
_RESEND_S = 0.2
"""A hint needs this long from being taken to the lane being held; until then its lane looks as if it had been forgotten."""
_PRUNE_S = 600.0
_RETRY_BASE_S, _RETRY_CAP_S = 0.2, 2.0
_HEALTHY_AFTER_S = 60.0
_LANES_MAX = 10_000
"""Most lanes looked at in one go; there are as many as tenants with something due, and those who wait longest come first."""


class HintQueue(Protocol):
    """Carries hints from their sender to a process with a free slot."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """Connect while inside."""

    async def send(self, lane: TenantUid, *, now: datetime) -> None:
        """Send a hint, unless one for this lane waits already."""

    async def waiting(self) -> frozenset[TenantUid]:
        """Return the lanes whose hint nobody has taken yet."""

    async def work(self, take: Take, *, count_max: int) -> None:
        """Take hints until cancelled, `count_max` at once; return early when the queue is broken."""

    async def prune(self) -> int:
        """Remove what dead processes left behind; return how much."""


class ProcrastinateRunner(LaneRunner):
    """Sends hints and follows them."""

    def __init__(
        self,
        *,
        store: Store,
        lanes: Lanes,
        queue: HintQueue,
        owner: str,
        clock: Clock,
        rng: Random,
        settings: TasksSettings,
    ) -> None:
        super().__init__(store=store, lanes=lanes, clock=clock, settings=settings)
        self._queue = queue
        self._owner = owner
        self._rng = rng
        self._seat: Lease | None = None
        self._sweeps_at_s = 0.0
        self._prunes_at_s = 0.0
        self._sent_s: dict[TenantUid, float] = {}
        self._has_freed_slot = False
        self._is_backlogged = False

    def _is_stopping(self) -> bool:
        return self._lanes.is_stopping

    async def _work(self, group: asyncio.TaskGroup) -> None:
        """Use the queue until `stop`, and open it anew when it breaks: its worker ends with its connections."""
        failures = 0
        while not self._is_stopping():
            began_s = self._clock.monotonic()
            error = await contain(self._use_queue(group))
            if self._is_stopping():
                return
            failures = 1 if self._clock.monotonic() - began_s > _HEALTHY_AFTER_S else failures + 1
            wait_s = backoff_s(failures, base_s=_RETRY_BASE_S, cap_s=_RETRY_CAP_S, rng=self._rng)
            log.warning("tasks.queue_lost", error=_name(error), failures_count=failures, retry_s=round(wait_s, 2))
            await self._clock.sleep(wait_s)

    async def _use_queue(self, group: asyncio.TaskGroup) -> None:
        async def take(lane: TenantUid, sent_at: datetime) -> None:
            await self._take(group, lane, sent_at)

        async with self._queue.open():
            self._sweeps_at_s = 0.0  # who knows what was missed
            work = contain(self._queue.work(take, count_max=self._settings.lanes_max))
            # In the group of the drains and not in one of its own, whose end by an error would hide that we are cancelled.
            working = group.create_task(work, name="hints")
            working.add_done_callback(lambda _: self._wakeup.ring())
            try:
                while not self._is_stopping() and not working.done():
                    await self._wakeup.wait(await self._look())
                    if not working.done():  # with a worker that ends at once nobody works, however often we look
                        self._note_look()
            finally:
                working.cancel()
                await asyncio.wait([working])
                await self._leave_seat()
        if not working.cancelled() and (error := working.result()) is not None:
            raise error

    async def _take(self, group: asyncio.TaskGroup, lane: TenantUid, sent_at: datetime) -> None:
        """Follow a hint, and return when its lane is drained; at once when there is nothing to do here."""
        age_s = (self._clock.now() - sent_at).total_seconds()
        if age_s > _HINT_S or self._is_stopping() or self._slots.free_count == 0 or not self._slots.tell(lane):
            return
        self._slots.take(lane)
        drain = group.create_task(self._drain(lane), name=f"drain {lane}")
        await asyncio.wait([drain])  # waited for only, so that the hint counts as being followed

    async def _drain(self, lane: TenantUid) -> None:
        await self._slots.drain(lane, should_yield=lambda: self._is_backlogged)
        self._has_freed_slot = True  # it may have made way with work left, which then wants its next hint
        self._wakeup.ring()

    async def _look(self) -> float:
        """Send what hints are wanted; return how long nothing more can be wanted, at most the sweep's interval."""
        now_s, now = self._clock.monotonic(), self._clock.now()
        await self._send_wanted(now_s)
        wait_s = self._sweeps_at_s - self._clock.monotonic()
        next_at = None if self._seat is None else await self._store.intents.next_ready_at()
        if next_at is not None:
            # What was due before this look has its hint by now, which may wait for a slot.
            due_in_s = _RESEND_S if next_at <= now else (next_at - self._clock.now()).total_seconds()
            wait_s = min(wait_s, due_in_s)
        return max(wait_s, INSTANT_S)

    async def _send_wanted(self, now_s: float) -> None:
        is_sweep = now_s >= self._sweeps_at_s
        if is_sweep:
            self._sweeps_at_s = now_s + self._settings.sweep_s
            await self._keep_seat()
            await self._prune(now_s)
        if self._seat is None and not is_sweep and not self._has_freed_slot:
            return
        self._has_freed_slot = False
        due = await self._store.intents.due_lanes(count_max=_LANES_MAX)
        self._is_backlogged = bool(due) and self._slots.free_count == 0
        self._sent_s = {lane: at_s for lane, at_s in self._sent_s.items() if now_s - at_s < _RESEND_S}
        wanted = [lane for lane in due if lane not in self._sent_s and lane not in self._slots]
        if wanted:
            await self._send(wanted, now_s)

    async def _send(self, wanted: Sequence[TenantUid], now_s: float) -> None:
        waiting = await self._queue.waiting()
        for lane in wanted:
            if lane not in waiting:
                await self._queue.send(lane, now=self._clock.now())
                self._sent_s[lane] = now_s

    async def _keep_seat(self) -> None:
        """Stay the sender, or become it when nobody is."""
        lease_s = self._settings.lease_s
        if self._seat is None:
            self._seat = await self._store.intents.take_lane(_SENDER, owner=self._owner, lease_s=lease_s)
            return
        try:
            await self._store.intents.renew_lane(self._seat, lease_s=lease_s)
        except StoreConflict:
            self._seat = None  # we were silent for longer than the lease, and somebody else sends now

    async def _leave_seat(self) -> None:
        seat, self._seat = self._seat, None
        if seat is not None:
            await contain(self._store.intents.release_lane(seat, if_idle=False))

    async def _prune(self, now_s: float) -> None:
        if self._seat is not None and now_s >= self._prunes_at_s:
            self._prunes_at_s = now_s + _PRUNE_S
            count = await self._queue.prune()
            if count:
                log.info("tasks.hints_pruned", hints_count=count)


def _name(error: Exception | None) -> str:
    """Return what an error is and what it came from, without their words: a driver's may hold parts of the URI."""
    if error is None:
        return "ended"
    names = [type(error).__name__]
    if error.__cause__ is not None:
        names.append(type(error.__cause__).__name__)
    return " from ".join(names)
