"""Places, finds and removes the one-minute bookings of reserve tests.

They can be told from everything else in a calendar by an extended property of their own, which no person can set. It
carries the transaction, so that what a crash left behind is found though nobody learned its id.

Source: Microsoft Learn "Outlook extended properties overview" and "Create event" pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from sidecar.errors import BookingNotFound, GraphUnavailable
from sidecar.graph.clouds import TenantRef
from sidecar.graph.transport import Transport
from sidecar.graph.wire import Call, Malformed, Subject, parse_event, parse_page, segment
from sidecar.graph.wire_writes import create_event_call, delete_event_call
from sidecar.model.ids import EventId
from sidecar.model.window import Window

SUBJECT = "Test by the Exchange sidecar, removed at once"
"""What a person sees who happens to look at that minute."""
_BODY = "This booking shows that rooms can be booked. It is removed at once and holds no data."
_MARK = "String {5e0c1f7e-6f0b-4a55-9a53-3d0c6f1c8f6b} Name reserveTest"
_REQUEST_S = 30.0


class ReserveTestCalls:
    """Requests about test bookings; they go through the same line as all others. Each may raise what `GraphClient` raises."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def place(self, tenant: TenantRef, mailbox: str, window: Window, *, transaction_id: str) -> EventId:
        """Put a test booking into a room's own calendar; the same transaction twice makes one."""
        content = {
            "subject": SUBJECT,
            "body": {"contentType": "text", "content": _BODY},
            "start": _moment(window.start_at),
            "end": _moment(window.end_at),
            "isReminderOn": False,
            "singleValueExtendedProperties": [{"id": _MARK, "value": transaction_id}],
        }
        body = await self._send(tenant, mailbox, create_event_call(mailbox, content, transaction_id=transaction_id))
        try:
            return parse_event(body).id
        except Malformed as error:
            raise GraphUnavailable("Exchange answered with something that is no event") from error

    async def is_there(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> bool:
        """Tell whether a test booking can be read back, as it was placed."""
        path = f"/users/{segment(mailbox)}/events/{segment(event_id)}?$select=id,subject"
        try:
            body = await self._send(tenant, mailbox, Call(method="GET", path=path, subject=Subject.EVENT))
        except BookingNotFound:
            return False
        try:
            return parse_event(body).subject == SUBJECT
        except Malformed as error:
            raise GraphUnavailable("Exchange answered with something that is no event") from error

    async def find(self, tenant: TenantRef, mailbox: str, *, transaction_id: str) -> Sequence[EventId]:
        """Return what was placed with a transaction: one event, or none."""
        condition = f"singleValueExtendedProperties/Any(ep: ep/id eq '{_MARK}' and ep/value eq '{transaction_id}')"
        path = f"/users/{segment(mailbox)}/events?$filter={quote(condition)}&$select=id"
        body = await self._send(tenant, mailbox, Call(method="GET", path=path, subject=Subject.MAILBOX))
        try:
            return [event.id for event in parse_page(body).value]
        except Malformed as error:
            raise GraphUnavailable("Exchange answered with something that is no page of events") from error

    async def remove(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> None:
        """Make sure that a test booking is not there."""
        try:
            await self._send(tenant, mailbox, delete_event_call(mailbox, event_id))
        except BookingNotFound:
            return

    async def _send(self, tenant: TenantRef, mailbox: str, call: Call) -> bytes:
        try:
            async with asyncio.timeout(_REQUEST_S):
                return await self._transport.send(tenant, mailbox, call)
        except TimeoutError as error:
            raise GraphUnavailable("Exchange took longer than we wait") from error


def _moment(at: datetime) -> dict[str, str]:
    return {"dateTime": at.strftime("%Y-%m-%dT%H:%M:%S"), "timeZone": "UTC"}
