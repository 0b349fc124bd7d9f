"""The writers of the watch contract's schedules, and the truth they leave behind."""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from sidecar.feed.feed import WatchScope
from sidecar.model.booking import Booking, BookingState
from sidecar.model.change import Change, ChangeKind, SnapshotReason
from sidecar.model.ids import BookingKey, RoomId, RoomUid, TenantUid
from sidecar.model.room import Room
from sidecar.model.window import Window
from sidecar.store.changes import LogHead
from tests.support.builders import NOW, TENANT, complete_read, make_booking, make_problem, towards
from tests.support.stores import OpenStore, decoded

ROOMS_MAX = 5
KEYS = 6
HORIZON_DAYS = 6
START_DAYS = 10


class World:
    """What Exchange holds, what was done about it, and everything that the log ever said."""

    opened: OpenStore
    tenant_uid: TenantUid

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.is_at_rest = False
        self.spared: set[RoomId] = set()
        self.wanted: dict[RoomId, dict[BookingKey, Booking]] = {}
        self.log: list[Change] = []
        self.versions: dict[str, list[tuple[int, bytes | None]]] = defaultdict(list)
        self.read_heads: dict[tuple[RoomUid, datetime], int] = {}
        self._day = 0
        self._names: dict[RoomId, RoomUid] = {}
        self._next_room = 0
        self._backup: dict[str, object] = {}

    async def begin(self, opened: OpenStore) -> None:
        """Go on with a store; fill an empty one."""
        self.opened = opened
        if not self.wanted:
            await opened.add_tenant()
            for _ in range(3):
                await self._map()
            for room_id in list(self.wanted)[: self.rng.randint(0, 3)]:
                await self._complete(room_id)
        self.tenant_uid = await opened.tenant_uid()

    def back_up(self) -> None:
        """Remember what belongs to a backup that is made now."""
        kept = (self.wanted, self.log, self.versions, self.read_heads, self._names)
        self._backup = {"kept": copy.deepcopy(kept), "day": self._day}

    def restore(self) -> None:
        """Go back to the backup; ids of rooms mapped since are not used again."""
        kept = copy.deepcopy(self._backup["kept"])
        self.wanted, self.log, self.versions, self.read_heads, self._names = kept  # type: ignore[misc]  # as in back_up
        self.spared &= self.wanted.keys()

    async def run(self, steps: int) -> None:
        """Let random things happen."""
        steps_by_weight = {
            self._edit: 40,
            self._pause: 25,
            self._complete_any: 12,
            self._resync: 5,
            self._roll: 5,
            self._prune: 8,
            self._trouble: 4,
            self._map: 6,
            self._unmap: 5,
            self._readdress: 4,
        }
        for _ in range(steps):
            (step,) = self.rng.choices(list(steps_by_weight), list(steps_by_weight.values()))
            await step()
            await self._note()

    def uids(self, scope: WatchScope) -> tuple[RoomUid, ...]:
        """Return the uids of a scope's rooms, those of rooms mapped now for all rooms."""
        names = self._names if scope.room_ids is None else scope.room_ids
        return tuple(self._names[name] for name in names if name in self._names)

    def head_now(self) -> LogHead:
        """Return where the log stands at this very moment; the database works on this thread."""
        raw = self.opened.sqlite._write_raw
        assert raw is not None
        revision, floor, epoch = raw.execute("SELECT revision, floor, epoch FROM tenants").fetchone()
        return LogHead(int(revision), int(floor), str(epoch))

    def held_now(self, room_uid: RoomUid) -> list[tuple[int, bytes]]:
        """Return the bookings that take a room at this very moment, each with its revision."""
        raw = self.opened.sqlite._write_raw
        assert raw is not None
        found = raw.execute("SELECT body FROM bookings WHERE room_uid = ? AND takes_room = 1", (room_uid,)).fetchall()
        return [(int(decoded(body)["revision"]), body) for (body,) in found]

    async def truth(self, scope: WatchScope) -> dict[str, bytes]:
        """Return the store's bookings that take a room of a scope, by name."""
        found: dict[str, bytes] = {}
        for uid in self.uids(scope):
            for _, body in await self.opened.store.calendars.snapshot_page(uid, after=BookingKey(""), count_max=10**6):
                found[decoded(body)["name"]] = body
        return found

    async def rooms(self) -> Sequence[Room]:
        """Return all rooms as they are now."""
        tenant_uid, _ = await self.opened.store.changes.tenant_head(TENANT)
        _, rooms = await self.opened.store.rooms.load_all(tenant_uid)
        return rooms

    async def _note(self) -> None:
        """Write down what the log says since the last time."""
        after = self.log[-1].revision if self.log else 0
        tenant_uid, _ = await self.opened.store.changes.tenant_head(TENANT)
        entries, _ = await self.opened.store.changes.read(tenant_uid, after_revision=after, count_max=10**6)
        for entry in entries:
            assert not self.log or entry.revision == self.log[-1].revision + 1, "a hole in the log"
            self.log.append(entry)
            if entry.is_booking:
                gone = entry.kind is not ChangeKind.UPSERTED
                self.versions[decoded(entry.body)["name"]].append((entry.revision, None if gone else entry.body))
            elif entry.kind is ChangeKind.ROOM_SNAPSHOT and entry.cause == SnapshotReason.ROOM_ADDED:
                rows = await self.opened.store.calendars.snapshot_page(
                    entry.room_uid, after=BookingKey(""), count_max=10**6
                )
                for _, body in rows:
                    self.versions[decoded(body)["name"]].append((entry.revision, body))

    def _any_room(self) -> RoomId | None:
        return self.rng.choice(sorted(self.wanted)) if self.wanted else None

    def _horizon(self) -> Window:
        start_at = NOW + timedelta(days=self._day)
        return Window(start_at, start_at + timedelta(days=HORIZON_DAYS))

    def _change(self, room_id: RoomId, count: int) -> None:
        bookings = self.wanted[room_id]
        for _ in range(count):
            key = BookingKey(f"k{self.rng.randrange(KEYS)}")
            if key in bookings and self.rng.random() < 0.4:
                del bookings[key]
                continue
            start_at = NOW + timedelta(days=self._day + self.rng.randrange(-2, START_DAYS))
            bookings[key] = make_booking(
                key,
                start_at=start_at,
                minutes=self.rng.choice((0, 60, 60, 60, 3 * 24 * 60)),
                state=self.rng.choice((BookingState.CONFIRMED,) * 4 + (BookingState.CANCELLED,)),
                subject=f"subject {self.rng.randrange(10**6)}" + "x" * self.rng.choice((0, 0, 900)),
            )

    async def _load(self, room_id: RoomId) -> Room:
        return await self.opened.store.rooms.load(TENANT, room_id)

    async def _edit(self) -> None:
        room_id = self._any_room()
        if room_id is None:
            return
        self._change(room_id, self.rng.randint(1, 4))
        room = await self._load(room_id)
        if room.horizon is not None:
            planner = towards(self.wanted[room_id], room.horizon)
            await self.opened.store.calendars.apply(room, planner, lease=None)

    async def _complete(self, room_id: RoomId) -> None:
        room = await self._load(room_id)
        horizon = self._horizon()
        began_at = self.opened.clock.now()
        await self.opened.store.calendars.apply(
            room,
            towards(self.wanted[room_id], horizon),
            lease=None,
            complete=complete_read(horizon, began_at=began_at, resyncs=room.resyncs),
        )
        self.read_heads[room.uid, began_at] = self.head_now().revision

    async def _complete_any(self) -> None:
        room_id = self._any_room()
        if room_id is not None:
            self._change(room_id, self.rng.randint(0, 2))
            await self._complete(room_id)

    async def _resync(self) -> None:
        room_id = self._any_room()
        if room_id is not None:
            await self.opened.store.rooms.resync(TENANT, room_id)
            await self._complete_any()
            await self._complete(room_id)

    async def _roll(self) -> None:
        self._day += 1
        await self._complete_any()

    async def _prune(self) -> None:
        tenant_uid, _ = await self.opened.store.changes.tenant_head(TENANT)
        await self._note()
        count_max = self.rng.choice((0, 1, 3, 10))
        await self.opened.store.changes.prune(tenant_uid, retention=timedelta(days=1000), count_max=count_max)

    async def _trouble(self) -> None:
        room_id = self._any_room()
        if room_id is not None:
            room = await self._load(room_id)
            problem = make_problem() if room.problem is None else None
            await self.opened.store.rooms.set_problem(room.uid, problem, lease=None)

    async def _map(self) -> None:
        if len(self.wanted) >= ROOMS_MAX:
            return
        room_id = RoomId(f"r{self._next_room}")
        self._next_room += 1
        room = await self.opened.add_room(room_id)
        self.wanted[room_id] = {}
        self._names[room_id] = room.uid
        self._change(room_id, self.rng.randint(0, 5))

    async def _unmap(self) -> None:
        candidates = sorted(self.wanted.keys() - self.spared)
        if candidates:
            room_id = self.rng.choice(candidates)
            del self.wanted[room_id]
            tells_each = self.rng.random() < 0.5
            await self.opened.store.rooms.unmap(TENANT, room_id, etag="", tells_each=tells_each)
            await self._note()
            del self._names[room_id]

    async def _readdress(self) -> None:
        """Give a room another address; where that is another mailbox's, its calendar is another one, too."""
        room_id = self._any_room()
        if room_id is None:
            return
        room, is_same = await self._load(room_id), self.rng.random() < 0.4
        await self.opened.readdress(room, f"m{self.rng.randrange(10**6)}@contoso.example", is_same_mailbox=is_same)
        if not is_same:
            # Some meetings stand in both calendars: their bookings have the same names, and come again.
            self._change(room_id, self.rng.randint(2, 6))
            if self.rng.random() < 0.7:
                await self._note()
                await self._complete(room_id)

    async def _pause(self) -> None:
        if self.rng.random() < 0.5:
            for _ in range(self.rng.randrange(60)):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(self.rng.choice((0.01, 0.5, 1.5, 6, 30)))
