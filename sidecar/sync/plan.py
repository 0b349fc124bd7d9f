"""Decide what one read of Exchange changes in a room. Pure: values in, a plan out.

Every way of learning (a notified event, a whole calendar) ends in the same comparison; they differ only in which stored
bookings they may declare gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sidecar.model.booking import Booking, BookingState, StoredBooking, booking_digest
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.plan import Removal, RoomPlan, Touch, Upsert
from sidecar.model.window import Window

Stored = Mapping[BookingKey, StoredBooking]

_CAUSE_BY_STATE = {BookingState.CANCELLED: Cause.CANCELLED, BookingState.DECLINED: Cause.DECLINED}


def plan_compare(
    stored: Stored, fetched: Iterable[Booking], horizon: Window, *, confirmed_gone: frozenset[BookingKey]
) -> RoomPlan:
    """Decide what a read of the whole horizon changes.

    Applying the plan makes the stored bookings equal the calendar inside `horizon`; planning again from there plans
    nothing. What did not really change is left out, so that watchers hear only news.

    Args:
        stored: all of the room's bookings.
        fetched: what the calendar holds; may reach beyond the horizon.
        confirmed_gone: bookings missing from `fetched` that a second look did not find either. A missing booking that is
            not among them is kept: pages shift while people book, and one read alone proves nothing.
    """
    return _plan(stored, fetched, horizon, is_gone=lambda booking: booking.key in confirmed_gone)


def plan_hinted(
    stored: Stored,
    fetched: Iterable[Booking],
    horizon: Window,
    *,
    gone_events: frozenset[EventId],
    read_series: frozenset[EventId],
    broken_events: frozenset[EventId] = frozenset(),
) -> RoomPlan:
    """Decide what reading single events and series changes.

    Args:
        stored: the bookings that belong to these events and series, or have the keys of `fetched`.
        fetched: the events that exist, and all occurrences of `read_series` inside the horizon.
        gone_events: events, masters or occurrences that a direct read did not find.
        read_series: masters whose occurrences were read as a set: those not in it are gone.
        broken_events: events that exist but cannot be understood; whatever they are, they are not gone.
    """
    bookings = [booking for booking in fetched if not _is_dead_twin(booking, stored, gone_events)]
    singles = frozenset(booking.event_id for booking in bookings if booking.master_id is None)

    def is_gone(booking: StoredBooking) -> bool:
        if booking.event_id in broken_events:
            return False
        # An event that became a series keeps its id as the master's, and the other way round: what it was is gone.
        owners = {booking.event_id, booking.master_id}
        return bool(owners & (gone_events | read_series)) or booking.master_id in singles

    return _plan(stored, bookings, horizon, is_gone=is_gone)


def plan_gone(stored: Stored, cause: Cause) -> RoomPlan:
    """Decide what is different when stored bookings are gone; of those that took no room nobody is told."""
    return RoomPlan(removals=tuple(_removal(before, ChangeKind.REMOVED, cause) for before in stored.values()))


def _is_dead_twin(booking: Booking, stored: Stored, gone_events: frozenset[EventId]) -> bool:
    """Tell whether an entry is a cancelled copy of a meeting whose live copy is another event: it frees nothing."""
    before = stored.get(booking.key)
    if before is None or booking.state.takes_room or not before.takes_room:
        return False
    return before.event_id != booking.event_id and before.event_id not in gone_events


def find_missing(
    stored: Stored,
    fetched: Iterable[Booking],
    horizon: Window,
    *,
    broken_events: frozenset[EventId] = frozenset(),
) -> list[StoredBooking]:
    """Return stored bookings inside the horizon that a read of it did not show, soonest first.

    Args:
        broken_events: events that were shown but cannot be understood; their bookings are not missing.
    """
    shown = {booking.key for booking in fetched}
    missing = [
        booking
        for booking in stored.values()
        if booking.key not in shown
        and booking.event_id not in broken_events
        and horizon.overlaps(booking.start_at, booking.end_at)
    ]
    return sorted(missing, key=lambda booking: (booking.start_at, booking.key))


def _plan(
    stored: Stored, fetched: Iterable[Booking], horizon: Window, *, is_gone: Callable[[StoredBooking], bool]
) -> RoomPlan:
    upserts: list[Upsert] = []
    touches: list[Touch] = []
    removals: list[Removal] = []
    inside: dict[BookingKey, Booking] = {}
    outside: set[BookingKey] = set()
    for booking in fetched:
        if horizon.overlaps(booking.start_at, booking.end_at):
            inside[booking.key] = _pick(inside.get(booking.key), booking)
        else:
            outside.add(booking.key)
    for key, booking in inside.items():
        before = stored.get(key)
        digest = booking_digest(booking)
        if before is None or before.digest != digest:
            upserts.append(_upsert(booking, digest, took_room=before is not None and before.takes_room))
        elif (before.event_id, before.master_id, before.change_key) != (
            booking.event_id,
            booking.master_id,
            booking.change_key,
        ):
            touches.append(Touch(key, booking.event_id, booking.master_id, booking.change_key))
    for key, before in stored.items():
        if key in inside:
            continue
        if key in outside or not horizon.overlaps(before.start_at, before.end_at):
            removals.append(_removal(before, ChangeKind.LEFT_SCOPE, Cause.OUTSIDE_HORIZON))
        elif is_gone(before):
            removals.append(_removal(before, ChangeKind.REMOVED, Cause.DELETED))
    return RoomPlan(upserts=tuple(upserts), removals=tuple(removals), touches=tuple(touches))


def _pick(first: Booking | None, second: Booking) -> Booking:
    """Choose between two entries of one calendar for the same meeting: one that takes the room, then the newer one.

    Exchange keeps a cancelled copy beside the live one when a meeting is cancelled and sent again.
    """
    if first is None or (second.state.takes_room and not first.state.takes_room):
        return second
    if first.state.takes_room and not second.state.takes_room:
        return first
    return max(first, second, key=lambda booking: (str(booking.updated_at), booking.event_id))


def _upsert(booking: Booking, digest: bytes, *, took_room: bool) -> Upsert:
    if booking.state.takes_room:
        return Upsert(booking, digest, ChangeKind.UPSERTED, Cause.NONE)
    if took_room:
        return Upsert(booking, digest, ChangeKind.REMOVED, _CAUSE_BY_STATE.get(booking.state, Cause.CANCELLED))
    return Upsert(booking, digest, None, Cause.NONE)


def _removal(before: StoredBooking, kind: ChangeKind, cause: Cause) -> Removal:
    return Removal(before.key, kind, cause) if before.takes_room else Removal(before.key, None, Cause.NONE)
