"""Streams: how they end is counted, and who does not take what is sent is known at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator

import pytest

from sidecar.api.streaming import Streams
from sidecar.errors import ResumeTokenExpired, WatcherTooSlow
from sidecar.feed.events import Closing, ClosingReason

SEND_S = 60.0


class Ends:
    """Metrics that remember how streams ended."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    def count(self, name: str, amount: int, *values: str) -> None:
        """See `Metrics.count`."""
        assert name == "watches_ended"
        self.reasons[values[0]] += amount

    def measure(self, name: str, duration_s: float) -> None:
        """See `Metrics.measure`."""


async def events(*told: object) -> AsyncGenerator[object, None]:
    """Yield what is told, raise it if it is an error, then go on for ever unless it was the last word."""
    for event in told:
        if isinstance(event, Exception):
            raise event
        yield event
        if isinstance(event, Closing):
            return
    await asyncio.get_running_loop().create_future()


async def taken(_: bytes) -> None:
    """Take a message at once."""


async def never(_: bytes) -> None:
    """Take no message."""
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("reason", ClosingReason)
async def test_stream_that_closes_is_counted_by_why(reason: ClosingReason) -> None:
    ends = Ends()
    await Streams(ends).send_events(events("a", Closing(reason, 0.0, None)), encode=_word, send=taken, send_s=SEND_S)
    assert ends.reasons == {reason.name.lower(): 1}


async def test_stream_that_fails_is_counted() -> None:
    ends = Ends()
    with pytest.raises(ResumeTokenExpired):
        await Streams(ends).send_events(events(ResumeTokenExpired("gone")), encode=_word, send=taken, send_s=SEND_S)
    assert ends.reasons == {"failed": 1}


async def test_reader_that_leaves_is_counted_and_not_stalled_any_more() -> None:
    ends = Ends()
    streams = Streams(ends)
    sending = asyncio.create_task(streams.send_events(events("a"), encode=_word, send=never, send_s=SEND_S))
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.wait([sending])
    assert ends.reasons == {"left": 1}
    assert streams.stalled_count == 0


@pytest.mark.looptime
async def test_reader_that_takes_nothing_is_stalled_after_a_second_and_ended_after_its_time() -> None:
    ends = Ends()
    streams = Streams(ends)
    async with asyncio.TaskGroup() as group:
        quick = group.create_task(streams.send_events(events("a"), encode=_word, send=taken, send_s=SEND_S))
        slow = group.create_task(_expected(streams))
        await asyncio.sleep(0.9)
        assert streams.stalled_count == 0
        await asyncio.sleep(0.2)
        assert streams.stalled_count == 1
        await slow
        assert (ends.reasons, streams.stalled_count) == ({"too_slow": 1}, 0)
        quick.cancel()


async def _expected(streams: Streams) -> None:
    with pytest.raises(WatcherTooSlow):
        await streams.send_events(events("a"), encode=_word, send=never, send_s=SEND_S)


def _word(_: object) -> bytes:
    return b"word"
