"""How late the event loop is."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.aio.lag import LoopLag


class LateClock:
    """A clock whose sleeps last longer by what is listed, one after the other; then for ever."""

    def __init__(self, *lags_s: float) -> None:
        self._lags_s = list(lags_s)
        self._now_s = 0.0

    def monotonic(self) -> float:
        """Return the time."""
        return self._now_s

    async def sleep(self, duration_s: float) -> None:
        """Wake up late."""
        if not self._lags_s:
            await asyncio.get_running_loop().create_future()
        self._now_s += duration_s + self._lags_s.pop(0)
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("lags_s", "worst_s"), [((), 0.0), ((0.0, 0.7, 0.1), 0.7), ((0.9, *[0.0] * 59), 0.9), ((0.9, *[0.0] * 60), 0.0)]
)
async def test_worst_of_the_last_quarter_minute_is_told(lags_s: tuple[float, ...], worst_s: float) -> None:
    """A hold-up between two scrapes is seen by the next one, and then forgotten."""
    lag = LoopLag(clock=LateClock(*lags_s))  # type: ignore[arg-type]  # has what is used
    running = asyncio.create_task(lag.run())
    for _ in range(len(lags_s) + 2):
        await asyncio.sleep(0)
    assert lag.worst_s == pytest.approx(worst_s)
    running.cancel()
