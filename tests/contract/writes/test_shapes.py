"""What kinds of bookings are made: series, whole days, days on end, and beyond the span of the copy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sidecar.api.times import time_of
from sidecar.errors import BookingNotFound, InvalidArgument, OutcomeUnknown, RoomConflict
from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Attendee, Booking, Person
from sidecar.model.privacy import Privacy, Visibility
from sidecar.model.tenant_settings import TenantSettings
from tests.contract.writes.test_creating import CONFIRMED, PENDING, desk_set
from tests.support.write_desk import NINE, WriteDesk
from tests.unit.emulator.rig import wire_event

pytestmark = pytest.mark.looptime

FAR = NINE + timedelta(days=900)
"""Beyond the copy."""


async def copy_of(desk: WriteDesk) -> list[Booking]:
    """Return what the copy holds, by start."""
    bodies = await desk.mirror.opened.fetch("SELECT body FROM bookings WHERE takes_room = 1 ORDER BY start_at")
    return [Booking.FromString(bytes(body)) for (body,) in bodies]


async def test_series_is_made_and_answered_with_its_first_booking(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        answer = await desk.create(rrule="FREQ=WEEKLY;BYDAY=TU,TH;COUNT=6")
        copy = await copy_of(desk)
        assert answer.booking == copy[0]
        assert len(copy) == 6
        assert len({booking.recurrence.series_id for booking in copy}) == 1
        assert await desk.told() == [CONFIRMED] * 6
        await desk.mirror.check_equal()


async def test_series_without_an_end_is_looked_at_as_far_as_the_copy_reaches(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await desk.create(rrule="FREQ=DAILY")
        assert len(await copy_of(desk)) > 300
        await desk.mirror.check_equal()


async def test_series_that_meets_others_is_refused_with_the_first_three_and_their_number(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        for number in (2, 4, 5, 7):
            await desk.create(NINE + timedelta(days=number), request_id=f"q{number}")
        with pytest.raises(RoomConflict) as caught:
            await desk.create(rrule="FREQ=DAILY;COUNT=10", request_id="series")
        told = caught.value.details
        assert told["conflicts_count"] == "4"
        assert [told[name] for name in ("start_time", "start_time_2", "start_time_3")] == [
            "2026-11-26T09:00:00Z",
            "2026-11-28T09:00:00Z",
            "2026-11-29T09:00:00Z",
        ]
        assert len(await copy_of(desk)) == 4


async def test_series_gives_way_as_a_whole_to_what_came_between(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:

        async def book() -> None:
            body = wire_event("2026-11-27T09:30:00", "2026-11-27T10:30:00")
            await desk.rig.graph.post(f"/users/{desk.rig.room}/events", json=body)

        desk.before("POST", book)
        with pytest.raises(RoomConflict):
            await desk.create(rrule="FREQ=DAILY;COUNT=10")
        assert [item["subject"] for item in await desk.rig.truth()] == ["Review"]
        assert await copy_of(desk) == []


async def test_series_keeps_its_time_of_day_when_the_clocks_change(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        start_at = datetime(2027, 3, 22, 8, tzinfo=UTC)  # nine in Berlin
        await desk.create(start_at, rrule="FREQ=WEEKLY;COUNT=2", booking_time_zone="Europe/Berlin")
        assert [time_of(booking.time.start_time).hour for booking in await copy_of(desk)] == [8, 7]


async def test_whole_days_lie_from_midnight_to_midnight_in_the_rooms_zone(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        midnight_at = datetime(2026, 11, 24, 23, tzinfo=UTC)  # in Berlin
        answer = await desk.create(midnight_at, hours=48, booking_all_day=True)
        assert answer.booking.all_day
        assert (time_of(answer.booking.time.start_time), time_of(answer.booking.time.end_time)) == (
            midnight_at,
            midnight_at + timedelta(days=2),
        )
        await desk.mirror.check_equal()


async def test_whole_days_that_begin_at_another_hour_are_refused(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        with pytest.raises(InvalidArgument):
            await desk.create(datetime(2026, 11, 25, tzinfo=UTC), hours=24, booking_all_day=True)


async def test_booking_of_several_days_is_one_booking(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        answer = await desk.create(hours=60)
        assert time_of(answer.booking.time.end_time) == NINE + timedelta(hours=60)
        assert await desk.told() == [PENDING, CONFIRMED]


async def test_booking_that_was_made_and_cannot_be_read_is_never_called_refused(tmp_path: Path) -> None:
    """Whoever sends it again later gets the answer."""
    async with desk_set(tmp_path) as desk:
        denied = {
            "match": {"method": "GET", "path": "/events/"},
            "effect": {"status": 403, "code": "ErrorAccessDenied"},
        }
        await desk.rig.told("POST", "/control/faults", denied)
        with pytest.raises(OutcomeUnknown) as caught:
            await desk.create(FAR)
        assert caught.value.details == {"cause": "MAILBOX_ACCESS_DENIED"}
        assert (await desk.create(FAR)).booking.state == Booking.STATE_CONFIRMED


async def test_suspended_tenants_booking_beyond_the_copy_is_not_asked_for(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await desk.create(FAR)
        await desk.mirror.opened.store.lifecycle.suspend(desk.mirror.tenant.tenant_id, reason="")
        desk.mirror.requests.clear()
        with pytest.raises(OutcomeUnknown):
            await desk.create(FAR)
        assert desk.mirror.requests == []


@pytest.mark.parametrize("rrule", ["", "FREQ=WEEKLY;COUNT=3"])
async def test_booking_beyond_the_copy_is_made_and_answered_and_comes_into_the_copy_with_its_day(
    tmp_path: Path, rrule: str
) -> None:
    async with desk_set(tmp_path) as desk:
        at = NINE + timedelta(days=900)
        answer = await desk.create(at, rrule=rrule)
        assert (answer.booking.state, time_of(answer.booking.time.start_time)) == (Booking.STATE_CONFIRMED, at)
        assert await desk.told() == []
        again = await desk.create(at, rrule=rrule)
        assert again.booking == answer.booking
        with pytest.raises(RoomConflict):
            await desk.create(at, request_id="q2")
        await desk.mirror.advance(timedelta(days=850).total_seconds())
        await desk.rig.sign_in()
        await desk.mirror.compare()
        assert answer.booking.name in {booking.name for booking in await copy_of(desk)}


async def test_repetition_after_somebody_removed_the_booking_says_so(tmp_path: Path) -> None:
    """The write is done, and what it made is gone: it is neither made again nor told as if it were there."""
    async with desk_set(tmp_path) as desk:
        await desk.create()
        (item,) = await desk.rig.truth()
        (event,) = await desk.rig.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
        assert (await desk.rig.graph.delete(desk.rig.event_url(event["id"]))).status_code == 204, item
        await desk.mirror.compare()
        with pytest.raises(BookingNotFound):
            await desk.create()
        assert await desk.rig.truth() == []


async def test_people_are_invited_with_all_that_was_said(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        invited = Attendee(person=Person(email=desk.rig.ada), optional_attendee=True)
        answer = await desk.create(
            booking_attendees=[invited], booking_is_private=True, booking_body_text="Bring the plans."
        )
        assert answer.booking.is_private
        await desk.rig.rest()
        (theirs,) = await desk.rig.truth(desk.rig.ada)
        assert theirs["subject"] == "Design review"
        (event,) = await desk.rig.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
        assert event["attendees"][0]["type"] == "optional"
        assert "Bring the plans." in event["body"]["content"]


async def test_link_for_joining_is_asked_for(tmp_path: Path) -> None:
    """Whether a room's own calendar gets one is Exchange's to say; the booking is made in any case."""
    async with desk_set(tmp_path) as desk:
        answer = await desk.create(booking_online_meeting=True)
        assert answer.booking.state == Booking.STATE_CONFIRMED


async def test_room_that_was_never_read_can_be_booked(tmp_path: Path) -> None:
    """Exchange itself is asked whether it is free, and the first read of the room finds the booking."""
    async with desk_set(tmp_path) as desk:
        await desk.mirror.opened.execute(
            "UPDATE rooms SET fresh_as_of_at = NULL, horizon_start_at = NULL, horizon_end_at = NULL"
        )
        answer = await desk.create()
        assert answer.booking.state == Booking.STATE_CONFIRMED
        with pytest.raises(RoomConflict):
            await desk.create(request_id="q2")
        assert await copy_of(desk) == []
        await desk.mirror.compare()
        assert [booking.name for booking in await copy_of(desk)] == [answer.booking.name]


async def test_room_of_a_tenant_that_hides_subjects_hides_those_of_its_own_bookings_too(tmp_path: Path) -> None:
    """What comes back through the copy passes the same door as everything else."""
    async with desk_set(tmp_path) as desk:
        tenants = desk.mirror.opened.store.tenants
        masked = TenantSettings(privacy=Privacy(subject=Visibility.MASKED))
        await tenants.update(desk.mirror.tenant.tenant_id, lambda name, _: (name, masked), etag="")
        await desk.mirror.compare()
        answer = await desk.create()
        assert (answer.booking.subject, answer.booking.subject_state) == ("", Booking.SUBJECT_STATE_MASKED)
        assert [item["subject"] for item in await desk.rig.truth()] == ["Design review"]
