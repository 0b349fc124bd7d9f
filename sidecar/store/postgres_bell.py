"""Announcements between processes on one PostgreSQL: told after the commit, heard over one connection of its own.

An announcement only says that there is something new; whoever hears it looks. So announcements merge, may come twice, and a
lost one costs latency: everybody also looks at intervals. They are sent after the commit and not within it, because a
transaction that notifies holds a lock of the whole database from before its commit reaches the disk until after that.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from random import Random

import structlog

from sidecar.aio.backoff import backoff_s
from sidecar.aio.clock import Clock
from sidecar.aio.supervise import contain
from sidecar.aio.wakeup import Wakeup
from sidecar.store.postgres_clock import DatabaseClock
from sidecar.store.postgres_link import Link, Raw

log = structlog.get_logger(__name__)

Listener = Callable[[str], None]

_PG_CHANNEL = "exchange_sidecar"
_LOOK_S = 5.0
"""So often the connection proves that it is alive, and the clock is compared."""
_RETRY_BASE_S, _RETRY_CAP_S = 0.2, 2.0
_PENDING_MAX = 10_000
"""Announcements kept while the connection is away; with more, listeners elsewhere are told that anything may be new."""
_SEND_MAX = 500


class Bell:
    """Rings listeners of this process at once, and those of other processes through the database."""

    def __init__(self, link: Link, *, clock: Clock, database_clock: DatabaseClock | None, rng: Random) -> None:
        self._link = link
        self._clock = clock
        self._database_clock = database_clock
        self._rng = rng
        self._origin = secrets.token_hex(6)
        self._listeners: dict[str, list[Listener]] = {}
        self._pending: dict[tuple[str, str], None] = {}  # a dict for its order
        self._wakeup = Wakeup()
        self.hears = asyncio.Event()
        """Set while the announcements of other processes come in."""

    def listen(self, channel: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each payload on a channel, an empty one when some may have been missed."""
        self._listeners.setdefault(channel, []).append(listener)
        return lambda: self._listeners[channel].remove(listener)

    def ring(self, announcements: Iterable[tuple[str, str]]) -> None:
        """Announce, here and everywhere; call it after the commit."""
        for channel, payload in dict.fromkeys(announcements):
            self._ring_here(channel, payload)
            self._pending[channel, payload] = None
        if len(self._pending) > _PENDING_MAX:
            self._pending = {(channel, ""): None for channel, _ in self._pending}
        if self._pending:
            self._wakeup.ring()

    def _ring_here(self, channel: str, payload: str) -> None:
        # Each in a step of its own: a listener that fails is the loop's news, and harms neither writers nor listeners.
        loop = asyncio.get_running_loop()
        for listener in self._listeners.get(channel, ()):
            loop.call_soon(listener, payload)

    async def run(self) -> None:
        """Hear and tell until cancelled, over as many connections as it takes."""
        failures = 0
        while True:
            began_s = self._clock.monotonic()
            error = await contain(self._hear())
            failures = 1 if self._clock.monotonic() - began_s > _LOOK_S * 2 else failures + 1
            wait_s = backoff_s(failures, base_s=_RETRY_BASE_S, cap_s=_RETRY_CAP_S, rng=self._rng)
            log.warning("store.bell_lost", error=type(error).__name__, retry_s=round(wait_s, 2))
            await self._clock.sleep(wait_s)

    async def _hear(self) -> None:
        """Serve over one connection until it fails."""
        raw = await self._link.connect()
        try:
            raw.add_termination_listener(lambda _: self._wakeup.ring())
            await raw.add_listener(_PG_CHANNEL, self._take)
            # What was announced while nobody heard is not told again.
            for channel in self._listeners:
                self._ring_here(channel, "")
            self.hears.set()
            while True:
                if self._database_clock is not None:
                    await self._database_clock.measure(raw)
                else:
                    await raw.execute("SELECT 1")
                looks_again_s = self._clock.monotonic() + _LOOK_S
                while (left_s := looks_again_s - self._clock.monotonic()) > 0:
                    await self._send(raw)
                    await self._wakeup.wait(left_s)
        finally:
            self.hears.clear()
            raw.terminate()

    async def _send(self, raw: Raw) -> None:
        if raw.is_closed():
            raise ConnectionResetError("the connection for announcements was ended")
        while self._pending:
            sent = list(self._pending)[:_SEND_MAX]
            payloads = [f"{self._origin} {channel} {payload}" for channel, payload in sent]
            for announcement in sent:  # before it is sent: what is announced again meanwhile is sent again
                del self._pending[announcement]
            try:
                await raw.execute("SELECT pg_notify($1, p) FROM unnest($2::text[]) p", _PG_CHANNEL, payloads)
            except BaseException:
                self._pending = dict.fromkeys(sent) | self._pending
                raise

    def _take(self, _: object, __: int, ___: str, heard: object) -> None:
        match str(heard).split(" "):
            case [origin, channel, payload] if origin != self._origin:
                self._ring_here(channel, payload)
            case _:
                pass  # our own, which was rung at once, or somebody else's use of the channel
