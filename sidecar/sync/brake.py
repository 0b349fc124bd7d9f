"""The deletion brake: a read of a calendar that lacks many bookings is not believed the first time. Pure.

A mailbox that is being moved, or a server that answers for half of it, looks like a calendar from which people deleted a
lot. Freeing rooms that are taken does more harm than showing taken ones for some minutes longer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from sidecar.model.booking import StoredBooking
from sidecar.model.ids import BookingKey, EventId

_BELIEVED_COUNT = 5
_BELIEVED_SHARE = 0.2
"""As much may be missing without anybody having named it: a room loses a booking or two at once, seldom more."""
SECOND_READ = timedelta(minutes=5)
"""The second read comes this much later: by then a failover at Exchange is over, and an answer is not from the same cache."""
_INDEPENDENT_AFTER = timedelta(minutes=2)
"""A full read that comes sooner, for another reason, is not the second opinion."""


def agreed(
    missing: Collection[StoredBooking], held: Mapping[BookingKey, datetime], *, began_at: datetime
) -> frozenset[BookingKey]:
    """Return the bookings that an earlier, independent read did not show either: they are gone.

    Args:
        held: bookings that are held back, with the beginning of the read that first lacked each.
        began_at: when this read began.
    """
    latest_at = began_at - _INDEPENDENT_AFTER
    return frozenset(item.key for item in missing if item.key in held and held[item.key] <= latest_at)


def choose_held(
    missing: Collection[StoredBooking],
    stored: Mapping[BookingKey, StoredBooking],
    *,
    named: Collection[EventId],
    now: datetime,
) -> frozenset[BookingKey]:
    """Choose the bookings that are kept until a second read agrees: none, or all that this read alone speaks against.

    Args:
        missing: bookings that the read did not show, and no earlier one.
        stored: all of the room's bookings.
        named: events of which a notification or a delta round said that something changed; their absence is no surprise.
    """
    suspects = [item for item in missing if item.event_id not in named and item.master_id not in named]
    losses_count = sum(_is_to_come(item, now) for item in suspects)
    held_count = sum(_is_to_come(item, now) for item in stored.values())
    if losses_count <= max(_BELIEVED_COUNT, _BELIEVED_SHARE * held_count):
        return frozenset()
    return frozenset(item.key for item in suspects)


def _is_to_come(booking: StoredBooking, now: datetime) -> bool:
    return booking.takes_room and booking.end_at > now
