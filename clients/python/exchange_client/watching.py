"""What a resuming watch decides, without doing it: no socket, clock, task or thread in here.

`WatchSession` is the part that the async and the sync watch share. It knows which token to call with, how long to pause, which
failures end a watch and which do not, and when a consumer is done with a message. The shells `aio_watch` and `sync_watch`
make the calls, do the waiting and hand out what the session gives them.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from exchange_client import times
from exchange_client.errors import ClientClosed, DeadlineExceeded, ExchangeError, Unavailable
from exchange_client.messages import StreamClosing, WatchRoomResponse, WatchRoomsResponse, WatchTenantResponse

log = logging.getLogger("exchange_client")

M = TypeVar("M", bound=WatchRoomResponse | WatchRoomsResponse | WatchTenantResponse)
"""The messages of one kind of watch; those of rooms differ in name only, those of a tenant have no token."""

HEARTBEAT_S = 15.0
"""Seconds between messages on a quiet stream, unless asked for otherwise."""

WATCHDOG_HEARTBEATS = 3
"""A stream that was silent for this many heartbeats is given up: one may be late, three are not."""

RETRY_AFTER_MAX_S = 300.0
"""A server that asks for a longer pause than this is not believed: a watch must come back by itself."""

RETRYABLE_CODES = frozenset(
    {"UNAVAILABLE", "INTERNAL", "UNKNOWN", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED"}
)
"""What may pass by itself. Everything else would fail again in the same way, or needs a decision of the consumer."""

OnRetry = Callable[[ExchangeError, float], None]
"""Told of each failure that a watch gets over by itself, and of the seconds until it calls again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnected:
    """Stands in a watch before the first message of each new stream that goes on where an older one broke off.

    It is made by the client, never sent by the server. Nothing was lost, but messages since the last token come again, and a
    snapshot that had begun begins anew: whoever keeps marks of which bookings a snapshot has named throws them away here.
    `RoomMirror.apply` does.

    Attributes:
        attempts: calls it took, 1 or more.
        cause: the last failure; None when the server had closed the stream in good order.
    """

    attempts: int
    cause: ExchangeError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses between attempts: anywhere between nothing and a ceiling that doubles ("full jitter").

    Attributes:
        base_s: the first ceiling.
        cap_s: the last one.
    """

    base_s: float = 0.2
    cap_s: float = 30.0

    def delay_s(self, failures: int, rng: random.Random) -> float:
        """Give the pause after so many failures in a row, 0 being the first."""
        # 2 to the power of a large count would not fit a float; beyond 30 the cap holds anyway.
        return rng.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(failures, 30)))


class WatchSession(Generic[M]):
    """The state of one resuming watch, over all its streams.

    Attributes:
        token: what to call with next; empty: snapshot first.
        delay_s: how long to pause before the next call.
        stream_over: the server has said its last word on the stream; hang up.
        finished: nothing more comes once `pop` gives None.
    """

    def __init__(self, *, scope: str, rng: random.Random, backoff: Backoff, on_retry: OnRetry | None = None) -> None:
        self.token = ""
        self.delay_s = 0.0
        self.stream_over = False
        self.finished = False
        self._scope = scope
        self._rng = rng
        self._backoff = backoff
        self._on_retry = on_retry
        self._queue: deque[M | Reconnected] = deque()
        self._handed_out: M | Reconnected | None = None
        self._failures = 0  # in a row, since the last message that was not a farewell
        self._attempts = 0  # since the last message of any kind
        self._heard = False  # any message, on any stream so far
        self._broken = False  # since the last message a stream was lost
        self._cause: ExchangeError | None = None

    def take_over(self) -> str | None:
        """Note that the consumer is done with what it was given last; give the token to save, if that carried one."""
        item, self._handed_out = self._handed_out, None
        if item is None or isinstance(item, Reconnected | WatchTenantResponse) or not item.resume_token:
            return None
        self.token = item.resume_token
        return self.token

    def pop(self) -> M | Reconnected | None:
        """Give what the consumer gets next; None when something has to be received first."""
        self._handed_out = self._queue.popleft() if self._queue else None
        return self._handed_out

    def calling(self) -> None:
        """Note that a call is being made."""
        self._attempts += 1
        self.stream_over = False

    def received(self, message: M) -> None:
        """Take in a message; `stream_over` and `finished` then say whether more can come."""
        if self._broken and self._heard:
            self._queue.append(Reconnected(attempts=self._attempts, cause=self._cause))
        self._queue.append(message)
        self._heard, self._broken, self._cause, self._attempts = True, False, None, 0
        if message.HasField("closing"):
            self._close(message.closing)
        else:
            self._failures = 0

    def failed(self, error: ExchangeError) -> None:
        """Decide what a failed call or broken stream means: a pause, or the end.

        Raises:
            ExchangeError: `error` itself, when trying again is of no use.
        """
        # In the midst of a stream it is the token of its beginning that was taken back: today's may be another one.
        is_token_old = error.code == "UNAUTHENTICATED" and self._heard and self._attempts == 0
        if isinstance(error, ClientClosed) or (error.code not in RETRYABLE_CODES and not is_token_old):
            self.finished = True
            raise error
        self._lost(error, error.retry_after_s or 0.0)
        fields = (self._scope, error.code, error.reason, self._failures, self.delay_s)
        log.info("watch.retry scope=%s code=%s reason=%s failures_count=%d delay_s=%.2f", *fields)
        if self._on_retry is not None:
            self._on_retry(error, self.delay_s)

    def interrupted(self) -> None:
        """Note that the stream was lost because the consumer itself gave up waiting; the next call is made at once."""
        self._broken = True

    def _close(self, closing: StreamClosing) -> None:
        self.stream_over = True
        if closing.reason == StreamClosing.REASON_SCOPE_GONE:
            self.finished = True
            return
        # A farewell counts like a failure: a server that sends nothing else must not be called in a tight loop.
        self._lost(None, times.to_seconds(closing.retry_after))

    def _lost(self, cause: ExchangeError | None, retry_after_s: float) -> None:
        # The jitter comes on top of what the server asked for, or everybody it asked would be back in the same instant.
        pause_s = self._backoff.delay_s(self._failures, self._rng)
        self.delay_s = min(max(retry_after_s, 0.0), RETRY_AFTER_MAX_S) + pause_s
        self._failures += 1
        self._broken, self._cause = True, cause


def silent_for(seconds: float) -> ExchangeError:
    """Make the failure that the watchdog reports."""
    return DeadlineExceeded(f"no message for {seconds:g} s", "DEADLINE_EXCEEDED")


def ended_without_closing() -> ExchangeError:
    """Make the failure for a stream that ends as if all were well, but without a farewell."""
    return Unavailable("the stream ended without a closing message", "UNAVAILABLE")


def closed_error() -> ClientClosed:
    """Make the error of a call on a closed client."""
    return ClientClosed("the client is closed", "CANCELLED")
