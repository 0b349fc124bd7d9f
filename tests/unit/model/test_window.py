"""Spans of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.window import Window, from_micros, horizon_at, to_micros
from tests.support.builders import NOW

MINUTES = st.integers(-30, 30)
INSTANTS = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))


def at(minute: int) -> datetime:
    return NOW + timedelta(minutes=minute)


@given(MINUTES, st.integers(1, 20), MINUTES, st.integers(0, 20))
def test_overlap_is_sharing_a_minute(start: int, length: int, other: int, other_length: int) -> None:
    """Half-open on both sides; a span without length counts as its one instant."""
    window = Window(at(start), at(start + length))
    inside = set(range(start, start + length))
    taken = set(range(other, other + other_length)) if other_length else {other}
    assert window.overlaps(at(other), at(other + other_length)) == bool(inside & taken)


@given(MINUTES, st.integers(1, 20), MINUTES, st.integers(1, 20))
def test_overlap_is_mutual(start: int, length: int, other: int, other_length: int) -> None:
    """Two windows overlap or do not, whichever is asked."""
    one, two = Window(at(start), at(start + length)), Window(at(other), at(other + other_length))
    assert one.overlaps(two.start_at, two.end_at) == two.overlaps(one.start_at, one.end_at)


@given(MINUTES, st.integers(2, 20), st.integers(1, 19), MINUTES, st.integers(0, 20))
def test_span_overlaps_a_window_or_its_halves(start: int, length: int, cut: int, other: int, other_length: int) -> None:
    """Cutting a window in two loses nothing between the halves."""
    cut = min(cut, length - 1)
    whole = Window(at(start), at(start + length))
    halves = (Window(at(start), at(start + cut)), Window(at(start + cut), at(start + length)))
    span = (at(other), at(other + other_length))
    assert whole.overlaps(*span) == any(half.overlaps(*span) for half in halves)


@pytest.mark.parametrize("minutes", [0, -1])
def test_window_without_length_cannot_be_written_down(minutes: int) -> None:
    """A window ends after it starts."""
    with pytest.raises(AssertionError):
        Window(NOW, at(minutes))


@given(INSTANTS, st.integers(0, 60), st.integers(0, 800))
def test_horizon_is_whole_days_around_now(now: datetime, past_days: int, future_days: int) -> None:
    """It holds now, moves once a day, and is as long as asked plus today."""
    horizon = horizon_at(now, past_days=past_days, future_days=future_days)
    assert horizon.overlaps(now, now)
    assert horizon.end_at - horizon.start_at == timedelta(days=past_days + future_days + 1)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for same_day in (midnight, midnight + timedelta(days=1, microseconds=-1)):
        assert horizon_at(same_day, past_days=past_days, future_days=future_days) == horizon
    tomorrow = horizon_at(midnight + timedelta(days=1), past_days=past_days, future_days=future_days)
    assert tomorrow == Window(horizon.start_at + timedelta(days=1), horizon.end_at + timedelta(days=1))


@given(INSTANTS, INSTANTS)
def test_instants_survive_the_store_and_keep_their_order(one: datetime, two: datetime) -> None:
    """To the microsecond, before 1970 as after."""
    assert from_micros(to_micros(one)) == one
    assert (to_micros(one) < to_micros(two)) == (one < two)
