"""Series that are cut or changed: together the pieces take place when the whole did, and what is lost is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar.model.ids import EventId
from sidecar.model.recurrence import Pattern, PatternKind, Recurrence
from sidecar.model.series import Series, SeriesException, Timing
from sidecar.model.window import Window
from sidecar.writes.rrule import occurrence_dates
from sidecar.writes.splits import (
    Outcome,
    bound,
    days_of,
    has_day,
    is_last,
    regular_window,
    retime,
    split,
    windows_of,
)

_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
_LOOKED_AT = 12
"""Days of a series that tests look at."""
_WEEKDAYS = st.lists(st.integers(0, 6), min_size=1, max_size=3, unique=True).map(lambda days: tuple(sorted(days)))


@st.composite
def _patterns(draw: st.DrawFn) -> Pattern:
    kind, interval = draw(st.sampled_from(PatternKind)), draw(st.integers(1, 3))
    month = draw(st.integers(1, 12))
    match kind:
        case PatternKind.DAILY:
            return Pattern(kind=kind, interval=interval)
        case PatternKind.WEEKLY:
            return Pattern(
                kind=kind, interval=interval, weekdays=draw(_WEEKDAYS), first_weekday=draw(st.integers(0, 6))
            )
        case PatternKind.ABSOLUTE_MONTHLY | PatternKind.ABSOLUTE_YEARLY:
            is_yearly = kind is PatternKind.ABSOLUTE_YEARLY
            longest = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1] if is_yearly else 31
            day = draw(st.integers(1, longest))
            return Pattern(kind=kind, interval=interval, day_of_month=day, month=month if is_yearly else 0)
        case _:
            is_yearly = kind is PatternKind.RELATIVE_YEARLY
            index = draw(st.sampled_from([1, 2, 3, 4, -1]))
            return Pattern(
                kind=kind, interval=interval, weekdays=draw(_WEEKDAYS), index=index, month=month if is_yearly else 0
            )


@st.composite
def _series(draw: st.DrawFn) -> Series:
    endless = Recurrence(pattern=draw(_patterns()))
    begins = date(2026, 1, 1) + timedelta(days=draw(st.integers(0, 700)))
    start = next(occurrence_dates(endless, begins))
    days = list(islice(occurrence_dates(endless, start), _LOOKED_AT))
    recurrence = draw(
        st.sampled_from(
            [endless, replace(endless, count=len(days)), replace(endless, until=days[-1] + timedelta(days=1))]
        )
    )
    zone_name = draw(st.sampled_from(_ZONES))
    starts_at = datetime.combine(start, time(draw(st.integers(8, 18))), tzinfo=ZoneInfo(zone_name)).astimezone(UTC)
    first = Window(starts_at, starts_at + timedelta(minutes=draw(st.integers(15, 120))))
    timing = Timing(recurrence=recurrence, first=first, time_zone=zone_name)
    different = draw(st.lists(st.sampled_from(days), unique=True, max_size=5))
    count = draw(st.integers(0, len(different)))
    return Series(
        timing=timing,
        exceptions=tuple(_exception(timing, day, draw(st.integers(0, 5))) for day in sorted(different[:count])),
        cancelled=frozenset(different[count:]),
    )


def _exception(timing: Timing, day: date, hours: int) -> SeriesException:
    """Make an occurrence that is later than its pattern says; 0 hours: one that only says something else."""
    regular = regular_window(timing, day)
    late = timedelta(hours=hours)
    return SeriesException(
        day=day, window=Window(regular.start_at + late, regular.end_at + late), event_id=EventId(f"e{day}")
    )


def _looked_at(series: Series) -> Window:
    last = list(islice(days_of(series.timing), _LOOKED_AT))[-1]
    return Window(
        series.timing.first.start_at - timedelta(days=1), datetime.combine(last, time(), tzinfo=UTC) + timedelta(days=2)
    )


@given(series=_series(), data=st.data())
def test_cut_series_takes_place_when_the_whole_did(series: Series, data: st.DataObject) -> None:
    """Nothing is lost, nothing takes place twice, and the tail begins on the day of the cut."""
    at = data.draw(st.sampled_from(list(islice(days_of(series.timing), _LOOKED_AT))))
    cut = split(series, at)
    within = _looked_at(series)
    if cut.head is None:
        assert all(day in series.cancelled for day in islice(days_of(series.timing), _LOOKED_AT) if day < at)
        head: list[Window] = []
    else:
        head = windows_of(cut.head, within=within)
        assert max(days_of(cut.head.timing)) < at
    assert cut.tail.timing.start_day == at
    assert cut.tail.timing.recurrence.is_endless == series.timing.recurrence.is_endless
    tail = windows_of(cut.tail, within=within)
    assert sorted([*head, *tail], key=str) == sorted(windows_of(series, within=within), key=str)


@given(series=_series(), data=st.data())
def test_different_days_of_a_cut_series_go_to_their_own_piece(series: Series, data: st.DataObject) -> None:
    """Each of them to exactly one."""
    at = data.draw(st.sampled_from(list(islice(days_of(series.timing), _LOOKED_AT))))
    cut = split(series, at)
    head = cut.head or Series(timing=series.timing)
    kept = {one.day for one in (*head.exceptions, *cut.tail.exceptions)}
    if cut.head is not None:
        assert kept == {one.day for one in series.exceptions}
        assert head.cancelled | cut.tail.cancelled == series.cancelled
    assert all(one.day >= at for one in cut.tail.exceptions)
    assert all(has_day(cut.tail.timing, day) for day in cut.tail.cancelled)


@given(series=_series(), pattern=_patterns(), later_s=st.integers(-3600, 3600))
def test_changed_series_keeps_or_names_each_different_day(series: Series, pattern: Pattern, later_s: int) -> None:
    """What is different about a day is kept where the day still is, and named where it is not."""
    late = timedelta(seconds=later_s)
    recurrence = Recurrence(pattern=pattern)
    start = next(occurrence_dates(recurrence, series.timing.start_day))
    assume(start == series.timing.start_day)
    first = Window(series.timing.first.start_at + late, series.timing.first.end_at + late)
    changed = Timing(recurrence=recurrence, first=first, time_zone=series.timing.time_zone)
    outcome = retime(series, changed)
    originals = {regular_window(series.timing, one.day).start_at: one for one in series.exceptions}
    kept = {one.day for one in outcome.series.exceptions}
    lost = {originals[one.original_start_at].day for one in outcome.lost}
    assert kept | lost == {one.day for one in series.exceptions}
    assert not kept & lost
    assert all(has_day(changed, day) for day in kept | outcome.series.cancelled)
    assert not any(has_day(changed, day) for day in lost | (series.cancelled - outcome.series.cancelled))


@given(series=_series())
def test_moved_occurrence_stays_when_its_series_moves(series: Series) -> None:
    """Who was moved stays where it was moved to; who only says something else goes with the series."""
    late = timedelta(minutes=30)
    first = Window(series.timing.first.start_at + late, series.timing.first.end_at + late)
    timing = replace(series.timing, first=first)
    before = {one.day: one.window for one in series.exceptions}
    for one in retime(series, timing).series.exceptions:
        was_moved = before[one.day] != regular_window(series.timing, one.day)
        assert one.window == (before[one.day] if was_moved else regular_window(timing, one.day))


@given(series=_series(), count_max=st.integers(0, 6))
def test_of_very_many_different_days_the_oldest_are_named_as_lost(series: Series, count_max: int) -> None:
    """None vanishes without a word."""
    bounded = bound(Outcome(series=series), before=series.timing, count_max=count_max)
    left = {one.day for one in bounded.series.exceptions} | bounded.series.cancelled
    different = {one.day for one in series.exceptions} | series.cancelled
    assert left == set(sorted(different, reverse=True)[:count_max])
    assert len(bounded.lost) == len(different) - len(left)
    cancelled_lost = sum(one.window is None for one in bounded.lost)
    assert cancelled_lost == len(series.cancelled) - len(bounded.series.cancelled)


@given(series=_series())
def test_last_day_is_the_only_one_on_which_something_takes_place(series: Series) -> None:
    """An endless series has none."""
    days = list(islice(days_of(series.timing), 2 * _LOOKED_AT))
    rest = [day for day in days if day not in series.cancelled]
    is_endless = series.timing.recurrence.is_endless
    for day in rest:
        assert is_last(series, day) == (not is_endless and rest == [day])
