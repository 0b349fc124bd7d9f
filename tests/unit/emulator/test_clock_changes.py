"""Series over changes of the clock, by hand: hours that do not exist, hours that come twice, and zones without either."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from sidecar.emulator.exchange.event import Content, Event, EventKind, Person, Series, Times
from sidecar.emulator.exchange.recurrence import PatternKind, RangeKind, Recurrence
from sidecar.emulator.exchange.series import expand, times_on
from sidecar.emulator.zones import resolve_zone
from tests.unit.emulator.rig import rig, wire_event

SOMEBODY = Person(name="Ada Lovelace", address="ada@contoso.example")


def daily_series(zone: str, first: str, start: str, end: str, *, is_all_day: bool = False) -> Event:
    """Build a daily series without end; its clock times are local to the zone."""
    tz: Any = UTC if is_all_day else resolve_zone(zone)
    start_at, end_at = (datetime.fromisoformat(f"{one}:00").replace(tzinfo=tz) for one in (start, end))
    day, now = date.fromisoformat(first), datetime(2026, 1, 1, tzinfo=UTC)
    recurrence = Recurrence(kind=PatternKind.DAILY, interval=1, range_kind=RangeKind.NO_END, start=day, zone=zone)
    return Event(
        core="c" * 32,
        ical_uid="0" * 112,
        kind=EventKind.MASTER,
        times=Times(start_at=start_at.astimezone(UTC), end_at=end_at.astimezone(UTC), is_all_day=is_all_day),
        content=Content(),
        organizer=SOMEBODY,
        created_at=now,
        modified_at=now,
        change_key="k",
        order=1,
        series=Series(recurrence=recurrence),
    )


@pytest.mark.parametrize(
    ("rule", "zone", "local", "expected"),
    [
        # Berlin: forward at 02:00 on 2027-03-28, back at 03:00 on 2027-10-31.
        ("a plain hour before the change", "Europe/Berlin", ("2027-03-27", "09:00", "10:00"), ("08:00", "09:00")),
        ("the same hour after it", "Europe/Berlin", ("2027-03-28", "09:00", "10:00"), ("07:00", "08:00")),
        (
            "a start that does not exist is as long after midnight",
            "Europe/Berlin",
            ("2027-03-28", "02:30", "03:30"),
            ("01:30", "02:30"),
        ),
        ("an end that does not exist", "Europe/Berlin", ("2027-03-28", "01:30", "02:30"), ("00:30", "01:30")),
        (
            "a start that comes twice is the first",
            "Europe/Berlin",
            ("2027-10-31", "02:30", "03:30"),
            ("00:30", "02:30"),
        ),
        ("an end that comes twice is the first", "Europe/Berlin", ("2027-10-31", "01:30", "02:30"), ("23:30", "00:30")),
        # New York: forward at 02:00 on 2027-03-14, back at 02:00 on 2027-11-07.
        ("before", "America/New_York", ("2027-03-13", "09:00", "10:00"), ("14:00", "15:00")),
        ("after", "America/New_York", ("2027-03-14", "09:00", "10:00"), ("13:00", "14:00")),
        ("does not exist", "America/New_York", ("2027-03-14", "02:30", "04:00"), ("07:30", "08:00")),
        ("comes twice", "America/New_York", ("2027-11-07", "01:30", "02:30"), ("05:30", "07:30")),
        ("its Windows name", "Eastern Standard Time", ("2027-03-14", "09:00", "10:00"), ("13:00", "14:00")),
        # Lord Howe: half an hour only, forward on 2027-10-03 and back on 2027-04-04 at 02:00.
        ("eleven hours ahead in summer", "Australia/Lord_Howe", ("2027-04-03", "12:00", "13:00"), ("01:00", "02:00")),
        ("ten and a half in winter", "Australia/Lord_Howe", ("2027-04-04", "12:00", "13:00"), ("01:30", "02:30")),
        ("half an hour does not exist", "Australia/Lord_Howe", ("2027-10-03", "02:15", "03:15"), ("15:45", "16:15")),
        ("half an hour comes twice", "Australia/Lord_Howe", ("2027-04-04", "01:45", "02:45"), ("14:45", "16:15")),
        # Sao Paulo gave its summer time up in 2019.
        ("in what was winter", "America/Sao_Paulo", ("2027-07-01", "09:00", "10:00"), ("12:00", "13:00")),
        ("in what was summer", "America/Sao_Paulo", ("2027-12-01", "09:00", "10:00"), ("12:00", "13:00")),
    ],
)
def test_occurrence_keeps_its_clock_time(
    rule: str, zone: str, local: tuple[str, str, str], expected: tuple[str, str]
) -> None:
    day, start, end = local
    series = daily_series(zone, "2027-01-04", f"2027-01-04T{start}", f"2027-01-04T{end}")
    times = times_on(series, date.fromisoformat(day))
    assert (f"{times.start_at:%H:%M}", f"{times.end_at:%H:%M}") == expected, rule


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Kiritimati"])
def test_days_of_any_zone_come_once_each_whatever_window_they_are_read_by(zone: str) -> None:
    """Windows cut at UTC midnights put a year together without a day lost or doubled."""
    series = daily_series(zone, "2027-01-04", "2027-01-04T23:30", "2027-01-05T00:15")
    at, seen = datetime(2027, 1, 1, tzinfo=UTC), list[date | None]()
    while at.year < 2028:
        seen += [one.day for one in expand(series, at, at + timedelta(days=1)) if at <= one.times.start_at]
        at += timedelta(days=1)
    days = [date(2027, 1, 4) + timedelta(days=n) for n in range(len(seen))]
    assert sorted(one for one in seen if one is not None) == days
    assert len(days) >= 361


def test_all_day_series_west_of_utc_floats() -> None:
    """Its days are dates: no zone and no change of the clock moves them."""
    series = daily_series("America/Los_Angeles", "2027-03-13", "2027-03-13T00:00", "2027-03-14T00:00", is_all_day=True)
    found = expand(series, datetime(2027, 3, 13, tzinfo=UTC), datetime(2027, 3, 16, tzinfo=UTC))
    assert [one.times.start_at for one in found] == [datetime(2027, 3, day, tzinfo=UTC) for day in (13, 14, 15)]


@pytest.mark.looptime
@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Hawaiian Standard Time", "Pacific/Kiritimati"])
async def test_all_day_event_keeps_its_date_in_every_readers_zone(zone: str) -> None:
    async with rig() as r:
        body = wire_event("2026-11-24T00:00:00", "2026-11-25T00:00:00", zone=zone, isAllDay=True)
        await r.graph.post(f"/users/{r.room}/events", json=body)
        for reader in ("UTC", zone, "Asia/Tokyo"):
            prefer = {"prefer": f'outlook.timezone="{reader}"'}
            (item,) = await r.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z", headers=prefer)
            assert item["start"] == {"dateTime": "2026-11-24T00:00:00.0000000", "timeZone": reader}
            assert item["end"]["dateTime"] == "2026-11-25T00:00:00.0000000"


@pytest.mark.looptime
async def test_single_event_at_an_hour_that_comes_twice_is_the_first_one() -> None:
    async with rig() as r:
        body = wire_event("2027-10-31T02:30:00", "2027-10-31T02:45:00", zone="W. Europe Standard Time")
        made = (await r.graph.post(f"/users/{r.room}/events", json=body)).json()
        assert made["start"]["dateTime"] == "2027-10-31T00:30:00.0000000"
        prefer = {"prefer": 'outlook.timezone="Europe/Berlin"'}
        shown = (await r.graph.get(r.event_url(made["id"]), headers=prefer)).json()
        assert shown["start"]["dateTime"] == "2027-10-31T02:30:00.0000000"
