"""Bookings in people's calendars, cancelled through the API, against the emulator: the meeting goes, the room is free."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from sidecar.errors import BookingNotOurs, EtagMismatch, OrganizerUnreachable, OutcomeUnknown
from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Booking
from sidecar.gen.ioffice.exchange.v1.common_pb2 import (
    SERIES_SCOPE_FOLLOWING,
    SERIES_SCOPE_OCCURRENCE,
    SERIES_SCOPE_SERIES,
)
from sidecar.model.change import Cause
from sidecar.model.write import WriteState
from tests.contract.writes.test_inviting import desk_set, invite, organizers_events, pass_time
from tests.support.write_desk import NINE

pytestmark = pytest.mark.looptime


async def test_cancelled_meeting_is_gone_from_both_calendars(tmp_path: Path) -> None:
    """Whoever was invited is told by Exchange; the answer is always the same."""
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        answer = await desk.cancel(made.name, comment="We meet elsewhere")
        assert answer.booking == Booking(name=made.name, state=Booking.STATE_CANCELLED)
        assert (await desk.told())[-1] == ("REMOVED", Booking.STATE_CONFIRMED, Cause.CANCELLED)
        assert await desk.mirror.copy() == []
        await desk.rig.rest()
        assert await organizers_events(desk.rig) == []
        assert [item for item in await desk.rig.truth() if not item["is_cancelled"]] == []
        await desk.mirror.compare()
        await desk.mirror.check_equal()
        assert (await desk.cancel(made.name, comment="We meet elsewhere")).booking == answer.booking
        assert (await invite(desk)).booking.state == Booking.STATE_CANCELLED  # the room keeps a struck-out entry


async def test_meeting_that_the_room_has_not_answered_is_cancelled_as_well(tmp_path: Path) -> None:
    async with desk_set(tmp_path, AutomateProcessing="None") as desk:
        made = (await invite(desk)).booking
        assert made.state == Booking.STATE_PENDING
        assert (await desk.cancel(made.name, validate_only=True)).booking.state == Booking.STATE_CANCELLED
        assert len(await organizers_events(desk.rig)) == 1
        assert await desk.writing.driver.wait_idle(60.0)
        await desk.cancel(made.name)
        assert await desk.resume() == [None]
        assert await organizers_events(desk.rig) == []
        assert await desk.mirror.copy() == []
        assert (await desk.told())[-1] == ("REMOVED", Booking.STATE_PENDING, Cause.CANCELLED)


async def test_declined_meeting_can_be_taken_out_of_the_persons_calendar(tmp_path: Path) -> None:
    async with desk_set(tmp_path, BookingType="Reserved") as desk:
        made = (await invite(desk)).booking
        assert made.state == Booking.STATE_DECLINED
        assert len(await organizers_events(desk.rig)) == 1
        await desk.cancel(made.name)
        assert await organizers_events(desk.rig) == []


@pytest.mark.parametrize(("scope", "left"), [(SERIES_SCOPE_OCCURRENCE, 4), (SERIES_SCOPE_SERIES, 0)])
async def test_series_loses_one_booking_or_all(tmp_path: Path, scope: int, left: int) -> None:
    async with desk_set(tmp_path) as desk:
        await invite(desk, rrule="FREQ=DAILY;COUNT=5")
        await desk.mirror.compare()
        third = (await desk.listed())[2]
        await desk.cancel(third.name, scope=scope)
        assert len(await desk.mirror.copy()) == left
        await desk.rig.rest()
        await desk.mirror.compare()
        assert len(await desk.mirror.copy()) == left
        await desk.mirror.check_equal()


async def test_rest_of_a_series_in_a_persons_calendar_cannot_be_cancelled(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await invite(desk, rrule="FREQ=DAILY;COUNT=5")
        await desk.mirror.compare()
        with pytest.raises(BookingNotOurs):
            await desk.cancel((await desk.listed())[2].name, scope=SERIES_SCOPE_FOLLOWING)


async def test_other_version_than_the_caller_knows_is_not_cancelled(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        with pytest.raises(EtagMismatch):
            await desk.cancel(made.name, etag="AAAAAAAAAAAAAAAAAAAAAA")
        await desk.cancel(made.name, etag=made.etag, request_id="c2")


async def test_organizer_out_of_reach_by_now_leaves_the_booking_as_it_is(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        await desk.rig.told("PATCH", desk.rig.path("/app"), {"access_policy": [desk.rig.room]})
        with pytest.raises(OrganizerUnreachable):
            await desk.cancel(made.name)
        assert len(await desk.mirror.copy()) == 1
        await desk.rig.told("PATCH", desk.rig.path("/app"), {"access_policy": None})
        await desk.cancel(made.name)
        assert await organizers_events(desk.rig) == []


@pytest.mark.parametrize("turns_count", range(0, 40, 3))
async def test_process_killed_at_any_turn_leaves_a_cancellation_that_is_brought_to_its_end(
    tmp_path: Path, turns_count: int
) -> None:
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        call = asyncio.create_task(desk.cancel(made.name))
        for _ in range(turns_count):
            await asyncio.sleep(0)
        call.cancel()
        await desk.die()
        await asyncio.wait([call])
        await desk.live_again()
        await desk.resume()
        await desk.cancel(made.name)
        assert await organizers_events(desk.rig) == []
        assert await desk.mirror.copy() == []


async def test_meeting_beyond_the_copy_is_cancelled_as_well(tmp_path: Path) -> None:
    async with desk_set(tmp_path, BookingWindowInDays=1_000) as desk:
        made = (await invite(desk, NINE + timedelta(days=600))).booking
        await desk.cancel(made.name)
        assert await organizers_events(desk.rig) == []


async def test_cancellation_that_cannot_be_made_ends_when_the_booking_is_over(tmp_path: Path) -> None:
    """Nobody goes on for ever."""
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        fault = {"match": {"method": "POST", "path": "/cancel", "count": 4}, "effect": {"status": 503}}
        await desk.rig.told("POST", "/control/faults", fault)
        with pytest.raises(OutcomeUnknown):
            await desk.cancel(made.name)
        await desk.rig.told("PATCH", desk.rig.path("/app"), {"access_policy": [desk.rig.room]})
        await pass_time(desk, 30 * 3_600.0)
        assert await desk.resume() == [None]
        write = await desk.write("c1")
        assert write is not None
        assert (write.state, write.payload) == (WriteState.FAILED, None)
