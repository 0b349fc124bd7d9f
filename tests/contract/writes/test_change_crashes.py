"""Changes and cancellations whose process dies, at any moment: what was there before, or what was asked for, and no third."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Booking
from sidecar.gen.ioffice.exchange.v1.common_pb2 import SERIES_SCOPE_FOLLOWING, SERIES_SCOPE_SERIES
from tests.contract.writes.test_creating import desk_set
from tests.support.write_desk import NINE, WriteDesk

pytestmark = pytest.mark.looptime

HOUR, WEEK = timedelta(hours=1), timedelta(days=7)
Act = Callable[[WriteDesk, list[Booking]], Awaitable[object]]
_MOVED, _CANCELLED, _NAMED = 1, 2, 4
"""Of a series' weeks: one that was moved by itself, one that was cancelled, and the one that is named."""


async def _move(desk: WriteDesk, made: list[Booking]) -> object:
    return await desk.change(made[0].name, start_at=NINE + HOUR)


async def _cancel(desk: WriteDesk, made: list[Booking]) -> object:
    return await desk.cancel(made[0].name, request_id="u1")


async def _move_following(desk: WriteDesk, made: list[Booking]) -> object:
    start_at = NINE + _NAMED * WEEK + HOUR
    return await desk.change(made[_NAMED].name, start_at=start_at, scope=SERIES_SCOPE_FOLLOWING)


async def _move_series(desk: WriteDesk, made: list[Booking]) -> object:
    return await desk.change(made[_NAMED].name, start_at=NINE + _NAMED * WEEK + HOUR, scope=SERIES_SCOPE_SERIES)


async def _cancel_following(desk: WriteDesk, made: list[Booking]) -> object:
    return await desk.cancel(made[_NAMED].name, scope=SERIES_SCOPE_FOLLOWING, request_id="u1")


def _weeks(*numbers: int, at: timedelta = timedelta()) -> list[datetime]:
    return [NINE + number * WEEK + at for number in numbers]


_SINGLE = [NINE]
_SERIES = [*_weeks(0), *_weeks(_MOVED, at=3 * HOUR), *_weeks(3, 4, 5, 6, 7)]
_ACTS: dict[str, tuple[Act, list[datetime], list[datetime]]] = {
    "move": (_move, _SINGLE, _weeks(0, at=HOUR)),
    "cancel": (_cancel, _SINGLE, []),
    "move_following": (
        _move_following,
        _SERIES,
        [*_weeks(0), *_weeks(_MOVED, at=3 * HOUR), *_weeks(3), *_weeks(4, 5, 6, 7, at=HOUR)],
    ),
    "move_series": (
        _move_series,
        _SERIES,
        [*_weeks(0, at=HOUR), *_weeks(_MOVED, at=3 * HOUR), *_weeks(3, 4, 5, 6, 7, at=HOUR)],
    ),
    "cancel_following": (
        _cancel_following,
        _SERIES,
        [*_weeks(0), *_weeks(_MOVED, at=3 * HOUR), *_weeks(3)],
    ),
}
"""What is asked for, and when the room is taken before and after it."""
_REQUESTS = {
    "move": {"GET": 4, "PATCH": 1},
    "cancel": {"GET": 2, "DELETE": 1},
    "move_following": {"GET": 11, "POST": 1, "PATCH": 2, "DELETE": 1},
    "move_series": {"GET": 9, "PATCH": 2, "DELETE": 1},
    "cancel_following": {"GET": 7, "PATCH": 2, "DELETE": 1},
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


async def _prepared(desk: WriteDesk, is_series: bool) -> list[Booking]:
    if not is_series:
        await desk.create()
        return await desk.listed()
    await desk.create(rrule="FREQ=WEEKLY;COUNT=8")
    made = await desk.listed()
    await desk.change(made[_MOVED].name, start_at=NINE + _MOVED * WEEK + 3 * HOUR, request_id="m")
    await desk.cancel(made[_CANCELLED].name, request_id="c")
    return made


async def _starts(desk: WriteDesk) -> list[datetime]:
    return [one.time.start_time.ToDatetime(tzinfo=UTC) for one in await desk.listed()]


@pytest.mark.parametrize("name", _ACTS)
async def test_act_makes_the_requests_that_are_killed_below(tmp_path: Path, name: str) -> None:
    """A request that nobody kills would be a moment that nobody looks at."""
    act, before, _ = _ACTS[name]
    async with desk_set(tmp_path) as desk:
        made = await _prepared(desk, before is _SERIES)
        earlier = Counter(await _methods(desk))
        await act(desk, made)
        assert dict(Counter(await _methods(desk)) - earlier) == _REQUESTS[name]


async def _methods(desk: WriteDesk) -> list[str]:
    found = (await desk.rig.told("GET", desk.rig.path("/requests")))["requests"]
    return [one["method"] for one in found]


@pytest.mark.parametrize(("name", "when", "method", "number"), _moments())
async def test_process_killed_at_any_request_leaves_what_was_or_what_was_asked_for(
    tmp_path: Path, name: str, when: str, method: str, number: int
) -> None:
    """The copy never shows a third, whatever is read in between; the same request ends it, and Exchange holds the same."""
    act, before, after = _ACTS[name]
    async with desk_set(tmp_path) as desk:
        made = await _prepared(desk, before is _SERIES)
        told_before = len(await desk.mirror.told())

        async def die() -> None:
            raise asyncio.CancelledError

        desk.mirror.moments.plan(when, method, die, skip=number)
        call = asyncio.ensure_future(act(desk, made))
        await asyncio.wait([call], timeout=60)
        call.cancel()
        await desk.die()
        await asyncio.wait([call])
        assert not desk.mirror.moments.is_anything_planned, "it met its moment"
        await desk.mirror.compare()
        shown = await _starts(desk)
        assert shown in (before, after)
        await desk.live_again()
        if number % 2:
            await desk.resume()
        await act(desk, made)
        assert await _starts(desk) == after
        await desk.mirror.check_equal()
        told = [Booking.FromString(change.body) for change in (await desk.mirror.told())[told_before:]]
        assert {one.time.start_time.ToDatetime(tzinfo=UTC) for one in told} <= {*before, *after}
        assert await desk.mirror.opened.fetch("SELECT 1 FROM intents WHERE kind = 'booking.write'") == []
