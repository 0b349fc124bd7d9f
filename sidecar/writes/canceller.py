"""Cancels bookings: those of the room's own calendar are taken out, for others' meetings the room declines.

Whoever organizes a meeting in another calendar hears of the decline and keeps the meeting. Declining, not deleting, is the way:
of a deleted copy the organizer hears nothing, and goes on believing that the room is booked.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Protocol

from sidecar.aio.clock import Clock
from sidecar.errors import (
    BookingNotFound,
    BookingNotOurs,
    MailboxDenied,
    SidecarError,
    Unavailable,
)
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.model.change import Cause
from sidecar.model.ids import EventId
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.model.write import Hold, Write, WriteState
from sidecar.writes.changes import Scope
from sidecar.writes.driver import Lapsed, Work
from sidecar.writes.failures import failure_of, write_denied
from sidecar.writes.making import is_late
from sidecar.writes.planning import Named, Planner
from sidecar.writes.recaller import RecallCalls
from sidecar.writes.rewrites import CancelOrder, Cut, decode_cancel, encode_order
from sidecar.writes.rewriting import Rewriter
from sidecar.writes.splits import is_last, split
from sidecar.writes.steps import Endings, Ground

_MISSING = b"missing"
"""Answer of a cancellation that found nothing to cancel."""


class CancelCalls(RecallCalls, Protocol):
    """Taking events away at Microsoft, also others' meetings out of a room."""

    async def decline(self, tenant: TenantRef, mailbox: str, event_id: EventId, *, comment: str) -> None:
        """Make sure that somebody else's meeting does not take the mailbox's time."""


class Canceller:
    """The steps of a cancellation."""

    def __init__(
        self, *, planner: Planner, rewriter: Rewriter, endings: Endings, calls: CancelCalls, clock: Clock
    ) -> None:
        self._planner = planner
        self._rewriter = rewriter
        self._endings = endings
        self._calls = calls
        self._clock = clock

    async def check(self, room: Room, tenant: Tenant, order: CancelOrder) -> bool:
        """Find out whether a booking could be cancelled; say whether there is one.

        Raises:
            BookingNotFound, EtagMismatch, SeriesUnreadable. BookingNotOurs: of somebody else's series, all that follow.
        """
        ground = Ground(room, tenant)
        try:
            named = await self._find(ground, order)
        except BookingNotFound:
            if not order.is_missing_allowed:
                raise
            return False
        if named is not None:
            await self._target(ground, named, order)
        return True

    async def carry_out(self, work: Work) -> datetime | None:
        """See `Steps`."""
        ground = await self._endings.ground(work.write)
        assert work.write.payload is not None, "it has not ended"
        order = decode_cancel(work.write.payload)
        if order.cut is not None:
            if self._is_late(work):
                await self._rewriter.lapse(work, ground, order.cut)
            await self._cut(work, ground, order, order.cut)
            return None
        try:
            await self._cancel(work, ground, order)
        except SidecarError as refusal:
            if work.write.state.is_fresh or isinstance(refusal, Unavailable):
                raise
            await work.note(state=WriteState.FAILED, failure=failure_of(refusal))
        return None

    async def _cancel(self, work: Work, ground: Ground, order: CancelOrder) -> None:
        named = None
        # Whoever was stopped half-way may have cancelled it: then it is gone, and of another version than the caller knew.
        was_sent = order.target is not None
        try:
            named = await self._find(ground, replace(order, etag="") if was_sent else order)
        except BookingNotFound:
            if not was_sent:
                if not order.is_missing_allowed:
                    raise
                await work.note(state=WriteState.DONE, answer=_MISSING)
                return
        if named is None:
            await self._end(work, ground, [] if order.target is None else [order.target])
            return
        if self._is_late(work):
            raise Lapsed
        target = await self._target(ground, named, order)
        if await self._endings.has_waited(work, target.event_id if isinstance(target, Cut) else target):
            await self._cancel(work, ground, order)
            return
        if isinstance(target, Cut):
            order = replace(order, cut=target)
            payload = encode_order(order)
            await work.note(state=WriteState.SENT, payload=payload, event_id=target.event_id, hold=Hold.FROZEN)
            await self._cut(work, ground, order, target)
            return
        sent = encode_order(replace(order, target=target))
        await work.note(state=WriteState.SENT, payload=sent, event_id=target)
        await self._take_away(ground, named, target, order.comment)
        touched = {target, named.event.id, *([named.master_id] if named.master_id is not None else [])}
        await self._end(work, ground, sorted(touched))

    async def _find(self, ground: Ground, order: CancelOrder) -> Named | None:
        """Return the booking; None when nothing has to be done, because it is cancelled already."""
        named = await self._planner.find(ground, order.key, etag=order.etag)
        return None if named.event.is_cancelled is True else named

    async def _target(self, ground: Ground, named: Named, order: CancelOrder) -> EventId | Cut:
        """Return what has to go: an event, an occurrence, a series, or what follows in one."""
        master_id = named.master_id
        if master_id is None:
            return named.event.id
        if order.scope is Scope.SERIES:
            return master_id
        if named.event.is_organizer is not True:
            if order.scope is Scope.FOLLOWING:
                raise BookingNotOurs(
                    "somebody else's series can be declined as a whole or one by one, not from a day on"
                )
            return named.event.id
        master, series, day = await self._planner.series(ground, named.event, master_id)
        if order.scope is Scope.OCCURRENCE:
            # Exchange knows no series without occurrences.
            return master_id if is_last(series, day) else named.event.id
        head = split(series, day).head
        if head is None:
            return master_id
        return self._planner.cut(master, await self._planner.remember(ground, master_id, head))

    async def _take_away(self, ground: Ground, named: Named, target: EventId, comment: str) -> None:
        tenant, mailbox = ref_of(ground.tenant), ground.room.address
        try:
            if named.event.is_organizer is not True:
                await self._calls.decline(tenant, mailbox, target, comment=comment)
            elif named.event.attendees:
                await self._calls.cancel(tenant, mailbox, target, comment=comment)
            else:
                await self._calls.delete(tenant, mailbox, target)
        except MailboxDenied as error:
            raise write_denied(error) from error

    async def _cut(self, work: Work, ground: Ground, order: CancelOrder, plan: Cut) -> None:
        is_cut = work.write.state is not WriteState.WITHDRAWING
        if is_cut and await self._rewriter.cut(work, ground, order, plan) is not None:
            await self._end(work, ground, [plan.event_id])
            return
        found = await self._endings.read(ground, [plan.event_id])
        await self._endings.note(work, ground, [plan.event_id], found, state=WriteState.FAILED)

    def _is_late(self, work: Work) -> bool:
        return is_late(work.write, now=self._clock.now())

    async def _end(self, work: Work, ground: Ground, event_ids: list[EventId]) -> None:
        found = await self._endings.read(ground, event_ids)
        await self._endings.note(work, ground, event_ids, found, cause=Cause.CANCELLED, state=WriteState.DONE)


def was_missing(write: Write) -> bool:
    """Tell whether a cancellation found nothing to cancel."""
    return write.answer == _MISSING
