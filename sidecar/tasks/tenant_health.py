"""What is done when Microsoft stops answering a tenant, and when it answers again.

The breaker in `graph` knows at once, in memory, for this process. What people are told and what work is put off is in the
store, and one chore stands between: the tenant's verification. It is the only work that goes on while a breaker is open,
so it is the probe; it tells the problem, clears it, and brings back the work that was put off. It is due in the store, so a
process that dies meanwhile leaves nothing waiting for ever.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import structlog

from sidecar.aio.backoff import backoff_s
from sidecar.aio.clock import Clock
from sidecar.errors import ClockSkewed, MailboxDenied, SidecarError, StoreUnavailable, Unavailable
from sidecar.graph.breaker import Breaker
from sidecar.graph.skew import SkewWatch
from sidecar.model.ids import TenantUid
from sidecar.model.intent import Intent, IntentKind, Priority
from sidecar.model.problem import PASSING_REASONS, Problem
from sidecar.model.tenant import BLOCKING_REASONS, Tenant
from sidecar.store.store import Store
from sidecar.sync.problems import problem_of

log = structlog.get_logger(__name__)

PAUSED = "TENANT_PAUSED"
"""Why work is put off: the tenant's breaker is open. Written with the work, so that it is found again."""
TELL_AFTER_ATTEMPTS = 2
"""Exchange being away for a moment is no news; failing this often in a row is."""

QUIET_S = 230.0
"""After so long the next of the rooms' checks is made at once instead of a little later: it proves the way and costs nothing,
and rooms that were mapped together drift apart."""
_QUIET_CHECKS_MIN = 5
"""With fewer, checks would be brought forward far and come often; one small request for the tenant is cheaper then."""
_CHECK_WITHIN_S = 900.0
_SILENCE_S = 240.0
"""After so long without an answer one request proves the way. With 20 s for a probe, twice, an outage is known within five
minutes, also of a tenant whose few rooms make a request every quarter of an hour."""
_REFUSALS_SETTLE_S = 5.0
_DOUBT_S = 20.0
"""Until a quiet tenant is asked again because an answer's date says that our clock is wrong, or right again."""
_PROBE_BASE_S = 2.0
_PROBE_CAP_S = 120.0
_LOOK_AGAIN_S_MIN = 1.0
"""A moment that rounding leaves of a wait is no wait: without a least one, work would be due again while it runs."""
_PAUSED_S = 300.0
_PAUSED_HINT_S = 60.0
"""How long put-off work waits if nobody brings it back: what was announced less long than what is read to be sure."""
_BACK_STEP_S = 0.05
_BACK_SPREAD_S_MAX = 120.0
"""Twenty pieces of work a second, and all of it within two minutes: Exchange has just recovered."""


class TenantHealth:
    """Stands between the breaker and what people and the store know."""

    def __init__(self, *, store: Store, breaker: Breaker, skew: SkewWatch, clock: Clock, rng: Random) -> None:
        self._store = store
        self._breaker = breaker
        self._skew = skew
        self._clock = clock
        self._rng = rng

    async def paused_until(self, intent: Intent) -> datetime | None:
        """Return until when work is put off because the tenant's calls go unanswered; None: it may run."""
        if self._breaker.outage(intent.lane) is None:
            return None
        await self.note_failure(intent.lane)
        pause_s = _PAUSED_HINT_S if intent.priority <= Priority.HINT else _PAUSED_S
        return self._clock.now() + timedelta(seconds=pause_s * (1.0 + self._rng.random() / 5))

    def is_reading(self, intent: Intent) -> bool:
        """Tell whether a planned verification needs no request: traffic has just proven what it would.

        One that somebody made due, for a refusal, an outage or silence, has priority, and asks.
        """
        is_planned = intent.priority >= Priority.COMPARE and intent.attempts == 0
        return is_planned and self._breaker.is_proven(intent.lane, within_s=_SILENCE_S)

    async def note_failure(self, tenant_uid: TenantUid) -> None:
        """After a call has failed: if that opened the breaker, have the tenant verified, which asks somebody else first."""
        if self._breaker.take_opening(tenant_uid):
            await self._verify_soon(tenant_uid)

    async def note_success(self, tenant: Tenant) -> None:
        """After work was done: if people are told of an outage, it seems to be over; and the answers told the time."""
        known = None if tenant.problem is None else tenant.problem.reason
        is_told = known == ClockSkewed.reason
        is_skew_news = is_told != (self._skew.too_far_s is not None)
        if known in PASSING_REASONS or (is_skew_news and (is_told or known is None)):
            await self._verify_soon(tenant.uid)

    def clock_problem(self) -> Problem | None:
        """Return what people are to be told of our clock; None: it agrees with Microsoft's, or nobody knows yet."""
        too_far_s = self._skew.too_far_s
        if too_far_s is None:
            return None
        details = {"ahead_s" if too_far_s > 0 else "behind_s": str(round(abs(too_far_s)))}
        now = self._clock.now()
        return problem_of(ClockSkewed("our clock is wrong", details=details), now=now, next_check_at=None)

    async def note_readable(self, tenant: Tenant) -> None:
        """After a room could be read that had refused us: if people are told that none can be, that is over."""
        if tenant.problem is not None and tenant.problem.reason == MailboxDenied.reason:
            await self._verify_soon(tenant.uid)

    async def note_refusal(self, tenant: Tenant, error: SidecarError) -> None:
        """After a mailbox refused us for the first time: all of them may do so by now.

        A moment later, so that many rooms that are refused together cost one verification.
        """
        known = None if tenant.problem is None else tenant.problem.reason
        if isinstance(error, MailboxDenied) and known != MailboxDenied.reason:
            ready_at = self._in(_REFUSALS_SETTLE_S)
            kind = IntentKind.TENANT_VERIFY
            await self._store.intents.mark(kind, tenant.uid, tenant.uid, priority=Priority.HINT, ready_at=ready_at)

    async def note_unverified(self, tenant: Tenant, error: Unavailable, *, attempts: int) -> datetime | None:
        """Tell people that Microsoft cannot be asked about a tenant, once it is news.

        Returns:
            When to ask again; None when it is not news yet, or when something else stands in the way anyhow.
        """
        known = None if tenant.problem is None else tenant.problem.reason
        if isinstance(error, StoreUnavailable) or known in BLOCKING_REASONS:
            return None
        outage = self._breaker.outage(tenant.uid)
        silence_s = self._breaker.silence_s(tenant.uid) or 0.0
        is_news = outage is not None or attempts >= TELL_AFTER_ATTEMPTS or silence_s >= _SILENCE_S
        if known not in PASSING_REASONS and not is_news:
            return None
        cause, since_at = (error, self._clock.now()) if outage is None else (outage.error, outage.since_at)
        # Its own pause besides the breaker's, which hears nothing of a login that fails before a call is made.
        pause_s = backoff_s(attempts + 1, base_s=_PROBE_BASE_S, cap_s=_PROBE_CAP_S, rng=self._rng)
        wait_s = pause_s if outage is None else max(pause_s, outage.wait_s)
        until = self._clock.now() + timedelta(seconds=wait_s)
        problem = problem_of(cause, now=self._clock.now(), next_check_at=until)
        await self._store.tenants.set_problem(tenant.uid, replace(problem, first_seen_at=since_at))
        return until

    async def note_verified(self, tenant_uid: TenantUid) -> None:
        """After a verification that went well: bring back what was put off, and listen for silence from now on."""
        self._breaker.note_answer(tenant_uid, is_good=False)  # of a tenant without rooms nothing else is ever heard
        if self._skew.is_doubtful:
            kind, ready_at = IntentKind.TENANT_VERIFY, self._in(_DOUBT_S)
            await self._store.intents.mark(kind, tenant_uid, tenant_uid, priority=Priority.HINT, ready_at=ready_at)
        count = await self._store.intents.bring_back(
            tenant_uid, reason=PAUSED, step_s=_BACK_STEP_S, spread_s_max=_BACK_SPREAD_S_MAX
        )
        if count:
            log.info("tenant.work_brought_back", tenant_uid=tenant_uid, intents_count=count)
        kind, ready_at = IntentKind.TENANT_PULSE, self._in(QUIET_S)
        await self._store.intents.mark(kind, tenant_uid, tenant_uid, priority=Priority.REPAIR, ready_at=ready_at)

    async def feel_pulse(self, tenant_uid: TenantUid) -> datetime:
        """See to it that Microsoft is heard of often enough; return when to look again.

        Traffic proves the way by itself. Where there is little, a check that is planned anyhow is made earlier, and only where
        that is not enough the tenant is verified, which is a request more. A verification that was put off, by a refusal or
        during an outage, stays put off.
        """
        silence_s = self._breaker.silence_s(tenant_uid)
        if silence_s is not None and silence_s < QUIET_S - _LOOK_AGAIN_S_MIN:
            return self._in(QUIET_S - silence_s)
        if silence_s is not None and silence_s < _SILENCE_S - _LOOK_AGAIN_S_MIN:
            await self._store.intents.hurry_one(
                tenant_uid, IntentKind.ROOM_CHECK, within_s=_CHECK_WITHIN_S, if_count_min=_QUIET_CHECKS_MIN
            )
            return self._in(_SILENCE_S - silence_s)
        await self._store.intents.mark(IntentKind.TENANT_VERIFY, tenant_uid, tenant_uid, priority=Priority.HINT)
        return self._in(QUIET_S)

    def _in(self, duration_s: float) -> datetime:
        return self._clock.now() + timedelta(seconds=duration_s)

    def forget(self, tenant_uid: TenantUid) -> None:
        """Drop what is remembered of a tenant that is gone."""
        self._breaker.forget(tenant_uid)

    async def _verify_soon(self, tenant_uid: TenantUid) -> None:
        kind = IntentKind.TENANT_VERIFY
        await self._store.intents.mark(kind, tenant_uid, tenant_uid, priority=Priority.HINT, force=True)
