"""Tenants that are suspended and resumed, deleted and undeleted: facts, the log, and what is due, in one transaction each."""

from __future__ import annotations

from datetime import timedelta

from sidecar.errors import EtagMismatch, TenantNotFound, TenantPurged
from sidecar.model.change import ChangeKind
from sidecar.model.ids import RoomUid, TenantId, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.tenant import Tenant
from sidecar.model.window import to_micros
from sidecar.store import epochs, holds, journal, locks, run_items
from sidecar.store.engine import Connection, Engine
from sidecar.store.propagations import end_watch
from sidecar.store.tenants import load_tenant, tell_all_rooms
from sidecar.store.write_steps import ask_all_in


class Lifecycle:
    """What an operator does with tenants as a whole."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def suspend(self, tenant_id: TenantId, *, reason: str) -> Tenant:
        """Have nothing asked of Microsoft for a tenant from now on; again: note the new reason.

        Its lane is held, so that nothing due is run, and each room's state is told. Subscriptions stay as they are: to
        delete them would be more traffic, and Microsoft drops them within seven days.

        Raises:
            TenantNotFound: also when it is deleted.
        """

        async def run(c: Connection) -> Tenant:
            tenant = await _load_in_use(c, tenant_id)
            if tenant.suspension is not None and tenant.suspension.reason == reason:
                return tenant
            await c.execute(
                "UPDATE tenants SET suspended_at = COALESCE(suspended_at, $2), suspend_reason = $3,"
                " version = version + 1, updated_at = $2 WHERE uid = $1",
                tenant.uid,
                to_micros(c.now),
                reason,
            )
            await holds.hold(c, tenant.uid)
            await run_items.give_up(c, tenant.uid, reason=run_items.SUSPENDED)
            await tell_all_rooms(c, tenant.uid, read_again=False)
            return await _reload(c, tenant)

        return await self._engine.write(run)

    async def resume(self, tenant_id: TenantId) -> Tenant:
        """Have a suspended tenant kept up to date again; one that is not suspended stays as it is.

        Nobody listened meanwhile, so the credential is tried, each room is read in full, and each subscription is proved
        before it counts. What these first reads find is no drift.

        Raises:
            TenantNotFound: also when it is deleted.
        """

        async def run(c: Connection) -> Tenant:
            tenant = await _load_in_use(c, tenant_id)
            if tenant.suspension is None:
                return tenant
            await c.execute(
                "UPDATE tenants SET suspended_at = NULL, suspend_reason = '', epoch_at = $2, version = version + 1,"
                " updated_at = $2 WHERE uid = $1",
                tenant.uid,
                to_micros(c.now),
            )
            await holds.lift(c, tenant.uid)
            await _wake(c, tenant.uid)
            return await _reload(c, tenant)

        return await self._engine.write(run)

    async def delete(self, tenant_id: TenantId, *, etag: str, grace: timedelta | None = None) -> Tenant:
        """End the service for a tenant: its log ends, and nothing of it is due but its removal, once the grace is over.

        Args:
            etag: the version that the caller knows; empty: any. A repetition passes whatever it is: it changes nothing.
            grace: how long everything is kept; None: it is erased at once, also if it was deleted with a grace before.
        Raises:
            TenantNotFound, EtagMismatch.
        """

        async def run(c: Connection) -> Tenant:
            tenant = await _load_any(c, tenant_id)
            is_first = tenant.deleted_at is None
            if not (is_first or (grace is None and await holds.is_held(c, tenant.uid))):
                return tenant
            if etag and etag != str(tenant.version):
                raise EtagMismatch("the tenant has changed", details={"etag": str(tenant.version)})
            if is_first:
                await journal.append_about_room(c, tenant.uid, RoomUid(""), ChangeKind.TENANT_DELETED)
                await run_items.forget(c, "lane = $1", tenant.uid)
            await _plan_removal(c, tenant.uid, grace)
            return await _reload(c, tenant)

        return await self._engine.write(run)

    async def undelete(self, tenant_id: TenantId) -> Tenant:
        """Take a deletion back while its grace lasts; a tenant that is not deleted stays as it is.

        The log goes on in a new epoch: whoever followed it was told that it had ended, and may have forgotten all.

        Raises:
            TenantNotFound. TenantPurged: it is being erased.
        """

        async def run(c: Connection) -> Tenant:
            tenant = await _load_any(c, tenant_id)
            if tenant.deleted_at is None:
                return tenant
            # Not the time decides, which clocks may disagree about, but whether the removal has begun.
            if not await holds.is_held(c, tenant.uid):
                raise TenantPurged("the tenant is being erased; register it again in a moment")
            await c.execute(
                "UPDATE tenants SET deleted_at = NULL, purge_at = NULL, version = version + 1, updated_at = $2"
                " WHERE uid = $1",
                tenant.uid,
                to_micros(c.now),
            )
            await run_items.forget(c, "lane = $1", tenant.uid)
            await end_watch(c, tenant.uid)  # its looks went with all that was due
            if tenant.suspension is None:
                await holds.lift(c, tenant.uid)
            else:
                await holds.hold(c, tenant.uid)
            await epochs.renew(c, tenant.uid)
            await ask_all_in(c, tenant.uid)
            return await _reload(c, tenant)

        return await self._engine.write(run)


async def _plan_removal(c: Connection, uid: TenantUid, grace: timedelta | None) -> None:
    """Have a tenant erased, and nothing done for it until then."""
    purge_at = c.now if grace is None else c.now + grace
    await c.execute(
        "UPDATE tenants SET deleted_at = COALESCE(deleted_at, $2), purge_at = $3, version = version + 1, updated_at = $2"
        " WHERE uid = $1",
        uid,
        to_micros(c.now),
        to_micros(purge_at),
    )
    if grace is not None:
        await holds.hold(c, uid, until=purge_at)
    elif await holds.is_held(c, uid):
        await holds.lift(c, uid)
    kind = IntentKind.TENANT_REMOVE
    await journal.mark(c, kind, uid, uid, priority=Priority.REPAIR, ready_at=purge_at)


async def _wake(c: Connection, uid: TenantUid) -> None:
    """Make everything due that proves a copy which nobody cared for."""
    # The full reads plan new checks. Marks that notifications left stay: they cost a small read each, and lose nothing.
    await run_items.forget(c, "lane = $1 AND kind = $2", uid, IntentKind.ROOM_CHECK)
    await journal.mark(c, IntentKind.TENANT_VERIFY, uid, uid, priority=Priority.HINT, force=True)
    await tell_all_rooms(c, uid, read_again=True)


async def _load_any(c: Connection, tenant_id: TenantId) -> Tenant:
    await locks.keep_named_tenant(c, tenant_id)
    tenant = await load_tenant(c, "t.tenant_id = $1", tenant_id)
    if tenant is None:
        raise TenantNotFound("there is no such tenant")
    return tenant


async def _load_in_use(c: Connection, tenant_id: TenantId) -> Tenant:
    tenant = await _load_any(c, tenant_id)
    if tenant.deleted_at is not None:
        raise TenantNotFound("the tenant is deleted; undelete it first")
    return tenant


async def _reload(c: Connection, tenant: Tenant) -> Tenant:
    c.announce(journal.TENANTS, tenant.uid)
    changed = await load_tenant(c, "t.uid = $1", tenant.uid)
    assert changed is not None, "not erased in this transaction"
    return changed
