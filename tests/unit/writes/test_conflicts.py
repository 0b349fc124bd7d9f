"""Conflicts: what is in the way, and which of two writers gives way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.booking import Booking, BookingState
from sidecar.model.ids import EventId
from sidecar.model.window import EPOCH, Window
from sidecar.writes.conflicts import Conflict, find_conflicts, find_meetings, was_first
from tests.support.builders import make_booking

_HOUR = timedelta(hours=1)


def _window(start: float, end: float) -> Window:
    return Window(EPOCH + start * _HOUR, EPOCH + end * _HOUR)


def _booking(
    start: float, end: float, *, event_id: str = "other", state: BookingState = BookingState.CONFIRMED
) -> Booking:
    booking = make_booking(event_id)
    return replace(
        booking, event_id=EventId(event_id), start_at=EPOCH + start * _HOUR, end_at=EPOCH + end * _HOUR, state=state
    )


def test_booking_that_overlaps_is_in_the_way_with_its_window() -> None:
    """Both windows are told."""
    (found,) = find_conflicts([_window(9, 10)], [_booking(9.5, 11)], not_these=())
    assert (found.ours, found.theirs) == (_window(9, 10), _window(9.5, 11))


def test_booking_that_touches_is_not_in_the_way() -> None:
    """One ends when the other begins."""
    assert find_conflicts([_window(9, 10)], [_booking(8, 9), _booking(10, 11)], not_these=()) == []


def test_what_does_not_take_the_room_is_not_in_the_way() -> None:
    """Cancelled and declined entries are kept by Exchange and free the room."""
    others = [_booking(9, 10, state=state) for state in (BookingState.CANCELLED, BookingState.DECLINED)]
    assert find_conflicts([_window(9, 10)], others, not_these=()) == []


def test_own_series_is_not_in_its_own_way() -> None:
    """Its occurrences belong to it."""
    ours = replace(_booking(9, 10, event_id="occurrence"), master_id=EventId("master"))
    assert find_conflicts([_window(9, 10)], [ours], not_these={EventId("master")}) == []


def test_long_booking_that_began_before_is_found_behind_shorter_ones() -> None:
    """Sorted by start, it stands before what has ended long ago."""
    others = [_booking(0, 20, event_id="long"), _booking(1, 2, event_id="short")]
    assert [one.theirs for one in find_conflicts([_window(9, 10)], others, not_these=())] == [_window(0, 20)]


_bookings = st.tuples(st.integers(0, 3), st.sampled_from("abc")).map(
    lambda drawn: replace(
        _booking(9, 10, event_id=drawn[1]), created_at=EPOCH + timedelta(seconds=drawn[0]) if drawn[0] else None
    )
)


@given(one=_bookings, other=_bookings)
def test_of_two_events_exactly_one_gives_way(one: Booking, other: Booking) -> None:
    """Whatever their times are: otherwise both stay, or both go."""
    if one.event_id == other.event_id:
        return
    gives_way = [was_first(b, event_id=a.event_id, created_at=a.created_at) for a, b in ((one, other), (other, one))]
    assert sorted(gives_way) == [False, True]


def test_a_year_of_windows_meets_what_overlaps_each_and_nothing_else() -> None:
    """As a comparison of all with all has it, long ones and those that begin together among them."""
    rng = Random(7)
    spans = [
        [_window(start := rng.randrange(400) / 4, start + rng.choice((0.25, 1, 2, 30))) for _ in range(60)]
        for _ in range(2)
    ]
    wanted, taken = spans
    expected = [
        Conflict(one, other)
        for one in wanted
        for other in taken
        if other.start_at < one.end_at and one.start_at < other.end_at
    ]
    found = find_meetings(wanted, taken)
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert [one.ours.start_at for one in found] == sorted(one.ours.start_at for one in found)
