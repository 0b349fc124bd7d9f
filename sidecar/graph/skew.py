"""How far our clock and Microsoft's lie apart, as the answers' dates tell.

A wrong clock makes every time wrong that people are told, and Microsoft refuses what is signed by one: it allows five minutes.
Asking for the time costs nothing, for each answer is dated.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SKEW_S_MAX = 300.0
"""What Microsoft allows. Source: Entra "Certificate credentials" page."""
_ANSWERS_COUNT = 2
"""So many answers in a row have to agree: one server's clock may be wrong."""
_SLOW_S = 30.0
"""An answer that took longer was dated at any time meanwhile."""
_DATE_CHARS_MAX = 40


class SkewWatch:
    """What the latest answers say, of all tenants together: it is one clock. One for each process."""

    def __init__(self) -> None:
        self._skews_s: deque[float] = deque(maxlen=_ANSWERS_COUNT)

    def note(self, date: str, *, asked_at: datetime, answered_at: datetime) -> None:
        """Take note of an answer's date; one that cannot be read says nothing.

        Args:
            asked_at, answered_at: by our clock.
        """
        took_s = (answered_at - asked_at).total_seconds()
        if not date or len(date) > _DATE_CHARS_MAX or not 0.0 <= took_s <= _SLOW_S:
            return
        try:
            dated_at = parsedate_to_datetime(date)
        except (ValueError, IndexError, OverflowError):
            return
        dated_at = dated_at if dated_at.tzinfo else dated_at.replace(tzinfo=UTC)
        self._skews_s.append((answered_at - dated_at).total_seconds())

    @property
    def too_far_s(self) -> float | None:
        """By how much our clock is ahead (negative: behind), in seconds, if that is more than Microsoft allows; else None."""
        skews_s = self._skews_s
        if len(skews_s) < _ANSWERS_COUNT:
            return None
        if min(skews_s) > SKEW_S_MAX or max(skews_s) < -SKEW_S_MAX:
            return min(skews_s, key=abs)
        return None

    @property
    def ahead_s(self) -> float:
        """By how much our clock is ahead (negative: behind) as the answers agree, in seconds; 0 before there are any."""
        return min(tuple(self._skews_s), key=abs, default=0.0)

    @property
    def is_doubtful(self) -> bool:
        """Whether the latest answer says something else than the one before: another one has to tell who is right."""
        latest_s = self._skews_s[-1] if self._skews_s else 0.0
        return (abs(latest_s) > SKEW_S_MAX) != (self.too_far_s is not None)
