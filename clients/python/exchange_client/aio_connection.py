"""The async client's connection: deadlines, bearer token, errors, and the watches that end with it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakSet

import grpc
import grpc.aio

from exchange_client import channel
from exchange_client.aio_watch import StreamCall, Watch, cancelled_by_caller
from exchange_client.channel import BearerToken, ChannelOptions, Tls
from exchange_client.clock import Clock, SystemClock
from exchange_client.errors import ExchangeError, Unavailable, from_rpc
from exchange_client.tokens import TokenStore
from exchange_client.watching import WATCHDOG_HEARTBEATS, Backoff, M, OnRetry, WatchSession, closed_error
from exchange_client.writing import Repeats

Request = TypeVar("Request")
Response = TypeVar("Response")


class AioConnection:
    """What `ExchangeClient` is besides its calls.

    Attributes:
        timeout_s: deadline of a call in seconds, unless told otherwise; may be set at any time.
    """

    def __init__(
        self,
        connection: grpc.aio.Channel,
        *,
        token: BearerToken = None,
        timeout_s: float = channel.DEFAULT_TIMEOUT_S,
        backoff: Backoff | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Take over a channel; see `connect` for the usual way. `clock` and `rng` are for tests."""
        self.timeout_s = timeout_s
        self._channel = connection
        self._token = token
        self._backoff = backoff or Backoff()
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._closed = False
        self._live_watches: WeakSet[Watch[Any]] = WeakSet()  # Any: of either kind

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
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> Self:
        """Make a client; to be called where an event loop runs. Returns at once: the connection is made when needed.

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
            grpc.aio.insecure_channel(target, options=merged)
            if tls is None
            else grpc.aio.secure_channel(target, tls.credentials(), options=merged)
        )
        return cls(connection, token=token, timeout_s=timeout_s, backoff=backoff, clock=clock, rng=rng)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Calls and watches under way end with ClientClosed."""
        self._closed = True
        for watch in list(self._live_watches):
            watch.stop(closed_error())
        await self._channel.close()

    async def wait_ready(self, timeout_s: float | None = None) -> None:
        """Wait until there is a connection; Unavailable when there is none in time."""
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            async with self._clock.timeout(limit_s):
                await self._channel.channel_ready()
        except TimeoutError:
            raise Unavailable(f"no connection within {limit_s:g} s", "UNAVAILABLE") from None

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return channel.call_metadata(self._token)

    async def _read(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout_s: float | None,
        *,
        wait_for_ready: bool = True,
    ) -> Response:
        if self._closed:
            raise closed_error()
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            return await method(request, timeout=limit_s, metadata=self._metadata(), wait_for_ready=wait_for_ready)
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        except asyncio.CancelledError:
            if cancelled_by_caller():
                raise
            raise self._cancelled() from None

    def _cancelled(self) -> ExchangeError:
        return closed_error() if self._closed else Unavailable("the call was cancelled", "CANCELLED")

    async def _write(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout_s: float | None,
    ) -> Response:
        return await self._read(method, request, timeout_s, wait_for_ready=False)

    async def _settle(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
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
                return await self._write(method, request, repeats.left_s(self._clock.monotonic()))
            except ExchangeError as error:
                pause_s = repeats.pause_s(error, self._clock.monotonic())
            await self._sleep(pause_s)

    async def _sleep(self, duration_s: float) -> None:
        try:
            async with self._clock.timeout(duration_s):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return

    def _watch(
        self,
        open_call: Callable[[str], StreamCall[M]],
        *,
        name: str,
        resume_token: str,
        store: TokenStore | None,
        heartbeat_s: float,
        on_retry: OnRetry | None,
    ) -> Watch[M]:
        if self._closed:
            raise closed_error()
        watch: Watch[M] = Watch(
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
