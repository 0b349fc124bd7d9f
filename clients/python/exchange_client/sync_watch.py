"""The sync watch: makes the calls, waits and guards, as `WatchSession` decides.

A blocked read can only be ended from outside, so each stream has a small thread beside it that cancels the call when nothing
has come for too long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import grpc

from exchange_client.clock import SyncClock
from exchange_client.errors import ExchangeError, from_rpc
from exchange_client.tokens import TokenStore
from exchange_client.watching import M, Reconnected, WatchSession, ended_without_closing, silent_for

Received = TypeVar("Received", covariant=True)


class SyncStreamCall(Protocol[Received]):
    """What is used of gRPC's call object."""

    def __iter__(self) -> Iterator[Received]: ...
    def __next__(self) -> Received: ...
    def cancel(self) -> object: ...


class SyncWatch(Generic[M]):
    """An endless iterator over the messages of a watch that reconnects and resumes by itself.

        with client.watch_room(name) as watch:
            for message in watch: ...

    It ends normally after a StreamClosing with REASON_SCOPE_GONE was handed out, or after `close`. It raises an
    ExchangeError that retrying cannot mend: InvalidRequest, NotFound, GapError, AccessDenied, Unsupported, ClientClosed.

    Coming back for the next message says that the one before is dealt with: only then its resume token is taken over and
    saved. After a crash, or when the stream breaks, messages since then come again.

    One thread at a time may iterate; any thread may `close`, which also wakes a waiting one. Leaving the `with`, `close` and
    garbage collection all end the call.
    """

    def __init__(
        self,
        *,
        session: WatchSession[M],
        open_call: Callable[[str], SyncStreamCall[M]],
        clock: SyncClock,
        watchdog_s: float,
        store: TokenStore | None,
        name: str,
        resume_token: str,
    ) -> None:
        """Made by `SyncExchangeClient.watch_room` and `watch_rooms`; `open_call` makes the call that resumes at a token."""
        self._stream: _GuardedStream[M] | None = None
        self._stopped = threading.Event()
        self._stop_error: ExchangeError | None = None
        self._session = session
        self._open_call = open_call
        self._clock = clock
        self._watchdog_s = watchdog_s
        self._store = store
        self._name = name
        self._unsaved: str | None = None
        self._loaded = store is None
        session.token = resume_token

    @property
    def resume_token(self) -> str:
        """The token of the last message that the consumer is done with; empty when there was none."""
        return self._session.token

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> M | Reconnected:
        session = self._session
        self._take_over()
        while True:
            if self._stopped.is_set():
                raise self._stop_error or StopIteration
            if (item := session.pop()) is not None:
                return item
            if session.finished:
                raise StopIteration
            if session.delay_s > 0:
                if not self._clock.wait(self._stopped, session.delay_s):
                    session.delay_s = 0.0
            else:
                self._advance()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._hang_up()

    def close(self) -> None:
        """End the call and the iteration, also one that another thread is waiting in."""
        self.stop(None)

    def stop(self, error: ExchangeError | None) -> None:
        """End the call; the iteration raises `error`, or ends normally without one. The client's close uses it."""
        if not self._stopped.is_set():
            self._stop_error = error
            self._stopped.set()
        self._hang_up()

    def _take_over(self) -> None:
        if self._store is None:
            self._session.take_over()
            return
        if not self._loaded:
            # A token kept from an earlier run is newer than the one the caller starts a first run with.
            self._session.token = self._store.load(self._name) or self._session.token
            self._loaded = True
        self._unsaved = self._session.take_over() or self._unsaved
        if self._unsaved is not None:
            self._store.save(self._name, self._unsaved)
            self._unsaved = None

    def _advance(self) -> None:
        try:
            self._session.received(self._read())
        except ExchangeError as error:
            self._hang_up()
            if not self._stopped.is_set():
                self._session.failed(error)
        except ValueError:
            # gRPC's word for a channel that was closed just now, by another thread.
            if not self._stopped.is_set():
                raise
        except BaseException:
            # Ctrl-C in the middle of a read. The next iteration starts a new call.
            self._hang_up()
            self._session.interrupted()
            raise
        if self._session.stream_over:
            self._hang_up()

    def _read(self) -> M:
        stream = self._stream
        if stream is None:
            self._session.calling()
            stream = _GuardedStream(self._open_call(self._session.token), self._clock, self._watchdog_s)
            self._stream = stream
            if self._stopped.is_set():  # another thread closed the watch just now and found no stream to end
                stream.end()
        try:
            return stream.read()
        except StopIteration:
            raise ended_without_closing() from None
        except grpc.RpcError as error:
            if stream.stalled:
                raise silent_for(self._watchdog_s) from None
            raise from_rpc(error) from error

    def _hang_up(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.end()


class _GuardedStream(Generic[M]):
    """One call, and the thread that cancels it when a read gets nothing for too long.

    The thread knows the stream but not the watch, so a watch that nobody holds any more can be collected.
    """

    def __init__(self, call: SyncStreamCall[M], clock: SyncClock, watchdog_s: float) -> None:
        self.stalled = False
        self._call = call
        self._clock = clock
        self._watchdog_s = watchdog_s
        self._waiting_since: float | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._guard, name="exchange-client-watchdog", daemon=True).start()

    def read(self) -> M:
        """Wait for the next message. Raises StopIteration or grpc.RpcError when there is none."""
        self._waiting_since = self._clock.monotonic()
        try:
            return next(self._call)
        finally:
            self._waiting_since = None

    def end(self) -> None:
        """End call and thread."""
        self._ended.set()
        self._call.cancel()

    def _guard(self) -> None:
        while True:
            since = self._waiting_since
            rest_s = self._watchdog_s if since is None else since + self._watchdog_s - self._clock.monotonic()
            if rest_s <= 0:
                self.stalled = True
                self._call.cancel()
                return
            if self._clock.wait(self._ended, rest_s):
                return
