"""The end of a change's trace: that a watcher was sent it."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.aio.clock import Clock
from sidecar.model.change import Change
from sidecar.telemetry.tracing import Tracing

_EACH_MAX = 3
"""Watchers of one change whose being sent it is told: with a thousand of them the rest would say the same a thousand times."""
_REMEMBERED_MAX = 256


class Deliveries:
    """Tells traces of their changes' being sent, by the first few watchers of each."""

    def __init__(self, *, tracing: Tracing, clock: Clock) -> None:
        self._tracing = tracing
        self._clock = clock
        self._counts: dict[str, int] = {}

    def note(self, changes: Sequence[Change]) -> None:
        """Tell that the transport has taken a message with these changes, of which most are in no trace."""
        if not self._tracing.is_on:
            return
        # Once for all changes that one transaction wrote, which a watcher is sent together.
        for trace, change in {change.trace: change for change in changes if change.trace is not None}.items():
            self._tell(change, trace)

    def _tell(self, change: Change, trace: str) -> None:
        count = self._counts.get(trace, 0)
        if count >= _EACH_MAX:
            return
        if len(self._counts) >= _REMEMBERED_MAX:
            del self._counts[next(iter(self._counts))]
        self._counts[trace] = count + 1
        self._tracing.tell(
            "delivered",
            trace,
            began_at=change.recorded_at,
            ended_at=self._clock.now(),
            attributes={"exchange.room_uid": change.room_uid, "exchange.revision": change.revision},
        )
