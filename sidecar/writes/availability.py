"""When rooms are free, from what occupies them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sidecar.model.window import Window

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a caller looks for.

    Attributes:
        least: free spans that are shorter are not told; never negative.
        before: kept free between a booking and what would follow it: time to leave the room.
        after: kept free between what would be booked and the booking that follows.
    """

    least: timedelta = timedelta()
    before: timedelta = timedelta()
    after: timedelta = timedelta()


def free_spans(busy: Iterable[Span], window: Window, needs: Needs) -> list[Window]:
    """Return the spans of a window in which a room is free, soonest first; none of them touch.

    A span may be used from end to end: the time that has to stay free around bookings is outside of it already.

    Args:
        busy: starts and ends, in any order; they may overlap and reach beyond the window. What has no length is in nobody's
            way.
    """
    free: list[Window] = []
    free_from = window.start_at
    for start_at, end_at in sorted(span for span in busy if span[1] > span[0]):
        _add(free, free_from, min(start_at - needs.after, window.end_at), needs.least)
        free_from = max(free_from, end_at + needs.before)
        if free_from >= window.end_at:
            return free
    _add(free, free_from, window.end_at, needs.least)
    return free


def _add(free: list[Window], start_at: datetime, end_at: datetime, least: timedelta) -> None:
    if end_at > start_at and end_at - start_at >= least:
        free.append(Window(start_at, end_at))
