"""How a room is freed of a booking."""

from __future__ import annotations

from datetime import datetime

import pytest

from sidecar.writes.releasing import Release, choose_release
from tests.support.builders import NOW, after


@pytest.mark.parametrize(
    ("released_at", "expected"),
    [
        (after(minutes=-30), Release.REMOVE),
        (NOW, Release.REMOVE),
        (after(seconds=1), Release.SHORTEN),
        (after(minutes=58, seconds=59), Release.SHORTEN),
        (after(minutes=59, seconds=1), Release.NOTHING),
    ],
)
def test_rooms_own_booking_ends_now_or_never_begins(released_at: datetime, expected: Release) -> None:
    """Calendars know whole minutes: a booking cannot end before it begins, and need not end within its last minute."""
    chosen = choose_release(is_rooms_own=True, start_at=NOW, end_at=after(hours=1), released_at=released_at)
    assert chosen is expected


@pytest.mark.parametrize("released_at", [after(minutes=-30), after(minutes=30), after(minutes=59, seconds=30)])
def test_room_leaves_somebody_elses_meeting_at_any_time(released_at: datetime) -> None:
    """The meeting stays as it is: it is not the room's to change."""
    chosen = choose_release(is_rooms_own=False, start_at=NOW, end_at=after(hours=1), released_at=released_at)
    assert chosen is Release.DECLINE
