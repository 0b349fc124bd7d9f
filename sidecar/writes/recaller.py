"""Cancels bookings that were made through the API in people's calendars: the meeting itself, and so the room.

The room frees itself when the cancellation reaches it. The booking leaves the copy at once: nobody doubts that it goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import msgspec

from sidecar.aio.clock import Clock
from sidecar.errors import GraphRefused, MailboxNotFound, MailboxNotInCloud, RoomBlocked
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.model.change import Cause
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.plan import RoomPlan, Scope
from sidecar.model.window import Window
from sidecar.model.write import WriteState, WriteUid
from sidecar.store.engine import Connection
from sidecar.store.organizer_events import drop_in
from sidecar.store.store import Store
from sidecar.store.write_steps import ask_in
from sidecar.sync.plan import Stored, plan_gone
from sidecar.sync.reading import CalendarReader
from sidecar.writes.driver import Work
from sidecar.writes.failures import failure_of
from sidecar.writes.steps import Endings, Ground, both
from sidecar.writes.verdict import organizer_refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallOrder:
    """What is needed to go on: the payload of the write.

    Attributes:
        organizer: address of the person in whose calendar the meeting is.
        event_id: of the meeting there; of a series, the master's.
        made_by: the write that made it.
        key: of the booking that the caller names.
        master_id: the room's own id of the series; all of its bookings go. None: one booking goes.
        occurrence_uid: calendar uid of the only occurrence that goes; "": the whole meeting.
        window: of the booking that the caller names.
    """

    organizer: str = field(repr=False)
    event_id: EventId
    made_by: WriteUid
    key: BookingKey
    master_id: EventId | None
    occurrence_uid: str
    window: Window
    comment: str = field(repr=False)

    def encode(self) -> bytes:
        """Return it as bytes."""
        return msgspec.msgpack.encode(self)

    @staticmethod
    def decode(payload: bytes) -> RecallOrder:
        """Read what `encode` wrote."""
        return msgspec.msgpack.decode(payload, type=RecallOrder)


class RecallCalls(Protocol):
    """Taking meetings away at Microsoft; `graph.event_writer.EventWriter` is one. Errors are those it names."""

    async def delete(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> None:
        """Make sure that an event does not exist."""

    async def cancel(self, tenant: TenantRef, mailbox: str, event_id: EventId, *, comment: str) -> None:
        """Make sure that a meeting of the mailbox does not take place, and tell those who were invited why."""


class Recaller:
    """The steps of such a cancellation. Each may be made again: what is gone already is no error."""

    def __init__(
        self, *, store: Store, calls: RecallCalls, reader: CalendarReader, endings: Endings, clock: Clock
    ) -> None:
        self._store = store
        self._calls = calls
        self._reader = reader
        self._endings = endings
        self._clock = clock

    async def carry_out(self, work: Work) -> datetime | None:
        """See `Steps`."""
        ground = await self._endings.ground(work.write)
        assert work.write.payload is not None, "it has not ended"
        order = RecallOrder.decode(work.write.payload)
        try:
            target = await self._target(ground, order)
            if target is not None:
                await self._take_away(ground, order, target)
        except (MailboxNotFound, MailboxNotInCloud):
            pass  # with the mailbox went the meeting
        except RoomBlocked as error:
            refusal = organizer_refusal(error)
            if work.write.state.is_fresh or order.window.end_at > self._clock.now():
                raise refusal from error
            await work.note(state=WriteState.FAILED, failure=failure_of(refusal))  # it is over by now
            return None
        await self._end(work, ground, order)
        return None

    async def _target(self, ground: Ground, order: RecallOrder) -> EventId | None:
        """Return what has to go in the person's calendar; None when it is gone."""
        if not order.occurrence_uid:
            return order.event_id
        days = await self._reader.fetch_instances(ref_of(ground.tenant), order.organizer, order.event_id, order.window)
        return next((day.id for day in days or () if day.i_cal_uid == order.occurrence_uid), None)

    async def _take_away(self, ground: Ground, order: RecallOrder, target: EventId) -> None:
        tenant = ref_of(ground.tenant)
        try:
            await self._calls.cancel(tenant, order.organizer, target, comment=order.comment)
        except GraphRefused:
            # Nobody is invited any more, so there is no meeting to be cancelled.
            await self._calls.delete(tenant, order.organizer, target)

    async def _end(self, work: Work, ground: Ground, order: RecallOrder) -> None:
        is_whole = not order.occurrence_uid

        def plan(stored: Stored) -> RoomPlan:
            return plan_gone({key: one for key, one in stored.items() if is_whole or key == order.key}, Cause.CANCELLED)

        async def forget(c: Connection) -> None:
            if is_whole:
                await drop_in(c, order.made_by)
                # Who may still wait for the room's answer hears that there is none to come.
                await ask_in(c, order.made_by, ground.tenant.uid)

        series = (order.master_id,) if is_whole and order.master_id is not None else ()
        scope = Scope(event_ids=series, keys=(order.key,))
        await work.note_with(
            lambda step: self._store.calendars.apply(
                ground.room, plan, lease=None, scope=scope, step=both(step, forget)
            ),
            state=WriteState.DONE,
        )
