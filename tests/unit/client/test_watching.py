"""What a watch decides, without a socket."""

from __future__ import annotations

import random

import pytest
from exchange_client.errors import AccessDenied, GapError, Unavailable
from exchange_client.messages import StreamClosing, WatchRoomResponse
from exchange_client.watching import RETRY_AFTER_MAX_S, Backoff, Reconnected, WatchSession

from tests.unit.client.fake_server import checkpoint, closing

DOWN = Unavailable("down", "UNAVAILABLE")


class Highest(random.Random):
    """Draws the largest pause there can be."""

    def uniform(self, a: float, b: float) -> float:
        return b


def session() -> WatchSession[WatchRoomResponse]:
    return WatchSession(scope="r1", rng=Highest(), backoff=Backoff(base_s=0.2, cap_s=30.0))


def drain(watch: WatchSession[WatchRoomResponse]) -> list[WatchRoomResponse | Reconnected]:
    items = []
    while (item := watch.pop()) is not None:
        items.append(item)
    return items


def test_pauses_double_up_to_the_cap_and_start_over_after_a_message() -> None:
    """Full jitter: the ceiling doubles; what is drawn below it is another matter."""
    watch, pauses = session(), []
    for _ in range(10):
        watch.calling()
        watch.failed(DOWN)
        pauses.append(watch.delay_s)
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0])
    watch.received(checkpoint("t1"))
    watch.failed(DOWN)
    assert watch.delay_s == pytest.approx(0.2)


def test_token_taken_back_in_the_midst_of_a_stream_is_tried_anew_once() -> None:
    """The client may hold another by now; a refusal of the new call is final."""
    watch, refused = session(), AccessDenied("no", "UNAUTHENTICATED")
    watch.calling()
    watch.received(checkpoint("t1"))
    watch.failed(refused)
    assert not watch.finished
    watch.calling()
    with pytest.raises(AccessDenied):
        watch.failed(refused)
    assert watch.finished


def test_pause_is_drawn_from_the_whole_range() -> None:
    draws = [Backoff().delay_s(4, random.Random(seed)) for seed in range(200)]
    assert min(draws) < 0.2
    assert max(draws) > 3.0
    assert max(draws) <= 3.2


def test_pause_survives_any_number_of_failures() -> None:
    assert Backoff().delay_s(100_000, Highest()) == 30.0


def test_server_that_only_says_farewell_is_not_called_in_a_tight_loop() -> None:
    watch, pauses = session(), []
    for _ in range(4):
        watch.calling()
        watch.received(closing(StreamClosing.REASON_MAX_AGE))
        pauses.append(watch.delay_s)
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6])


def test_wish_of_the_server_is_a_floor_and_has_a_limit() -> None:
    watch = session()
    watch.failed(Unavailable("later", "UNAVAILABLE", retry_after_s=7.0))
    assert watch.delay_s == pytest.approx(7.2)
    watch.failed(Unavailable("much later", "UNAVAILABLE", retry_after_s=1e9))
    assert watch.delay_s == pytest.approx(RETRY_AFTER_MAX_S + 0.4)


def test_marker_comes_before_the_first_message_of_a_later_stream_only() -> None:
    watch = session()
    watch.calling()
    watch.failed(DOWN)
    watch.calling()
    watch.received(checkpoint("t1"))
    watch.received(checkpoint("t2"))
    assert not [item for item in drain(watch) if isinstance(item, Reconnected)]
    watch.failed(DOWN)
    watch.calling()
    watch.failed(DOWN)
    watch.calling()
    watch.received(checkpoint("t3"))
    watch.received(checkpoint("t4"))
    assert [isinstance(item, Reconnected) for item in drain(watch)] == [True, False, False]


def test_token_is_taken_over_after_its_message_only() -> None:
    watch = session()
    watch.received(checkpoint("t1"))
    watch.received(WatchRoomResponse())
    assert watch.take_over() is None
    watch.pop()
    assert watch.token == ""
    assert watch.take_over() == "t1"
    watch.pop()
    assert watch.take_over() is None
    assert watch.token == "t1"


def test_error_that_cannot_pass_is_raised_and_finishes() -> None:
    watch = session()
    with pytest.raises(GapError):
        watch.failed(GapError("gone", "OUT_OF_RANGE"))
    assert watch.finished
