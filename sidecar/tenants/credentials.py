"""Looks after a tenant's credentials: proves NEXT and puts it into use, warns before CURRENT runs out, and erases PREVIOUS.

Erasing is work of its own: it waits for backups, and is done for tenants that are at rest, too. Of the rest one look does
whatever is due and says when the next one is: a process that dies in between loses nothing, and a look too many does no harm.
Nothing of the tenant's other work waits for it: until NEXT is in use, CURRENT is.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from random import Random
from typing import Protocol

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import (
    ConsentMissing,
    CredentialRejected,
    GraphRefused,
    GraphUnavailable,
    MailboxDenied,
    RoomBlocked,
    SecretUnreadable,
    SidecarError,
    StoreUnavailable,
    TenantBlocked,
    Unavailable,
)
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.model.ids import TenantUid
from sidecar.model.problem import Actor, Problem
from sidecar.model.room import choose_to_try
from sidecar.model.tenant import CredentialInfo, Tenant
from sidecar.model.tenant_problems import expiry_step, next_change_at, next_expiry_step_at
from sidecar.settings import CredentialSettings
from sidecar.store.store import Store

log = structlog.get_logger(__name__)

_PROBED_ROOMS_MAX = 5
_PROOF_S = 60.0
"""A token and up to five looks at calendars."""
_TRY_FIRST_S, _TRY_SHARE = 5.0, 0.6
"""A new secret is known everywhere within minutes; the first tries follow each other closely because somebody waits."""
_TRY_MAX_S = 3_600.0
_NOT_KNOWN_YET = frozenset(
    {"AADSTS7000215", "AADSTS700027", "AADSTS700016", "AADSTS700211", "AADSTS700212", "AADSTS700213"}
)
"""What Microsoft's login also says to something that was registered a moment ago: secret, certificate, app, federation."""


class Tokens(Protocol):
    """Getting tokens; `graph.auth.TokenSource` is one."""

    async def fetch_token(self, tenant: TenantRef) -> str:
        """Return a token for Graph."""

    def forget(self, tenant_uid: TenantUid, *, credential: str | None = None) -> None:
        """Drop what is kept for one credential."""


class Prober(Protocol):
    """Trying to read a mailbox; `graph.client.GraphClient` is one."""

    async def probe(self, tenant: TenantRef, mailbox: str) -> None:
        """Return when the mailbox can be read."""


class CredentialKeeper:
    """Looks after credentials."""

    def __init__(
        self, *, store: Store, tokens: Tokens, prober: Prober, clock: Clock, rng: Random, settings: CredentialSettings
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._prober = prober
        self._clock = clock
        self._rng = rng
        self._settings = settings

    async def look(self, tenant: Tenant, *, planned_at: datetime) -> datetime | None:
        """Do what is due for a tenant's credentials; return when the next look is, None for never.

        Args:
            planned_at: when this look was due: a warning whose moment lies between then and now is logged.
        Raises:
            StoreUnavailable.
        """
        self._warn(tenant, planned_at)
        tried_at = None
        if tenant.next_credential is not None:
            tried_at = await self._try_next(tenant, tenant.next_credential)
        tenant = await self._store.tenants.load_by_uid(tenant.uid)
        return next_look_at(tenant, next_try_at=tried_at, now=self._clock.now())

    async def step_back(self, tenant: Tenant, error: SidecarError) -> bool:
        """After Microsoft refused the current credential: take the former one back if it still works; say whether it was.

        What was proven may be refused a minute later, where the news of a new secret has not come yet. The refused one is
        proven anew then, and comes into use when it is accepted.
        """
        if tenant.previous_credential is None or not isinstance(error, CredentialRejected):
            return False
        try:
            await self._tokens.fetch_token(ref_of(tenant, tenant.previous_credential))
            is_back = await self._store.credentials.step_back(tenant.uid, tenant.credential.identity)
        except (TenantBlocked, SecretUnreadable, Unavailable) as refusal:
            if isinstance(refusal, StoreUnavailable):
                raise
            return False
        if is_back:
            log.warning("credential.taken_back", tenant_uid=tenant.uid, reason=error.reason, **error.details)
        return is_back

    async def drop_previous(self, tenant: Tenant) -> datetime | None:
        """Erase PREVIOUS once its time is over; return when it will be, None when there is none left.

        Raises:
            StoreUnavailable: the files could not be scrubbed now; doing it again does the rest.
        """
        previous = tenant.previous_credential
        if previous is None or previous.ends_at is None:
            return None
        if previous.ends_at > self._clock.now():
            return previous.ends_at
        await self._store.credentials.drop_previous(tenant.uid)
        self._tokens.forget(tenant.uid, credential=previous.identity)
        log.info("credential.erased", tenant_uid=tenant.uid)
        left = (await self._store.tenants.load_by_uid(tenant.uid)).previous_credential
        return None if left is None else left.ends_at

    def _warn(self, tenant: Tenant, planned_at: datetime) -> None:
        now = self._clock.now()
        step_at = next_expiry_step_at(tenant.credential, now=planned_at - timedelta(microseconds=1))
        step = expiry_step(tenant.credential, now=now)
        if step is None or step_at is None or step_at > now:
            return
        name = "credential.expires_soon" if step else "credential.expired"
        expires_at = tenant.credential.expires_at
        log.warning(
            name, tenant_uid=tenant.uid, days=step, expires_at=None if expires_at is None else expires_at.isoformat()
        )

    async def _try_next(self, tenant: Tenant, following: CredentialInfo) -> datetime | None:
        """Prove NEXT and put it into use; return when to try again if that does not work now."""
        identity = following.identity
        self._tokens.forget(tenant.uid, credential=identity)  # MSAL remembers refusals, and the last try may be one
        try:
            async with asyncio.timeout(_PROOF_S):
                read_room = await self._prove(tenant, following)
            is_done = await self._store.credentials.promote(
                tenant.uid, identity, read_room=read_room, previous_s=self._settings.previous_hours * 3_600.0
            )
        except TimeoutError:
            return await self._put_off(tenant, following, GraphUnavailable("the proof took too long"))
        except (TenantBlocked, RoomBlocked, GraphRefused, SecretUnreadable, Unavailable) as error:
            if isinstance(error, StoreUnavailable):
                raise
            return await self._put_off(tenant, following, error)
        if is_done:
            log.info("credential.promoted", tenant_uid=tenant.uid, room_id=read_room or None)
        return None

    async def _prove(self, tenant: Tenant, following: CredentialInfo) -> str:
        """Return the id of a room that can be read with NEXT; empty when there is no room.

        Raises:
            SidecarError: the last refusal, when no room of those tried can be read.
        """
        ref = ref_of(tenant, following)
        await self._tokens.fetch_token(ref)
        _, rooms = await self._store.rooms.load_all(tenant.uid)
        refusal: SidecarError | None = None
        for room in choose_to_try(rooms, count_max=_PROBED_ROOMS_MAX, rng=self._rng):
            try:
                await self._prober.probe(ref, room.address)
            except (RoomBlocked, GraphRefused) as error:
                refusal = error
            else:
                return room.room_id
        if refusal is not None:
            raise refusal
        return ""

    async def _put_off(self, tenant: Tenant, following: CredentialInfo, error: SidecarError) -> datetime:
        now = self._clock.now()
        age_s = 0.0 if following.added_at is None else (now - following.added_at).total_seconds()
        is_refused = not isinstance(error, Unavailable) and (
            age_s >= self._settings.prove_patience_s or not _may_be_new(error)
        )
        until = now + timedelta(seconds=self._wait_s(age_s, error))
        problem = _refusal(error, following, now=now, next_check_at=until, is_refused=is_refused)
        await self._store.credentials.note_unproven(tenant.uid, following.identity, problem, is_refused=is_refused)
        log.warning(
            "credential.unproven",
            tenant_uid=tenant.uid,
            reason=error.reason,
            is_refused=is_refused,
            next_try_at=until.isoformat(),
            **error.details,
        )
        return until

    def _wait_s(self, age_s: float, error: SidecarError) -> float:
        """Return how long to wait: a share of how long it has been tried already, so that tries become rarer by themselves."""
        wait_s = min(_TRY_MAX_S, max(_TRY_FIRST_S, age_s * _TRY_SHARE))
        asked_s = error.retry_after_s if isinstance(error, Unavailable) else None
        return max(wait_s * (0.9 + self._rng.random() / 5), asked_s or 0.0)


def next_look_at(tenant: Tenant, *, next_try_at: datetime | None, now: datetime) -> datetime | None:
    """Return when a tenant's credentials are to be looked after next; None: there is nothing to come.

    Args:
        next_try_at: when NEXT is to be tried; None: there is none, or it stands as its last try left it.
    """
    following = tenant.next_credential
    if next_try_at is None and following is not None:
        next_try_at = now if following.problem is None else following.problem.next_check_at or now
    moments = (next_try_at, next_change_at(tenant, now=now))
    return min((at for at in moments if at is not None), default=None)


def _may_be_new(error: SidecarError) -> bool:
    """Tell whether a refusal may only mean that the news has not come everywhere yet."""
    if isinstance(error, MailboxDenied | ConsentMissing):
        return True
    return error.details.get("aadsts") in _NOT_KNOWN_YET


def _refusal(
    error: SidecarError, following: CredentialInfo, *, now: datetime, next_check_at: datetime, is_refused: bool
) -> Problem:
    """Tell why NEXT is not in use."""
    if isinstance(error, Unavailable):
        message, actor = "The new credential cannot be proven now; the one in use stays in use.", Actor.MICROSOFT
        action = "Wait; the sidecar tries again by itself."
    elif not is_refused:
        message = "Microsoft does not accept the new credential yet; the one in use stays in use."
        action, actor = (
            "Wait some minutes: a new secret, certificate or app is not known everywhere at once.",
            Actor.NOBODY,
        )
    else:
        message = f"Microsoft refuses the new credential ({error.message}); the one in use stays in use."
        action = "Compare application id and secret with the app registration, and rotate again."
        actor = Actor.CUSTOMER
    metadata = {
        "cause": error.reason,
        "application_id": following.application_id,
        "fingerprint": following.fingerprint,
        **{"detail" if name == "cause" else name: value for name, value in error.details.items()},
    }
    return Problem(
        reason="CREDENTIAL_NEXT_REFUSED",
        message=message,
        action=action,
        actor=actor,
        first_seen_at=now,
        last_seen_at=now,
        next_check_at=next_check_at,
        metadata=metadata,
    )
