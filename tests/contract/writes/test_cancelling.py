"""Cancellations, against the emulator: the room is free, and whoever has to hear of it does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sidecar.errors import BookingNotFound, EtagMismatch, OutcomeUnknown
from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Attendee, Booking, Person
from sidecar.model.change import Cause
from sidecar.model.write import WriteState
from tests.contract.writes.test_creating import CONFIRMED, PENDING, desk_set
from tests.support.write_desk import WriteDesk

pytestmark = pytest.mark.looptime


async def _asked(desk: WriteDesk) -> list[str]:
    found = (await desk.rig.told("GET", desk.rig.path("/requests")))["requests"]
    last = [f"{one['method']} {one['path'].rsplit('/', 1)[-1]}" for one in found if one["method"] != "GET"]
    return [one if one.startswith("POST") else one.split()[0] for one in last if "token" not in one]


async def _theirs(desk: WriteDesk) -> Booking:
    """Have a person book the room."""
    await desk.rig.book("2026-11-24T09:00:00", "2026-11-24T10:00:00", time_zone="UTC")
    await desk.rig.rest()
    await desk.mirror.compare()
    (booking,) = await desk.listed()
    return booking


async def test_cancelled_booking_is_out_of_the_calendar(tmp_path: Path) -> None:
    """The watch tells that it was cancelled; the answer is always the same."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        answer = await desk.cancel(made.name)
        assert answer.booking == Booking(name=made.name, state=Booking.STATE_CANCELLED)
        assert await desk.rig.truth() == []
        assert (await desk.told())[2:] == [("REMOVED", Booking.STATE_CONFIRMED, Cause.CANCELLED)]
        assert (await desk.cancel(made.name)).booking == answer.booking
        await desk.mirror.check_equal()


async def test_same_cancellation_ten_times_at_once_is_made_once(tmp_path: Path) -> None:
    """However they meet."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(desk.cancel(made.name)) for _ in range(10)]
        assert {call.result().booking.state for call in calls} == {Booking.STATE_CANCELLED}
        assert (await _asked(desk))[1:] == ["DELETE"]


async def test_guests_of_a_cancelled_booking_are_told_why(tmp_path: Path) -> None:
    """They were mailed when it was made."""
    async with desk_set(tmp_path) as desk:
        guest = Attendee(person=Person(email=desk.rig.ada, display_name="Ada"))
        made = (await desk.create(booking_attendees=[guest])).booking
        await desk.rig.rest()
        await desk.cancel(made.name, comment="Flooded")
        await desk.rig.rest()
        assert (await _asked(desk))[1:] == ["POST cancel"]
        assert [one for one in await desk.rig.truth(desk.rig.ada) if not one["is_cancelled"]] == []


async def test_for_somebodys_meeting_the_room_declines_and_the_organizer_keeps_it(tmp_path: Path) -> None:
    """The organizer's copy says what the room answered."""
    async with desk_set(tmp_path) as desk:
        theirs = await _theirs(desk)
        answer = await desk.cancel(theirs.name, comment="Flooded")
        await desk.rig.rest()
        assert answer.booking.state == Booking.STATE_CANCELLED
        assert await desk.rig.truth() == []
        (kept,) = await desk.rig.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z", mailbox=desk.rig.ada)
        answers = [one["status"]["response"] for one in kept["attendees"] if one["type"] == "resource"]
        assert answers == ["declined"]
        await desk.mirror.compare()
        await desk.mirror.check_equal()


async def test_booking_that_is_not_there_is_missing_unless_that_is_allowed(tmp_path: Path) -> None:
    """In the copy, or in Exchange though the copy does not know yet."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        event_id = (await desk.write()).event_id  # type: ignore[union-attr]  # it was written
        assert (await desk.rig.graph.delete(desk.rig.event_url(event_id or ""))).status_code == 204
        with pytest.raises(BookingNotFound):
            await desk.cancel(made.name)
        assert await desk.write("c1") is None
        for name, request_id in ((made.name, "c2"), (made.name[:-4] + "0000", "c3")):
            for is_rehearsal in (True, False, False):
                answer = await desk.cancel(name, request_id=request_id, allow_missing=True, validate_only=is_rehearsal)
                assert not answer.HasField("booking")


async def test_stale_version_is_not_cancelled(tmp_path: Path) -> None:
    """The caller has to read it again."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        changed = (await desk.change(made.name, booking_subject="Kick-off")).booking
        with pytest.raises(EtagMismatch):
            await desk.cancel(made.name, etag=made.etag)
        assert len(await desk.rig.truth()) == 1
        await desk.cancel(made.name, etag=changed.etag, request_id="c2")
        assert await desk.rig.truth() == []


async def test_dry_run_cancels_nothing(tmp_path: Path) -> None:
    """It only says that it could be done."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        assert (await desk.cancel(made.name, validate_only=True)).booking.state == Booking.STATE_CANCELLED
        assert len(await desk.rig.truth()) == 1
        assert await desk.told() == [PENDING, CONFIRMED]


@pytest.mark.parametrize("is_done", [False, True])
async def test_cancellation_of_a_killed_process_is_brought_to_its_end(tmp_path: Path, is_done: bool) -> None:
    """Whether Exchange had carried it out before the process died, or not."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        effect = {"stall_s": 5.0} if is_done else {"delay_s": 5.0, "drop": True}
        await desk.rig.told("POST", "/control/faults", {"match": {"method": "DELETE"}, "effect": effect})
        async with asyncio.TaskGroup() as group:
            call = group.create_task(_unknown(desk, made))
            await asyncio.sleep(2.0)
            await desk.die()
        assert call.result()
        await desk.live_again()
        await desk.resume()
        write = await desk.write("c1")
        assert write is not None
        assert write.state is WriteState.DONE
        assert await desk.rig.truth() == []
        assert (await desk.cancel(made.name, etag=made.etag)).booking.state == Booking.STATE_CANCELLED
        await desk.mirror.check_equal()


async def _unknown(desk: WriteDesk, made: Booking) -> bool:
    with pytest.raises(OutcomeUnknown):
        await desk.cancel(made.name, etag=made.etag)
    return True
