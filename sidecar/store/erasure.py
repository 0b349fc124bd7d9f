"""Erasing what a tenant's stricter settings do not let be kept any more, without asking Exchange.

Each booking passes the door again (`model/privacy.py`); watchers hear of those that come out different as of any change. The
log up to the change of settings is dropped, so that a reader from before begins with snapshots. Then the files are scrubbed.
Everything is done in steps that let other writers in, and doing it again finishes what was cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.model.change import ChangeKind
from sidecar.model.ids import BookingKey, RoomUid, TenantUid
from sidecar.model.intent import Lease
from sidecar.store import journal, locks, rows
from sidecar.store.changes import load_head
from sidecar.store.departing import BodyStamper
from sidecar.store.engine import Connection, Engine
from sidecar.store.settings import load_hash_key
from sidecar.store.vault import Vault

_BOOKINGS_COUNT = 200
_ENTRIES_COUNT = 1_000
"""Done in one transaction each: other writers wait some ten milliseconds for it."""


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be erased: the log up to an entry, and what the settings, as the database spells them, do not allow."""

    through: int
    privacy: str


class Erasure:
    """Erases."""

    def __init__(self, engine: Engine, vault: Vault, stamper: BodyStamper) -> None:
        self._engine = engine
        self._vault = vault
        self._stamper = stamper

    async def run(self, tenant_uid: TenantUid, *, lease: Lease | None) -> int:
        """Erase what is due, from the files, too; return how many bookings are different now.

        Raises:
            StoreConflict: the lease is lost.
            StoreUnavailable: the files could not be scrubbed now; what is due stays due until they are.
            SecretUnreadable: the key for hashes cannot be had.
        """
        count = 0
        while (task := await self._engine.read(lambda c: _load_task(c, tenant_uid))) is not None:
            count += await self._erase(tenant_uid, task, lease)
        return count

    async def scrub(self) -> None:
        """Have what was deleted go from the files.

        Raises:
            StoreUnavailable: not now.
        """
        await self._engine.scrub()

    async def _erase(self, tenant_uid: TenantUid, task: _Task, lease: Lease | None) -> int:
        found = await self._engine.read(
            lambda c: c.fetch("SELECT uid FROM rooms WHERE tenant_uid = $1 ORDER BY uid", tenant_uid)
        )
        count = 0
        for row in found:
            count += await self._restrict_room(tenant_uid, RoomUid(row[0]), lease)
        while await self._engine.write(lambda c: _drop_some(c, tenant_uid, task.through)):
            pass
        await self._engine.scrub()
        await self._engine.write(lambda c: _finish(c, tenant_uid, task))
        return count

    async def _restrict_room(self, tenant_uid: TenantUid, room_uid: RoomUid, lease: Lease | None) -> int:
        count, after = 0, BookingKey("")
        while True:
            place = after

            async def run(c: Connection) -> tuple[int, BookingKey | None]:
                return await self._restrict_some(c, tenant_uid, room_uid, place, lease)  # noqa: B023  (awaited here)

            changed_count, last = await self._engine.write(run)
            count += changed_count
            if last is None:
                return count
            after = last

    async def _restrict_some(
        self,
        c: Connection,
        tenant_uid: TenantUid,
        room_uid: RoomUid,
        after: BookingKey,
        lease: Lease | None,
    ) -> tuple[int, BookingKey | None]:
        """Restrict the next bookings of a room; return how many are different, and the last one, None when none follow.

        The log of a deleted tenant has ended. If the deletion is taken back, readers begin anew.
        """
        await locks.keep_tenant(c, tenant_uid)
        await journal.check_lease(c, lease)
        # Not what was read at the beginning: settings that became looser since have calendars read anew.
        tenant = await c.fetch_one("SELECT privacy, deleted_at FROM tenants WHERE uid = $1", tenant_uid)
        if tenant is None:
            return 0, None
        privacy = rows.privacy_from_text(tenant[0])
        hash_key = await load_hash_key(c, self._vault, tenant_uid) if privacy.is_hashing else b""
        found = await c.fetch(
            "SELECT key, body, digest, takes_room FROM bookings WHERE room_uid = $1 AND key > $2 ORDER BY key LIMIT $3",
            room_uid,
            after,
            _BOOKINGS_COUNT,
        )
        changed = []
        for key, body, digest, takes_room in found:
            kept, kept_digest = self._stamper.restrict(bytes(body), privacy=privacy, hash_key=hash_key)
            if kept_digest != bytes(digest):
                changed.append((BookingKey(key), kept, kept_digest, bool(takes_room)))
        news_count = 0 if tenant[1] is not None else sum(takes_room for _, _, _, takes_room in changed)
        revision = await journal.take_revisions(c, tenant_uid, news_count) if news_count else 0
        entries: list[journal.Entry] = []
        for key, kept, digest, takes_room in changed:
            # As for any change: what does not take the room is no news, and keeps the revision it has.
            is_news = takes_room and news_count > 0
            body = self._stamper.stamp(kept, revision=revision + len(entries) + 1) if is_news else kept
            if is_news:
                entries.append(journal.Entry(room_uid, ChangeKind.UPSERTED, booking_key=key, body=body))
            await c.execute(
                "UPDATE bookings SET body = $3, digest = $4, revision = CASE WHEN $5 = 0 THEN revision ELSE $5 END"
                " WHERE room_uid = $1 AND key = $2",
                room_uid,
                key,
                body,
                digest,
                revision + len(entries) if is_news else 0,
            )
        if entries:
            await journal.append(c, tenant_uid, entries, after_revision=revision)
        return len(changed), BookingKey(found[-1][0]) if len(found) == _BOOKINGS_COUNT else None


async def _load_task(c: Connection, tenant_uid: TenantUid) -> _Task | None:
    """Return what is to be erased; None: nothing."""
    row = await c.fetch_one("SELECT erase_through, COALESCE(privacy, '') FROM tenants WHERE uid = $1", tenant_uid)
    return None if row is None or row[0] is None else _Task(int(row[0]), str(row[1]))


async def _drop_some(c: Connection, tenant_uid: TenantUid, through: int) -> bool:
    """Drop some of the log; say whether more is to go. Readers that are not further find the floor beyond their position."""
    await locks.keep_tenant(c, tenant_uid)
    head = await load_head(c, tenant_uid)
    if head is None or head.floor >= through:
        return False
    floor = min(through, head.floor + _ENTRIES_COUNT)
    await c.execute("UPDATE tenants SET floor = $2 WHERE uid = $1", tenant_uid, floor)
    await c.execute("DELETE FROM changes WHERE tenant_uid = $1 AND revision <= $2", tenant_uid, floor)
    c.announce(journal.CHANGES, tenant_uid)  # every process has the newest entries in memory; the floor shuts them off
    return floor < through


async def _finish(c: Connection, tenant_uid: TenantUid, task: _Task) -> None:
    """Note that nothing is left, unless the settings are others by now: then all is done again."""
    await c.execute(
        "UPDATE tenants SET erasing_since_at = NULL, erase_through = NULL WHERE uid = $1 AND erase_through = $2"
        " AND COALESCE(privacy, '') = $3",
        tenant_uid,
        task.through,
        task.privacy,
    )
    c.announce(journal.TENANTS, tenant_uid)
