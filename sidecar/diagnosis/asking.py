"""Verify a tenant now, because somebody asks, and have what was found out become the tenant's state.

A state is written in one place only, the tenant's background verification. Where an answer differs from what is stored, that
is made due at once and waited for: it holds the tenant's lane, so two who find out different things do not write over each
other, and the process that works for the tenant begins with a new token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sidecar.aio.clock import Clock
from sidecar.diagnosis.reading import ROOMS_READ, WIDE
from sidecar.diagnosis.verify import Examination, TenantVerifier
from sidecar.errors import (
    ClockSkewed,
    MailboxDenied,
    SecretUnreadable,
    TenantBlocked,
    TenantNotFound,
    TenantSuspended,
    Throttled,
    Unavailable,
)
from sidecar.graph.urgency import Urgency, acting_with
from sidecar.model.check import CheckResult
from sidecar.model.ids import TenantId, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.room import DENIALS, Room
from sidecar.model.tenant import Tenant
from sidecar.store.store import Store

_BUDGET_S = 45.0
"""Sixty rooms, four at once, with some of them slow. Whoever allows less gets as many as fit."""
_SETTLE_S = 5.0
"""How long the background verification is waited for; it takes about a second when Microsoft answers."""
_LOOK_S = 0.1
_LOOK_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Verified:
    """A tenant as it is after it was verified, and what the checks found."""

    tenant: Tenant
    checks: Sequence[CheckResult]


class TenantAsking:
    """Verifies tenants for callers."""

    def __init__(self, *, store: Store, verifier: TenantVerifier, clock: Clock) -> None:
        self._store = store
        self._verifier = verifier
        self._clock = clock
        self._turns: dict[TenantUid, _Turn] = {}

    async def verify(
        self, tenant_id: TenantId, *, budget_s: float | None = None, may_be_granted: bool = True
    ) -> Verified:
        """Ask Microsoft about a tenant now.

        Callers that ask about the same tenant at the same time share an examination that began after each of them asked,
        so that nobody's impatience costs a tenant more than one at a time.

        Args:
            budget_s: how long the caller waits, in seconds; None: as long as it takes, within a limit.
            may_be_granted: whoever asks has perhaps granted something just now, so that rooms which refuse us may be
                waiting for it. Not so whoever only looks: rooms that are denied would say "wait" from then on.
        Raises:
            TenantNotFound: there is none, or it is deleted.
            TenantSuspended: nothing may be asked about it.
            Throttled: it is being examined for somebody else, for longer than the caller waits.
        """
        tenant = await self._store.tenants.load(tenant_id)
        check_in_use(tenant)
        ends_s = self._clock.monotonic() + min(_BUDGET_S, budget_s or _BUDGET_S)
        found = await self._share(tenant, ends_s)
        if _is_denied(found):
            await self._store.propagations.look_soon(tenant.uid, look_at=self._clock.now(), is_grant=may_be_granted)
        for room in found.mended:
            await self._read_at_once(room)
        return Verified(await self._settle(tenant, found, ends_s), found.checks)

    async def _read_at_once(self, room: Room) -> None:
        """Have a room read that can be read again, and its changes announced."""
        for kind, priority in (
            (IntentKind.ROOM_COMPARE, Priority.COMPARE),
            (IntentKind.ROOM_SUBSCRIBE, Priority.REPAIR),
        ):
            await self._store.intents.mark(kind, room.uid, room.tenant_uid, priority=priority, force=True)

    async def _share(self, tenant: Tenant, ends_s: float) -> Examination:
        turn = self._turns.setdefault(tenant.uid, _Turn())
        asked_s = self._clock.monotonic()
        turn.waiting_count += 1
        try:
            async with self._turn_of(turn, ends_s):
                if turn.found is not None and turn.began_s >= asked_s and turn.version == tenant.version:
                    return turn.found
                turn.began_s, turn.version = self._clock.monotonic(), tenant.version
                # Behind announced changes, which watchers wait for: a person who asks can wait a second more.
                with acting_with(Urgency.CHECK):
                    left_s = ends_s - self._clock.monotonic()
                    turn.found = await self._verifier.examine(tenant, breadth=WIDE, is_anew=True, budget_s=left_s)
                return turn.found
        finally:
            turn.waiting_count -= 1
            if not turn.waiting_count:
                self._turns.pop(tenant.uid, None)

    @asynccontextmanager
    async def _turn_of(self, turn: _Turn, ends_s: float) -> AsyncIterator[None]:
        """Wait for one's turn, not longer than until `ends_s`."""
        try:
            async with asyncio.timeout(max(0.0, ends_s - self._clock.monotonic())):
                await turn.lock.acquire()
        except TimeoutError:
            raise Throttled("the tenant is being examined for somebody else", retry_after_s=_LOOK_AGAIN_S) from None
        try:
            yield
        finally:
            turn.lock.release()

    async def _settle(self, tenant: Tenant, found: Examination, ends_s: float) -> Tenant:
        """Return the tenant once its state says what was found out, or as it is when that takes too long."""
        if not _is_news(tenant, found):
            return tenant
        kind = IntentKind.TENANT_VERIFY
        await self._store.intents.mark(kind, tenant.uid, tenant.uid, priority=Priority.HINT, force=True)
        ends_s = min(ends_s, self._clock.monotonic() + _SETTLE_S)
        while True:
            latest = await self._store.tenants.load_by_uid(tenant.uid)
            if not _is_news(latest, found) or self._clock.monotonic() + _LOOK_S >= ends_s:
                return latest
            await self._clock.sleep(_LOOK_S)


def check_in_use(tenant: Tenant) -> None:
    """Return when Microsoft may be asked about a tenant.

    Raises:
        TenantNotFound: it is deleted. TenantSuspended: an operator wants nothing to be asked.
    """
    if tenant.deleted_at is not None:
        raise TenantNotFound("the tenant is deleted")
    if tenant.suspension is not None:
        raise TenantSuspended("the tenant is suspended: nothing is asked of Microsoft")


class _Turn:
    """One tenant's examinations, one after the other."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting_count = 0
        self.began_s = 0.0
        self.version = 0
        self.found: Examination | None = None


def _is_denied(found: Examination) -> bool:
    """Tell whether rooms refused us."""
    problems = (check.problem for check in found.checks if check.check_id == ROOMS_READ)
    return any(problem is not None and problem.reason in DENIALS for problem in problems)


def _is_news(tenant: Tenant, found: Examination) -> bool:
    """Tell whether what was found out differs from what is stored of a tenant."""
    known = None if tenant.problem is None else tenant.problem.reason
    if found.error is None:
        told = None if found.denial is None else MailboxDenied.reason
        return known not in (told, ClockSkewed.reason) or tenant.credential.proven_at is None
    if isinstance(found.error, Unavailable):
        # Whether an absence is news is for the background verification to say, which has heard of the tenant for longer.
        return known is None
    return isinstance(found.error, TenantBlocked | SecretUnreadable) and known != found.error.reason
