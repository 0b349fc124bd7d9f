"""Occurrences as instants: the time of day stays, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sidecar.model.window import Window
from sidecar.writes.occurrences import occurrence_windows, span_of
from sidecar.writes.rrule import parse_rule

_BERLIN = ZoneInfo("Europe/Berlin")


def _windows(start: datetime, hours: float, rule: str, *, until_at: datetime) -> list[Window]:
    first = Window(start.astimezone(UTC), (start + timedelta(hours=hours)).astimezone(UTC))
    recurrence = parse_rule(rule, start_at=first.start_at, zone=_BERLIN)
    return list(occurrence_windows(recurrence, first, zone=_BERLIN, until_at=until_at))


def test_meeting_at_nine_stays_at_nine_when_the_clocks_change() -> None:
    """In instants it moves by an hour."""
    start = datetime(2026, 3, 23, 9, tzinfo=_BERLIN)
    found = _windows(start, 1, "FREQ=WEEKLY;COUNT=2", until_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert [one.start_at for one in found] == [
        datetime(2026, 3, 23, 8, tzinfo=UTC),
        datetime(2026, 3, 30, 7, tzinfo=UTC),
    ]


def test_endless_series_ends_where_nobody_looks_any_more() -> None:
    """What starts at the end is not looked at."""
    start = datetime(2026, 1, 5, 9, tzinfo=_BERLIN)
    found = _windows(start, 1, "FREQ=DAILY", until_at=datetime(2026, 1, 8, 8, tzinfo=UTC))
    assert [one.start_at.day for one in found] == [5, 6, 7]


def test_occurrence_in_the_skipped_hour_still_has_its_length() -> None:
    """From two to three in the morning does not exist on that day."""
    start = datetime(2026, 3, 28, 2, 15, tzinfo=_BERLIN)
    found = _windows(start, 0.5, "FREQ=DAILY;COUNT=2", until_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert [one.end_at - one.start_at for one in found] == [timedelta(minutes=30)] * 2


def test_night_over_the_change_of_clocks_ends_at_its_time_of_day() -> None:
    """Eight hours by the clock are seven on that night."""
    start = datetime(2026, 3, 27, 23, tzinfo=_BERLIN)
    found = _windows(start, 8, "FREQ=DAILY;COUNT=2", until_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert [one.end_at.astimezone(_BERLIN).hour for one in found] == [7, 7]


def test_span_holds_the_last_occurrence() -> None:
    """What has to be read to see what a series meets."""
    first = Window(datetime(2026, 1, 5, 8, tzinfo=UTC), datetime(2026, 1, 5, 9, tzinfo=UTC))
    recurrence = parse_rule("FREQ=DAILY;COUNT=3", start_at=first.start_at, zone=_BERLIN)
    span = span_of(recurrence, first, zone=_BERLIN, until_at=datetime(2026, 2, 1, tzinfo=UTC))
    assert span == Window(first.start_at, datetime(2026, 1, 7, 9, tzinfo=UTC))
