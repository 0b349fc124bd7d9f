"""Tenants' settings: writing them, and making due what a change of them calls for.

These functions run inside somebody else's transaction and never begin one of their own.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from zlib import crc32

from sidecar.errors import SecretUnreadable, TenantNotFound
from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.privacy import HASH_KEY_BYTES
from sidecar.model.tenant_settings import TenantSettings
from sidecar.model.window import to_micros
from sidecar.store import journal, rows
from sidecar.store.engine import Connection
from sidecar.store.vault import Vault

HASH_KEY_ROLE = "hash key"
_CHECK_WITHIN_S = 900
"""When a tenant goes back to the server's pace, which is not known here; a check too early is harmless."""


ERASING = ".erasing"
"""What the name of an erasing lane ends with; no uid has a dot."""


def erasing_lane(uid: TenantUid) -> TenantUid:
    """Return the lane in which a tenant's words, and credentials that it used before, are erased.

    Not the tenant's own: that one is held while the tenant is suspended or waits for its removal, and nothing of this asks
    Microsoft. It still is one lane, so that no two processes erase at once.
    """
    return TenantUid(uid + ERASING)


async def scrub_soon(c: Connection, uid: TenantUid) -> None:
    """Have a tenant's secret that was replaced or withdrawn go from the files; part of somebody's transaction."""
    lane = erasing_lane(uid)
    await journal.mark(c, IntentKind.TENANT_SCRUB, uid, lane, priority=Priority.HINT, force=True)


async def erase_soon(c: Connection, uid: TenantUid, *, ready_at: datetime | None = None) -> None:
    """Make erasing due for a tenant (None: now), inside somebody else's transaction."""
    lane = erasing_lane(uid)
    is_now = ready_at is None
    await journal.mark(c, IntentKind.TENANT_ERASE, uid, lane, priority=Priority.HINT, ready_at=ready_at, force=is_now)


async def save_settings(
    c: Connection, vault: Vault, uid: TenantUid, before: TenantSettings, after: TenantSettings
) -> None:
    """Write a tenant's settings, and make due what follows from the difference.

    Stricter visibility: what is stored is erased. Another horizon or visibility: every calendar is read anew; a read that is
    under way with the former settings writes nothing (`Calendars.apply`). Another pace: checks come within the new time.
    """
    if after == before:
        return
    is_erasing = after.privacy.is_stricter_than(before.privacy) and await _has_log(c, uid)
    await c.execute(
        "UPDATE tenants SET past_days = $2, future_days = $3, check_interval_s = $4, privacy = $5,"
        " write_mode = $6,"
        " erasing_since_at = CASE WHEN $7 = 1 THEN COALESCE(erasing_since_at, $8) ELSE erasing_since_at END,"
        " erase_through = CASE WHEN $7 = 1 THEN revision ELSE erase_through END WHERE uid = $1",
        uid,
        after.past_days,
        after.future_days,
        after.check_interval_s,
        rows.privacy_to_text(after.privacy),
        after.write_mode.value,
        int(is_erasing),
        to_micros(c.now),
    )
    if after.privacy.is_hashing:
        await _keep_hash_key(c, vault, uid)
    if is_erasing:
        await erase_soon(c, uid)
    for row in await c.fetch("SELECT uid FROM rooms WHERE tenant_uid = $1 ORDER BY uid", uid):
        room_uid = RoomUid(row[0])
        if after.reading != before.reading:
            await journal.mark(c, IntentKind.ROOM_COMPARE, room_uid, uid, priority=Priority.COMPARE)
        if after.check_interval_s != before.check_interval_s:
            await _check_within(c, room_uid, uid, after.check_interval_s or _CHECK_WITHIN_S)


async def _has_log(c: Connection, uid: TenantUid) -> bool:
    """Tell whether anything was ever read for a tenant: whatever is stored was told by an entry."""
    row = await c.fetch_one("SELECT revision FROM tenants WHERE uid = $1", uid)
    return row is not None and row[0] > 0


async def _check_within(c: Connection, room_uid: RoomUid, uid: TenantUid, within_s: int) -> None:
    """Have a room checked by then, each at a time of its own."""
    share = crc32(room_uid.encode()) / 2**32
    ready_at = c.now + timedelta(seconds=within_s * share)
    await journal.mark(c, IntentKind.ROOM_CHECK, room_uid, uid, priority=Priority.CHECK, ready_at=ready_at)


async def _keep_hash_key(c: Connection, vault: Vault, uid: TenantUid) -> None:
    """Give a tenant its key, once: equal people stay equal for as long as the tenant is there."""
    sealed = vault.seal(secrets.token_bytes(HASH_KEY_BYTES), tenant_uid=uid, role=HASH_KEY_ROLE)
    await c.execute("UPDATE tenants SET hash_key = $2 WHERE uid = $1 AND hash_key IS NULL", uid, sealed)


async def load_hash_key(c: Connection, vault: Vault, uid: TenantUid) -> bytes:
    """Return the key under which a tenant's words and people are hashed.

    Raises:
        TenantNotFound.
        SecretUnreadable: the key ring lacks the key that it is sealed with.
    """
    row = await c.fetch_one("SELECT hash_key FROM tenants WHERE uid = $1", uid)
    if row is None:
        raise TenantNotFound("the tenant is gone")
    if row[0] is None:
        raise SecretUnreadable("the tenant has no key for hashes")
    return vault.unseal(bytes(row[0]), tenant_uid=uid, role=HASH_KEY_ROLE)
