"""The service's store, feed and API without its Microsoft side: changes come from plans made here, as fast as asked for.

What is built, and how, is what `sidecar/app.py` builds; the store is a file, each commit waits for the disk (FULL).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import structlog
import uvloop

from sidecar.aio.budget import Budget
from sidecar.aio.clock import SystemClock
from sidecar.api.booking_codec import ProtoBookingCodec
from sidecar.api.server import ApiServer
from sidecar.app import tune_collector
from sidecar.feed.feed import Feed
from sidecar.graph.logins import trusting
from sidecar.model.booking import Attendee, Booking, Person, Response
from sidecar.model.room import Room, freshness_limits
from sidecar.settings import GrpcSettings, Settings, StoreSettings, TelemetrySettings
from sidecar.store.migrate import migrate_sqlite
from sidecar.store.sqlite import SqliteEngine
from sidecar.store.store import Store
from sidecar.telemetry.outlets import outlets_opened
from sidecar.telemetry.tracing import Tracing
from tests.bench.lines import Json, announce, answer_lines
from tests.support.builders import TENANT, always, complete_read, make_booking, make_mapping, make_registration, upsert
from tests.support.fake_directory import FakeDirectory
from tests.support.fake_microsoft import FakeMicrosoft, make_diagnosis
from tests.support.stores import make_vault

_BOOKINGS_PER_ROOM = 100


def some_bookings(version: int, count: int) -> list[Booking]:
    """Return a room's first bookings as of a version; each version is news for each of them."""
    guest = Attendee(Person("grace.hopper@contoso.example", "Grace Hopper"), False, Response.ACCEPTED)
    return [
        replace(make_booking(f"b{number:03}"), subject=f"Design review {version:07}", attendees=(guest,))
        for number in range(count)
    ]


@asynccontextmanager
async def open_real_store(path: Path) -> AsyncIterator[Store]:
    """Open a store the way the service does: FULL, with the API's codec."""
    migrate_sqlite(path)
    settings = StoreSettings(path=path)
    engine = SqliteEngine(path, synchronous=settings.synchronous, busy_s=settings.busy_s, clock=SystemClock())
    await engine.open()
    try:
        yield Store(engine, vault=make_vault(), codec=ProtoBookingCodec())
    finally:
        await engine.close()


class _Driver:
    def __init__(self, store: Store, rooms: list[Room], tracing: Tracing) -> None:
        self._tracing = tracing
        self._store = store
        self._rooms = rooms
        self._version = 0

    async def handle(self, job: Json) -> Json:
        """Commit so many transactions: one after the other to one room, all at once to as many rooms."""
        began_s = time.monotonic()
        self._version += 1
        if job["rooms"] == 1:
            for _ in range(job["messages"]):
                await self._apply(self._rooms[0], job["changes"])
        else:
            async with asyncio.TaskGroup() as group:
                for number in range(job["messages"]):
                    group.create_task(self._apply(self._rooms[number % job["rooms"]], job["changes"]))
        return {"began_s": began_s, "committed_s": time.monotonic()}

    async def _apply(self, room: Room, changes_count: int) -> None:
        self._version += 1
        items = [upsert(booking) for booking in some_bookings(self._version, changes_count)]
        with self._tracing.root("room.sync"):  # as the engine does
            await self._store.calendars.apply(room, always(*items), lease=None)


async def _seed(store: Store, rooms_count: int) -> list[Room]:
    await store.tenants.register(make_registration())
    mapped = await store.rooms.map_all(TENANT, [make_mapping(f"r{number:03}") for number in range(rooms_count)])
    rooms: list[Room] = []
    for room in mapped:
        assert isinstance(room, Room), room
        items = [upsert(booking) for booking in some_bookings(0, _BOOKINGS_PER_ROOM)]
        read = complete_read(began_at=SystemClock().now())
        await store.calendars.apply(room, always(*items), lease=None, complete=read)
        rooms.append(await store.rooms.load(TENANT, room.room_id))
    return rooms


async def _main(folder: Path, rooms_count: int, traced: TelemetrySettings) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    clock, rng = SystemClock(), Random(1)
    grpc = GrpcSettings(socket=None, addresses=("127.0.0.1:0",))
    settings = Settings(grpc=grpc, telemetry=traced)
    asked = Budget(most=1.0, per_s=1.0, clock=clock)
    opened = outlets_opened(settings.telemetry, roles=("api",), trusting=trusting, asked=asked, rng=rng)
    async with (
        opened as outlets,
        open_real_store(folder / "driven.sqlite3") as store,
        asyncio.TaskGroup() as group,
    ):
        telemetry = outlets.telemetry
        rooms = await _seed(store, rooms_count)
        feed = Feed(
            store=store,
            identity=await store.identity(),
            settings=settings.watch,
            limits=freshness_limits(settings.sync),
            watches_max=settings.grpc.watches_max,
            clock=clock,
            rng=rng,
            telemetry=telemetry,
        )
        following = group.create_task(feed.run(), name="feed")
        microsoft = FakeMicrosoft()
        diagnosis = make_diagnosis(store, microsoft, clock)
        inquiries = FakeDirectory().inquiries(store, diagnosis)
        api = ApiServer(
            store=store,
            feed=feed,
            inquiries=inquiries,
            settings=settings,
            clock=clock,
            metrics=telemetry,
            tracing=outlets.tracing,
        )
        (address,) = await api.start()
        announce(target=address, rooms=[room.name for room in rooms])
        await answer_lines(_Driver(store, rooms, outlets.tracing).handle)
        feed.drain()
        await api.stop(1.0)
        following.cancel()


if __name__ == "__main__":
    tune_collector()  # as the service does
    place, count, *collector = sys.argv[1:]
    traced = TelemetrySettings()
    if collector:  # its URL, and the share that is traced
        traced = TelemetrySettings(otlp_endpoint=collector[0], trace_ratio=float(collector[1]))
    uvloop.run(_main(Path(place), int(count), traced))
