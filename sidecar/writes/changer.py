"""Changes bookings in the room's own calendar: one, all that follow in a series, or the whole series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import msgspec

from sidecar.aio.clock import Clock
from sidecar.errors import EtagMismatch, GraphUnavailable, RoomConflict, SidecarError, Unavailable
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.model.write import Hold, WriteState
from sidecar.sync.reading import Found
from sidecar.writes.driver import Lapsed, Work
from sidecar.writes.failures import failure_of
from sidecar.writes.making import is_late
from sidecar.writes.planning import Planner
from sidecar.writes.rewrites import Cut, Rewrite, UpdateOrder, decode_update, encode_order
from sidecar.writes.rewriting import Rewriter
from sidecar.writes.splits import Lost
from sidecar.writes.steps import Endings, Ground, first_of

_TRIES = 3
"""How often a change is decided anew because somebody else changes the event all the time."""


class Changer:
    """The steps of a change."""

    def __init__(self, *, planner: Planner, rewriter: Rewriter, endings: Endings, clock: Clock) -> None:
        self._planner = planner
        self._rewriter = rewriter
        self._endings = endings
        self._clock = clock

    async def check(self, room: Room, tenant: Tenant, order: UpdateOrder) -> Rewrite | Cut:
        """Find out what a change would do, and whether it could be made; see `Planner.plan` for what it raises."""
        return await self._planner.plan(Ground(room, tenant), order)

    async def carry_out(self, work: Work) -> datetime | None:
        """See `Steps`."""
        ground = await self._endings.ground(work.write)
        assert work.write.payload is not None, "it has not ended"
        order = decode_update(work.write.payload)
        plan = order.cut or order.rewrite
        if plan is not None and work.write.state is WriteState.SENT and self._is_late(work):
            await self._rewriter.lapse(work, ground, plan)
        if plan is None:
            if not work.write.state.is_fresh and self._is_late(work):
                raise Lapsed
            await self._decide(work, ground, order)
        for _ in range(_TRIES):
            if await self._go_on(work, ground):
                return None
        raise GraphUnavailable("somebody changes the booking all the time")

    def _is_late(self, work: Work) -> bool:
        return is_late(work.write, now=self._clock.now())

    async def _decide(self, work: Work, ground: Ground, order: UpdateOrder) -> None:
        """Decide what is to be done, and note it; nothing was sent before."""
        try:
            plan = await self._planner.plan(ground, order)
            while await self._endings.has_waited(work, plan.event_id):
                plan = await self._planner.plan(ground, order)
        except SidecarError as refusal:
            # A conflict is an answer and remembered; what else is refused before anything is sent may be asked anew.
            is_answer = isinstance(refusal, RoomConflict) or not work.write.state.is_fresh
            if isinstance(refusal, Unavailable) or not is_answer:
                raise
            touched = [] if work.write.event_id is None else [work.write.event_id]
            await self._end(work, ground, order, touched, refusal)
            return
        is_single = isinstance(plan, Rewrite) and plan.after is None
        hold = Hold.FROZEN if not is_single else Hold.PENDING if plan.windows else Hold.NONE
        cut, rewrite = (plan, None) if isinstance(plan, Cut) else (None, plan)
        await work.note(
            state=WriteState.SENT,
            payload=encode_order(replace(order, cut=cut, rewrite=rewrite)),
            event_id=plan.event_id,
            hold=hold,
        )

    async def _go_on(self, work: Work, ground: Ground) -> bool:
        """Carry out what was decided; False: it was decided anew, because somebody has changed the event meanwhile."""
        if work.write.state.is_ended:
            return True
        assert work.write.payload is not None, "it has not ended"
        order = decode_update(work.write.payload)
        if order.cut is not None:
            await self._cut(work, ground, order, order.cut)
            return True
        assert order.rewrite is not None, "it was decided"
        return await self._rewrite(work, ground, order, order.rewrite)

    async def _rewrite(self, work: Work, ground: Ground, order: UpdateOrder, plan: Rewrite) -> bool:
        event_ids = [plan.event_id]
        if work.write.state is WriteState.SENT:
            failure = await self._rewriter.go_forth(work, ground, plan)
            if isinstance(failure, EtagMismatch) and not order.etag:
                # The caller means whichever version is there.
                await self._decide(work, ground, replace(order, rewrite=None))
                return False
            if failure is not None:
                await self._end(work, ground, order, event_ids, failure)
                return True
        if work.write.state is WriteState.UNSETTLED:
            settled = await self._rewriter.settle(ground, plan)
            if not isinstance(settled, SidecarError):
                await self._end(work, ground, order, event_ids, settled, named_at=plan.named_at)
                return True
            await work.note(state=WriteState.WITHDRAWING, failure=failure_of(settled))
        await self._rewriter.take_back(work, ground, plan)
        await self._end(work, ground, order, event_ids, None)
        return True

    async def _cut(self, work: Work, ground: Ground, order: UpdateOrder, plan: Cut) -> None:
        done: tuple[Cut, tuple[Lost, ...]] | None = None
        if work.write.state is not WriteState.WITHDRAWING:
            done = await self._rewriter.cut(work, ground, order, plan)
        if done is not None:
            await self._end(work, ground, order, _events_of(done[0]), done[1])
            return
        assert work.write.payload is not None, "it has not ended"
        plan = decode_update(work.write.payload).cut or plan
        await self._rewriter.drop_tail(ground, plan)
        await self._end(work, ground, order, _events_of(plan), None)

    async def _end(
        self,
        work: Work,
        ground: Ground,
        order: UpdateOrder,
        event_ids: Sequence[EventId],
        outcome: tuple[Lost, ...] | SidecarError | None,
        *,
        named_at: datetime | None = None,
    ) -> None:
        """End the write, and show what the events are now.

        Args:
            outcome: what was lost of single days; why nothing was done; None: it was taken back, the write knows why.
        """
        found = await self._endings.read(ground, event_ids)
        if isinstance(outcome, SidecarError):
            failure = failure_of(outcome)
            await self._endings.note(work, ground, event_ids, found, state=WriteState.FAILED, failure=failure)
        elif outcome is None:
            await self._endings.note(work, ground, event_ids, found, state=WriteState.FAILED)
        else:
            await self._endings.note(
                work,
                ground,
                event_ids,
                found,
                state=WriteState.DONE,
                event_id=event_ids[-1],
                booking_key=_key_of(order, found, event_ids[-1], named_at),
                answer=encode_lost(outcome),
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
