"""The door, for every meeting and every setting: nothing gets past it, and passing it once is enough."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.api.booking_codec import ProtoBookingCodec
from sidecar.model.booking import Attendee, Booking, BookingState, HashedPerson, Person, Response, booking_digest
from sidecar.model.privacy import PendingSubjects, Privacy, PrivateEvents, Visibility, admit, readmit
from tests.support.builders import NOW, make_booking

KEY = bytes(range(1, 33))
ROOM = "tenants/acme/rooms/r1"
SUBJECT, ORGANIZER, GUEST, LINK = "CANARYsubject", "CANARYada", "CANARYeve", "CANARYlink"

privacies = st.builds(
    Privacy,
    subject=st.sampled_from(Visibility),
    organizer=st.sampled_from(Visibility),
    attendees=st.sampled_from(Visibility),
    private_events=st.sampled_from(PrivateEvents),
    pending_subjects=st.sampled_from(PendingSubjects),
)


def _person(name: str) -> st.SearchStrategy[Person]:
    spelled = st.sampled_from((name, name.upper(), name.lower()))
    addresses = spelled.map(lambda text: f"{text}@contoso.example")
    return st.builds(Person, st.sampled_from(("",)) | addresses, spelled)


@st.composite
def meetings(draw: st.DrawFn) -> Booking:
    """Draw a booking as Exchange might mean it, before the door."""
    organizer = draw(st.none() | _person(ORGANIZER))
    names = [organizer.display_name] if organizer is not None else []
    subject = " ".join(draw(st.permutations([SUBJECT, *draw(st.sampled_from(([], names)))])))
    occurrence = {"series_id": "s1", "original_start_at": NOW, "is_exception": True}
    in_series: dict[str, Any] = draw(st.sampled_from(({}, occurrence)))
    guests = draw(st.lists(_person(GUEST) | _person(ORGANIZER), max_size=3))
    return make_booking(
        state=draw(st.sampled_from(BookingState)),
        subject=draw(st.sampled_from(("", subject, f"{subject} "))),
        organizer=organizer,
        attendees=tuple(Attendee(guest, draw(st.booleans()), draw(st.sampled_from(Response))) for guest in guests),
        is_private=draw(st.booleans()),
        online_meeting_uri=draw(st.sampled_from(("", LINK))),
        **in_series,
        created_at=draw(st.none() | st.just(NOW)),
    )


def _answered(booking: Booking) -> bool:
    return booking.state is not BookingState.PENDING


def _shown(booking: Booking) -> str:
    return msgspec.json.encode(booking).decode().casefold()


@given(meetings(), privacies)
def test_nothing_that_is_not_to_be_kept_is_kept(meeting: Booking, privacy: Privacy) -> None:
    is_answered = _answered(meeting)
    text = _shown(admit(meeting, privacy, hash_key=KEY, is_answered=is_answered))
    is_masked = meeting.is_private and privacy.private_events is PrivateEvents.MASKED
    is_withheld = not is_answered and privacy.pending_subjects is PendingSubjects.WITHHELD
    if privacy.subject is not Visibility.STORED or is_masked or is_withheld:
        assert SUBJECT.casefold() not in text
    if privacy.attendees is not Visibility.STORED or is_masked:
        assert GUEST.casefold() not in text
    if is_masked:
        assert LINK.casefold() not in text
    if privacy.organizer is not Visibility.STORED:
        assert LINK.casefold() not in text
        # As somebody's guest he is named only where the meeting is another's.
        if meeting.organizer is not None or privacy.attendees is not Visibility.STORED:
            assert ORGANIZER.casefold() not in text


@given(meetings(), privacies)
def test_passing_the_door_twice_changes_nothing(meeting: Booking, privacy: Privacy) -> None:
    """Otherwise every read would find a difference, and tell it."""
    once = admit(meeting, privacy, hash_key=KEY, is_answered=_answered(meeting))
    assert admit(once, privacy, hash_key=KEY, is_answered=_answered(meeting)) == once


@given(meetings(), privacies, privacies)
@settings(max_examples=300)
def test_copy_made_stricter_is_as_if_it_had_never_been_looser(
    meeting: Booking, first: Privacy, second: Privacy
) -> None:
    """So erasing what is stored needs no read, and the next read finds nothing to tell."""
    stricter = Privacy(
        subject=max(first.subject, second.subject),
        organizer=max(first.organizer, second.organizer),
        attendees=max(first.attendees, second.attendees),
        private_events=max(first.private_events, second.private_events),
        pending_subjects=max(first.pending_subjects, second.pending_subjects),
    )
    if meeting.state is BookingState.CANCELLED:
        return  # see readmit
    kept = admit(meeting, first, hash_key=KEY, is_answered=_answered(meeting))
    again = readmit(kept, stricter, hash_key=KEY)
    anew = admit(meeting, stricter, hash_key=KEY, is_answered=_answered(meeting))
    if first.is_hashing and stricter.organizer > first.organizer:
        # A hash does not tell any more that it names the organizer, so it may outlive one who is hidden now, until it is
        # read again. What is in the open is the same.
        again, anew = _without_hashes(again), _without_hashes(anew)
    assert booking_digest(again) == booking_digest(anew)


@given(meetings(), privacies, privacies)
def test_encoded_booking_is_restricted_to_what_encoding_it_anew_would_give(
    meeting: Booking, first: Privacy, second: Privacy
) -> None:
    """The digest above all: the next read compares by it."""
    codec = ProtoBookingCodec()
    kept = admit(meeting, first, hash_key=KEY, is_answered=_answered(meeting))
    wanted = readmit(kept, second, hash_key=KEY)
    digest = booking_digest(wanted)
    body = codec.encode(kept, room_name=ROOM, revision=7, digest=booking_digest(kept))
    assert codec.restrict(body, privacy=second, hash_key=KEY) == (
        codec.encode(wanted, room_name=ROOM, revision=7, digest=digest),
        digest,
    )


def _without_hashes(booking: Booking) -> Booking:
    people = tuple(item for item in booking.attendees if not isinstance(item.person, HashedPerson))
    return replace(booking, subject="", subject_state=make_booking().subject_state, attendees=people)
