"""A process goes on saying where it is called: otherwise its address would count as dead."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.store.webhook_urls import ALIVE
from sidecar.sync.webhook_address import WebhookAddress
from tests.support.stores import ManualClock


class Board:
    """Where addresses are announced; `trouble` meets the announcements of these numbers."""

    def __init__(self, clock: ManualClock, *, trouble: tuple[int, ...] = ()) -> None:
        self.clock = clock
        self.trouble = trouble
        self.told: list[tuple[float, str | None, bool]] = []

    async def announce(self, url: str | None, *, is_start: bool = False, is_alone: bool = False) -> str:
        """See `WebhookUrls.announce`."""
        self.told.append((self.clock.monotonic(), url, is_start))
        if len(self.told) in self.trouble:
            raise StoreUnavailable("away")
        if len(self.told) == 8:
            raise asyncio.CancelledError
        return "https://new.example.com"


async def test_address_is_announced_more_often_than_it_takes_to_count_as_dead() -> None:
    """Also when two announcements in a row fail."""
    clock = ManualClock()
    board = Board(clock, trouble=(4, 5))
    address = WebhookAddress(urls=board, url=lambda: "https://old.example.com", is_alone=False, clock=clock)
    await address.begin()
    with pytest.raises(asyncio.CancelledError):
        await address.run()
    assert [(url, is_start) for _, url, is_start in board.told] == [
        ("https://old.example.com", number == 0) for number in range(8)
    ]
    heard = [at_s for number, (at_s, _, _) in enumerate(board.told, 1) if number not in board.trouble]
    assert max(later - sooner for sooner, later in itertools.pairwise(heard)) <= ALIVE.total_seconds()


async def test_address_that_is_set_anew_is_announced_at_once_and_also_by_a_process_alone() -> None:
    """A word of the path is replaced in its file; who is alone says nothing twice."""
    clock = ManualClock()
    board = Board(clock, trouble=(2,))

    def url() -> str:
        if clock.monotonic() > 100.0:
            raise asyncio.CancelledError
        return "former" if clock.monotonic() < 50.0 else "new"

    address = WebhookAddress(urls=board, url=url, is_alone=True, clock=clock)
    await address.begin()
    with pytest.raises(asyncio.CancelledError):
        await address.run()
    assert [(at_s, told) for at_s, told, _ in board.told] == [(0.0, "former"), (50.0, "new"), (55.0, "new")]


async def test_process_that_cannot_announce_itself_does_not_start() -> None:
    """It would work towards an address that it does not know."""
    clock = ManualClock()
    address = WebhookAddress(urls=Board(clock, trouble=(1,)), url=lambda: None, is_alone=False, clock=clock)
    with pytest.raises(StoreUnavailable):
        await address.begin()
