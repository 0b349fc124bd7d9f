"""The deletion brake: how much may be missing before a read is not believed, and what a second one has to be."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from sidecar.model.booking import StoredBooking
from sidecar.model.ids import BookingKey, EventId
from sidecar.sync.brake import SECOND_READ, agreed, choose_held
from tests.support.builders import NOW, after, make_booking
from tests.unit.sync.test_plan import stored

NOBODY = frozenset[EventId]()


def calendar(count: int) -> dict[BookingKey, StoredBooking]:
    """Return as many bookings to come."""
    return stored(*(make_booking(f"b{n}", start_at=after(hours=n)) for n in range(count)))


def missing(held: dict[BookingKey, StoredBooking], count: int) -> list[StoredBooking]:
    """Return the first ones."""
    return list(held.values())[:count]


@pytest.mark.parametrize(("there", "gone"), [(5, 5), (20, 5), (25, 5), (30, 6), (100, 20)])
def test_few_missing_bookings_are_believed(there: int, gone: int) -> None:
    """Five, or a fifth."""
    held = calendar(there)
    assert choose_held(missing(held, gone), held, named=NOBODY, now=NOW) == frozenset()


@pytest.mark.parametrize(("there", "gone"), [(6, 6), (20, 6), (30, 7), (100, 21)])
def test_many_missing_bookings_are_held(there: int, gone: int) -> None:
    """All of them: which one is wrong, nobody knows."""
    held = calendar(there)
    suspects = missing(held, gone)
    assert choose_held(suspects, held, named=NOBODY, now=NOW) == {item.key for item in suspects}


def test_bookings_that_somebody_named_are_no_surprise() -> None:
    """A notification, or delta, speaks against them, too: people do delete a lot at once."""
    held = calendar(20)
    named = frozenset(item.event_id for item in missing(held, 15))
    assert choose_held(missing(held, 20), held, named=named, now=NOW) == frozenset()


def test_series_that_somebody_named_is_no_surprise() -> None:
    """Its occurrences are named by its name."""
    series = EventId("m")
    held = stored(*(make_booking(f"o{n}", master_id=series, start_at=after(days=n)) for n in range(20)))
    assert choose_held(list(held.values()), held, named={series}, now=NOW) == frozenset()


def test_what_is_over_or_takes_no_room_does_not_count() -> None:
    """Nobody is hurt when the past is forgotten."""
    held = calendar(20)
    assert choose_held(missing(held, 20), held, named=NOBODY, now=after(days=9)) == frozenset()


@pytest.mark.parametrize(
    ("held_at", "is_agreed"),
    [(NOW - SECOND_READ, True), (NOW - timedelta(minutes=2), True), (NOW - timedelta(seconds=119), False)],
)
def test_second_read_agrees_only_when_it_is_independent(held_at: datetime, is_agreed: bool) -> None:
    """One that follows at once sees the same failover."""
    (item,) = calendar(1).values()
    assert agreed([item], {item.key: held_at}, began_at=NOW) == (frozenset({item.key}) if is_agreed else frozenset())


def test_booking_that_only_one_read_lacked_is_not_agreed_upon() -> None:
    """Two reads that lack different parts of a calendar agree about nothing."""
    first, second = calendar(2).values()
    assert agreed([second], {first.key: NOW - SECOND_READ}, began_at=NOW) == frozenset()
