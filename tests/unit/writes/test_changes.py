"""What a change makes of a booking: the hours that it takes anew, and days of the room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.window import EPOCH, Window
from sidecar.writes.changes import Change, ChangeRefused, added_parts, check_whole_days, is_moved

_MINUTE = timedelta(minutes=1)
_windows = st.tuples(st.integers(0, 60), st.integers(1, 30)).map(
    lambda drawn: Window(EPOCH + drawn[0] * _MINUTE, EPOCH + (drawn[0] + drawn[1]) * _MINUTE)
)


def _minutes(window: Window) -> set[int]:
    first = int((window.start_at - EPOCH) / _MINUTE)
    return set(range(first, first + int((window.end_at - window.start_at) / _MINUTE)))


@given(after=_windows, before=_windows)
def test_moved_booking_takes_anew_what_it_had_not(after: Window, before: Window) -> None:
    """Minute by minute; what it had is nobody else's to be in the way of."""
    parts = [_minutes(part) for part in added_parts(after, before)]
    assert set().union(*parts) == _minutes(after) - _minutes(before)
    assert sum(map(len, parts)) == len(set().union(*parts))


def test_same_time_said_again_moves_nothing() -> None:
    """Nobody is looked for."""
    window = Window(EPOCH, EPOCH + _MINUTE)
    assert not is_moved(Change(window=window, is_all_day=False), window, is_all_day=False)
    assert is_moved(Change(is_all_day=True), window, is_all_day=False)
    assert is_moved(Change(window=Window(EPOCH, EPOCH + 2 * _MINUTE)), window, is_all_day=False)


@pytest.mark.parametrize(
    ("hour", "zone", "is_fine"), [(23, "Europe/Berlin", True), (0, "Europe/Berlin", False), (23, "UTC", False)]
)
def test_whole_days_are_days_of_the_room(hour: int, zone: str, is_fine: bool) -> None:
    """The room is in Berlin, where midnight is at 23 in winter."""
    start_at = datetime(2026, 11, 24, hour, tzinfo=UTC)
    window = Window(start_at, start_at + timedelta(days=1))
    if is_fine:
        check_whole_days(window, zone, is_all_day=True, room_zone="Europe/Berlin")
        return
    with pytest.raises(ChangeRefused):
        check_whole_days(window, zone, is_all_day=True, room_zone="Europe/Berlin")
    check_whole_days(window, zone, is_all_day=False, room_zone="Europe/Berlin")
