"""What one read changes: decided without a database, a clock or a network."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sidecar.model.booking import Booking, BookingState, StoredBooking, booking_digest
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.plan import RoomPlan
from sidecar.sync.plan import find_missing, plan_compare, plan_hinted
from tests.support.builders import HORIZON, after, make_booking

NOTHING = frozenset[BookingKey]()


def stored(*bookings: Booking) -> dict[BookingKey, StoredBooking]:
    """Return bookings as the store holds them."""
    return {
        booking.key: StoredBooking(
            key=booking.key,
            event_id=booking.event_id,
            master_id=booking.master_id,
            change_key=booking.change_key,
            start_at=booking.start_at,
            end_at=booking.end_at,
            takes_room=booking.state.takes_room,
            digest=booking_digest(booking),
        )
        for booking in bookings
    }


def news(plan: RoomPlan) -> list[tuple[str, ChangeKind | None, Cause]]:
    """Return what watchers are told, by key."""
    told = [(item.booking.key, item.kind, item.cause) for item in plan.upserts]
    told += [(item.key, item.kind, item.cause) for item in plan.removals]
    return sorted(item for item in told if item[1] is not None)


def test_unchanged_calendar_plans_nothing() -> None:
    """Planning again from the result of a plan plans nothing."""
    booking = make_booking()
    plan = plan_compare(stored(booking), [booking], HORIZON, confirmed_gone=NOTHING)
    assert plan == RoomPlan()


def test_invisible_touch_is_noted_without_news() -> None:
    """A new change key of an unchanged booking is kept for later, but nobody hears of it."""
    booking = make_booking()
    touched = replace(booking, change_key="ck2", updated_at=after(hours=1))
    plan = plan_compare(stored(booking), [touched], HORIZON, confirmed_gone=NOTHING)
    assert news(plan) == []
    assert [(touch.key, touch.change_key) for touch in plan.touches] == [("b1", "ck2")]


def test_new_and_moved_bookings_are_upserted() -> None:
    """What is new or different is told with its whole contents."""
    before = make_booking("b1")
    moved = replace(before, start_at=after(hours=3), end_at=after(hours=4))
    plan = plan_compare(stored(before), [moved, make_booking("b2")], HORIZON, confirmed_gone=NOTHING)
    assert news(plan) == [("b1", ChangeKind.UPSERTED, Cause.NONE), ("b2", ChangeKind.UPSERTED, Cause.NONE)]


def test_missing_booking_is_kept_until_it_is_confirmed_gone() -> None:
    """One read that does not show a booking proves nothing."""
    booking = make_booking()
    assert plan_compare(stored(booking), [], HORIZON, confirmed_gone=NOTHING) == RoomPlan()
    plan = plan_compare(stored(booking), [], HORIZON, confirmed_gone=frozenset({booking.key}))
    assert news(plan) == [("b1", ChangeKind.REMOVED, Cause.DELETED)]


@pytest.mark.parametrize(
    ("state", "cause"), [(BookingState.CANCELLED, Cause.CANCELLED), (BookingState.DECLINED, Cause.DECLINED)]
)
def test_booking_that_no_longer_takes_the_room_is_removed_with_its_cause(state: BookingState, cause: Cause) -> None:
    """Cancelled and declined bookings stay in the copy, but watchers hear that the room is free."""
    before = make_booking()
    plan = plan_compare(stored(before), [replace(before, state=state)], HORIZON, confirmed_gone=NOTHING)
    assert news(plan) == [("b1", ChangeKind.REMOVED, cause)]
    assert [item.booking.state for item in plan.upserts] == [state]


def test_cancelled_booking_that_was_never_shown_is_no_news() -> None:
    """What did not take the room before and does not now is nobody's news."""
    cancelled = make_booking(state=BookingState.CANCELLED)
    assert news(plan_compare({}, [cancelled], HORIZON, confirmed_gone=NOTHING)) == []
    edited = replace(cancelled, subject="Canceled: x")
    assert news(plan_compare(stored(cancelled), [edited], HORIZON, confirmed_gone=NOTHING)) == []


def test_booking_outside_the_horizon_is_not_taken_in() -> None:
    """Reads reach a day further than the horizon; what lies wholly outside is left out."""
    late = make_booking(start_at=HORIZON.end_at, end_at=HORIZON.end_at + timedelta(hours=1))
    early = make_booking("b2", start_at=HORIZON.start_at - timedelta(hours=1), end_at=HORIZON.start_at)
    assert plan_compare({}, [late, early], HORIZON, confirmed_gone=NOTHING) == RoomPlan()


def test_booking_that_left_the_horizon_leaves_the_scope() -> None:
    """The horizon moves on; what ended before it is no longer kept, and is not called deleted."""
    old = make_booking(start_at=HORIZON.start_at - timedelta(hours=2), end_at=HORIZON.start_at)
    plan = plan_compare(stored(old), [], HORIZON, confirmed_gone=NOTHING)
    assert news(plan) == [("b1", ChangeKind.LEFT_SCOPE, Cause.OUTSIDE_HORIZON)]


def test_booking_moved_out_of_the_horizon_leaves_the_scope() -> None:
    """A meeting moved to next year still exists; it only left what is kept."""
    before = make_booking()
    moved = replace(before, start_at=HORIZON.end_at, end_at=HORIZON.end_at + timedelta(hours=1))
    plan = plan_compare(stored(before), [moved], HORIZON, confirmed_gone=NOTHING)
    assert news(plan) == [("b1", ChangeKind.LEFT_SCOPE, Cause.OUTSIDE_HORIZON)]


@pytest.mark.parametrize("order", [1, -1])
def test_live_copy_wins_over_cancelled_one_of_the_same_meeting(order: int) -> None:
    """Exchange may keep a cancelled entry beside the live one; the room is taken, whichever comes first."""
    live = make_booking(event_id=EventId("live"))
    dead = make_booking(event_id=EventId("dead"), state=BookingState.CANCELLED)
    plan = plan_compare({}, [live, dead][::order], HORIZON, confirmed_gone=NOTHING)
    assert [item.booking.event_id for item in plan.upserts] == ["live"]


def test_hinted_event_that_is_gone_takes_its_booking_away() -> None:
    """A direct read that finds nothing is proof."""
    booking = make_booking()
    gone = frozenset({booking.event_id})
    plan = plan_hinted(stored(booking), [], HORIZON, gone_events=gone, read_series=frozenset())
    assert news(plan) == [("b1", ChangeKind.REMOVED, Cause.DELETED)]


def test_hinted_series_replaces_its_set_of_occurrences() -> None:
    """Nothing names a deleted occurrence: it is the one that the series no longer has."""
    series = EventId("m")
    first, second = (make_booking(f"o{n}", master_id=series, start_at=after(days=n)) for n in (1, 2))
    other = make_booking("b9")
    plan = plan_hinted(
        stored(first, second, other), [first], HORIZON, gone_events=frozenset(), read_series=frozenset({series})
    )
    assert news(plan) == [("o2", ChangeKind.REMOVED, Cause.DELETED)]


def test_single_meeting_that_became_a_series_gives_way_to_its_occurrences() -> None:
    """The event keeps its id as the series' master; the single booking it was is gone."""
    single = make_booking("b1", event_id=EventId("m"))
    born = make_booking("o1", event_id=EventId("m-1"), master_id=EventId("m"))
    plan = plan_hinted(stored(single), [born], HORIZON, gone_events=frozenset(), read_series=frozenset({EventId("m")}))
    assert news(plan) == [("b1", ChangeKind.REMOVED, Cause.DELETED), ("o1", ChangeKind.UPSERTED, Cause.NONE)]


def test_missing_bookings_are_those_inside_the_horizon_only() -> None:
    """A booking outside the horizon cannot be missing from a read of it."""
    inside, shown = make_booking("b1", start_at=after(days=2)), make_booking("b2")
    soon = make_booking("b3", start_at=after(days=1))
    outside = make_booking("b4", start_at=HORIZON.end_at)
    missing = find_missing(stored(inside, shown, soon, outside), [shown], HORIZON)
    assert [booking.key for booking in missing] == ["b3", "b1"]
