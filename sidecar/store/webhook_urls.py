"""Where Graph is to call, when several processes may have been told different addresses.

Each process announces its address again and again. An address reigns from its first announcement until nobody has made one
for a minute; of those alive the youngest reign counts, for every process, whatever its own setting. So while a change rolls
out, old and new processes work towards the same address and never undo each other's work; an old process that starts again
continues its old reign and changes nothing; and when a roll-out is taken back, the new address falls silent and the former
one counts again. Addresses are remembered, because what is left over at Microsoft is known to be ours by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sidecar.model.change import ChangeKind
from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.window import to_micros
from sidecar.store import journal, locks
from sidecar.store.engine import Connection, Engine
from sidecar.store.rooms import check_soon

ALIVE = timedelta(seconds=60)
"""An address that nobody has announced for this long has no process any more."""
_REMEMBERED = timedelta(days=30)
"""Longer than any subscription lives: nothing at Microsoft can still have an older address."""
_KEY = "webhook_url"


class WebhookUrls:
    """The addresses. "" is the address of a process that has none: rooms are then polled."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def announce(self, url: str | None, *, is_start: bool = False, is_alone: bool = False) -> str:
        """Say that a process with this address is alive; return the address that counts.

        When another one counts than before, every subscription that was made for a different one is counted as run out,
        since nobody knows whether its calls still reach us, and every room is due to get one. At the start that is made
        sure of in any case.

        Args:
            is_alone: no other process can be alive.
        """

        async def run(c: Connection) -> str:
            # First, so that announcements come one after the other.
            before = await c.fetch_one(
                "INSERT INTO meta (key, value) VALUES ($1, '') ON CONFLICT (key) DO UPDATE SET value = meta.value"
                " RETURNING value",
                _KEY,
            )
            await _note(c, url or "", is_alone=is_alone)
            row = await c.fetch_one(
                "SELECT url FROM webhook_urls WHERE seen_at >= $1 ORDER BY since_at DESC, url LIMIT 1",
                to_micros(c.now - ALIVE),
            )
            assert row is not None, "the one just noted"
            current = str(row[0])
            is_changed = before is None or before[0] != current
            if is_start or is_changed:
                await c.execute("UPDATE meta SET value = $2 WHERE key = $1", _KEY, current)
                await (_move_to(c, current, is_changed=is_changed) if current else _leave(c))
            return current

        return await self._engine.write(run)

    async def current(self) -> str:
        """Return the address that counts, "" for none."""
        return await self._engine.read(load_url)


async def load_url(c: Connection) -> str:
    """Return the address that counts, "" for none; part of somebody's transaction."""
    row = await c.fetch_one("SELECT value FROM meta WHERE key = $1", _KEY)
    return "" if row is None else str(row[0])


async def load_urls(c: Connection) -> frozenset[str]:
    """Return all addresses that are or were ours; part of somebody's transaction."""
    return frozenset(str(row[0]) for row in await c.fetch("SELECT url FROM webhook_urls WHERE url <> ''"))


async def lapse(c: Connection, condition: str, *values: str) -> None:
    """Count subscriptions as run out; part of somebody's transaction. `condition` begins with $2."""
    await c.execute(
        f"UPDATE subscriptions SET expires_at = $1, renew_at = $1 WHERE graph_id IS NOT NULL AND {condition}",  # noqa: S608  (ours)
        to_micros(c.now),
        *values,
    )


async def _note(c: Connection, url: str, *, is_alone: bool) -> None:
    now = to_micros(c.now)
    if is_alone:
        dead = to_micros(c.now - ALIVE) - 1
        await c.execute("UPDATE webhook_urls SET seen_at = $2 WHERE url <> $1 AND seen_at > $2", url, dead)
    await c.execute(
        "INSERT INTO webhook_urls (url, since_at, seen_at) VALUES ($1, $2, $2) ON CONFLICT (url) DO UPDATE SET"
        " since_at = CASE WHEN webhook_urls.seen_at < $3 THEN $2 ELSE webhook_urls.since_at END, seen_at = $2",
        url,
        now,
        to_micros(c.now - ALIVE),
    )
    await c.execute(
        "DELETE FROM webhook_urls WHERE seen_at < $1 AND url NOT IN (SELECT url FROM subscriptions)",
        to_micros(c.now - _REMEMBERED),
    )


async def _move_to(c: Connection, url: str, *, is_changed: bool) -> None:
    """Have every room announced at an address."""
    others = await c.fetch(
        "SELECT s.tenant_uid, s.room_uid FROM subscriptions s JOIN tenants t ON t.uid = s.tenant_uid"
        " WHERE s.room_uid IS NOT NULL AND t.deleted_at IS NULL AND s.url <> $1 AND s.graph_id IS NOT NULL"
        " AND s.expires_at > $2 ORDER BY s.tenant_uid, s.room_uid",
        url,
        to_micros(c.now),
    )
    for lane, rooms in by_tenant(others).items():
        await locks.keep_tenant(c, lane)
        await lapse(c, "tenant_uid = $2 AND url <> $3 AND room_uid IS NOT NULL", lane, url)
        await tell_not_announced(c, lane, rooms)
    bare = await c.fetch(
        "SELECT r.tenant_uid, r.uid FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid"
        " LEFT JOIN subscriptions s ON s.room_uid = r.uid"
        " WHERE (s.key IS NULL OR s.url <> $1 OR s.graph_id IS NULL OR s.expires_at <= $2) AND t.deleted_at IS NULL"
        " ORDER BY r.tenant_uid, r.uid",
        url,
        to_micros(c.now),
    )
    for lane, rooms in by_tenant(bare).items():
        for room_uid in rooms:
            # What stood in the way of the former address need not stand in the way of this one.
            kind = IntentKind.ROOM_SUBSCRIBE
            await journal.mark(c, kind, room_uid, lane, priority=Priority.REPAIR, force=is_changed)


async def _leave(c: Connection) -> None:
    """Have all subscriptions deleted: nobody listens any more. What stood in the way of them is nobody's problem then."""
    found = await c.fetch(
        "SELECT s.tenant_uid, COALESCE(s.room_uid, s.beside_room_uid), s.key FROM subscriptions s"
        " JOIN tenants t ON t.uid = s.tenant_uid WHERE COALESCE(s.room_uid, s.beside_room_uid) IS NOT NULL"
        " AND t.deleted_at IS NULL ORDER BY 1, 2, 3"
    )
    hindered = await c.fetch(
        "SELECT r.tenant_uid, r.uid FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid"
        " WHERE r.subscription_problem IS NOT NULL AND t.deleted_at IS NULL"
    )
    concerned = sorted((str(row[0]), str(row[1])) for row in (*found, *hindered))
    for lane, rooms in by_tenant(concerned).items():
        await locks.keep_tenant(c, lane)
        await c.execute("UPDATE subscriptions SET room_uid = NULL, beside_room_uid = NULL WHERE tenant_uid = $1", lane)
        await c.execute(
            "UPDATE rooms SET subscription_problem = NULL, version = version + 1, updated_at = $2"
            " WHERE tenant_uid = $1 AND subscription_problem IS NOT NULL",
            lane,
            to_micros(c.now),
        )
        await tell_not_announced(c, lane, rooms)
    for tenant_uid, _, key in found:
        kind = IntentKind.SUBSCRIPTION_REMOVE
        await journal.mark(c, kind, str(key), TenantUid(tenant_uid), priority=Priority.REPAIR)


async def tell_not_announced(c: Connection, lane: TenantUid, rooms: Sequence[RoomUid]) -> None:
    """Note that rooms of a tenant are not announced any more, and have them checked; part of somebody's transaction."""
    after_revision = await journal.take_revisions(c, lane, len(rooms))
    entries = [journal.Entry(room_uid, ChangeKind.ROOM_CHANGED) for room_uid in rooms]
    await journal.append(c, lane, entries, after_revision=after_revision)
    for room_uid in rooms:
        await check_soon(c, room_uid, lane)


def by_tenant(found: Sequence[Sequence[object]]) -> dict[TenantUid, list[RoomUid]]:
    """Group rooms by tenant, each once, in the order of the rows."""
    grouped: dict[TenantUid, dict[RoomUid, None]] = {}
    for row in found:
        grouped.setdefault(TenantUid(str(row[0])), {})[RoomUid(str(row[1]))] = None
    return {lane: list(rooms) for lane, rooms in grouped.items()}
