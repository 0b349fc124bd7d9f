"""Asks Exchange when calendars are busy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sidecar.graph import wire_schedules
from sidecar.graph.answers import budget, understood
from sidecar.graph.clouds import TenantRef
from sidecar.graph.transport import Transport
from sidecar.graph.wire_schedules import Schedule
from sidecar.model.window import Window

_REQUEST_S = 30.0


class ScheduleCalls:
    """Questions about schedules; they go through the same line as all requests."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def fetch_schedules(
        self, tenant: TenantRef, mailbox: str, addresses: Sequence[str], window: Window
    ) -> Mapping[str, Schedule]:
        """Ask through one mailbox about up to `SCHEDULES_MAX` addresses; return what is told of each, by case-folded address.

        Raises:
            What `GraphClient` raises. `RoomBlocked` is about the mailbox that is asked through, and says nothing of the others.
        """
        call = wire_schedules.schedules_call(mailbox, addresses, window)
        async with budget(_REQUEST_S):
            body = await self._transport.send(tenant, mailbox, call)
        with understood():
            return wire_schedules.parse_schedules(body)
