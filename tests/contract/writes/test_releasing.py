"""Rooms given back, against the emulator: free from now on, and nobody's meeting harmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sidecar.api.attendance import AttendanceCalls
from sidecar.api.times import time_of
from sidecar.errors import (
    BookingNotFound,
    BookingOver,
    EtagMismatch,
    GraphUnavailable,
    OutcomeUnknown,
    RequestIdReused,
    ServerDraining,
)
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Booking
from sidecar.gen.ioffice.exchange.v1.common_pb2 import WRITE_COMPLETION_SUBMITTED, WRITE_MODE_ORGANIZER
from sidecar.model.change import Cause
from tests.support.mirrored import RigClock
from tests.support.write_desk import NINE, WriteDesk, write_desk
from tests.unit.emulator.rig import START, rig

pytestmark = pytest.mark.looptime

ROLES = ["Calendars.ReadWrite"]
HALF_PAST = (NINE - START + timedelta(minutes=29, seconds=10)).total_seconds()
"""From the beginning of a test: the first booking has gone on for almost half an hour."""
CONFIRMED = ("UPSERTED", Booking.STATE_CONFIRMED, Cause.NONE)
RELEASED = ("REMOVED", Booking.STATE_CONFIRMED, Cause.RELEASED)


@dataclass(slots=True)
class Door:
    """A panel at the room's door."""

    desk: WriteDesk
    calls: AttendanceCalls

    async def release(self, name: str, **more: Any) -> pb.ReleaseBookingResponse:  # any field of the request
        """Give the room back."""
        request = pb.ReleaseBookingRequest(**{"name": name, "request_id": "r1", **more})
        return await self.calls.release_booking(request)

    async def meeting(self, **more: Any) -> Booking:  # Any: what the emulator's call takes
        """Have somebody book the room from nine to ten, and read it."""
        await self.desk.rig.book("2026-11-24T09:00:00", "2026-11-24T10:00:00", time_zone="UTC", **more)
        await self.desk.rig.rest()
        await self.desk.mirror.compare()
        return (await self.shown())[0]

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        await self.desk.mirror.advance(seconds)
        await self.desk.rig.sign_in()  # the token of before has run out

    async def shown(self) -> list[Booking]:
        """Return what the copy shows, by start."""
        rows = await self.desk.mirror.opened.fetch("SELECT body FROM bookings WHERE takes_room = 1 ORDER BY start_at")
        return [Booking.FromString(bytes(body)) for (body,) in rows]


@asynccontextmanager
async def door(folder: Path) -> AsyncIterator[Door]:
    """Set a door up; not a fixture, because virtual time begins with the test."""
    async with rig(roles=ROLES) as made, write_desk(made, folder) as desk:
        store = desk.mirror.opened.store
        yield Door(
            desk,
            AttendanceCalls(
                store=store, writing=desk.writing, writer=desk.writer, tokens=desk.tokens, clock=RigClock(made.clock)
            ),
        )


async def test_room_leaves_somebodys_meeting_which_goes_on_without_it(tmp_path: Path) -> None:
    """The organizer's copy stays as it is, but for the room's answer; the room's is gone, and watchers hear why."""
    async with door(tmp_path) as panel:
        meeting = await panel.meeting()
        answer = await panel.release(meeting.name, reason=pb.ReleaseBookingRequest.REASON_NO_SHOW)
        assert not answer.HasField("booking")
        assert answer.written_at_token
        assert (await panel.desk.told())[-1] == RELEASED
        assert await panel.desk.mirror.truth() == []
        (kept,) = await panel.desk.rig.truth(panel.desk.rig.ada)
        assert (kept["start"], kept["is_cancelled"]) == ("2026-11-24T09:00:00Z", False)


async def test_rooms_own_booking_under_way_ends_at_the_next_minute(tmp_path: Path) -> None:
    async with door(tmp_path) as panel:
        made = (await panel.desk.create()).booking
        await panel.wait(HALF_PAST)
        answer = await panel.release(made.name)
        end_at = NINE + timedelta(minutes=30)
        assert time_of(answer.booking.time.end_time) == end_at
        assert time_of(answer.booking.release_time) < end_at
        assert await panel.shown() == [answer.booking]
        (told,) = (await panel.desk.told())[2:]
        assert told == ("UPSERTED", Booking.STATE_CONFIRMED, Cause.NONE)
        await panel.desk.mirror.check_equal()


async def test_reading_the_room_again_changes_nothing_of_a_released_booking(tmp_path: Path) -> None:
    async with door(tmp_path) as panel:
        made = (await panel.desk.create()).booking
        await panel.wait(HALF_PAST)
        answer = await panel.release(made.name)
        assert (await panel.desk.mirror.compare()).changes_count == 0
        assert await panel.shown() == [answer.booking]


async def test_rooms_own_booking_that_has_not_begun_is_removed(tmp_path: Path) -> None:
    async with door(tmp_path) as panel:
        made = (await panel.desk.create()).booking
        answer = await panel.release(made.name)
        assert not answer.HasField("booking")
        assert (await panel.desk.told())[-1] == RELEASED
        await panel.desk.mirror.check_equal()
        assert await panel.shown() == []


async def test_occurrence_is_released_and_its_series_goes_on(tmp_path: Path) -> None:
    async with door(tmp_path) as panel:
        first = (await panel.desk.create(rrule="FREQ=DAILY;COUNT=3")).booking
        await panel.wait(HALF_PAST)
        answer = await panel.release(first.name)
        assert time_of(answer.booking.time.end_time) == NINE + timedelta(minutes=30)
        assert answer.booking.recurrence.series_id == first.recurrence.series_id
        assert len(await panel.shown()) == 3
        await panel.desk.mirror.check_equal()


async def test_same_request_releases_once_and_is_answered_alike(tmp_path: Path) -> None:
    """Ten taps are one release: later ones do not shorten what is left."""
    async with door(tmp_path) as panel:
        made = (await panel.desk.create()).booking
        await panel.wait(HALF_PAST)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(panel.release(made.name)) for _ in range(10)]
        told = await panel.desk.told()
        assert {call.result().booking.etag for call in calls} == {calls[0].result().booking.etag}
        assert (await panel.release(made.name)).booking == calls[0].result().booking
        assert await panel.desk.told() == told
        with pytest.raises(RequestIdReused):
            await panel.release(made.name, comment="something else")


async def test_organizer_is_told_once_though_an_answer_was_lost(tmp_path: Path) -> None:
    async with door(tmp_path) as panel:
        meeting = await panel.meeting()
        lost = {"match": {"method": "POST", "path": "/decline"}, "effect": {"drop": True, "after": True}}
        await panel.desk.rig.told("POST", "/control/faults", lost)
        await panel.release(meeting.name)
        assert (await panel.desk.told())[-1] == RELEASED
        assert await panel.desk.mirror.truth() == []


async def test_read_that_is_quicker_than_a_release_tells_it_as_one(tmp_path: Path) -> None:
    """Exchange has done it and answers nothing: whoever reads first says why, and asking again gets the answer."""
    async with door(tmp_path) as panel:
        meeting = await panel.meeting()
        lost = {"match": {"method": "POST", "path": "/decline", "count": 1}, "effect": {"drop": True, "after": True}}
        down = {"match": {"method": "POST", "path": "/decline", "count": 3}, "effect": {"status": 503}}
        for fault in (lost, down):
            await panel.desk.rig.told("POST", "/control/faults", fault)
        with pytest.raises(OutcomeUnknown):
            await panel.release(meeting.name)
        await panel.desk.mirror.compare()
        assert (await panel.desk.told())[-1] == RELEASED
        assert not (await panel.release(meeting.name)).HasField("booking")
        assert await panel.desk.resume() == []


async def test_release_is_finished_whenever_the_process_dies(tmp_path: Path) -> None:
    """Killed at any turn of the loop: the room is free in the end, and watchers were told once."""
    async with door(tmp_path) as panel:
        for turns in range(0, 120, 7):
            meeting = await panel.meeting()
            call = asyncio.ensure_future(panel.release(meeting.name, request_id=f"k{turns}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            await panel.desk.die()
            with suppress(OutcomeUnknown, ServerDraining):
                await call
            await panel.desk.live_again()
            await panel.desk.resume()
            await panel.release(meeting.name, request_id=f"k{turns}")
            assert await panel.shown() == []
            assert (await panel.desk.told())[-2:] == [CONFIRMED, RELEASED]
            assert await panel.desk.mirror.truth() == []


@pytest.mark.parametrize("etag", ["other", "!!!!", "AAAAAAAAAAAAAAAAAAAAAA"])
async def test_booking_of_another_version_is_not_released(tmp_path: Path, etag: str) -> None:
    async with door(tmp_path) as panel:
        made = (await panel.desk.create()).booking
        with pytest.raises(EtagMismatch):
            await panel.release(made.name, etag=etag)
        assert await panel.shown() == [made]


async def test_booking_of_the_version_that_is_meant_is_released(tmp_path: Path) -> None:
    async with door(tmp_path) as panel:
        made = (await panel.desk.create()).booking
        await panel.release(made.name, etag=made.etag)
        assert await panel.shown() == []


async def test_booking_that_was_moved_meanwhile_is_not_released_for_another_version(tmp_path: Path) -> None:
    """The copy does not know yet that it is tomorrow's: who means today's takes away nothing."""
    async with door(tmp_path) as panel:
        made = (await panel.desk.create()).booking
        event_id = (await panel.desk.write()).event_id or ""  # type: ignore[union-attr]  # it was written
        moved = {
            "start": {"dateTime": "2026-11-25T09:00:00", "timeZone": "UTC"},
            "end": {"dateTime": "2026-11-25T10:00:00", "timeZone": "UTC"},
        }
        assert (await panel.desk.rig.graph.patch(panel.desk.rig.event_url(event_id), json=moved)).status_code == 200
        with pytest.raises(EtagMismatch):
            await panel.release(made.name, etag=made.etag)
        assert [one["start"][:16] for one in await panel.desk.rig.truth()] == ["2026-11-25T09:00"]


async def test_booking_that_has_ended_is_not_released(tmp_path: Path) -> None:
    async with door(tmp_path) as panel:
        made = (await panel.desk.create()).booking
        await panel.wait(HALF_PAST + 3_600.0)
        with pytest.raises(BookingOver):
            await panel.release(made.name)


async def test_booking_that_is_gone_is_released_if_that_is_allowed(tmp_path: Path) -> None:
    async with door(tmp_path) as panel:
        made = (await panel.desk.create()).booking
        await panel.release(made.name)
        with pytest.raises(BookingNotFound):
            await panel.release(made.name, request_id="r2")
        assert not (await panel.release(made.name, request_id="r3", allow_missing=True)).HasField("booking")


async def test_released_booking_made_longer_again_is_not_released_any_more(tmp_path: Path) -> None:
    """Somebody took the room back, in Outlook."""
    async with door(tmp_path) as panel:
        made = (await panel.desk.create()).booking
        await panel.wait(HALF_PAST)
        await panel.release(made.name)
        (event,) = await panel.desk.mirror.opened.fetch("SELECT event_id FROM bookings")
        content = {"end": {"dateTime": "2026-11-24T11:00:00", "timeZone": "UTC"}}
        await panel.desk.rig.graph.patch(f"/users/{panel.desk.rig.room}/events/{event[0]}", json=content)
        await panel.desk.mirror.compare()
        (shown,) = await panel.shown()
        assert not shown.HasField("release_time")


@pytest.mark.parametrize("is_read", [False, True])
async def test_meeting_that_the_room_has_not_answered_is_declined_for_it(tmp_path: Path, is_read: bool) -> None:
    """The copy may know it by the organizer's id alone; the room's own item is found by its name."""
    async with door(tmp_path) as here:
        desk = here.desk
        await desk.rig.told(
            "PATCH", desk.rig.path(f"/mailboxes/{desk.rig.room}"), {"settings": {"AutomateProcessing": "AutoUpdate"}}
        )
        made = await desk.create(
            booking_organizer=pb.Person(email=desk.rig.ada),
            mode=WRITE_MODE_ORGANIZER,
            completion=WRITE_COMPLETION_SUBMITTED,
        )
        await desk.rig.rest()
        if is_read:
            await desk.mirror.compare()
        await here.release(made.booking.name)
        assert await desk.writing.driver.wait_idle(60.0)
        await desk.rig.rest()
        await here.wait(120.0)
        await desk.resume()
        assert await desk.rig.truth() == []
        assert len(await desk.rig.truth(desk.rig.ada)) == 1
        await desk.mirror.compare()
        assert await here.shown() == []


async def test_meeting_that_has_not_reached_the_room_cannot_be_released_yet(tmp_path: Path) -> None:
    """To say that it is released would be a promise that nobody keeps: the room may accept it later."""
    async with door(tmp_path) as here:
        desk = here.desk
        await desk.rig.told(
            "PATCH", desk.rig.path(f"/mailboxes/{desk.rig.room}"), {"settings": {"AutomateProcessing": "None"}}
        )
        made = await desk.create(
            booking_organizer=pb.Person(email=desk.rig.ada),
            mode=WRITE_MODE_ORGANIZER,
            completion=WRITE_COMPLETION_SUBMITTED,
        )
        with pytest.raises(GraphUnavailable):
            await here.release(made.booking.name)
        assert await desk.write("r1") is None
        assert len(await here.shown()) == 1
