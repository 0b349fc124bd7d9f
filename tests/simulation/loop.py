"""An event loop whose time jumps to the next timer, and clocks that follow it.

`looptime` waits for real input and output in between, and turns the loop 42 times before each jump, because other tests need
that; here nothing outside exists, and a simulated day has some hundred thousand jumps. A loop with nothing left to do is a
deadlock of the program under test and ends the run, where `looptime` would sleep.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sidecar.aio.clock import LoopClock

T = TypeVar("T")
_BEGINNING_S = 1_000.0
"""Not zero: code that takes "never" for zero would work by luck."""


class Deadlock(AssertionError):
    """Everything waits, and nothing will ever happen."""


class _NoWaiting(selectors.SelectSelector):
    """A selector that never waits: it moves the loop's time instead."""

    jump: Callable[[], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Jump unless something is ready to run at once."""
        if timeout is None:
            raise Deadlock("everything waits, and nothing will ever happen")
        if timeout > 0:
            self.jump()
        return []


class _NumberedTask(asyncio.Task[Any]):  # Any: tasks of all result types
    """A task whose place in a set follows from its number: a group ends its tasks in the order of such a set."""

    _count = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: those of the base class
        _NumberedTask._count += 1
        self._number = _NumberedTask._count
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time. Threads must not be used: the loop would not wait for them."""

    def __init__(self) -> None:
        selector = _NoWaiting()
        selector.jump = self._jump
        self._now_s = _BEGINNING_S
        super().__init__(selector)
        _NumberedTask._count = 0
        self.set_task_factory(_make_task)

    def time(self) -> float:
        """Return the virtual time, seconds."""
        return self._now_s

    def run_in_executor(  # type: ignore[override]  # the base class types the arguments one by one
        self, executor: Any, func: Any, *args: Any
    ) -> Any:
        """Run in an executor that keeps to this thread; the loop's own would make a thread (Any: the base class's)."""
        assert executor is not None, f"{func} would run in a thread"
        return super().run_in_executor(executor, func, *args)

    def _write_to_self(self) -> None:
        """Wake nobody: the loop never sleeps."""

    def _jump(self) -> None:
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # the base class's heap
        self._now_s = max(self._now_s, timers[0].when())


def _make_task(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
    """Make a task (Any: the arguments and results of all tasks)."""
    return _NumberedTask(work, loop=loop, **more)


class ShiftedClock(LoopClock):
    """The machine's clock, which follows the loop, shifted by however much somebody has set it.

    Each question is a little later than the one before, as in life, so that ids that sort by time are in the order of their
    making.
    """

    def __init__(self, started_at: datetime) -> None:
        super().__init__(started_at)
        self._ticks = 0
        self._shift = timedelta()

    def now(self) -> datetime:
        """Return a new instant."""
        self._ticks += 1
        return super().now() + self._shift + timedelta(microseconds=self._ticks % 1_000)

    def shift(self, seconds: float) -> None:
        """Set the clock forward, or back."""
        self._shift += timedelta(seconds=seconds)


def run_virtually(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a virtual loop of its own (Any: nothing is sent or yielded)."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
