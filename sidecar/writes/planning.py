"""Decides what a change does, from what Exchange says now. Asks, and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Protocol

from sidecar.aio.clock import Clock
from sidecar.errors import (
    BookingNotFound,
    BookingNotOurs,
    EtagMismatch,
    FieldViolation,
    InvalidArgument,
    SeriesUnreadable,
)
from sidecar.graph.clouds import ref_of
from sidecar.graph.events import iana_zone, window_of
from sidecar.graph.wire import GraphEvent
from sidecar.graph.wire_series import day_of, to_series
from sidecar.graph.wire_writes import event_json, recurrence_json
from sidecar.model.booking import StoredBooking, booking_digest, etag_of
from sidecar.model.event import EventContent
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.series import Series, Timing
from sidecar.model.window import Window
from sidecar.store.store import Store
from sidecar.sync.reading import CalendarReader, RoomReader
from sidecar.writes.changes import (
    Change,
    ChangeRefused,
    Scope,
    added_parts,
    check_whole_days,
    content_after,
    is_moved,
    timing_after,
)
from sidecar.writes.conflicts import find_conflicts, room_conflict
from sidecar.writes.occurrences import span_around
from sidecar.writes.rewrites import Cut, Json, Rewrite, UpdateOrder
from sidecar.writes.rrule import RuleRefused
from sidecar.writes.single_days import SeriesReader, SingleDays
from sidecar.writes.splits import Outcome, bound, exception_on, has_day, regular_window, retime, split, windows_of
from sidecar.writes.steps import Ground

_RESOURCE = "resource"


class ChangeReader(CalendarReader, SeriesReader, Protocol):
    """Reading events and series at Microsoft; `graph.client.GraphClient` is one."""


class Named:
    """The booking that a call names, as the copy and as Exchange have it."""

    def __init__(self, stored: StoredBooking, event: GraphEvent) -> None:
        self.stored = stored
        self.event = event

    @property
    def master_id(self) -> EventId | None:
        """The series it belongs to."""
        return self.event.series_master_id or None

    @property
    def change_key(self) -> str:
        """Its version at Exchange."""
        return self.event.change_key or ""


class Planner:
    """Decides what changes do. Methods raise whatever asking raises, beyond what they name."""

    def __init__(
        self, *, store: Store, graph: ChangeReader, days: SingleDays, reading: RoomReader, clock: Clock
    ) -> None:
        self._store = store
        self._graph = graph
        self._days = days
        self._reading = reading
        self._clock = clock

    async def find(self, ground: Ground, key: BookingKey, *, etag: str) -> Named:
        """Return the booking that a call names.

        Raises:
            BookingNotFound. EtagMismatch: it is not the version that the caller knows.
        """
        stored = await self._store.calendars.load_one(ground.room.uid, key)
        if stored is None:
            raise BookingNotFound("there is no such booking")
        if etag and etag != etag_of(stored.digest):
            raise EtagMismatch("somebody has changed it meanwhile; read it and decide again")
        event = await self._graph.fetch_event(ref_of(ground.tenant), ground.room.address, stored.event_id)
        if event is None:
            raise BookingNotFound("it was removed in Exchange")
        if etag and event.change_key != stored.change_key:
            told = await self._reading.meanings(ground.room, [event])
            if not any(booking_digest(booking) == stored.digest for booking in told):
                raise EtagMismatch("somebody has changed it in Exchange meanwhile; read it and decide again")
        return Named(stored, event)

    async def series(self, ground: Ground, named: GraphEvent, master_id: EventId) -> tuple[GraphEvent, Series, date]:
        """Return the series of a booking, and the day on which its pattern put the booking.

        Raises:
            BookingNotFound: it is gone. SeriesUnreadable.
        """
        told = await self._graph.fetch_series(ref_of(ground.tenant), ground.room.address, master_id)
        if told is None:
            raise BookingNotFound("it was removed in Exchange")
        series = to_series(told, room=ground.room)
        day = None if series is None else day_of(named, series.timing)
        if series is None or day is None or not has_day(series.timing, day):
            raise SeriesUnreadable("Exchange tells a pattern or a zone of this series that cannot be worked with")
        if told.cancelled is None:
            series = await self._days.look_for_cancelled(ref_of(ground.tenant), ground.room, master_id, series)
        return told.event, series, day

    async def plan(self, ground: Ground, order: UpdateOrder) -> Rewrite | Cut:
        """Decide what an update does.

        Raises:
            BookingNotFound, EtagMismatch. BookingNotOurs: only the organizer can change it. SeriesUnreadable.
            InvalidArgument: the change cannot be what is meant. RoomConflict.
        """
        named = await self.find(ground, order.key, etag=order.etag)
        if named.event.is_organizer is not True:
            raise BookingNotOurs("the meeting lies in its organizer's calendar; only there it can be changed")
        plan = await self.plan_event(ground, named.event, order.scope, order.change)
        await self._check_free(ground, plan)
        return plan

    async def plan_event(self, ground: Ground, event: GraphEvent, scope: Scope, change: Change) -> Rewrite | Cut:
        """Decide what a change of an event does, or of its series, whoever may be in the way.

        Args:
            ground: its mailbox is the one whose calendar the event is in.
        Raises:
            BookingNotFound, SeriesUnreadable. InvalidArgument: the change cannot be what is meant.
        """
        try:
            if not event.series_master_id or scope is Scope.OCCURRENCE:
                return await self._plan_one(ground, event, change)
            return await self._plan_series(ground, event, EventId(event.series_master_id), scope, change)
        except ChangeRefused as refused:
            raise InvalidArgument([FieldViolation(refused.field_name, str(refused))]) from None
        except RuleRefused as refused:
            raise InvalidArgument([FieldViolation("rrule", str(refused))]) from None

    async def _check_free(self, ground: Ground, plan: Rewrite | Cut) -> None:
        if not plan.windows:
            return
        others, _ = await self._reading.view(ground.room, ground.tenant, span_around(plan.windows))
        conflicts = find_conflicts(plan.windows, others, not_these=(plan.event_id,))
        if conflicts:
            raise room_conflict(conflicts)

    async def _plan_one(self, ground: Ground, event: GraphEvent, change: Change) -> Rewrite:
        room = ground.room
        if change.rule:
            raise ChangeRefused(
                "rrule", "only a series has a rule, and only all of it or all that follows gets another"
            )
        window = window_of(event, room=room)
        if window is None:
            raise SeriesUnreadable("Exchange tells times of this booking that cannot be worked with")
        is_all_day = event.is_all_day is True
        zone_name = (room.time_zone if is_all_day else iana_zone(event.original_start_time_zone)) or "UTC"
        after = content_after(change, window, zone_name, is_all_day=is_all_day)
        times = {"time"} if change.is_retiming else set[str]()
        check_whole_days(after.window, after.time_zone, is_all_day=after.is_all_day, room_zone=room.time_zone)
        must_look = is_moved(change, window, is_all_day=is_all_day)
        contents: Json = {}
        if "attendees" in change.parts or (must_look and change.parts):
            contents = await self._contents(ground, event.id)
        forth = _with_resources(event_json(after, parts=change.parts | times), contents)
        back: dict[str, Any] = {}  # Any: JSON
        if must_look:
            before = EventContent(window=window, time_zone=zone_name, is_all_day=is_all_day)
            back = _as_before(contents, forth) | event_json(before, parts=times)
        return Rewrite(
            event_id=event.id,
            change_key=event.change_key or "",
            forth=forth,
            back=back,
            windows=added_parts(after.window, window) if must_look else (),
        )

    async def _plan_series(
        self, ground: Ground, event: GraphEvent, master_id: EventId, scope: Scope, change: Change
    ) -> Rewrite | Cut:
        master, series, day = await self.series(ground, event, master_id)
        contents = await self._contents(ground, master_id)
        if scope is Scope.FOLLOWING:
            cut = split(series, day)
            if cut.head is not None:
                return await self._plan_cut(ground, master, (series, day, contents), change)
        return await self._plan_whole(ground, master, (series, day, contents), change)

    async def _plan_whole(
        self, ground: Ground, master: GraphEvent, known: tuple[Series, date, Json], change: Change
    ) -> Rewrite:
        series, day, contents = known
        timing = timing_after(change, series, named=regular_window(series.timing, day))
        _check_timing(timing, ground)
        also = exception_on(series, day)
        is_moved_back = change.window is not None and also is not None and also.window != change.window
        if timing == series.timing and not is_moved_back:
            forth = _with_resources(event_json(_content(change, timing), parts=change.parts), contents)
            return Rewrite(
                event_id=master.id,
                change_key=master.change_key or "",
                forth=forth,
                also=None if also is None else also.event_id,
                named_at=regular_window(timing, day).start_at,
            )
        before = await self._days.remember(ref_of(ground.tenant), ground.room, series, contents)
        outcome = bound(retime(_following(before, day, change), timing), before=series.timing)
        parts = change.parts | {"time", "recurrence"}
        forth = _with_resources(event_json(_content(change, timing), parts=parts), contents)
        back = _as_before(contents, forth)
        back |= event_json(_content(Change(), series.timing), parts={"time", "recurrence"})
        return Rewrite(
            event_id=master.id,
            change_key=master.change_key or "",
            forth=forth,
            back=back,
            before=before,
            after=outcome.series,
            windows=self._new_windows(ground, outcome.series, series),
            lost=outcome.lost,
            named_at=regular_window(timing, day).start_at,
        )

    async def _plan_cut(
        self, ground: Ground, master: GraphEvent, known: tuple[Series, date, Json], change: Change
    ) -> Cut:
        series, day, contents = known
        timing = timing_after(change, split(series, day).tail, named=regular_window(series.timing, day))
        _check_timing(timing, ground)
        whole = await self._days.remember(ref_of(ground.tenant), ground.room, series, contents)
        pieces = split(whole, day)
        tail = bound(retime(_following(pieces.tail, day, change), timing), before=series.timing)
        parts = change.parts | {"time", "recurrence"}
        tail_event = {**contents, **_with_resources(event_json(_content(change, timing), parts=parts), contents)}
        cut = self.cut(master, pieces.head or series)
        windows = self._new_windows(ground, tail.series, series)
        return replace(
            cut,
            tail=tail.series,
            tail_event=tail_event,
            windows=windows,
            kept=tuple(one for one in self._windows(ground, tail.series) if one not in set(windows)),
            made_at=master.created_date_time,
            lost=(*cut.lost, *tail.lost),
        )

    def cut(self, master: GraphEvent, head: Series) -> Cut:
        """Return how a series is cut so that only its head stays."""
        kept = bound(Outcome(series=head), before=head.timing)
        timing = kept.series.timing
        return Cut(
            event_id=master.id,
            change_key=master.change_key or "",
            head=kept.series,
            forth={"recurrence": recurrence_json(timing.recurrence, _content(Change(), timing))},
            lost=kept.lost,
        )

    async def remember(self, ground: Ground, master_id: EventId, series: Series) -> Series:
        """Return a series with what is different about single days, as long as Exchange knows it."""
        contents = await self._contents(ground, master_id)
        return await self._days.remember(ref_of(ground.tenant), ground.room, series, contents)

    def _windows(self, ground: Ground, series: Series) -> list[Window]:
        """Return when a series takes place from now on, as far as the copy reaches."""
        now, horizon = self._clock.now(), ground.room.horizon
        first_end_at = series.timing.first.end_at
        end_at = max(first_end_at, horizon.end_at if horizon is not None else first_end_at)
        return [] if end_at <= now else windows_of(series, within=Window(now, end_at))

    def _new_windows(self, ground: Ground, after: Series, before: Series) -> tuple[Window, ...]:
        """Return when a series takes place from now on where it did not before."""
        old = set(self._windows(ground, before))
        return tuple(window for window in self._windows(ground, after) if window not in old)

    async def _contents(self, ground: Ground, event_id: EventId) -> Json:
        contents = await self._graph.fetch_contents(ref_of(ground.tenant), ground.room.address, event_id)
        if contents is None:
            raise BookingNotFound("it was removed in Exchange")
        return contents


def _content(change: Change, timing: Timing) -> EventContent:
    """Return the contents of a series' master."""
    told = content_after(
        change, timing.first, timing.time_zone, is_all_day=timing.is_all_day, recurrence=timing.recurrence
    )
    return replace(told, window=timing.first)


def _following(series: Series, day: date, change: Change) -> Series:
    """Return a series whose named occurrence no longer differs in what a change says of all."""
    one = exception_on(series, day)
    if one is None:
        return series
    names = set(event_json(_content(change, series.timing), parts=change.parts))
    own = {name: value for name, value in one.own.items() if name not in names}
    window = one.window if change.window is None else regular_window(series.timing, day)
    same = replace(one, own=own, window=window)
    exceptions = tuple(same if other.day == day else other for other in series.exceptions)
    return replace(series, exceptions=exceptions)


def _check_timing(timing: Timing, ground: Ground) -> None:
    check_whole_days(timing.first, timing.time_zone, is_all_day=timing.is_all_day, room_zone=ground.room.time_zone)


def _with_resources(forth: dict[str, Any], contents: Json) -> dict[str, Any]:  # Any: JSON
    """Add the rooms and other resources that are invited already: callers name people only."""
    if "attendees" in forth:
        invited: Sequence[Mapping[str, Any]] = contents.get("attendees", ())
        forth["attendees"] += [one for one in invited if one.get("type") == _RESOURCE]
    return forth


def _as_before(contents: Json, forth: Json) -> dict[str, Any]:  # Any: JSON
    """Return what takes back all that a change says; an online meeting, once there, stays."""
    empty: dict[str, Any] = {"attendees": [], "subject": "", "sensitivity": "normal", "body": {"content": ""}}
    names = (name for name in forth if name in contents or name in empty)
    return {name: contents.get(name, empty.get(name)) for name in names if not name.startswith(("isOnline", "online"))}
