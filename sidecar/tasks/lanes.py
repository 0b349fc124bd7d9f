"""Draining a lane: everything that is due for one tenant, several rooms at once, in one place at a time."""

from __future__ import annotations

import asyncio
import enum
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

import structlog

from sidecar.aio.clock import Clock
from sidecar.aio.supervise import contain
from sidecar.aio.wakeup import Wakeup
from sidecar.errors import SidecarError, StoreConflict, TenantSuspended, Unavailable
from sidecar.graph.urgency import acting_with, urgency_of
from sidecar.model.ids import TenantUid
from sidecar.model.intent import Intent, IntentKind, Lease, Priority
from sidecar.settings import TasksSettings
from sidecar.store.intents import Intents
from sidecar.store.store import Store
from sidecar.tasks.chores import Chores, Done, Later, PutOff
from sidecar.tasks.retries import retry_wait_s
from sidecar.tasks.tenant_health import PAUSED
from sidecar.telemetry.metrics import Telemetry
from sidecar.telemetry.tracing import OFF, UNTRACED, Part, Tracing

log = structlog.get_logger(__name__)


class Ending(enum.Enum):
    """How a piece of work ended."""

    DONE = "done"
    PUT_OFF = "put off"
    """Something stood in its way that people have been told of, or it was not its turn."""
    FAILED = "failed"


@dataclass(slots=True, kw_only=True)
class Visit:
    """A drain as whoever asked for it follows it.

    Attributes:
        ends_s: by the monotonic clock; nothing more is begun after it.
        endings: how often work of a kind ended how.
        is_refused: somebody else had the lane, or took it.
    """

    ends_s: float
    endings: Counter[tuple[IntentKind, Ending]] = field(default_factory=Counter)
    is_refused: bool = False


class LaneLost(SidecarError):
    """Inner: somebody else has the lane now; this drain ends without a word to anyone."""

    reason = "STORE_CONFLICT"


class Lanes:
    """Drains lanes. A runner says which and when; calling twice or not at all costs latency, never truth."""

    def __init__(
        self,
        *,
        store: Store,
        chores: Chores,
        owner: str,
        clock: Clock,
        rng: Random,
        settings: TasksSettings,
        telemetry: Telemetry,
        tracing: Tracing = OFF,
    ) -> None:
        self._store = store
        self._chores = chores
        self._owner = owner
        self._clock = clock
        self._rng = rng
        self._settings = settings
        self._telemetry = telemetry
        self._tracing = tracing
        self._draining: dict[TenantUid, Wakeup] = {}
        self.is_stopping = False

    def is_draining(self, lane: TenantUid) -> bool:
        """Tell whether this process drains a lane now."""
        return lane in self._draining

    @property
    def draining_count(self) -> int:
        """How many lanes this process drains now."""
        return len(self._draining)

    def nudge(self, lane: TenantUid) -> None:
        """Tell the drain of a lane that there may be something new."""
        wakeup = self._draining.get(lane)
        if wakeup is not None:
            wakeup.ring()

    def stop(self) -> None:
        """Let drains finish what they have begun and begin nothing new."""
        self.is_stopping = True
        for wakeup in self._draining.values():
            wakeup.ring()

    async def drain(
        self, lane: TenantUid, *, should_yield: Callable[[], bool] = lambda: False, visit: Visit | None = None
    ) -> None:
        """Run what is due in a lane until nothing is; return at once when somebody else has it.

        Args:
            should_yield: asked after the slice of time is over; true ends the drain though more may be due.
            visit: says when to end as well, and is told what was done.
        """
        lease = await self._store.intents.take_lane(lane, owner=self._owner, lease_s=self._settings.lease_s)
        if lease is None:
            if visit is not None:
                visit.is_refused = True
            return
        drain = _Drain(self, self._store.intents, lease, self._clock, self._settings, should_yield, visit)
        self._draining[lane] = drain.wakeup
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew(lease), name=f"renew {lane}")
                await drain.run(group)
                renewing.cancel()
        except* (LaneLost, StoreConflict):
            self._telemetry.count("lanes_lost", 1)
            log.warning("lane.lost", lane=lane)
            if visit is not None:
                visit.is_refused = True
        finally:
            if (
                self._draining.get(lane) is drain.wakeup
            ):  # else the lease was lost, and taken by another drain in this process
                del self._draining[lane]

    async def _renew(self, lease: Lease) -> None:
        while True:
            await self._clock.sleep(self._settings.lease_s / 3)
            await self._store.intents.renew_lane(lease, lease_s=self._settings.lease_s)

    async def run_intent(self, intent: Intent, lease: Lease, *, visit: Visit | None) -> None:
        """Run one piece of work and write down how it ended."""
        bound = structlog.contextvars.bound_contextvars(intent=intent.kind.value, key=intent.key, tenant_uid=lease.lane)
        with bound, self._traced(intent) as part:
            error = await contain(self._run_chore(intent, lease, visit))
            if error is None:
                return
            if isinstance(error, TenantSuspended):
                return  # since it was begun: nobody may drain this lane now, or all that is due in it is the removal
            if isinstance(error, StoreConflict):
                raise LaneLost("the lease was taken over") from error
            part.fail(error.reason if isinstance(error, SidecarError) else type(error).__name__)
            self._telemetry.count("intents_failed", 1, intent.kind.value)
            if visit is not None:
                visit.endings[intent.kind, Ending.FAILED] += 1
            wait_s = retry_wait_s(error, attempts=intent.attempts, rng=self._rng)
            if isinstance(error, Unavailable):
                log.warning("intent.put_off", reason=error.reason, wait_s=round(wait_s, 1), **error.details)
            else:
                log.error("intent.failed", wait_s=round(wait_s, 1), exc_info=error)
            reason = error.reason if isinstance(error, SidecarError) else type(error).__name__
            until = self._clock.now() + timedelta(seconds=wait_s)
            # If even this cannot be written, the intent stays due and the database's own trouble paces us.
            await self._store.intents.put_off(intent, until=until, reason=reason)

    def _traced(self, intent: Intent) -> Part:
        """Return the part of a trace that work is: of that of the notifications that caused it, where these were traced."""
        if not self._tracing.is_on:
            return UNTRACED
        attributes: dict[str, str | float] = {
            "exchange.intent": intent.kind.value,
            "exchange.tenant_uid": intent.lane,
            "exchange.attempt": intent.attempts,
        }
        if intent.kind.value.startswith("room."):
            attributes["exchange.room_uid"] = intent.key
        if intent.trace or intent.kind is IntentKind.ROOM_SYNC:
            return self._tracing.joined(intent.kind.value, intent.trace, attributes=attributes)
        return self._tracing.root(intent.kind.value, attributes=attributes)

    async def _run_chore(self, intent: Intent, lease: Lease, visit: Visit | None) -> None:
        with acting_with(urgency_of(intent.priority)):
            outcome = await self._chores.by_kind[intent.kind](intent, lease)
        if visit is not None:
            visit.endings[intent.kind, Ending.DONE if isinstance(outcome, Done) else Ending.PUT_OFF] += 1
        if isinstance(outcome, Later):
            await self._store.intents.postpone(intent, until=outcome.until)
        elif isinstance(outcome, PutOff):
            if outcome.reason != PAUSED:  # that was said once, for all of the tenant's work
                log.info("intent.blocked", reason=outcome.reason, until=outcome.until.isoformat())
            self._telemetry.count("intents_put_off", 1, intent.kind.value)
            await self._store.intents.put_off(intent, until=outcome.until, reason=outcome.reason)
        else:
            await self._store.intents.finish(
                intent, next_at=outcome.next_at, priority=outcome.priority, has_changed=outcome.has_changed
            )
            self._telemetry.count("intents_done", 1, intent.kind.value)
            if intent.kind is IntentKind.ROOM_SYNC:
                lag_s = (self._clock.now() - intent.ready_at).total_seconds()
                self._telemetry.measure("hint_to_commit", max(0.0, lag_s))


class _Drain:
    """One drain under way."""

    def __init__(
        self,
        lanes: Lanes,
        intents: Intents,
        lease: Lease,
        clock: Clock,
        settings: TasksSettings,
        should_yield: Callable[[], bool],
        visit: Visit | None,
    ) -> None:
        self._lanes = lanes
        self._intents = intents
        self._lease = lease
        self._clock = clock
        self._settings = settings
        self._should_yield = should_yield
        self._visit = visit
        self._running: dict[str, Priority] = {}
        self._ended: set[str] = set()
        self.wakeup = Wakeup()

    async def run(self, group: asyncio.TaskGroup) -> None:
        slice_ends_s = self._clock.monotonic() + self._settings.slice_s
        while True:
            looked_at = self._clock.now()  # before the look: what becomes due while it goes on is not seen by it
            now_s = self._clock.monotonic()
            is_over_time = now_s > slice_ends_s
            is_left = self._visit is not None and now_s >= self._visit.ends_s
            is_ending = self._lanes.is_stopping or is_left or (is_over_time and self._should_yield())
            if not is_ending:
                await self._start_due(group)
            if self._running:
                # A slow room must not keep the others: what becomes due while it runs is started at its time.
                await self.wakeup.wait(await self._until_next_s(looked_at))
            elif is_ending:
                await self._intents.release_lane(self._lease, if_idle=False)
                return
            elif not await self._linger() and await self._intents.release_lane(self._lease, if_idle=True):
                return

    async def _until_next_s(self, looked_at: datetime) -> float | None:
        """Return how long it takes until something becomes due that was not when we looked, 0 or less if it has meanwhile."""
        next_at = await self._intents.next_ready_at(self._lease.lane, after=looked_at)
        return None if next_at is None else (next_at - self._clock.now()).total_seconds()

    async def _start_due(self, group: asyncio.TaskGroup) -> None:
        """Start due work, one at a time for each key, up to the limit."""
        rooms_max = self._settings.rooms_per_lane_max
        free = rooms_max - len(self._running)
        if free <= 0:
            return
        self._ended.clear()
        due = await self._intents.due(self._lease.lane, count_max=rooms_max + free, lease=self._lease)
        for intent in due:
            if intent.key in self._ended:
                continue  # it ended while we read: the row may be older than that, and its end has rung for another look
            if len(self._running) >= rooms_max:
                return
            if intent.priority > Priority.HINT and self._is_full_of_others():
                return  # all that follow are no more urgent
            if intent.kind is IntentKind.TENANT_REMOVE and self._running:
                return  # what is under way may still make a subscription, and needs the credential to take it back
            if intent.key not in self._running:
                self._running[intent.key] = intent.priority
                group.create_task(self._run(intent), name=f"{intent.kind} {intent.key}")

    def _is_full_of_others(self) -> bool:
        """Tell whether all is taken but what is kept for announced changes."""
        others_max = max(1, self._settings.rooms_per_lane_max - self._settings.rooms_kept_for_hints)
        return sum(priority > Priority.HINT for priority in self._running.values()) >= others_max

    async def _run(self, intent: Intent) -> None:
        try:
            await self._lanes.run_intent(intent, self._lease, visit=self._visit)
        finally:
            del self._running[intent.key]
            self._ended.add(intent.key)
            self.wakeup.ring()

    async def _linger(self) -> bool:
        """Wait a moment for work that is about to be due, or marked; False when none comes."""
        linger_s = self._settings.linger_s
        next_at = await self._intents.next_ready_at(self._lease.lane)
        if next_at is not None:
            wait_s = (next_at - self._clock.now()).total_seconds()
            if wait_s <= linger_s:
                await self.wakeup.wait(max(0.0, wait_s))
                return True
        return await self.wakeup.wait(linger_s)
