"""Carries out what was decided about an event or a series, step by step, each of which may have been made before.

Where times change, somebody else may take the same hour meanwhile, for Exchange checks nothing in a room's own calendar. So
the calendar is looked at after the change, too, and whoever changed gives way to whatever he finds: of what was there first
the times of making say nothing. A change is then taken back, and the booking is where it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from sidecar.errors import (
    BookingNotFound,
    EtagMismatch,
    GraphRefused,
    GraphUnavailable,
    MailboxDenied,
    OccurrenceOutOfPlace,
    SidecarError,
)
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.graph.event_writer import Overtaken
from sidecar.graph.events import mark_of, window_of
from sidecar.graph.wire import GraphEvent
from sidecar.graph.wire_writes import mark_json
from sidecar.model.ids import EventId
from sidecar.model.room import Room
from sidecar.model.window import Window
from sidecar.model.write import Hold, Write, WriteState, write_of
from sidecar.sync.reading import EventReader, Found, RoomReader
from sidecar.writes.conflicts import find_conflicts, find_meetings, not_shown, room_conflict, was_first
from sidecar.writes.driver import Lapsed, Work
from sidecar.writes.failures import failure_of, write_denied
from sidecar.writes.occurrences import span_around
from sidecar.writes.rewrites import CancelOrder, Cut, Json, Rewrite, UpdateOrder, encode_order
from sidecar.writes.single_days import SingleDays
from sidecar.writes.splits import Lost
from sidecar.writes.steps import Endings, Ground

_CROSSING = "erroroccurrencecrossingboundary"
_BACK = "-back"
"""Ends the mark of what takes a change back."""
_TRIES = 3
"""How often a change is taken back anew because somebody else changes the event all the time."""


class ChangeCalls(Protocol):
    """Writing events at Microsoft; `graph.event_writer.EventWriter` is one. Errors are those it names."""

    async def repeat(
        self, tenant: TenantRef, mailbox: str, event: Mapping[str, Any], *, transaction_id: str
    ) -> GraphEvent:
        """Make an event that says what another one says; the same transaction twice makes one."""

    async def find(self, tenant: TenantRef, mailbox: str, *, transaction_id: str) -> GraphEvent | None:
        """Return the event that a transaction made; None when it made none."""

    async def patch(
        self,
        tenant: TenantRef,
        mailbox: str,
        event_id: EventId,
        changes: Mapping[str, Any],  # Any: JSON
        *,
        change_key: str = "",
    ) -> GraphEvent:
        """Change what `changes` names."""

    async def delete(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> None:
        """Make sure that an event does not exist."""


class Rewriter:
    """The steps of rewrites and cuts, up to the last one: that is the caller's, because it ends the write."""

    def __init__(
        self, *, calls: ChangeCalls, reader: EventReader, days: SingleDays, reading: RoomReader, endings: Endings
    ) -> None:
        self._calls = calls
        self._reader = reader
        self._days = days
        self._reading = reading
        self._endings = endings

    async def is_begun(self, write: Write, ground: Ground, plan: Rewrite | Cut) -> bool:
        """Tell whether anything of what was decided has been carried out."""
        if isinstance(plan, Cut) and plan.tail is not None:
            tenant, mailbox = ref_of(ground.tenant), ground.room.address
            return await self._calls.find(tenant, mailbox, transaction_id=write.transaction_id) is not None
        return await self._mark(ground, plan.event_id) == write.uid

    async def lapse(self, work: Work, ground: Ground, plan: Rewrite | Cut) -> None:
        """Give up what was decided, if Exchange took nothing of it.

        Raises:
            Lapsed: nothing of it was done.
        """
        if await self.is_begun(work.write, ground, plan):
            return
        event_ids = [plan.event_id]
        found = await self._endings.read(ground, event_ids)
        await self._endings.note(work, ground, event_ids, found, state=WriteState.SENT, hold=Hold.NONE)
        raise Lapsed

    async def go_forth(self, work: Work, ground: Ground, plan: Rewrite) -> SidecarError | None:
        """Change an event, or a series as a whole; return why it was not changed."""
        done = await self.patch_once(work.write, ground, plan.event_id, plan.forth, plan.change_key)
        if isinstance(done, SidecarError):
            return done
        await self._show(work, ground, done, plan)
        return None

    async def settle(self, ground: Ground, plan: Rewrite) -> tuple[Lost, ...] | SidecarError:
        """Look whether the new hours are ours, and do single days again.

        Returns:
            What was lost of single days; or what is in the way, so that the change has to be taken back.
        """
        conflict = await self._look(ground, plan.windows, not_these=(plan.event_id,))
        if conflict is not None:
            return conflict
        if plan.also is not None:
            with contextlib.suppress(BookingNotFound):
                await self._patch(ground, plan.also, plan.forth, "")
        if plan.after is None:
            return plan.lost
        lost = await self._days.restore(ref_of(ground.tenant), ground.room, plan.event_id, plan.after)
        return *plan.lost, *lost

    async def take_back(self, work: Work, ground: Ground, plan: Rewrite) -> None:
        """Make an event what it was; one that somebody has removed or moved on meanwhile stays so.

        Raises:
            GraphUnavailable: somebody changes it all the time.
        """
        tenant, room = ref_of(ground.tenant), ground.room
        mark = work.write.uid + _BACK
        for _ in range(_TRIES):
            event = await self._reader.fetch_event(tenant, room.address, plan.event_id)
            if event is None or _was_moved_on(event, plan, room):
                return
            if mark_of(event) == mark:
                break
            try:
                await self._patch(
                    ground, plan.event_id, {**plan.back, **_marked(plan.back, mark)}, event.change_key or ""
                )
            except Overtaken:
                continue
            except BookingNotFound:
                return
            break
        else:
            raise GraphUnavailable("somebody changes the booking all the time")
        if plan.before is not None:
            await self._days.restore(tenant, room, plan.event_id, plan.before)

    async def cut(
        self, work: Work, ground: Ground, order: UpdateOrder | CancelOrder, plan: Cut
    ) -> tuple[Cut, tuple[Lost, ...]] | None:
        """Cut a series: what follows is made first, so that its hours are never free; then the series is cut.

        Returns:
            The plan with the event of the tail, and what was lost of single days; None when the tail has to go again, and the
            series was not cut.
        """
        tenant, room = ref_of(ground.tenant), ground.room
        lost: tuple[Lost, ...] = plan.lost
        if plan.tail is not None:
            made = await self._make_tail(work, ground, order, plan)
            if isinstance(made, SidecarError):
                await work.note(state=WriteState.WITHDRAWING, failure=failure_of(made))
                return None
            plan = made
            assert plan.tail_id is not None, "it was made"
            assert plan.tail is not None, "it was there"
            conflict = await self._look_for_tail(work.write, ground, plan, plan.tail_id)
            if conflict is not None:
                await work.note(state=WriteState.WITHDRAWING, failure=failure_of(conflict))
                return None
            lost += await self._days.restore(tenant, room, plan.tail_id, plan.tail)
        done = await self.patch_once(work.write, ground, plan.event_id, plan.forth, plan.change_key)
        if isinstance(done, SidecarError):
            await work.note(state=WriteState.WITHDRAWING, failure=failure_of(done))
            return None
        lost += await self._days.restore(tenant, room, plan.event_id, plan.head)
        return plan, lost

    async def drop_tail(self, ground: Ground, plan: Cut) -> None:
        """Take a tail out again; the series was not cut."""
        if plan.tail_id is not None:
            await self._calls.delete(ref_of(ground.tenant), ground.room.address, plan.tail_id)

    async def _make_tail(
        self, work: Work, ground: Ground, order: UpdateOrder | CancelOrder, plan: Cut
    ) -> Cut | SidecarError:
        """Return the plan with the event of its tail; or why there certainly is none."""
        if plan.tail_id is not None:
            return plan
        tenant, mailbox, transaction_id = ref_of(ground.tenant), ground.room.address, work.write.transaction_id
        told = {**plan.tail_event, **_marked(plan.tail_event, work.write.uid)}
        try:
            event = await self._calls.repeat(tenant, mailbox, told, transaction_id=transaction_id)
        except (GraphRefused, MailboxDenied) as error:
            # An earlier try may have made it.
            found = (
                None
                if _is_first_try(work.write)
                else await self._calls.find(tenant, mailbox, transaction_id=transaction_id)
            )
            if found is None:
                return _refusal_of(error)
            event = found
        made = replace(plan, tail_id=event.id)
        await work.note(
            state=WriteState.UNSETTLED,
            payload=encode_order(replace(order, cut=made)),
            event_created_at=event.created_date_time,
        )
        return made

    async def patch_once(
        self, write: Write, ground: Ground, event_id: EventId, changes: Json, change_key: str
    ) -> GraphEvent | SidecarError | None:
        """Change an event that is as it was read; an earlier try of the same write may have.

        Returns:
            The event, None when an earlier try had changed it already; or why it certainly was not changed.
        """
        marked = {**changes, **_marked(changes, write.uid)}
        try:
            return await self._patch(ground, event_id, marked, change_key)
        except Overtaken:
            if await self._mark(ground, event_id) == write.uid:
                return None  # by an earlier try, whose answer was lost
            return EtagMismatch("somebody has changed it meanwhile; read it and decide again")
        except BookingNotFound:
            return BookingNotFound("somebody has removed it meanwhile")
        except (GraphRefused, MailboxDenied) as error:
            if not _is_first_try(write) and await self._mark(ground, event_id) == write.uid:
                return None
            return _refusal_of(error)

    async def _show(self, work: Work, ground: Ground, event: GraphEvent | None, plan: Rewrite) -> None:
        """Note that an event was changed; a single one at another time is shown as pending until the hours are ours."""
        is_told = event is not None and plan.windows and plan.after is None
        told = await self._reading.meanings(ground.room, [event]) if event is not None and is_told else ()
        found = Found(bookings=told, gone=frozenset(), series=frozenset(), broken=frozenset())
        await self._endings.note(work, ground, (), found, state=WriteState.UNSETTLED)

    async def _patch(self, ground: Ground, event_id: EventId, changes: Json, change_key: str) -> GraphEvent:
        return await self._calls.patch(
            ref_of(ground.tenant), ground.room.address, event_id, changes, change_key=change_key
        )

    async def _mark(self, ground: Ground, event_id: EventId) -> str:
        """Return which write of ours changed an event last."""
        event = await self._reader.fetch_event(ref_of(ground.tenant), ground.room.address, event_id)
        return "" if event is None else mark_of(event)

    async def _look(
        self, ground: Ground, windows: Sequence[Window], *, not_these: tuple[EventId, ...]
    ) -> SidecarError | None:
        """Look whether hours are ours; return what is in the way."""
        if not windows:
            return None
        span = span_around(windows)
        others, _ = await self._reading.view(ground.room, ground.tenant, span)
        conflicts = find_conflicts(windows, others, not_these=not_these)
        frozen, copied = await self._endings.taken(ground, span, besides=not_these)
        # Another series that is being changed may have lost its different days for a moment, or have had until just now.
        conflicts += find_meetings(windows, frozen)
        if not conflicts and find_meetings(windows, not_shown(copied, others, not_these=not_these)):
            others, _ = await self._reading.view(ground.room, ground.tenant, span)
            conflicts = find_conflicts(windows, others, not_these=not_these)
        return room_conflict(conflicts) if conflicts else None

    async def _look_for_tail(self, write: Write, ground: Ground, plan: Cut, tail_id: EventId) -> SidecarError | None:
        """Look whether a tail may stay; only what was made before it is in its way.

        Its hours were the series' own, but the tail is younger. Who booked in between, and has not looked yet, finds a tail
        that gives way to him, and no series any more.
        """
        if not plan.windows and not plan.kept:
            return None
        span = span_around((*plan.windows, *plan.kept))
        others, _ = await self._reading.view(ground.room, ground.tenant, span)
        others = [one for one in others if was_first(one, event_id=tail_id, created_at=write.event_created_at)]
        between = [
            one
            for one in others
            if write_of(one.transaction_id) and one.created_at and plan.made_at and one.created_at >= plan.made_at
        ]
        not_these = (plan.event_id, tail_id)
        conflicts = find_conflicts(plan.windows, others, not_these=not_these)
        conflicts += find_conflicts(plan.kept, between, not_these=not_these)
        return room_conflict(conflicts) if conflicts else None


def _is_first_try(write: Write) -> bool:
    """Tell whether nobody can have sent anything of a write before."""
    return write.fence == 1


def _refusal_of(error: GraphRefused | MailboxDenied) -> SidecarError:
    """Return what a refusal means for whoever asked for a change."""
    if isinstance(error, MailboxDenied):
        return write_denied(error)
    if error.details.get("code", "").casefold() == _CROSSING:
        return OccurrenceOutOfPlace("Exchange does not move an occurrence past another one of its series")
    return error


def _was_moved_on(event: GraphEvent, plan: Rewrite, room: Room) -> bool:
    """Tell whether a single event takes none of the hours any more to which a change has brought it.

    Its old hours may be somebody else's by then.
    """
    window = window_of(event, room=room)
    if plan.before is not None or window is None or mark_of(event).endswith(_BACK):
        return False
    return not any(one.overlaps(window.start_at, window.end_at) for one in plan.windows)


def _marked(changes: Json, mark: str) -> dict[str, Any]:  # Any: JSON
    """Return the extended properties of a change, with the mark of the write that makes it."""
    return {"singleValueExtendedProperties": [*changes.get("singleValueExtendedProperties", ()), mark_json(mark)]}
