"""Does again what was different about single days of a series, after Exchange has forgotten it. Asks and writes at Exchange."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from itertools import takewhile
from typing import Any, Protocol

import structlog

from sidecar.errors import GraphRefused
from sidecar.graph.clouds import TenantRef
from sidecar.graph.events import window_of
from sidecar.graph.wire import GraphEvent
from sidecar.graph.wire_series import GraphSeries, day_of, differences
from sidecar.graph.wire_writes import event_json
from sidecar.model.event import EventContent
from sidecar.model.ids import EventId
from sidecar.model.room import Room
from sidecar.model.series import Series, SeriesException, Timing
from sidecar.model.window import Window
from sidecar.writes.splits import Lost, days_of, regular_window

log = structlog.get_logger(__name__)

_VIEW_DAYS_MAX = 1_800
"""Exchange shows the occurrences of five years at a time."""
_EXCEPTION = "exception"


class SeriesReader(Protocol):
    """Reading series at Microsoft; `graph.client.GraphClient` is one. Errors are those it names."""

    async def fetch_series(self, tenant: TenantRef, mailbox: str, master_id: str) -> GraphSeries | None:
        """Read a series; None when it is gone."""

    async def fetch_contents(
        self, tenant: TenantRef, mailbox: str, event_id: str
    ) -> dict[str, Any] | None:  # Any: JSON
        """Read what an event says; None when it is gone."""

    async def fetch_instances(
        self, tenant: TenantRef, mailbox: str, master_id: str, window: Window
    ) -> list[GraphEvent] | None:
        """Read the occurrences of a series; None when it is gone."""


class OccurrenceWriter(Protocol):
    """Writing single occurrences; `graph.event_writer.EventWriter` is one."""

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


class SingleDays:
    """Knows what is different about single days, and makes it so. Every method raises whatever asking and writing raise."""

    def __init__(self, *, reader: SeriesReader, writer: OccurrenceWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def remember(
        self, tenant: TenantRef, room: Room, series: Series, contents: Mapping[str, Any]
    ) -> Series:  # Any: JSON
        """Return a series with what each exception says differently, as long as Exchange still knows it.

        Args:
            contents: what the series itself says.
        """
        known = []
        for one in series.exceptions:
            told = await self._reader.fetch_contents(tenant, room.address, one.event_id)
            known.append(one if told is None else replace(one, own=differences(told, contents)))
        return replace(series, exceptions=tuple(known))

    async def look_for_cancelled(self, tenant: TenantRef, room: Room, master_id: EventId, series: Series) -> Series:
        """Return a series with its cancelled days, where Exchange does not tell them: those that it does not show.

        An endless series is looked at for as long as Exchange shows at once, five years.
        """
        timing = series.timing
        last = timing.start_day + timedelta(days=_VIEW_DAYS_MAX)
        days = list(takewhile(lambda day: day <= last, days_of(timing)))
        shown = await self._occurrences(tenant, room, master_id, timing, days)
        # A moved occurrence may lie beyond what was looked at.
        different = {one.day for one in series.exceptions}
        return replace(series, cancelled=frozenset(days) - shown.keys() - different)

    async def restore(self, tenant: TenantRef, room: Room, master_id: EventId, target: Series) -> tuple[Lost, ...]:
        """Make single days of a series as they shall be; what is so already is left alone.

        Doing it twice does what doing it once does.

        Returns:
            What Exchange does not let be as it shall be.
        """
        days = sorted({one.day for one in target.exceptions} | target.cancelled)
        if not days:
            return ()
        found = await self._occurrences(tenant, room, master_id, target.timing, days)
        for day in sorted(target.cancelled & found.keys()):
            await self._writer.delete(tenant, room.address, EventId(found[day].id))
        waiting = [one for one in target.exceptions if one.day in found]
        lost = [_lost(one, target.timing) for one in target.exceptions if one.day not in found]
        # Exchange keeps occurrences in their order, so one may have to wait until its neighbour has moved.
        while waiting:
            refused = [one for one in waiting if not await self._restore_one(tenant, room, one, found, target.timing)]
            if len(refused) == len(waiting):
                log.warning("series.exceptions_lost", room_uid=room.uid, exceptions_count=len(refused))
                lost += [_lost(one, target.timing) for one in refused]
                break
            waiting = refused
        return tuple(sorted(lost, key=lambda one: one.original_start_at))

    async def _restore_one(
        self,
        tenant: TenantRef,
        room: Room,
        wanted: SeriesException,
        found: Mapping[date, GraphEvent],
        timing: Timing,
    ) -> bool:
        event = found[wanted.day]
        is_there = window_of(event, room=room) == wanted.window and (event.is_all_day is True) == wanted.is_all_day
        if is_there and (event.type == _EXCEPTION or not wanted.own):
            return True
        changes = dict(wanted.own)
        if not is_there:
            content = EventContent(window=wanted.window, time_zone=timing.time_zone, is_all_day=wanted.is_all_day)
            changes |= event_json(content, parts={"time"})
        try:
            await self._writer.patch(tenant, room.address, EventId(event.id), changes)
        except GraphRefused:
            return False
        return True

    async def _occurrences(
        self, tenant: TenantRef, room: Room, master_id: EventId, timing: Timing, days: Sequence[date]
    ) -> dict[date, GraphEvent]:
        found: dict[date, GraphEvent] = {}
        wanted = frozenset(days)
        for first, last in _spans(days):
            window = Window(_begin_of(first, timing), _begin_of(last + timedelta(days=1), timing))
            told = await self._reader.fetch_instances(tenant, room.address, master_id, window)
            for event in told or []:
                day = day_of(event, timing)
                if day in wanted:
                    found[day] = event
        return found


def _lost(one: SeriesException, timing: Timing) -> Lost:
    return Lost(original_start_at=regular_window(timing, one.day).start_at, window=one.window)


def _begin_of(day: date, timing: Timing) -> datetime:
    return datetime.combine(day, time(), tzinfo=timing.zone)


def _spans(days: Sequence[date]) -> Iterator[tuple[date, date]]:
    """Give the first and last of ascending days, in as many pieces as one look needs."""
    first = last = days[0]
    for day in days:
        if (day - first).days > _VIEW_DAYS_MAX:
            yield first, last
            first = day
        last = day
    yield first, last
