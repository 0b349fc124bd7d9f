"""Days of a series, compared with dateutil's own idea of them."""

from datetime import date, datetime, timedelta

import pytest
from dateutil import rrule
from hypothesis import given
from hypothesis import strategies as st

from sidecar.emulator.exchange.recurrence import PatternKind, RangeKind, Recurrence
from sidecar.emulator.wire.recurrence_wire import InvalidRecurrence, parse_recurrence, render_recurrence

_FREQUENCIES = {
    PatternKind.DAILY: rrule.DAILY,
    PatternKind.WEEKLY: rrule.WEEKLY,
    PatternKind.ABSOLUTE_MONTHLY: rrule.MONTHLY,
    PatternKind.RELATIVE_MONTHLY: rrule.MONTHLY,
    PatternKind.ABSOLUTE_YEARLY: rrule.YEARLY,
    PatternKind.RELATIVE_YEARLY: rrule.YEARLY,
}
_SET_POSITIONS = (1, 2, 3, 4, -1)


@st.composite
def recurrences(draw: st.DrawFn) -> Recurrence:
    range_kind = draw(st.sampled_from(RangeKind))
    start = draw(st.dates(date(2020, 1, 1), date(2030, 12, 31)))
    days = draw(st.sets(st.integers(0, 6), min_size=1, max_size=7))
    return Recurrence(
        kind=draw(st.sampled_from(PatternKind)),
        interval=draw(st.integers(1, 12)),
        days=tuple(sorted(days)),
        day_of_month=draw(st.integers(1, 31)),
        month=draw(st.integers(1, 12)),
        index=draw(st.integers(0, 4)),
        first_day=draw(st.integers(0, 6)),
        range_kind=range_kind,
        start=start,
        end=start + timedelta(days=draw(st.integers(0, 3000))) if range_kind is RangeKind.END_DATE else None,
        count=draw(st.integers(1, 60)) if range_kind is RangeKind.NUMBERED else 0,
        zone="UTC",
    )


def as_rrule(recurrence: Recurrence) -> rrule.rrule:
    """Say the same in dateutil's words; a day the month lacks is its last one, hence the set position."""
    options: dict[str, object] = {}
    kind = recurrence.kind
    if kind is PatternKind.WEEKLY:
        options["byweekday"] = recurrence.days
    elif kind in (PatternKind.RELATIVE_MONTHLY, PatternKind.RELATIVE_YEARLY):
        options |= {"byweekday": recurrence.days, "bysetpos": _SET_POSITIONS[recurrence.index]}
    elif kind in (PatternKind.ABSOLUTE_MONTHLY, PatternKind.ABSOLUTE_YEARLY):
        options |= {
            "bymonthday": list(range(min(28, recurrence.day_of_month), recurrence.day_of_month + 1)),
            "bysetpos": -1,
        }
    if kind in (PatternKind.ABSOLUTE_YEARLY, PatternKind.RELATIVE_YEARLY):
        options["bymonth"] = recurrence.month
    return rrule.rrule(
        _FREQUENCIES[kind],  # type: ignore[arg-type]  # dateutil's constants are plain numbers to mypy
        dtstart=datetime.combine(recurrence.start, datetime.min.time()),
        interval=recurrence.interval,
        wkst=recurrence.first_day,
        count=recurrence.count or None,
        until=datetime.combine(recurrence.end, datetime.min.time()) if recurrence.end else None,
        **options,  # type: ignore[arg-type]  # several types by name
    )


@given(recurrences(), st.integers(-400, 4000), st.integers(0, 1200))
def test_days_in_a_window_are_those_of_rrule(recurrence: Recurrence, offset_days: int, length_days: int) -> None:
    first = recurrence.start + timedelta(days=offset_days)
    last = first + timedelta(days=length_days)
    midnight = datetime.min.time()
    expected = as_rrule(recurrence).between(
        datetime.combine(first, midnight), datetime.combine(last, midnight), inc=True
    )
    assert list(recurrence.dates(first, last)) == [one.date() for one in expected]


@given(recurrences())
def test_first_and_last_day_are_those_of_the_whole(recurrence: Recurrence) -> None:
    days = list(recurrence.dates(recurrence.start, recurrence.start + timedelta(days=366 * 30)))
    if not days:
        first = recurrence.first_date()
        assert first is None or first > recurrence.start + timedelta(days=366 * 30)
        return
    assert recurrence.first_date() == days[0]
    assert all(recurrence.has(day) for day in days[:5])
    last = recurrence.last_date()
    if recurrence.range_kind is RangeKind.NO_END:
        assert last is None
    else:
        assert last is not None
        assert last >= days[-1]


@given(recurrences())
def test_wire_form_survives_a_round_trip(recurrence: Recurrence) -> None:
    if recurrence.first_date() is None:
        return
    assert parse_recurrence(render_recurrence(recurrence), default_zone="Asia/Tokyo") == recurrence


@pytest.mark.parametrize(
    ("pattern", "reach"),
    [
        ({"type": "weekly", "interval": 1}, {"type": "noEnd", "startDate": "2026-11-23"}),
        ({"type": "daily", "interval": 0}, {"type": "noEnd", "startDate": "2026-11-23"}),
        ({"type": "hourly", "interval": 1}, {"type": "noEnd", "startDate": "2026-11-23"}),
        ({"type": "daily", "interval": 1}, {"type": "numbered", "startDate": "2026-11-23"}),
        ({"type": "daily", "interval": 1}, {"type": "endDate", "startDate": "2026-11-23", "endDate": "2026-11-22"}),
        ({"type": "daily", "interval": 1}, {"type": "noEnd", "startDate": "2026-11-23", "recurrenceTimeZone": "Mars"}),
        ({"type": "absoluteMonthly", "interval": 1}, {"type": "noEnd", "startDate": "2026-11-23"}),
        ({"type": "daily", "interval": 1, "colour": 1}, {"type": "noEnd", "startDate": "2026-11-23"}),
        ({"type": "daily", "interval": 1.5}, {"type": "noEnd", "startDate": "2026-11-23"}),
        ({"type": "daily", "interval": True}, {"type": "noEnd", "startDate": "2026-11-23"}),
        ({"type": "daily", "interval": 99_999}, {"type": "noEnd", "startDate": "2026-11-23"}),
        ({"type": "daily", "interval": 1}, {"type": "noEnd", "startDate": "9999-12-31"}),
        ({"type": "daily", "interval": 1}, {"type": "noEnd", "startDate": 20261123}),
        ({"type": "daily", "interval": 1}, {"type": "noEnd"}),
        (None, {"type": "noEnd", "startDate": "2026-11-23"}),
        ({"type": "weekly", "daysOfWeek": "monday"}, {"type": "noEnd", "startDate": "2026-11-23"}),
        ({"type": "weekly", "daysOfWeek": [None]}, {"type": "noEnd", "startDate": "2026-11-23"}),
    ],
)
def test_impossible_recurrence_is_refused(pattern: dict[str, object] | None, reach: dict[str, object]) -> None:
    with pytest.raises(InvalidRecurrence):
        parse_recurrence({"pattern": pattern, "range": reach}, default_zone="UTC")


def test_members_of_a_recurrence_are_read_in_any_case() -> None:
    pattern = {"type": "RelativeMonthly", "daysOfWeek": ["Monday"], "index": "Last", "firstDayOfWeek": "Sunday"}
    found = parse_recurrence(
        {"pattern": pattern, "range": {"type": "NoEnd", "startDate": "2026-11-30"}}, default_zone="UTC"
    )
    assert (found.kind, found.days, found.index, found.first_day) == (PatternKind.RELATIVE_MONTHLY, (0,), 4, 6)


def test_series_ends_with_the_last_day_exchange_knows() -> None:
    pattern = {"type": "absoluteYearly", "interval": 999, "dayOfMonth": 23, "month": 11}
    reach = {"type": "numbered", "numberOfOccurrences": 999, "startDate": "2026-11-23"}
    found = parse_recurrence({"pattern": pattern, "range": reach}, default_zone="UTC")
    assert found.last_date() == date(4024, 11, 23)
