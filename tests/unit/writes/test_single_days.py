"""Days that Exchange forgets when their series changes, done again: the emulator's calendar shows them as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sidecar.graph.clouds import ref_of
from sidecar.graph.event_writer import EventWriter
from sidecar.graph.wire_series import to_series
from sidecar.graph.wire_writes import recurrence_json
from sidecar.model.event import EventContent
from sidecar.model.ids import EventId
from sidecar.model.series import Series, Timing
from sidecar.model.window import Window
from sidecar.settings import GraphSettings
from sidecar.writes.single_days import SingleDays
from sidecar.writes.splits import retime, split, windows_of
from tests.support.mirrored import Mirrored, mirrored
from tests.unit.emulator.rig import rig, weekly, wire_event

pytestmark = pytest.mark.looptime
_WITHIN = Window(datetime(2026, 11, 1, tzinfo=UTC), datetime(2027, 6, 1, tzinfo=UTC))
_IMMUTABLE = {"prefer": 'IdType="ImmutableId"'}


class _Stage:
    """A weekly series of ten in the room's calendar: Mondays from 23 November, nine to ten in Berlin."""

    def __init__(self, m: Mirrored, master_id: EventId) -> None:
        self.m, self.master_id = m, master_id
        self.writer = EventWriter(transport=m.transport, settings=GraphSettings())
        self.days = SingleDays(reader=m.graph, writer=self.writer)
        self.tenant = ref_of(m.tenant)

    async def shown(self) -> list[dict[str, Any]]:
        return await self.m.rig.view("2026-11-01T00:00:00Z", "2027-06-01T00:00:00Z", orderby="start/dateTime")

    async def patch(self, number: int, **changes: Any) -> None:
        """Change the occurrence with this number."""
        event_id = (await self.shown())[number]["id"]
        answer = await self.m.rig.graph.patch(self.m.rig.event_url(event_id), json=changes)
        assert answer.status_code == 200, answer.text

    async def move(self, number: int, start: str, end: str) -> None:
        await self.patch(number, start={"dateTime": start, "timeZone": "UTC"}, end={"dateTime": end, "timeZone": "UTC"})

    async def remove(self, number: int) -> None:
        event_id = (await self.shown())[number]["id"]
        assert (await self.m.rig.graph.delete(self.m.rig.event_url(event_id))).status_code == 204

    async def series(self) -> Series:
        told = await self.m.graph.fetch_series(self.tenant, self.m.rig.room, self.master_id)
        assert told is not None
        series = to_series(told, room=self.m.room)
        contents = await self.m.graph.fetch_contents(self.tenant, self.m.rig.room, self.master_id)
        assert series is not None
        assert contents is not None
        return await self.days.remember(self.tenant, self.m.room, series, contents)

    async def retime(self, timing: Timing) -> None:
        """Give the series another time or pattern, as Exchange does it: it forgets all else."""
        content = EventContent(
            window=timing.first, time_zone=timing.time_zone, is_all_day=timing.is_all_day, recurrence=timing.recurrence
        )
        await self.writer.update(self.tenant, self.m.rig.room, self.master_id, content, parts={"time", "recurrence"})

    async def windows(self) -> list[Window]:
        found = [
            (datetime.fromisoformat(one["start"]["dateTime"][:19]), datetime.fromisoformat(one["end"]["dateTime"][:19]))
            for one in await self.shown()
        ]
        return [Window(start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)) for start, end in found]


@asynccontextmanager
async def _staged(folder: Path) -> AsyncIterator[_Stage]:
    async with rig() as r, mirrored(r, folder) as m:
        rule = weekly("2026-11-23", days=["monday"])
        rule["range"]["numberOfOccurrences"] = 10
        body = wire_event("2026-11-23T09:00:00", "2026-11-23T10:00:00", zone="Europe/Berlin", recurrence=rule)
        answer = await r.graph.post(f"/users/{r.room}/events", json=body, headers=_IMMUTABLE)
        assert answer.status_code == 201, answer.text
        yield _Stage(m, EventId(answer.json()["id"]))


async def test_cut_series_shows_its_days_as_they_were(tmp_path: Path) -> None:
    """Moved, renamed and cancelled: all of them are there again, and the tail is not."""
    async with _staged(tmp_path) as s:
        await s.move(1, "2026-12-01T13:00:00", "2026-12-01T14:00:00")
        await s.patch(2, subject="With guests", sensitivity="private")
        await s.remove(3)
        await s.move(7, "2027-01-12T13:00:00", "2027-01-12T14:00:00")
        head = split(await s.series(), date(2027, 1, 4)).head
        assert head is not None
        await s.retime(head.timing)
        assert len(await s.shown()) == 6
        assert await s.days.restore(s.tenant, s.m.room, s.master_id, head) == ()
        assert await s.windows() == windows_of(head, within=_WITHIN)
        assert [(one["subject"], one["sensitivity"]) for one in await s.shown()] == [
            ("Review", "normal"),
            ("Review", "normal"),
            ("With guests", "private"),
            ("Review", "normal"),
            ("Review", "normal"),
        ]


async def test_series_whose_days_are_there_is_left_alone(tmp_path: Path) -> None:
    """Whoever was stopped half-way goes on; what is done is not done again, and nobody gets a second mail."""
    async with _staged(tmp_path) as s:
        await s.move(1, "2026-12-01T13:00:00", "2026-12-01T14:00:00")
        await s.patch(2, subject="With guests")
        await s.remove(3)
        series = await s.series()
        s.m.requests.clear()
        await s.days.restore(s.tenant, s.m.room, s.master_id, series)
        assert ["instances" in path for path in s.m.requests] == [True]


async def test_day_that_crosses_its_neighbour_waits_until_that_has_moved(tmp_path: Path) -> None:
    """Exchange keeps occurrences in order: the first cannot come before the second has gone further."""
    async with _staged(tmp_path) as s:
        await s.move(2, "2026-12-10T13:00:00", "2026-12-10T14:00:00")
        await s.move(1, "2026-12-08T13:00:00", "2026-12-08T14:00:00")
        series = await s.series()
        await s.retime(replace(series.timing, recurrence=replace(series.timing.recurrence, count=9)))
        assert await s.days.restore(s.tenant, s.m.room, s.master_id, series) == ()
        assert await s.windows() == windows_of(series, within=_WITHIN)[:9]


async def test_day_that_exchange_refuses_is_named_as_lost(tmp_path: Path) -> None:
    """Its series was moved over it."""
    async with _staged(tmp_path) as s:
        await s.move(1, "2026-12-04T13:00:00", "2026-12-04T14:00:00")
        series = await s.series()
        late = timedelta(days=-3)
        first = Window(series.timing.first.start_at + late, series.timing.first.end_at + late)
        pattern = replace(series.timing.recurrence.pattern, weekdays=(4,))
        timing = replace(series.timing, first=first, recurrence=replace(series.timing.recurrence, pattern=pattern))
        lost = retime(series, timing).lost
        assert [(one.original_start_at, one.window) for one in lost] == [
            (datetime(2026, 11, 30, 8, tzinfo=UTC), series.exceptions[0].window)
        ]
        moved = replace(series.exceptions[0], day=date(2026, 11, 27), window=series.exceptions[0].window)
        target = Series(timing=timing, exceptions=(moved,))
        await s.retime(timing)
        (named,) = await s.days.restore(s.tenant, s.m.room, s.master_id, target)
        assert named.window == moved.window
        assert named.original_start_at == datetime(2026, 11, 27, 8, tzinfo=UTC)


async def test_recurrence_that_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    """Nothing of a series changes by being said again."""
    async with _staged(tmp_path) as s:
        timing = (await s.series()).timing
        content = EventContent(window=timing.first, time_zone=timing.time_zone, recurrence=timing.recurrence)
        assert recurrence_json(timing.recurrence, content)["range"]["numberOfOccurrences"] == 10
        await s.retime(timing)
        assert (await s.series()).timing == timing


async def test_cancelled_days_are_found_where_exchange_does_not_tell_them(tmp_path: Path) -> None:
    """In clouds other than the global one; a day that was moved is not cancelled."""
    async with _staged(tmp_path) as s:
        await s.move(1, "2026-12-01T13:00:00", "2026-12-01T14:00:00")
        await s.remove(3)
        await s.remove(5)
        series = await s.series()
        assert series.cancelled == {date(2026, 12, 14), date(2027, 1, 4)}
        untold = replace(series, cancelled=frozenset())
        found = await s.days.look_for_cancelled(s.tenant, s.m.room, s.master_id, untold)
        assert found == series


async def test_cancelled_days_of_an_endless_series_are_looked_for_as_far_as_exchange_shows(tmp_path: Path) -> None:
    """What has not come yet is not cancelled."""
    async with _staged(tmp_path) as s:
        series = await s.series()
        endless = replace(series.timing, recurrence=replace(series.timing.recurrence, count=None))
        await s.retime(endless)
        await s.remove(2)
        untold = replace(await s.series(), cancelled=frozenset())
        found = await s.days.look_for_cancelled(s.tenant, s.m.room, s.master_id, untold)
        assert found.cancelled == {date(2026, 12, 7)}
