"""The only place of the service that reads the time or sleeps, so that tests can bring their own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol

INSTANT_S = 0.001
"""A wait shorter than this counts as over. A timer may fire a little before its time, and what then waits for the rest, a
part of a nanosecond, turns in circles for as long as the clock stands still."""


class Clock(Protocol):
    """Time as the service sees it."""

    def now(self) -> datetime:
        """Return the current instant, aware, UTC."""

    def monotonic(self) -> float:
        """Return seconds that never go back, for measuring spans."""

    async def sleep(self, duration_s: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock. Spans come from the running loop, so a loop with virtual time makes them virtual."""

    def now(self) -> datetime:
        """Return the machine's time."""
        return datetime.now(UTC)  # noqa: TID251  (this is the clock)

    def monotonic(self) -> float:
        """Return the loop's time."""
        return asyncio.get_running_loop().time()

    async def sleep(self, duration_s: float) -> None:
        """Wait on the loop."""
        await asyncio.sleep(max(0.0, duration_s))  # noqa: TID251  (this is the clock)


class LoopClock(SystemClock):
    """A calendar time that advances with the loop's own time: with a virtual loop, the whole service is virtual."""

    def __init__(self, started_at: datetime) -> None:
        self._started_at = started_at
        self._loop_start_s: float | None = None

    def now(self) -> datetime:
        """Return the start plus what the loop has advanced since the first question."""
        loop_s = asyncio.get_running_loop().time()
        if self._loop_start_s is None:
            self._loop_start_s = loop_s
        return self._started_at + timedelta(seconds=loop_s - self._loop_start_s)
