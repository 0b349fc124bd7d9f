"""What one item on a calendar is. Values only: no clock, no wire format, no rules of who may change it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import Enum
from typing import Any

from sidecar.emulator.exchange.object_graph import NOT_DUMPED
from sidecar.emulator.exchange.recurrence import Recurrence
from sidecar.emulator.ids import format_item_id, occurrence_ical_uid
from sidecar.emulator.zones import resolve_zone

JsonObject = dict[str, Any]  # Any: JSON that is only passed through
NO_LOCATION: JsonObject = {"displayName": "", "locationType": "default", "uniqueIdType": "unknown"}


class EventKind(Enum):
    """What an item is, by its wire name."""

    SINGLE = "singleInstance"
    MASTER = "seriesMaster"
    OCCURRENCE = "occurrence"
    EXCEPTION = "exception"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with an address: an organizer, an attendee."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSlot:
    """A start and an end, each with the zone it was named in."""

    start_at: datetime
    end_at: datetime
    start_zone: str = "UTC"
    end_zone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attendee:
    """Somebody invited, what they answered, and when they would rather meet."""

    person: Person
    kind: str = "required"
    response: str = "none"
    responded_at: datetime | None = None
    proposed: TimeSlot | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When an item is; an all-day one is stored at UTC midnights and floats when it is shown."""

    start_at: datetime
    end_at: datetime
    start_zone: str = "UTC"
    end_zone: str = "UTC"
    is_all_day: bool = False

    @property
    def when(self) -> tuple[datetime, datetime, bool]:
        """Give what makes two times the same moment, whatever zone they were named in."""
        return self.start_at, self.end_at, self.is_all_day

    def overlaps(self, start_at: datetime, end_at: datetime) -> bool:
        """Tell whether the item touches the half-open window; one of no length counts at its start."""
        if self.start_at == self.end_at:
            return start_at <= self.start_at < end_at
        return self.start_at < end_at and self.end_at > start_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a person writes into an item."""

    subject: str = ""
    body: str = ""
    body_type: str = "html"
    show_as: str = "busy"
    sensitivity: str = "normal"
    importance: str = "normal"
    locations: tuple[JsonObject, ...] = ()
    attendees: tuple[Attendee, ...] = ()
    categories: tuple[str, ...] = ()
    reminder_minutes: int = 15
    is_reminder_on: bool = True
    response_requested: bool = True
    allow_new_time_proposals: bool = True
    hide_attendees: bool = False
    join_url: str = ""
    """Of the online meeting; empty if there is none."""

    @property
    def location(self) -> JsonObject:
        """Give the location that is shown where there is room for one."""
        return self.locations[0] if self.locations else NO_LOCATION

    def with_proposal(self, address: str, slot: TimeSlot | None) -> "Content":
        """Note what time one attendee proposes instead."""
        lower = address.lower()
        return replace(
            self,
            attendees=tuple(
                replace(one, proposed=slot) if one.person.address.lower() == lower else one for one in self.attendees
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What applications keep beside an item, on this mailbox's copy only."""

    single_values: tuple[tuple[str, str], ...] = ()
    """Extended properties: id in its normal form, and value."""
    multi_values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    extensions: tuple[JsonObject, ...] = ()
    """Open extensions: `extensionName` and their data."""


@dataclass(slots=True, kw_only=True, eq=False)
class Event:
    """One item of one mailbox; copies of a meeting in other mailboxes are other items."""

    core: str
    """The part of its id that both formats share, until it is filed elsewhere."""
    ical_uid: str
    kind: EventKind
    times: Times
    content: Content
    organizer: Person
    created_at: datetime
    modified_at: datetime
    change_key: str
    order: int
    """Breaks ties between items with one start."""
    is_organizer: bool = True
    is_cancelled: bool = False
    response: str = "organizer"
    responded_at: datetime | None = None
    transaction_id: str | None = None
    transaction_hash: bytes = b""
    meeting_id: str | None = None
    series: "Series | None" = None
    """Set on a series master only."""
    master: "Event | None" = None
    day: date | None = None
    """Which occurrence of the master this is."""
    mutable_core: str | None = None
    """What stands for `core` in its mutable id, since it was filed elsewhere; a series' items have their master's."""
    owner: str = ""
    """The address of the mailbox it was put into; a series' items have their master's."""
    extras: Extras = Extras()
    awaits_delegate: bool = False
    """The room has left the answer to its delegates."""
    rendered_for: object = field(default=None, metadata=NOT_DUMPED)
    rendered: bytes = field(default=b"", metadata=NOT_DUMPED)

    @property
    def is_busy(self) -> bool:
        """Tell whether the item keeps its time from others: settled, not cancelled, not free."""
        return not self.is_cancelled and self.content.show_as != "free" and self.response != "notResponded"


@dataclass(slots=True, kw_only=True, eq=False)
class Series:
    """A master's recurrence, and what became of single occurrences."""

    recurrence: Recurrence
    cut_from: Recurrence | None = None
    """What the organizer asked for, where a room has cut the series off at its booking window."""
    exceptions: dict[date, Event] = field(default_factory=dict)
    removed: set[date] = field(default_factory=set)
    shown: dict[date, Event] = field(default_factory=dict)
    """Occurrences as they were last shown; forgotten when the master changes."""


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
    start_time, end_time = start_local.time(), end_local.time()
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
    if first != day:
        start_at, end_at = times.start_at.astimezone(zone), times.end_at.astimezone(zone)
        shift, recurrence = first - day, replace(recurrence, start=first)
        times = replace(
            times,
            start_at=_at(start_at.date() + shift, start_at.time(), zone),
            end_at=_at(end_at.date() + shift, end_at.time(), zone),
        )
        recurrence = replace(recurrence, start=first)  # so that aligning again changes nothing
    return times, recurrence


def event_id(event: Event, *, immutable: bool) -> str:
    """Give an event's id in one of the two formats."""
    core = event.core if immutable else mutable_core(event)
    return format_item_id(core, immutable=immutable, day=event.day)


def mutable_core(event: Event) -> str:
    """Give what stands for the core in an event's mutable id."""
    return (event.master or event).mutable_core or event.core


def etag(event: Event) -> str:
    """Give an event's weak etag."""
    return f'W/"{event.change_key}"'
