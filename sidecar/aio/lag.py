"""Noticing that the event loop is late: one long computation makes everything in the process wait as long."""

from __future__ import annotations

from collections import deque

from sidecar.aio.clock import Clock

_STEP_S = 0.25
"""Time between looks: a hold-up is seen with what is left of it, so one that is shorter may go by unseen."""
_KEPT = 60
"""Looks kept: 15 s, the usual time between two scrapes."""


class LoopLag:
    """How late the loop was lately."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._lags_s: deque[float] = deque(maxlen=_KEPT)

    @property
    def worst_s(self) -> float:
        """The longest of the last looks, in seconds."""
        return max(tuple(self._lags_s), default=0.0)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            began_s = self._clock.monotonic()
            await self._clock.sleep(_STEP_S)
            self._lags_s.append(max(0.0, self._clock.monotonic() - began_s - _STEP_S))
