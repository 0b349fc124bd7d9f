"""The world of a run: Microsoft (the emulator), the service's process, the network between them, and those who watch."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from exchange_client import names
from exchange_client.messages import WatchRoomsResponse

from sidecar.emulator.clock import LoopClock
from sidecar.emulator.core import Emulator
from sidecar.emulator.fixture.tenant import ControlRefused, EmulatedTenant
from sidecar.errors import Unavailable
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2, tenant_service_pb2
from sidecar.model.ids import TenantId
from sidecar.model.room import Room
from sidecar.model.window import to_micros
from tests.simulation.life import Life, Outside
from tests.simulation.loop import ShiftedClock
from tests.simulation.network import PeerGone, WebhookWay
from tests.simulation.plan import Plan
from tests.simulation.trace import Trace
from tests.simulation.watchers import Watcher
from tests.support.stores import provide, put_back
from tests.support.truth import ZONE

TENANT = "acme"
_RESTART_S = 1.0
"""How long it takes whoever looks after the process to start it again."""
_ROLES = ["Calendars.ReadWrite", "MailboxSettings.Read"]


@dataclass(slots=True)
class World:
    """Everything there is in a run.

    Attributes:
        rooms: name of each mapped room -> its mailbox.
        crash_after: how many more steps of the process until it is killed; None: it is not to be.
        is_disk_failing: whether the service's database fails now.
        calendar_changed: called with the address of a mailbox once something in it has changed.
    """

    plan: Plan
    trace: Trace
    group: asyncio.TaskGroup
    path: Path
    emulator: Emulator
    directory: EmulatedTenant
    clock: ShiftedClock
    emulator_clock: LoopClock
    way: WebhookWay
    rooms: dict[str, str] = field(default_factory=dict)
    watchers: list[Watcher] = field(default_factory=list)
    life: Life | None = None
    lives_count: int = 0
    remaps_count: int = 0
    restores_count: int = 0
    crash_after: int | None = None
    crash_when_accepted: bool = False
    crash_when_read: bool = False
    unmarked: list[str] = field(default_factory=list)
    """Rooms of which a notification was accepted, and no mark was in the database then."""
    recalled: set[str] = field(default_factory=set)
    """Calendar uids of meetings that were cancelled through the API: rooms take notice a little later."""
    is_disk_failing: bool = False
    wants_life: bool = True
    backup: Path | None = None
    """What the database is put back to before the next life."""
    calendar_changed: Callable[[str], None] = lambda _: None
    _backups_count: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def begin_life(self) -> None:
        """Start the service's process; start it again for as long as it dies while starting."""
        while self.wants_life:
            self.lives_count += 1
            if self.backup is not None:
                self.restores_count += 1
                has_mark = self.plan.rng(f"restore {self.restores_count}").random() < 0.7
                put_back(self.backup, self.path, with_mark=has_mark)
                self.backup = None
            outside = Outside(
                path=self.path,
                settings=self.plan.settings,
                clock=self.clock,
                graph_app=self.emulator.graph_app,
                spawn=self._at_microsoft,
                trace=self.trace,
                stepped=self.stepped,
                asked=self.asked,
                is_disk_failing=lambda: self.is_disk_failing,
            )
            life = Life(outside, self.plan.rng(f"life {self.lives_count}"))
            self.trace.note("life", "begins")
            self.life = life
            await life.begin(self.group)
            if not life.is_dead:
                return
            await life.ended()
            await asyncio.sleep(_RESTART_S)

    def _at_microsoft(self, work: Coroutine[Any, Any, None], /) -> asyncio.Task[None]:  # Any: as in `start`
        return self.group.create_task(work)

    def asked(self, what: str) -> None:
        """Take note that Microsoft has answered the process."""
        if self.crash_when_read and "/events/" in what:
            self.crash_when_read = False
            self.crash()
        self.stepped()

    def stepped(self) -> None:
        """Take note that the process has done something: it may have been its last deed."""
        if self.crash_after is None:
            return
        self.crash_after -= 1
        if self.crash_after <= 0:
            self.crash_after = None
            self.crash()

    def crash(self) -> None:
        """Kill the process."""
        if self.life is not None and not self.life.is_dead:
            self.trace.note("life", "is killed")
            self.life.kill()

    def accepted(self, body: bytes) -> None:
        """Look whether what was accepted is marked: nobody will say it a second time."""
        if self.serving is None:
            return
        at_rest = "suspended_at IS NOT NULL OR deleted_at IS NOT NULL"
        is_at_rest = bool(self.fetch(f"SELECT 1 FROM tenants WHERE {at_rest}"))
        for item in json.loads(body)["value"]:
            if "id" not in item.get("resourceData", {}):
                continue  # a lifecycle notification, or one that names no event
            key = str(item["clientState"]).partition(".")[0]
            rooms = self.fetch("SELECT room_uid FROM subscriptions WHERE key = ? AND room_uid IS NOT NULL", key)
            for (uid,) in rooms:
                if not (is_at_rest or self._is_to_be_read(uid)):
                    self.unmarked.append(uid)
        if self.crash_when_accepted:
            self.crash_when_accepted = False
            self.crash()

    def _is_to_be_read(self, room_uid: str) -> bool:
        """Tell whether a room is marked. What was dropped during a rest is in the full read that is due since."""
        now = to_micros(self.clock.now()) if self.plan.rests else 0
        wanted = "kind = 'room.sync' OR kind = 'room.compare' AND ready_at <= ?"
        return bool(self.fetch(f"SELECT 1 FROM intents WHERE key = ? AND ({wanted})", room_uid, now))

    def back_up(self) -> Path:
        """Copy the database as it is now."""
        assert self.life is not None, "somebody started it"
        self._backups_count += 1
        path = self.path.with_name(f"backup{self._backups_count}")
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)
        return path

    def restore(self, backup: Path) -> None:
        """Put the database back."""
        self.trace.note("life", "is to be restored")
        self.backup = backup
        self.crash()

    async def keep_alive(self) -> None:
        """Start the process again whenever it has died, as a kubelet does."""
        while True:
            assert self.life is not None, "somebody started it"
            await self.life.ended()
            if not self.wants_life:
                return
            await asyncio.sleep(_RESTART_S)
            await self.begin_life()

    @property
    def tenant(self) -> str:
        """The tenant's name."""
        return names.tenant(TENANT)

    @property
    def serving(self) -> Life | None:
        """The process, if it can be reached."""
        return self.life if self.life is not None and self.life.is_serving else None

    async def call(self, what: Callable[[Life], Any]) -> Any:  # Any: requests and answers of all calls
        """Make a call of the API, again until it is answered."""
        while True:
            life = self.serving
            if life is not None:
                try:
                    return await life.call(lambda: what(life))  # noqa: B023  (awaited at once)
                except (PeerGone, Unavailable):
                    pass
            await asyncio.sleep(1.0)

    async def register(self) -> None:
        """Register the tenant, map its rooms, and start the watchers."""
        directory = self.directory
        tenant = tenant_service_pb2.Tenant(display_name="Contoso", directory_id=directory.id)
        credential = tenant_service_pb2.Credential(
            application_id=directory.application_id, client_secret=directory.secret
        )
        request = tenant_service_pb2.RegisterTenantRequest(tenant_id=TENANT, tenant=tenant, credential=credential)
        await self.call(lambda life: life.servicers.tenants.register_tenant(request))
        for number, mailbox in enumerate(directory.rooms, 1):
            await self.map_room(f"r{number}", mailbox)

    async def map_room(self, room_id: str, mailbox: str) -> None:
        """Map a room."""
        request = room_service_pb2.MapRoomRequest(
            parent=self.tenant, room_id=room_id, room=room_service_pb2.Room(mailbox=mailbox)
        )
        await self.call(lambda life: life.servicers.rooms.map_room(request))
        self.rooms[names.room(TENANT, room_id)] = mailbox
        self.trace.note("mapped", room_id)

    async def unmap_room(self, name: str) -> None:
        """Unmap a room."""
        del self.rooms[name]
        request = room_service_pb2.UnmapRoomRequest(name=name, allow_missing=True)
        await self.call(lambda life: life.servicers.rooms.unmap_room(request))
        self.trace.note("unmapped", name)

    async def resync(self, name: str) -> None:
        """Ask for a room to be read anew."""
        request = room_service_pb2.ResyncRoomRequest(name=name)
        await self.call(lambda life: life.servicers.rooms.resync_room(request))

    def full_rooms(self, *, at_least: int) -> list[tuple[str, str]]:
        """Return the rooms with so many bookings to come: their names, and what the service calls their mailboxes by."""
        found = self.fetch(
            "SELECT r.room_id, COALESCE(r.object_id, r.mailbox) FROM rooms r JOIN bookings b ON b.room_uid = r.uid"
            " WHERE b.takes_room = 1 AND b.start_at > ? GROUP BY r.room_id, 2 HAVING COUNT(*) >= ? ORDER BY r.room_id",
            to_micros(self.now()),
            at_least,
        )
        return [(names.room(TENANT, room_id), address) for room_id, address in found]

    async def prune(self, count_max: int) -> None:
        """Have the log cut, as its retention does; nothing where nobody serves, or the database fails."""
        life = self.serving
        if life is not None:
            with suppress(PeerGone, Unavailable):
                await life.call(lambda: self._prune(life, count_max))

    async def _prune(self, life: Life, count_max: int) -> None:
        tenant = await life.service.store.tenants.load(TenantId(TENANT))
        await life.service.store.changes.prune(tenant.uid, retention=timedelta(days=14), count_max=count_max)

    def watch(self, told: Callable[[Watcher, WatchRoomsResponse], None]) -> None:
        """Start the watchers: one of all rooms, the others of one each."""
        for number in range(self.plan.watchers_count):
            room = None if number == 0 else sorted(self.rooms)[-number % len(self.rooms)]
            watcher = Watcher(
                f"w{number}",
                tenant=self.tenant,
                room=room,
                rng=self.plan.rng(f"watcher {number}"),
                heartbeat_s=self.plan.heartbeat_s,
                habits=self.plan.habits,
                trace=self.trace,
                life=lambda: self.serving,
                log=self.log,
                epoch=lambda: self.restores_count,
                told=told,
            )
            self.watchers.append(watcher)
            self.start(watcher.follow())

    def fetch(self, sql: str, *values: Any) -> list[Any]:  # Any: rows
        """Ask the service's database, as of its last commit."""
        assert self.life is not None, "somebody started it"
        raw = self.life.engine.raw
        assert raw is not None, "it is open"
        return raw.execute(sql, values).fetchall()

    def head(self) -> int:
        """Return the newest revision of the tenant's log."""
        return self.log()[0]

    def log(self) -> tuple[int, int]:
        """Return the newest revision of the tenant's log, and the one that it begins after."""
        head, floor = self.fetch("SELECT revision, floor FROM tenants")[0]
        return int(head), int(floor)

    async def stored_rooms(self) -> list[Room]:
        """Return all mapped rooms as the store has them."""
        life = self.life
        assert life is not None, "somebody started it"
        tenant = await life.service.store.tenants.load(TenantId(TENANT))
        _, rooms = await life.service.store.rooms.load_all(tenant.uid)
        return list(rooms)

    async def act(self, what: str, **body: Any) -> dict[str, Any] | None:  # Any: JSON
        """Do something in Outlook; None when Outlook refuses."""
        try:
            made = await self.directory.act(what, **body)
        except ControlRefused as error:
            self.trace.note("refused", f"{what} {str(error)[-80:]}")
            return None
        self.trace.note("office", what)
        return made

    async def knock(self, mailbox: str) -> None:
        """Put something into a room's own calendar for a moment of tomorrow: it is news even where the room is taken."""
        start_at = (self.now() + timedelta(days=1)).replace(hour=5, minute=0, second=0, microsecond=0)
        body = {"organizer": mailbox, "rooms": [], "subject": "CANARY-knock"}
        await self.act("book", **body, start=f"{start_at:%FT%T}", end=f"{start_at + timedelta(minutes=5):%FT%T}")

    def now(self) -> datetime:
        """Return Microsoft's time."""
        return self.emulator_clock.now()

    def advance(self, seconds: float) -> None:
        """Let time pass in which nothing runs anywhere, as when a machine sleeps."""
        self.emulator_clock.advance(seconds)
        self.clock.shift(seconds)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:  # Any: nothing is sent or yielded
        """Start something that goes on until the world ends."""
        task = self.group.create_task(work)
        self._tasks.append(task)
        return task

    async def end(self) -> None:
        """End everything."""
        self.wants_life = False
        for task in self._tasks:
            task.cancel()
        if self.life is not None:
            self.life.kill()
            await self.life.ended()


@asynccontextmanager
async def world_made(plan: Plan, folder: Path, trace: Trace) -> AsyncIterator[World]:
    """Make a world with a directory of rooms and people, in which the service does not run yet."""
    path = folder / "exchange.sqlite3"
    provide(path)
    emulator_clock, clock = LoopClock(start_at=plan.start_at), ShiftedClock(plan.start_at)
    made: list[World] = []

    def intake() -> tuple[Any, Any] | None:  # Any: an ASGI app, and what runs it
        life = made[0].serving if made else None
        return None if life is None else (life.intake, life.spawn)

    way = WebhookWay(rng=plan.rng("way"), trace=trace, intake=intake, answered=lambda: made[0].stepped())
    emulator = Emulator(seed=plan.seed, moods=plan.moods, clock=emulator_clock, sender=way)
    control = httpx.AsyncClient(transport=httpx.ASGITransport(app=emulator.control_app), base_url="http://control")
    note = emulator.mailroom._note  # there is no public way to hear of each change without a subscription

    def note_change(tenant: Any, mailbox: Any, *what: Any, **how: Any) -> None:  # Any: the emulator's own
        note(tenant, mailbox, *what, **how)
        # The calendar itself may change only after its change was noted.
        asyncio.get_running_loop().call_soon(made[0].calendar_changed, mailbox.address)

    emulator.mailroom._note = note_change
    async with emulator.running(), asyncio.TaskGroup() as group:
        answer = await control.post("/control/tenants", json={"roles": _ROLES})
        directory = EmulatedTenant(control, answer.json())
        await directory.add_people(plan.people_count)
        await directory.add_rooms(plan.rooms_count, time_zone=ZONE, EnforceSchedulingHorizon=False)
        world = World(plan, trace, group, path, emulator, directory, clock, emulator_clock, way)
        made.append(world)
        way.accepted = world.accepted
        try:
            yield world
        finally:
            await world.end()
