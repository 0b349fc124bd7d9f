"""Looking no more often than numbers are asked for."""

from __future__ import annotations

from sidecar.aio.clock import Clock

_AGE_MAX_S = 15.0
"""The usual time between two scrapes; several scrapers share one look."""


class Looks:
    """When somebody last looked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looked_at_s: float | None = None

    def is_due(self) -> bool:
        """Tell whether it is time to look again; whoever is told so does."""
        now_s = self._clock.monotonic()
        if self._looked_at_s is not None and now_s - self._looked_at_s < _AGE_MAX_S:
            return False
        self._looked_at_s = now_s
        return True
