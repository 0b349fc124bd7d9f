"""When the occurrences of a series take place, as instants. Pure.

A series keeps its time of day in its zone: a meeting at nine stays at nine when the clocks change, and its end is a time of
day, too. Where the clocks skip a time, the time before the change counts on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from sidecar.model.event import EventContent
from sidecar.model.recurrence import Recurrence
from sidecar.model.window import Window
from sidecar.writes.rrule import occurrence_dates

_BEYOND = timedelta(seconds=1)


def occurrence_windows(recurrence: Recurrence, first: Window, *, zone: tzinfo, until_at: datetime) -> Iterator[Window]:
    """Give the occurrences that start before `until_at`, soonest first; the first one is `first`.

    Args:
        zone: in which the series keeps its time of day.
    """
    for day in occurrence_dates(recurrence, first.start_at.astimezone(zone).date()):
        window = window_on(first, day, zone=zone)
        if window.start_at >= until_at:
            return
        yield window


def window_on(first: Window, day: date, *, zone: tzinfo) -> Window:
    """Return when a series takes place on a day of its pattern, if its first occurrence is `first`."""
    start, end = first.start_at.astimezone(zone), first.end_at.astimezone(zone)
    starts_at = _at(day, start.time(), zone)
    ends_at = _at(day + (end.date() - start.date()), end.time(), zone)
    # A change of clocks within the meeting may leave nothing of it.
    return Window(starts_at, ends_at if ends_at > starts_at else starts_at + (first.end_at - first.start_at))


def _at(day: date, clock: time, zone: tzinfo) -> datetime:
    return datetime.combine(day, clock, tzinfo=zone).astimezone(UTC)


def span_of(recurrence: Recurrence, first: Window, *, zone: tzinfo, until_at: datetime) -> Window:
    """Return a window that holds all occurrences before `until_at`: what has to be read to see what they meet."""
    last = first
    for window in occurrence_windows(recurrence, first, zone=zone, until_at=until_at):
        last = window
    return Window(first.start_at, max(first.end_at, last.end_at, first.start_at + _BEYOND))


def windows_of(content: EventContent, *, until_at: datetime) -> list[Window]:
    """Return when an event takes place before `until_at`, soonest first; a single one at any time."""
    if content.recurrence is None:
        return [content.window]
    zone = ZoneInfo(content.time_zone)
    return list(occurrence_windows(content.recurrence, content.window, zone=zone, until_at=until_at))


def reach_at(content: EventContent, horizon: Window | None) -> datetime:
    """Return up to when occurrences are looked at: the end of the copy, and never before the first one.

    Args:
        horizon: what the copy holds; None: nothing yet.
    """
    end_at = content.window.end_at if horizon is None else horizon.end_at
    return max(end_at, content.window.start_at + _BEYOND)


def span_around(windows: Sequence[Window]) -> Window:
    """Return a window that holds windows, of which there is one at least."""
    return Window(min(window.start_at for window in windows), max(window.end_at for window in windows))
