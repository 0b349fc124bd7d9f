"""Places, finds and removes the one-minute bookings of reserve tests.

They can be told from everything else in a calendar by an extended property of their own, which no person can set. It
carries the transaction, so that what a crash left behind is found though nobody learned its id.

Source: Microsoft Learn "Outlook extended properties overview" and "Create event" pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from sidecar.errors import BookingNotFound
from sidecar.graph.answers import budget, understood
from sidecar.graph.clouds import TenantRef
from sidecar.graph.transport import Transport
from sidecar.graph.wire import PROPERTY_SET, Call, Subject, parse_event, parse_page, segment
from sidecar.graph.wire_writes import create_event_call, delete_event_call, event_json
from sidecar.model.event import EventContent
from sidecar.model.ids import EventId
from sidecar.model.window import Window

SUBJECT = "Test by the Exchange sidecar, removed at once"
"""What a person sees who happens to look at that minute."""
_BODY = "This booking shows that rooms can be booked. It is removed at once and holds no data."
_MARK = f"String {PROPERTY_SET} Name reserveTest"
_REQUEST_S = 30.0


class ReserveTestCalls:
    """Requests about test bookings; they go through the same line as all others. Each may raise what `GraphClient` raises."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def place(self, tenant: TenantRef, mailbox: str, window: Window, *, transaction_id: str) -> EventId:
        """Put a test booking into a room's own calendar; the same transaction twice makes one."""
        content = {
            **event_json(
                EventContent(window=window, time_zone="UTC", subject=SUBJECT, body_text=_BODY),
                parts=("time", "subject", "body_text"),
            ),
            "isReminderOn": False,
            "singleValueExtendedProperties": [{"id": _MARK, "value": transaction_id}],
        }
        body = await self._send(tenant, mailbox, create_event_call(mailbox, content, transaction_id=transaction_id))
        with understood():
            return parse_event(body).id

    async def is_there(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> bool:
        """Tell whether a test booking can be read back, as it was placed."""
        path = f"/users/{segment(mailbox)}/events/{segment(event_id)}?$select=id,subject"
        try:
            body = await self._send(tenant, mailbox, Call(method="GET", path=path, subject=Subject.EVENT))
        except BookingNotFound:
            return False
        with understood():
            return parse_event(body).subject == SUBJECT

    async def find(self, tenant: TenantRef, mailbox: str, *, transaction_id: str) -> Sequence[EventId]:
        """Return what was placed with a transaction: one event, or none."""
        condition = f"singleValueExtendedProperties/Any(ep: ep/id eq '{_MARK}' and ep/value eq '{transaction_id}')"
        path = f"/users/{segment(mailbox)}/events?$filter={quote(condition)}&$select=id"
        body = await self._send(tenant, mailbox, Call(method="GET", path=path, subject=Subject.MAILBOX))
        with understood():
            return [event.id for event in parse_page(body).value]

    async def remove(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> None:
        """Make sure that a test booking is not there."""
        try:
            await self._send(tenant, mailbox, delete_event_call(mailbox, event_id))
        except BookingNotFound:
            return

    async def _send(self, tenant: TenantRef, mailbox: str, call: Call) -> bytes:
        async with budget(_REQUEST_S):
            return await self._transport.send(tenant, mailbox, call)
