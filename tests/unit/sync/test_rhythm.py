"""When a room is looked at next."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from sidecar.model.ids import RoomUid
from sidecar.settings import SyncSettings
from sidecar.sync.rhythm import next_check_s, next_compare_at
from tests.support.builders import NOW, after, make_problem, make_room

SETTINGS = SyncSettings()
DAY_S = 86_400.0


def waits_s(*, is_pressed: bool = False, **facts: Any) -> tuple[float, float]:  # any field of a room
    """Return the shortest and the longest wait of many."""
    room, rng = make_room(**facts), Random(7)
    waits = [next_check_s(room, now=NOW, is_pressed=is_pressed, settings=SETTINGS, rng=rng) for _ in range(200)]
    return min(waits), max(waits)


POLLED: dict[str, Any] = {"is_subscribed": False}


@pytest.mark.parametrize(
    ("facts", "least_s", "most_s"),
    [
        pytest.param({}, 810, 990, id="announced"),
        pytest.param({"news_at": NOW}, 810, 990, id="announced, with news"),
        pytest.param({"subscribed_until_at": after(days=3)}, 810, 990, id="announced for long"),
        pytest.param({"subscribed_until_at": after(seconds=400)}, 400, 400, id="announced until soon"),
        pytest.param({"subscribed_until_at": after(seconds=-5)}, 1, 1, id="announced until now"),
        pytest.param({**POLLED, "news_at": NOW}, 27, 33, id="news just now"),
        pytest.param({**POLLED, "news_at": after(minutes=-4)}, 27, 33, id="news lately"),
        pytest.param({**POLLED, "news_at": after(minutes=-16)}, 108, 132, id="quiet for a while"),
        pytest.param({**POLLED, "news_at": after(hours=-9)}, 216, 264, id="quiet for long"),
        pytest.param(POLLED, 216, 264, id="nothing ever happened"),
        pytest.param({"subscription_problem": make_problem(), "news_at": NOW}, 27, 33, id="refused"),
        pytest.param({**POLLED, "news_at": NOW, "is_pressed": True}, 216, 264, id="Exchange wants less"),
    ],
)
def test_next_check_comes_in_its_time(facts: dict[str, Any], least_s: float, most_s: float) -> None:
    """Spread by a tenth; what is polled, well within what its state vouches for."""
    shortest_s, longest_s = waits_s(**facts)
    assert least_s <= shortest_s <= longest_s <= most_s


def test_full_reads_of_rooms_mapped_together_spread_over_the_day() -> None:
    """Two thousand rooms mapped in one minute are not read in one hour for ever."""
    rng = Random(3)
    hours = Counter(
        int((next_compare_at(RoomUid(f"r{n}"), now=NOW, interval_s=DAY_S, rng=rng) - NOW).total_seconds() // 3600)
        for n in range(2_400)
    )
    assert max(hours.values()) < 2_400 / 24 * 1.6
    assert len(hours) >= 24


def test_full_reads_of_a_room_come_once_in_the_interval() -> None:
    """Whatever else had it read in between."""
    rng, at = Random(5), NOW
    for _ in range(30):
        later = next_compare_at(RoomUid("r1"), now=at, interval_s=DAY_S, rng=rng)
        assert timedelta(hours=5) < later - at < timedelta(hours=31)
        at = later
    assert abs((at - NOW) / timedelta(days=1) - 30) < 1.1
