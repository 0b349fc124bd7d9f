"""When rooms are free, from what occupies them, and of which rooms that cannot be told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sidecar.errors import SidecarError
from sidecar.model.ids import RoomId
from sidecar.model.problem import Problem
from sidecar.model.room import FreshnessLimits, Room, SyncState, sync_state
from sidecar.model.window import Window
from sidecar.sync.problems import problem_named, problem_of

Span = tuple[datetime, datetime]

_VOUCHED = frozenset({SyncState.LIVE, SyncState.POLLING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a caller looks for.

    Attributes:
        least: free spans that are shorter are not told; never negative.
        before: kept free between a booking and what would follow it: time to leave the room.
        after: kept free between what would be booked and the booking that follows.
        seats: rooms with fewer are not told of; 0: any.
    """

    least: timedelta = timedelta()
    before: timedelta = timedelta()
    after: timedelta = timedelta()
    seats: int = 0

    def around(self, window: Window) -> Window:
        """Return the window in which a booking may stand in the way of one inside `window`."""
        return Window(window.start_at - self.before, window.end_at + self.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAvailability:
    """When a room is free, soonest first.

    Attributes:
        room: None: no room has this id.
        problem: why nothing is told, or, with free spans, why only a part of the window.
    """

    room_id: RoomId
    room: Room | None
    free: Sequence[Span] = ()
    problem: Problem | None = None


def unmapped(room_id: RoomId, *, now: datetime) -> RoomAvailability:
    """Tell of an id that no room has."""
    return RoomAvailability(room_id=room_id, room=None, problem=problem_named("ROOM_NOT_FOUND", {}, now=now))


def is_too_small(room: Room, needs: Needs) -> bool:
    """Tell whether a room is known to have too few seats."""
    return 0 < room.capacity < needs.seats


def _without_seats(room: Room, needs: Needs, *, now: datetime) -> Problem | None:
    """Tell that nobody knows whether a room has the seats that are needed; None when it is known, or none are."""
    return problem_named("CAPACITY_UNKNOWN", {}, now=now) if needs.seats and not room.capacity else None


def from_copy(
    room: Room, busy: Iterable[Span], window: Window, needs: Needs, *, limits: FreshnessLimits, now: datetime
) -> RoomAvailability:
    """Tell when a room is free, from the copy of its calendar, as far as the copy can be vouched for.

    Args:
        busy: what the copy holds of `needs.around(window)`.
    """
    problem = _without_seats(room, needs, now=now) or _doubt(room, limits=limits, now=now)
    if problem is not None:
        return RoomAvailability(room_id=room.room_id, room=room, problem=problem)
    assert room.horizon is not None, "a copy that is vouched for was read as a whole"
    start_at = max(window.start_at, room.horizon.start_at + needs.before)
    end_at = min(window.end_at, room.horizon.end_at - needs.after)
    if (start_at, end_at) != (window.start_at, window.end_at):
        known = {"horizon_start_time": _text(room.horizon.start_at), "horizon_end_time": _text(room.horizon.end_at)}
        problem = problem_named("OUTSIDE_HORIZON", known, now=now)
    free = free_spans(busy, Window(start_at, end_at), needs) if start_at < end_at else ()
    return RoomAvailability(room_id=room.room_id, room=room, free=free, problem=problem)


def from_exchange(
    room: Room, told: Iterable[Span] | SidecarError, window: Window, needs: Needs, *, now: datetime
) -> RoomAvailability:
    """Tell when a room is free, from what Exchange said of it just now."""
    problem = _without_seats(room, needs, now=now)
    if problem is None and isinstance(told, SidecarError):
        problem = problem_of(told, now=now, next_check_at=None)
    if problem is not None or isinstance(told, SidecarError):
        return RoomAvailability(room_id=room.room_id, room=room, problem=problem)
    return RoomAvailability(room_id=room.room_id, room=room, free=free_spans(told, window, needs))


def _doubt(room: Room, *, limits: FreshnessLimits, now: datetime) -> Problem | None:
    """Tell why nothing is to be concluded from the copy of a room; None when it is vouched for."""
    state = sync_state(room, now=now, limits=limits)
    if state in _VOUCHED:
        return None
    if state is SyncState.INITIALIZING:
        return room.problem or room.tenant_problem or problem_named("ROOM_IMPORTING", {}, now=now)
    if state is SyncState.STALE:
        return room.tenant_problem or room.problem or problem_named("ROOM_STALE", {}, now=now)
    return room.problems[0]  # whatever blocks or rests is told, the widest cause first


def free_spans(busy: Iterable[Span], window: Window, needs: Needs) -> list[Span]:
    """Return the spans of a window in which a room is free, soonest first; none of them touch, and none is empty.

    A span may be used from end to end: the time that has to stay free around bookings is outside of it already. Starts and
    ends and no windows, because a search makes thousands of them, and most of its time would go into that.

    Args:
        busy: starts and ends, in any order; they may overlap and reach beyond the window. What has no length is in nobody's
            way.
    """
    free: list[Span] = []
    free_from, window_end, before, after, least = window.start_at, window.end_at, needs.before, needs.after, needs.least
    for start_at, end_at in sorted(busy):
        if end_at <= start_at:
            continue
        until = start_at - after
        if until > free_from:
            until = min(until, window_end)
            if until - free_from >= least:
                free.append((free_from, until))
        end_at += before
        if end_at > free_from:
            free_from = end_at
            if free_from >= window_end:
                return free
    if window_end - free_from >= least:
        free.append((free_from, window_end))
    return free


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
