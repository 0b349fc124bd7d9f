"""Messages put together from ready bytes: bookings are copied into them, never parsed.

A message field on the wire is its tag, its length and its bytes, so a message that holds encoded bookings is a join of
byte strings. Only messages on the hot paths are made here; everything else goes through the generated classes. The
property test parses each frame with the generated class and compares it with what the slow way builds, so a field number
that moves in the protos fails there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache

from sidecar.model.change import Change, ChangeKind
from sidecar.model.window import to_micros

_INT64_MASK = 2**64 - 1
_LENGTHS_CACHED_MAX = 16_384


def _field(number: int, wire_type: int) -> bytes:
    return bytes([number << 3 | wire_type])


_VARINT, _BYTES = 0, 2

_LIST_BOOKINGS = _field(1, _BYTES)
_LIST_NEXT_PAGE_TOKEN = _field(2, _BYTES)
_LIST_RESUME_TOKEN = _field(3, _BYTES)
_LIST_SYNC = _field(4, _BYTES)
_GET_BOOKING = _field(1, _BYTES)
_CHANGE_KIND = _field(1, _VARINT)
_CHANGE_BOOKING = _field(2, _BYTES)
_CHANGE_RECORD_TIME = _field(3, _BYTES)
_CHANGE_CAUSE = _field(5, _VARINT)
_CHANGES_CHANGE = _field(1, _BYTES)
_WATCH_RESUME_TOKEN = _field(1, _BYTES)
_WATCH_CHANGES = _field(3, _BYTES)
_READ_CHANGE = _field(1, _BYTES)
_READ_RESUME_TOKEN = _field(2, _BYTES)
_READ_MORE = _field(3, _VARINT)
_AVAILABILITIES = _field(1, _BYTES)
_AVAILABILITY_ROOM = _field(1, _BYTES)
_AVAILABILITY_FREE = _field(2, _BYTES)
_AVAILABILITY_PROBLEM = _field(3, _BYTES)
_AVAILABILITY_SYNC = _field(4, _BYTES)
_WINDOW_START = _field(1, _BYTES)
_WINDOW_END = _field(2, _BYTES)
_TIME_SECONDS = _field(1, _VARINT)
_TIME_NANOS = _field(2, _VARINT)


def varint(number: int) -> bytes:
    """Return a number as protobuf spells int64 and enums: seven bits a byte, the least first."""
    number &= _INT64_MASK
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


@lru_cache(maxsize=_LENGTHS_CACHED_MAX)
def _head(tag: bytes, length: int) -> bytes:
    return tag + varint(length)


def _text(tag: bytes, value: str) -> bytes:
    """Return a text field; proto3 leaves an empty one out."""
    raw = value.encode()
    return _head(tag, len(raw)) + raw if raw else b""


@lru_cache(maxsize=1024)
def _record_time(recorded_at: datetime) -> bytes:
    """Return the field record_time; entries of one commit share theirs."""
    return _time(_CHANGE_RECORD_TIME, recorded_at)


def _time(tag: bytes, at: datetime) -> bytes:
    """Return a field that holds a Timestamp."""
    seconds, micros = divmod(to_micros(at), 1_000_000)
    body = (_TIME_SECONDS + varint(seconds) if seconds else b"") + (
        _TIME_NANOS + varint(micros * 1_000) if micros else b""
    )
    return _head(tag, len(body)) + body


def bookings_page(bodies: Iterable[bytes], *, next_page_token: str, resume_token: str) -> bytes:
    """Return a ListBookingsResponse that lacks its `sync`."""
    parts: list[bytes] = []
    for body in bodies:
        parts += (_head(_LIST_BOOKINGS, len(body)), body)
    parts += (_text(_LIST_NEXT_PAGE_TOKEN, next_page_token), _text(_LIST_RESUME_TOKEN, resume_token))
    return b"".join(parts)


def list_bookings_response(page: bytes, *, sync: bytes) -> bytes:
    """Return a ListBookingsResponse, put together from what `bookings_page` returned and an encoded SyncStatus."""
    return b"".join((page, _head(_LIST_SYNC, len(sync)), sync))


def get_booking_response(body: bytes) -> bytes:
    """Return a GetBookingResponse."""
    return _head(_GET_BOOKING, len(body)) + body


def booking_change(change: Change) -> bytes:
    """Return a BookingChange for an entry of the log about a booking."""
    body = change.body
    cause = _CHANGE_CAUSE + varint(change.cause) if change.cause else b""
    parts = (_CHANGE_KIND, varint(change.kind), _head(_CHANGE_BOOKING, len(body)), body)
    return b"".join((*parts, _record_time(change.recorded_at), cause))


_SNAPSHOT_ROW = _CHANGE_KIND + varint(ChangeKind.UPSERTED)


def snapshot_change(body: bytes) -> bytes:
    """Return a BookingChange for a booking of a snapshot: nobody recorded it now, so it has no time."""
    return b"".join((_SNAPSHOT_ROW, _head(_CHANGE_BOOKING, len(body)), body))


def watch_changes(changes: Iterable[bytes]) -> bytes:
    """Return the field `changes` of a WatchRoomResponse or WatchRoomsResponse, which are laid out alike.

    Args:
        changes: encoded BookingChanges.
    """
    parts: list[bytes] = []
    for change in changes:
        parts += (_head(_CHANGES_CHANGE, len(change)), change)
    body = b"".join(parts)
    return _head(_WATCH_CHANGES, len(body)) + body


def watch_changes_response(changes: bytes, *, resume_token: str) -> bytes:
    """Return a WatchRoomResponse or WatchRoomsResponse with what `watch_changes` returned."""
    return _text(_WATCH_RESUME_TOKEN, resume_token) + changes


def read_changes_response(changes: Sequence[bytes], *, resume_token: str, is_more: bool) -> bytes:
    """Return a ReadChangesResponse with encoded BookingChanges."""
    parts: list[bytes] = []
    for change in changes:
        parts += (_head(_READ_CHANGE, len(change)), change)
    parts.append(_text(_READ_RESUME_TOKEN, resume_token))
    if is_more:
        parts.append(_READ_MORE + varint(1))
    return b"".join(parts)


@lru_cache(maxsize=16_384)
def _free(start_at: datetime, end_at: datetime) -> bytes:
    """Return an element of the field `free`; where meetings begin and end on the hour, many rooms are free alike."""
    body = _time(_WINDOW_START, start_at) + _time(_WINDOW_END, end_at)
    return _head(_AVAILABILITY_FREE, len(body)) + body


def room_availability(
    room: str, free: Iterable[tuple[datetime, datetime]], *, problem: bytes | None, sync: bytes | None
) -> bytes:
    """Return an element of the field `availabilities` of a FindAvailabilityResponse: these joined are the message.

    Args:
        free: starts and ends.
        problem, sync: encoded messages; None: unset.
    """
    parts = [_text(_AVAILABILITY_ROOM, room)]
    parts += [_free(start_at, end_at) for start_at, end_at in free]
    for tag, message in ((_AVAILABILITY_PROBLEM, problem), (_AVAILABILITY_SYNC, sync)):
        if message is not None:
            parts += (_head(tag, len(message)), message)
    body = b"".join(parts)
    return _head(_AVAILABILITIES, len(body)) + body
