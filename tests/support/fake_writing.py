"""Writing over a calendar in memory, for tests of what is in front of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.aio.clock import Clock, SystemClock
from sidecar.graph.clouds import TenantRef
from sidecar.graph.wire import GraphEvent
from sidecar.model.event import EventContent
from sidecar.model.ids import EventId
from sidecar.model.room import freshness_limits
from sidecar.settings import SyncSettings
from sidecar.store.store import Store
from sidecar.telemetry.metrics import Telemetry
from sidecar.writes.writing import Writing, build_writing
from tests.support.fake_calendar import FakeCalendar, event


class FakeEvents:
    """Events written into a calendar; see `EventCalls`."""

    def __init__(self, calendar: FakeCalendar) -> None:
        self.calendar = calendar

    async def create(
        self,
        tenant: TenantRef,
        mailbox: str,
        content: EventContent,
        *,
        transaction_id: str,
        room: Mapping[str, str] | None = None,
    ) -> GraphEvent:
        """See `EventCalls`."""
        made = event(f"e-{transaction_id}", content.window.start_at, subject=content.subject, isOrganizer=True)
        self.calendar.put(made)
        return made

    async def update(
        self, tenant: TenantRef, mailbox: str, event_id: EventId, content: EventContent, *, parts: Iterable[str]
    ) -> GraphEvent:
        """See `ReleaseCalls`."""
        raise NotImplementedError

    async def find(self, tenant: TenantRef, mailbox: str, *, transaction_id: str) -> GraphEvent | None:
        """See `EventCalls`."""
        return self.calendar.events.get(f"e-{transaction_id}")

    async def repeat(
        self, tenant: TenantRef, mailbox: str, event: Mapping[str, Any], *, transaction_id: str
    ) -> GraphEvent:
        """See `ChangeCalls`."""
        raise NotImplementedError

    async def patch(
        self, tenant: TenantRef, mailbox: str, event_id: EventId, changes: Mapping[str, Any], *, change_key: str = ""
    ) -> GraphEvent:
        """See `ChangeCalls`."""
        raise NotImplementedError

    async def cancel(self, tenant: TenantRef, mailbox: str, event_id: EventId, *, comment: str) -> None:
        """See `CancelCalls`."""
        self.calendar.drop(event_id)

    async def decline(
        self, tenant: TenantRef, mailbox: str, event_id: EventId, *, comment: str, is_told: bool = True
    ) -> None:
        """See `CancelCalls`."""
        self.calendar.drop(event_id)

    async def delete(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> None:
        """See `EventCalls`."""
        self.calendar.drop(event_id)


def make_writing(store: Store, *, calendar: FakeCalendar | None = None, clock: Clock | None = None) -> Writing:
    """Build what writes over a calendar in memory."""
    calendar = calendar or FakeCalendar()
    return build_writing(
        store=store,
        calls=FakeEvents(calendar),
        reader=calendar,
        limits=freshness_limits(SyncSettings()),
        telemetry=Telemetry(),
        clock=clock or SystemClock(),
    )
