"""Everything that is known of a tenant or a room, and what Microsoft says to it now, in one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from sidecar.aio.clock import Clock
from sidecar.diagnosis.access import PROCESSING_DAYS, ROOM_PROCESSING, ROOM_READ, judge_processing
from sidecar.diagnosis.asking import TenantAsking
from sidecar.diagnosis.booking import BOOKING_COPY, judge_booking
from sidecar.diagnosis.clock_check import CLOCK, judge_clock
from sidecar.diagnosis.copy import judge_drift, judge_freshness, judge_subscription
from sidecar.diagnosis.deadline import Deadline
from sidecar.diagnosis.login import TOKEN_ACQUIRE
from sidecar.diagnosis.reading import ROOMS_READ
from sidecar.diagnosis.results import skipped
from sidecar.diagnosis.rooms import Reader, RoomAsking
from sidecar.diagnosis.webhook import WEBHOOK_HANDSHAKE, Caller, judge_heard, shake_hands
from sidecar.errors import BookingNotFound, SidecarError
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.graph.urgency import Urgency, acting_with
from sidecar.model.booking import StoredBooking
from sidecar.model.change import Change
from sidecar.model.check import CheckResult
from sidecar.model.ids import BookingKey, RoomId, TenantId
from sidecar.model.room import FreshnessLimits, Room
from sidecar.model.subscription import Subscription
from sidecar.model.tenant import Cloud, Tenant
from sidecar.model.window import Window
from sidecar.store.intents import PlannedWork
from sidecar.store.store import Store

_NEEDED = frozenset({TOKEN_ACQUIRE, ROOM_READ})
"""Without these nothing more can be asked about a room."""
_STEPS_MAX = 20
"""Steps that are shown: what happened last, on one page."""

TellTime = Callable[[Cloud], Awaitable[datetime | None]]
"""Ask Microsoft what time it is; None when it does not answer."""


@dataclass(frozen=True, slots=True)
class TenantDiagnosis:
    """A tenant, and what was found out, asked and known, in that order."""

    tenant: Tenant
    checks: Sequence[CheckResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomDiagnosis:
    """A room and what was found out.

    Attributes:
        steps: its last entries of the log, the newest first.
        planned: what is planned about it, the soonest first.
        exchange_ids: what Microsoft's support asks for, by name.
    """

    room: Room
    checks: Sequence[CheckResult]
    steps: Sequence[Change]
    planned: Sequence[PlannedWork]
    exchange_ids: dict[str, str]


class Reports:
    """Diagnoses tenants and rooms."""

    def __init__(
        self,
        *,
        store: Store,
        store_id: str,
        tenants: TenantAsking,
        rooms: RoomAsking,
        reader: Reader,
        caller: Caller,
        tell_time: TellTime,
        public_url: str | None,
        limits: FreshnessLimits,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._store = store
        self._store_id = store_id
        self._tenants = tenants
        self._rooms = rooms
        self._reader = reader
        self._caller = caller
        self._tell_time = tell_time
        self._public_url = public_url
        self._limits = limits
        self._clock = clock
        self._rng = rng

    async def diagnose_tenant(self, tenant_id: TenantId, *, budget_s: float | None = None) -> TenantDiagnosis:
        """Verify a tenant, try the way back to us, and look at its rooms' copies.

        Raises:
            TenantNotFound.
        """
        deadline = self._rooms.deadline(budget_s)
        tenant = await self._store.tenants.load(tenant_id)
        try:
            async with asyncio.TaskGroup() as group:
                webhook = group.create_task(self._shake(deadline), name="shake hands")
                clock = group.create_task(self._check_clock(tenant), name="tell time")
                tenant, asked = await self._ask(tenant, deadline)
        except ExceptionGroup as failures:
            # The group wraps what passes through it; a tenant that was deleted meanwhile is not found, as ever.
            if isinstance(failures.exceptions[0], SidecarError):
                raise failures.exceptions[0] from None
            raise
        _, rooms = await self._store.rooms.load_all(tenant.uid)
        subscriptions = await self._store.subscriptions.load_for_tenant(tenant.uid)
        checks = [*asked, clock.result(), webhook.result(), *await self._known(rooms, subscriptions)]
        return TenantDiagnosis(tenant, checks)

    async def _ask(self, tenant: Tenant, deadline: Deadline) -> tuple[Tenant, Sequence[CheckResult]]:
        if tenant.is_at_rest:
            return tenant, [_at_rest(name) for name in (TOKEN_ACQUIRE, ROOMS_READ)]
        verified = await self._tenants.verify(tenant.tenant_id, budget_s=deadline.left_s, may_be_granted=False)
        return verified.tenant, verified.checks

    async def diagnose_room(
        self,
        tenant_id: TenantId,
        room_id: RoomId,
        *,
        booking_key: BookingKey | None = None,
        budget_s: float | None = None,
    ) -> RoomDiagnosis:
        """Check a room at Exchange, and show what is known of its copy.

        Args:
            booking_key: a booking of the room that is to be explained, too.
        Raises:
            RoomNotFound, BookingNotFound.
        """
        deadline = self._rooms.deadline(budget_s)
        room = await self._store.rooms.load(tenant_id, room_id)
        tenant = await self._store.tenants.load_by_uid(room.tenant_uid)
        stored = None
        if booking_key is not None:
            stored = await self._store.calendars.load_one(room.uid, booking_key)
            if stored is None:
                raise BookingNotFound("the room's copy has no such booking")
        subscription = await self._store.subscriptions.load_for_room(room.uid)
        with acting_with(Urgency.CHECK):  # behind announced changes, which watchers wait for
            asked = await self._ask_room(tenant, room, deadline)
            known = await self._known([room], [] if subscription is None else [subscription])
            seen = await self._look_into(tenant, room, stored, asked, deadline)
        return RoomDiagnosis(
            room=room,
            checks=[*asked, *known, *seen],
            steps=await self._store.changes.latest(room.uid, count_max=_STEPS_MAX),
            planned=await self._store.intents.about(room.uid),
            exchange_ids=_exchange_ids(tenant, room, subscription),
        )

    async def _ask_room(self, tenant: Tenant, room: Room, deadline: Deadline) -> Sequence[CheckResult]:
        if tenant.is_at_rest:
            return [_at_rest(name) for name in (TOKEN_ACQUIRE, ROOM_READ)]
        return (await self._rooms.ask(tenant, room.mailbox, room, include_write=False, deadline=deadline)).checks

    async def _look_into(
        self,
        tenant: Tenant,
        room: Room,
        stored: StoredBooking | None,
        asked: Sequence[CheckResult],
        deadline: Deadline,
    ) -> list[CheckResult]:
        """Look into the calendar itself, if it may be read: how the room treats meetings, and one of its bookings."""
        names = [ROOM_PROCESSING] if stored is None else [ROOM_PROCESSING, BOOKING_COPY]
        if tenant.is_at_rest:
            return [_at_rest(name) for name in names]
        obstacle = next((check for check in asked if check.check_id in _NEEDED and check.is_failed), None)
        if obstacle is not None:
            return [skipped(name, because=obstacle) for name in names]
        ref = ref_of(tenant)
        seen = [await deadline.telling(ROOM_PROCESSING, self._check_processing(ref, room))]
        if stored is not None:
            event = await deadline.asking(BOOKING_COPY, self._reader.fetch_event(ref, room.address, stored.event_id))
            seen += [event] if isinstance(event, CheckResult) else judge_booking(stored, event, room, now=self._now)
        return seen

    @property
    def _now(self) -> datetime:
        return self._clock.now()

    async def _known(self, rooms: Sequence[Room], subscriptions: Sequence[Subscription]) -> list[CheckResult]:
        has_url = bool(await self._store.webhook_urls.current())
        return [
            judge_subscription(rooms, has_url=has_url, now=self._now),
            judge_heard(subscriptions, now=self._now),
            judge_freshness(rooms, limits=self._limits, now=self._now),
            judge_drift(rooms, now=self._now),
        ]

    async def _shake(self, deadline: Deadline) -> CheckResult:
        url = self._public_url or await self._store.webhook_urls.current()
        shaking = shake_hands(self._caller, url or None, store_id=self._store_id, rng=self._rng, now=self._now)
        return await deadline.telling(WEBHOOK_HANDSHAKE, shaking)

    async def _check_clock(self, tenant: Tenant) -> CheckResult:
        if tenant.is_at_rest:
            return _at_rest(CLOCK)
        return judge_clock(await self._tell_time(tenant.cloud), now=self._now)

    async def _check_processing(self, ref: TenantRef, room: Room) -> CheckResult:
        window = Window(self._now, self._now + timedelta(days=PROCESSING_DAYS))
        return judge_processing(await self._reader.fetch_view(ref, room.address, window), now=self._now)


def _at_rest(check_id: str) -> CheckResult:
    return skipped(check_id, message="nothing is asked of Microsoft: the tenant is suspended or deleted")


def _exchange_ids(tenant: Tenant, room: Room, subscription: Subscription | None) -> dict[str, str]:
    """Return what Microsoft's support asks for; the request ids of refusals stand with their checks."""
    ids = {
        "directory_id": tenant.directory_id,
        "application_id": tenant.credential.application_id,
        "mailbox": room.mailbox,
        "mailbox_object_id": room.object_id or "",
        "subscription_id": "" if subscription is None else subscription.graph_id or "",
    }
    for problem in room.problems:
        request_id = problem.metadata.get("request_id")
        if request_id:
            ids[f"request_id_{problem.reason.lower()}"] = request_id
    return {name: value for name, value in ids.items() if value}
