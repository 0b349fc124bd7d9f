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
    "createdDateTime,lastModifiedDateTime"
)
"""`isOnlineMeeting` is there because Graph leaves `onlineMeeting` out when it is not selected, too."""

MARGIN = timedelta(days=1)
"""Added to both ends of a window that is asked for: whole-day events float, and Graph matches them as if in UTC."""


_PLACES_PATH = "/places/microsoft.graph.room"
_PLACE_FIELDS = "emailAddress,displayName,capacity,building,floorNumber,floorLabel"
_DELTA_PREFER = "odata.maxpagesize=200"
"""Pages of delta come with ten events otherwise. Exchange sends whole events there, so they are not made larger still."""


class _Wire(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    pass


class GraphTime(_Wire, frozen=True):
    """A wall-clock time without offset, and the name of its zone."""

    date_time: str
    time_zone: str


class GraphAddress(_Wire, frozen=True):
    """A name and an address; directory objects may lack either."""

    name: str | None = None
    address: str | None = None


class GraphRecipient(_Wire, frozen=True):
    """Somebody."""

    email_address: GraphAddress | None = None


class GraphResponse(_Wire, frozen=True):
    """An answer to an invitation."""

    response: str | None = None


class GraphAttendee(_Wire, frozen=True):
    """Somebody or something invited."""

    type: str | None = None
    status: GraphResponse | None = None
    email_address: GraphAddress | None = None


class GraphMeeting(_Wire, frozen=True):
    """How to join online."""

    join_url: str | None = None


class GraphEvent(_Wire, frozen=True):
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

    def __repr__(self) -> str:
        return f"GraphEvent(id={self.id!r}, type={self.type!r})"


class EventPage(_Wire, frozen=True):
    """A page of events."""

    value: list[GraphEvent]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


class DeltaRemoval(_Wire, frozen=True):
    """Why something was removed."""

    reason: str | None = None


class DeltaItem(_Wire, frozen=True):
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


class DeltaPage(_Wire, frozen=True):
    """A page of a delta round; the last one has the link of the next round."""

    value: list[DeltaItem]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")
    delta_link: str | None = msgspec.field(default=None, name="@odata.deltaLink")


class _RawDeltaPage(_Wire, frozen=True):
    value: list[msgspec.Raw]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")
    delta_link: str | None = msgspec.field(default=None, name="@odata.deltaLink")


class _RawPage(_Wire, frozen=True):
    value: list[msgspec.Raw]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


class _EventId(_Wire, frozen=True):
    id: EventId


class _Subscription(_Wire, frozen=True):
    id: str
    expiration_date_time: datetime
    resource: str = ""
    notification_url: str | None = None
    lifecycle_notification_url: str | None = None
    client_state: str | None = None


class _RawSubscriptionPage(_Wire, frozen=True):
    value: list[_Subscription]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


class Identity(_Wire, frozen=True):
    """A user of the directory, which a room's mailbox is, too: its object id, and the addresses it goes by.

    Further addresses that mail to it may have are not among them: Graph's paths do not know a mailbox by those.
    """

    id: str | None = None
    mail: str | None = None
    user_principal_name: str | None = None

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses it goes by, case-folded."""
        return frozenset(one.casefold() for one in (self.mail, self.user_principal_name) if one)


class Place(_Wire, frozen=True):
    """A room as the organisation's list of places tells it. Its own id is not the mailbox's, and may change."""

    email_address: str | None = None
    display_name: str | None = None
    capacity: int | None = None
    building: str | None = None
    floor_number: int | None = None
    floor_label: str | None = None


class _PlacesPage(_Wire, frozen=True):
    value: list[Place]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


class MailboxZone(_Wire, frozen=True):
    """A mailbox's own time zone."""

    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class DeltaRound:
    """A delta round that was read to its end: the last word on each event, and the link that the next round begins with."""

    items: Sequence[DeltaItem]
    link: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSubscription:
    """A subscription as Graph tells it; only the expiry told here counts, not the one asked for."""

    id: str
    expires_at: datetime
    resource: str
    notification_url: str | None
    lifecycle_url: str | None
    client_state: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    """Some of the application's subscriptions; client states are withheld. `next_link` None: these were the last ones."""

    subscriptions: tuple[GraphSubscription, ...]
    next_link: str | None


@dataclass(frozen=True, slots=True)
class PlacesPage:
    """Some of the organisation's rooms. `next_query` asks for those that follow; None: these were the last ones."""

    places: tuple[Place, ...]
    next_query: str | None


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

    `prefer` is what it asks for beyond PREFER.
    """

    method: str
    path: str
    subject: Subject
    is_repeatable: bool = True
    prefer: str = ""
    content: bytes = field(default=b"", repr=False)


_EVENT = msgspec.json.Decoder(GraphEvent)
_PAGE = msgspec.json.Decoder(EventPage)
_RAW_PAGE = msgspec.json.Decoder(_RawPage)
_DELTA_PAGE = msgspec.json.Decoder(DeltaPage)
_RAW_DELTA_PAGE = msgspec.json.Decoder(_RawDeltaPage)
_DELTA_ITEM = msgspec.json.Decoder(DeltaItem)
_EVENT_ID = msgspec.json.Decoder(_EventId)
_SUBSCRIPTION = msgspec.json.Decoder(_Subscription)
_SUBSCRIPTION_PAGE = msgspec.json.Decoder(_RawSubscriptionPage)
_PLACES_PAGE = msgspec.json.Decoder(_PlacesPage)
_IDENTITY = msgspec.json.Decoder(Identity)
_ZONE = msgspec.json.Decoder(MailboxZone)
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""A pair of surrogates, half a pair, or any other escape of JSON, in this order."""
_MALFORMED = (msgspec.MsgspecError, RecursionError, UnicodeError)


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
    path = f"/users/{segment(mailbox)}/events/{segment(event_id)}?$select={EVENT_FIELDS}"
    return Call(method="GET", path=path, subject=Subject.EVENT)


def probe_call(mailbox: str) -> Call:
    """Ask for as little as proves that the calendar may be read."""
    return Call(method="GET", path=f"/users/{segment(mailbox)}/calendar?$select=id", subject=Subject.MAILBOX)


def identity_call(mailbox: str) -> Call:
    """Ask for the object id behind an address, and for the addresses that the mailbox goes by."""
    fields = "id,mail,userPrincipalName"
    return Call(method="GET", path=f"/users/{segment(mailbox)}?$select={fields}", subject=Subject.DIRECTORY)


def places_call(query: str | None, *, page_size: int) -> Call:
    """Ask for the first rooms of the organisation, or with `PlacesPage.next_query` for those that follow.

    `placeId` is not asked for: not every national cloud has it, and an unknown field is refused.
    """
    asked = f"$select={_PLACE_FIELDS}&$top={page_size}" if query is None else query
    return Call(method="GET", path=f"{_PLACES_PATH}?{asked}", subject=Subject.PLACES)


def zone_call(mailbox: str) -> Call:
    """Ask for the mailbox's own time zone."""
    path = f"/users/{segment(mailbox)}/mailboxSettings?$select=timeZone"
    return Call(method="GET", path=path, subject=Subject.DIRECTORY)


def create_subscription_call(
    mailbox: str, *, notification_url: str, lifecycle_url: str, client_state: str, expires_at: datetime
) -> Call:
    """Ask to be told of a mailbox's changes.

    Not repeatable: a try whose answer was lost may have made one. The next ordinary try finds it, by a 409 naming it.
    """
    body = {
        "changeType": "created,updated,deleted",
        "notificationUrl": notification_url,
        "lifecycleNotificationUrl": lifecycle_url,
        "resource": f"/users/{segment(mailbox)}/events",
        "expirationDateTime": format_instant(expires_at),
        "clientState": client_state,
        "latestSupportedTlsVersion": "v1_2",
    }
    return Call(
        method="POST",
        path="/subscriptions",
        subject=Subject.SUBSCRIPTION_CREATE,
        is_repeatable=False,
        content=msgspec.json.encode(body),
    )


def renew_subscription_call(graph_id: str, *, expires_at: datetime) -> Call:
    """Ask for a longer life; this also renews Graph's own permission to tell us."""
    content = msgspec.json.encode({"expirationDateTime": format_instant(expires_at)})
    return Call(
        method="PATCH", path=f"/subscriptions/{segment(graph_id)}", subject=Subject.SUBSCRIPTION, content=content
    )


def repoint_subscription_call(graph_id: str, *, notification_url: str) -> Call:
    """Ask to be told of changes somewhere else; Graph tries the new address first. The lifecycle address stays as it is."""
    content = msgspec.json.encode({"notificationUrl": notification_url})
    return Call(
        method="PATCH", path=f"/subscriptions/{segment(graph_id)}", subject=Subject.SUBSCRIPTION, content=content
    )


def read_subscription_call(graph_id: str) -> Call:
    """Ask for a subscription. Only a read by id tells the client state; the list withholds it."""
    return Call(method="GET", path=f"/subscriptions/{segment(graph_id)}", subject=Subject.SUBSCRIPTION)


def list_subscriptions_call(link: str | None) -> Call:
    """Ask for the application's subscriptions in the tenant, or with a link for those that follow."""
    return Call(method="GET", path=link or "/subscriptions", subject=Subject.SUBSCRIPTION)


def delete_subscription_call(graph_id: str) -> Call:
    """Ask not to be told any more."""
    return Call(method="DELETE", path=f"/subscriptions/{segment(graph_id)}", subject=Subject.SUBSCRIPTION)


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
    except _MALFORMED:
        pass
    try:
        page = _RAW_PAGE.decode(_repair(body))
        return EventPage(value=[_tolerate(item) for item in page.value], next_link=page.next_link)
    except _MALFORMED as error:
        raise Malformed("not a page of events") from error


def parse_delta_page(body: bytes) -> DeltaPage:
    """Read a page of a delta round. An item that is not understood is kept as its bare id: something is different there.

    Raises:
        Malformed: it is no page, or an item has not even an id.
    """
    try:
        return _DELTA_PAGE.decode(body)
    except _MALFORMED:
        pass
    try:
        page = _RAW_DELTA_PAGE.decode(_repair(body))
        items = [_tolerate_item(item) for item in page.value]
    except _MALFORMED as error:
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
        return _tolerate(_repair(body))
    except _MALFORMED as error:
        raise Malformed("not an event") from error


def _tolerate(item: bytes | msgspec.Raw) -> GraphEvent:
    try:
        return _EVENT.decode(item)
    except msgspec.ValidationError:
        return GraphEvent(id=_EVENT_ID.decode(item).id)


def _repair(body: bytes) -> bytes:
    """Replace broken characters. A subject that a program cut in the middle of an emoji must not take the room's other
    bookings with it."""
    whole = body.decode("utf-8", "replace").encode()
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found["half"] is not None else found[0], whole)


def parse_subscription(body: bytes) -> GraphSubscription:
    """Read a subscription.

    Raises:
        Malformed: it has no id or no expiry.
    """
    try:
        told = _SUBSCRIPTION.decode(body)
    except _MALFORMED as error:
        raise Malformed("not a subscription") from error
    return _subscription(told)


def parse_subscription_page(body: bytes) -> SubscriptionPage:
    """Read a page of subscriptions.

    Raises:
        Malformed: it is no such page. One that is left out would be taken for lost, so a page is read whole or not at all.
    """
    try:
        page = _SUBSCRIPTION_PAGE.decode(body)
    except _MALFORMED as error:
        raise Malformed("not a page of subscriptions") from error
    return SubscriptionPage(tuple(_subscription(told) for told in page.value), page.next_link or None)


def _subscription(told: _Subscription) -> GraphSubscription:
    expires_at = told.expiration_date_time
    return GraphSubscription(
        id=told.id,
        expires_at=expires_at.astimezone(UTC) if expires_at.tzinfo else expires_at.replace(tzinfo=UTC),
        resource=told.resource,
        notification_url=told.notification_url,
        lifecycle_url=told.lifecycle_notification_url,
        client_state=told.client_state,
    )


def parse_identity(body: bytes) -> Identity | None:
    """Read a user of the directory; None when it has no id."""
    try:
        found = _IDENTITY.decode(body)
    except _MALFORMED:
        return None
    return found if found.id else None


def parse_places(body: bytes) -> PlacesPage:
    """Read a page of rooms. Of the link to the next one only the query is kept: it leads nowhere else than to more rooms.

    Raises:
        Malformed: it is no such page, or its link leads to something else.
    """
    try:
        page = _PLACES_PAGE.decode(_repair(body))
    except _MALFORMED as error:
        raise Malformed("not a page of rooms") from error
    path, _, query = (page.next_link or "").partition("?")
    if page.next_link and not (query and path.casefold().endswith(_PLACES_PATH)):
        raise Malformed("the next page of rooms is something else")
    return PlacesPage(tuple(page.value), query or None)


def parse_zone(body: bytes) -> str | None:
    """Read the name of a mailbox's zone, in whichever spelling it has; None when there is none."""
    try:
        return _ZONE.decode(body).time_zone or None
    except _MALFORMED:
        return None


def _span(window: Window) -> str:
    return f"{urlencode(_bounds(window))}&$select={EVENT_FIELDS}"


def _bounds(window: Window) -> dict[str, str]:
    return {
        "startDateTime": (window.start_at - MARGIN).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "endDateTime": (window.end_at + MARGIN).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
