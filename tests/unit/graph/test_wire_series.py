"""Series as Graph tells them: read from the emulator, and held to what its calendar shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sidecar.graph.clouds import ref_of
from sidecar.graph.wire import ANNOTATIONS_ID, Malformed
from sidecar.graph.wire_series import differences, parse_contents, parse_series, series_call, to_series
from sidecar.model.series import Series
from sidecar.model.window import Window
from sidecar.writes.splits import windows_of
from tests.support.mirrored import Mirrored, mirrored
from tests.unit.emulator.rig import rig, weekly, wire_event
from tests.unit.graph.kit import event_json, make_room

pytestmark = pytest.mark.looptime
_MAY = Window(datetime(2026, 11, 1, tzinfo=UTC), datetime(2027, 3, 1, tzinfo=UTC))


@asynccontextmanager
async def _mirrored(folder: Path) -> AsyncIterator[Mirrored]:
    async with rig() as r, mirrored(r, folder) as m:
        yield m


async def _make(m: Mirrored, **event: Any) -> str:
    answer = await m.rig.graph.post(
        f"/users/{m.rig.room}/events", json=wire_event(**event), headers={"prefer": 'IdType="ImmutableId"'}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def _series(m: Mirrored, master_id: str) -> Series:
    told = await m.graph.fetch_series(ref_of(m.tenant), m.rig.room, master_id)
    assert told is not None
    series = to_series(told, room=m.room)
    assert series is not None
    return series


async def _shown(m: Mirrored) -> list[tuple[str, str]]:
    found = await m.rig.view("2026-11-01T00:00:00Z", "2027-03-01T00:00:00Z")
    return sorted((one["start"]["dateTime"][:16], one["end"]["dateTime"][:16]) for one in found)


def _told(series: Series) -> list[tuple[str, str]]:
    return [
        (f"{one.start_at:%Y-%m-%dT%H:%M}", f"{one.end_at:%Y-%m-%dT%H:%M}") for one in windows_of(series, within=_MAY)
    ]


async def test_series_is_read_with_what_became_of_single_days(tmp_path: Path) -> None:
    """A moved occurrence, a cancelled one, and those of the pattern: as the calendar shows them."""
    async with _mirrored(tmp_path) as m:
        rule = weekly("2026-11-23", days=["monday", "thursday"], zone="W. Europe Standard Time")
        rule["range"]["numberOfOccurrences"] = 8
        master_id = await _make(
            m,
            start="2026-11-23T10:00:00",
            end="2026-11-23T11:00:00",
            zone="W. Europe Standard Time",
            recurrence=rule,
        )
        found = await m.rig.view("2026-11-01T00:00:00Z", "2027-03-01T00:00:00Z", orderby="start/dateTime")
        moved: dict[str, Any] = {"start": {"dateTime": "2026-11-27T15:00:00", "timeZone": "UTC"}}
        moved["end"] = {"dateTime": "2026-11-27T16:30:00", "timeZone": "UTC"}
        assert (await m.rig.graph.patch(m.rig.event_url(found[1]["id"]), json=moved)).status_code == 200
        assert (await m.rig.graph.delete(m.rig.event_url(found[3]["id"]))).status_code == 204
        series = await _series(m, master_id)
        assert series.timing.time_zone == "Europe/Berlin"
        assert series.cancelled == {date(2026, 12, 3)}
        (exception,) = series.exceptions
        assert (exception.day, exception.event_id) == (date(2026, 11, 26), found[1]["id"])
        assert _told(series) == await _shown(m)


async def test_whole_days_of_a_series_are_days_of_the_room(tmp_path: Path) -> None:
    """They float; in the room they run from midnight to midnight."""
    async with _mirrored(tmp_path) as m:
        rule = weekly("2026-11-24", days=["tuesday"], zone="UTC")
        master_id = await _make(
            m, start="2026-11-24T00:00:00", end="2026-11-25T00:00:00", isAllDay=True, recurrence=rule
        )
        found = await m.rig.view("2026-11-01T00:00:00Z", "2027-03-01T00:00:00Z", orderby="start/dateTime")
        assert (await m.rig.graph.delete(m.rig.event_url(found[1]["id"]))).status_code == 204
        assert (await m.rig.graph.patch(m.rig.event_url(found[2]["id"]), json={"subject": "x"})).status_code == 200
        series = await _series(m, master_id)
        assert series.timing.is_all_day
        assert series.timing.start_day == date(2026, 11, 24)
        assert series.cancelled == {date(2026, 12, 1)}
        (exception,) = series.exceptions
        assert exception.day == date(2026, 12, 8)
        assert exception.window.end_at - exception.window.start_at == timedelta(days=1)
        assert [one.start_at.astimezone(series.timing.zone).hour for one in windows_of(series, within=_MAY)] == [0] * 3


async def test_contents_of_an_event_make_an_equal_one(tmp_path: Path) -> None:
    """What is read can be written again, with nobody's answers and with our own data."""
    async with _mirrored(tmp_path) as m:
        mine = [{"id": ANNOTATIONS_ID, "value": '{"cost":"7"}'}]
        attendees = [{"type": "optional", "emailAddress": {"address": m.rig.ada, "name": "Ada"}}]
        made: dict[str, Any] = {
            "subject": "Plans",
            "sensitivity": "private",
            "attendees": attendees,
            "showAs": "tentative",
        }
        made |= {"body": {"contentType": "text", "content": "Bring cake"}, "categories": ["Red"]}
        first = await _make(m, singleValueExtendedProperties=mine, **made)
        contents = await m.graph.fetch_contents(ref_of(m.tenant), m.rig.room, first)
        assert contents is not None
        again = await _make(m, **contents)
        copied = await m.graph.fetch_contents(ref_of(m.tenant), m.rig.room, again)
        assert copied == contents
        assert contents["singleValueExtendedProperties"] == mine
        assert [sorted(one) for one in contents["attendees"]] == [["emailAddress", "type"]]
        assert differences(contents | {"subject": "Other"}, contents) == {"subject": "Other"}


async def test_series_that_is_gone_is_none(tmp_path: Path) -> None:
    """As an event that is gone is none."""
    async with _mirrored(tmp_path) as m:
        assert await m.graph.fetch_series(ref_of(m.tenant), m.rig.room, "AAkALgAAAAAAHYQ=") is None
        assert await m.graph.fetch_contents(ref_of(m.tenant), m.rig.room, "AAkALgAAAAAAHYQ=") is None


_WEEKLY: dict[str, dict[str, Any]] = {
    "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": ["monday"]},
    "range": {"type": "noEnd", "startDate": "2026-10-05", "recurrenceTimeZone": "UTC"},
}


def _odd(part: str, **changes: Any) -> dict[str, Any]:
    return {**_WEEKLY, part: {**_WEEKLY[part], **changes}}


@pytest.mark.parametrize(
    "recurrence",
    [
        None,
        _odd("pattern", type="hourly"),
        _odd("pattern", interval=0),
        _odd("pattern", daysOfWeek=[]),
        _odd("pattern", daysOfWeek=["funday"]),
        _odd("pattern", type="absoluteMonthly", dayOfMonth=32),
        _odd("pattern", type="relativeYearly", index="fifth", month=1),
        _odd("range", type="someday"),
        _odd("range", type="endDate", endDate="tomorrow"),
        _odd("range", type="numbered", numberOfOccurrences=0),
        _odd("range", recurrenceTimeZone="tzone://Microsoft/Custom"),
    ],
)
async def test_series_that_cannot_be_understood_is_none(recurrence: Any) -> None:
    """Whoever wants to cut it is told so, instead of being given other days."""
    told = event_json(type="seriesMaster", recurrence=recurrence, originalStartTimeZone="Nowhere")
    assert to_series(parse_series(msgspec.json.encode(told)), room=make_room()) is None
    assert to_series(parse_series(msgspec.json.encode(told | {"recurrence": _WEEKLY})), room=make_room()) is not None


@pytest.mark.parametrize("changes", [{"cancelledOccurrences": ["2026-10-12"]}, {"exceptionOccurrences": [{"id": "e"}]}])
async def test_series_with_a_day_that_cannot_be_understood_is_none(changes: dict[str, Any]) -> None:
    """A day that is passed over would be lost without a word."""
    told = event_json(type="seriesMaster", recurrence=_WEEKLY, **changes)
    assert to_series(parse_series(msgspec.json.encode(told)), room=make_room()) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"subject": 1}', b'{"recurrence": 7, "id": "e"}'])
async def test_answer_that_is_no_series_is_refused(body: bytes) -> None:
    """Another program's page, or cut short."""
    with pytest.raises(Malformed):
        parse_series(body)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"attendees": [7]}'])
async def test_answer_that_has_no_contents_is_refused(body: bytes) -> None:
    """Another program's page, or cut short."""
    with pytest.raises(Malformed):
        parse_contents(body)


async def test_event_may_be_a_whole_day_of_its_own_in_a_series(tmp_path: Path) -> None:
    """An occurrence that was made a whole day is one when it is done again."""
    told = event_json(
        type="seriesMaster",
        recurrence=_WEEKLY,
        exceptionOccurrences=[event_json(originalStart="2026-10-12T09:00:00Z", isAllDay=True)],
    )
    series = to_series(parse_series(msgspec.json.encode(told)), room=replace(make_room(), time_zone="UTC"))
    assert series is not None
    assert [one.is_all_day for one in series.exceptions] == [True]


@pytest.mark.parametrize("tells_cancelled", [False, True])
async def test_cancelled_days_are_asked_for_where_graph_knows_them(tells_cancelled: bool) -> None:
    """Graph of other clouds refuses a request for a property that it does not have."""
    assert ("cancelledOccurrences" in series_call("m", "e", tells_cancelled=tells_cancelled).path) == tells_cancelled
