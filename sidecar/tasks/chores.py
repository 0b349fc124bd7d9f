"""The chores as plain async functions: what to do for an intent, and when to do it again.

A chore returns when the next run is due, None for never. What stands in the way is written to the room or the tenant here,
so that a state that people see never lags behind what the engine knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

import structlog

from sidecar.aio.clock import Clock
from sidecar.diagnosis.reserve import ReserveTest
from sidecar.diagnosis.verify import TenantVerifier
from sidecar.errors import (
    AccessPending,
    GraphRefused,
    GraphUnavailable,
    MailboxDenied,
    MailboxNotFound,
    RoomBlocked,
    SecretUnreadable,
    SidecarError,
    StoreUnavailable,
    SubscriptionProblem,
    TenantBlocked,
    TenantNotFound,
    TenantPaused,
    TenantSuspended,
    Throttled,
    Unavailable,
)
from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.intent import Intent, IntentKind, Lease, Priority
from sidecar.model.problem import Problem
from sidecar.model.room import DENIALS, Room
from sidecar.model.tenant import BLOCKING_REASONS, Tenant
from sidecar.model.write import WriteUid
from sidecar.settings import StoreSettings, SyncSettings
from sidecar.store.store import Store
from sidecar.sync.brake import SECOND_READ
from sidecar.sync.problems import problem_of, tenant_problem_of
from sidecar.sync.rhythm import next_check_s, next_compare_at
from sidecar.sync.rooms import RoomSync
from sidecar.sync.strays import SubscriptionAudit
from sidecar.sync.subscriptions import NotYet, SubscriptionKeeper
from sidecar.sync.webhook_watch import WebhookWatch
from sidecar.tasks.propagation import PropagationWatch
from sidecar.tasks.tenant_health import PAUSED, TELL_AFTER_ATTEMPTS, TenantHealth
from sidecar.telemetry.metrics import Telemetry
from sidecar.tenants.credentials import CredentialKeeper, next_look_at
from sidecar.tenants.remove import TenantRemover
from sidecar.writes.driver import Driver

log = structlog.get_logger(__name__)

VERIFY_INTERVAL = timedelta(hours=1)
PRUNE_INTERVAL = timedelta(hours=1)
AUDIT_INTERVAL = timedelta(days=1)
_PRUNE_HELD = timedelta(hours=1)
"""Longer than a snapshot of one room takes: some ten messages, each of which its reader has a minute for."""
_WRITES_KEPT = timedelta(days=7)
"""Who sends the same request again later than this has forgotten it."""
_WRITES_PRUNED_MAX = 10_000
_PROBE_CAP_S = 3_600.0
_REMOVE_TRIES_MAX = 10
_CLEAR_TRIES_MAX = 200
"""Hourly at last, so more than a week: whoever took the permission to write away for longer removes the minute himself."""
_SOON_S = 1.0


@dataclass(frozen=True, slots=True)
class Done:
    """A run went well. `next_at` None: nothing more to do. `has_changed`: bookings are others than before."""

    next_at: datetime | None = None
    priority: Priority | None = None
    has_changed: bool = False


@dataclass(frozen=True, slots=True)
class PutOff:
    """A run met an obstacle that people have been told of; it is tried again at `until`."""

    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Later:
    """It was not this run's turn. Nothing was done and nothing failed; it is due again at `until`."""

    until: datetime


Outcome = Done | PutOff | Later
Chore = Callable[[Intent, Lease], Awaitable[Outcome]]
_RoomBody = Callable[[Room, Tenant, Lease], Awaitable[Outcome]]


class Chores:
    """All chores. `by_kind` is complete: a kind without one is an error when the service starts."""

    def __init__(
        self,
        *,
        store: Store,
        room_sync: RoomSync,
        subscriptions: SubscriptionKeeper,
        webhook: WebhookWatch,
        audit: SubscriptionAudit,
        verifier: TenantVerifier,
        credentials: CredentialKeeper,
        remover: TenantRemover,
        reserve: ReserveTest,
        writes: Driver,
        health: TenantHealth,
        clock: Clock,
        rng: Random,
        sync_settings: SyncSettings,
        store_settings: StoreSettings,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._room_sync = room_sync
        self._subscriptions = subscriptions
        self._webhook = webhook
        self._audit = audit
        self._verifier = verifier
        self._credentials = credentials
        self._remover = remover
        self._reserve = reserve
        self._writes = writes
        self._health = health
        self._propagation = PropagationWatch(store=store, clock=clock)
        self._clock = clock
        self._rng = rng
        self._settings = sync_settings
        self._telemetry = telemetry
        self._retention = timedelta(days=store_settings.retention_days)
        self._retention_count = store_settings.retention_count_max
        self._audit_retention = timedelta(days=store_settings.audit_days)
        self._audit_pruned_s = -PRUNE_INTERVAL.total_seconds()
        self.by_kind: dict[IntentKind, Chore] = {
            IntentKind.ROOM_SYNC: self._sync_room,
            IntentKind.ROOM_CHECK: self._check_room,
            IntentKind.ROOM_COMPARE: self._compare_room,
            IntentKind.ROOM_SUBSCRIBE: self._subscribe_room,
            IntentKind.SUBSCRIPTION_REMOVE: self._remove_subscription,
            IntentKind.SUBSCRIPTION_AUDIT: self._audit_subscriptions,
            IntentKind.BOOKING_WRITE: self._settle_write,
            IntentKind.TENANT_VERIFY: self._verify_tenant,
            IntentKind.TENANT_CREDENTIALS: self._look_after_credentials,
            IntentKind.TENANT_PULSE: self._pulse_tenant,
            IntentKind.TENANT_ERASE: self._erase,
            IntentKind.TENANT_SCRUB: self._scrub,
            IntentKind.TENANT_PROPAGATION: self._watch_propagation,
            IntentKind.TENANT_REMOVE: self._remove_tenant,
            IntentKind.TEST_BOOKING_REMOVE: self._remove_test_bookings,
            IntentKind.LOG_PRUNE: self._prune_log,
        }
        assert set(self.by_kind) == set(IntentKind), "every kind has its chore"

    async def _sync_room(self, intent: Intent, lease: Lease) -> Outcome:
        async def body(room: Room, tenant: Tenant, lease: Lease) -> Outcome:
            if not await self._room_sync.read_hinted(room, tenant, lease=lease):
                await self._room_sync.compare(room, tenant, lease=lease)
                await self._plan_second_read(await self._reloaded(room))
            return Done()

        return await self._on_room(intent, lease, body)

    async def _check_room(self, intent: Intent, lease: Lease) -> Outcome:
        async def body(room: Room, tenant: Tenant, lease: Lease) -> Outcome:
            if room.fresh_as_of_at is None:
                return Done()  # its first full read makes the checks due that follow it
            applied = await self._room_sync.check(room, tenant, lease=lease, attempts=intent.attempts)
            room = await self._reloaded(room)
            await self._plan_second_read(room)
            next_at = self._next_check_at(room, was_failing=intent.attempts > 0)
            return Done(next_at, Priority.CHECK, has_changed=applied is not None and applied.changes_count > 0)

        return await self._on_room(intent, lease, body)

    async def _compare_room(self, intent: Intent, lease: Lease) -> Outcome:
        async def body(room: Room, tenant: Tenant, lease: Lease) -> Outcome:
            applied = await self._room_sync.compare(room, tenant, lease=lease)
            if applied is None:
                return Done()
            check_at = self._next_check_at(await self._reloaded(room), was_failing=intent.attempts > 0)
            kind, priority = IntentKind.ROOM_CHECK, Priority.CHECK
            await self._store.intents.mark(kind, room.uid, tenant.uid, priority=priority, ready_at=check_at)
            now = self._clock.now()
            has_changed = applied.changes_count > 0
            if applied.held_count:
                return Done(now + SECOND_READ, Priority.REPAIR, has_changed=has_changed)
            interval_s = self._settings.compare_interval_s
            next_at = next_compare_at(room.uid, now=now, interval_s=interval_s, rng=self._rng)
            return Done(next_at, Priority.COMPARE, has_changed=has_changed)

        return await self._on_room(intent, lease, body)

    async def _reloaded(self, room: Room) -> Room:
        """Return a room as it is after a read: what was just found out decides when it is read next."""
        return await self._store.rooms.load_by_uid(room.uid) or room

    def _next_check_at(self, room: Room, *, was_failing: bool) -> datetime:
        now = self._clock.now()
        is_pressed = was_failing or room.outage_since_at is not None
        wait_s = next_check_s(room, now=now, is_pressed=is_pressed, settings=self._settings, rng=self._rng)
        return now + timedelta(seconds=wait_s)

    async def _plan_second_read(self, room: Room) -> None:
        """Make the full read due that decides about what is held back. Not for a full read's own intent: that is running."""
        if room.hold_problem is not None:
            kind, ready_at = IntentKind.ROOM_COMPARE, room.hold_problem.next_check_at
            await self._store.intents.mark(kind, room.uid, room.tenant_uid, priority=Priority.REPAIR, ready_at=ready_at)

    async def _subscribe_room(self, intent: Intent, lease: Lease) -> Outcome:
        async def body(room: Room, tenant: Tenant, lease: Lease) -> Outcome:
            if room.problem is not None and room.problem.reason in DENIALS:
                return PutOff(self._jittered(_PROBE_CAP_S), room.problem.reason)  # due at once when it can be read
            try:
                kept = await self._subscriptions.ensure(room, tenant)
            except (SubscriptionProblem, GraphRefused) as error:
                until = self._next_probe_at(intent)
                problem = problem_of(error, now=self._clock.now(), next_check_at=until)
                await self._store.rooms.set_subscription_problem(room.uid, problem, lease=lease)
                return PutOff(until, error.reason)
            except (Throttled, GraphUnavailable) as error:
                if intent.attempts >= TELL_AFTER_ATTEMPTS and not isinstance(error, TenantPaused):
                    problem = problem_of(error, now=self._clock.now(), next_check_at=None)
                    await self._store.rooms.set_subscription_problem(room.uid, problem, lease=lease)
                raise
            return Later(kept.until) if isinstance(kept, NotYet) else Done(kept.next_at, Priority.REPAIR)

        return await self._on_room(intent, lease, body)

    async def _on_room(self, intent: Intent, lease: Lease, body: _RoomBody) -> Outcome:
        """Do something for a room, and tell people what stands in the way."""
        room = await self._store.rooms.load_by_uid(RoomUid(intent.key))
        if room is None:
            return Done()
        tenant = await self._tenant_in_use(room.tenant_uid)
        if tenant.problem is not None and tenant.problem.reason in BLOCKING_REASONS:
            # The tenant's own verification finds out when this is over, and then makes every room due at once.
            return PutOff(self._clock.now() + timedelta(seconds=_PROBE_CAP_S), tenant.problem.reason)
        paused_until = await self._health.paused_until(intent)
        if paused_until is not None:
            return PutOff(paused_until, PAUSED)
        until = self._next_probe_at(intent)
        try:
            outcome = await body(room, tenant, lease)
        except (TenantBlocked, SecretUnreadable) as error:
            # One mailbox's answer does not condemn the tenant: its verification, which is due at once now, decides.
            await self._tell_room(room, error, until, lease)
            await self._store.intents.mark(
                IntentKind.TENANT_VERIFY, tenant.uid, tenant.uid, priority=Priority.HINT, force=True
            )
            return PutOff(until, error.reason)
        except MailboxDenied as error:
            return await self._put_off_denied(room, tenant, error, until, lease)
        except (RoomBlocked, GraphRefused) as error:
            await self._tell_room(room, error, until, lease)
            return PutOff(until, error.reason)
        except TenantPaused:
            soon_at = self._clock.now() + timedelta(seconds=_SOON_S)
            return PutOff(await self._health.paused_until(intent) or soon_at, PAUSED)
        except Unavailable as error:
            await self._health.note_failure(tenant.uid)
            is_told = intent.kind is not IntentKind.ROOM_SUBSCRIBE and not isinstance(error, StoreUnavailable)
            if is_told and intent.attempts >= TELL_AFTER_ATTEMPTS:
                await self._tell_room(room, error, None, lease)
            raise
        if isinstance(outcome, Done):
            await self._health.note_success(tenant)
            if room.problem is not None and room.problem.reason in DENIALS:
                await self._note_read(room, tenant, room.problem)
        return outcome

    async def _tenant_in_use(self, uid: TenantUid) -> Tenant:
        """Return a tenant that Microsoft may be asked about.

        Raises:
            TenantNotFound, TenantSuspended.
        """
        tenant = await self._store.tenants.load_by_uid(uid)
        if tenant.is_at_rest:
            raise TenantSuspended("the tenant was suspended or deleted meanwhile")
        return tenant

    async def _put_off_denied(
        self, room: Room, tenant: Tenant, refusal: MailboxDenied, until: datetime, lease: Lease
    ) -> PutOff:
        """Tell people that a room may not be read, or not yet; one that waits is asked by the tenant's looks meanwhile."""
        error = await self._propagation.weigh(room, refusal)
        if isinstance(error, AccessPending):
            until = self._jittered(_PROBE_CAP_S)
        await self._tell_room(room, error, until, lease)
        if room.problem is None or room.problem.reason not in DENIALS:
            await self._health.note_refusal(tenant, error)
        return PutOff(until, error.reason)

    async def _note_read(self, room: Room, tenant: Tenant, before: Problem) -> None:
        """After work on a room that had refused us: if that was a read, it does not any more, and may be announced again."""
        now_room = await self._store.rooms.load_by_uid(room.uid)
        if now_room is None or now_room.problem is not None:
            return
        await self._propagation.note_read(room, before=before)
        await self._health.note_readable(tenant)
        kind = IntentKind.ROOM_SUBSCRIBE
        await self._store.intents.mark(kind, room.uid, room.tenant_uid, priority=Priority.REPAIR, force=True)

    async def _tell_room(self, room: Room, error: SidecarError, until: datetime | None, lease: Lease) -> None:
        problem = problem_of(error, now=self._clock.now(), next_check_at=until)
        await self._store.rooms.set_problem(room.uid, problem, lease=lease)

    def _next_probe_at(self, intent: Intent) -> datetime:
        """Return when to try again where Microsoft refused: slower and slower, for people mend things out of band."""
        return self._jittered(min(_PROBE_CAP_S, self._settings.probe_interval_s * 2.0 ** min(intent.attempts, 10)))

    def _jittered(self, wait_s: float) -> datetime:
        return self._clock.now() + timedelta(seconds=wait_s * (0.9 + self._rng.random() / 5))

    async def _remove_subscription(self, intent: Intent, lease: Lease) -> Outcome:
        tenant = await self._tenant_in_use(lease.lane)
        try:
            kept = await self._subscriptions.remove(intent.key, tenant)
        except (TenantBlocked, RoomBlocked, SubscriptionProblem, GraphRefused, SecretUnreadable) as error:
            return PutOff(self._next_probe_at(intent), error.reason)
        return Later(kept.until) if isinstance(kept, NotYet) else Done()

    async def _audit_subscriptions(self, intent: Intent, lease: Lease) -> Outcome:
        try:
            tenant = await self._tenant_in_use(lease.lane)
        except TenantNotFound:
            return Done()
        try:
            audited = await self._audit.run(tenant)
        except (TenantBlocked, RoomBlocked, SubscriptionProblem, GraphRefused, SecretUnreadable) as error:
            return PutOff(self._next_probe_at(intent), error.reason)
        if isinstance(audited, NotYet):
            return Later(audited.until)
        if not audited.is_complete:
            return Done(self._clock.now(), Priority.COMPARE)
        return Done(self._clock.now() + AUDIT_INTERVAL * (0.9 + self._rng.random() / 10), Priority.COMPARE)

    async def _verify_tenant(self, intent: Intent, lease: Lease) -> Outcome:
        try:
            tenant = await self._tenant_in_use(lease.lane)
        except TenantNotFound:
            return Done()
        try:
            await self._verifier.verify(
                tenant, is_reading=self._health.is_reading(intent), remaining=self._health.clock_problem
            )
        except (TenantBlocked, SecretUnreadable) as error:
            if await self._credentials.step_back(tenant, error):
                return Done(self._clock.now(), Priority.HINT)  # with the credential that is back in use
            until = self._next_probe_at(intent)
            problem = tenant_problem_of(error, tenant.credential, now=self._clock.now(), next_check_at=until)
            await self._store.tenants.set_problem(tenant.uid, problem)
            return PutOff(until, error.reason)
        except Unavailable as error:
            again_at = await self._health.note_unverified(tenant, error, attempts=intent.attempts)
            if again_at is None:
                raise
            return PutOff(again_at, error.reason)
        await self._health.note_verified(tenant.uid)
        await self._store.intents.mark(
            IntentKind.LOG_PRUNE,
            tenant.uid,
            tenant.uid,
            priority=Priority.IMPORT,
            ready_at=self._clock.now() + PRUNE_INTERVAL,
        )
        await self._store.intents.mark(
            IntentKind.SUBSCRIPTION_AUDIT,
            tenant.uid,
            tenant.uid,
            priority=Priority.COMPARE,
            ready_at=self._clock.now() + AUDIT_INTERVAL,
        )
        look_at = next_look_at(tenant, next_try_at=None, now=self._clock.now())
        if look_at is not None:
            # Due already, but for a tenant of a version that looked after no credentials, and one that came back from deletion.
            kind = IntentKind.TENANT_CREDENTIALS
            await self._store.intents.mark(kind, tenant.uid, tenant.uid, priority=Priority.REPAIR, ready_at=look_at)
        return Done(self._clock.now() + VERIFY_INTERVAL, Priority.COMPARE)

    async def _look_after_credentials(self, intent: Intent, lease: Lease) -> Outcome:
        try:
            tenant = await self._store.tenants.load_by_uid(lease.lane)
            if tenant.deleted_at is not None:
                return Done()
            next_at = await self._credentials.look(tenant, planned_at=intent.ready_at)
        except TenantNotFound:
            return Done()
        return Done(next_at, Priority.REPAIR)

    async def _pulse_tenant(self, intent: Intent, lease: Lease) -> Outcome:
        next_at = await self._health.feel_pulse(lease.lane)
        try:
            tenant = await self._store.tenants.load_by_uid(lease.lane)
        except TenantNotFound:
            return Done()
        is_refused = tenant.problem is not None and tenant.problem.reason in BLOCKING_REASONS
        if not (tenant.is_at_rest or is_refused or await self._health.paused_until(intent)):
            next_at = min(next_at, await self._webhook.look(tenant))
        return Done(next_at, Priority.REPAIR)

    async def _erase(self, intent: Intent, lease: Lease) -> Outcome:
        """Erase what is not to be kept any more: a credential that was used before, and words that settings do not allow.

        Exchange is not asked, so nothing there stands in the way.
        """
        try:
            tenant = await self._store.tenants.load_by_uid(TenantUid(intent.key))
            next_at = await self._credentials.drop_previous(tenant)
            if tenant.erasing_since_at is not None:
                bookings_count = await self._store.erasure.run(tenant.uid, lease=lease)
                log.info("tenant.words_erased", bookings_count=bookings_count)
        except TenantNotFound:
            return Done()
        except SecretUnreadable as error:
            return PutOff(self._next_probe_at(intent), error.reason)
        return Done(next_at, Priority.REPAIR)

    async def _scrub(self, intent: Intent, lease: Lease) -> Outcome:
        await self._store.erasure.scrub()
        return Done()

    async def _watch_propagation(self, intent: Intent, lease: Lease) -> Outcome:
        return Done(await self._propagation.look(lease.lane), Priority.CHECK)

    async def _remove_tenant(self, intent: Intent, lease: Lease) -> Outcome:
        try:
            tenant = await self._store.tenants.load_by_uid(lease.lane)
        except TenantNotFound:
            await self._store.tenants.erase(lease.lane)  # its rows are gone, but not yet from the files
            return Done()
        await self._remover.remove(tenant, is_last_try=intent.attempts >= _REMOVE_TRIES_MAX)
        self._health.forget(tenant.uid)
        return Done()

    async def _remove_test_bookings(self, intent: Intent, lease: Lease) -> Outcome:
        tenant = await self._tenant_in_use(lease.lane)
        try:
            await self._reserve.clear(intent.key, tenant)
        except MailboxNotFound:
            return Done()  # and with the mailbox whatever was in it
        except (TenantBlocked, RoomBlocked, GraphRefused, SecretUnreadable) as error:
            if intent.attempts >= _CLEAR_TRIES_MAX:
                log.error("reserve_test.left", reason=error.reason)
                return Done()
            return PutOff(self._next_probe_at(intent), error.reason)
        return Done()

    async def _settle_write(self, intent: Intent, lease: Lease) -> Outcome:
        """Go on with a write that was left, by a process that died or an Exchange that did not answer."""
        try:
            await self._tenant_in_use(lease.lane)
        except TenantNotFound:
            return Done()  # and with the tenant the write
        again_at = await self._writes.resume(WriteUid(intent.key))
        return Done() if again_at is None else Later(again_at)

    async def _prune_log(self, intent: Intent, lease: Lease) -> Outcome:
        pruned = await self._store.changes.prune(
            lease.lane, retention=self._retention, count_max=self._retention_count, held=_PRUNE_HELD
        )
        await self._store.attendances.prune(lease.lane)
        now_s = self._clock.monotonic()
        if now_s >= self._audit_pruned_s + PRUNE_INTERVAL.total_seconds():  # it is all tenants': once is enough
            self._audit_pruned_s = now_s
            await self._store.audit.prune(retention=self._audit_retention)
            await self._store.task_runs.prune()
        await self._store.writes.prune(lease.lane, retention=_WRITES_KEPT, count_max=_WRITES_PRUNED_MAX)
        await self._store.organizer_events.prune(lease.lane, over_before=self._clock.now() - _WRITES_KEPT)
        if pruned.is_cut_short:
            # Readers that were away for less than they were promised get snapshots: the operator may want a longer log.
            self._telemetry.count("log_cut_short", 1)
            log.warning("log_prune.cut_short", dropped_count=pruned.dropped_count, count_max=self._retention_count)
        return Done(self._clock.now() + PRUNE_INTERVAL, Priority.IMPORT)
