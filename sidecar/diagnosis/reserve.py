"""The reserve test: book one minute in a room's own calendar, read it back, and take it away again.

The minute lies beyond everything that is kept in the copy, so a test booking is never listed and no watcher is ever told of it,
whatever happens between placing and removing. Before it is placed its removal is due in the store: a process that dies in
between, or whose caller hangs up, leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Protocol
from uuid import UUID

import structlog

from sidecar.aio.clock import Clock
from sidecar.diagnosis.results import failed, judged, passed, warned
from sidecar.errors import MailboxDenied, SidecarError
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.graph.urgency import Urgency, acting_with
from sidecar.graph.wire import GraphEvent
from sidecar.model.check import CheckOutcome, CheckResult
from sidecar.model.ids import EventId
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.problem import Actor
from sidecar.model.tenant import Tenant
from sidecar.model.window import Window
from sidecar.settings import SyncSettings
from sidecar.store.store import Store

log = structlog.get_logger(__name__)

ROOM_WRITE = "room.write"

REMOVE_WITHIN = timedelta(seconds=60)
"""When what a test placed is looked for again; longer than a test takes."""
_BEYOND = timedelta(days=30)
"""So far behind the end of the copy that the copy's end, which moves on by a day a day, does not reach it meanwhile."""
_SPREAD_DAYS = 60
_HOURS = range(1, 5)
"""At night by UTC: whoever looks at that far day looks at other hours first."""
_MINUTE = timedelta(minutes=1)
_DAYS_TRIED_MAX = 3


class ReserveCalls(Protocol):
    """Requests about test bookings; `graph.reserve_test.ReserveTestCalls` is one."""

    async def place(self, tenant: TenantRef, mailbox: str, window: Window, *, transaction_id: str) -> EventId:
        """Place one."""

    async def is_there(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> bool:
        """Tell whether it can be read back."""

    async def find(self, tenant: TenantRef, mailbox: str, *, transaction_id: str) -> Sequence[EventId]:
        """Return what was placed with a transaction."""

    async def remove(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> None:
        """Make sure that it is not there."""


class ViewReader(Protocol):
    """Reading a calendar; `graph.client.GraphClient` is one."""

    async def fetch_view(self, tenant: TenantRef, mailbox: str, window: Window) -> list[GraphEvent]:
        """Read all events that touch a window."""


class ReserveTest:
    """Makes reserve tests, and removes what they left."""

    def __init__(
        self,
        *,
        store: Store,
        calls: ReserveCalls,
        reader: ViewReader,
        clock: Clock,
        rng: Random,
        settings: SyncSettings,
    ) -> None:
        self._store = store
        self._calls = calls
        self._reader = reader
        self._clock = clock
        self._rng = rng
        self._future_days = settings.future_days

    async def run(self, tenant: Tenant, mailbox: str) -> CheckResult:
        """Book one minute and take it away again; say how far it came."""
        ref = ref_of(tenant)
        try:
            with acting_with(Urgency.WRITE):
                window = await self._choose(ref, mailbox, self._beyond(tenant))
                if window is None:
                    return self._no_minute()
                return await self._try(ref, mailbox, window)
        except MailboxDenied as error:
            return self._denied(error)
        except SidecarError as error:
            return failed(ROOM_WRITE, error, now=self._clock.now())

    async def clear(self, key: str, tenant: Tenant) -> int:
        """Remove what the test left that the key of a TEST_BOOKING_REMOVE names; return how many bookings."""
        ref = ref_of(tenant)
        transaction_id, _, mailbox = key.partition("/")
        found = await self._calls.find(ref, mailbox, transaction_id=transaction_id)
        for event_id in found:
            await self._calls.remove(ref, mailbox, event_id)
        if found:
            log.warning("reserve_test.cleared", tenant_uid=tenant.uid, bookings_count=len(found))
        return len(found)

    def _beyond(self, tenant: Tenant) -> timedelta:
        own = tenant.settings.future_days
        return timedelta(days=self._future_days if own is None else own) + _BEYOND

    async def _choose(self, ref: TenantRef, mailbox: str, beyond: timedelta) -> Window | None:
        """Return a minute in which nothing is booked; None when a few days have none."""
        for _ in range(_DAYS_TRIED_MAX):
            day = self._clock.now() + beyond + timedelta(days=self._rng.randrange(_SPREAD_DAYS))
            hour, minute = self._rng.choice(_HOURS), self._rng.randrange(60)
            start_at = day.replace(hour=hour, minute=minute, second=0, microsecond=0)
            window = Window(start_at, start_at + _MINUTE)
            if not _is_taken(window, await self._reader.fetch_view(ref, mailbox, window)):
                return window
        return None

    async def _try(self, ref: TenantRef, mailbox: str, window: Window) -> CheckResult:
        transaction_id = str(UUID(int=self._rng.getrandbits(128), version=4))
        kind, key = IntentKind.TEST_BOOKING_REMOVE, f"{transaction_id}/{mailbox}"
        # First of all, and durable: from here on somebody removes what comes to be there.
        ready_at = self._clock.now() + REMOVE_WITHIN
        await self._store.intents.mark(kind, key, ref.tenant_uid, priority=Priority.REPAIR, ready_at=ready_at)
        facts = {"start_time": window.start_at.isoformat(), "transaction_id": transaction_id}
        event_id = await self._calls.place(ref, mailbox, window, transaction_id=transaction_id)
        facts["event_id"] = event_id
        is_there = await self._calls.is_there(ref, mailbox, event_id)
        try:
            await self._calls.remove(ref, mailbox, event_id)
        except SidecarError as error:
            return self._left(error, facts)
        if not is_there:
            return self._vanished(facts)
        return passed(ROOM_WRITE, "A test booking of one minute was placed, read back and removed.", facts=facts)

    def _denied(self, error: MailboxDenied) -> CheckResult:
        return judged(
            ROOM_WRITE,
            CheckOutcome.FAILED,
            "Exchange does not let the app write this calendar.",
            reason="MAILBOX_WRITE_DENIED",
            action="Grant the app Calendars.ReadWrite for this room, in Microsoft Entra or by Exchange's role assignment.",
            actor=Actor.CUSTOMER,
            now=self._clock.now(),
            facts=error.details,
        )

    def _no_minute(self) -> CheckResult:
        return warned(
            ROOM_WRITE,
            "Nothing was placed: the room is taken at every minute that was tried.",
            reason="TEST_NOT_MADE",
            action="Try again; another day is chosen each time.",
            actor=Actor.NOBODY,
            now=self._clock.now(),
        )

    def _left(self, error: SidecarError, facts: dict[str, str]) -> CheckResult:
        return warned(
            ROOM_WRITE,
            "A test booking was placed, but could not be removed just now.",
            reason="TEST_BOOKING_LEFT",
            action="Wait: the sidecar removes it by itself, within minutes once Exchange lets it.",
            actor=Actor.NOBODY,
            now=self._clock.now(),
            facts={**error.details, **facts, "cause": error.reason},
        )

    def _vanished(self, facts: dict[str, str]) -> CheckResult:
        return judged(
            ROOM_WRITE,
            CheckOutcome.FAILED,
            "Exchange took a test booking, but did not show it when asked for it.",
            reason="EXCHANGE_REFUSED",
            action="Try again; if it stays so, something in Exchange removes bookings from this room: a rule or another app.",
            actor=Actor.CUSTOMER,
            now=self._clock.now(),
            facts=facts,
        )


def _is_taken(window: Window, events: Sequence[GraphEvent]) -> bool:
    """Tell whether something is booked in a window; what has no readable time counts as booked."""
    for event in events:
        if event.start is None or event.end is None:
            return True
        try:
            start_at, end_at = (datetime.fromisoformat(f"{at.date_time[:19]}+00:00") for at in (event.start, event.end))
        except ValueError:
            return True
        if window.overlaps(start_at, end_at):
            return True
    return False
