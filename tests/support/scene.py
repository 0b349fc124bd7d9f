"""What an end-to-end test plays with: an emulated directory with its rooms and people, a service, a client, and mirrors.

The truth is the emulator's own word about a calendar; `truth.py` says what a watcher has to see of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from exchange_client import ExchangeClient, MirrorChange, NotFound, Reconnected, RoomMirror, names, times
from exchange_client.messages import (
    Room,
    StreamClosing,
    SyncState,
    Tenant,
    TimeWindow,
    WatchRoomResponse,
    WatchRoomsResponse,
)
from exchange_client.tokens import TokenStore

from sidecar.aio.clock import SystemClock
from sidecar.cli.office import Office
from sidecar.emulator.fixture import EmulatedTenant, RunningEmulator, tenant_made
from tests.support.processes import DEADLINE_S, Service, eventually
from tests.support.truth import ZONE, Stay, expected, stay_of

WatchMessage = WatchRoomResponse | WatchRoomsResponse | Reconnected


@asynccontextmanager
async def directory_made(
    emulator: RunningEmulator, *, rooms: int = 0, **settings: Any
) -> AsyncIterator[EmulatedTenant]:
    """Make a directory with two people and some rooms (Any: room settings)."""
    roles = ["Calendars.ReadWrite", "MailboxSettings.Read"]
    async with tenant_made(emulator.text("control_url"), roles=roles) as directory:
        await directory.add_people(2)
        if rooms:
            await directory.add_rooms(rooms, time_zone=ZONE, **settings)
        yield directory


@dataclass(slots=True)
class Watcher:
    """A reader as the documents want it: every message goes into a mirror. It also remembers what it was told."""

    mirror: RoomMirror
    room: str | None = None
    """What it watches; None: all rooms."""
    token: str = ""
    """What its first connection began at."""
    messages: list[WatchMessage] = field(default_factory=list)
    changes: list[MirrorChange] = field(default_factory=list)
    closing: StreamClosing | None = None
    is_over: bool = False

    def take(self, message: WatchMessage) -> None:
        """Take in one message."""
        self.messages.append(message)
        self.changes += self.mirror.apply(message)
        if not isinstance(message, Reconnected) and message.HasField("closing"):
            self.closing = message.closing


@dataclass(slots=True)
class Scene:
    """A tenant of a service over a directory of the emulator."""

    service: Service
    client: ExchangeClient
    directory: EmulatedTenant
    tenant_id: str
    rooms: dict[str, str] = field(default_factory=dict)
    """Name of each mapped room -> its mailbox."""
    watchers: list[Watcher] = field(default_factory=list)
    """All who have ever watched."""

    @property
    def tenant(self) -> str:
        """The tenant's name."""
        return names.tenant(self.tenant_id)

    def room(self, number: int = 0) -> str:
        """Return the name of a mapped room."""
        return list(self.rooms)[number]

    def mailbox(self, number: int = 0) -> str:
        """Return the mailbox of a mapped room."""
        return list(self.rooms.values())[number]

    async def register(self, *, secret: str | None = None) -> Tenant:
        """Register the tenant, with another secret if given."""
        return await self.client.register_tenant(
            self.tenant_id,
            directory_id=self.directory.id,
            application_id=self.directory.application_id,
            client_secret=secret or self.directory.secret,
            display_name="Contoso",
        )

    async def map_all(self) -> None:
        """Map every room of the directory that is not mapped yet."""
        new = [mailbox for mailbox in self.directory.rooms if mailbox not in self.rooms.values()]
        wanted = {f"r{len(self.rooms) + place:04d}": mailbox for place, mailbox in enumerate(new, 1)}
        for outcome in await self.client.map_rooms(self.tenant, wanted, timeout_s=60.0):
            assert outcome.room is not None, outcome.problem
            self.rooms[outcome.room.name] = outcome.room.mailbox

    async def settled_rooms(self, *, deadline_s: float = DEADLINE_S) -> None:
        """Wait until every room has been read and is announced by Exchange."""

        async def all_live() -> bool:
            rooms = [room async for room in self.client.list_rooms(self.tenant)]
            waiting = [f"{r.name} {r.state} {r.sync.state}" for r in rooms if not is_well(r)]
            assert not waiting, f"{len(waiting)} rooms are not well, the first: {waiting[0]}"
            return len(rooms) == len(self.rooms)

        await eventually(all_live, "every room is up and live", service=self.service, deadline_s=deadline_s)

    async def state(self, wanted: Tenant.State.ValueType) -> Tenant:
        """Wait for a state of the tenant."""

        async def reached() -> Tenant:
            tenant = await self.client.get_tenant(self.tenant)
            assert tenant.state == wanted, Tenant.State.Name(tenant.state)
            return tenant

        what = f"the tenant becomes {Tenant.State.Name(wanted)}"
        return await eventually(reached, what, service=self.service)

    async def is_erased(self) -> bool:
        """Tell whether a deleted tenant is gone altogether."""
        try:
            await self.client.get_tenant(self.tenant)
        except NotFound:
            return True
        return False

    async def expected(self, room: str, window: TimeWindow) -> list[Stay]:
        """Return what the emulator's calendar says that a watcher has to see in a span."""
        span = times.to_datetime(window.start_time), times.to_datetime(window.end_time)
        return expected(await self.directory.truth(self.rooms[room], *span))

    async def equal(self, mirror: RoomMirror, *, only: str | None = None) -> bool:
        """Compare a mirror with the calendars (of one room, if given) over all it covers; raise with the difference."""
        for room in self.rooms if only is None else [only]:
            coverage = mirror.coverage(room)
            assert coverage is not None, f"{room} is unknown to the mirror"
            shown = sorted(map(stay_of, mirror.bookings(room)), key=str)
            wanted = await self.expected(room, coverage)
            missing, extra = set(wanted) - set(shown), set(shown) - set(wanted)
            assert shown == wanted, f"{room}: missing {sorted(missing, key=str)}, too many {sorted(extra, key=str)}"
        return True

    async def converged(self, *watchers: Watcher, deadline_s: float = DEADLINE_S) -> None:
        """Wait until Outlook rests and mirrors show what its calendars hold."""

        async def same() -> bool:
            assert await self.directory.is_at_rest(), "Outlook does not rest"
            return all([await self.equal(watcher.mirror, only=watcher.room) for watcher in watchers])

        await eventually(same, "the mirrors equal the calendars", service=self.service, deadline_s=deadline_s)

    @asynccontextmanager
    async def watching(
        self,
        room: str | None = None,
        *,
        mirror: RoomMirror | None = None,
        resume_token: str = "",
        store: TokenStore | None = None,
        complete: bool = True,
    ) -> AsyncIterator[Watcher]:
        """Feed a mirror while inside, of one room or of all; begin with every room complete unless told otherwise."""
        watcher = Watcher(mirror or RoomMirror(), room, resume_token)
        self.watchers.append(watcher)
        following = asyncio.create_task(self._follow(watcher, room, resume_token, store), name="watcher")
        try:
            if complete:
                rooms = [room] if room is not None else list(self.rooms)
                await eventually(
                    lambda: following.done() or all(map(watcher.mirror.is_complete, rooms)),
                    "every room's snapshot is seen",
                    service=self.service,
                )
            yield watcher
        finally:
            following.cancel()
            await asyncio.wait([following])
        if not following.cancelled():
            following.result()

    async def _follow(self, watcher: Watcher, room: str | None, token: str, store: TokenStore | None) -> None:
        watch = (
            self.client.watch_rooms(self.tenant, resume_token=token, token_store=store, heartbeat_s=5)
            if room is None
            else self.client.watch_room(room, resume_token=token, token_store=store, heartbeat_s=5)
        )
        async with watch:
            async for message in watch:
                watcher.take(message)
        watcher.is_over = True

    def office(self, rng: Random) -> Office:
        """Return people who book, move, cancel and repeat meetings in the mapped rooms."""
        return Office(
            control=self.directory,  # type: ignore[arg-type]  # has the one method that an office calls
            tenant=self.directory.id,
            rooms=list(self.rooms.values()),
            people=self.directory.people,
            clock=SystemClock(),
            rng=rng,
            acted=lambda _: None,
        )


def is_well(room: Room) -> bool:
    """Tell whether a room is read and announced."""
    return room.state == Room.STATE_UP and room.sync.state == SyncState.SYNC_STATE_LIVE


def wall(at: datetime) -> str:
    """Return a wall-clock time as Outlook writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S")


def tomorrow(hour: int = 9, *, days: int = 1) -> datetime:
    """Return an hour of a coming day, UTC."""
    now = datetime.now(UTC)
    return now.replace(hour=hour, minute=0, second=0, microsecond=0) + timedelta(days=days)


def booking_changes(messages: Sequence[WatchMessage]) -> list[Any]:
    """Return the changes of bookings in messages, in order (Any: the stubs' own type has no public name)."""
    return [
        change for message in messages if not isinstance(message, Reconnected) for change in message.changes.changes
    ]


@asynccontextmanager
async def scene_set(
    service: Service, emulator: RunningEmulator, target: str | None = None, /, *, rooms: int = 1, **settings: Any
) -> AsyncIterator[Scene]:
    """Register a tenant of its own and map its rooms, read and announced (Any: room settings).

    Args:
        target: where to call, when several services are behind one address.
    """
    async with (
        directory_made(emulator, rooms=rooms, **settings) as directory,
        ExchangeClient.connect(target or service.target) as client,
    ):
        scene = Scene(service, client, directory, tenant_id=f"t-{directory.id[:8]}")
        await scene.register()
        await scene.state(Tenant.STATE_ACTIVE)
        if rooms:
            await scene.map_all()
            await scene.settled_rooms()
        yield scene


async def prove_copy(scene: Scene) -> None:
    """Have every room read in full, and see that this finds nothing which had not been announced."""
    began_at = datetime.now(UTC)
    for room in scene.rooms:
        await scene.client.resync_room(room)

    async def read_again() -> bool:
        rooms = [room async for room in scene.client.list_rooms(scene.tenant)]
        return all(times.to_datetime(room.sync.fresh_as_of_time) > began_at for room in rooms)

    await eventually(read_again, "the closing full reads", service=scene.service)
    assert await scene.service.metric("room_drift_total") == 0, "a full read found what nothing had announced"
