"""Writing the tenant's log and marking work as due: the pieces that other transactions are made of.

These functions run inside somebody else's transaction and never begin one of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

from sidecar.errors import StoreConflict
from sidecar.model.change import ChangeKind
from sidecar.model.ids import BookingKey, RoomUid, TenantUid
from sidecar.model.intent import IntentKind, Lease, Priority
from sidecar.model.window import to_micros
from sidecar.store.engine import Connection
from sidecar.telemetry.tracing import CONTEXT_CHARS, CONTEXTS_MAX

CHANGES = "changes"
"""Channel: a tenant's log has grown; the payload is the tenant's uid."""
TENANTS = "tenants"
"""Channel: a tenant itself is different; the payload is its uid."""
WORK = "work"
"""Channel: an intent was marked; the payload is its lane."""
_PATIENCE_SHARE_MIN = 0.6
_TRACE_CHARS_FULL = CONTEXTS_MAX * (CONTEXT_CHARS + 1) - 1


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry to be written; its revision is given by its place."""

    room_uid: RoomUid
    kind: ChangeKind
    cause: int = 0
    booking_key: BookingKey | None = None
    body: bytes = b""


async def take_revisions(c: Connection, tenant_uid: TenantUid, count: int) -> int:
    """Take the next `count` revisions of a tenant and return the one before them.

    This locks the tenant's row until the commit: the order of revisions is the order of commits.
    """
    row = await c.fetch_one(
        "UPDATE tenants SET revision = revision + $2 WHERE uid = $1 RETURNING revision", tenant_uid, count
    )
    if row is None:
        raise StoreConflict("the tenant is gone")
    return int(row[0]) - count


async def append(c: Connection, tenant_uid: TenantUid, entries: Iterable[Entry], *, after_revision: int) -> None:
    """Write entries under the revisions that follow `after_revision`, and announce them."""
    now = to_micros(c.now)
    await c.execute_many(
        "INSERT INTO changes (tenant_uid, revision, room_uid, kind, cause, booking_key, body, recorded_at, trace)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            (tenant_uid, revision, entry.room_uid, entry.kind, entry.cause, entry.booking_key, entry.body, now, c.trace)
            for revision, entry in enumerate(entries, after_revision + 1)
        ],
    )
    c.announce(CHANGES, tenant_uid)


async def append_about_room(c: Connection, tenant_uid: TenantUid, room_uid: RoomUid, kind: ChangeKind) -> None:
    """Write one entry about a room as a whole; none when the log has ended with the tenant."""
    if await c.fetch_one("SELECT 1 FROM tenants WHERE uid = $1 AND deleted_at IS NULL", tenant_uid) is None:
        return
    after_revision = await take_revisions(c, tenant_uid, 1)
    await append(c, tenant_uid, [Entry(room_uid, kind)], after_revision=after_revision)


ON_KNOWN = (
    "ON CONFLICT (kind, key) DO UPDATE SET generation = intents.generation + 1,"
    "  priority = CASE WHEN intents.priority < {priority} THEN intents.priority ELSE {priority} END,"
    "  held_until = CASE WHEN {force} = 1 THEN -1 ELSE intents.held_until END,"
    "  ready_at = CASE WHEN {force} = 0 AND intents.held_until > {ready_at} THEN intents.held_until"
    "   WHEN intents.ready_at < {ready_at} THEN intents.ready_at ELSE {ready_at} END"
)
"""How a mark meets work that is planned already; see `mark`."""


async def mark(
    c: Connection,
    kind: IntentKind,
    key: str,
    lane: TenantUid,
    *,
    priority: Priority,
    ready_at: datetime | None = None,
    force: bool = False,
) -> None:
    """Make work due at `ready_at` (None: now), or earlier if it already is.

    Work that was put off after a failure stays put off, unless `force`: then somebody has reason to believe that the
    obstacle is gone. A `held_until` of -1 remembers that, for a run that is about to fail with what it knew before.
    """
    ready = to_micros(ready_at or c.now)
    await c.execute(
        "INSERT INTO intents (kind, key, lane, priority, ready_at, held_until, generation, attempts)"  # noqa: S608  (ours)
        " VALUES ($1, $2, $3, $4, $5, 0, 1, 0)"
        f" {ON_KNOWN.format(priority='$4', ready_at='$5', force='$6')}",
        kind,
        key,
        lane,
        priority,
        ready,
        int(force),
    )
    c.announce(WORK, lane)


async def mark_settling(
    c: Connection, room_uid: RoomUid, lane: TenantUid, *, settle_s: float, settle_max_s: float
) -> int:
    """Make a room's hinted read due once its notifications have settled; return the generation of this mark.

    Each mark puts the read off a little, but never beyond `settle_max_s` after the first one; each room has a limit of its
    own, from 60 % of that on, so that rooms whose notifications began together are not read together. The read will tell the
    traces that its marks were made in.
    """
    now = to_micros(c.now)
    settled = to_micros(c.now + timedelta(seconds=settle_s))
    share = _PATIENCE_SHARE_MIN + (1 - _PATIENCE_SHARE_MIN) * crc32(room_uid.encode()) / 2**32
    patience = int(settle_max_s * share * 1_000_000)
    row = await c.fetch_one(
        "INSERT INTO intents"  # noqa: S608  (ours)
        " (kind, key, lane, priority, ready_at, first_marked_at, held_until, generation, attempts, trace)"
        " VALUES ($1, $2, $3, $4, $5, $6, 0, 1, 0, $8)"
        " ON CONFLICT (kind, key) DO UPDATE SET generation = intents.generation + 1,"
        "  priority = CASE WHEN intents.priority < $4 THEN intents.priority ELSE $4 END,"
        "  first_marked_at = COALESCE(intents.first_marked_at, $6),"
        "  ready_at = CASE WHEN intents.held_until > $5 THEN intents.held_until"
        "   WHEN intents.first_marked_at + $7 < intents.held_until THEN intents.held_until"
        "   WHEN intents.first_marked_at + $7 < $5 THEN intents.first_marked_at + $7 ELSE $5 END,"
        f" trace = CASE WHEN $8 IS NULL OR LENGTH(intents.trace) >= {_TRACE_CHARS_FULL} THEN intents.trace"
        "   WHEN intents.trace IS NULL THEN $8 ELSE intents.trace || ' ' || $8 END"
        " RETURNING generation",
        IntentKind.ROOM_SYNC,
        room_uid,
        lane,
        Priority.HINT,
        settled,
        now,
        patience,
        c.trace,
    )
    assert row is not None, "INSERT ... RETURNING gives a row"
    c.announce(WORK, lane)
    return int(row[0])


async def check_lease(c: Connection, lease: Lease | None) -> None:
    """Refuse the transaction if the lane has a newer lease: somebody else works on it now."""
    if lease is None:
        return
    row = await c.fetch_one("SELECT fence FROM lanes WHERE lane = $1", lease.lane)
    if row is None or row[0] != lease.fence:
        raise StoreConflict("the lease on the lane is lost")


async def hurry(c: Connection, kind: IntentKind, key: str, lane: TenantUid) -> None:
    """Free work that was put off, if there is any: what stood in its way is gone."""
    touched = await c.execute(
        "UPDATE intents SET held_until = 0, attempts = 0, ready_at = $3"
        " WHERE kind = $1 AND key = $2 AND held_until > $3",
        kind,
        key,
        to_micros(c.now),
    )
    if touched:
        c.announce(WORK, lane)
