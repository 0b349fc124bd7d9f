"""The database's clock, which all processes on one database share.

Leases, due times and ages are compared with each other across processes, so they are told by one clock. Asking it in each
transaction would cost a round trip more; instead the difference to this machine's clock is measured every few seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sidecar.aio.clock import SystemClock
from sidecar.store.postgres_link import Raw

_LOOKS_COUNT = 3
"""The quickest answer of so many tells the time best."""


class DatabaseClock(SystemClock):
    """This machine's clock, put right by the database's; the error is at most half of a round trip."""

    def __init__(self) -> None:
        self._ahead_by = timedelta()

    def now(self) -> datetime:
        """Return the database's time."""
        return super().now() + self._ahead_by

    async def measure(self, raw: Raw) -> None:
        """Ask the database for its time and note how far it is ahead of this machine's."""
        best: tuple[timedelta, timedelta] | None = None
        for _ in range(_LOOKS_COUNT):
            asked_at = super().now()
            told = await raw.fetchval("SELECT clock_timestamp()")
            took = super().now() - asked_at
            ahead_by = told.astimezone(UTC) - (asked_at + took / 2)
            if best is None or took < best[0]:
                best = took, ahead_by
        assert best is not None, "looked at least once"
        took, ahead_by = best
        is_noise = abs(ahead_by - self._ahead_by) <= took / 2
        if not is_noise:  # a clock that is right stays as it is
            self._ahead_by = ahead_by
