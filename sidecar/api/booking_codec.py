"""Bookings as the bytes they are kept and served in, so that serving one is copying bytes."""

from __future__ import annotations

from dataclasses import replace

from sidecar.api import frames
from sidecar.api.times import set_time, time_of
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as booking_pb
from sidecar.model.attendance import Attendance
from sidecar.model.booking import (
    Attendee,
    Booking,
    BookingState,
    Decline,
    DeclineReason,
    HashedPerson,
    Person,
    Response,
    SubjectState,
    booking_digest,
    etag_of,
)
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.privacy import Privacy, readmit
from sidecar.model.window import Window
from sidecar.model.write import TRANSACTION_PREFIX

_REVISION_TAG = bytes([14 << 3])
"""Field `revision` of Booking, a varint."""


class ProtoBookingCodec:
    """Writes bookings as encoded Booking messages. Holds no state, so threads may share it.

    The store runs it inside its writer thread, for each booking of an import.
    """

    def encode(self, booking: Booking, *, room_name: str, revision: int, digest: bytes) -> bytes:
        """Return the encoded booking. Equal arguments give equal bytes; what is private was left out before."""
        message = booking_pb.Booking(
            name=f"{room_name}/bookings/{booking.key}",
            state=booking.state,  # type: ignore[arg-type]  # the numbers are those of the API
            time_zone=booking.time_zone,
            all_day=booking.is_all_day,
            subject="" if booking.subject_state is SubjectState.HASHED else booking.subject,
            subject_state=booking.subject_state,  # type: ignore[arg-type]  # the numbers are those of the API
            subject_hash=booking.subject if booking.subject_state is SubjectState.HASHED else "",
            origin=booking_pb.Booking.ORIGIN_API if booking.is_ours else booking_pb.Booking.ORIGIN_EXCHANGE,
            is_private=booking.is_private,
            online_meeting_uri=booking.online_meeting_uri,
            calendar_uid=booking.calendar_uid,
            revision=revision,
            annotations=dict(booking.annotations),
            etag=etag_of(digest),
        )
        time = message.time
        set_time(time.start_time, booking.start_at)
        set_time(time.end_time, booking.end_at)
        if booking.organizer is not None:
            _set_person(message.organizer, booking.organizer)
        add = message.attendees.add
        for attendee in booking.attendees:
            told = add(optional_attendee=attendee.is_optional, response=attendee.response)
            _set_person(told.person, attendee.person)
        if booking.series_id is not None:
            recurrence = message.recurrence
            recurrence.series_id = booking.series_id
            recurrence.exception = booking.is_exception
            if booking.original_start_at is not None:
                set_time(recurrence.original_start_time, booking.original_start_at)
        if booking.created_at is not None:
            set_time(message.create_time, booking.created_at)
        if booking.updated_at is not None:
            set_time(message.update_time, booking.updated_at)
        if booking.decline is not None:
            _set_decline(message.decline, booking.decline)
        if booking.attendance is not None:
            _set_attendance(message, booking.attendance)
        return message.SerializeToString(deterministic=True)

    def restrict(self, body: bytes, *, privacy: Privacy, hash_key: bytes) -> tuple[bytes, bytes]:
        """Return an encoded booking with no more words and people than may be kept, and its digest.

        Both are what encoding the booking anew would give, so the next read of the calendar finds nothing to change.
        """
        message = booking_pb.Booking.FromString(body)
        return self._encode_again(readmit(_booking_from_proto(message), privacy, hash_key=hash_key), message)

    def attend(self, body: bytes, attendance: Attendance) -> tuple[bytes, bytes]:
        """Return an encoded booking with our own data in place of what it has of it, and its digest."""
        message = booking_pb.Booking.FromString(body)
        booking = _booking_from_proto(message)
        return self._encode_again(replace(booking, attendance=attendance.of(booking.end_at)), message)

    def _encode_again(self, booking: Booking, message: booking_pb.Booking) -> tuple[bytes, bytes]:
        """Encode what was read from a message and changed, under the message's name and revision."""
        digest = booking_digest(booking)
        room_name = message.name.rpartition("/bookings/")[0]
        return self.encode(booking, room_name=room_name, revision=message.revision, digest=digest), digest

    def stamp(self, body: bytes, *, revision: int) -> bytes:
        """Return an encoded booking with another revision, without parsing it.

        A parser keeps the last value of a field that is not repeated (protobuf encoding, "Last One Wins"), so the new
        revision is appended.
        """
        return body + _REVISION_TAG + frames.varint(revision)


def _booking_from_proto(message: booking_pb.Booking) -> Booking:
    """Read an encoded booking. What is Graph's own is not in it, and comes back empty."""
    occurrence = message.recurrence if message.HasField("recurrence") else None
    state = SubjectState(message.subject_state or SubjectState.SHOWN)
    return Booking(
        key=BookingKey(message.name.rpartition("/")[2]),
        event_id=EventId(""),
        master_id=None,
        change_key="",
        start_at=time_of(message.time.start_time),
        end_at=time_of(message.time.end_time),
        time_zone=message.time_zone,
        is_all_day=message.all_day,
        state=BookingState(message.state),
        subject=message.subject_hash if state is SubjectState.HASHED else message.subject,
        subject_state=state,
        organizer=_person_of(message.organizer) if message.HasField("organizer") else None,
        attendees=tuple(
            Attendee(_person_of(told.person), told.optional_attendee, Response(told.response))
            for told in message.attendees
        ),
        is_private=message.is_private,
        series_id=None if occurrence is None else occurrence.series_id,
        original_start_at=time_of(occurrence.original_start_time)
        if occurrence is not None and occurrence.HasField("original_start_time")
        else None,
        is_exception=occurrence is not None and occurrence.exception,
        online_meeting_uri=message.online_meeting_uri,
        calendar_uid=message.calendar_uid,
        created_at=time_of(message.create_time) if message.HasField("create_time") else None,
        updated_at=time_of(message.update_time) if message.HasField("update_time") else None,
        annotations=tuple(sorted(message.annotations.items())),
        transaction_id=TRANSACTION_PREFIX if message.origin == booking_pb.Booking.ORIGIN_API else "",
        decline=_decline_of(message.decline) if message.HasField("decline") else None,
        attendance=_attendance_of(message),
    )


def _decline_of(message: booking_pb.Decline) -> Decline:
    window = message.competing
    competing = Window(time_of(window.start_time), time_of(window.end_time)) if message.HasField("competing") else None
    return Decline(DeclineReason(message.reason), competing, message.assumed)


def _set_decline(message: booking_pb.Decline, decline: Decline) -> None:
    message.reason = decline.reason  # type: ignore[assignment]  # the numbers are those of the API
    message.assumed = decline.is_assumed
    if decline.competing is not None:
        set_time(message.competing.start_time, decline.competing.start_at)
        set_time(message.competing.end_time, decline.competing.end_at)


def _attendance_of(message: booking_pb.Booking) -> Attendance | None:
    attendance = Attendance(
        check_in_at=time_of(message.check_in_time) if message.HasField("check_in_time") else None,
        check_in_by=message.check_in_by,
        released_at=time_of(message.release_time) if message.HasField("release_time") else None,
    )
    return None if attendance.is_empty else attendance


def _set_attendance(message: booking_pb.Booking, attendance: Attendance) -> None:
    if attendance.check_in_at is not None:
        set_time(message.check_in_time, attendance.check_in_at)
    if attendance.released_at is not None:
        set_time(message.release_time, attendance.released_at)
    message.check_in_by = attendance.check_in_by


def _person_of(message: booking_pb.Person) -> Person | HashedPerson:
    return HashedPerson(message.hash) if message.hash else Person(message.email, message.display_name)


def _set_person(message: booking_pb.Person, person: Person | HashedPerson) -> None:
    message.SetInParent()
    if isinstance(person, HashedPerson):
        message.hash = person.hash
        return
    message.email = person.email
    message.display_name = person.display_name
