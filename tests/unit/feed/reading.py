"""Reading watches step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sidecar.feed.events import Changed, Checkpoint, Closing, SnapshotRows, WatchEvent
from sidecar.feed.feed import Feed, WatchScope
from sidecar.model.booking import Booking
from sidecar.model.cursor import Cursor, encode_cursor
from sidecar.model.ids import RoomId
from sidecar.model.room import Room
from tests.support.builders import TENANT, always, make_booking, upsert
from tests.support.stores import OpenStore, decoded

E = TypeVar("E")
ALL = WatchScope(tenant_id=TENANT, room_ids=None)


def rooms(*names: str) -> WatchScope:
    """Return the scope of some rooms."""
    return WatchScope(tenant_id=TENANT, room_ids=tuple(RoomId(name) for name in names))


def token(cursor: Cursor | None) -> str:
    """Return the resume token of a cursor; empty for none."""
    return "" if cursor is None else encode_cursor(cursor)


class Stream:
    """A watch that is read when the test says so."""

    def __init__(self, events: AsyncGenerator[WatchEvent, None]) -> None:
        self._events = events
        self.seen: list[WatchEvent] = []

    async def next(self, *, within_s: float = 100.0) -> WatchEvent:
        """Return the next event."""
        async with asyncio.timeout(within_s):
            event = await anext(self._events)
        self.seen.append(event)
        return event

    async def until(self, kind: type[E], *, within_s: float = 100.0) -> E:
        """Read on to the next event of a kind."""
        async with asyncio.timeout(within_s):
            while True:
                event = await self.next()
                if isinstance(event, kind):
                    return event

    async def rest(self) -> list[WatchEvent]:
        """Read to the end of the stream."""
        async with asyncio.timeout(1000):
            return [event async for event in self._events]

    async def settle(self) -> Checkpoint:
        """Read to the checkpoint that says everything so far was sent; forget what was seen."""
        checkpoint = await self.until(Checkpoint)
        self.seen.clear()
        return checkpoint

    async def close(self) -> None:
        """Cut the stream off."""
        await self._events.aclose()

    def keys(self) -> list[str]:
        """Return the keys of the changes seen, in order."""
        return [
            str(change.booking_key) for event in self.seen if isinstance(event, Changed) for change in event.changes
        ]

    def rows(self) -> list[str]:
        """Return the keys of the snapshot rows seen, in order."""
        return [decoded(body)["key"] for event in self.seen if isinstance(event, SnapshotRows) for body in event.bodies]


@asynccontextmanager
async def watching(
    feed: Feed, scope: WatchScope = ALL, *, resume: str = "", fail_on_gap: bool = False, heartbeat_s: float = 15.0
) -> AsyncIterator[Stream]:
    """Open a watch, and cut it off at the end."""
    stream = Stream(feed.watch(scope, resume_token=resume, fail_on_gap=fail_on_gap, heartbeat_s=heartbeat_s))
    try:
        yield stream
    finally:
        await stream.close()


async def write(opened: OpenStore, room: Room, *bookings: Booking) -> None:
    """Write bookings of a room as one change each."""
    applied = await opened.store.calendars.apply(room, always(*map(upsert, bookings)), lease=None)
    assert applied is not None


def numbered(count: int, prefix: str = "b") -> list[Booking]:
    """Return bookings with keys that sort by their numbers."""
    return [make_booking(f"{prefix}{number:04}") for number in range(count)]


def kinds(events: list[WatchEvent]) -> list[str]:
    """Return the names of events."""
    return [type(event).__name__ for event in events]


def closing_of(events: list[Any]) -> Closing:  # any events; the last one counts
    """Return the closing that a stream ended with."""
    assert isinstance(events[-1], Closing), kinds(events)
    return events[-1]
