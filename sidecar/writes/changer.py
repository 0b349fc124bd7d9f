"""Changes bookings in the room's own calendar: one, all that follow in a series, or the whole series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import msgspec

from sidecar.errors import RoomConflict, SidecarError, Unavailable
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.model.write import WriteState
from sidecar.sync.reading import Found
from sidecar.writes.driver import Work
from sidecar.writes.failures import failure_of
from sidecar.writes.planning import Planner
from sidecar.writes.rewrites import Cut, Rewrite, UpdateOrder, decode_update, encode_order
from sidecar.writes.rewriting import Rewriter
from sidecar.writes.splits import Lost
from sidecar.writes.steps import Endings, Ground, first_of


class Changer:
    """The steps of a change."""

    def __init__(self, *, planner: Planner, rewriter: Rewriter, endings: Endings) -> None:
        self._planner = planner
        self._rewriter = rewriter
        self._endings = endings

    async def check(self, room: Room, tenant: Tenant, order: UpdateOrder) -> Rewrite | Cut:
        """Find out what a change would do, and whether it could be made; see `Planner.plan` for what it raises."""
        return await self._planner.plan(Ground(room, tenant), order)

    async def carry_out(self, work: Work) -> datetime | None:
        """See `Steps`."""
        ground = await self._endings.ground(work.write)
        assert work.write.payload is not None, "it has not ended"
        order = await self._decided(work, ground, decode_update(work.write.payload))
        if order is None:
            return None
        if order.cut is not None:
            await self._cut(work, ground, order, order.cut)
        else:
            assert order.rewrite is not None, "it was decided"
            await self._rewrite(work, ground, order, order.rewrite)
        return None

    async def _decided(self, work: Work, ground: Ground, order: UpdateOrder) -> UpdateOrder | None:
        """Return an order with what is to be done; None when it was refused."""
        if order.rewrite is not None or order.cut is not None:
            return order
        try:
            plan = await self._planner.plan(ground, order)
        except SidecarError as refusal:
            # A conflict is an answer and remembered; what else is refused before anything is sent may be asked anew.
            is_answer = isinstance(refusal, RoomConflict) or not work.write.state.is_fresh
            if isinstance(refusal, Unavailable) or not is_answer:
                raise
            await work.note(state=WriteState.FAILED, failure=failure_of(refusal))
            return None
        order = replace(order, cut=plan) if isinstance(plan, Cut) else replace(order, rewrite=plan)
        await work.note(state=WriteState.SENT, payload=encode_order(order))
        return order

    async def _rewrite(self, work: Work, ground: Ground, order: UpdateOrder, plan: Rewrite) -> None:
        lost: tuple[Lost, ...] | None = None
        if work.write.state is not WriteState.WITHDRAWING:
            lost = await self._rewriter.rewrite(work, ground, plan)
            if work.write.state.is_ended:
                return
        if lost is None:
            await self._rewriter.take_back(work, ground, plan)
        await self._end(work, ground, order, [plan.event_id], lost, named_at=plan.named_at)

    async def _cut(self, work: Work, ground: Ground, order: UpdateOrder, plan: Cut) -> None:
        done: tuple[Cut, tuple[Lost, ...]] | None = None
        if work.write.state is not WriteState.WITHDRAWING:
            done = await self._rewriter.cut(work, ground, order, plan)
            if work.write.state.is_ended:
                return
        if done is None:
            assert work.write.payload is not None, "it has not ended"
            plan = decode_update(work.write.payload).cut or plan
            await self._rewriter.drop_tail(ground, plan)
            await self._end(work, ground, order, _events_of(plan), None)
            return
        plan, lost = done
        await self._end(work, ground, order, _events_of(plan), lost)

    async def _end(
        self,
        work: Work,
        ground: Ground,
        order: UpdateOrder,
        event_ids: Sequence[EventId],
        lost: tuple[Lost, ...] | None,
        *,
        named_at: datetime | None = None,
    ) -> None:
        """End the write, and show what the events are now; `lost` None: it was taken back."""
        found = await self._endings.read(ground, event_ids)
        if lost is None:
            await self._endings.note(work, ground, event_ids, found, state=WriteState.FAILED)
            return
        await self._endings.note(
            work,
            ground,
            event_ids,
            found,
            state=WriteState.DONE,
            event_id=event_ids[-1],
            booking_key=_key_of(order, found, event_ids[-1], named_at),
            answer=encode_lost(lost),
        )


def encode_lost(lost: Sequence[Lost]) -> bytes:
    """Return what was lost as bytes; nothing as none."""
    return msgspec.json.encode(lost) if lost else b""


def decode_lost(answer: bytes) -> list[Lost]:
    """Read what `encode_lost` wrote."""
    return msgspec.json.decode(answer, type=list[Lost]) if answer else []


def _events_of(plan: Cut) -> list[EventId]:
    return [plan.event_id] if plan.tail_id is None else [plan.event_id, plan.tail_id]


def _key_of(order: UpdateOrder, found: Found, event_id: EventId, named_at: datetime | None) -> BookingKey:
    """Return the key of the booking that was named, or has come of it: with its series' time an occurrence gets another."""
    if any(booking.key == order.key for booking in found.bookings):
        return order.key
    ours = [booking for booking in found.bookings if event_id in (booking.event_id, booking.master_id)]
    named = [booking for booking in ours if booking.original_start_at == named_at]
    return first_of(named) or first_of(ours) or order.key
