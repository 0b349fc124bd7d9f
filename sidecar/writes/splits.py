"""What a change of a whole series, or of all that follows, makes of it. Pure.

Exchange forgets what was different about single days when a series gets another time or pattern, or ends earlier. So each
decision here says which of them have to be done again, and which are lost because their day is no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime

from sidecar.model.series import Series, SeriesException, Timing
from sidecar.model.window import Window
from sidecar.writes.occurrences import window_on
from sidecar.writes.rrule import occurrence_dates

EXCEPTIONS_MAX = 60
"""Days of one series that are done again, each with two requests, in one try of a write; of more the oldest are lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What was different about a day, and is not any more.

    Attributes:
        original_start_at: when the pattern had put it.
        window: when it took place; None for a day on which it was cancelled.
    """

    original_start_at: datetime
    window: Window | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A series as it shall be, and what is lost on the way."""

    series: Series
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True, slots=True)
class Split:
    """A series cut in two; `head` None: nothing would be left of it, so it is not cut but changed as a whole."""

    head: Series | None
    tail: Series


def days_of(timing: Timing) -> Iterator[date]:
    """Give the days that the pattern names, ascending; see `rrule.occurrence_dates`."""
    return occurrence_dates(timing.recurrence, timing.start_day)


def regular_window(timing: Timing, day: date) -> Window:
    """Return when a series takes place on a day of its pattern."""
    return window_on(timing.first, day, zone=timing.zone)


def has_day(timing: Timing, day: date) -> bool:
    """Tell whether the pattern names a day."""
    return any(True for _ in _until(timing, day, least=day))


def is_last(series: Series, day: date) -> bool:
    """Tell whether a series takes place on this day and on no other."""
    if series.timing.recurrence.is_endless:
        return False
    return all(one == day or one in series.cancelled for one in days_of(series.timing))


def split(series: Series, at: date) -> Split:
    """Cut a series so that all before a day stays and the tail begins on it; together they take place when the whole did.

    A number of occurrences is shared out; a last day goes with the tail, and so does having none.

    Args:
        at: a day of the pattern.
    """
    timing = series.timing
    before = [day for day in _until(timing, at) if day < at]
    tail_rule = timing.recurrence
    if tail_rule.count is not None:
        tail_rule = replace(tail_rule, count=tail_rule.count - len(before))
    tail = Series(
        timing=replace(timing, recurrence=tail_rule, first=regular_window(timing, at)),
        exceptions=tuple(one for one in series.exceptions if one.day >= at),
        cancelled=frozenset(day for day in series.cancelled if day >= at),
    )
    if all(day in series.cancelled for day in before):
        return Split(None, tail)
    head_rule = (
        replace(timing.recurrence, count=len(before))
        if timing.recurrence.count is not None
        else replace(timing.recurrence, until=before[-1])
    )
    head = Series(
        timing=replace(timing, recurrence=head_rule),
        exceptions=tuple(one for one in series.exceptions if one.day < at),
        cancelled=frozenset(day for day in series.cancelled if day < at),
    )
    return Split(head, tail)


def retime(series: Series, timing: Timing) -> Outcome:
    """Give a series another time or pattern, and keep what was different about days that it still has.

    An occurrence that somebody moved stays where it was moved to; one that only says something else moves with its series.
    """
    if timing == series.timing:
        return Outcome(series=series)
    asked = {one.day for one in series.exceptions} | series.cancelled
    still = {day for day in _until(timing, max(asked)) if day in asked} if asked else set()
    kept, lost = [], []
    for one in series.exceptions:
        was_regular = one.window == regular_window(series.timing, one.day)
        if one.day not in still:
            lost.append(Lost(original_start_at=regular_window(series.timing, one.day).start_at, window=one.window))
        elif was_regular:
            kept.append(replace(one, window=regular_window(timing, one.day), is_all_day=timing.is_all_day))
        else:
            kept.append(one)
    # A cancelled day that the pattern does not name any more is nothing lost: nothing takes place there.
    changed = Series(timing=timing, exceptions=tuple(kept), cancelled=series.cancelled & frozenset(still))
    return Outcome(series=changed, lost=tuple(lost))


def bound(outcome: Outcome, *, before: Timing, count_max: int = EXCEPTIONS_MAX) -> Outcome:
    """Give up the oldest of very many different days.

    Args:
        before: when the series took place.
    """
    series = outcome.series
    days = sorted({one.day for one in series.exceptions} | series.cancelled, reverse=True)
    given_up = frozenset(days[count_max:])
    if not given_up:
        return outcome
    windows = {one.day: one.window for one in series.exceptions}
    lost = [
        Lost(original_start_at=regular_window(before, day).start_at, window=windows.get(day))
        for day in sorted(given_up)
    ]
    smaller = replace(
        series,
        exceptions=tuple(one for one in series.exceptions if one.day not in given_up),
        cancelled=series.cancelled - given_up,
    )
    return Outcome(series=smaller, lost=(*lost, *outcome.lost))


def windows_of(series: Series, *, within: Window) -> list[Window]:
    """Return when a series takes place, as far as it touches a window, soonest first."""
    different = {one.day for one in series.exceptions} | series.cancelled
    found = [one.window for one in series.exceptions]
    for day in days_of(series.timing):
        window = regular_window(series.timing, day)
        if window.start_at >= within.end_at:
            break
        if day not in different:
            found.append(window)
    touching = (window for window in found if within.overlaps(window.start_at, window.end_at))
    return sorted(touching, key=lambda window: (window.start_at, window.end_at))


def exception_on(series: Series, day: date) -> SeriesException | None:
    """Return what is different on a day."""
    return next((one for one in series.exceptions if one.day == day), None)


def _until(timing: Timing, last: date, *, least: date = date.min) -> Iterator[date]:
    for day in days_of(timing):
        if day > last:
            return
        if day >= least:
            yield day
