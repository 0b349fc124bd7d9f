"""Mapped rooms."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sidecar.errors import EtagMismatch, RoomExists, RoomNotFound, SidecarError, StoreConflict, TenantNotFound
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.ids import Mailbox, RoomId, RoomUid, TenantId, TenantUid
from sidecar.model.intent import IntentKind, Lease, Priority
from sidecar.model.problem import Problem
from sidecar.model.room import Room
from sidecar.model.window import to_micros
from sidecar.store import journal, locks, rows, run_items
from sidecar.store.departing import BodyStamper
from sidecar.store.engine import Connection, Engine, places
from sidecar.store.room_departures import abandon_subscriptions, log_departure
from sidecar.store.room_edits import RoomEdit, changes_nothing, edit_room, refuse_taken_mailbox
from sidecar.store.tenants import new_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomMapping:
    """What a caller maps. An empty zone means: the mailbox's own."""

    room_id: RoomId
    mailbox: Mailbox
    display_name: str
    time_zone: str
    capacity: int
    annotations: dict[str, str]


class Rooms:
    """The rooms."""

    def __init__(self, engine: Engine, stamper: BodyStamper) -> None:
        self._engine = engine
        self._stamper = stamper

    async def map_all(self, tenant_id: TenantId, mappings: Sequence[RoomMapping]) -> list[Room | SidecarError]:
        """Map rooms, each with its own outcome; a new room's first read and subscription become due.

        Raises:
            TenantNotFound.
        """

        async def run(c: Connection) -> list[Room | SidecarError]:
            await locks.keep_named_tenant(c, tenant_id)
            tenant_uid = await load_tenant_uid(c, tenant_id)
            outcomes: list[Room | SidecarError] = []
            for mapping in mappings:
                try:
                    outcomes.append(await _map_one(c, tenant_uid, mapping))
                except RoomExists as error:
                    outcomes.append(error)
            return outcomes

        return await self._engine.write(run)

    async def load(self, tenant_id: TenantId, room_id: RoomId) -> Room:
        """Load by the caller's ids.

        Raises:
            RoomNotFound: also when the tenant is unknown or being deleted.
        """
        return await self._engine.read(lambda c: load_named(c, tenant_id, room_id))

    async def load_by_mailbox(self, tenant_uid: TenantUid, mailbox: Mailbox) -> Room | None:
        """Load the room that is mapped to a mailbox, however it is spelled; None when there is none."""
        return await self._engine.read(
            lambda c: _load(c, "r.tenant_uid = $1 AND r.mailbox_key = $2", tenant_uid, mailbox.casefold())
        )

    async def load_by_uid(self, uid: RoomUid) -> Room | None:
        """Load by our id; None when it is unmapped."""
        return await self._engine.read(lambda c: _load(c, "r.uid = $1 AND t.deleted_at IS NULL", uid))

    async def page(self, tenant_id: TenantId, *, after: RoomId, count_max: int) -> Sequence[Room]:
        """Return a tenant's rooms whose id sorts after `after`, by id.

        Raises:
            TenantNotFound.
        """

        async def run(c: Connection) -> list[Room]:
            tenant_uid = await load_tenant_uid(c, tenant_id)
            found = await c.fetch(
                f"{rows.ROOM} WHERE r.tenant_uid = $1 AND r.room_id > $2 ORDER BY r.room_id LIMIT $3",
                tenant_uid,
                after,
                count_max,
            )
            return [rows.room_from_row(row, now=c.now) for row in found]

        return await self._engine.read(run)

    async def load_all(self, tenant_uid: TenantUid) -> tuple[int, Sequence[Room]]:
        """Return the number of the last entry of the tenant's log, and all its rooms as of then, by uid."""

        async def run(c: Connection) -> tuple[int, list[Room]]:
            head = await c.fetch_one("SELECT revision FROM tenants WHERE uid = $1", tenant_uid)
            found = await c.fetch(f"{rows.ROOM} WHERE r.tenant_uid = $1 ORDER BY r.uid", tenant_uid)
            return (0 if head is None else int(head[0])), [rows.room_from_row(row, now=c.now) for row in found]

        return await self._engine.read(run)

    async def load_many(self, uids: Sequence[RoomUid]) -> dict[RoomUid, Room]:
        """Return the rooms of these uids that are still mapped."""

        async def run(c: Connection) -> dict[RoomUid, Room]:
            found: dict[RoomUid, Room] = {}
            for uid in uids:
                room = await _load(c, "r.uid = $1", uid)
                if room is not None:
                    found[uid] = room
            return found

        return await self._engine.read(run)

    async def unmap(
        self, tenant_id: TenantId, room_id: RoomId, *, etag: str, tells_each: bool = True
    ) -> datetime | None:
        """Forget a room: its bookings leave the scope of watchers, its subscription is to be removed at Graph.

        Args:
            tells_each: an entry for each booking comes before the one about the room; else that one speaks for all.
        Returns:
            When Graph's promise to call us about the room runs out by itself, should it not be removed before; None: there
            is none.
        Raises:
            RoomNotFound, EtagMismatch.
        """

        async def run(c: Connection) -> datetime | None:
            room = await _load_to_change(c, tenant_id, room_id, etag)
            last = journal.Entry(room.uid, ChangeKind.ROOM_UNMAPPED, body=room.name.encode())
            await log_departure(c, room, self._stamper, cause=Cause.ROOM_UNMAPPED, tells_each=tells_each, last=last)
            runs_out_at = await abandon_subscriptions(c, room)
            await run_items.forget(c, "key = $1", room.uid)
            await c.execute("DELETE FROM rooms WHERE uid = $1", room.uid)
            return runs_out_at

        return await self._engine.write(run)

    async def update(self, room: Room, edit: RoomEdit, *, etag: str) -> Room:
        """Change a room.

        A change that has been made already is made again without a complaint about the etag: it is a repeated call.

        Args:
            room: as it was when the edit was made up; what is known of an address holds for the mailbox it had then.
        Raises:
            RoomNotFound, EtagMismatch, RoomExists; StoreConflict: the room has another mailbox than `room` by now.
        """

        async def run(c: Connection) -> Room:
            found = await _load_to_change(c, room.tenant_id, room.room_id, "")
            if changes_nothing(found, edit):
                return found
            _check_etag(found, etag)
            is_as_known = (found.uid, found.calendar_no, found.mailbox) == (room.uid, room.calendar_no, room.mailbox)
            if edit.address is not None and not is_as_known:
                raise StoreConflict("the room was tied to another mailbox meanwhile")
            await edit_room(c, found, edit, self._stamper)
            changed = await _load(c, "r.uid = $1", found.uid)
            assert changed is not None, "loaded above"
            return changed

        return await self._engine.write(run)

    async def by_mailbox(self, tenant_id: TenantId, mailboxes: Collection[str]) -> dict[str, Room]:
        """Return the rooms that some addresses are mapped to, by the case-folded address.

        An address that a caller gave leads to its room also after Microsoft has told another one.

        Raises:
            TenantNotFound.
        """
        keys = sorted({mailbox.casefold() for mailbox in mailboxes})

        async def run(c: Connection) -> dict[str, Room]:
            tenant_uid = await load_tenant_uid(c, tenant_id)
            found: dict[str, Room] = {}
            for column in ("given_key", "mailbox_key") if keys else ():
                wanted = f"r.tenant_uid = $1 AND r.{column} IN ({places(keys, first=2)})"
                for row in await c.fetch(f"{rows.ROOM} WHERE {wanted}", tenant_uid, *keys):
                    room = rows.room_from_row(row, now=c.now)
                    key = room.given_key if column == "given_key" else room.mailbox.casefold()
                    found[key or ""] = room
            return found

        return await self._engine.read(run)

    async def set_mailbox(
        self, room: Room, *, object_id: str | None, time_zone: str | None, address: Mailbox | None = None
    ) -> None:
        """Note what Exchange told about a room's mailbox; what the caller gave is kept.

        Args:
            room: as it was when Exchange was asked; what is said of another mailbox than it has now is dropped.
            address: where the mailbox is reached now; None: where it was. The caller may go on naming the room by the
                address that it gave. An address that is another room's is not taken.
        """

        async def run(c: Connection) -> None:
            await locks.keep_tenant_of_room(c, room.uid)
            found = await _load(c, "r.uid = $1 AND t.deleted_at IS NULL", room.uid)
            if found is None or found.calendar_no != room.calendar_no:
                return
            await c.execute(
                "UPDATE rooms SET object_id = COALESCE($2, object_id),"
                " told_zone = CASE WHEN time_zone = '' THEN $3 ELSE told_zone END,"
                " time_zone = CASE WHEN time_zone = '' THEN COALESCE($3, '') ELSE time_zone END WHERE uid = $1",
                room.uid,
                object_id,
                time_zone,
            )
            if address is not None and found.mailbox == room.mailbox:
                await _follow_address(c, found, address)

        await self._engine.write(run)

    async def set_problem(self, uid: RoomUid, problem: Problem | None, *, lease: Lease | None) -> None:
        """Note what keeps a room from being read (None: nothing)."""
        await self._engine.write(lambda c: save_problem(c, uid, "problem", problem, lease=lease))

    async def set_subscription_problem(self, uid: RoomUid, problem: Problem | None, *, lease: Lease | None) -> None:
        """Note what keeps a room's changes from being announced (None: nothing)."""
        await self._engine.write(lambda c: save_problem(c, uid, "subscription_problem", problem, lease=lease))

    async def resync(self, tenant_id: TenantId, room_id: RoomId) -> Room:
        """Make a full read due now, with a new snapshot for every watcher.

        Raises:
            RoomNotFound.
        """

        async def run(c: Connection) -> Room:
            room = await _load_to_change(c, tenant_id, room_id, "")
            await c.execute("UPDATE rooms SET resyncs = resyncs + 1 WHERE uid = $1", room.uid)
            lane = room.tenant_uid
            await journal.mark(c, IntentKind.ROOM_COMPARE, room.uid, lane, priority=Priority.REPAIR, force=True)
            await journal.mark(c, IntentKind.ROOM_SUBSCRIBE, room.uid, lane, priority=Priority.REPAIR, force=True)
            return room

        return await self._engine.write(run)


async def load_tenant_uid(c: Connection, tenant_id: TenantId) -> TenantUid:
    """Return the uid of a tenant in use.

    Raises:
        TenantNotFound.
    """
    row = await c.fetch_one("SELECT uid FROM tenants WHERE tenant_id = $1 AND deleted_at IS NULL", tenant_id)
    if row is None:
        raise TenantNotFound("there is no such tenant")
    return TenantUid(row[0])


async def save_problem(
    c: Connection, uid: RoomUid, column: str, problem: Problem | None, *, lease: Lease | None
) -> None:
    """Write one of a room's problem columns; a change of cause is an entry of the log."""
    await locks.keep_tenant_of_room(c, uid)
    await journal.check_lease(c, lease)
    room = await _load(c, "r.uid = $1 AND t.deleted_at IS NULL", uid)
    if room is None:
        return
    before = room.problem if column == "problem" else room.subscription_problem
    if before is None and problem is None:
        return
    is_news = (before and before.reason) != (problem and problem.reason)
    await c.execute(
        f"UPDATE rooms SET {column} = $2, version = version + $3, updated_at = $4 WHERE uid = $1",  # noqa: S608  (ours)
        uid,
        rows.problem_to_text(problem.since(before)) if problem else None,
        int(is_news),
        to_micros(c.now),
    )
    if is_news:
        await journal.append_about_room(c, room.tenant_uid, uid, ChangeKind.ROOM_CHANGED)
        if column == "subscription_problem" and problem is not None:
            await check_soon(c, uid, room.tenant_uid)


async def check_soon(c: Connection, uid: RoomUid, lane: TenantUid) -> None:
    """Have a room checked at once, because from now on nobody announces its changes; part of somebody's transaction."""
    await journal.mark(c, IntentKind.ROOM_CHECK, uid, lane, priority=Priority.CHECK)


async def _load_to_change(c: Connection, tenant_id: TenantId, room_id: RoomId, etag: str) -> Room:
    """Keep other writers from a tenant, and return one of its rooms in the version that the caller means (empty: any).

    Raises:
        RoomNotFound, EtagMismatch.
    """
    await locks.keep_named_tenant(c, tenant_id)
    room = await _load(c, "t.tenant_id = $1 AND r.room_id = $2 AND t.deleted_at IS NULL", tenant_id, room_id)
    if room is None:
        raise RoomNotFound("there is no such room")
    _check_etag(room, etag)
    return room


def _check_etag(room: Room, etag: str) -> None:
    if etag and etag != str(room.version):
        raise EtagMismatch("the room has changed", details={"etag": str(room.version)})


async def load_named(c: Connection, tenant_id: TenantId, room_id: RoomId) -> Room:
    """Load by the caller's ids, within somebody else's transaction.

    Raises:
        RoomNotFound: also when the tenant is unknown or being deleted.
    """
    room = await _load(c, "t.tenant_id = $1 AND r.room_id = $2 AND t.deleted_at IS NULL", tenant_id, room_id)
    if room is None:
        raise RoomNotFound("there is no such room")
    return room


async def _load(c: Connection, condition: str, *values: str) -> Room | None:
    row = await c.fetch_one(f"{rows.ROOM} WHERE {condition}", *values)
    return None if row is None else rows.room_from_row(row, now=c.now)


async def _map_one(c: Connection, tenant_uid: TenantUid, mapping: RoomMapping) -> Room:
    mailbox_key = mapping.mailbox.casefold()
    existing = await _load(c, "r.tenant_uid = $1 AND r.room_id = $2", tenant_uid, mapping.room_id)
    await refuse_taken_mailbox(c, tenant_uid, mapping.mailbox, existing)
    if existing is None:
        uid = RoomUid(new_uid("r", c.now))
        await _insert(c, tenant_uid, uid, mapping)
    else:
        uid = existing.uid
        if existing.mailbox.casefold() != mailbox_key:
            if existing.given_key != mailbox_key:
                raise RoomExists("the room id is in use for another mailbox", details={"mailbox": existing.mailbox})
            mapping = replace(mapping, mailbox=existing.mailbox)  # the one that Microsoft has told since
        await _update(c, existing, mapping)
    room = await _load(c, "r.uid = $1", uid)
    assert room is not None, "written above"
    return room


async def _follow_address(c: Connection, room: Room, address: Mailbox) -> None:
    try:
        await refuse_taken_mailbox(c, room.tenant_uid, address, room)
    except RoomExists:
        return
    await c.execute(
        "UPDATE rooms SET given_key = COALESCE(given_key, mailbox_key), mailbox = $2, mailbox_key = $3,"
        " version = version + 1, updated_at = $4 WHERE uid = $1",
        room.uid,
        address,
        address.casefold(),
        to_micros(c.now),
    )
    await journal.append_about_room(c, room.tenant_uid, room.uid, ChangeKind.ROOM_CHANGED)


async def _insert(c: Connection, tenant_uid: TenantUid, uid: RoomUid, mapping: RoomMapping) -> None:
    await c.execute(
        "INSERT INTO rooms (uid, tenant_uid, room_id, mailbox, mailbox_key, display_name, time_zone, capacity,"
        " annotations, version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10, $10)",
        uid,
        tenant_uid,
        mapping.room_id,
        mapping.mailbox,
        mapping.mailbox.casefold(),
        mapping.display_name,
        mapping.time_zone,
        mapping.capacity,
        json.dumps(mapping.annotations, sort_keys=True),
        to_micros(c.now),
    )
    await journal.append_about_room(c, tenant_uid, uid, ChangeKind.ROOM_CHANGED)
    # The subscription first: what changes while the calendar is read for the first time is then announced.
    await journal.mark(c, IntentKind.ROOM_SUBSCRIBE, uid, tenant_uid, priority=Priority.REPAIR)
    await journal.mark(c, IntentKind.ROOM_COMPARE, uid, tenant_uid, priority=Priority.IMPORT)


async def _update(c: Connection, existing: Room, mapping: RoomMapping) -> None:
    zone = mapping.time_zone or existing.time_zone
    before = (existing.display_name, existing.time_zone, existing.capacity, existing.annotations, existing.mailbox)
    if before == (mapping.display_name, zone, mapping.capacity, mapping.annotations, mapping.mailbox):
        return
    await c.execute(
        "UPDATE rooms SET display_name = $2, time_zone = $3, capacity = $4, annotations = $5, mailbox = $6,"
        " version = version + 1, updated_at = $7 WHERE uid = $1",
        existing.uid,
        mapping.display_name,
        zone,
        mapping.capacity,
        json.dumps(mapping.annotations, sort_keys=True),
        mapping.mailbox,
        to_micros(c.now),
    )
    await journal.append_about_room(c, existing.tenant_uid, existing.uid, ChangeKind.ROOM_CHANGED)
    if zone != existing.time_zone:  # whole-day bookings lie elsewhere now
        lane = existing.tenant_uid
        await journal.mark(c, IntentKind.ROOM_COMPARE, existing.uid, lane, priority=Priority.COMPARE)
