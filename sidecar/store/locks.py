"""One writer for each tenant: what makes a transaction that reads, decides and writes as good as alone.

PostgreSQL runs transactions side by side, each statement seeing what was committed before it. A transaction that begins by
keeping its tenant's row therefore sees all that earlier holders of the row wrote, and nobody changes it meanwhile. The row
comes first, before anything that is decided on is read: what was read while waiting for it would be old. What is a single
statement, such as a mark, needs no lock. SQLite has one writer at a time and asks for none.
"""

from __future__ import annotations

from sidecar.model.ids import RoomUid, TenantId, TenantUid
from sidecar.store.engine import Connection


async def keep_tenant(c: Connection, uid: TenantUid) -> None:
    """Keep other writers from a tenant until the commit."""
    await _keep(c, "uid = $1", uid)


async def keep_named_tenant(c: Connection, tenant_id: TenantId) -> None:
    """Keep other writers from the tenant that a caller named."""
    await _keep(c, "tenant_id = $1", tenant_id)


async def keep_tenant_of_room(c: Connection, room_uid: RoomUid) -> None:
    """Keep other writers from a room's tenant."""
    await _keep(c, "uid = (SELECT tenant_uid FROM rooms WHERE uid = $1)", room_uid)


async def keep_tenant_of_subscription(c: Connection, key: str) -> None:
    """Keep other writers from a subscription's tenant."""
    await _keep(c, "uid = (SELECT tenant_uid FROM subscriptions WHERE key = $1)", key)


async def _keep(c: Connection, condition: str, value: str) -> None:
    if c.row_lock:
        await c.fetch_one(f"SELECT uid FROM tenants WHERE {condition} {c.row_lock}", value)  # noqa: S608  (ours)
