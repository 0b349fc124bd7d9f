"""Writes events at Graph, in the words of this service. What a request looks like stands in `wire_writes`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sidecar.errors import BookingNotFound, GraphRefused, GraphUnavailable
from sidecar.graph import wire, wire_writes
from sidecar.graph.answers import budget, understood
from sidecar.graph.clouds import TenantRef
from sidecar.graph.transport import Transport
from sidecar.graph.urgency import Urgency, acting_with
from sidecar.graph.wire import Call, GraphEvent
from sidecar.model.event import EventContent
from sidecar.model.ids import EventId
from sidecar.settings import GraphSettings

_OVERTAKEN_STATUSES = frozenset({"409", "412"})
"""Microsoft's documents name neither for events; both have been seen."""


class Overtaken(Exception):
    """Somebody changed the event since it was read. Whoever writes reads again; nobody else hears of it."""


class EventWriter:
    """Makes, changes and removes events. Somebody waits for each call, so all of them go before background work.

    Every method may raise what `GraphClient` says. An `Unavailable` whose `may_be_done` is False certainly did nothing.
    """

    def __init__(self, *, transport: Transport, settings: GraphSettings) -> None:
        self._transport = transport
        self._pages_max = settings.pages_max
        self._write_s = settings.attempts_max * (settings.request_s + settings.wait_in_place_s)

    async def create(
        self,
        tenant: TenantRef,
        mailbox: str,
        content: EventContent,
        *,
        transaction_id: str,
        room: Mapping[str, str] | None = None,
    ) -> GraphEvent:
        """Make an event. The same transaction id with the same contents gives the event that is there already.

        Args:
            room: address and name of the room to invite, when the mailbox is a person's.
        """
        event = wire_writes.event_json(content, room=room)
        return await self._send_event(
            tenant, mailbox, wire_writes.create_event_call(mailbox, event, transaction_id=transaction_id)
        )

    async def find(self, tenant: TenantRef, mailbox: str, *, transaction_id: str) -> GraphEvent | None:
        """Return the event that a transaction made; None when there is none."""
        call = wire_writes.find_event_call(mailbox, transaction_id=transaction_id)
        for _ in range(self._pages_max):
            body = await self._send(tenant, mailbox, call)
            with understood():
                page = wire.parse_page(body)
            if page.value:
                return page.value[0]
            if not page.next_link:
                return None
            call = replace(call, path=page.next_link)  # a page may show nothing though a later one does
        raise GraphUnavailable("Exchange's pages have no end")

    async def update(
        self,
        tenant: TenantRef,
        mailbox: str,
        event_id: EventId,
        content: EventContent,
        *,
        parts: Iterable[str],
        room: Mapping[str, str] | None = None,
    ) -> GraphEvent:
        """Change parts of an event, see `wire_writes.WRITABLE`; what they do not name stays.

        Raises:
            BookingNotFound: it is gone.
        """
        changes = wire_writes.event_json(content, parts=parts, room=room)
        return await self._send_event(tenant, mailbox, wire_writes.update_event_call(mailbox, event_id, changes))

    async def repeat(
        self, tenant: TenantRef, mailbox: str, event: Mapping[str, Any], *, transaction_id: str
    ) -> GraphEvent:
        """Make an event that says what another one says; see `create`.

        Args:
            event: as Graph writes it; see `GraphClient.fetch_contents`.
        """
        call = wire_writes.create_event_call(mailbox, dict(event), transaction_id=transaction_id)
        return await self._send_event(tenant, mailbox, call)

    async def patch(
        self,
        tenant: TenantRef,
        mailbox: str,
        event_id: EventId,
        changes: Mapping[str, Any],  # Any: JSON
        *,
        change_key: str = "",
    ) -> GraphEvent:
        """Change what `changes` names, as Graph writes it.

        Args:
            change_key: of the version that is to be changed; empty: whichever is there.
        Raises:
            BookingNotFound: it is gone.
            Overtaken: there is another version by now; the change may have been carried out by an earlier try.
        """
        call = wire_writes.update_event_call(mailbox, event_id, dict(changes), change_key=change_key)
        try:
            return await self._send_event(tenant, mailbox, call)
        except GraphRefused as error:
            if error.details.get("status") in _OVERTAKEN_STATUSES:
                raise Overtaken from error
            raise

    async def delete(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> None:
        """Make sure that an event does not exist; those who were invited are told that it is cancelled."""
        await self._send_unless_gone(tenant, mailbox, wire_writes.delete_event_call(mailbox, event_id))

    async def cancel(self, tenant: TenantRef, mailbox: str, event_id: EventId, *, comment: str) -> None:
        """Make sure that a meeting of the mailbox does not take place, and tell those who were invited why."""
        await self._send_unless_gone(tenant, mailbox, wire_writes.cancel_event_call(mailbox, event_id, comment=comment))

    async def decline(
        self, tenant: TenantRef, mailbox: str, event_id: EventId, *, comment: str, is_told: bool = True
    ) -> None:
        """Make sure that somebody else's meeting does not take the mailbox's time; the organizer is told if asked."""
        call = wire_writes.decline_event_call(mailbox, event_id, comment=comment, is_told=is_told)
        await self._send_unless_gone(tenant, mailbox, call)

    async def _send_event(self, tenant: TenantRef, mailbox: str, call: Call) -> GraphEvent:
        body = await self._send(tenant, mailbox, call)
        with understood():
            return wire.parse_event(body)

    async def _send_unless_gone(self, tenant: TenantRef, mailbox: str, call: Call) -> None:
        try:
            await self._send(tenant, mailbox, call)
        except BookingNotFound:
            return

    async def _send(self, tenant: TenantRef, mailbox: str, call: Call) -> bytes:
        with acting_with(Urgency.WRITE):
            async with budget(self._write_s):
                return await self._transport.send(tenant, mailbox, call)
