"""Makes the event of a write once, however often it is tried, and gives up only when it is certain that there is none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from sidecar.errors import GraphRefused, GraphUnavailable
from sidecar.graph.clouds import TenantRef
from sidecar.graph.wire import GraphEvent
from sidecar.model.event import EventContent
from sidecar.model.ids import EventId
from sidecar.model.write import Write
from sidecar.writes.driver import Lapsed

_PATIENCE = timedelta(minutes=10)
"""What Exchange did not take for so long is not done any more: whoever wanted it has gone on without it."""
_SENDING = timedelta(minutes=8)
"""No request is sent later than this, so that one that is still on its way has arrived when the patience ends: a try takes a
minute at most, and what it was cut off from may be carried out after that."""
_KNOWN_TRANSACTION = "ErrorDuplicateTransactionId"


class EventCalls(Protocol):
    """Writing events at Microsoft; `graph.event_writer.EventWriter` is one. Errors are those it names."""

    async def create(
        self,
        tenant: TenantRef,
        mailbox: str,
        content: EventContent,
        *,
        transaction_id: str,
        room: Mapping[str, str] | None = None,
    ) -> GraphEvent:
        """Make an event; the same transaction twice makes one."""

    async def find(self, tenant: TenantRef, mailbox: str, *, transaction_id: str) -> GraphEvent | None:
        """Return the event that a transaction made; None when there is none."""

    async def delete(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> None:
        """Make sure that an event does not exist."""


def is_late(write: Write, *, now: datetime) -> bool:
    """Tell whether a write that Exchange has not taken by now is given up."""
    return now - write.created_at > _PATIENCE


async def make_once(
    calls: EventCalls,
    write: Write,
    tenant: TenantRef,
    mailbox: str,
    content: EventContent,
    *,
    now: datetime,
    room: Mapping[str, str] | None = None,
) -> GraphEvent:
    """Make the event of a write, or find the one that an earlier try has made.

    Args:
        room: see `EventCalls.create`.
    Raises:
        Lapsed: none has, and it is too late to make one.
        SidecarError: whatever writing and reading raise. GraphUnavailable, too, while an earlier try may still make it.
    """
    age = now - write.created_at
    if write.state.is_fresh or age <= _SENDING:
        try:
            return await calls.create(tenant, mailbox, content, transaction_id=write.transaction_id, room=room)
        except GraphRefused as error:
            if error.details.get("code") != _KNOWN_TRANSACTION:
                raise
            # Made by another version of ours, that wrote it in other words.
    found = await calls.find(tenant, mailbox, transaction_id=write.transaction_id)
    if found is not None:
        return found
    if is_late(write, now=now):
        raise Lapsed
    raise GraphUnavailable("Exchange does not show what an earlier try may have made")
