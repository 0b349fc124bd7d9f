"""The sync client's connection: deadlines, bearer token, errors, and the watches that end with it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakSet

import grpc

from exchange_client import channel
from exchange_client.channel import BearerToken, ChannelOptions, Tls
from exchange_client.clock import SyncClock, SystemClock
from exchange_client.errors import ExchangeError, Unavailable, from_rpc
from exchange_client.sync_watch import SyncStreamCall, SyncWatch
from exchange_client.tokens import TokenStore
from exchange_client.watching import WATCHDOG_HEARTBEATS, Backoff, M, OnRetry, WatchSession, closed_error
from exchange_client.writing import Repeats

Request = TypeVar("Request")
Response = TypeVar("Response")


class SyncConnection:
    """What `SyncExchangeClient` is besides its calls.

    Attributes:
        timeout_s: deadline of a call in seconds, unless told otherwise; may be set at any time.
    """

    def __init__(
        self,
        connection: grpc.Channel,
        *,
        token: BearerToken = None,
        timeout_s: float = channel.DEFAULT_TIMEOUT_S,
        backoff: Backoff | None = None,
        clock: SyncClock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Take over a channel; see `connect` for the usual way. `clock` and `rng` are for tests."""
        self.timeout_s = timeout_s
        self._channel = connection
        self._token = token
        self._backoff = backoff or Backoff()
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._closed = threading.Event()
        self._live_watches: WeakSet[SyncWatch[Any]] = WeakSet()  # Any: of either kind

    @classmethod
    def connect(
        cls,
        target: str,
        *,
        tls: Tls | None = None,
        token: BearerToken = None,
        timeout_s: float = channel.DEFAULT_TIMEOUT_S,
        options: ChannelOptions = (),
        backoff: Backoff | None = None,
        clock: SyncClock | None = None,
        rng: random.Random | None = None,
    ) -> Self:
        """Make a client. Returns at once: the connection is made when needed.

        Args:
            target: `unix:///path/of.sock` or `host:port`.
            tls: what to secure the connection with; None: plain, for a socket or a trusted network.
            token: bearer token for each call, or a function that gives the current one.
            timeout_s: default deadline of a call.
            options: channel arguments of gRPC that add to the defaults or replace them.
            backoff: pauses between the attempts of a watch.
            clock: for tests.
            rng: for tests.
        Raises:
            ValueError: the target has another form.
        """
        target, merged = channel.checked_target(target), channel.channel_options(tls, options)
        connection = (
            grpc.insecure_channel(target, options=merged)
            if tls is None
            else grpc.secure_channel(target, tls.credentials(), options=merged)
        )
        return cls(connection, token=token, timeout_s=timeout_s, backoff=backoff, clock=clock, rng=rng)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Calls and watches under way end with ClientClosed."""
        self._closed.set()
        for watch in list(self._live_watches):
            watch.stop(closed_error())
        self._channel.close()

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Wait until there is a connection; Unavailable when there is none in time."""
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout=limit_s)
        except grpc.FutureTimeoutError:
            ready.cancel()
            raise Unavailable(f"no connection within {limit_s:g} s", "UNAVAILABLE") from None

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return channel.call_metadata(self._token)

    def _read(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout_s: float | None,
        *,
        wait_for_ready: bool = True,
    ) -> Response:
        if self._closed.is_set():
            raise closed_error()
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            return method(request, timeout=limit_s, metadata=self._metadata(), wait_for_ready=wait_for_ready)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def _error(self, error: grpc.RpcError) -> ExchangeError:
        return closed_error() if self._closed.is_set() else from_rpc(error)

    def _write(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout_s: float | None,
    ) -> Response:
        return self._read(method, request, timeout_s, wait_for_ready=False)

    def _settle(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        request_id: str,
        limit_s: float,
    ) -> Response:
        """Send a write until it is answered or the time is over; see `Repeats`."""
        repeats = Repeats(
            request_id, limit_s=limit_s, now_s=self._clock.monotonic(), backoff=self._backoff, rng=self._rng
        )
        while True:
            try:
                return self._write(method, request, repeats.left_s(self._clock.monotonic()))
            except ExchangeError as error:
                pause_s = repeats.pause_s(error, self._clock.monotonic())
            self._clock.wait(self._closed, pause_s)

    def _watch(
        self,
        open_call: Callable[[str], SyncStreamCall[M]],
        *,
        name: str,
        resume_token: str,
        store: TokenStore | None,
        heartbeat_s: float,
        on_retry: OnRetry | None,
    ) -> SyncWatch[M]:
        if self._closed.is_set():
            raise closed_error()
        watch: SyncWatch[M] = SyncWatch(
            session=WatchSession(scope=name, rng=self._rng, backoff=self._backoff, on_retry=on_retry),
            open_call=open_call,
            clock=self._clock,
            watchdog_s=heartbeat_s * WATCHDOG_HEARTBEATS,
            store=store,
            name=name,
            resume_token=resume_token,
        )
        self._live_watches.add(watch)
        return watch
