"""The emulator's time: what now is, and sleeping until a moment.

Everything that waits goes through a `Clock`, so that a test can move seven days in a millisecond. Network time-outs do not:
they measure the other side's real answer and stay with `asyncio.timeout()`.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from sidecar.emulator.bounds import check_present


class Clock(Protocol):
    """What the emulator needs of time."""

    def now(self) -> datetime:
        """Tell the present, aware and in UTC."""

    async def sleep_until(self, at: datetime) -> None:
        """Return when `now()` has reached `at`; at once if it already has."""

    def advance(self, seconds: float) -> None:
        """Move the present forward and wake every sleeper whose moment has come.

        Raises:
            ValueError: that is out of bounds; nothing has changed.
        """


class LoopClock:
    """A clock that runs with the event loop, shifted by whatever `advance` was told.

    On a loop with virtual time it is a virtual clock, so tests and simulations use it as it is.
    """

    def __init__(self, *, start_at: datetime | None = None) -> None:
        """Start at `start_at`, or at the machine's present when it is None.

        Raises:
            ValueError: `start_at` is out of bounds.
        """
        self._start_at = check_present(start_at or datetime.now(UTC))  # noqa: TID251  (the one place that reads the clock)
        self._loop_start_s: float | None = None
        self._offset = timedelta()
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        """A heap: sleepers wake in the order of their moments, and at one moment in the order they lay down."""
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> datetime:
        """Tell the present, aware and in UTC."""
        return self._start_at + self._offset + timedelta(seconds=self._elapsed_s())

    async def sleep_until(self, at: datetime) -> None:
        """Return when `now()` has reached `at`; a moment in the past yields to other tasks once."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (at, self._count, woken))
        if self._sleepers[0][2] is woken:
            self._set_timer()
        await woken

    def advance(self, seconds: float) -> None:
        """Move the present forward and wake every sleeper whose moment has come."""
        check_present(self.now() + timedelta(seconds=seconds))
        self._offset += timedelta(seconds=seconds)
        self._set_timer()

    def _set_timer(self) -> None:
        """Wake with the first sleeper; one timer for all, because a loop's own timers of one moment go off in any order."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._sleepers and self._sleepers[0][2].done():  # cancelled
            heapq.heappop(self._sleepers)
        if self._sleepers:
            delay_s = max(0.0, (self._sleepers[0][0] - self.now()).total_seconds())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        now = self.now()  # loops count in milliseconds and may be a little early; then the timer is set again
        while self._sleepers and self._sleepers[0][0] <= now:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)
        self._set_timer()

    def _elapsed_s(self) -> float:
        loop_s = asyncio.get_running_loop().time()
        if self._loop_start_s is None:  # a clock may be built before the loop runs
            self._loop_start_s = loop_s
        return loop_s - self._loop_start_s


async def sleep(clock: Clock, seconds: float) -> None:
    """Sleep for `seconds` of the clock's time."""
    await clock.sleep_until(clock.now() + timedelta(seconds=seconds))


class Background:
    """Tasks that live as long as the emulator runs.

    Rooms answering and notifications on their way are such tasks. They belong to one task group; a bug in one of them ends
    the group, loudly, instead of leaving a room that never answers.
    """

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` beside everything else.

        Raises:
            RuntimeError: the emulator is not running.
        """
        if self._group is None:
            raise RuntimeError(f"the emulator is not running: {name} cannot start")
        task = self._group.create_task(_as_coroutine(work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel_all(self) -> None:
        """End what is running; whoever calls starts anew what is still wanted."""
        for task in list(self._tasks):
            task.cancel()

    async def run(self, started: Callable[[], None], stop: asyncio.Event) -> None:
        """Hold the task group open until `stop` is set, then cancel what is still running."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            started()
            try:
                await stop.wait()
            finally:
                self._group = None
                self.cancel_all()


async def _as_coroutine(work: Callable[[], Awaitable[None]]) -> None:
    await work()
