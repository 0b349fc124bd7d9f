"""The async watch: makes the calls, waits and guards, as `WatchSession` decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, cast

import grpc
import grpc.aio

from exchange_client.clock import Clock
from exchange_client.errors import ExchangeError, Unavailable, from_rpc
from exchange_client.messages import WatchRoomRequest, WatchRoomsRequest, WatchTenantRequest
from exchange_client.tokens import TokenStore
from exchange_client.watching import M, Reconnected, WatchSession, ended_without_closing, silent_for

StreamCall = (
    grpc.aio.UnaryStreamCall[WatchRoomRequest, M]
    | grpc.aio.UnaryStreamCall[WatchRoomsRequest, M]
    | grpc.aio.UnaryStreamCall[WatchTenantRequest, M]
)


class Watch(Generic[M]):
    """An endless async iterator over the messages of a watch that reconnects and resumes by itself.

        async with client.watch_room(name) as watch:
            async for message in watch: ...

    It ends normally after a StreamClosing with REASON_SCOPE_GONE was handed out, or after `aclose`. It raises an
    ExchangeError that retrying cannot mend: InvalidRequest, NotFound, GapError, AccessDenied, Unsupported, ClientClosed.

    Coming back for the next message says that the one before is dealt with: only then its resume token is taken over and
    saved. After a crash, or when the stream breaks, messages since then come again.

    One task at a time may iterate. Cancelling it while it waits loses nothing, but costs the connection: the next
    iteration calls anew. Leaving the `async with`, `aclose` and garbage collection all end the call.
    """

    def __init__(
        self,
        *,
        session: WatchSession[M],
        open_call: Callable[[str], StreamCall[M]],
        clock: Clock,
        watchdog_s: float,
        store: TokenStore | None,
        name: str,
        resume_token: str,
    ) -> None:
        """Made by `ExchangeClient.watch_room` and `watch_rooms`; `open_call` makes the call that resumes at a token."""
        self._session = session
        self._open_call = open_call
        self._clock = clock
        self._watchdog_s = watchdog_s
        self._store = store
        self._name = name
        self._unsaved: str | None = None
        self._loaded = store is None
        self._stopped = asyncio.Event()
        self._stop_error: ExchangeError | None = None
        self._call: StreamCall[M] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        session.token = resume_token

    @property
    def resume_token(self) -> str:
        """The token of the last message that the consumer is done with; empty when there was none."""
        return self._session.token

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M | Reconnected:
        session = self._session
        await self._take_over()
        while True:
            if self._stopped.is_set():
                raise self._stop_error or StopAsyncIteration
            if (item := session.pop()) is not None:
                return item
            if session.finished:
                raise StopAsyncIteration
            if session.delay_s > 0:
                await self._pause()
            else:
                await self._advance()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # gRPC keeps the call alive in a cycle; whoever just breaks out of the loop must not leave a stream behind.
        if self._call is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._call.cancel)

    async def aclose(self) -> None:
        """End the call and the iteration, also one that another task is waiting in."""
        self.stop(None)

    def stop(self, error: ExchangeError | None) -> None:
        """End the call; the iteration raises `error`, or ends normally without one. The client's close uses it."""
        if not self._stopped.is_set():
            self._stop_error = error
            self._stopped.set()
        self._hang_up()

    async def _take_over(self) -> None:
        store = self._store
        if store is None:
            self._session.take_over()
            return
        if not self._loaded:
            # A token kept from an earlier run is newer than the one the caller starts a first run with.
            kept = await asyncio.to_thread(store.load, self._name)
            self._session.token = kept or self._session.token
            self._loaded = True
        self._unsaved = self._session.take_over() or self._unsaved
        if self._unsaved is not None:
            await asyncio.to_thread(store.save, self._name, self._unsaved)
            self._unsaved = None

    async def _pause(self) -> None:
        try:
            async with self._clock.timeout(self._session.delay_s):
                await self._stopped.wait()
        except TimeoutError:
            self._session.delay_s = 0.0

    async def _advance(self) -> None:
        try:
            self._session.received(await self._read())
        except ExchangeError as error:
            self._hang_up()
            if not self._stopped.is_set():
                self._session.failed(error)
        except BaseException:
            # The consumer was cancelled, and gRPC has killed the call with it. The next iteration starts a new one.
            self._hang_up()
            self._session.interrupted()
            raise
        if self._session.stream_over:
            self._hang_up()

    async def _read(self) -> M:
        if self._call is None:
            self._session.calling()
            self._loop = asyncio.get_running_loop()
            self._call = self._open_call(self._session.token)
        try:
            async with self._clock.timeout(self._watchdog_s):
                message = await self._call.read()
        except TimeoutError:
            raise silent_for(self._watchdog_s) from None
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        except asyncio.CancelledError:
            if cancelled_by_caller():
                raise
            raise Unavailable("the call was cancelled", "CANCELLED") from None
        if message is grpc.aio.EOF:
            raise ended_without_closing()
        return cast(M, message)  # the stubs give EOF a type that "is" does not narrow

    def _hang_up(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()


def cancelled_by_caller() -> bool:
    """Tell a cancellation of the running task from that of a call: gRPC raises CancelledError for both."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
