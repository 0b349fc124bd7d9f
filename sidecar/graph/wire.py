"""The form requests to Graph and its answers have: what we ask for, and the few fields we read.

Pure: no socket, clock or setting. What an error answer means stands in `refusals`, what an event means in `events`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import msgspec

from sidecar.model.ids import EventId
from sidecar.model.window import Window

USER_AGENT = "exchange-sidecar/0.1.0"
PREFER = 'outlook.timezone="UTC", IdType="ImmutableId"'
"""On every call: without it ids are the kind that changes when an item moves, and times come in the mailbox's zone."""

EVENT_FIELDS = (
    "id,iCalUId,changeKey,type,seriesMasterId,originalStart,start,end,originalStartTimeZone,isAllDay,isCancelled,"
    "isOrganizer,responseStatus,sensitivity,subject,organizer,attendees,isOnlineMeeting,onlineMeeting,onlineMeetingUrl,"
    "createdDateTime,lastModifiedDateTime,transactionId"
)
"""`isOnlineMeeting` is there because Graph leaves `onlineMeeting` out when it is not selected, too."""

PROPERTY_SET = "{5e0c1f7e-6f0b-4a55-9a53-3d0c6f1c8f6b}"
"""Of the extended properties that are ours alone."""
ANNOTATIONS_ID = f"String {PROPERTY_SET} Name annotations"
"""The extended property that carries the caller's own data. The name is told apart by case."""
WRITE_ID = f"String {PROPERTY_SET} Name write"
"""The extended property by which an event of ours is found that nobody knows the id of: its transaction id."""
MARK_ID = f"String {PROPERTY_SET} Name change"
"""The extended property that names the write of ours that changed an event last, or cut it off."""
_ASKED = f"$select={EVENT_FIELDS}&$expand=" + quote(
    f"singleValueExtendedProperties($filter=id eq '{ANNOTATIONS_ID}' or id eq '{MARK_ID}')", safe="$()=',"
)
"""Extended properties are told only where they are asked for by name."""

MARGIN = timedelta(days=1)
"""Added to both ends of a window that is asked for: whole-day events float, and Graph matches them as if in UTC."""


_DELTA_PREFER = "odata.maxpagesize=200"
"""Pages of delta come with ten events otherwise. Exchange sends whole events there, so they are not made larger still."""


class WireStruct(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What Graph sends: camel case, and nothing is changed."""


class GraphTime(WireStruct, frozen=True):
    """A wall-clock time without offset, and the name of its zone."""

    date_time: str
    time_zone: str


class GraphAddress(WireStruct, frozen=True):
    """A name and an address; directory objects may lack either."""

    name: str | None = None
    address: str | None = None


class GraphRecipient(WireStruct, frozen=True):
    """Somebody."""

    email_address: GraphAddress | None = None


class GraphResponse(WireStruct, frozen=True):
    """An answer to an invitation."""

    response: str | None = None


class GraphAttendee(WireStruct, frozen=True):
    """Somebody or something invited."""

    type: str | None = None
    status: GraphResponse | None = None
    email_address: GraphAddress | None = None


class GraphMeeting(WireStruct, frozen=True):
    """How to join online."""

    join_url: str | None = None


class GraphProperty(WireStruct, frozen=True):
    """An extended property."""

    id: str | None = None
    value: str | None = None


class GraphEvent(WireStruct, frozen=True):
    """An event as Graph tells it. `repr` shows the id and the kind only: subjects and people stay out of logs."""

    id: EventId
    i_cal_uid: str | None = msgspec.field(default=None, name="iCalUId")
    change_key: str | None = None
    type: str | None = None
    series_master_id: EventId | None = None
    original_start: datetime | None = None
    start: GraphTime | None = None
    end: GraphTime | None = None
    original_start_time_zone: str | None = None
    is_all_day: bool | None = None
    is_cancelled: bool | None = None
    is_organizer: bool | None = None
    response_status: GraphResponse | None = None
    sensitivity: str | None = None
    subject: str | None = None
    organizer: GraphRecipient | None = None
    attendees: list[GraphAttendee] | None = None
    online_meeting: GraphMeeting | None = None
    online_meeting_url: str | None = None
    created_date_time: datetime | None = None
    last_modified_date_time: datetime | None = None
    transaction_id: str | None = None
    single_value_extended_properties: list[GraphProperty] | None = None

    def __repr__(self) -> str:
        return f"GraphEvent(id={self.id!r}, type={self.type!r})"


class EventPage(WireStruct, frozen=True):
    """A page of events."""

    value: list[GraphEvent]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


class DeltaRemoval(WireStruct, frozen=True):
    """Why something was removed."""

    reason: str | None = None


class DeltaItem(WireStruct, frozen=True):
    """What a delta round says of an event: that it is different now, and as much as tells whether that is known already.

    Occurrences carry little more than this; what is removed carries its id only.
    """

    id: EventId
    type: str | None = None
    series_master_id: EventId | None = None
    etag: str | None = msgspec.field(default=None, name="@odata.etag")
    start: GraphTime | None = None
    end: GraphTime | None = None
    is_all_day: bool | None = None
    removed: DeltaRemoval | None = msgspec.field(default=None, name="@removed")

    @property
    def is_removed(self) -> bool:
        """Whether Exchange says that it left the calendar, or the window; also said of what never was in it."""
        return self.removed is not None


class DeltaPage(WireStruct, frozen=True):
    """A page of a delta round; the last one has the link of the next round."""

    value: list[DeltaItem]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")
    delta_link: str | None = msgspec.field(default=None, name="@odata.deltaLink")


class _RawDeltaPage(WireStruct, frozen=True):
    value: list[msgspec.Raw]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")
    delta_link: str | None = msgspec.field(default=None, name="@odata.deltaLink")


class _RawPage(WireStruct, frozen=True):
    value: list[msgspec.Raw]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


class _EventId(WireStruct, frozen=True):
    id: EventId


@dataclass(frozen=True, slots=True)
class DeltaRound:
    """A delta round that was read to its end: the last word on each event, and the link that the next round begins with."""

    items: Sequence[DeltaItem]
    link: str = field(repr=False)


class Subject(enum.Enum):
    """What a request is about, because the same status means different things for different ones."""

    MAILBOX = "mailbox"
    EVENT = "event"
    DIRECTORY = "directory"
    PLACES = "places"
    SUBSCRIPTION_CREATE = "subscription_create"
    SUBSCRIPTION = "subscription"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request. `is_repeatable` means that sending it twice does what sending it once does.

    `prefer` is what it asks for beyond PREFER. `if_match` is the version that is to be changed; empty: whichever is there.
    """

    method: str
    path: str
    subject: Subject
    is_repeatable: bool = True
    prefer: str = ""
    if_match: str = ""
    content: bytes = field(default=b"", repr=False)


_EVENT = msgspec.json.Decoder(GraphEvent)
_PAGE = msgspec.json.Decoder(EventPage)
_RAW_PAGE = msgspec.json.Decoder(_RawPage)
_DELTA_PAGE = msgspec.json.Decoder(DeltaPage)
_RAW_DELTA_PAGE = msgspec.json.Decoder(_RawDeltaPage)
_DELTA_ITEM = msgspec.json.Decoder(DeltaItem)
_EVENT_ID = msgspec.json.Decoder(_EventId)
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""A pair of surrogates, half a pair, or any other escape of JSON, in this order."""
MALFORMED = (msgspec.MsgspecError, RecursionError, UnicodeError)


class Malformed(ValueError):
    """An answer is not what Graph sends: another program's page, or cut short."""


def segment(value: str) -> str:
    """Encode one part of a path: ids may hold `/`, `+` and `=`, addresses `#` and `'`."""
    return quote(value, safe="@") if value not in {".", ".."} else value.replace(".", "%2E")


def view_call(mailbox: str, window: Window, *, page_size: int) -> Call:
    """Ask for the events that touch a window, occurrences expanded."""
    path = f"/users/{segment(mailbox)}/calendarView?{_span(window)}"
    return Call(method="GET", path=f"{path}&$orderby=start/dateTime&$top={page_size}", subject=Subject.MAILBOX)


def delta_call(mailbox: str, window: Window) -> Call:
    """Ask for a first round of changes within a window: everything, and a link to what changes from then on.

    No options may be given here; the size of pages is a preference.
    """
    path = f"/users/{segment(mailbox)}/calendarView/delta?{urlencode(_bounds(window))}"
    return Call(method="GET", path=path, subject=Subject.MAILBOX, prefer=_DELTA_PREFER)


def delta_link_call(link: str) -> Call:
    """Ask for what changed since a round, by the link that it ended with, or for a round's next page."""
    return Call(method="GET", path=link, subject=Subject.MAILBOX, prefer=_DELTA_PREFER)


def instances_call(mailbox: str, master_id: str, window: Window, *, page_size: int) -> Call:
    """Ask for the occurrences of one series that touch a window."""
    path = f"/users/{segment(mailbox)}/events/{segment(master_id)}/instances?{_span(window)}"
    return Call(method="GET", path=f"{path}&$top={page_size}", subject=Subject.EVENT)


def event_call(mailbox: str, event_id: str) -> Call:
    """Ask for one event."""
    path = f"/users/{segment(mailbox)}/events/{segment(event_id)}?{_ASKED}"
    return Call(method="GET", path=path, subject=Subject.EVENT)


def probe_call(mailbox: str) -> Call:
    """Ask for as little as proves that the calendar may be read."""
    return Call(method="GET", path=f"/users/{segment(mailbox)}/calendar?$select=id", subject=Subject.MAILBOX)


def format_instant(instant: datetime) -> str:
    """Write an instant the way Graph does, seven digits and a Z."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")


def parse_page(body: bytes) -> EventPage:
    """Read a page of events.

    An event with a field of a wrong type is kept as its bare id, so that one broken item neither hides the room's other
    bookings nor looks as if it were deleted.

    Raises:
        Malformed: it is no page, or an item has not even an id.
    """
    try:
        return _PAGE.decode(body)
    except MALFORMED:
        pass
    try:
        page = _RAW_PAGE.decode(repair(body))
        return EventPage(value=[_tolerate(item) for item in page.value], next_link=page.next_link)
    except MALFORMED as error:
        raise Malformed("not a page of events") from error


def parse_delta_page(body: bytes) -> DeltaPage:
    """Read a page of a delta round. An item that is not understood is kept as its bare id: something is different there.

    Raises:
        Malformed: it is no page, or an item has not even an id.
    """
    try:
        return _DELTA_PAGE.decode(body)
    except MALFORMED:
        pass
    try:
        page = _RAW_DELTA_PAGE.decode(repair(body))
        items = [_tolerate_item(item) for item in page.value]
    except MALFORMED as error:
        raise Malformed("not a page of changes") from error
    return DeltaPage(value=items, next_link=page.next_link, delta_link=page.delta_link)


def _tolerate_item(item: msgspec.Raw) -> DeltaItem:
    try:
        return _DELTA_ITEM.decode(item)
    except msgspec.ValidationError:
        return DeltaItem(id=_EVENT_ID.decode(item).id)


def parse_event(body: bytes) -> GraphEvent:
    """Read one event; a broken one is kept as its bare id.

    Raises:
        Malformed: it has not even an id.
    """
    try:
        return _tolerate(repair(body))
    except MALFORMED as error:
        raise Malformed("not an event") from error


def _tolerate(item: bytes | msgspec.Raw) -> GraphEvent:
    try:
        return _EVENT.decode(item)
    except msgspec.ValidationError:
        return GraphEvent(id=_EVENT_ID.decode(item).id)


def repair(body: bytes) -> bytes:
    """Replace broken characters. A subject that a program cut in the middle of an emoji must not take the room's other
    bookings with it."""
    whole = body.decode("utf-8", "replace").encode()
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found["half"] is not None else found[0], whole)


def _span(window: Window) -> str:
    return f"{urlencode(_bounds(window))}&{_ASKED}"


def _bounds(window: Window) -> dict[str, str]:
    return {
        "startDateTime": (window.start_at - MARGIN).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "endDateTime": (window.end_at + MARGIN).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
