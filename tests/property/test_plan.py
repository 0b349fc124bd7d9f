"""Plans for any calendar: applying one makes the copy equal, planning again plans nothing, watchers hear only news."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.booking import Booking, BookingState, StoredBooking
from sidecar.model.change import ChangeKind
from sidecar.model.ids import BookingKey
from sidecar.model.plan import RoomPlan
from sidecar.sync.plan import plan_compare
from tests.support.builders import HORIZON, after, make_booking
from tests.unit.sync.test_plan import stored

_DAYS = st.integers(-3, 35)


@st.composite
def calendars(draw: st.DrawFn) -> dict[BookingKey, Booking]:
    """Draw a calendar of up to six meetings, some outside the horizon, some not taking the room."""
    keys = draw(st.sets(st.sampled_from(["b1", "b2", "b3", "b4", "b5", "b6"])))
    return {
        BookingKey(key): make_booking(
            key,
            start_at=after(days=draw(_DAYS)),
            minutes=draw(st.integers(0, 3000)),
            state=draw(st.sampled_from(BookingState)),
            subject=draw(st.sampled_from(["", "x"])),
            change_key=draw(st.sampled_from(["ck1", "ck2"])),
        )
        for key in sorted(keys)
    }


def applied(
    before: dict[BookingKey, Booking], plan: RoomPlan, fetched: dict[BookingKey, Booking]
) -> dict[BookingKey, Booking]:
    """Carry out a plan on a plain dict."""
    result = dict(before)
    for upsert in plan.upserts:
        result[upsert.booking.key] = upsert.booking
    for removal in plan.removals:
        del result[removal.key]
    for touch in plan.touches:
        result[touch.key] = fetched[touch.key]
    return result


def inside(calendar: dict[BookingKey, Booking]) -> dict[BookingKey, Booking]:
    """Return what a copy of the horizon holds."""
    return {key: item for key, item in calendar.items() if HORIZON.overlaps(item.start_at, item.end_at)}


@given(before=calendars(), fetched=calendars())
def test_applying_a_plan_makes_the_copy_equal_the_calendar(
    before: dict[BookingKey, Booking], fetched: dict[BookingKey, Booking]
) -> None:
    """With every missing booking confirmed gone, the copy holds exactly what the horizon holds."""
    copy = inside(before)
    plan = plan_compare(stored(*copy.values()), fetched.values(), HORIZON, confirmed_gone=frozenset(copy))
    result = applied(copy, plan, fetched)
    assert result == inside(fetched)
    again = plan_compare(stored(*result.values()), fetched.values(), HORIZON, confirmed_gone=frozenset(result))
    assert again == RoomPlan()


@given(before=calendars(), fetched=calendars())
def test_watchers_hear_of_exactly_what_takes_or_frees_the_room(
    before: dict[BookingKey, Booking], fetched: dict[BookingKey, Booking]
) -> None:
    """A mirror that only follows the told changes ends with the bookings that take the room."""
    copy = inside(before)
    plan = plan_compare(stored(*copy.values()), fetched.values(), HORIZON, confirmed_gone=frozenset(copy))
    mirror = {key for key, item in copy.items() if item.state.takes_room}
    for upsert in plan.upserts:
        if upsert.kind is ChangeKind.UPSERTED:
            mirror.add(upsert.booking.key)
        elif upsert.kind is ChangeKind.REMOVED:
            mirror.remove(upsert.booking.key)
    for removal in plan.removals:
        if removal.kind is not None:
            mirror.remove(removal.key)
    assert mirror == {key for key, item in inside(fetched).items() if item.state.takes_room}


@given(before=calendars(), fetched=calendars())
def test_nothing_disappears_unconfirmed(before: dict[BookingKey, Booking], fetched: dict[BookingKey, Booking]) -> None:
    """Without confirmation only what left the horizon is dropped."""
    copy: dict[BookingKey, StoredBooking] = stored(*inside(before).values())
    later = type(HORIZON)(HORIZON.start_at + timedelta(days=1), HORIZON.end_at + timedelta(days=1))
    plan = plan_compare(copy, fetched.values(), later, confirmed_gone=frozenset())
    for removal in plan.removals:
        row = copy[removal.key]
        moved_out = removal.key in fetched and not later.overlaps(
            fetched[removal.key].start_at, fetched[removal.key].end_at
        )
        assert moved_out or not later.overlaps(row.start_at, row.end_at)
