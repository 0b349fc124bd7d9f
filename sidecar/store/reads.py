"""What a read proves about a room: how fresh its copy is, what nobody had announced, and what is held back.

These functions run inside somebody else's transaction and never begin one of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sidecar.model.booking import StoredBooking
from sidecar.model.change import ChangeKind, SnapshotReason
from sidecar.model.ids import BookingKey, EventId, RoomUid
from sidecar.model.intent import IntentKind
from sidecar.model.plan import CompleteRead, DeltaPlace, DeltaRead, Removal, RoomPlan, Upsert
from sidecar.model.room import Room
from sidecar.model.window import from_micros, to_micros
from sidecar.store import journal, rows
from sidecar.store.engine import Connection

_ANNOUNCED_WITHIN = timedelta(minutes=5)
"""Microsoft states three minutes at most between a change and its notification. What is younger may still be announced."""

Stored = Mapping[BookingKey, StoredBooking]


@dataclass(frozen=True, slots=True)
class Surprises:
    """What a read found that no notification had announced.

    Attributes:
        count: all of it; enough to ask whether the subscription still lives.
        unannounced_count: what is so old that its notification is no longer on the way.
        drift_count: what a delta round had not named either.
    """

    count: int = 0
    unannounced_count: int = 0
    drift_count: int = 0


def count_surprises(plan: RoomPlan, stored: Stored, room: Room, read: CompleteRead | DeltaRead) -> Surprises:
    """Count what a read found without having been told.

    A room without a subscription is never told, and neither is what came into or left the horizon as it moved. Of a
    deletion nobody knows the age. Where delta was asked right before, what it did not name is too old to be on the way, or
    a moment old; where delta is of no use, a deletion is unannounced but no drift, for its notification may be on the way.
    """
    if room.horizon is None:
        return Surprises()
    named = read.named if isinstance(read, CompleteRead) else None
    can_drift = isinstance(read, CompleteRead) and (room.is_subscribed or named is not None)
    count = unannounced_count = drift_count = 0
    for item in _news(plan):
        is_old = True
        is_datable = isinstance(item, Upsert) or named is not None
        if isinstance(item, Upsert):
            booking = item.booking
            if not room.horizon.overlaps(booking.start_at, booking.end_at):
                continue
            is_old = booking.updated_at is not None and booking.updated_at < read.began_at - _ANNOUNCED_WITHIN
        if room.is_subscribed:
            count += 1
            unannounced_count += is_old
        if can_drift and is_old and is_datable and not _owners(item, stored) & (named or frozenset()):
            drift_count += 1
    return Surprises(count, unannounced_count, drift_count)


def _news(plan: RoomPlan) -> Iterable[Upsert | Removal]:
    yield from (upsert for upsert in plan.upserts if upsert.kind is not None)
    yield from (removal for removal in plan.removals if removal.kind is ChangeKind.REMOVED)


def _owners(item: Upsert | Removal, stored: Stored) -> set[EventId | None]:
    """Return the events by whose names somebody could have spoken of a booking: it, and its series."""
    if isinstance(item, Upsert):
        return {item.booking.event_id, item.booking.master_id}
    before = stored[item.key]
    return {before.event_id, before.master_id}


async def save_complete(
    c: Connection, room: Room, complete: CompleteRead, *, drift_count: int, is_first: bool, is_news: bool
) -> None:
    """Note a complete read, and give every watcher a snapshot where one is due.

    While bookings are held back the copy is as fresh as it was: the read contradicts it, and is not believed yet.
    """
    row = await c.fetch_one("SELECT hold_problem FROM rooms WHERE uid = $1", room.uid)
    before = rows.problem_from_text(row[0]) if row is not None else None
    hold = complete.hold.since(before) if complete.hold is not None else None
    is_changed = is_first or room.problem is not None or (before is None) != (hold is None)
    await c.execute(
        "UPDATE rooms SET horizon_start_at = $2, horizon_end_at = $3, problem = NULL,"
        " fresh_as_of_at = CASE WHEN $5 = 1 THEN fresh_as_of_at ELSE $4 END,"
        " drift_count = drift_count + $6, resyncs = resyncs - $7, version = version + $8, updated_at = $9,"
        " hold_problem = $10, no_delta_until_at = $11, read_privacy = $12 WHERE uid = $1",
        room.uid,
        to_micros(complete.horizon.start_at),
        to_micros(complete.horizon.end_at),
        to_micros(complete.began_at),
        int(hold is not None),
        drift_count,
        complete.resyncs,
        int(is_changed),
        to_micros(c.now) if is_changed else to_micros(room.updated_at),
        rows.problem_to_text(hold),
        rows.micros(complete.no_delta_until_at),
        rows.privacy_to_text(room.settings.privacy),
    )
    await _save_place(c, room.uid, complete.place)
    if is_news and not is_first:
        await _note_news(c, room.uid)
    if before is not None or hold is not None:
        await _save_held(c, room.uid, complete.held, held_at=complete.began_at)
    await _tell(c, room, complete, is_first=is_first, is_changed=is_changed)
    for kind in (IntentKind.ROOM_SYNC, IntentKind.ROOM_CHECK):
        await journal.hurry(c, kind, room.uid, room.tenant_uid)


async def _tell(c: Connection, room: Room, complete: CompleteRead, *, is_first: bool, is_changed: bool) -> None:
    entries = []
    if is_first:
        entries.append(journal.Entry(room.uid, ChangeKind.ROOM_SNAPSHOT, SnapshotReason.ROOM_ADDED))
    elif complete.resyncs:
        entries.append(journal.Entry(room.uid, ChangeKind.ROOM_SNAPSHOT, SnapshotReason.RESYNCED))
    if is_changed:
        entries.append(journal.Entry(room.uid, ChangeKind.ROOM_CHANGED))
    if entries:
        after_revision = await journal.take_revisions(c, room.tenant_uid, len(entries))
        await journal.append(c, room.tenant_uid, entries, after_revision=after_revision)


async def save_delta(c: Connection, room: Room, delta: DeltaRead, *, is_news: bool) -> None:
    """Note a delta round of which everything was read: the copy is as fresh as its beginning, and the next one follows it.

    It could be read, so what refused the mailbox is over. Held bookings are not its business, and keep the freshness back.
    """
    await c.execute(
        "UPDATE rooms SET fresh_as_of_at = CASE WHEN hold_problem IS NULL THEN $2 ELSE fresh_as_of_at END WHERE uid = $1",
        room.uid,
        to_micros(delta.began_at),
    )
    await _save_place(c, room.uid, delta.place)
    if is_news:
        await _note_news(c, room.uid)
    if room.problem is not None:
        await c.execute(
            "UPDATE rooms SET problem = NULL, version = version + 1, updated_at = $2 WHERE uid = $1",
            room.uid,
            to_micros(c.now),
        )
        await journal.append_about_room(c, room.tenant_uid, room.uid, ChangeKind.ROOM_CHANGED)
    for kind in (IntentKind.ROOM_SYNC, IntentKind.ROOM_COMPARE):
        await journal.hurry(c, kind, room.uid, room.tenant_uid)


async def _save_place(c: Connection, room_uid: RoomUid, place: DeltaPlace | None) -> None:
    await c.execute(
        "UPDATE rooms SET delta_link = $2, delta_start_at = $3, delta_end_at = $4 WHERE uid = $1",
        room_uid,
        None if place is None else place.link,
        None if place is None else to_micros(place.window.start_at),
        None if place is None else to_micros(place.window.end_at),
    )


async def _note_news(c: Connection, room_uid: RoomUid) -> None:
    await c.execute("UPDATE rooms SET news_at = $2 WHERE uid = $1", room_uid, to_micros(c.now))


async def load_held(c: Connection, room_uid: RoomUid) -> dict[BookingKey, datetime]:
    """Return the bookings that are held back, each with the beginning of the read that first lacked it."""
    found = await c.fetch("SELECT booking_key, held_at FROM held_bookings WHERE room_uid = $1", room_uid)
    return {BookingKey(row[0]): from_micros(row[1]) for row in found}


async def _save_held(c: Connection, room_uid: RoomUid, keys: frozenset[BookingKey], *, held_at: datetime) -> None:
    """Hold exactly these bookings back; what was held before keeps its time."""
    before = await load_held(c, room_uid)
    await c.execute_many(
        "DELETE FROM held_bookings WHERE room_uid = $1 AND booking_key = $2",
        [(room_uid, key) for key in sorted(before.keys() - keys)],
    )
    await c.execute_many(
        "INSERT INTO held_bookings (room_uid, booking_key, held_at) VALUES ($1, $2, $3)",
        [(room_uid, key, to_micros(held_at)) for key in sorted(keys - before.keys())],
    )
