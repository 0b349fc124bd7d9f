"""A series' items: when each occurrence is, which of them touch a window, and where one may be moved.

Which days a series falls on is in `recurrence.py`; changing a series and telling of it, in `mailroom.py`.

Source: Graph "recurrenceRange resource type" page; that an occurrence may not cross its neighbours is what users have
reported.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from sidecar.emulator.exchange.event import Event, EventKind, Times
from sidecar.emulator.exchange.recurrence import Recurrence
from sidecar.emulator.ids import occurrence_ical_uid
from sidecar.emulator.zones import resolve_zone


def times_on(master: Event, day: date) -> Times:
    """Work out when a series' regular occurrence on `day` is.

    The clock times of the master, read in the zone of the recurrence, are kept: a meeting at nine stays at nine when the
    clocks change. The end is a clock time too, as Exchange stores it, unless the change of clocks would swallow the meeting.
    """
    return _clock_of(master)(day)


def _clock_of(master: Event) -> Callable[[date], Times]:
    """Prepare `times_on` for many days of one series."""
    if master.series is None:
        raise ValueError("only a series has occurrences")
    times, zone = master.times, _series_zone(master.times, master.series.recurrence)
    start_local, end_local = times.start_at.astimezone(zone), times.end_at.astimezone(zone)
    start_time, end_time = master.series.recurrence.clock or (start_local.time(), end_local.time())
    length, days_between = times.end_at - times.start_at, end_local.date() - start_local.date()

    def tell(day: date) -> Times:
        start_at, end_at = _at(day, start_time, zone), _at(day + days_between, end_time, zone)
        if end_at <= start_at and length:
            end_at = start_at + length
        return Times(
            start_at=start_at,
            end_at=end_at,
            start_zone=times.start_zone,
            end_zone=times.end_zone,
            is_all_day=times.is_all_day,
        )

    return tell


def _series_zone(times: Times, recurrence: Recurrence) -> tzinfo:
    """Give the zone whose dates a series' days are; all-day items float, and are kept in UTC."""
    return UTC if times.is_all_day else resolve_zone(recurrence.zone)


def _at(day: date, clock_time: time, zone: tzinfo) -> datetime:
    return datetime.combine(day, clock_time, tzinfo=zone).astimezone(UTC)


def occurrence_on(master: Event, day: date) -> Event | None:
    """Give a series' item for `day`: the exception, the regular occurrence, or None if there is none (any more)."""
    series = master.series
    if series is None or day in series.removed:
        return None
    found = series.exceptions.get(day) or series.shown.get(day)
    if found is None and series.recurrence.has(day):
        found = series.shown[day] = _build_occurrence(master, day, times_on(master, day))
    return found


def _build_occurrence(master: Event, day: date, times: Times) -> Event:
    return Event(
        core=master.core,
        ical_uid=occurrence_ical_uid(master.ical_uid, day),
        kind=EventKind.OCCURRENCE,
        times=times,
        content=master.content,
        organizer=master.organizer,
        created_at=master.created_at,
        modified_at=master.modified_at,
        change_key=master.change_key,
        order=master.order,
        is_organizer=master.is_organizer,
        is_cancelled=master.is_cancelled,
        response=master.response,
        responded_at=master.responded_at,
        meeting_id=master.meeting_id,
        extras=master.extras,
        master=master,
        day=day,
    )


def expand(master: Event, start_at: datetime, end_at: datetime) -> list[Event]:
    """Give a series' occurrences and exceptions that overlap the half-open window, in no particular order."""
    series = master.series
    if series is None:
        return []
    found = [one for one in series.exceptions.values() if one.times.overlaps(start_at, end_at)]
    zone, tell = _series_zone(master.times, series.recurrence), _clock_of(master)
    length = master.times.end_at - master.times.start_at
    first = (start_at - length).astimezone(zone).date() - timedelta(days=1)  # clocks may change within an occurrence
    for day in series.recurrence.dates(first, end_at.astimezone(zone).date()):
        if day in series.removed or day in series.exceptions:
            continue
        one = series.shown.get(day)
        times = tell(day) if one is None else one.times
        if times.overlaps(start_at, end_at):
            if one is None:
                one = series.shown[day] = _build_occurrence(master, day, times)
            found.append(one)
    return found


def crosses_neighbour(event: Event, times: Times) -> bool:
    """Tell whether an occurrence at new times would cross or overlap another of its series, which Exchange refuses."""
    if event.master is None or times == event.times:
        return False
    low, high = sorted((event.times.start_at, times.start_at))
    around = expand(event.master, low, max(high, times.end_at) + timedelta(seconds=1))
    return any(
        low <= one.times.start_at <= high
        or (_touch(one.times, times) and not _touch(one.times, event.times))  # some series overlap themselves
        for one in around
        if one.day != event.day
    )


def _touch(one: Times, other: Times) -> bool:
    return one.start_at < other.end_at and other.start_at < one.end_at


def align_series(times: Times, recurrence: Recurrence) -> tuple[Times, Recurrence]:
    """Let a series begin on the day its times name, and its times be those of its first occurrence."""
    zone = _series_zone(times, recurrence)
    day = times.start_at.astimezone(zone).date()
    recurrence = replace(recurrence, start=day, end=recurrence.end and max(recurrence.end, day))
    first = recurrence.first_date() or day
    if recurrence.clock is not None and _at(day, recurrence.clock[0], zone) != times.start_at:
        recurrence = replace(recurrence, clock=None)  # it has been moved since
    if first != day:
        start_at, end_at = times.start_at.astimezone(zone), times.end_at.astimezone(zone)
        clock = start_at.time(), end_at.time()
        shift, recurrence = first - day, replace(recurrence, start=first)
        times = replace(
            times,
            start_at=_at(start_at.date() + shift, start_at.time(), zone),
            end_at=_at(end_at.date() + shift, end_at.time(), zone),
        )
        recurrence = replace(recurrence, start=first)  # so that aligning again changes nothing
        if times.start_at.astimezone(zone).time() != clock[0] or times.end_at.astimezone(zone).time() != clock[1]:
            recurrence = replace(recurrence, clock=clock)  # on the first day the clocks skip that time
    return times, recurrence
