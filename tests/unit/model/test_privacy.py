"""The door: what is kept of a meeting's words and people."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from sidecar.model.booking import Attendee, Booking, BookingState, HashedPerson, Person, Response, SubjectState
from sidecar.model.privacy import PendingSubjects, Privacy, PrivateEvents, Visibility, admit, readmit
from tests.support.builders import make_booking

KEY = bytes(range(32))
ADA = Person("Ada@contoso.example", "Ada Lovelace")
EVE = Person("eve@contoso.example", "Eve")
HASH = re.compile("[a-z2-7]{26}")


def whole(**changes: Any) -> Booking:  # any field of a booking
    """Build a booking with something in every field that the door knows."""
    people = tuple(Attendee(person, False, Response.ACCEPTED) for person in (ADA, EVE))
    values: dict[str, Any] = {
        "subject": "Merger",
        "organizer": ADA,
        "attendees": people,
        "online_meeting_uri": "https://meet.example/1",
    }
    return make_booking(**values | changes)


def admitted(
    booking: Booking, *, key: bytes = KEY, is_answered: bool = True, **privacy: Any
) -> Booking:  # any field of it
    return admit(booking, Privacy(**privacy), hash_key=key, is_answered=is_answered)


def test_ordinary_meeting_is_kept_whole_unless_a_tenant_says_otherwise() -> None:
    assert admitted(whole()) == whole()


@pytest.mark.parametrize(
    ("changes", "state"),
    [({"subject": Visibility.MASKED}, SubjectState.MASKED), ({"subject": Visibility.HASHED}, SubjectState.HASHED)],
)
def test_subject_goes_and_its_state_says_why(changes: dict[str, Any], state: SubjectState) -> None:
    found = admitted(whole(), **changes)
    assert found.subject_state is state
    assert "Merger" not in found.subject
    assert replace(found, subject="Merger", subject_state=SubjectState.SHOWN) == whole()


def test_hashed_people_are_equal_exactly_when_they_are_the_same() -> None:
    """However an address is written; the name beside it is decoration. Another tenant's key gives another hash."""
    first = admitted(whole(organizer=ADA), organizer=Visibility.HASHED)
    second = admitted(whole(organizer=Person("ada@CONTOSO.example", "A. L.")), organizer=Visibility.HASHED)
    other = admitted(whole(organizer=EVE), organizer=Visibility.HASHED)
    foreign = admitted(whole(organizer=ADA), organizer=Visibility.HASHED, key=bytes(32))
    assert isinstance(first.organizer, HashedPerson)
    assert HASH.fullmatch(first.organizer.hash)
    assert first.organizer == second.organizer
    assert len({first.organizer, other.organizer, foreign.organizer}) == 3


def test_same_text_as_subject_and_as_person_has_two_hashes() -> None:
    found = admitted(whole(subject="ada@contoso.example"), subject=Visibility.HASHED, organizer=Visibility.HASHED)
    assert isinstance(found.organizer, HashedPerson)
    assert found.subject != found.organizer.hash


def test_masked_attendees_are_gone_and_hashed_ones_keep_their_answers() -> None:
    assert admitted(whole(), attendees=Visibility.MASKED).attendees == ()
    kept = admitted(whole(), attendees=Visibility.HASHED).attendees
    assert [type(attendee.person) for attendee in kept] == [HashedPerson, HashedPerson]
    assert {attendee.response for attendee in kept} == {Response.ACCEPTED}


def test_hidden_organizer_is_hidden_among_the_attendees_and_in_the_link() -> None:
    """The join link holds the organizer's object id in the directory."""
    masked = admitted(whole(), organizer=Visibility.MASKED)
    assert (masked.organizer, masked.online_meeting_uri) == (None, "")
    assert [attendee.person for attendee in masked.attendees] == [EVE]
    hashed = admitted(whole(), organizer=Visibility.HASHED)
    assert [attendee.person for attendee in hashed.attendees] == [hashed.organizer, EVE]


@pytest.mark.parametrize("subject", ["Ada Lovelace ", "ada  lovelace Merger", "re: ADA@contoso.example"])
def test_subject_that_exchange_made_of_a_hidden_organizer_is_hidden_too(subject: str) -> None:
    """Exchange's default for rooms puts the organizer's name in place of the subject."""
    masked = admitted(whole(subject=subject), organizer=Visibility.MASKED)
    assert (masked.subject, masked.subject_state) == ("", SubjectState.MASKED)
    hashed = admitted(whole(subject=subject), organizer=Visibility.HASHED)
    assert (bool(HASH.fullmatch(hashed.subject)), hashed.subject_state) == (True, SubjectState.HASHED)
    assert admitted(whole(subject=subject)).subject == subject


def test_private_meeting_tells_its_organizer_and_nothing_else() -> None:
    found = admitted(whole(is_private=True))
    assert (found.subject, found.subject_state) == ("", SubjectState.PRIVATE)
    assert (found.attendees, found.online_meeting_uri, found.organizer) == ((), "", ADA)
    assert admitted(whole(is_private=True), private_events=PrivateEvents.LIKE_OTHERS) == whole(is_private=True)


def test_private_meeting_is_masked_where_others_are_hashed() -> None:
    found = admitted(whole(is_private=True), subject=Visibility.HASHED, attendees=Visibility.HASHED)
    assert (found.subject, found.subject_state, found.attendees) == ("", SubjectState.PRIVATE, ())


def test_subject_waits_for_the_rooms_answer() -> None:
    pending = whole(state=BookingState.PENDING)
    found = admitted(pending, is_answered=False)
    assert (found.subject, found.subject_state) == ("", SubjectState.WITHHELD)
    assert found.attendees == pending.attendees
    shown = admitted(pending, is_answered=False, pending_subjects=PendingSubjects.SHOWN)
    assert shown == pending


def test_stricter_is_what_lets_less_be_kept_anywhere() -> None:
    plain = Privacy()
    for stricter in (
        Privacy(subject=Visibility.HASHED),
        Privacy(organizer=Visibility.MASKED),
        Privacy(attendees=Visibility.HASHED, private_events=PrivateEvents.LIKE_OTHERS),
    ):
        assert stricter.is_stricter_than(plain)
    looser = Privacy(private_events=PrivateEvents.LIKE_OTHERS, pending_subjects=PendingSubjects.SHOWN)
    assert plain.is_stricter_than(looser)
    assert not looser.is_stricter_than(plain)
    assert not plain.is_stricter_than(plain)


def test_cancelled_invitation_loses_its_subject_when_pending_ones_are_to_be_withheld() -> None:
    """Whether the room had answered it is not known any more; the next read tells."""
    found = readmit(whole(state=BookingState.CANCELLED), Privacy(), hash_key=KEY)
    assert (found.subject, found.subject_state) == ("", SubjectState.WITHHELD)
