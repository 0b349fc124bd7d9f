"""Find out whether Microsoft accepts a tenant's credential and lets it read, and say so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Protocol

import structlog

from sidecar.errors import (
    ConsentMissing,
    GraphRefused,
    GraphUnavailable,
    MailboxDenied,
    RoomBlocked,
    SidecarError,
    Unavailable,
)
from sidecar.graph.clouds import TenantRef
from sidecar.graph.logins import token_roles
from sidecar.model.ids import TenantUid
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.store.store import Store

log = structlog.get_logger(__name__)

_PROBED_ROOMS_MAX = 5
_ABSENCES_MAX = 2
"""One mailbox may be in trouble by itself; a second that does not answer, either, makes it Microsoft's."""
_PROBE_S = 20.0
"""A look at one calendar, with all its tries; two of them leave room in the five minutes after which an outage is known."""
_CALENDAR_ROLES = frozenset({"Calendars.Read", "Calendars.ReadWrite"})


class Tokens(Protocol):
    """Getting tokens; `graph.auth.TokenSource` is one."""

    async def fetch_token(self, tenant: TenantRef) -> str:
        """Return a token for Graph."""

    def forget(self, tenant_uid: TenantUid) -> None:
        """Begin anew with the credential that the store holds now."""


class Prober(Protocol):
    """Trying to read a mailbox; `graph.client.GraphClient` is one."""

    async def probe(self, tenant: TenantRef, mailbox: str) -> None:
        """Return when the mailbox can be read."""


class TenantVerifier:
    """Checks tenants."""

    def __init__(self, *, store: Store, tokens: Tokens, prober: Prober, rng: Random) -> None:
        self._store = store
        self._tokens = tokens
        self._prober = prober
        self._rng = rng

    async def verify(self, tenant: Tenant, *, is_reading: bool = False) -> None:
        """Return when the tenant is in order; that is noted, and a problem that was there is gone.

        A token alone proves little: Microsoft issues one even to an application that was granted nothing. So, once there
        are rooms, a few are tried.

        Args:
            is_reading: calendars were read just now, so none needs to be tried.
        Raises:
            TenantBlocked: what is wrong with the tenant as a whole. Unavailable: it cannot be found out now.
        """
        ref = TenantRef(tenant_uid=tenant.uid, directory_id=tenant.directory_id, cloud=tenant.cloud)
        if tenant.problem is not None or tenant.credential.proven_at is None:
            self._tokens.forget(tenant.uid)  # what was remembered may be older than what was mended
        token = await self._tokens.fetch_token(ref)
        _, rooms = await self._store.rooms.load_all(tenant.uid)
        refusal = None if is_reading else await self._probe_rooms(ref, rooms)
        roles = token_roles(token)
        if isinstance(refusal, MailboxDenied) and roles is not None and not _CALENDAR_ROLES & set(roles):
            raise ConsentMissing("the application has no calendar permission, and no room can be read")
        await self._store.tenants.set_proven(tenant.uid, fingerprint=tenant.credential.fingerprint)
        log.info("tenant.verified", tenant_uid=tenant.uid, rooms_count=len(rooms))

    async def _probe_rooms(self, ref: TenantRef, rooms: Sequence[Room]) -> SidecarError | None:
        """Return None as soon as one room can be read, else the last refusal; one mailbox in trouble proves nothing.

        Raises:
            Unavailable: no room could be asked.
        """
        refusal: SidecarError | None = None
        absences: list[Unavailable] = []
        for room in self._choose(rooms):
            try:
                await self._probe(ref, room)
            except (RoomBlocked, GraphRefused) as error:
                refusal = error
            except Unavailable as error:
                absences.append(error)
                if len(absences) >= _ABSENCES_MAX:
                    break
            else:
                return None
        if refusal is None and absences:
            raise absences[0]
        return refusal

    async def _probe(self, ref: TenantRef, room: Room) -> None:
        try:
            async with asyncio.timeout(_PROBE_S):
                await self._prober.probe(ref, room.object_id or room.mailbox)
        except TimeoutError as error:
            raise GraphUnavailable("Exchange took too long to show a calendar") from error

    def _choose(self, rooms: Sequence[Room]) -> list[Room]:
        """Return rooms to try, in another order each time, those in trouble last: one mailbox's must not pass for all's."""
        shuffled = self._rng.sample(list(rooms), len(rooms))
        return sorted(shuffled, key=lambda room: room.problem is not None)[:_PROBED_ROOMS_MAX]
