"""The runner that only drains what it is called for: by `TaskService`, for a task runner outside or a person.

Every process has it. Beside a runner of its own it has slots of its own, so that callers cannot take those that the inner
schedule needs. A drain belongs to this runner and not to the call that asked for it: a caller that goes away cuts nothing off.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass

import structlog

from sidecar.aio.clock import Clock
from sidecar.aio.supervise import contain
from sidecar.errors import DrainLimit, ServerDraining
from sidecar.model.ids import TenantUid
from sidecar.model.intent import IntentKind
from sidecar.settings import TasksSettings
from sidecar.store.store import Store
from sidecar.tasks.lanes import Ending, Lanes, Visit
from sidecar.tasks.runner import LaneRunner, Runner

_FINISH_S = 30.0
"""Work that was begun when the time was over is waited for this long: a full read of a large room takes about as much."""
_AGAIN_S = 1.0
_LOOK_S = 30.0
_LATE_S = 60.0
"""Work that waits for this long without anybody having its lane: a task runner outside that runs takes a few seconds."""
_TELL_AGAIN_S = 300.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What a call did.

    Attributes:
        endings: how often work of a kind ended how.
        is_refused: somebody else has the lane, here or elsewhere, or took it.
        is_unfinished: what was begun goes on.
    """

    endings: Counter[tuple[IntentKind, Ending]]
    is_refused: bool
    is_unfinished: bool


class CalledRunner(LaneRunner):
    """Drains lanes on request, from `run` until `stop`."""

    def __init__(
        self, *, store: Store, lanes: Lanes, clock: Clock, settings: TasksSettings, is_relied_on: bool = False
    ) -> None:
        """Make it.

        Args:
            is_relied_on: nothing looks for work by itself, so the log has to tell when nobody calls either.
        """
        super().__init__(store=store, lanes=lanes, clock=clock, settings=settings)
        self._is_relied_on = is_relied_on
        self._told_s: float | None = None
        self._group: asyncio.TaskGroup | None = None
        self._stop_listeners: list[Callable[[], None]] = []

    def stop(self) -> None:
        """See `Runner.stop`."""
        super().stop()
        for listener in self._stop_listeners:
            listener()

    def on_stop(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when no more work is begun from then on; the result ends it."""
        self._stop_listeners.append(listener)
        return lambda: self._stop_listeners.remove(listener)

    async def _work(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        try:
            while not self._lanes.is_stopping:
                await self._wakeup.wait(_LOOK_S if self._is_relied_on else None)  # rung by `stop`
                if self._is_relied_on:
                    await contain(self._tell_if_late())  # without a database there is nothing to tell
        finally:
            self._group = None

    async def _tell_if_late(self) -> None:
        """Write into the log that work waits which nobody has, again and again for as long as it does."""
        next_at = await self._store.lanes.next_due_at(visible=None)
        late_s = 0.0 if next_at is None else (self._clock.now() - next_at).total_seconds()
        now_s = self._clock.monotonic()
        if late_s < _LATE_S:
            self._told_s = None
        elif self._told_s is None or now_s - self._told_s >= _TELL_AGAIN_S:
            self._told_s = now_s
            log.error("tasks.nobody_drains", oldest_due_s=round(late_s))

    def _note_mark(self, lane: TenantUid) -> None:
        self._slots.tell(lane)  # a drain under way; nobody looks for lanes here

    def silent_s(self) -> float:
        """Return 0: it does not look for work."""
        return 0.0

    @property
    def is_stopping(self) -> bool:
        """Tell whether no more work is begun."""
        return self._lanes.is_stopping

    async def drain(self, lane: TenantUid, *, ends_s: float, answer_s: float) -> Drained:
        """Drain a lane.

        Args:
            ends_s: by the clock's monotonic time; nothing is begun later.
            answer_s: by the same; what was begun is not waited for any longer.
        Raises:
            DrainLimit: no slot is free. ServerDraining: the process begins no more work. StoreUnavailable.
        """
        if self._group is None or self._lanes.is_stopping:
            raise ServerDraining("the process begins no more work", retry_after_s=_AGAIN_S)
        if lane in self._slots:
            return Drained(endings=Counter(), is_refused=True, is_unfinished=False)
        if self._slots.free_count == 0:
            limit = self._settings.lanes_max
            raise DrainLimit("this process drains as many lanes as it may", details={"lanes_max": str(limit)})
        visit = Visit(ends_s=ends_s)
        self._slots.take(lane)
        drain = self._group.create_task(
            self._slots.drain(lane, visit=visit),
            name=f"drain {lane} as called",
            context=Context(),  # none of the call's: what is done here goes on after it, and is nobody's act
        )
        try:
            left_s = min(answer_s, ends_s + _FINISH_S) - self._clock.monotonic()
            await asyncio.wait([drain], timeout=max(0.0, left_s))
        except asyncio.CancelledError:
            visit.ends_s = self._clock.monotonic()  # nobody waits for it any more; what was begun is finished
            raise
        error = drain.result() if drain.done() and not drain.cancelled() else None
        while isinstance(error, ExceptionGroup):  # a drain is a group of tasks, and whatever ends it comes in one
            error = error.exceptions[0]
        if error is not None:
            raise error
        return Drained(endings=Counter(visit.endings), is_refused=visit.is_refused, is_unfinished=not drain.done())


class BothRunners:
    """The schedule of this process and what it is called for, as one runner."""

    def __init__(self, inner: Runner, called: CalledRunner) -> None:
        self._inner = inner
        self._called = called

    async def run(self) -> None:
        """See `Runner.run`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._called.run(), name="called runner")
            # Not in a task of its own: before Python 3.13 a group whose task fails while it is waited for leaves us marked as
            # cancelled, and who keeps this running takes that for the end. The other one fails with nothing.
            await self._inner.run()

    def stop(self) -> None:
        """See `Runner.stop`."""
        self._inner.stop()
        self._called.stop()

    def silent_s(self) -> float:
        """See `Runner.silent_s`."""
        return self._inner.silent_s()
