"""Our own data of bookings, kept by their keys beside the copy, and told to watchers like any change.

A check-in is a transaction of ours alone: nobody at Microsoft is asked. Rows go with their room; what belongs to no booking
any more stays a while, since a booking may be away for a moment only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sidecar.errors import BookingNotFound, BookingOver, CheckInClosed
from sidecar.model.attendance import Attendance, check_in_window
from sidecar.model.change import ChangeKind
from sidecar.model.ids import BookingKey, RoomId, RoomUid, TenantId, TenantUid
from sidecar.model.room import Room
from sidecar.model.window import from_micros, to_micros
from sidecar.store import journal, locks, rows
from sidecar.store.departing import BodyStamper
from sidecar.store.engine import Connection, Engine
from sidecar.store.rooms import load_named
from sidecar.store.write_steps import Step

_LEFT_BEHIND = timedelta(days=7)
"""How long data without a booking is kept: longer than any trouble in which a booking is away for a while."""
_PRUNE_COUNT = 1_000
"""Rows dropped in one transaction."""
_COLUMNS = "check_in_at, check_in_by, released_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckInWish:
    """What a caller says: who came when (None: now), or that nobody did after all."""

    by: str = ""
    at: datetime | None = None
    is_undo: bool = False


@dataclass(frozen=True, slots=True)
class Attended:
    """An encoded booking as it is now, its tenant, and the newest revision of the tenant's log."""

    body: bytes
    tenant_uid: TenantUid
    revision: int


class Attendances:
    """What we know of bookings ourselves."""

    def __init__(self, engine: Engine, stamper: BodyStamper) -> None:
        self._engine = engine
        self._stamper = stamper

    async def check_in(self, tenant_id: TenantId, room_id: RoomId, key: BookingKey, wish: CheckInWish) -> Attended:
        """Record that somebody came to a booking, or take that back. The first check-in stands; a repeat changes nothing.

        Raises:
            RoomNotFound, BookingNotFound.
            BookingOver: it was cancelled or declined.
            CheckInClosed: nobody can have come then.
        """

        async def run(c: Connection) -> Attended:
            await locks.keep_named_tenant(c, tenant_id)
            room = await load_named(c, tenant_id, room_id)
            row = await c.fetch_one(
                "SELECT start_at, end_at, takes_room, body FROM bookings WHERE room_uid = $1 AND key = $2",
                room.uid,
                key,
            )
            if row is None:
                raise BookingNotFound("there is no such booking")
            before = await load_attendance(c, room.uid, key)
            if wish.is_undo:
                after = replace(before, check_in_at=None, check_in_by="")
            elif before.check_in_at is not None:
                after = before
            else:
                at = wish.at or c.now
                _refuse_impossible(from_micros(row[0]), from_micros(row[1]), takes_room=bool(row[2]), at=at)
                after = replace(before, check_in_at=at, check_in_by=wish.by)
            return await self._save(c, room, key, bytes(row[3]), before, after, is_news=bool(row[2]))

        return await self._engine.write(run)

    async def _save(
        self,
        c: Connection,
        room: Room,
        key: BookingKey,
        body: bytes,
        before: Attendance,
        after: Attendance,
        *,
        is_news: bool,
    ) -> Attended:
        """Write our own data and the booking with it; watchers hear of it if the booking takes the room."""
        if before == after:
            return Attended(body, room.tenant_uid, await journal.take_revisions(c, room.tenant_uid, 0))
        await save_attendance(c, room.uid, key, after)
        body, digest = self._stamper.attend(body, after)
        last = await journal.take_revisions(c, room.tenant_uid, int(is_news))
        revision = last + int(is_news)
        if is_news:
            body = self._stamper.stamp(body, revision=revision)
            entry = journal.Entry(room.uid, ChangeKind.UPSERTED, booking_key=key, body=body)
            await journal.append(c, room.tenant_uid, [entry], after_revision=last)
        await c.execute(
            "UPDATE bookings SET body = $3, digest = $4, revision = CASE WHEN $5 = 0 THEN revision ELSE $5 END"
            " WHERE room_uid = $1 AND key = $2",
            room.uid,
            key,
            body,
            digest,
            revision if is_news else 0,
        )
        return Attended(body, room.tenant_uid, revision)

    async def prune(self, tenant_uid: TenantUid) -> int:
        """Drop some of what has belonged to no booking for long; return how much."""

        async def run(c: Connection) -> int:
            await locks.keep_tenant(c, tenant_uid)
            found = await c.fetch(
                "SELECT a.room_uid, a.booking_key FROM attendances a JOIN rooms r ON r.uid = a.room_uid"
                " WHERE r.tenant_uid = $1 AND a.updated_at < $2 AND NOT EXISTS"
                " (SELECT 1 FROM bookings b WHERE b.room_uid = a.room_uid AND b.key = a.booking_key) LIMIT $3",
                tenant_uid,
                to_micros(c.now - _LEFT_BEHIND),
                _PRUNE_COUNT,
            )
            await c.execute_many("DELETE FROM attendances WHERE room_uid = $1 AND booking_key = $2", found)
            return len(found)

        return await self._engine.write(run)


async def load_attendances(c: Connection, room_uid: RoomUid) -> Mapping[BookingKey, Attendance]:
    """Return what we know of a room's bookings ourselves, within somebody else's transaction."""
    found = await c.fetch(f"SELECT booking_key, {_COLUMNS} FROM attendances WHERE room_uid = $1", room_uid)  # noqa: S608
    return {BookingKey(row[0]): _from_row(row[1], row[2], row[3]) for row in found}


async def load_attendance(c: Connection, room_uid: RoomUid, key: BookingKey) -> Attendance:
    """Return what we know of one booking ourselves; see `load_attendances`."""
    row = await c.fetch_one(
        f"SELECT {_COLUMNS} FROM attendances WHERE room_uid = $1 AND booking_key = $2",  # noqa: S608  (ours)
        room_uid,
        key,
    )
    return Attendance() if row is None else _from_row(row[0], row[1], row[2])


async def save_attendance(c: Connection, room_uid: RoomUid, key: BookingKey, attendance: Attendance) -> None:
    """Keep what we know of one booking; whoever calls this writes the booking itself in the same transaction."""
    if attendance.is_empty:
        await c.execute("DELETE FROM attendances WHERE room_uid = $1 AND booking_key = $2", room_uid, key)
        return
    await c.execute(
        "INSERT INTO attendances (room_uid, booking_key, check_in_at, check_in_by, released_at, updated_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (room_uid, booking_key) DO UPDATE"
        " SET check_in_at = $3, check_in_by = $4, released_at = $5, updated_at = $6",
        room_uid,
        key,
        None if attendance.check_in_at is None else to_micros(attendance.check_in_at),
        attendance.check_in_by,
        None if attendance.released_at is None else to_micros(attendance.released_at),
        to_micros(c.now),
    )


def released_with(step: Step, room_uid: RoomUid, key: BookingKey, at: datetime) -> Step:
    """Return a step of a write that also keeps from when on a booking's room was given back."""

    async def run(c: Connection) -> None:
        await step(c)
        known = await load_attendance(c, room_uid, key)
        await save_attendance(c, room_uid, key, replace(known, released_at=at))

    return run


def _from_row(check_in_at: int | None, check_in_by: str, released_at: int | None) -> Attendance:
    return Attendance(
        check_in_at=rows.instant(check_in_at), check_in_by=check_in_by, released_at=rows.instant(released_at)
    )


def _refuse_impossible(start_at: datetime, end_at: datetime, *, takes_room: bool, at: datetime) -> None:
    if not takes_room:
        raise BookingOver("the booking was cancelled or declined")
    window = check_in_window(start_at, end_at)
    if not window.start_at <= at < window.end_at:
        details = {"open_time": window.start_at.isoformat(), "close_time": window.end_at.isoformat()}
        raise CheckInClosed("nobody can have come to the booking then", details=details)
