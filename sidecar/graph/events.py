"""What an event of Graph means to us. Pure; what it looks like on the wire stands in `wire`.

A booking is anything a person sees in the room's calendar. An event marked free is one, too: somebody put it into this
room's calendar, people who open it see it there, and "free" is also what Exchange writes on what it keeps of cancelled
meetings, so it says nothing reliable about the room.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec
from tzlocal.windows_tz import win_tz

from sidecar.graph.wire import (
    ANNOTATIONS_ID,
    MALFORMED,
    MARK_ID,
    DeltaItem,
    GraphAddress,
    GraphAttendee,
    GraphEvent,
    GraphRecipient,
    GraphTime,
)
from sidecar.model.booking import Attendee, Booking, BookingState, Person, Response
from sidecar.model.ids import EventId, RoomUid, booking_key
from sidecar.model.privacy import admit
from sidecar.model.room import Room
from sidecar.model.window import Window

_ANSWERED = {
    "organizer": BookingState.CONFIRMED,
    "accepted": BookingState.CONFIRMED,
    "tentativelyAccepted": BookingState.TENTATIVE,
    "declined": BookingState.DECLINED,
}
_RESPONSES = {
    "accepted": Response.ACCEPTED,
    "organizer": Response.ACCEPTED,
    "tentativelyAccepted": Response.TENTATIVE,
    "declined": Response.DECLINED,
}
_PRIVATE = frozenset({"private", "confidential"})
_IN_SERIES = frozenset({"occurrence", "exception"})
_MASTER = "seriesMaster"
_ZONE_NAME_CHARS_MAX = 64
_ANNOTATIONS = msgspec.json.Decoder(dict[str, str])
_ANNOTATIONS_KEY = ANNOTATIONS_ID.casefold()
_MARK_KEY = MARK_ID.casefold()
_ANNOTATIONS_CHARS_MAX = 64 * 1024
"""What is written holds 8 KiB at most, each of which may have become six characters of JSON."""
_DAY = timedelta(days=1)
_WALL_CHARS = len("2026-10-06T09:00:00.0000000")
_YEAR_FIRST, _YEAR_LAST = 1900, 9998
"""Outside, zones and added days overflow; Graph writes the year 1 for "never"."""


def is_part_of_series(event: GraphEvent) -> bool:
    """Tell whether an event is a series or belongs to one: then the series' occurrences must be read, not this event."""
    return event.type in _IN_SERIES or event.type == _MASTER or bool(event.series_master_id)


def master_id_of(event: GraphEvent) -> EventId | None:
    """Return the id of the series an event is or belongs to."""
    if event.type == _MASTER:
        return event.id
    return event.series_master_id or None


def is_series(item: DeltaItem) -> bool:
    """Tell whether a delta round speaks of a series as such."""
    return item.type == _MASTER


def span_of(item: DeltaItem) -> tuple[datetime, datetime] | None:
    """Return when something that a delta round tells begins and ends.

    None when that cannot be told: times that are no times, and whole days, which depend on the room's zone. Occurrences do
    not say whether they are whole days; one that lasts from midnight to midnight may be.
    """
    if item.start is None or item.end is None or item.is_all_day is True:
        return None
    start_at, end_at = instant_of(item.start), instant_of(item.end)
    if start_at is None or end_at is None:
        return None
    if item.is_all_day is None and start_at.time() == end_at.time() == time():
        return None
    return start_at, end_at


def span_of_event(event: GraphEvent) -> tuple[datetime, datetime] | None:
    """Return when an event begins and ends, of a series the first one; None when it does not say, or has no length."""
    if event.start is None or event.end is None:
        return None
    start_at, end_at = instant_of(event.start), instant_of(event.end)
    return (start_at, end_at) if start_at is not None and end_at is not None and start_at < end_at else None


def to_booking(event: GraphEvent, *, room: Room, hash_key: bytes = b"") -> Booking | None:
    """Tell what an event means for a room, with as much of its words and people as the room's tenant lets be kept.

    Events marked personal are like others: Outlook shows their details to everybody who may see the calendar. Whole days
    run from midnight to midnight in the room's zone, whatever zone they came with.

    Args:
        hash_key: the tenant's, where its settings have something hashed.
    Returns:
        None for what takes no time: the master of a series (its occurrences do), and broken items without a usable start
        and end. The latter are for the caller to count.
    Source: Microsoft Learn "event resource type"; the room's first, unsettled copy: docs-contrib #3877.
    """
    if event.type == _MASTER:
        return None
    times = _times_of(event, room)
    if times is None:
        return None
    told_start_at, start_at, end_at = times
    is_all_day = event.is_all_day is True
    in_series = event.type in _IN_SERIES
    # The raw value feeds the key: it must not change when somebody corrects the room's zone.
    original_at = (_usable(event.original_start) or told_start_at) if in_series else None
    shown_original_at = original_at
    if is_all_day and original_at is not None and not (original_at.hour or original_at.minute):
        shown_original_at = _midnight(original_at, _zone(room.time_zone))
    response = event.response_status.response if event.response_status is not None else None
    answered = BookingState.CONFIRMED if event.is_organizer is True else _ANSWERED.get(response or "")
    master_id = (event.series_master_id or None) if in_series else None
    told = Booking(
        key=booking_key(room.uid, event.i_cal_uid or event.id, original_at),
        event_id=event.id,
        master_id=master_id,
        change_key=event.change_key or "",
        start_at=start_at,
        end_at=end_at,
        time_zone=room.time_zone if is_all_day else iana_zone(event.original_start_time_zone),
        is_all_day=is_all_day,
        state=BookingState.CANCELLED if event.is_cancelled is True else answered or BookingState.PENDING,
        subject=event.subject or "",
        organizer=_organizer(event.organizer) if event.organizer is not None else None,
        attendees=(
            tuple([person for invited in event.attendees if (person := _attendee(invited)) is not None])
            if event.attendees
            else ()
        ),
        is_private=event.sensitivity in _PRIVATE,
        series_id=_series_id(room.uid, master_id) if master_id else None,
        original_start_at=shown_original_at,
        is_exception=event.type == "exception",
        online_meeting_uri=_join_url(event),
        calendar_uid=event.i_cal_uid or "",
        created_at=_usable(event.created_date_time),
        updated_at=_usable(event.last_modified_date_time),
        transaction_id=event.transaction_id or "",
        annotations=_annotations(event),
        mark=mark_of(event),
    )
    return admit(told, room.settings.privacy, hash_key=hash_key, is_answered=answered is not None)


def midnight_in(day: datetime, zone_name: str) -> datetime:
    """Return when the date of `day` begins in a zone; in UTC where the zone is not known."""
    return _midnight(day, _zone(zone_name))


def window_of(event: GraphEvent, *, room: Room) -> Window | None:
    """Return when an event takes place, as `to_booking` has it, also of a series' master; None when nobody can tell."""
    times = _times_of(event, room)
    return Window(times[1], times[2]) if times is not None and times[1] < times[2] else None


def _times_of(event: GraphEvent, room: Room) -> tuple[datetime, datetime, datetime] | None:
    """Return the start as it is told, and start and end as they are meant."""
    if event.start is None or event.end is None:
        return None
    told_start_at, end_at = instant_of(event.start), instant_of(event.end)
    if told_start_at is None or end_at is None:
        return None
    if event.is_all_day is not True:
        return None if end_at < told_start_at else (told_start_at, told_start_at, end_at)
    zone = _zone(room.time_zone)
    start_at, end_at = _midnight(told_start_at, zone), _midnight(end_at, zone)
    if end_at <= start_at:
        end_at = _midnight(start_at.astimezone(zone).replace(tzinfo=UTC) + _DAY, zone)
    return told_start_at, start_at, end_at


@lru_cache(maxsize=1024)
def iana_zone(name: str | None) -> str:
    """Return the IANA name of a zone that Windows or IANA names; "" for custom zones and unknown names."""
    if not name or len(name) > _ZONE_NAME_CHARS_MAX or name.startswith("tzone:"):
        return ""
    if _load_zone(name) is not None:
        return name
    candidate = win_tz.get(name, "")
    return candidate if candidate and _load_zone(candidate) is not None else ""


def instant_of(told: GraphTime) -> datetime | None:
    """Read a wall-clock time: seven digits, no offset, in UTC because that is what every request asks for; None: it is none."""
    text = told.date_time
    try:
        if told.time_zone == "UTC" and len(text) == _WALL_CHARS:
            return _usable(datetime.fromisoformat(text + "Z"))
        wall = datetime.fromisoformat(text)
        if wall.tzinfo is not None:
            return _usable(wall)
        name = iana_zone(told.time_zone)
        return _usable(wall.replace(tzinfo=_zone(name))) if name else None
    except ValueError:
        return None


def _usable(instant: datetime | None) -> datetime | None:
    """Return an instant in UTC; None for nothing, and for years nobody books in."""
    if instant is None or not _YEAR_FIRST <= instant.year <= _YEAR_LAST:
        return None
    if instant.tzinfo is UTC:
        return instant
    return instant.astimezone(UTC) if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def _midnight(day: datetime, zone: tzinfo) -> datetime:
    """Return when a date begins in a zone."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo:
    return _load_zone(name) or UTC


def _load_zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


@lru_cache(maxsize=4096)
def _series_id(room_uid: RoomUid, master_id: str) -> str:
    digest = hashlib.blake2b(f"{room_uid}\n{master_id}".encode("utf-8", "surrogatepass"), digest_size=12).digest()
    return base64.b32encode(digest).decode().rstrip("=").lower()


# The same few people book the same room again and again, so each is made once; wire values are frozen and hash fast.


@lru_cache(maxsize=4096)
def _organizer(recipient: GraphRecipient) -> Person | None:
    return _person(recipient.email_address)


@lru_cache(maxsize=8_192)
def _attendee(invited: GraphAttendee) -> Attendee | None:
    person = _person(invited.email_address)
    if person is None or invited.type == "resource":
        return None
    response = invited.status.response if invited.status is not None else None
    return Attendee(person, invited.type == "optional", _RESPONSES.get(response or "", Response.NONE))


def _person(address: GraphAddress | None) -> Person | None:
    if address is None or not (address.address or address.name):
        return None
    return Person(address.address or "", address.name or "")


def _annotations(event: GraphEvent) -> tuple[tuple[str, str], ...]:
    """Read what a caller keeps beside an event; nothing where it cannot be read, for it is not Exchange's own."""
    text = _property(event, _ANNOTATIONS_KEY)
    return _annotations_of(text) if text else ()


def mark_of(event: GraphEvent) -> str:
    """Return the mark of the write of ours that made or changed an event last; empty when none did."""
    return _property(event, _MARK_KEY)


def _property(event: GraphEvent, key: str) -> str:
    for told in event.single_value_extended_properties or ():
        if told.id is not None and told.id.casefold() == key and told.value:
            return told.value
    return ""


@lru_cache(maxsize=1024)
def _annotations_of(text: str) -> tuple[tuple[str, str], ...]:
    if len(text) > _ANNOTATIONS_CHARS_MAX:
        return ()
    try:
        return tuple(sorted(_ANNOTATIONS.decode(text).items()))
    except MALFORMED:
        return ()


def _join_url(event: GraphEvent) -> str:
    meeting = event.online_meeting
    return (meeting.join_url if meeting is not None else None) or event.online_meeting_url or ""
