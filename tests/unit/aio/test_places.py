"""Places of which none may have more than half."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from sidecar.aio.places import Full, Places


def take(places: Places, who: str, count: int) -> ExitStack:
    """Take places until the result is closed."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(places.taken(who))
        return stack.pop_all()


def test_nobody_gets_more_than_half() -> None:
    places = Places(4)
    with take(places, "a", 2):
        with pytest.raises(Full), places.taken("a"):
            pass
        with take(places, "b", 2):
            pass


def test_no_more_are_given_than_there_are() -> None:
    places = Places(4)
    with take(places, "a", 2), take(places, "b", 2), pytest.raises(Full), places.taken("c"):
        pass


def test_place_that_was_left_can_be_taken_and_nobody_is_remembered() -> None:
    places = Places(2)
    for who in ("a", "b", "a"):
        take(places, who, 1).close()
    assert not places._taken
