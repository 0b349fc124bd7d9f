"""Credentials and their roles: NEXT beside CURRENT, and PREVIOUS after it.

A sealed credential is bound to its role, so each change of role seals anew. What it is recognised by, its identity
(`CredentialInfo.identity`), goes with it through all roles: whoever holds an identity gets that very credential as long as
there is one, and the current one after that.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sidecar.errors import FieldViolation, InvalidArgument, SecretUnreadable, TenantExists, TenantNotFound
from sidecar.model.ids import TenantId, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.problem import Problem
from sidecar.model.tenant import BLOCKING_REASONS, Credential, CredentialInfo, CredentialKind, CredentialRole, Tenant
from sidecar.model.window import to_micros
from sidecar.store import journal, locks, rows
from sidecar.store.engine import Connection, Engine
from sidecar.store.propagations import note_grant
from sidecar.store.settings import erase_soon, scrub_soon
from sidecar.store.tenants import clear_problem, load_tenant
from sidecar.store.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredential:
    """What a caller hands over. `fingerprint` is what it may be recognised by."""

    credential: Credential = field(repr=False)
    fingerprint: str
    expires_at: datetime | None
    request_id: str = ""

    @property
    def identity(self) -> str:
        """See `CredentialInfo.identity`."""
        return f"{self.credential.application_id}/{self.fingerprint}"


class Credentials:
    """The credentials of all tenants."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self._engine = engine
        self._vault = vault

    async def load_credential(self, tenant_uid: TenantUid, identity: str = "") -> Credential:
        """Open a tenant's credential of an identity, or the current one when there is none of it any more.

        Raises:
            TenantNotFound, SecretUnreadable.
        """

        async def run(c: Connection) -> Credential:
            found = await c.fetch(
                "SELECT application_id, kind, sealed, fingerprint, role FROM credentials WHERE tenant_uid = $1",
                tenant_uid,
            )
            wanted = [row for row in found if row[2] and f"{row[0]}/{row[3]}" == identity]  # not one just erased
            row = next(iter(wanted or [row for row in found if row[4] == CredentialRole.CURRENT]), None)
            if row is None:
                raise TenantNotFound("the tenant is gone")
            proof = self._vault.unseal(bytes(row[2]), tenant_uid=tenant_uid, role=row[4])
            return Credential(application_id=row[0], kind=CredentialKind(row[1]), proof=proof)

        return await self._engine.read(run)

    async def put_next(self, tenant_id: TenantId, new: NewCredential) -> Tenant:
        """Keep a credential as NEXT, in the place of another NEXT, and make its proof due.

        The current one, handed over again, takes its new time of expiry, and NEXT is withdrawn. What is handed over again is
        sealed again, which mends one that could not be opened.

        Raises:
            TenantNotFound. TenantExists: the tenant is being deleted.
            InvalidArgument: the request id was used with another credential.
        """

        async def run(c: Connection) -> Tenant:
            await locks.keep_named_tenant(c, tenant_id)
            tenant = await _existing(c, tenant_id)
            _refuse_reuse(tenant, new)
            known = _find(tenant, new.identity, CredentialRole.CURRENT, CredentialRole.NEXT)
            if known is None:
                await self._insert_next(c, tenant.uid, new)
            else:
                await self._take_again(c, tenant, known.role, new)
            if known is not None and known.role is CredentialRole.CURRENT:
                await _withdraw(c, tenant.uid, CredentialRole.NEXT)
            await _touch(c, tenant.uid)
            await look_soon(c, tenant.uid)
            return await _reloaded(c, tenant.uid)

        return await self._engine.write(run)

    async def _take_again(self, c: Connection, tenant: Tenant, role: CredentialRole, new: NewCredential) -> None:
        """Take a credential that is there already: a former refusal says nothing until it has been tried once more."""
        await c.execute(
            "UPDATE credentials SET sealed = $3, refused_at = NULL, expires_at = COALESCE($4, expires_at)"
            " WHERE tenant_uid = $1 AND role = $2",
            tenant.uid,
            role,
            self._vault.seal(new.credential.proof, tenant_uid=tenant.uid, role=role),
            rows.micros(new.expires_at),
        )
        if role is CredentialRole.CURRENT and tenant.problem is not None:
            kind = IntentKind.TENANT_VERIFY
            await journal.mark(c, kind, tenant.uid, tenant.uid, priority=Priority.HINT, force=True)

    async def _insert_next(self, c: Connection, uid: TenantUid, new: NewCredential) -> None:
        role = CredentialRole.NEXT
        await _withdraw(c, uid, role)
        await c.execute(
            "INSERT INTO credentials (tenant_uid, role, application_id, kind, sealed, fingerprint, expires_at, added_at,"
            " request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            uid,
            role,
            new.credential.application_id,
            new.credential.kind.value,
            self._vault.seal(new.credential.proof, tenant_uid=uid, role=role),
            new.fingerprint,
            rows.micros(new.expires_at),
            to_micros(c.now),
            new.request_id or None,
        )

    async def note_unproven(self, uid: TenantUid, identity: str, problem: Problem, *, is_refused: bool) -> None:
        """Note what the proof of NEXT met; nothing when another one is next by now.

        Args:
            is_refused: it counts as refused from now on, and people are told.
        """

        async def run(c: Connection) -> None:
            await locks.keep_tenant(c, uid)
            tenant = await load_tenant(c, "t.uid = $1", uid)
            known = None if tenant is None else _find(tenant, identity, CredentialRole.NEXT)
            if known is None:
                return
            refused_at = known.refused_at or (c.now if is_refused else None)
            await c.execute(
                "UPDATE credentials SET problem = $2, refused_at = $3 WHERE tenant_uid = $1 AND role = 'next'",
                uid,
                rows.problem_to_text(problem.since(known.problem)),
                rows.micros(refused_at),
            )
            if refused_at != known.refused_at:
                await _touch(c, uid)

        await self._engine.write(run)

    async def promote(self, uid: TenantUid, identity: str, *, read_room: str, previous_s: float) -> bool:
        """Make a proven NEXT the current credential, and the current one PREVIOUS; False when another one is next by now.

        A problem of the tenant is gone with that, as after a verification. With another application the subscriptions belong
        to the former one; each is asked for at once, and made anew where Exchange no longer shows it to us.

        Args:
            read_room: the room that was read as proof; empty: there was none.
            previous_s: how long the former credential is kept.
        Raises:
            SecretUnreadable: NEXT cannot be opened.
        """

        async def run(c: Connection) -> bool:
            await locks.keep_tenant(c, uid)
            tenant = await load_tenant(c, "t.uid = $1", uid)
            following = None if tenant is None else _find(tenant, identity, CredentialRole.NEXT)
            if tenant is None or tenant.deleted_at is not None or following is None:
                return False
            await _withdraw(c, uid, CredentialRole.PREVIOUS)
            ends_at = c.now + timedelta(seconds=previous_s)
            await self._retire_current(c, uid, ends_at=ends_at)
            await erase_soon(c, uid, ready_at=ends_at)
            await self._move(c, uid, CredentialRole.NEXT, CredentialRole.CURRENT)
            await c.execute(
                "UPDATE credentials SET proven_at = $2, read_room = $3, problem = NULL, refused_at = NULL"
                " WHERE tenant_uid = $1 AND role = 'current'",
                uid,
                to_micros(c.now),
                read_room or None,
            )
            await _touch(c, uid)
            is_blocked = tenant.problem is not None and tenant.problem.reason in BLOCKING_REASONS
            is_other_app = following.application_id != tenant.credential.application_id
            if is_blocked or is_other_app:
                await note_grant(c, uid)  # what was granted just now may take its time to reach every room
            await clear_problem(c, tenant)
            if is_other_app:
                await _ask_for_subscriptions(c, uid)
            await look_soon(c, uid)
            return True

        return await self._engine.write(run)

    async def step_back(self, uid: TenantUid, identity: str) -> bool:
        """Take PREVIOUS back into use, and make the current credential NEXT, to be proven anew.

        For a current credential that Microsoft refuses though it was proven: a new secret reaches its replicas one by one. With
        another application the subscriptions are asked for at once, as after a promotion.

        Args:
            identity: of the current credential that was refused.
        Returns:
            False when another one is current by now, or nothing can be taken back.
        """

        async def run(c: Connection) -> bool:
            await locks.keep_tenant(c, uid)
            tenant = await load_tenant(c, "t.uid = $1", uid)
            previous = None if tenant is None else tenant.previous_credential
            if tenant is None or previous is None or tenant.credential.identity != identity:
                return False
            if previous.ends_at is None or previous.ends_at <= c.now:
                return False
            if tenant.next_credential is None:
                await self._move(c, uid, CredentialRole.CURRENT, CredentialRole.NEXT)
                await c.execute(
                    "UPDATE credentials SET added_at = $2, proven_at = NULL, read_room = NULL"
                    " WHERE tenant_uid = $1 AND role = 'next'",
                    uid,
                    to_micros(c.now),
                )
            else:  # a newer one waits for its proof already
                await _withdraw(c, uid, CredentialRole.CURRENT)
            await self._move(c, uid, CredentialRole.PREVIOUS, CredentialRole.CURRENT)
            await c.execute("UPDATE credentials SET ends_at = NULL WHERE tenant_uid = $1 AND role = 'current'", uid)
            await _touch(c, uid)
            if previous.application_id != tenant.credential.application_id:
                await _ask_for_subscriptions(c, uid)
            await look_soon(c, uid)
            await journal.mark(c, IntentKind.TENANT_VERIFY, uid, uid, priority=Priority.HINT, force=True)
            return True

        return await self._engine.write(run)

    async def drop_previous(self, uid: TenantUid) -> None:
        """Erase PREVIOUS, once its time is over, from the files, too; doing it again finishes what was cut off.

        Raises:
            StoreUnavailable: the files could not be scrubbed now. The row stays, empty, so that this is done again.
        """

        async def empty(c: Connection) -> None:
            await c.execute(
                "UPDATE credentials SET sealed = $3 WHERE tenant_uid = $1 AND role = 'previous' AND ends_at <= $2",
                uid,
                to_micros(c.now),
                b"",
            )

        async def drop(c: Connection) -> None:
            touched = await c.execute(
                "DELETE FROM credentials WHERE tenant_uid = $1 AND role = 'previous' AND ends_at <= $2",
                uid,
                to_micros(c.now),
            )
            if touched:
                await _touch(c, uid)

        await self._engine.write(empty)
        await self._engine.scrub()
        await self._engine.write(drop)

    async def set_expiry(self, tenant_id: TenantId, *, fingerprint: str, expires_at: datetime | None) -> Tenant:
        """Note when the current or the next credential runs out, as far as the caller knows.

        Args:
            fingerprint: of the credential that is meant; empty: the current one.
        Raises:
            TenantNotFound. InvalidArgument: there is no such credential, or it is a certificate, which tells by itself.
        """

        async def run(c: Connection) -> Tenant:
            await locks.keep_named_tenant(c, tenant_id)
            tenant = await _existing(c, tenant_id)
            candidates = [
                item
                for item in (tenant.credential, tenant.next_credential)
                if item is not None and fingerprint in ("", item.fingerprint)
            ]
            if not candidates:
                raise InvalidArgument([FieldViolation("fingerprint", "is not that of a credential in use or next")])
            known = candidates[0]
            if known.kind is CredentialKind.CERTIFICATE:
                raise InvalidArgument([FieldViolation("expire_time", "is told by the certificate itself")])
            if known.expires_at != expires_at:
                await _set_expiry(c, tenant.uid, known.role, expires_at)
                await _touch(c, tenant.uid)
                await look_soon(c, tenant.uid)
            return await _reloaded(c, tenant.uid)

        return await self._engine.write(run)

    async def expiries(self, *, count_max: int) -> Sequence[tuple[TenantId, datetime]]:
        """Return when tenants' current credentials run out, of those of which it is known; the first to run out first."""

        async def run(c: Connection) -> list[tuple[TenantId, datetime]]:
            found = await c.fetch(
                "SELECT t.tenant_id, c.expires_at FROM credentials c JOIN tenants t ON t.uid = c.tenant_uid"
                " WHERE c.role = 'current' AND c.expires_at IS NOT NULL AND t.deleted_at IS NULL"
                " ORDER BY c.expires_at, t.tenant_id LIMIT $1",
                count_max,
            )
            return [(TenantId(row[0]), at) for row in found if (at := rows.instant(row[1])) is not None]

        return await self._engine.read(run)

    async def _retire_current(self, c: Connection, uid: TenantUid, *, ends_at: datetime) -> None:
        """Make the current credential PREVIOUS; one that nobody can open, or that is not to be kept, is erased."""
        if ends_at > c.now:
            with suppress(SecretUnreadable):
                await self._move(c, uid, CredentialRole.CURRENT, CredentialRole.PREVIOUS)
                await c.execute(
                    "UPDATE credentials SET ends_at = $2 WHERE tenant_uid = $1 AND role = 'previous'",
                    uid,
                    to_micros(ends_at),
                )
                return
        await _withdraw(c, uid, CredentialRole.CURRENT)

    async def _move(self, c: Connection, uid: TenantUid, role: CredentialRole, to: CredentialRole) -> None:
        """Give a credential another role, which nobody has now.

        Raises:
            SecretUnreadable: it cannot be opened; nothing was done.
        """
        row = await c.fetch_one("SELECT sealed FROM credentials WHERE tenant_uid = $1 AND role = $2", uid, role)
        assert row is not None, "looked up in this transaction"
        proof = self._vault.unseal(bytes(row[0]), tenant_uid=uid, role=role)
        await c.execute(
            "UPDATE credentials SET role = $3, sealed = $4 WHERE tenant_uid = $1 AND role = $2",
            uid,
            role,
            to,
            self._vault.seal(proof, tenant_uid=uid, role=to),
        )


async def look_soon(c: Connection, uid: TenantUid) -> None:
    """Make the look after a tenant's credentials due, inside somebody else's transaction."""
    await journal.mark(c, IntentKind.TENANT_CREDENTIALS, uid, uid, priority=Priority.HINT, force=True)


def _find(tenant: Tenant, identity: str, *roles: CredentialRole) -> CredentialInfo | None:
    return next((item for item in tenant.credentials if item.role in roles and item.identity == identity), None)


def _refuse_reuse(tenant: Tenant, new: NewCredential) -> None:
    if new.request_id and any(
        item.request_id == new.request_id and item.identity != new.identity for item in tenant.credentials
    ):
        raise InvalidArgument([FieldViolation("request_id", "was used with another credential")])


async def _existing(c: Connection, tenant_id: TenantId) -> Tenant:
    tenant = await load_tenant(c, "t.tenant_id = $1", tenant_id)
    if tenant is None:
        raise TenantNotFound("there is no such tenant")
    if tenant.deleted_at is not None:
        raise TenantExists("the tenant is being deleted")
    return tenant


async def _reloaded(c: Connection, uid: TenantUid) -> Tenant:
    tenant = await load_tenant(c, "t.uid = $1", uid)
    assert tenant is not None, "kept in this transaction"
    return tenant


async def _withdraw(c: Connection, uid: TenantUid, role: CredentialRole) -> None:
    """Drop a credential, if there is one, and have it go from the files."""
    if await c.execute("DELETE FROM credentials WHERE tenant_uid = $1 AND role = $2", uid, role):
        await scrub_soon(c, uid)


async def _touch(c: Connection, uid: TenantUid) -> None:
    """Count a change of what people see of a tenant, and tell whoever watches it."""
    await c.execute("UPDATE tenants SET version = version + 1, updated_at = $2 WHERE uid = $1", uid, to_micros(c.now))
    c.announce(journal.TENANTS, uid)


async def _set_expiry(c: Connection, uid: TenantUid, role: CredentialRole, expires_at: datetime | None) -> None:
    await c.execute(
        "UPDATE credentials SET expires_at = $3 WHERE tenant_uid = $1 AND role = $2", uid, role, rows.micros(expires_at)
    )


async def _ask_for_subscriptions(c: Connection, uid: TenantUid) -> None:
    """Have each subscription renewed at once; one that another application made is found missing then, and made anew."""
    found = await c.fetch(
        "SELECT room_uid FROM subscriptions WHERE tenant_uid = $1 AND room_uid IS NOT NULL AND graph_id IS NOT NULL"
        " ORDER BY room_uid",
        uid,
    )
    await c.execute(
        "UPDATE subscriptions SET renew_at = $2 WHERE tenant_uid = $1 AND room_uid IS NOT NULL AND graph_id IS NOT NULL",
        uid,
        to_micros(c.now),
    )
    for row in found:
        await journal.mark(c, IntentKind.ROOM_SUBSCRIBE, row[0], uid, priority=Priority.REPAIR, force=True)
