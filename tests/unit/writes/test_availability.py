"""Free spans: all that is free, nothing that is not, and time to spare around bookings."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.window import EPOCH, Window
from sidecar.writes.availability import Needs, free_spans

_MINUTES = 300


def _at(minute: int) -> datetime:
    return EPOCH + timedelta(minutes=minute)


def _free(busy: list[tuple[int, int]], *, needs: Needs = Needs()) -> list[tuple[int, int]]:  # noqa: B008  (frozen)
    spans = free_spans([(_at(start), _at(end)) for start, end in busy], Window(_at(0), _at(_MINUTES)), needs)
    return [
        (int((start_at - EPOCH) / timedelta(minutes=1)), int((end_at - EPOCH) / timedelta(minutes=1)))
        for start_at, end_at in spans
    ]


def test_empty_room_is_free_all_the_time() -> None:
    """Nothing is in the way."""
    assert _free([]) == [(0, _MINUTES)]


def test_bookings_that_touch_leave_nothing_between_them() -> None:
    """Half-open spans: one ends when the next begins."""
    assert _free([(60, 120), (120, 180)]) == [(0, 60), (180, _MINUTES)]


def test_short_gaps_are_not_told() -> None:
    """Who needs an hour is not shown half of one."""
    assert _free([(60, 120), (150, 240)], needs=Needs(least=timedelta(hours=1))) == [(0, 60), (240, _MINUTES)]


def test_buffers_shrink_what_is_free_on_the_side_of_the_booking() -> None:
    """The window's own ends need no time to spare."""
    needs = Needs(before=timedelta(minutes=10), after=timedelta(minutes=5))
    assert _free([(60, 120)], needs=needs) == [(0, 55), (130, _MINUTES)]


def test_booking_beyond_the_window_takes_what_is_inside() -> None:
    """It began before, or ends after."""
    assert _free([(-100, 30), (290, 900)]) == [(30, 290)]


def test_booking_without_length_is_in_nobodys_way() -> None:
    """A reminder in the calendar occupies no room."""
    assert _free([(100, 100)]) == [(0, _MINUTES)]


_span = st.tuples(st.integers(-50, _MINUTES + 50), st.integers(0, 120)).map(
    lambda drawn: (drawn[0], drawn[0] + drawn[1])
)


@given(
    busy=st.lists(_span, max_size=12),
    before=st.integers(0, 30),
    after=st.integers(0, 30),
    least=st.integers(0, 60),
)
def test_minute_is_free_exactly_when_no_booking_needs_it(
    busy: list[tuple[int, int]], before: int, after: int, least: int
) -> None:
    """Against the plain reckoning, minute by minute."""
    taken = {
        minute
        for start, end in busy
        if end > start
        for minute in range(start - after, end + before)
        if 0 <= minute < _MINUTES
    }
    runs: list[tuple[int, int]] = []
    for minute in range(_MINUTES):
        if minute in taken:
            continue
        if runs and runs[-1][1] == minute:
            runs[-1] = (runs[-1][0], minute + 1)
        else:
            runs.append((minute, minute + 1))
    minutes = (timedelta(minutes=count) for count in (least, before, after))
    needs = Needs(least=next(minutes), before=next(minutes), after=next(minutes))
    assert _free(busy, needs=needs) == [run for run in runs if run[1] - run[0] >= least]
