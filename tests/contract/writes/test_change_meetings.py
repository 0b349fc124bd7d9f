"""Changes of bookings that meet other writes half-way: never two bookings for one hour, and nothing told that is not so."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from sidecar.errors import GraphUnavailable, InvalidArgument, OutcomeUnknown, RoomConflict, SidecarError
from sidecar.gen.ioffice.exchange.v1.common_pb2 import SERIES_SCOPE_FOLLOWING, SERIES_SCOPE_SERIES
from tests.contract.writes.test_creating import desk_set
from tests.support.write_desk import NINE, WriteDesk

pytestmark = pytest.mark.looptime

HOUR, WEEK = timedelta(hours=1), timedelta(days=7)


async def _book_by_hand(desk: WriteDesk, start: str, end: str, **more: object) -> None:
    body = {"subject": "Theirs", "start": _at(start), "end": _at(end), **more}
    assert (await desk.rig.graph.post(f"/users/{desk.rig.room}/events", json=body)).status_code == 201


def _at(clock: str) -> dict[str, str]:
    return {"dateTime": f"2026-11-24T{clock}:00", "timeZone": "UTC"}


async def _spans(desk: WriteDesk) -> list[tuple[str, str, str]]:
    return sorted((one["start"][:16], one["end"][:16], one["subject"]) for one in await desk.rig.truth())


async def _overlaps(desk: WriteDesk) -> list[object]:
    spans = await _spans(desk)
    return [(one, other) for at, one in enumerate(spans) for other in spans[at + 1 :] if other[0] < one[1]]


async def test_change_that_nobody_began_for_long_is_not_made_any_more(tmp_path: Path) -> None:
    """The process died before it had decided anything, and came back when whoever wanted it had gone on without it."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        await desk.rig.told("POST", "/control/faults", {"match": {"method": "GET"}, "effect": {"delay_s": 5.0}})
        async with asyncio.TaskGroup() as group:
            call = group.create_task(_try_change(desk, made.name, "u1", start_at=NINE + HOUR))
            await asyncio.sleep(2.0)
            await desk.die()
        assert isinstance(call.result(), OutcomeUnknown)
        await desk.mirror.advance(601)
        await desk.live_again()
        with pytest.raises(GraphUnavailable):
            await desk.resume()
        assert await desk.write("u1") is None
        assert await _spans(desk) == [("2026-11-24T09:00", "2026-11-24T10:00", "Design review")]


async def _try_change(desk: WriteDesk, name: str, request_id: str, **more: object) -> SidecarError | None:
    try:
        await desk.change(name, request_id=request_id, **more)
    except SidecarError as error:
        return error
    return None


async def test_changes_of_one_booking_take_turns(tmp_path: Path) -> None:
    """What the first one takes back is not what the second one has found."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        await desk.rig.told("POST", "/control/faults", {"match": {"method": "PATCH"}, "effect": {"stall_s": 4.0}})
        async with asyncio.TaskGroup() as group:
            first = group.create_task(_try_change(desk, made.name, "u1", start_at=NINE + HOUR))
            await asyncio.sleep(2.0)
            second = group.create_task(_try_change(desk, made.name, "u2", start_at=NINE + HOUR, hours=2.0))
            await asyncio.sleep(1.0)
            await _book_by_hand(desk, "10:30", "11:00")
        assert isinstance(first.result(), RoomConflict)
        assert isinstance(second.result(), RoomConflict)
        assert await _overlaps(desk) == []
        assert ("2026-11-24T09:00", "2026-11-24T10:00", "Design review") in await _spans(desk)
        await desk.mirror.compare()
        await desk.mirror.check_equal()


async def test_change_that_gives_way_takes_nothing_from_a_later_change(tmp_path: Path) -> None:
    """The booking was moved on meanwhile, and its first hour is somebody else's by now: it stays where it was moved to."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        url = desk.rig.event_url((await desk.write()).event_id or "")  # type: ignore[union-attr]  # it was written

        async def meanwhile() -> None:
            await _book_by_hand(desk, "10:30", "11:00")
            moved = {"start": _at("12:00"), "end": _at("13:00")}
            assert (await desk.rig.graph.patch(url, json=moved)).status_code == 200
            await desk.create(request_id="q2", booking_subject="Next")

        desk.before("GET", meanwhile, skip=2)
        first = await _try_change(desk, made.name, "u1", start_at=NINE + HOUR)
        assert isinstance(first, RoomConflict)
        assert await _overlaps(desk) == []
        assert ("2026-11-24T12:00", "2026-11-24T13:00", "Design review") in await _spans(desk)
        await desk.mirror.compare()
        await desk.mirror.check_equal()


@pytest.mark.parametrize("has_etag", [False, True])
async def test_lost_answer_and_another_change_do_not_spare_the_look(tmp_path: Path, has_etag: bool) -> None:
    """Exchange has moved the booking, nobody heard of it, and another change bears another mark."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        fault = {"match": {"method": "PATCH"}, "effect": {"drop": True, "after": True}}
        await desk.rig.told("POST", "/control/faults", fault)

        async def meanwhile() -> None:
            await _book_by_hand(desk, "10:30", "11:00")
            await _try_change(desk, made.name, "u2", booking_subject="Kick-off")

        desk.before("PATCH", meanwhile, skip=1)
        etag = made.etag if has_etag else ""
        await _try_change(desk, made.name, "u1", start_at=NINE + HOUR, booking_etag=etag)
        assert await _overlaps(desk) == []
        await desk.mirror.compare()
        await desk.mirror.check_equal()


async def test_moved_day_of_a_series_loses_its_hour_to_nobody(tmp_path: Path) -> None:
    """While Exchange has forgotten that the day was moved, its hour looks free."""
    async with desk_set(tmp_path) as desk:
        await desk.create(rrule="FREQ=WEEKLY;COUNT=4")
        made = await desk.listed()
        await desk.change(made[1].name, start_at=NINE + WEEK + 5 * HOUR, request_id="u0")
        taken: list[object] = []

        async def meanwhile() -> None:
            with suppress(RoomConflict, OutcomeUnknown):
                taken.append(await desk.create(NINE + WEEK + 5 * HOUR, request_id="q2", booking_subject="Next"))

        desk.after("PATCH", meanwhile)
        await _try_change(desk, made[0].name, "u1", start_at=NINE + HOUR, scope=SERIES_SCOPE_SERIES)
        assert await _overlaps(desk) == []
        await desk.mirror.check_equal()


async def test_look_from_before_a_series_was_put_right_is_made_again(tmp_path: Path) -> None:
    """Exchange has answered it while the day was forgotten; by the time it is judged the change has ended."""
    async with desk_set(tmp_path) as desk:
        await desk.create(rrule="FREQ=WEEKLY;COUNT=4")
        made = await desk.listed()
        at = NINE + WEEK + 5 * HOUR
        await desk.change(made[1].name, start_at=at, request_id="u0")
        await asyncio.sleep(1.0)  # else both are made in the same instant, and the order of ids decides
        answered, ended = asyncio.Event(), asyncio.Event()
        booking: list[asyncio.Task[object]] = []

        async def hold_the_answer() -> None:
            answered.set()
            await ended.wait()

        async def meanwhile() -> None:
            desk.mirror.moments.plan("after", "GET", hold_the_answer, skip=1)
            booking.append(asyncio.create_task(desk.create(at, request_id="q2", booking_subject="Next")))
            await answered.wait()

        desk.after("PATCH", meanwhile)
        await desk.change(made[0].name, start_at=NINE + HOUR, scope=SERIES_SCOPE_SERIES)
        ended.set()
        with pytest.raises(RoomConflict):
            await booking[0]
        assert await _overlaps(desk) == []


async def test_tail_of_a_series_gives_way_to_whom_only_the_whole_series_was_before(tmp_path: Path) -> None:
    """Somebody booked after the series and looks after its cut: the tail is younger than his booking."""
    async with desk_set(tmp_path) as desk:
        recurrence = {
            "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": ["tuesday"]},
            "range": {"type": "numbered", "startDate": "2026-11-24", "numberOfOccurrences": 4},
        }
        outcomes: list[SidecarError | None] = []

        async def meanwhile() -> None:
            await asyncio.sleep(2.0)
            await desk.mirror.compare()
            named = [one for one in await desk.listed() if one.HasField("recurrence")][1]
            outcomes.append(
                await _try_change(desk, named.name, "u1", booking_subject="Tail", scope=SERIES_SCOPE_FOLLOWING)
            )

        async def just_before() -> None:
            await _book_by_hand(desk, "09:00", "10:00", recurrence=recurrence)
            await asyncio.sleep(2.0)

        desk.before("POST", just_before)
        desk.after("POST", meanwhile)
        with suppress(RoomConflict):
            await desk.create(NINE + WEEK, request_id="q2", booking_subject="Next")
        assert outcomes
        assert await _overlaps(desk) == []


async def test_series_is_not_made_to_overlap_itself(tmp_path: Path) -> None:
    """As a new one is refused whose booking begins before the one before it has ended."""
    async with desk_set(tmp_path) as desk:
        await desk.create(rrule="FREQ=DAILY;COUNT=4")
        made = await desk.listed()
        with pytest.raises(InvalidArgument):
            await desk.change(made[0].name, start_at=NINE, hours=26.0, scope=SERIES_SCOPE_SERIES)
        with pytest.raises(InvalidArgument):
            await desk.change(
                made[0].name,
                start_at=NINE,
                hours=26.0,
                scope=SERIES_SCOPE_SERIES,
                rrule="FREQ=DAILY;COUNT=3",
                request_id="u2",
            )
        assert await _overlaps(desk) == []
