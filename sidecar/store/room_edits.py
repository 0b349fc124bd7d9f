"""Changing a room that is mapped: what the caller says about it, and which mailbox it is tied to.

These functions run inside somebody else's transaction and never begin one of their own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sidecar.errors import RoomExists
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.ids import Mailbox, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.room import Room
from sidecar.model.window import to_micros
from sidecar.store import journal, rows
from sidecar.store.departing import BodyStamper
from sidecar.store.engine import Connection
from sidecar.store.room_departures import abandon_subscriptions, log_departure


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAddress:
    """Another address for a room.

    Attributes:
        object_id: of the mailbox behind it; None: not known.
        is_same_mailbox: it is the mailbox that the room is tied to already, so its copy goes on.
    """

    mailbox: Mailbox
    object_id: str | None
    is_same_mailbox: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomEdit:
    """What a caller changes; None: stays as it is."""

    display_name: str | None = None
    time_zone: str | None = None
    capacity: int | None = None
    annotations: dict[str, str] | None = None
    address: NewAddress | None = None


async def edit_room(c: Connection, room: Room, edit: RoomEdit, stamper: BodyStamper) -> None:
    """Carry out an edit; nothing happens and nobody is told where it changes nothing.

    Raises:
        RoomExists: the mailbox is mapped to another room.
    """
    address = edit.address
    if address is not None:
        await refuse_taken_mailbox(c, room.tenant_uid, address.mailbox, room)
    is_changed = await _save_values(c, room, edit)
    if address is not None and not address.is_same_mailbox:
        await _replace_mailbox(c, room, address, stamper)
        return
    if address is not None and (address.mailbox, address.object_id or room.object_id) != (room.mailbox, room.object_id):
        await _save_address(c, room, address)
        is_changed = True
    if is_changed:
        await _note_change(c, room)
        await journal.append_about_room(c, room.tenant_uid, room.uid, ChangeKind.ROOM_CHANGED)


async def refuse_taken_mailbox(c: Connection, tenant_uid: TenantUid, mailbox: Mailbox, room: Room | None) -> None:
    """Raise when a mailbox is mapped to another room than this one, by its present address or by the one that was given.

    Raises:
        RoomExists.
    """
    found = await c.fetch_one(
        f"{rows.ROOM} WHERE r.tenant_uid = $1 AND (r.mailbox_key = $2 OR r.given_key = $2) AND r.uid != $3 LIMIT 1",
        tenant_uid,
        mailbox.casefold(),
        "" if room is None else room.uid,
    )
    if found is not None:
        other = rows.room_from_row(found, now=c.now)
        raise RoomExists("the mailbox is mapped to another room", details={"room": other.name})


def changes_nothing(room: Room, edit: RoomEdit) -> bool:
    """Tell whether a room is as an edit wants it, for instance because the same call was answered before."""
    return edit.address is None and _wanted_values(room, edit) == _wanted_values(room, RoomEdit())


def _wanted_values(room: Room, edit: RoomEdit) -> tuple[str, str, int, dict[str, str]]:
    return (
        room.display_name if edit.display_name is None else edit.display_name,
        room.time_zone if edit.time_zone is None else edit.time_zone,
        room.capacity if edit.capacity is None else edit.capacity,
        room.annotations if edit.annotations is None else edit.annotations,
    )


async def _save_values(c: Connection, room: Room, edit: RoomEdit) -> bool:
    """Write what the caller says about the room; tell whether anything is different now."""
    wanted = _wanted_values(room, edit)
    if wanted == _wanted_values(room, RoomEdit()):
        return False
    display_name, zone, capacity, annotations = wanted
    await c.execute(
        "UPDATE rooms SET display_name = $2, time_zone = $3, capacity = $4, annotations = $5 WHERE uid = $1",
        room.uid,
        display_name,
        zone,
        capacity,
        json.dumps(annotations, sort_keys=True),
    )
    if zone != room.time_zone:  # whole-day bookings lie elsewhere now
        await journal.mark(c, IntentKind.ROOM_COMPARE, room.uid, room.tenant_uid, priority=Priority.COMPARE)
    return True


async def _save_address(c: Connection, room: Room, address: NewAddress) -> None:
    """Call the same mailbox by another address; what stood in the way of the former one is tried again at once."""
    await c.execute(
        "UPDATE rooms SET mailbox = $2, mailbox_key = $3, given_key = NULL, object_id = COALESCE($4, object_id)"
        " WHERE uid = $1",
        room.uid,
        address.mailbox,
        address.mailbox.casefold(),
        address.object_id,
    )
    lane = room.tenant_uid
    await journal.mark(c, IntentKind.ROOM_SUBSCRIBE, room.uid, lane, priority=Priority.REPAIR, force=True)
    if room.fresh_as_of_at is None or room.problem is not None:
        await journal.mark(c, IntentKind.ROOM_COMPARE, room.uid, lane, priority=Priority.REPAIR, force=True)
    else:
        await journal.mark(c, IntentKind.ROOM_CHECK, room.uid, lane, priority=Priority.CHECK, force=True)


async def _replace_mailbox(c: Connection, room: Room, address: NewAddress, stamper: BodyStamper) -> None:
    """Tie the room to another mailbox: its copy goes booking by booking, and the new calendar is read as if for the first time.

    The room's uid stays, so that its watchers go on; the number of its calendar tells reads that are under way that what
    they read is of the former one.
    """
    last = journal.Entry(room.uid, ChangeKind.ROOM_CHANGED)
    await log_departure(c, room, stamper, cause=Cause.ROOM_READDRESSED, tells_each=True, last=last)
    await abandon_subscriptions(c, room)
    for table in ("bookings", "attendances", "hints", "held_bookings"):
        await c.execute(f"DELETE FROM {table} WHERE room_uid = $1", room.uid)  # noqa: S608  (ours)
    await c.execute(
        "UPDATE rooms SET mailbox = $2, mailbox_key = $3, given_key = NULL, object_id = $4, calendar_no = calendar_no + 1,"
        " readdressed_at = $5,"
        " time_zone = CASE WHEN time_zone = told_zone THEN '' ELSE time_zone END, told_zone = NULL,"
        " problem = NULL, subscription_problem = NULL, hold_problem = NULL, horizon_start_at = NULL, horizon_end_at = NULL,"
        " fresh_as_of_at = NULL, delta_link = NULL, delta_start_at = NULL, delta_end_at = NULL, no_delta_until_at = NULL,"
        " news_at = NULL, resyncs = 0, drift_count = 0 WHERE uid = $1",
        room.uid,
        address.mailbox,
        address.mailbox.casefold(),
        address.object_id,
        to_micros(c.now),
    )
    await _note_change(c, room)
    lane = room.tenant_uid
    # The subscription first, as for a room that is mapped: what changes during the first read is then announced.
    await journal.mark(c, IntentKind.ROOM_SUBSCRIBE, room.uid, lane, priority=Priority.REPAIR, force=True)
    await journal.mark(c, IntentKind.ROOM_COMPARE, room.uid, lane, priority=Priority.IMPORT, force=True)


async def _note_change(c: Connection, room: Room) -> None:
    await c.execute(
        "UPDATE rooms SET version = version + 1, updated_at = $2 WHERE uid = $1", room.uid, to_micros(c.now)
    )
