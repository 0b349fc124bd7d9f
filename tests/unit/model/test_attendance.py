"""What we know of bookings ourselves, put onto what is read of them."""

from __future__ import annotations

from dataclasses import replace

from sidecar.model.attendance import Attendance, release_end
from sidecar.model.booking import Booking, StoredBooking, booking_digest
from sidecar.model.overlay import overlay
from sidecar.model.plan import RoomPlan, Touch
from tests.support.builders import NOW, after, make_booking, upsert

CAME = Attendance(check_in_at=NOW, check_in_by="badge 7")
GIVEN_BACK = Attendance(released_at=after(minutes=30))


def stored(booking: Booking, attendance: Attendance | None = None) -> StoredBooking:
    return StoredBooking(
        key=booking.key,
        event_id=booking.event_id,
        master_id=booking.master_id,
        change_key=booking.change_key,
        start_at=booking.start_at,
        end_at=booking.end_at,
        takes_room=booking.state.takes_room,
        digest=booking_digest(replace(booking, attendance=attendance)),
    )


def test_release_ends_a_booking_at_a_whole_minute() -> None:
    assert release_end(after(seconds=61)) == after(minutes=2)
    assert release_end(after(minutes=2)) == after(minutes=2)


def test_booking_made_longer_again_is_not_released_any_more() -> None:
    assert GIVEN_BACK.of(after(minutes=30)) == GIVEN_BACK
    assert GIVEN_BACK.of(after(minutes=31)) is None


def test_check_in_stays_when_a_released_booking_is_made_longer() -> None:
    both = replace(CAME, released_at=GIVEN_BACK.released_at)
    assert both.of(after(hours=1)) == CAME


def test_read_booking_carries_what_we_know_of_it() -> None:
    booking = make_booking()
    plan = overlay(RoomPlan(upserts=(upsert(booking),)), {}, {booking.key: CAME})
    (written,) = plan.upserts
    assert written.booking.attendance == CAME
    assert written.digest == booking_digest(written.booking) != booking_digest(booking)


def test_booking_that_differs_by_our_own_data_alone_is_no_news() -> None:
    booking = make_booking()
    plan = RoomPlan(upserts=(upsert(booking),))
    assert overlay(plan, {booking.key: stored(booking, CAME)}, {booking.key: CAME}) == RoomPlan()


def test_new_ids_of_a_booking_that_is_no_news_are_noted() -> None:
    """Exchange touched it: what it is called by has to be the latest."""
    before = make_booking()
    booking = replace(before, change_key="ck2")
    plan = overlay(RoomPlan(upserts=(upsert(booking),)), {before.key: stored(before, CAME)}, {booking.key: CAME})
    assert plan == RoomPlan(touches=(Touch(booking.key, booking.event_id, None, "ck2"),))


def test_booking_that_we_know_nothing_of_stays_as_it_was_read() -> None:
    plan = RoomPlan(upserts=(upsert(make_booking("b2")),))
    assert overlay(plan, {}, {make_booking("b1").key: CAME}) == plan
