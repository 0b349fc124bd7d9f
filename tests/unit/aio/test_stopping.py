"""Signals that end a process: in good order, at once, and before the start is over."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest
import structlog

from sidecar.aio import stopping
from sidecar.aio.stopping import StartGivenUp, Stop

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Take down the exit codes with which the process would have ended."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


async def heard(number: signal.Signals) -> None:
    """Send a signal to this process, and let the loop hear it."""
    signal.raise_signal(number)
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", SIGNALS)
async def test_first_signal_asks_for_the_end(number: signal.Signals, exits: list[int]) -> None:
    stop = Stop()
    await heard(number)
    async with asyncio.timeout(5.0):
        await stop.wait()
    assert exits == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_second_signal_ends_the_process_at_once_and_says_so(
    number: signal.Signals, code: int, exits: list[int]
) -> None:
    Stop()
    await heard(signal.SIGTERM)
    with structlog.testing.capture_logs() as lines:
        await heard(number)
    assert exits == [code]
    assert [(line["event"], line["signal"]) for line in lines] == [("service.ended_at_once", number.name)]


async def start(stop: Stop, begun: Callable[[], Awaitable[object]]) -> None:
    """Start something, and send the signal while it goes on."""
    asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
    with stop.starting():
        await begun()


async def test_signal_during_the_start_gives_it_up_and_takes_apart_what_was_begun(exits: list[int]) -> None:
    ends: list[str] = []

    async def begun() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ends.append("taken apart")

    with pytest.raises(StartGivenUp):
        await start(Stop(), begun)
    assert ends == ["taken apart"]
    assert exits == []
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling(), "or what is awaited from now on would seem to be cancelled"


async def test_start_that_cannot_be_given_up_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_GIVE_UP_S", 0.01)
    left = asyncio.Event()
    codes: list[int] = []

    def note(code: int) -> None:
        codes.append(code)
        left.set()

    monkeypatch.setattr(os, "_exit", note)

    async def begun() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await left.wait()

    with pytest.raises(StartGivenUp):
        await start(Stop(), begun)
    assert codes == [0]


async def test_cancelled_start_that_nobody_asked_to_end_is_no_given_up_one() -> None:
    stop = Stop()

    async def begin() -> None:
        with stop.starting():
            await asyncio.Event().wait()

    starting = asyncio.ensure_future(begin())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


async def test_start_that_fails_tells_why_and_not_that_it_was_given_up() -> None:
    stop = Stop()
    with pytest.raises(OSError, match="no room"), stop.starting():
        raise OSError("no room")
