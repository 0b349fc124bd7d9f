"""A room of the emulator, its copy, and everything that writes bookings: one deployment of the service in front of it.

Two desks over one emulator are two deployments that know nothing of each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from sidecar.api.booking_changes import BookingChanger
from sidecar.api.booking_writes import BookingWriter
from sidecar.api.times import set_time
from sidecar.api.written_tokens import WrittenTokens
from sidecar.feed.feed import Feed
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.graph.event_writer import EventWriter
from sidecar.model.room import freshness_limits
from sidecar.model.write import Write, WriteUid
from sidecar.settings import GraphSettings, SyncSettings, WatchSettings
from sidecar.telemetry.metrics import Telemetry
from sidecar.writes.writing import Writing, build_writing
from tests.support.mirrored import Mirrored, RigClock, mirrored
from tests.unit.emulator.rig import START, Rig

NINE = START + timedelta(days=1, hours=1)
"""Tuesday at nine, UTC."""


@dataclass(slots=True, kw_only=True)
class WriteDesk:
    """One deployment."""

    mirror: Mirrored
    writing: Writing
    writer: BookingWriter
    tokens: WrittenTokens
    changer: BookingChanger
    rig: Rig
    _driving: asyncio.Task[None]

    def request(self, start_at: datetime = NINE, *, hours: float = 1.0, **more: Any) -> pb.CreateBookingRequest:
        """Make a request for the room; `more` are fields of the request, or with `booking_` before them of the booking."""
        of_booking = {
            name.removeprefix("booking_"): more.pop(name) for name in list(more) if name.startswith("booking_")
        }
        booking = pb.Booking(**{"subject": "Design review", **of_booking})
        set_time(booking.time.start_time, start_at)
        set_time(booking.time.end_time, start_at + timedelta(hours=hours))
        return pb.CreateBookingRequest(
            **{"parent": self.mirror.room.name, "booking": booking, "request_id": "q1", **more}
        )

    async def create(self, start_at: datetime = NINE, **more: Any) -> pb.CreateBookingResponse:
        """Book the room; see `request`."""
        return await self.writer.create_booking(self.request(start_at, **more))

    def before(self, method: str, act: Callable[[], Awaitable[None]], *, skip: int = 0) -> None:
        """Have something happen right before a request to Exchange; see `Moments`."""
        self.mirror.moments.plan("before", method, act, skip=skip)

    def after(self, method: str, act: Callable[[], Awaitable[None]]) -> None:
        """Have something happen right after Exchange has answered a request."""
        self.mirror.moments.plan("after", method, act)

    async def change(self, name: str, **more: Any) -> pb.UpdateBookingResponse:
        """Change a booking; `more` are fields of the request, or with `booking_` before them of the booking, for the mask, too.

        `start_at` with `hours` is a new time.
        """
        of_booking = {
            field.removeprefix("booking_"): more.pop(field) for field in list(more) if field.startswith("booking_")
        }
        paths = [field for field in of_booking if field != "etag"]
        booking = pb.Booking(name=name, **of_booking)
        start_at = more.pop("start_at", None)
        if start_at is not None:
            paths.append("time")
            set_time(booking.time.start_time, start_at)
            set_time(booking.time.end_time, start_at + timedelta(hours=more.pop("hours", 1.0)))
        request = pb.UpdateBookingRequest(**{"booking": booking, "request_id": "u1", **more})
        request.update_mask.paths.extend(paths)
        return await self.changer.update_booking(request)

    async def cancel(self, name: str, **more: Any) -> pb.CancelBookingResponse:
        """Cancel a booking; `more` are fields of the request."""
        return await self.changer.cancel_booking(pb.CancelBookingRequest(**{"name": name, "request_id": "c1", **more}))

    async def listed(self) -> list[pb.Booking]:
        """Return the room's bookings in the copy, by start."""
        rows = await self.mirror.opened.fetch(
            "SELECT body FROM bookings WHERE room_uid = $1 AND takes_room = 1 ORDER BY start_at, key",
            self.mirror.room.uid,
        )
        return [pb.Booking.FromString(bytes(body)) for (body,) in rows]

    async def write(self, request_id: str = "q1") -> Write | None:
        """Return the write that was begun under a request id."""
        found = await self.mirror.opened.fetch("SELECT uid FROM writes WHERE request_id = $1", request_id)
        return await self.mirror.opened.store.writes.load(WriteUid(found[0][0])) if found else None

    async def ended(self, request_id: str = "q1") -> Write:
        """Return the write of a request id, which must have ended."""
        write = await self.write(request_id)
        assert write is not None, request_id
        assert write.state.is_ended, write.state
        return write

    async def told(self) -> list[tuple[str, int, int]]:
        """Return what watchers were told of bookings: kind, state, cause."""
        return [
            (change.kind.name, pb.Booking.FromString(change.body).state, change.cause)
            for change in await self.mirror.told()
        ]

    async def die(self) -> None:
        """Stop in the middle of everything, as a killed process does."""
        self._driving.cancel()
        await asyncio.wait([self._driving])

    async def live_again(self) -> None:
        """Start as a process does after it was killed."""
        self._driving = asyncio.create_task(self.writing.driver.run(), name="writes")
        await asyncio.sleep(0)
        await self.mirror.opened.store.writes.break_claims()

    async def resume(self) -> list[datetime | None]:
        """Do what background work does about the writes that are due; return when each is due again."""
        now = int(self.rig.clock.now().timestamp() * 1e6)
        due = await self.mirror.opened.fetch(
            "SELECT key FROM intents WHERE kind = 'booking.write' AND ready_at <= $1 ORDER BY key", now
        )
        return [await self.writing.driver.resume(WriteUid(key)) for (key,) in due]


@asynccontextmanager
async def write_desk(rig: Rig, folder: Path, *, seed: int = 0) -> AsyncIterator[WriteDesk]:
    """Map the rig's first room in a store of its own, and read it."""
    async with mirrored(rig, folder, seed=seed) as mirror:
        await mirror.compare()
        mirror.requests.clear()
        store, clock, settings = mirror.opened.store, RigClock(rig.clock), SyncSettings()
        writing = build_writing(
            store=store,
            calls=EventWriter(transport=mirror.transport, settings=GraphSettings()),
            reader=mirror.graph,
            limits=freshness_limits(settings),
            telemetry=mirror.telemetry,
            clock=clock,
        )
        feed = Feed(
            store=store,
            identity=await store.identity(),
            settings=WatchSettings(),
            limits=freshness_limits(settings),
            watches_max=10,
            clock=clock,
            rng=Random(seed),
            telemetry=Telemetry(),
        )
        tokens = WrittenTokens(store=store, feed=feed)
        driving = asyncio.create_task(writing.driver.run(), name="writes")
        await asyncio.sleep(0)
        writer = BookingWriter(store=store, writing=writing, tokens=tokens, clock=clock)
        desk = WriteDesk(
            mirror=mirror,
            writing=writing,
            tokens=tokens,
            writer=writer,
            changer=BookingChanger(store=store, writing=writing, writer=writer, tokens=tokens, clock=clock),
            rig=rig,
            _driving=driving,
        )
        try:
            yield desk
        finally:
            await desk.die()
