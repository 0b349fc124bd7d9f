"""When a write is sent again, for how long, and what is said at the end."""

from __future__ import annotations

import random

import pytest
from exchange_client import (
    Backoff,
    DeadlineExceeded,
    ExchangeError,
    LimitReached,
    NotReady,
    OutcomeUnknown,
    Unavailable,
)
from exchange_client.writing import Repeats

LOST = Unavailable("no connection", "UNAVAILABLE")
UNKNOWN = OutcomeUnknown("not known", "UNAVAILABLE", "OUTCOME_UNKNOWN", {}, 1.0)
NOT_DONE = Unavailable("Exchange is away", "UNAVAILABLE", "EXCHANGE_UNAVAILABLE")
TAKEN = NotReady("taken", "FAILED_PRECONDITION", "ROOM_CONFLICT")


def repeats(limit_s: float = 10.0) -> Repeats:
    return Repeats("r-1", limit_s=limit_s, now_s=100.0, backoff=Backoff(base_s=0.5), rng=random.Random(7))


@pytest.mark.parametrize("error", [LOST, UNKNOWN, NOT_DONE, LimitReached("full", "RESOURCE_EXHAUSTED", "CALL_LIMIT")])
def test_write_that_may_yet_succeed_is_sent_again(error: ExchangeError) -> None:
    """After a pause that is at least what the service asks for."""
    pause_s = repeats().pause_s(error, 101.0)
    assert (error.retry_after_s or 0.0) <= pause_s <= (error.retry_after_s or 0.0) + 0.5


def test_refusal_is_told_at_once() -> None:
    """Also after doubt: it is an answer."""
    write = repeats()
    write.pause_s(UNKNOWN, 101.0)
    with pytest.raises(NotReady) as caught:
        write.pause_s(TAKEN, 102.0)
    assert caught.value is TAKEN


def test_nothing_is_sent_once_the_time_is_over() -> None:
    """The last error tells why, where nothing was done."""
    with pytest.raises(Unavailable) as caught:
        repeats().pause_s(NOT_DONE, 110.0)
    assert caught.value is NOT_DONE


@pytest.mark.parametrize("doubt", [UNKNOWN, LOST, DeadlineExceeded("late", "DEADLINE_EXCEEDED")])
def test_doubt_at_the_end_is_told_with_the_id_to_ask_by(doubt: ExchangeError) -> None:
    """Whoever asks again under that id learns what came of it."""
    with pytest.raises(OutcomeUnknown) as caught:
        repeats().pause_s(doubt, 110.0)
    assert caught.value.metadata["request_id"] == "r-1"
    assert caught.value.__cause__ is doubt


def test_word_that_nothing_was_done_ends_the_doubt() -> None:
    """The service knows its write by the id."""
    write = repeats()
    write.pause_s(LOST, 101.0)
    with pytest.raises(Unavailable) as caught:
        write.pause_s(NOT_DONE, 110.0)
    assert caught.value is NOT_DONE


@pytest.mark.parametrize("reason", ["SERVER_DRAINING", "STORE_UNAVAILABLE"])
def test_word_of_a_service_that_did_not_look_leaves_the_doubt(reason: str) -> None:
    """It is about this try; the one before may have been done."""
    write = repeats()
    write.pause_s(LOST, 101.0)
    with pytest.raises(OutcomeUnknown):
        write.pause_s(Unavailable("not now", "UNAVAILABLE", reason), 110.0)


def test_time_left_is_the_deadline_of_the_next_try() -> None:
    write = repeats()
    assert (write.left_s(100.0), write.left_s(108.5), write.left_s(111.0)) == (10.0, 1.5, 0.0)
