"""A stay in a room: what the API shows, and what tells two versions of it apart."""

from __future__ import annotations

import base64
import enum
import hashlib
from dataclasses import dataclass
from datetime import datetime

import msgspec

from sidecar.model.attendance import Attendance
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.window import Window
from sidecar.model.write import TRANSACTION_PREFIX


class BookingState(enum.IntEnum):
    """Life cycle; the numbers are those of the API."""

    PENDING = 1
    CONFIRMED = 2
    TENTATIVE = 3
    DECLINED = 4
    CANCELLED = 5

    @property
    def takes_room(self) -> bool:
        """Whether a booking in this state occupies the room."""
        return self in (BookingState.PENDING, BookingState.CONFIRMED, BookingState.TENTATIVE)


class Response(enum.IntEnum):
    """An attendee's answer; the numbers are those of the API."""

    NONE = 1
    ACCEPTED = 2
    TENTATIVE = 3
    DECLINED = 4


class SubjectState(enum.IntEnum):
    """What a booking's subject is; the numbers are those of the API. Only SHOWN and HASHED come with a text."""

    SHOWN = 1
    WITHHELD = 2
    PRIVATE = 3
    MASKED = 4
    HASHED = 5


@dataclass(frozen=True, slots=True)
class Person:
    """A person."""

    email: str
    display_name: str


@dataclass(frozen=True, slots=True)
class HashedPerson:
    """A person of whom only that is kept by which the same one is known again."""

    hash: str


@dataclass(frozen=True, slots=True)
class Attendee:
    """An attendee, rooms left out."""

    person: Person | HashedPerson
    is_optional: bool
    response: Response


class DeclineReason(enum.IntEnum):
    """Why a room declined; the numbers are those of the API."""

    UNKNOWN = 1
    ROOM_TAKEN = 2
    OUTSIDE_BOOKING_WINDOW = 3
    TOO_LONG = 4
    SERIES_REFUSED = 5
    OTHER_POLICY = 6


@dataclass(frozen=True, slots=True)
class Decline:
    """What is known of why a room declined.

    Attributes:
        competing: what takes the room, with ROOM_TAKEN only.
        is_assumed: told from what rooms do unless somebody set something else.
    """

    reason: DeclineReason
    competing: Window | None = None
    is_assumed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """One stay in one room.

    `event_id`, `master_id`, `change_key` and `transaction_id` are Graph's and stay inside; the rest is what callers see.
    Instants are aware UTC. `series_id` and `original_start_at` are set for occurrences only. A booking may have no length. How
    much of words and people is here is `privacy.admit`'s business; `subject_state` tells what became of the subject.
    `decline` is set in the state DECLINED only, where something is known.
    `annotations` are the caller's own, by key.
    `attendance` is our own knowledge, which no read of a calendar brings; see `overlay`.
    `annotations` are the caller's own, by key. `mark` names the write of ours that made or changed it last, and stays inside.
    """

    key: BookingKey
    event_id: EventId
    master_id: EventId | None
    change_key: str
    start_at: datetime
    end_at: datetime
    time_zone: str
    is_all_day: bool
    state: BookingState
    subject: str
    organizer: Person | HashedPerson | None
    attendees: tuple[Attendee, ...]
    is_private: bool
    series_id: str | None
    original_start_at: datetime | None
    is_exception: bool
    online_meeting_uri: str
    calendar_uid: str
    created_at: datetime | None
    updated_at: datetime | None
    subject_state: SubjectState = SubjectState.SHOWN
    transaction_id: str = ""
    decline: Decline | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    attendance: Attendance | None = None
    mark: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it was made through the API."""
        return self.transaction_id.startswith(TRANSACTION_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBooking:
    """As much of a booking in the store as a plan needs."""

    key: BookingKey
    event_id: EventId
    master_id: EventId | None
    change_key: str
    start_at: datetime
    end_at: datetime
    takes_room: bool
    digest: bytes


def etag_of(digest: bytes) -> str:
    """Return the version that callers see."""
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


_ENCODER = msgspec.msgpack.Encoder(order="deterministic")


def booking_digest(booking: Booking) -> bytes:
    """Return 16 bytes that differ exactly when something callers see differs.

    Graph's ids, its change key and its time of modification are left out: Exchange touches them for reasons nobody can
    see (a category, a reminder, an answer by somebody else), and such a touch is no news.
    """
    shown: tuple[object, ...] = (
        booking.key,
        booking.start_at,
        booking.end_at,
        booking.time_zone,
        booking.is_all_day,
        booking.state,
        booking.subject,
        booking.organizer,
        booking.attendees,
        booking.is_private,
        booking.series_id,
        booking.original_start_at,
        booking.is_exception,
        booking.online_meeting_uri,
        booking.calendar_uid,
        booking.created_at,
    )
    if booking.subject_state is not SubjectState.SHOWN:
        shown += (booking.subject_state,)  # at the end: the digests of all others are those of earlier versions
    if booking.is_ours:
        shown += ("ours",)
    if booking.decline is not None:
        shown += ("decline", booking.decline)
    if booking.annotations:
        shown += (("annotations", booking.annotations),)
    if booking.attendance is not None:
        shown += (booking.attendance,)
    return hashlib.blake2b(_ENCODER.encode(shown), digest_size=16).digest()
