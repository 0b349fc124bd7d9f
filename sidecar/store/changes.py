"""Reading the tenants' logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sidecar.model.change import Change
from sidecar.model.ids import RoomUid, TenantId, TenantUid
from sidecar.model.window import to_micros
from sidecar.store import rows
from sidecar.store.engine import Connection, Engine
from sidecar.store.rooms import load_tenant_uid


@dataclass(frozen=True, slots=True)
class LogHead:
    """Where a log stands: the newest revision, and the one up to which entries were dropped."""

    revision: int
    floor: int


class Changes:
    """The logs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def head(self, tenant_uid: TenantUid) -> LogHead | None:
        """Return where a log stands, None when the tenant is gone."""

        async def run(c: Connection) -> LogHead | None:
            row = await c.fetch_one("SELECT revision, floor FROM tenants WHERE uid = $1", tenant_uid)
            return None if row is None else LogHead(int(row[0]), int(row[1]))

        return await self._engine.read(run)

    async def tenant_head(self, tenant_id: TenantId) -> tuple[TenantUid, LogHead]:
        """Return a tenant's uid and where its log stands.

        Raises:
            TenantNotFound.
        """

        async def run(c: Connection) -> tuple[TenantUid, LogHead]:
            uid = await load_tenant_uid(c, tenant_id)
            row = await c.fetch_one("SELECT revision, floor FROM tenants WHERE uid = $1", uid)
            assert row is not None, "read in the same transaction"
            return uid, LogHead(int(row[0]), int(row[1]))

        return await self._engine.read(run)

    async def read(
        self, tenant_uid: TenantUid, *, after_revision: int, count_max: int, room_uid: RoomUid | None = None
    ) -> tuple[Sequence[Change], LogHead | None]:
        """Return the entries that follow a revision, in order, and where the log stood at that moment.

        Args:
            room_uid: only entries about this room, and the one that ends the log.
        Returns:
            The head is None when the tenant is gone. A floor beyond `after_revision` means that entries are missing.
        """

        async def run(c: Connection) -> tuple[list[Change], LogHead | None]:
            row = await c.fetch_one("SELECT revision, floor, deleted_at FROM tenants WHERE uid = $1", tenant_uid)
            if row is None:
                return [], None
            if room_uid is None:
                found = await c.fetch(
                    f"{rows.CHANGE} WHERE tenant_uid = $1 AND revision > $2 ORDER BY revision LIMIT $3",
                    tenant_uid,
                    after_revision,
                    count_max,
                )
            else:
                found = list(
                    await c.fetch(
                        f"{rows.CHANGE} WHERE room_uid = $1 AND revision > $2 ORDER BY revision LIMIT $3",
                        room_uid,
                        after_revision,
                        count_max,
                    )
                )
                if row[2] is not None and len(found) < count_max:
                    # The last entry of a log that has ended is about no room, and concerns every room.
                    found += await c.fetch(
                        f"{rows.CHANGE} WHERE tenant_uid = $1 AND revision = $2 AND revision > $3",
                        tenant_uid,
                        row[0],
                        after_revision,
                    )
            return [rows.change_from_row(item) for item in found], LogHead(int(row[0]), int(row[1]))

        return await self._engine.read(run)

    async def prune(self, tenant_uid: TenantUid, *, retention: timedelta, count_max: int) -> int:
        """Drop entries older than `retention` and beyond the newest `count_max`; return how many were dropped."""

        async def run(c: Connection) -> int:
            old = await c.fetch_one(
                "SELECT MAX(revision) FROM changes WHERE tenant_uid = $1 AND recorded_at < $2",
                tenant_uid,
                to_micros(c.now - retention),
            )
            head = await c.fetch_one("SELECT revision, floor FROM tenants WHERE uid = $1", tenant_uid)
            if head is None:
                return 0
            floor = max(int(head[1]), (old[0] or 0) if old else 0, int(head[0]) - count_max)
            await c.execute("UPDATE tenants SET floor = $2 WHERE uid = $1", tenant_uid, floor)
            return await c.execute("DELETE FROM changes WHERE tenant_uid = $1 AND revision <= $2", tenant_uid, floor)

        return await self._engine.write(run)
