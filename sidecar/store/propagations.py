"""Which rooms refuse us since access was granted, and how many do not any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.propagation import Propagation
from sidecar.model.window import from_micros, to_micros
from sidecar.store import journal, locks
from sidecar.store.engine import Connection, Engine

_DENIED = (
    '(substr(problem, 1, 26) = \'{"reason":"ACCESS_PENDING"\' OR substr(problem, 1, 33) ='
    ' \'{"reason":"MAILBOX_ACCESS_DENIED"\')'
)
_UNREAD = f"(horizon_start_at IS NULL OR {_DENIED[1:-1]})"
"""The condition of the index `rooms_unread`, word for word."""
_ALMOST_SAME = timedelta(minutes=1)
"""Rooms that are mapped together wait for the same thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a tenant stands with its grants.

    Attributes:
        started_at: what the watch that goes on waits for; None: none goes on.
        seen_count: rooms that could be read at the last look.
        readable_count: rooms that can be read now.
        denied_count: rooms that refuse us now.
    """

    started_at: datetime | None
    seen_count: int
    readable_count: int
    denied_count: int


class Propagations:
    """The watches over grants."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def granted_at(self, tenant_uid: TenantUid) -> datetime | None:
        """Return when access was last granted, None when the tenant is gone."""

        async def run(c: Connection) -> datetime | None:
            found = await _load(c, tenant_uid)
            return None if found is None else found[0]

        return await self._engine.read(run)

    async def begin(self, tenant_uid: TenantUid, started_at: datetime, *, look_at: datetime) -> None:
        """Have the tenant's rooms looked after from `look_at` on, unless that is planned for the same grant already."""

        async def run(c: Connection) -> None:
            await locks.keep_tenant(c, tenant_uid)
            found = await _load(c, tenant_uid)
            if found is None or (found[1] is not None and found[1] >= started_at - _ALMOST_SAME):
                return
            await _save(c, tenant_uid, granted_at=found[0], started_at=started_at)
            await _mark_look(c, tenant_uid, look_at)

        await self._engine.write(run)

    async def look_soon(self, tenant_uid: TenantUid, *, look_at: datetime, is_grant: bool) -> None:
        """Have rooms that refuse us asked again, because one of them does not any more.

        Args:
            is_grant: nobody was waiting for it: that it may be read is the sign of a new grant.
        """

        async def run(c: Connection) -> None:
            await locks.keep_tenant(c, tenant_uid)
            found = await _load(c, tenant_uid)
            if found is None:
                return
            granted_at, started_at = found
            if is_grant and (started_at is None or started_at < c.now - _ALMOST_SAME):
                granted_at = started_at = c.now
                await _save(c, tenant_uid, granted_at=granted_at, started_at=started_at)
            if started_at is not None:
                await _mark_look(c, tenant_uid, look_at)

        await self._engine.write(run)

    async def standing(self, tenant_uid: TenantUid) -> Standing | None:
        """Count a tenant's rooms; None when it is gone."""

        async def run(c: Connection) -> Standing | None:
            found = await _load(c, tenant_uid)
            if found is None:
                return None
            row = await c.fetch_one("SELECT readable_count FROM propagations WHERE tenant_uid = $1", tenant_uid)
            rooms_count, unread_count = await _count(c, tenant_uid)
            denied = await c.fetch_one(
                f"SELECT COUNT(*) FROM rooms WHERE tenant_uid = $1 AND {_UNREAD} AND {_DENIED}",  # noqa: S608  (ours)
                tenant_uid,
            )
            return Standing(
                started_at=found[1],
                seen_count=0 if row is None else int(row[0]),
                readable_count=rooms_count - unread_count,
                denied_count=0 if denied is None else int(denied[0]),
            )

        return await self._engine.read(run)

    async def ask_again(self, tenant_uid: TenantUid, *, count_max: int, step_s: float, readable_count: int) -> int:
        """Make the reading of rooms that refuse us due, those first that were not asked for longest.

        Args:
            step_s: one after the other, so far apart.
            readable_count: what is remembered until the next look.
        Returns:
            How many there are.
        """

        async def run(c: Connection) -> int:
            await locks.keep_tenant(c, tenant_uid)
            found = await c.fetch(
                f"SELECT uid FROM rooms WHERE tenant_uid = $1 AND {_UNREAD} AND {_DENIED}"  # noqa: S608  (ours)
                " ORDER BY updated_at, uid LIMIT $2",
                tenant_uid,
                count_max,
            )
            for place, row in enumerate(found):
                await journal.mark(
                    c,
                    IntentKind.ROOM_COMPARE,
                    RoomUid(row[0]),
                    tenant_uid,
                    priority=Priority.COMPARE,
                    ready_at=c.now + timedelta(seconds=place * step_s),
                    force=True,
                )
            await c.execute(
                "UPDATE propagations SET readable_count = $2 WHERE tenant_uid = $1", tenant_uid, readable_count
            )
            return len(found)

        return await self._engine.write(run)

    async def end(self, tenant_uid: TenantUid) -> None:
        """Note that nothing is waited for any more."""
        await self._engine.write(lambda c: end_watch(c, tenant_uid))

    async def progress(self, tenant_uids: Sequence[TenantUid]) -> dict[TenantUid, Propagation]:
        """Return how far the grants of tenants have got; those of which none is waited for are left out."""

        async def run(c: Connection) -> dict[TenantUid, Propagation]:
            shown: dict[TenantUid, Propagation] = {}
            for tenant_uid in tenant_uids:
                row = await c.fetch_one(
                    "SELECT p.started_at, i.ready_at FROM propagations p JOIN intents i ON i.kind = $2 AND i.key = p.tenant_uid"
                    " WHERE p.tenant_uid = $1 AND p.started_at IS NOT NULL",
                    tenant_uid,
                    IntentKind.TENANT_PROPAGATION,
                )
                if row is None:
                    continue
                rooms_count, unread_count = await _count(c, tenant_uid)
                shown[tenant_uid] = Propagation(
                    rooms_count=rooms_count,
                    readable_count=rooms_count - unread_count,
                    started_at=from_micros(row[0]),
                    next_look_at=from_micros(row[1]),
                )
            return shown

        return await self._engine.read(run)


async def note_grant(c: Connection, tenant_uid: TenantUid) -> None:
    """Note a grant; part of somebody's transaction."""
    await _save(c, tenant_uid, granted_at=c.now, started_at=None)


async def end_watch(c: Connection, tenant_uid: TenantUid) -> None:
    """Note that nobody waits, so that the next refusal that may be waited for begins anew; part of somebody's transaction."""
    await c.execute("UPDATE propagations SET started_at = NULL WHERE tenant_uid = $1", tenant_uid)
    c.announce(journal.TENANTS, tenant_uid)


async def _load(c: Connection, tenant_uid: TenantUid) -> tuple[datetime, datetime | None] | None:
    """Return the newest grant, of which the registration is the first, and what is waited for."""
    row = await c.fetch_one(
        "SELECT COALESCE(p.granted_at, t.created_at), p.started_at FROM tenants t"
        " LEFT JOIN propagations p ON p.tenant_uid = t.uid WHERE t.uid = $1 AND t.deleted_at IS NULL",
        tenant_uid,
    )
    return None if row is None else (from_micros(row[0]), None if row[1] is None else from_micros(row[1]))


async def _save(c: Connection, tenant_uid: TenantUid, *, granted_at: datetime, started_at: datetime | None) -> None:
    await c.execute(
        "INSERT INTO propagations (tenant_uid, granted_at, started_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (tenant_uid) DO UPDATE SET granted_at = $2, started_at = COALESCE($3, propagations.started_at)",
        tenant_uid,
        to_micros(granted_at),
        None if started_at is None else to_micros(started_at),
    )
    c.announce(journal.TENANTS, tenant_uid)


async def _mark_look(c: Connection, tenant_uid: TenantUid, look_at: datetime) -> None:
    kind = IntentKind.TENANT_PROPAGATION
    await journal.mark(c, kind, tenant_uid, tenant_uid, priority=Priority.CHECK, ready_at=look_at, force=True)


async def _count(c: Connection, tenant_uid: TenantUid) -> tuple[int, int]:
    """Return how many rooms a tenant has, and how many of them cannot be read, both from indexes alone."""
    mapped = await c.fetch_one("SELECT COUNT(*) FROM rooms WHERE tenant_uid = $1", tenant_uid)
    unread = await c.fetch_one(f"SELECT COUNT(*) FROM rooms WHERE tenant_uid = $1 AND {_UNREAD}", tenant_uid)  # noqa: S608
    assert mapped is not None, "COUNT gives a row"
    assert unread is not None, "COUNT gives a row"
    return int(mapped[0]), int(unread[0])
