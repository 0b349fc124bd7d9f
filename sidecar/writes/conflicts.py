"""Which bookings stand in each other's way, and which of two has to go. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter

from sidecar.errors import RoomConflict
from sidecar.model.booking import Booking
from sidecar.model.ids import EventId
from sidecar.model.window import Window

_TOLD_MAX = 3
"""Conflicts of a series that are named; the others are counted."""
_BY_TIME = attrgetter("start_at", "end_at")
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Conflict:
    """One of our windows, and the window of a booking that is in its way."""

    ours: Window
    theirs: Window


def find_conflicts(
    wanted: Sequence[Window], others: Iterable[Booking], *, not_these: Collection[EventId]
) -> list[Conflict]:
    """Return what stands in the way of windows, soonest first.

    Args:
        wanted: may overlap each other; in any order.
        others: what the room's calendar holds; what does not take the room is in nobody's way.
        not_these: our own events, as events and as the series that occurrences belong to.
    """
    return find_meetings(
        wanted,
        [
            Window(booking.start_at, booking.end_at)
            for booking in others
            if booking.state.takes_room
            and booking.end_at > booking.start_at
            and booking.event_id not in not_these
            and booking.master_id not in not_these
        ],
    )


def find_meetings(wanted: Iterable[Window], taken: Iterable[Window]) -> list[Conflict]:
    """Return which of some windows share time with which of others, soonest first; either may come in any order."""
    others = sorted(taken, key=_BY_TIME)
    found = []
    first = 0
    for window in sorted(wanted, key=_BY_TIME):
        # What is over before this window begins is over before all that follow: a year of both is gone through once.
        while first < len(others) and others[first].end_at <= window.start_at:
            first += 1
        for other in islice(others, first, None):
            if other.start_at >= window.end_at:
                break
            if other.end_at > window.start_at:
                found.append(Conflict(window, other))
    return found


def not_shown(copied: Iterable[Window], shown: Iterable[Booking], *, not_these: Collection[EventId]) -> list[Window]:
    """Return what of the windows that the copy knows a calendar did not show.

    Args:
        not_these: our own events and series, which show nobody else.
    """
    known = {
        (booking.start_at, booking.end_at)
        for booking in shown
        if booking.event_id not in not_these and booking.master_id not in not_these
    }
    return [window for window in copied if (window.start_at, window.end_at) not in known]


def was_first(other: Booking, *, event_id: EventId, created_at: datetime | None) -> bool:
    """Tell whether another booking was made before an event of ours.

    Two writers that meet ask this of each other, and exactly one hears yes: times that Exchange gave, and where they are
    equal the ids, put all events of a calendar into one order. A series was made when its first occurrence was.
    """
    theirs = (other.created_at or _NEVER, other.master_id or other.event_id)
    return theirs < (created_at or _NEVER, event_id)


def room_conflict(conflicts: Sequence[Conflict]) -> RoomConflict:
    """Tell what is in the way: of the first three when, and how many there are; never what or whose."""
    details = {"conflicts_count": str(len(conflicts))}
    for number, conflict in enumerate(conflicts[:_TOLD_MAX]):
        suffix = "" if number == 0 else f"_{number + 1}"
        details[f"start_time{suffix}"] = conflict.theirs.start_at.isoformat().replace("+00:00", "Z")
        details[f"end_time{suffix}"] = conflict.theirs.end_at.isoformat().replace("+00:00", "Z")
    return RoomConflict("the room is taken at that time", details=details)
