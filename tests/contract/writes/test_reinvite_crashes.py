"""Changes of bookings in people's calendars whose process dies at any request: what was asked for comes of them, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Booking
from sidecar.gen.ioffice.exchange.v1.common_pb2 import (
    SERIES_SCOPE_OCCURRENCE,
    SERIES_SCOPE_SERIES,
    WRITE_COMPLETION_ROOM_ANSWERED,
)
from tests.contract.writes.test_inviting import desk_set, invite
from tests.support.write_desk import NINE, WriteDesk

pytestmark = pytest.mark.looptime

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
_NAMED = 2
"""Of a series' days."""
_SERIES = [NINE, NINE + DAY + 3 * HOUR, NINE + 2 * DAY, NINE + 3 * DAY]
"""One of them was moved by itself."""
_ACTS = {
    "single": (0, [NINE], [NINE + HOUR]),
    "occurrence": (SERIES_SCOPE_OCCURRENCE, _SERIES, [*_SERIES[:2], _SERIES[2] + HOUR, _SERIES[3]]),
    "series": (SERIES_SCOPE_SERIES, _SERIES, [at if at == _SERIES[1] else at + HOUR for at in _SERIES]),
}
"""The scope, and when the room is taken before and after it."""
_REQUESTS = {
    "single": {"GET": 5, "PATCH": 1},
    "occurrence": {"GET": 5, "PATCH": 1},
    "series": {"GET": 9, "PATCH": 2},
}
"""How many requests of each kind an act makes."""


def _moments() -> list[tuple[str, str, str, int]]:
    return [
        (name, when, method, number)
        for name, counts in _REQUESTS.items()
        for method, count in counts.items()
        for when in ("before", "after")
        for number in range(count)
    ]


async def _prepared(desk: WriteDesk, name: str) -> Booking:
    if name == "single":
        made = (await invite(desk)).booking
    else:
        await invite(desk, rrule="FREQ=DAILY;COUNT=4")
        await desk.mirror.compare()
        days = await desk.listed()
        other = {"start_at": _SERIES[1], "scope": SERIES_SCOPE_OCCURRENCE, "request_id": "m"}
        await desk.change(days[1].name, completion=WRITE_COMPLETION_ROOM_ANSWERED, **other)
        made = days[_NAMED]
    await desk.rig.rest()
    await desk.mirror.compare()
    return made


async def _act(desk: WriteDesk, made: Booking, name: str) -> Booking:
    start_at = made.time.start_time.ToDatetime(tzinfo=UTC) + HOUR
    more = {"scope": _ACTS[name][0], "completion": WRITE_COMPLETION_ROOM_ANSWERED}
    return (await desk.change(made.name, start_at=start_at, **more)).booking


async def _starts(desk: WriteDesk) -> list[datetime]:
    return [one.time.start_time.ToDatetime(tzinfo=UTC) for one in await desk.listed()]


async def _methods(desk: WriteDesk) -> list[str]:
    return [one["method"] for one in (await desk.rig.told("GET", desk.rig.path("/requests")))["requests"]]


@pytest.mark.parametrize("name", _ACTS)
async def test_change_makes_the_requests_that_are_killed_below(tmp_path: Path, name: str) -> None:
    """A request that nobody kills would be a moment that nobody looks at."""
    async with desk_set(tmp_path) as desk:
        made = await _prepared(desk, name)
        assert await _starts(desk) == _ACTS[name][1]
        earlier = Counter(await _methods(desk))
        await _act(desk, made, name)
        assert dict(Counter(await _methods(desk)) - earlier) == _REQUESTS[name]


@pytest.mark.parametrize(("name", "when", "method", "number"), _moments())
async def test_process_killed_at_any_request_leaves_a_change_that_is_brought_to_its_end(
    tmp_path: Path, name: str, when: str, method: str, number: int
) -> None:
    """Nobody sees the booking confirmed at the new time before it was pending there."""
    async with desk_set(tmp_path) as desk:
        made = await _prepared(desk, name)
        told_before = len(await desk.mirror.told())

        async def die() -> None:
            raise asyncio.CancelledError

        desk.mirror.moments.plan(when, method, die, skip=number)
        call = asyncio.ensure_future(_act(desk, made, name))
        await asyncio.wait([call], timeout=60)
        call.cancel()
        await desk.die()
        await asyncio.wait([call])
        assert not desk.mirror.moments.is_anything_planned, "it met its moment"
        await desk.live_again()
        if number % 2:
            await desk.resume()
        assert (await _act(desk, made, name)).state == Booking.STATE_CONFIRMED
        await desk.rig.rest()
        await desk.mirror.compare()
        assert await _starts(desk) == _ACTS[name][2]
        await desk.mirror.check_equal()
        told = [Booking.FromString(change.body) for change in (await desk.mirror.told())[told_before:]]
        at = _ACTS[name][2][0 if name == "single" else _NAMED]
        ours = [one for one in told if one.time.start_time.ToDatetime(tzinfo=UTC) == at]
        assert [one.state for one in ours][:1] == [Booking.STATE_PENDING]
        assert await desk.mirror.opened.fetch("SELECT 1 FROM intents WHERE kind = 'booking.write'") == []
