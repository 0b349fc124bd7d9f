"""Tenants and their sealed credentials."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sidecar.errors import EtagMismatch, SecretUnreadable, TenantExists, TenantNotFound
from sidecar.model.change import ChangeKind
from sidecar.model.ids import RoomUid, TenantId, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.problem import Problem
from sidecar.model.tenant import BLOCKING_REASONS, Cloud, Credential, CredentialRole, Tenant
from sidecar.model.tenant_problems import next_change_at
from sidecar.model.tenant_settings import NO_SETTINGS, TenantSettings
from sidecar.model.window import to_micros
from sidecar.store import journal, locks, rows, run_items
from sidecar.store.engine import Connection, Engine, places
from sidecar.store.propagations import note_grant
from sidecar.store.settings import erasing_lane, load_hash_key, save_settings, scrub_soon
from sidecar.store.vault import Vault

_ROLE = CredentialRole.CURRENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a caller registers. `fingerprint` is what the credential may be recognised by; settings None: leave them."""

    tenant_id: TenantId
    display_name: str
    directory_id: str
    cloud: Cloud
    credential: Credential
    fingerprint: str
    expires_at: datetime | None
    settings: TenantSettings | None = None


Change = Callable[[str, TenantSettings], tuple[str, TenantSettings]]
"""A pure function of a tenant's display name and settings as they are; returns them as they are to be."""


class Tenants:
    """The tenants."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self._engine = engine
        self._vault = vault

    async def register(self, registration: Registration) -> Tenant:
        """Add a tenant, or give an existing one of the same directory its new values; its verification becomes due.

        Raises:
            TenantExists: the id is in use for another directory, or the tenant is being deleted.
        """

        async def run(c: Connection) -> Tenant:
            await locks.keep_named_tenant(c, registration.tenant_id)
            existing = await load_tenant(c, "t.tenant_id = $1", registration.tenant_id)
            if existing is None:
                uid = TenantUid(new_uid("t", c.now))
                await self._insert(c, uid, registration)
            else:
                uid = existing.uid
                await self._update(c, existing, registration)
            await journal.mark(c, IntentKind.TENANT_VERIFY, uid, uid, priority=Priority.HINT, force=True)
            c.announce(journal.TENANTS, uid)
            tenant = await load_tenant(c, "t.uid = $1", uid)
            assert tenant is not None, "written above"
            warn_at = next_change_at(tenant, now=c.now)
            if warn_at is not None:
                kind = IntentKind.TENANT_CREDENTIALS
                await journal.mark(c, kind, uid, uid, priority=Priority.REPAIR, ready_at=warn_at)
            return tenant

        return await self._engine.write(run)

    async def _insert(self, c: Connection, uid: TenantUid, registration: Registration) -> None:
        await c.execute(
            "INSERT INTO tenants (uid, tenant_id, display_name, directory_id, cloud, version, revision, created_at,"
            " updated_at) VALUES ($1, $2, $3, $4, $5, 1, 0, $6, $6)",
            uid,
            registration.tenant_id,
            registration.display_name,
            registration.directory_id,
            registration.cloud.value,
            to_micros(c.now),
        )
        await self._save_credential(c, uid, registration)
        await save_settings(c, self._vault, uid, NO_SETTINGS, registration.settings or NO_SETTINGS)

    async def _update(self, c: Connection, existing: Tenant, registration: Registration) -> None:
        if existing.deleted_at is not None:
            raise _taken_by_deleted(existing)
        if (existing.directory_id, existing.cloud) != (registration.directory_id, registration.cloud):
            raise TenantExists(
                "the tenant id is in use for another directory; delete that tenant first",
                details={"directory_id": existing.directory_id},
            )
        known = existing.credential
        is_same_proof = (known.application_id, known.kind, known.fingerprint) == (
            registration.credential.application_id,
            registration.credential.kind,
            registration.fingerprint,
        ) and await self._opens(c, existing.uid)
        is_end_known = registration.expires_at in (None, known.expires_at)  # what was told is not untold by silence
        settings = registration.settings or existing.settings
        is_same_name = existing.display_name == registration.display_name
        if is_same_proof and is_end_known and is_same_name and existing.settings == settings:
            return
        await c.execute(
            "UPDATE tenants SET display_name = $2, version = version + 1, updated_at = $3 WHERE uid = $1",
            existing.uid,
            registration.display_name,
            to_micros(c.now),
        )
        await save_settings(c, self._vault, existing.uid, existing.settings, settings)
        if is_same_proof:
            if not is_end_known:
                await c.execute(
                    "UPDATE credentials SET expires_at = $3 WHERE tenant_uid = $1 AND role = $2",
                    existing.uid,
                    _ROLE,
                    rows.micros(registration.expires_at),
                )
            return
        # The way out when nothing else helps: what waits and what was used before has no say any more.
        await c.execute("DELETE FROM credentials WHERE tenant_uid = $1 AND role <> $2", existing.uid, _ROLE)
        await self._save_credential(c, existing.uid, registration)
        await scrub_soon(c, existing.uid)

    async def _opens(self, c: Connection, uid: TenantUid) -> bool:
        """Tell whether the credential in use can be opened; one that cannot is replaced by the same one, sealed anew."""
        row = await c.fetch_one("SELECT sealed FROM credentials WHERE tenant_uid = $1 AND role = $2", uid, _ROLE)
        if row is None:
            return False
        try:
            self._vault.unseal(bytes(row[0]), tenant_uid=uid, role=_ROLE)
        except SecretUnreadable:
            return False
        return True

    async def _save_credential(self, c: Connection, uid: TenantUid, registration: Registration) -> None:
        credential = registration.credential
        await c.execute(
            "INSERT INTO credentials (tenant_uid, role, application_id, kind, sealed, fingerprint, expires_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant_uid, role) DO UPDATE SET application_id = $3,"
            " kind = $4, sealed = $5, fingerprint = $6, expires_at = $7, proven_at = NULL, read_room = NULL, request_id = NULL",
            uid,
            _ROLE,
            credential.application_id,
            credential.kind.value,
            self._vault.seal(credential.proof, tenant_uid=uid, role=_ROLE),
            registration.fingerprint,
            rows.micros(registration.expires_at),
        )

    async def update(self, tenant_id: TenantId, change: Change, *, etag: str) -> Tenant:
        """Give a tenant another name or other settings; what follows from the difference becomes due.

        A change that has been made already is made again without a complaint about the etag: it is a repeated call.

        Raises:
            TenantNotFound: also when it is being deleted.
            EtagMismatch.
        """

        async def run(c: Connection) -> Tenant:
            await locks.keep_named_tenant(c, tenant_id)
            tenant = await load_tenant(c, "t.tenant_id = $1 AND t.deleted_at IS NULL", tenant_id)
            if tenant is None:
                raise TenantNotFound("there is no such tenant")
            display_name, settings = change(tenant.display_name, tenant.settings)
            if (display_name, settings) == (tenant.display_name, tenant.settings):
                return tenant
            if etag and etag != str(tenant.version):
                raise EtagMismatch("the tenant has changed", details={"etag": str(tenant.version)})
            await c.execute(
                "UPDATE tenants SET display_name = $2, version = version + 1, updated_at = $3 WHERE uid = $1",
                tenant.uid,
                display_name,
                to_micros(c.now),
            )
            await save_settings(c, self._vault, tenant.uid, tenant.settings, settings)
            c.announce(journal.TENANTS, tenant.uid)
            updated = await load_tenant(c, "t.uid = $1", tenant.uid)
            assert updated is not None, "written above"
            return updated

        return await self._engine.write(run)

    async def load_hash_key(self, tenant_uid: TenantUid) -> bytes:
        """Return the key under which a tenant's words and people are hashed.

        Raises:
            TenantNotFound, SecretUnreadable.
        """
        return await self._engine.read(lambda c: load_hash_key(c, self._vault, tenant_uid))

    async def load(self, tenant_id: TenantId) -> Tenant:
        """Load by the caller's id; one that is being deleted is found too.

        Raises:
            TenantNotFound.
        """
        return await self._load_one("t.tenant_id = $1", tenant_id)

    async def load_by_uid(self, uid: TenantUid) -> Tenant:
        """Load by our id.

        Raises:
            TenantNotFound.
        """
        return await self._load_one("t.uid = $1", uid)

    async def _load_one(self, condition: str, value: str) -> Tenant:
        tenant = await self._engine.read(lambda c: load_tenant(c, condition, value))
        if tenant is None:
            raise TenantNotFound("there is no such tenant")
        return tenant

    async def page(
        self,
        *,
        after: TenantId,
        count_max: int,
        show_deleted: bool = True,
        among: Collection[TenantId] | None = None,
    ) -> Sequence[Tenant]:
        """Return tenants whose id sorts after `after`, by id; only some, if `among` names them."""
        shown = "" if show_deleted else "AND t.deleted_at IS NULL "
        ids = () if among is None else sorted(among)
        if among is not None:
            shown += f"AND t.tenant_id IN ({places(ids, first=3)}) "

        async def run(c: Connection) -> list[Tenant]:
            found = await c.fetch(
                f"{rows.TENANT} WHERE t.tenant_id > $1 {shown}ORDER BY t.tenant_id LIMIT $2", after, count_max, *ids
            )
            return [rows.tenant_from_row(row) for row in found]

        return await self._engine.read(run)

    async def set_proven(self, uid: TenantUid, *, identity: str, remaining: Problem | None = None) -> None:
        """Note that Microsoft accepted the credential; a problem that stood in the way is gone, and all rooms are read.

        Between the refusal and now changes went by unheard, so each room is compared in full. Nothing is noted when the
        credential is another one by now: that one has not been tried.

        Args:
            identity: of the credential that was accepted.
            remaining: what people are to be told of all the same; it must not be one that blocks.
        """

        async def run(c: Connection) -> None:
            await locks.keep_tenant(c, uid)
            before = await load_tenant(c, "t.uid = $1", uid)
            if before is None or before.credential.identity != identity:
                return
            c.announce(journal.TENANTS, uid)
            now = to_micros(c.now)
            await c.execute(
                "UPDATE credentials SET proven_at = $2 WHERE tenant_uid = $1 AND role = 'current'", uid, now
            )
            is_blocked = before.problem is not None and before.problem.reason in BLOCKING_REASONS
            if is_blocked or before.credential.proven_at is None:
                await note_grant(c, uid)
            await clear_problem(c, before, remaining=remaining)

        await self._engine.write(run)

    async def set_problem(self, uid: TenantUid, problem: Problem) -> None:
        """Note what stands in the way of a tenant; its rooms change with it."""

        async def run(c: Connection) -> None:
            await locks.keep_tenant(c, uid)
            before = await load_tenant(c, "t.uid = $1", uid)
            if before is None:
                return
            c.announce(journal.TENANTS, uid)
            is_news = before.problem is None or before.problem.reason != problem.reason
            await c.execute(
                "UPDATE tenants SET problem = $2, version = version + $3, updated_at = $4 WHERE uid = $1",
                uid,
                rows.problem_to_text(problem.since(before.problem)),
                int(is_news),
                to_micros(c.now),
            )
            if is_news and problem.reason in BLOCKING_REASONS:
                await tell_all_rooms(c, uid, read_again=False)

        await self._engine.write(run)

    async def erase(self, uid: TenantUid) -> None:
        """Remove every row of a deleted tenant, from the files, too; doing it again finishes what was cut off.

        Raises:
            StoreUnavailable: the files could not be scrubbed now; what is due of the tenant stays due until they are.
        """

        async def remove(c: Connection) -> None:
            await c.execute("DELETE FROM tenants WHERE uid = $1 AND deleted_at IS NOT NULL", uid)
            c.announce(journal.TENANTS, uid)

        async def forget_work(c: Connection) -> None:
            for lane in (uid, erasing_lane(uid)):
                await run_items.forget(c, "lane = $1", lane)
                await c.execute("DELETE FROM lanes WHERE lane = $1", lane)

        await self._engine.write(remove)
        await self._engine.scrub()  # may wait for a backup; the work and its lease must outlive that
        await self._engine.write(forget_work)


def _taken_by_deleted(tenant: Tenant) -> TenantExists:
    if tenant.purge_at is None:
        return TenantExists("the tenant is being erased; register it again in a moment")
    return TenantExists(
        "the tenant is deleted: undelete it to have it back, or delete it with purge to free the id at once",
        details={"purge_time": tenant.purge_at.isoformat()},
    )


async def load_tenant(c: Connection, condition: str, value: str) -> Tenant | None:
    """Load the tenant that fits a condition on `t` ($1 is the value), deleted or not; part of somebody's transaction."""
    row = await c.fetch_one(f"{rows.TENANT} WHERE {condition}", value)
    return None if row is None else rows.tenant_from_row(row)


async def clear_problem(c: Connection, before: Tenant, *, remaining: Problem | None = None) -> None:
    """Note that Microsoft accepts a tenant, whatever else is told of it; where it did not, all rooms are read."""
    known, told = before.problem, remaining
    if (known and known.reason) == (told and told.reason) and before.verified_at is not None:
        return
    await c.execute(
        "UPDATE tenants SET problem = $3, verified_at = COALESCE(verified_at, $2), version = version + 1,"
        " updated_at = $2 WHERE uid = $1",
        before.uid,
        to_micros(c.now),
        rows.problem_to_text(told),
    )
    c.announce(journal.TENANTS, before.uid)
    if known is not None and known.reason in BLOCKING_REASONS:
        await tell_all_rooms(c, before.uid, read_again=True)


async def tell_all_rooms(c: Connection, uid: TenantUid, *, read_again: bool) -> None:
    """Log that each room's state changed, and if asked make its reading due at once; part of somebody's transaction."""
    found = await c.fetch(
        "SELECT r.uid FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid"
        " WHERE r.tenant_uid = $1 AND t.deleted_at IS NULL ORDER BY r.uid",
        uid,
    )
    rooms = [RoomUid(row[0]) for row in found]
    if not rooms:
        return
    after_revision = await journal.take_revisions(c, uid, len(rooms))
    entries = [journal.Entry(room_uid, ChangeKind.ROOM_CHANGED) for room_uid in rooms]
    await journal.append(c, uid, entries, after_revision=after_revision)
    if read_again:
        # Nor did Exchange announce anything with a permission that had run out: each is proved before it counts again.
        now = to_micros(c.now)
        await c.execute(
            "UPDATE subscriptions SET expires_at = $2, renew_at = $2 WHERE tenant_uid = $1 AND graph_id IS NOT NULL",
            uid,
            now,
        )
        for room_uid in rooms:
            await journal.mark(c, IntentKind.ROOM_COMPARE, room_uid, uid, priority=Priority.COMPARE, force=True)
            await journal.mark(c, IntentKind.ROOM_SUBSCRIBE, room_uid, uid, priority=Priority.REPAIR, force=True)


def new_uid(prefix: str, now: datetime) -> str:
    """Return a new id that sorts by time of making and cannot be guessed."""
    return f"{prefix}{to_micros(now):014x}{secrets.token_hex(4)}"


def secret_fingerprint(secret: str) -> str:
    """Return what a client secret may be recognised by: 12 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12]
