"""Find out whether Microsoft accepts a tenant's credential and lets it read, and say so: a chain of named checks.

The tenant's background verification and a caller who asks run the same chain; they differ in how many rooms are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

import structlog

from sidecar.aio.clock import Clock
from sidecar.diagnosis.login import (
    CONSENT_CALENDARS,
    TOKEN_CLAIMS,
    acquire_token,
    judge_claims,
    judge_consent,
)
from sidecar.diagnosis.login import Tokens as PlainTokens
from sidecar.diagnosis.reading import NARROW, ROOMS_READ, Breadth, Prober, Reading, read_rooms, reading_before
from sidecar.diagnosis.results import skipped
from sidecar.errors import GraphRefused, MailboxDenied, RoomBlocked, SidecarError
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.graph.logins import token_claims
from sidecar.model.check import CheckResult
from sidecar.model.ids import TenantUid
from sidecar.model.problem import PASSING_REASONS, Problem
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.store.store import Store
from sidecar.sync.problem_texts import EVERY_ROOM
from sidecar.sync.problems import problem_of

log = structlog.get_logger(__name__)


class Tokens(PlainTokens, Protocol):
    """Getting tokens; `graph.auth.TokenSource` is one."""

    def forget(self, tenant_uid: TenantUid) -> None:
        """Begin anew with the credential that the store holds now."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What the checks found, in their order.

    Attributes:
        error: what stands in the way of the tenant as a whole, None for nothing.
        denial: why none of the rooms that were tried may be read, though the tenant is in order; None: some may.
        mended: rooms that may be read, and of which we had thought otherwise.
    """

    checks: Sequence[CheckResult]
    error: SidecarError | None
    denial: MailboxDenied | None = None
    mended: Sequence[Room] = ()


class TenantVerifier:
    """Checks tenants."""

    def __init__(self, *, store: Store, tokens: Tokens, prober: Prober, clock: Clock, rng: Random) -> None:
        self._store = store
        self._tokens = tokens
        self._prober = prober
        self._clock = clock
        self._rng = rng

    async def verify(
        self, tenant: Tenant, *, is_reading: bool = False, remaining: Callable[[], Problem | None] = lambda: None
    ) -> None:
        """Return when the tenant is in order; that is noted, and a problem that was there is gone.

        Args:
            is_reading: calendars were read just now, so none needs to be tried.
            remaining: asked at the end what people are to be told of even if Microsoft has nothing against the tenant.
        Raises:
            TenantBlocked: what is wrong with the tenant as a whole. Unavailable: it cannot be found out now.
        """
        is_refused = tenant.problem is not None and tenant.problem.reason not in PASSING_REASONS
        is_doubtful = is_refused or tenant.credential.proven_at is None
        found = await self.examine(tenant, breadth=None if is_reading else NARROW, is_anew=is_doubtful)
        if found.error is not None:
            raise found.error
        told = remaining()
        if told is None and found.denial is not None:
            details = {**found.denial.details, "cause": EVERY_ROOM}
            told = problem_of(MailboxDenied("", details=details), now=self._clock.now(), next_check_at=None)
        await self._store.tenants.set_proven(tenant.uid, identity=tenant.credential.identity, remaining=told)
        log.info("tenant.verified", tenant_uid=tenant.uid)

    async def examine(
        self, tenant: Tenant, *, breadth: Breadth | None, is_anew: bool, budget_s: float | None = None
    ) -> Examination:
        """Run the checks; nothing is written.

        Args:
            breadth: how many rooms are tried; None: calendars were read just now, so none needs to be.
            is_anew: ask for a new token, because the remembered one may be older than what was mended.
            budget_s: seconds for all of it; what was not asked by then is said. None: each request has its own limit.
        Raises:
            TenantSuspended: nothing may be asked for it.
        """
        ref = ref_of(tenant)
        if is_anew:
            self._tokens.forget(tenant.uid)
        ends_s = None if budget_s is None else self._clock.monotonic() + budget_s
        login, token = await acquire_token(self._tokens, ref, budget_s=budget_s, now=self._clock.now())
        if login.is_failed:
            rest = [skipped(name, because=login) for name in (TOKEN_CLAIMS, ROOMS_READ, CONSENT_CALENDARS)]
            return Examination([login, *rest], login.error)
        claims = token_claims(token)
        named = judge_claims(ref, claims, now=self._clock.now())
        reading = await self._read(ref, breadth, ends_s)
        consent = judge_consent(claims, reading, now=self._clock.now())
        read = reading.result
        denial = reading.refusal if read.is_failed and isinstance(reading.refusal, MailboxDenied) else None
        if read.is_failed and consent.is_failed:
            read = replace(read, problem=consent.problem)  # to add rooms to a scope would not help
        return Examination([login, named, read, consent], _decide(reading, consent), denial, reading.mended)

    async def _read(self, ref: TenantRef, breadth: Breadth | None, ends_s: float | None) -> Reading:
        if breadth is None:
            return reading_before()
        _, rooms = await self._store.rooms.load_all(ref.tenant_uid)
        budget_s = None if ends_s is None else max(0.0, ends_s - self._clock.monotonic())
        return await read_rooms(
            self._prober, ref, rooms, breadth=breadth, budget_s=budget_s, rng=self._rng, now=self._clock.now()
        )


def _decide(reading: Reading, consent: CheckResult) -> SidecarError | None:
    """Return what stands in the way of the tenant as a whole: rooms that are refused one by one do not."""
    met = reading.result.error
    return consent.error if met is None or isinstance(met, RoomBlocked | GraphRefused) else met
