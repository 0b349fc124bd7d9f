"""What one item on a calendar is. Values only: no clock, no wire format, no rules of who may change it."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import Enum
from typing import Any

from sidecar.emulator.exchange.object_graph import NOT_DUMPED
from sidecar.emulator.exchange.recurrence import Recurrence
from sidecar.emulator.ids import format_item_id

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
    shown: dict[date, Event] = field(default_factory=dict, metadata=NOT_DUMPED)
    """Occurrences as they were last shown; forgotten when the master changes."""


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
