"""Spans of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEAST = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open span: `start_at` is inside, `end_at` is not. Both aware UTC; never empty or backwards."""

    start_at: datetime
    end_at: datetime

    def __post_init__(self) -> None:
        assert self.start_at < self.end_at, "a window ends after it starts"

    @staticmethod
    def around(start_at: datetime, end_at: datetime) -> Window:
        """Return a window that holds something that may have no length: a second of it at least."""
        return Window(start_at, max(end_at, start_at + _LEAST))

    def overlaps(self, start_at: datetime, end_at: datetime) -> bool:
        """Tell whether a span shares an instant with this window; a span of no length counts as an instant."""
        return start_at < self.end_at and (end_at > self.start_at or start_at == end_at >= self.start_at)


def horizon_at(now: datetime, *, past_days: int, future_days: int) -> Window:
    """Return the span that is kept in the copy: whole UTC days around now, so that it moves once a day."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return Window(today - timedelta(days=past_days), today + timedelta(days=future_days + 1))


def to_micros(instant: datetime) -> int:
    """Return microseconds since 1970, the form instants have in the store."""
    delta = instant - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_micros(micros: int) -> datetime:
    """Return the instant for microseconds since 1970."""
    return EPOCH + timedelta(microseconds=micros)
