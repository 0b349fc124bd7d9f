"""Bookings: their ids, and what tells two versions apart."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.attendance import Attendance
from sidecar.model.booking import (
    Attendee,
    Booking,
    BookingState,
    Decline,
    DeclineReason,
    Person,
    Response,
    SubjectState,
    booking_digest,
)
from sidecar.model.ids import EventId, RoomUid, booking_key
from sidecar.model.write import TRANSACTION_PREFIX
from tests.support.builders import NOW, make_booking

INVISIBLE: dict[str, Any] = {
    "event_id": EventId("another"),
    "master_id": EventId("another"),
    "change_key": "another",
    "updated_at": NOW,
    "mark": "another",
}
VISIBLE: dict[str, Any] = {
    "key": "another",
    "start_at": NOW + timedelta(seconds=1),
    "end_at": NOW + timedelta(days=1),
    "time_zone": "UTC",
    "is_all_day": True,
    "state": BookingState.TENTATIVE,
    "subject": "Another",
    "organizer": None,
    "attendees": (Attendee(Person("bob@contoso.example", "Bob"), False, Response.NONE),),
    "is_private": True,
    "series_id": "s1",
    "original_start_at": NOW,
    "is_exception": True,
    "online_meeting_uri": "https://example.com/x",
    "calendar_uid": "another",
    "created_at": NOW,
    "subject_state": SubjectState.WITHHELD,
    "transaction_id": f"{TRANSACTION_PREFIX}w1",  # it tells whose the booking is
    "annotations": (("a", "b"),),
    "decline": Decline(DeclineReason.ROOM_TAKEN, None),
    "attendance": Attendance(check_in_by="badge 7"),
}


def test_every_field_is_either_seen_or_not() -> None:
    """A new field must be put on one side: a digest that forgets it would hide its changes for ever."""
    assert VISIBLE.keys() | INVISIBLE.keys() == {field.name for field in fields(Booking)}


@pytest.mark.parametrize("name", VISIBLE)
def test_digest_differs_with_what_callers_see(name: str) -> None:
    """Each visible field counts."""
    booking = make_booking()
    changed = replace(booking, **{name: VISIBLE[name]})
    assert booking_digest(changed) != booking_digest(booking)


@pytest.mark.parametrize("name", INVISIBLE)
def test_digest_ignores_what_nobody_sees(name: str) -> None:
    """Exchange touches its own ids and times for reasons of its own; that is no news."""
    booking = make_booking()
    assert booking_digest(replace(booking, **{name: INVISIBLE[name]})) == booking_digest(booking)


def test_digest_tells_fields_from_each_other() -> None:
    """The same text in another place is another booking."""
    ada, bob = (Attendee(Person(name, name), False, Response.NONE) for name in ("ada", "bob"))
    digests = {
        booking_digest(booking)
        for booking in (
            make_booking(subject="x", online_meeting_uri=""),
            make_booking(subject="", online_meeting_uri="x"),
            make_booking(attendees=(ada, bob)),
            make_booking(attendees=(bob, ada)),
            make_booking(attendees=(replace(ada, is_optional=True), bob)),
            make_booking(attendees=(replace(ada, response=Response.DECLINED), bob)),
        )
    }
    assert len(digests) == 6
    assert {len(digest) for digest in digests} == {16}


def test_digest_is_the_same_in_the_next_release() -> None:
    """It is stored: another one for the same booking would tell every watcher that every booking changed."""
    assert booking_digest(make_booking()).hex() == "0c007a8b2b9935894ef228ff809e689f"


def test_key_is_the_same_in_the_next_release() -> None:
    """It is a name that callers keep."""
    assert booking_key(RoomUid("r1"), "uid-1", None) == "6b7191af70561cc041ff41bc"
    assert booking_key(RoomUid("r1"), "uid-1", NOW) == "a61183fb4576362aebc742ff"


@given(st.text(max_size=40), st.datetimes(timezones=st.just(UTC)), st.integers(-14, 14))
def test_key_follows_from_what_never_changes(calendar_uid: str, start_at: datetime, offset_h: int) -> None:
    """The zone in which an instant is written is nothing; room, uid and original start are everything."""
    key = booking_key(RoomUid("r1"), calendar_uid, start_at)
    try:
        elsewhere = start_at.astimezone(timezone(timedelta(hours=offset_h)))
    except OverflowError:
        elsewhere = start_at
    assert booking_key(RoomUid("r1"), calendar_uid, elsewhere) == key
    others = {
        booking_key(RoomUid("r2"), calendar_uid, start_at),
        booking_key(RoomUid("r1"), f"{calendar_uid}x", start_at),
        booking_key(RoomUid("r1"), calendar_uid, None),
    }
    assert key not in others
    assert len(key) >= 20
    assert key.isalnum()
    assert key == key.lower()


def test_three_states_take_the_room() -> None:
    """Pending and tentative bookings do, too: a room that is asked for is not free."""
    assert [state.name for state in BookingState if state.takes_room] == ["PENDING", "CONFIRMED", "TENTATIVE"]
