"""Renewing epochs: what follows when a database has gone back to an earlier state.

Revisions that were told before are given a second time then, for something else. In a new epoch no resume token of the old
one is honoured and no revision compares with an old one. What the copy and its subscriptions claim is as old as the
backup, so everything is read and proved again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sidecar.model.ids import RoomUid, TenantId, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.window import to_micros
from sidecar.store import journal, locks
from sidecar.store.changes import LogHead, load_head
from sidecar.store.engine import Connection, Engine
from sidecar.store.rooms import load_tenant_uid

_AUDIT_AFTER = timedelta(minutes=30)
"""By then most rooms have proved or replaced their subscriptions themselves."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """How many logs have a new epoch, and how many rooms will be read again for it."""

    tenants_count: int
    rooms_count: int


class Epochs:
    """The epochs of the logs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def renew(self, tenant_id: TenantId | None = None) -> Renewal:
        """Give a tenant's log a new epoch (None: every tenant's); see `renew`.

        Raises:
            TenantNotFound.
        """

        async def run(c: Connection) -> Renewal:
            if tenant_id is None:
                return await renew_all(c)
            return await renew(c, await load_tenant_uid(c, tenant_id))

        return await self._engine.write(run)

    async def renew_if_rolled_back(self) -> Renewal | None:
        """Renew every epoch if the database is known to have gone back; None when it is not.

        Call it before anything else is written: a write makes the engine forget (`Engine.is_rolled_back`).
        """
        return await self.renew() if self._engine.is_rolled_back else None

    async def renew_lost(self, tenant_uid: TenantUid, seen: LogHead) -> LogHead | None:
        """Renew the epoch of a log that somebody has seen further on than it is now, in the same epoch.

        That proves that the database went back, and that nothing at the start could tell.

        Args:
            seen: the log as it was seen now. When several notice, only the first one renews.
        Returns:
            Where the log stands afterwards; None when the tenant is gone.
        """

        async def run(c: Connection) -> LogHead | None:
            await locks.keep_tenant(c, tenant_uid)
            head = await load_head(c, tenant_uid)
            if head is None or head.epoch != seen.epoch:
                return head
            await renew(c, tenant_uid)
            return await load_head(c, tenant_uid)

        return await self._engine.write(run)


async def renew_all(c: Connection) -> Renewal:
    """Renew the epoch of every log; part of somebody's transaction."""
    found = await c.fetch("SELECT uid FROM tenants ORDER BY uid")
    rooms_count = 0
    for row in found:
        rooms_count += (await renew(c, TenantUid(row[0]))).rooms_count
    return Renewal(len(found), rooms_count)


async def renew(c: Connection, tenant_uid: TenantUid) -> Renewal:
    """Give one log a new epoch, and make due what proves the copy again; part of somebody's transaction.

    Subscriptions count as run out until Exchange has confirmed each: it may have forgotten them or made others since. A room
    is compared in full, and again once its subscription is confirmed, because nobody announced what changed until then.
    """
    now = to_micros(c.now)
    await locks.keep_tenant(c, tenant_uid)
    await c.execute(
        "UPDATE tenants SET epoch = $2, epoch_at = $3 WHERE uid = $1", tenant_uid, secrets.token_hex(4), now
    )
    await c.execute(
        "UPDATE subscriptions SET expires_at = $2, renew_at = $2 WHERE tenant_uid = $1 AND graph_id IS NOT NULL",
        tenant_uid,
        now,
    )
    c.announce(journal.CHANGES, tenant_uid)  # watchers of this log in any process begin anew
    if await c.fetch_one("SELECT 1 FROM tenants WHERE uid = $1 AND deleted_at IS NULL", tenant_uid) is None:
        return Renewal(1, 0)  # it is on its way out; all that is due is its removal
    await journal.mark(c, IntentKind.TENANT_VERIFY, tenant_uid, tenant_uid, priority=Priority.HINT, force=True)
    # What was made since the backup, for rooms that are unknown now, only a list at Exchange can tell.
    audit = IntentKind.SUBSCRIPTION_AUDIT
    await journal.mark(c, audit, tenant_uid, tenant_uid, priority=Priority.COMPARE, ready_at=c.now + _AUDIT_AFTER)
    found = await c.fetch("SELECT uid FROM rooms WHERE tenant_uid = $1 ORDER BY uid", tenant_uid)
    for row in found:
        room_uid = RoomUid(row[0])
        await journal.mark(c, IntentKind.ROOM_SUBSCRIBE, room_uid, tenant_uid, priority=Priority.REPAIR, force=True)
        await journal.mark(c, IntentKind.ROOM_COMPARE, room_uid, tenant_uid, priority=Priority.COMPARE, force=True)
    return Renewal(1, len(found))
