"""When a series' occurrences are, to the second, compared with dateutil's rules and dateutil's own reading of the zones.

Which days a pattern falls on is in `tests/unit/emulator/test_recurrence.py`; here are the clock times on those days, through
the wire form and across changes of clocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from dateutil import rrule, tz
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.event import Content, Event, EventKind, Person, Series
from sidecar.emulator.exchange.series import align_series, expand
from sidecar.emulator.wire.event_input import parse_event

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
INDEXES = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}
ZONES = {
    # As Graph may call it -> as dateutil knows it. Clocks change by an hour, by half an hour, or never; on both hemispheres.
    "UTC": "UTC",
    "W. Europe Standard Time": "Europe/Berlin",
    "America/New_York": "America/New_York",
    "Pacific Standard Time": "America/Los_Angeles",
    "Asia/Kolkata": "Asia/Kolkata",
    "Nepal Standard Time": "Asia/Kathmandu",
    "Australia/Lord_Howe": "Australia/Lord_Howe",
    "New Zealand Standard Time": "Pacific/Auckland",
    "America/Santiago": "America/Santiago",
}
_FREQUENCIES = {
    "daily": rrule.DAILY,
    "weekly": rrule.WEEKLY,
    "absoluteMonthly": rrule.MONTHLY,
    "relativeMonthly": rrule.MONTHLY,
    "absoluteYearly": rrule.YEARLY,
    "relativeYearly": rrule.YEARLY,
}
_SECONDS = st.sampled_from([0, 30 * 60, 90 * 60, 2 * 3600, 2 * 3600 + 1800, 9 * 3600, 23 * 3600 + 1800])
"""Starts of a meeting: some of them fall into the hour that a change of clocks skips or repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A series as a caller would write it."""

    pattern: dict[str, Any]
    reach: dict[str, Any]
    first: datetime
    """Start on the first named day, local to `zone` and naive."""
    minutes: int
    zone: str

    @property
    def local_first(self) -> datetime:
        """Give the first start in the zone of the recurrence, whose clock time all occurrences keep."""
        at = tz.resolve_imaginary(self.first.replace(tzinfo=tz.gettz(ZONES[self.zone])))
        return at.astimezone(tz.gettz(ZONES[self.reach.get("recurrenceTimeZone", self.zone)]))

    @property
    def wire(self) -> dict[str, Any]:
        """Give the body of the POST."""
        end = self.first + timedelta(minutes=self.minutes)
        return {
            "start": {"dateTime": self.first.isoformat(), "timeZone": self.zone},
            "end": {"dateTime": end.isoformat(), "timeZone": self.zone},
            "recurrence": {"pattern": self.pattern, "range": self.reach},
        }


@st.composite
def series(draw: st.DrawFn) -> Asked:
    kind = draw(st.sampled_from(sorted(_FREQUENCIES)))
    day = draw(st.dates(date(2024, 1, 1), date(2032, 12, 31)))
    pattern: dict[str, Any] = {"type": kind, "interval": draw(st.integers(1, 5))}
    if kind == "weekly" or kind.startswith("relative"):
        pattern["daysOfWeek"] = draw(st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True))
    if kind == "weekly":
        pattern["firstDayOfWeek"] = draw(st.sampled_from(DAYS))
    if kind.startswith("relative"):
        pattern["index"] = draw(st.sampled_from(sorted(INDEXES)))
    if kind.startswith("absolute"):
        pattern["dayOfMonth"] = draw(st.integers(1, 31))
    if kind.endswith("Yearly"):
        pattern["month"] = draw(st.integers(1, 12))
    reach: dict[str, Any] = {"type": draw(st.sampled_from(["noEnd", "endDate", "numbered"])), "startDate": f"{day}"}
    if reach["type"] == "numbered":
        reach["numberOfOccurrences"] = draw(st.integers(1, 40))
    first = datetime.combine(day, time()) + timedelta(seconds=draw(_SECONDS))
    minutes, zone = draw(st.sampled_from([15, 60, 600])), draw(st.sampled_from(sorted(ZONES)))
    if draw(st.booleans()):
        reach["recurrenceTimeZone"] = draw(st.sampled_from(sorted(ZONES)))
    asked = Asked(pattern=pattern, reach=reach, first=first, minutes=minutes, zone=zone)
    assume(not asked.local_first.fold)  # which of two equal clock times a series means, nobody has documented
    start = asked.local_first.date()
    reach["startDate"] = f"{start}"
    if reach["type"] == "endDate":
        reach["endDate"] = f"{start + timedelta(days=draw(st.integers(0, 1000)))}"
    return asked


def made_of(asked: Asked) -> Event:
    """Let the emulator read the body and make the series of it."""
    parsed = parse_event(asked.wire, base=Content(), base_times=None, lookup=lambda address: None)
    assert parsed.times is not None
    assert parsed.recurrence is not None
    times, recurrence = align_series(parsed.times, parsed.recurrence)
    at = datetime(2024, 1, 1, tzinfo=UTC)
    return Event(
        core="A" * 32,
        ical_uid="0" * 112,
        kind=EventKind.MASTER,
        times=times,
        content=parsed.content,
        organizer=Person(name="Ada", address="ada@contoso.example"),
        created_at=at,
        modified_at=at,
        change_key="key",
        order=1,
        series=Series(recurrence=recurrence),
    )


def made_or_refused(asked: Asked) -> Event | None:
    """Make the series, or give None if the emulator sees no occurrence in it."""
    try:
        return made_of(asked)
    except GraphError as refusal:
        if refusal.message != "The recurrence has no occurrence.":
            raise
        return None


def expected(asked: Asked, until: datetime) -> list[datetime]:
    """Work out the starts with dateutil, in UTC; a time that the clocks skip is read with the offset before."""
    pattern, options = asked.pattern, dict[str, Any]()
    kind = pattern["type"]
    if kind == "weekly":
        options["byweekday"] = [DAYS.index(name) for name in pattern["daysOfWeek"]]
        options["wkst"] = DAYS.index(pattern["firstDayOfWeek"])
    if kind.startswith("relative"):
        options["byweekday"] = [DAYS.index(name) for name in pattern["daysOfWeek"]]
        options["bysetpos"] = INDEXES[pattern["index"]]
    if kind.startswith("absolute"):  # a day the month lacks is its last
        options["bymonthday"] = list(range(min(28, pattern["dayOfMonth"]), pattern["dayOfMonth"] + 1))
        options["bysetpos"] = -1
    if kind.endswith("Yearly"):
        options["bymonth"] = pattern["month"]
    if asked.reach["type"] == "numbered":
        options["count"] = asked.reach["numberOfOccurrences"]
    if asked.reach["type"] == "endDate":
        options["until"] = datetime.combine(date.fromisoformat(asked.reach["endDate"]), time.max)
    first = asked.local_first.replace(tzinfo=None)
    rule = rrule.rrule(
        _FREQUENCIES[kind],  # type: ignore[arg-type]  # dateutil's constants are plain numbers to mypy
        dtstart=first,
        interval=pattern["interval"],
        **options,
    )
    zone = asked.local_first.tzinfo
    found = []
    for local in rule:
        at = tz.resolve_imaginary(local.replace(tzinfo=zone)).astimezone(UTC)
        if at >= until:
            break
        found.append(at)
    return found


BERLIN_GAP = Asked(
    pattern={"type": "daily", "interval": 1},
    reach={"type": "numbered", "numberOfOccurrences": 3, "startDate": "2027-03-27"},
    first=datetime(2027, 3, 27, 2, 30),
    minutes=15,
    zone="W. Europe Standard Time",
)
LORD_HOWE_BACK = Asked(
    pattern={"type": "weekly", "interval": 1, "daysOfWeek": ["sunday"], "firstDayOfWeek": "monday"},
    reach={"type": "noEnd", "startDate": "2027-03-28"},
    first=datetime(2027, 3, 28, 1, 30),
    minutes=60,
    zone="Australia/Lord_Howe",
)

LORD_HOWE_FIRST_DAY_IN_A_GAP = Asked(
    pattern={"type": "absoluteMonthly", "interval": 5, "dayOfMonth": 1},
    reach={"type": "noEnd", "startDate": "2028-05-02"},
    first=datetime(2028, 5, 2, 2, 0),
    minutes=15,
    zone="Australia/Lord_Howe",
)


@settings(max_examples=200)
@given(series())
@example(BERLIN_GAP)
@example(LORD_HOWE_BACK)
@example(LORD_HOWE_FIRST_DAY_IN_A_GAP)
def test_occurrences_start_when_dateutil_says(asked: Asked) -> None:
    until = (asked.first + timedelta(days=800)).replace(tzinfo=UTC)
    master = made_or_refused(asked)
    if master is None:
        assert expected(asked, datetime(9000, 1, 1, tzinfo=UTC)) == []
        return
    start = (asked.first - timedelta(days=3)).replace(tzinfo=UTC)
    shown = sorted(one.times.start_at for one in expand(master, start, until))
    assert shown == expected(asked, until)


@settings(max_examples=100)
@given(series(), st.integers(-5, 400), st.integers(0, 120))
def test_window_shows_what_overlaps_it_and_nothing_else(asked: Asked, offset_days: int, length_hours: int) -> None:
    master = made_or_refused(asked)
    if master is None:
        return
    start = (asked.first + timedelta(days=offset_days)).replace(tzinfo=UTC)
    end = start + timedelta(hours=length_hours)
    whole = expand(master, start - timedelta(days=40), end + timedelta(days=40))
    wanted = {one.day for one in whole if one.times.start_at < end and one.times.end_at > start}
    assert {one.day for one in expand(master, start, end)} == wanted


@settings(max_examples=100)
@given(series())
def test_master_has_the_times_of_its_first_occurrence(asked: Asked) -> None:
    master = made_or_refused(asked)
    if master is None:
        return
    shown = expand(master, master.times.start_at, master.times.start_at + timedelta(seconds=1))
    first = min(shown, key=lambda one: one.times.start_at)
    assert first.times == master.times


@pytest.mark.parametrize("zone", sorted(ZONES))
def test_occurrence_is_as_long_as_its_clock_times(zone: str) -> None:
    """A meeting from nine to ten is one hour on every day of the year, whatever the clocks do at night."""
    asked = Asked(
        pattern={"type": "daily", "interval": 1},
        reach={"type": "numbered", "numberOfOccurrences": 365, "startDate": "2027-01-01"},
        first=datetime(2027, 1, 1, 9),
        minutes=60,
        zone=zone,
    )
    master = made_of(asked)
    shown = expand(master, datetime(2026, 12, 1, tzinfo=UTC), datetime(2028, 2, 1, tzinfo=UTC))
    assert len(shown) == 365
    assert {one.times.end_at - one.times.start_at for one in shown} == {timedelta(hours=1)}
