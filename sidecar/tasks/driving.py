"""Driving lanes from outside: which are due, waiting for one, and having one drained in this process.

This is all that a task runner needs. It sees tenants, never rooms, so it holds as many jobs as tenants have something due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sidecar.aio.clock import INSTANT_S, Clock
from sidecar.aio.places import Full, Places
from sidecar.aio.wakeup import Broadcast
from sidecar.errors import ServerDraining, TenantNotFound, WatcherLimit
from sidecar.model.ids import TenantId, TenantUid
from sidecar.model.intent import IntentKind
from sidecar.model.lane import LEFT_OVER, LaneView
from sidecar.store.store import Store
from sidecar.tasks.called_runner import CalledRunner
from sidecar.tasks.lanes import Ending

_LOOKS_APART_S = 0.1
"""Marks come by the thousand in a second; whoever waits for a lane looks no more often than this."""
_WAITING_MAX = 64
"""Calls that wait at once: each looks for itself, up to ten times a second where much is marked."""
_LEFT_OVER_MAX = 100
_AGAIN_S = 1.0
_BUDGET_SHARE = 0.8
"""Of the time until the answer, in which work is begun; the rest is for finishing it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneDrained:
    """What a call of `drain` did.

    Attributes:
        endings: how often work of a kind ended how.
        is_refused: somebody else has the lane, or nobody may drain it now.
        held_until_at: until when, if that is known.
        is_unfinished: what was begun goes on, and keeps the lane.
        is_more_due: there is work that nobody has.
        next_due_at: when the next work becomes due that is not; None: none is planned.
    """

    endings: Counter[tuple[IntentKind, Ending]]
    is_refused: bool
    held_until_at: datetime | None
    is_unfinished: bool
    is_more_due: bool
    next_due_at: datetime | None


class LaneDriving:
    """What a task runner outside asks for."""

    def __init__(self, *, store: Store, runner: CalledRunner, clock: Clock, sweep_s: float) -> None:
        """Make it.

        Args:
            sweep_s: between looks that nothing announced: a lane whose holder died becomes free by time alone.
        """
        self._store = store
        self._runner = runner
        self._clock = clock
        self._sweep_s = sweep_s
        self._waiting = Places(_WAITING_MAX)

    async def wait_due(
        self, *, visible: Collection[TenantId] | None, count_max: int, wait_s: float
    ) -> Sequence[LaneView]:
        """Return lanes that are due and that nobody has, the longest waiting first; wait for one if there is none.

        Raises:
            ServerDraining: it is to wait, and would be back at once again and again if it were not told to go elsewhere.
            WatcherLimit: too many wait already.
            StoreUnavailable.
        """
        if wait_s >= INSTANT_S and self._runner.is_stopping:
            raise ServerDraining("the process begins no more work", retry_after_s=_AGAIN_S)
        if wait_s < INSTANT_S:
            return await self._wait_due(visible, count_max, 0.0)
        try:
            # Callers are told apart by what they may name: none of a tenant's own keeps the platform's waiting, nor another's.
            with self._waiting.taken(None if visible is None else frozenset(visible)):
                return await self._wait_due(visible, count_max, wait_s)
        except Full:
            details = {"watches_max": str(_WAITING_MAX)}
            raise WatcherLimit("too many calls wait for lanes", details=details) from None

    async def _wait_due(
        self, visible: Collection[TenantId] | None, count_max: int, wait_s: float
    ) -> Sequence[LaneView]:
        ends_s = self._clock.monotonic() + wait_s
        marks = Broadcast()
        stops_listening = (self._store.on_work(lambda _: marks.ring()), self._runner.on_stop(marks.ring))
        try:
            while True:
                heard = marks.version
                due = await self._store.lanes.due(visible=visible, count_max=count_max)
                left_s = ends_s - self._clock.monotonic()
                if due or left_s <= 0 or self._runner.is_stopping:
                    return due
                next_at = await self._store.lanes.next_due_at(visible=visible)
                until_s = self._sweep_s
                if next_at is not None:
                    until_s = min(until_s, (next_at - self._clock.now()).total_seconds())
                if await marks.wait(heard, max(INSTANT_S, min(left_s, until_s))):
                    await self._clock.sleep(min(max(0.0, left_s), _LOOKS_APART_S))
        finally:
            for stop_listening in stops_listening:
                stop_listening()

    async def drain(self, tenant_id: TenantId, *, max_s: float, budget_s: float | None) -> LaneDrained:
        """Run what is due for a tenant, or for those that are erased, in this process.

        Args:
            max_s: nothing is begun after so long.
            budget_s: the answer is wanted within this; None: whenever it is ready.
        Raises:
            TenantNotFound, DrainLimit, ServerDraining, StoreUnavailable.
        """
        began_s = self._clock.monotonic()
        budget_s = float("inf") if budget_s is None else budget_s
        ends_s, answer_s = began_s + min(max_s, budget_s * _BUDGET_SHARE), began_s + budget_s
        lanes = await self._store.lanes.of_tenant(tenant_id, count_max=_LEFT_OVER_MAX)
        if not lanes and tenant_id != LEFT_OVER:
            raise TenantNotFound("there is no such tenant")
        endings: Counter[tuple[IntentKind, Ending]] = Counter()
        is_refused = is_unfinished = False
        for number, lane in enumerate(lanes):
            if number and not await self._is_worth_it(lane, ends_s):
                continue
            drained = await self._runner.drain(lane, ends_s=ends_s, answer_s=answer_s)
            endings += drained.endings
            is_refused = is_refused or drained.is_refused
            is_unfinished = is_unfinished or drained.is_unfinished
        after = await self._store.lanes.look(tenant_id)
        return LaneDrained(
            endings=endings,
            is_refused=is_refused,
            held_until_at=None if after is None or not is_refused else after.held_until_at,
            is_unfinished=is_unfinished,
            is_more_due=await self._store.lanes.is_due(tenant_id),
            next_due_at=None if after is None else after.next_due_at,
        )

    async def _is_worth_it(self, lane: TenantUid, ends_s: float) -> bool:
        """Tell whether there is time left, and something due, for a lane beside the tenant's own: mostly there is not."""
        if self._clock.monotonic() >= ends_s:
            return False
        next_at = await self._store.intents.next_ready_at(lane)
        return next_at is not None and next_at <= self._clock.now()
