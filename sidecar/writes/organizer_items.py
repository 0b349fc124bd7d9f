"""Reads what an organizer's calendar says of a meeting to which a room is invited. Asks and converts; writes nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import msgspec
import structlog

from sidecar.errors import MailboxNotFound, MailboxNotInCloud, RoomBlocked, Unavailable
from sidecar.graph.clouds import ref_of
from sidecar.graph.events import master_id_of, span_of_event
from sidecar.graph.wire import GraphEvent, GraphResponse
from sidecar.model.booking import Booking, BookingState
from sidecar.model.ids import EventId
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.model.window import Window
from sidecar.sync.reading import CalendarReader, RoomReader
from sidecar.writes.verdict import answer_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the organizer's item says.

    Attributes:
        state: PENDING also when nothing could be learned; CANCELLED: the room is not asked any more.
        booking: of a series the first one, as if the room had not answered; None when the item, or its first occurrence, is
            not there, or could not be read.
        is_mailbox_gone: nobody will ever tell.
    """

    state: BookingState
    booking: Booking | None
    is_mailbox_gone: bool = False


class OrganizerItems:
    """Reads organizers' items."""

    def __init__(self, *, reader: CalendarReader, reading: RoomReader) -> None:
        self._reader = reader
        self._reading = reading

    async def ask(
        self, room: Room, tenant: Tenant, mailbox: str, event_id: EventId, *, addresses: Collection[str]
    ) -> Answer:
        """Ask what a room has answered; an Exchange that does not tell now has not told of an answer.

        Args:
            mailbox: the organizer's.
            addresses: those by which the room was invited, and is known by now.
        """
        try:
            return await self.read(room, tenant, mailbox, event_id, addresses=addresses)
        except (Unavailable, RoomBlocked) as error:
            log.info("write.answer_not_known", reason=error.reason)
            return Answer(BookingState.PENDING, None)

    async def read(
        self, room: Room, tenant: Tenant, mailbox: str, event_id: EventId, *, addresses: Collection[str]
    ) -> Answer:
        """Read what an item says; see `ask`. Raises whatever reading raises, but for a mailbox that is gone."""
        try:
            event = await self._reader.fetch_event(ref_of(tenant), mailbox, event_id)
            if event is None:
                return Answer(BookingState.CANCELLED, None)
            return await self.answer(room, tenant, mailbox, event, addresses=addresses)
        except (MailboxNotFound, MailboxNotInCloud):
            return Answer(BookingState.CANCELLED, None, is_mailbox_gone=True)

    async def answer(
        self, room: Room, tenant: Tenant, mailbox: str, event: GraphEvent, *, addresses: Collection[str]
    ) -> Answer:
        """Return what an item says that was read, or just made. Raises whatever reading raises."""
        first: GraphEvent | None = event
        if master_id_of(event) == event.id:
            first = await self._first_of(tenant, mailbox, event)
        if first is None:
            return Answer(answer_of(event, addresses), None)
        return Answer(answer_of(first, addresses), await self._meaning(room, first))

    async def _first_of(self, tenant: Tenant, mailbox: str, series: GraphEvent) -> GraphEvent | None:
        """Read the first occurrence of a series, which has a uid of its own; None when it is not there."""
        span = span_of_event(series)
        if span is None:
            return None
        found = await self._reader.fetch_instances(ref_of(tenant), mailbox, series.id, Window(*span))
        return min(found, key=lambda event: (str(event.original_start), event.id)) if found else None

    async def _meaning(self, room: Room, event: GraphEvent) -> Booking | None:
        """Return what an item means for the room.

        Its words are the organizer's, and not those that the room will show: they are kept as those of any invitation that is
        not answered yet.
        """
        unanswered = GraphResponse(response="notResponded")
        invitation = msgspec.structs.replace(event, is_organizer=False, is_cancelled=False, response_status=unanswered)
        found = await self._reading.meanings(room, [invitation])
        return found[0] if found else None
