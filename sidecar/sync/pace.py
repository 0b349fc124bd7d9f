"""Paces calls of Microsoft's subscription service, so that a thousand of them due at once are no storm.

Microsoft counts 500 writes in 20 seconds for each application and tenant, and a creation takes it a second or more and two
calls of our webhook. Nobody waits here: who is too early is told when to come back, so that a line of two thousand rooms
holds no place that reading calendars needs. What is remembered is only a schedule; a restart forgets it and loses nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sidecar.aio.clock import INSTANT_S, Clock
from sidecar.model.ids import TenantUid

WRITES_PER_S = 20.0
"""Of the 25 that Microsoft allows on average; the rest is for what is not paced, such as a tenant's removal."""
BURST_MAX = 40
"""Writes that need not be spread. With WRITES_PER_S this stays below 500 in any 20 seconds."""
CALLS_MAX = 6
"""Calls under way for a tenant. With a second or two each these are about five creations a second; more of a lane's places
would be missing for hints and first reads."""
_NEWEST_SHARE = 0.2
"""Weight of the newest call in what is known about calls: how long they take, and how many writes they are."""
_MISSED_AFTER_S = 600.0
"""Whoever has not come back by then has nothing to ask for any more; its room was unmapped."""
_LINES_MAX = 10_000
"""Tenants that are remembered. Beyond that the oldest is forgotten, which at worst costs a refused request."""


@dataclass(slots=True)
class _Line:
    """Those who wait for one tenant.

    `turns` holds when each is to come back, in this order; the line ends at `ends_at_s`. `writes_left` may be below zero,
    because a call may turn out to be several writes.
    """

    counted_at_s: float
    writes_left: float = BURST_MAX
    ends_at_s: float = 0.0
    turns: dict[str, float] = field(default_factory=dict)
    calls_count: int = 0
    call_s: float = 0.0
    call_writes: float = 1.0
    new_writes: int = 0

    @property
    def spacing_s(self) -> float:
        """Time between turns: what the limit allows, or what the calls take."""
        return max(self.call_writes / WRITES_PER_S, self.call_s / CALLS_MAX)

    def refill(self, now_s: float) -> None:
        """Bring `writes_left` up to date."""
        self.writes_left = min(BURST_MAX, self.writes_left + (now_s - self.counted_at_s) * WRITES_PER_S)
        self.counted_at_s = now_s

    def queue(self, key: str, now_s: float) -> float:
        """Put somebody at the end of the line, and return when to come back."""
        for other, turn_s in list(self.turns.items()):
            if turn_s > now_s - _MISSED_AFTER_S:
                break
            del self.turns[other]
        self.ends_at_s = max(self.ends_at_s, now_s) + self.spacing_s
        self.turns.pop(key, None)
        self.turns[key] = self.ends_at_s
        return self.ends_at_s


class SubscriptionPace:
    """Says who may call now. One for each process: a tenant is worked for in one process at a time."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._lines: OrderedDict[TenantUid, _Line] = OrderedDict()

    def wait_s(self, tenant_uid: TenantUid, key: str) -> float:
        """Return 0.0 when it is the turn of `key`, which is to call at once; else in how many seconds to ask again.

        Those who were told to come back are not overtaken by others that come later.
        """
        line, now_s = self._line(tenant_uid), self._clock.monotonic()
        turn_s = line.turns.get(key)
        if turn_s is not None and turn_s > now_s + INSTANT_S:
            return turn_s - now_s
        is_first = turn_s is not None or line.ends_at_s <= now_s
        if is_first and line.writes_left >= 1.0 and line.calls_count < CALLS_MAX:
            line.turns.pop(key, None)
            return 0.0
        return line.queue(key, now_s) - now_s

    @contextmanager
    def calling(self, tenant_uid: TenantUid) -> Iterator[None]:
        """Hold one of the places for calls; what the block takes teaches how far apart turns are."""
        line, began_s = self._line(tenant_uid), self._clock.monotonic()
        line.calls_count += 1
        try:
            yield
        finally:
            line.calls_count -= 1
            line.call_s += (self._clock.monotonic() - began_s - line.call_s) * _NEWEST_SHARE
            line.call_writes += (max(1, line.new_writes) - line.call_writes) * _NEWEST_SHARE
            line.new_writes = 0

    def note_write(self, tenant_uid: TenantUid) -> None:
        """Note a write, just before it is sent."""
        line = self._line(tenant_uid)
        line.writes_left -= 1.0
        line.new_writes += 1

    def _line(self, tenant_uid: TenantUid) -> _Line:
        now_s = self._clock.monotonic()
        line = self._lines.get(tenant_uid)
        if line is None:
            line = self._lines[tenant_uid] = _Line(counted_at_s=now_s)
            if len(self._lines) > _LINES_MAX:
                self._lines.popitem(last=False)
        line.refill(now_s)
        return line
