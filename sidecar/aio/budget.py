"""A budget that fills up with time: so many at once, so many a second."""

from __future__ import annotations

from sidecar.aio.clock import Clock


class Budget:
    """What may be spent, full at first."""

    def __init__(self, *, most: float, per_s: float, clock: Clock) -> None:
        self._most = most
        self._per_s = per_s
        self._clock = clock
        self._left = most
        self._filled_s = clock.monotonic()

    def take(self) -> float:
        """Spend one if it is there. Returns 0; or, when nothing was spent, the seconds until one will be there."""
        now_s = self._clock.monotonic()
        self._left = min(self._most, self._left + (now_s - self._filled_s) * self._per_s)
        self._filled_s = now_s
        if self._left < 1.0:
            return (1.0 - self._left) / self._per_s
        self._left -= 1.0
        return 0.0
