"""Sending a stream: its messages written one by one under a time limit, and what all watches share.

A message that cannot be handed to the transport within the limit means that the reader has stalled with megabytes in
flight; its stream is ended, and nobody else notices. Nothing is queued here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Self, TypeVar

import structlog
from google.protobuf.duration_pb2 import Duration

from sidecar.api.boundary import Metrics, Send
from sidecar.api.validate import Check
from sidecar.errors import WatcherTooSlow
from sidecar.feed.events import Closing
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as pb

_HEARTBEAT_LEAST_S, _HEARTBEAT_MOST_S = 5.0, 60.0
_WATCHER_ID_CHARS_MAX = 100
_STALLED_S = 1.0
"""A message that is not taken for longer finds megabytes in flight before it."""

E = TypeVar("E")


def read_heartbeat_s(check: Check, field: str, wanted: Duration | None, *, default_s: float) -> float:
    """Read the time between messages on a quiet stream; None: none is wished."""
    if wanted is None:
        return default_s
    return check.duration_s(field, wanted, least_s=_HEARTBEAT_LEAST_S, most_s=_HEARTBEAT_MOST_S)


def read_watcher_id(check: Check, field: str, watcher_id: str) -> None:
    """Read what the log calls a watcher by, and have it called so."""
    check.text(field, watcher_id, _WATCHER_ID_CHARS_MAX)
    if watcher_id:
        structlog.contextvars.bind_contextvars(watcher_id=watcher_id[:_WATCHER_ID_CHARS_MAX])


def closing_to_proto(event: Closing) -> pb.StreamClosing:
    """Write why a stream ends."""
    retry_after = Duration()
    retry_after.FromMilliseconds(int(event.retry_after_s * 1_000))
    reason = event.reason
    return pb.StreamClosing(reason=reason, retry_after=retry_after)  # type: ignore[arg-type]  # the API's numbers


class Streams:
    """The streams under way, and how they end; one for all watches of a process."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._patiences: set[_Patience] = set()

    @property
    def stalled_count(self) -> int:
        """Streams of which a message has not been taken for more than a second."""
        return sum(patience.is_stalled for patience in tuple(self._patiences))

    async def send_events(
        self,
        events: AsyncGenerator[E, None],
        *,
        encode: Callable[[E], bytes],
        send: Send,
        send_s: float,
        taken: Callable[[E], None] | None = None,
    ) -> None:
        """Send a watch's events until it ends.

        Args:
            taken: called with each event that the transport has taken.
        Raises:
            WatcherTooSlow: the reader does not take what is sent.
        """
        limit = asyncio.timeout(None)
        ended = "failed"
        try:
            async with limit, aclosing(events):
                with _Patience(limit, send_s) as patience:
                    self._patiences.add(patience)
                    try:
                        async for event in events:
                            frame = encode(event)
                            patience.begin()
                            await send(frame)
                            patience.end()
                            if taken is not None:
                                taken(event)
                            if isinstance(event, Closing):
                                ended = event.reason.name.lower()
                    finally:
                        self._patiences.discard(patience)
        except TimeoutError:
            if not limit.expired():
                raise
            ended = "too_slow"
            raise WatcherTooSlow(
                "the watcher took no message for too long; resume when it is ready", details={"send_s": f"{send_s:g}"}
            ) from None
        except asyncio.CancelledError:
            ended = "left"
            raise
        finally:
            self._metrics.count("watches_ended", 1, ended)


class _Patience:
    """Ends a stream when one message takes too long; one timer for all of them, for one each costs half of the sending."""

    def __init__(self, limit: asyncio.Timeout, send_s: float) -> None:
        self._limit = limit
        self._send_s = send_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._began_s: float | None = None

    @property
    def is_stalled(self) -> bool:
        """Whether a message has not been taken for more than `_STALLED_S`."""
        return self._began_s is not None and self._loop.time() - self._began_s > _STALLED_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def begin(self) -> None:
        """Note that a message is handed over now."""
        self._began_s = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._send_s, self._look)

    def end(self) -> None:
        """Note that it was taken."""
        self._began_s = None

    def _look(self) -> None:
        self._timer = None
        if self._began_s is None:
            return
        if self._loop.time() >= self._began_s + self._send_s:
            self._limit.reschedule(self._loop.time())
        else:  # an earlier message than the one that is under way set the timer
            self._timer = self._loop.call_at(self._began_s + self._send_s, self._look)
