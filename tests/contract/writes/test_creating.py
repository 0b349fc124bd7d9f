"""Bookings made in the room's own calendar, against the emulator: one event, one answer, and never two in one hour."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from google.protobuf.duration_pb2 import Duration

from sidecar.api.times import time_of
from sidecar.errors import (
    BookingNotFound,
    GraphUnavailable,
    InvalidArgument,
    OutcomeUnknown,
    RequestIdReused,
    RoomConflict,
    TenantSuspended,
)
from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Booking
from sidecar.gen.ioffice.exchange.v1.common_pb2 import WRITE_COMPLETION_SUBMITTED
from sidecar.graph.wire_writes import create_event_call, event_json, find_event_call
from sidecar.model.change import Cause
from sidecar.model.tenant_settings import TenantSettings
from sidecar.model.write import WriteMode, WriteState
from sidecar.writes.creator import CreateOrder
from tests.support.builders import TENANT
from tests.support.stores import make_vault
from tests.support.write_desk import NINE, WriteDesk, write_desk
from tests.unit.emulator.rig import rig

pytestmark = pytest.mark.looptime

ROLES = ["Calendars.ReadWrite"]
PENDING = ("UPSERTED", Booking.STATE_PENDING, Cause.NONE)
CONFIRMED = ("UPSERTED", Booking.STATE_CONFIRMED, Cause.NONE)
LOST_ANSWER = {"match": {"method": "POST", "path": "/events"}, "effect": {"drop": True, "after": True}}


@asynccontextmanager
async def desk_set(folder: Path) -> AsyncIterator[WriteDesk]:
    """Set a desk up; not a fixture, because virtual time begins with the test."""
    async with rig(roles=ROLES) as made, write_desk(made, folder) as desk:
        yield desk


async def test_booking_is_confirmed_and_watchers_saw_it_pending_first(tmp_path: Path) -> None:
    """It stands in the room's calendar, in the copy, and in the answer."""
    async with desk_set(tmp_path) as desk:
        answer = await desk.create()
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert answer.booking.origin == Booking.ORIGIN_API
        assert answer.booking.subject == "Design review"
        assert await desk.told() == [PENDING, CONFIRMED]
        assert len(await desk.rig.truth()) == 1
        await desk.mirror.check_equal()


async def test_same_request_ten_times_at_once_makes_one_event_and_one_answer(tmp_path: Path) -> None:
    """However they meet."""
    async with desk_set(tmp_path) as desk:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(desk.create()) for _ in range(10)]
        again = await desk.create()
        assert {call.result().booking.name for call in calls} == {again.booking.name}
        assert len(await desk.rig.truth()) == 1
        assert await desk.told() == [PENDING, CONFIRMED]


async def test_other_contents_under_the_same_request_id_are_refused(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await desk.create()
        with pytest.raises(RequestIdReused):
            await desk.create(booking_subject="Something else")


async def test_room_that_is_taken_is_refused_with_the_others_window_and_nothing_else(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await desk.rig.book("2026-11-24T09:30:00", "2026-11-24T10:30:00", time_zone="UTC", subject="Secret plans")
        await desk.rig.rest()
        with pytest.raises(RoomConflict) as caught:
            await desk.create()
        assert caught.value.details == {
            "conflicts_count": "1",
            "start_time": "2026-11-24T09:30:00Z",
            "end_time": "2026-11-24T10:30:00Z",
        }
        assert len(await desk.rig.truth()) == 1
        with pytest.raises(RoomConflict):
            await desk.create()


async def test_bookings_that_touch_are_no_conflict(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await desk.create()
        await desk.create(NINE + timedelta(hours=1), request_id="q2")
        await desk.create(NINE - timedelta(hours=1), request_id="q3")
        assert len(await desk.rig.truth()) == 3


async def test_lost_answer_of_exchange_makes_no_second_event(tmp_path: Path) -> None:
    """The request is sent again, and Exchange knows it again."""
    async with desk_set(tmp_path) as desk:
        await desk.rig.told("POST", "/control/faults", LOST_ANSWER)
        answer = await desk.create()
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert len(await desk.rig.truth()) == 1


async def test_exchange_that_answers_nothing_leaves_the_outcome_unknown_and_asking_again_resolves_it(
    tmp_path: Path,
) -> None:
    async with desk_set(tmp_path) as desk:
        fault = {"match": {"method": "POST", "path": "/events", "count": 4}, "effect": {"drop": True, "after": True}}
        await desk.rig.told("POST", "/control/faults", fault)
        with pytest.raises(OutcomeUnknown):
            await desk.create()
        assert await desk.told() == []
        answer = await desk.create()
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert len(await desk.rig.truth()) == 1


async def test_write_left_unknown_is_brought_to_its_end_without_the_caller(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        fault = {"match": {"method": "POST", "path": "/events", "count": 4}, "effect": {"drop": True, "after": True}}
        await desk.rig.told("POST", "/control/faults", fault)
        with pytest.raises(OutcomeUnknown):
            await desk.create()
        assert await desk.resume() == [None]
        write = await desk.write()
        assert write is not None
        assert (write.state, write.payload) == (WriteState.DONE, None)
        assert await desk.told() == [PENDING, CONFIRMED]


async def test_two_deployments_that_know_nothing_of_each_other_never_both_get_the_room(tmp_path: Path) -> None:
    """Exchange's order of making decides, and both see it."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    async with (
        rig(roles=ROLES) as made,
        write_desk(made, folders[0]) as one,
        write_desk(made, folders[1]) as other,
    ):
        for number in range(10):
            at = NINE + timedelta(hours=number)
            results = await asyncio.gather(
                one.create(at, request_id=f"a{number}"),
                other.create(at, request_id=f"b{number}"),
                return_exceptions=True,
            )
            assert sum(not isinstance(result, BaseException) for result in results) == 1, results
            assert all(isinstance(result, RoomConflict) for result in results if isinstance(result, BaseException))
        assert len(await made.truth()) == 10


async def test_caller_that_hangs_up_changes_nothing(tmp_path: Path) -> None:
    """What was begun is brought to its end."""
    async with desk_set(tmp_path) as desk:
        call = asyncio.create_task(desk.create())
        for _ in range(1_000):
            if await desk.write() is not None:
                break
        call.cancel()
        await asyncio.wait([call])
        assert await desk.writing.driver.wait_idle(60.0)
        assert await desk.told() == [PENDING, CONFIRMED]


async def test_annotations_live_beside_the_event_and_come_back_with_every_read(tmp_path: Path) -> None:
    """A copy that is built anew has them, too."""
    async with desk_set(tmp_path) as desk:
        answer = await desk.create(booking_annotations={"order": "4711", "panel/1": "grün"})
        assert dict(answer.booking.annotations) == {"order": "4711", "panel/1": "grün"}
        await desk.mirror.opened.execute("DELETE FROM bookings")
        await desk.mirror.compare()
        found = await desk.writer.told(await desk.ended(), desk.mirror.room.tenant_id, desk.mirror.room.room_id)
        rebuilt = Booking.FromString(found)
        rebuilt.revision = answer.booking.revision
        assert rebuilt == answer.booking


async def test_annotations_of_a_series_are_those_of_all_its_bookings(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await desk.create(rrule="FREQ=DAILY;COUNT=3", booking_annotations={"order": "4711"})
        bodies = await desk.mirror.opened.fetch("SELECT body FROM bookings")
        assert [dict(Booking.FromString(body).annotations) for (body,) in bodies] == [{"order": "4711"}] * 3


async def unanswered(desk: WriteDesk, *, is_done: bool) -> None:
    """Have Exchange not answer a creation, so that the outcome is not known."""
    fault = {"match": {"method": "POST", "path": "/events", "count": 4}, "effect": {"drop": True, "after": is_done}}
    await desk.rig.told("POST", "/control/faults", fault)
    with pytest.raises(OutcomeUnknown):
        await desk.create()


async def test_booking_that_exchange_did_not_take_for_long_is_not_made_any_more(tmp_path: Path) -> None:
    """Whoever wanted it has gone on without it; asking again begins anew."""
    async with desk_set(tmp_path) as desk:
        await unanswered(desk, is_done=False)
        await desk.mirror.advance(601)
        with pytest.raises(GraphUnavailable):
            await desk.resume()
        assert await desk.write() is None
        assert await desk.rig.truth() == []
        assert (await desk.create()).booking.state == Booking.STATE_CONFIRMED


async def test_booking_that_exchange_took_long_ago_is_found_and_settled(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await unanswered(desk, is_done=True)
        await desk.mirror.advance(601)
        assert await desk.resume() == [None]
        assert await desk.told() == [PENDING, CONFIRMED]


async def test_request_that_exchange_carries_out_late_is_waited_for(tmp_path: Path) -> None:
    """Nothing is sent shortly before the booking is given up, so what is on its way then has arrived, and is found."""
    async with desk_set(tmp_path) as desk:
        late = []

        async def lose() -> None:
            write = await desk.write()
            assert write is not None
            assert write.payload is not None
            event = event_json(CreateOrder.decode(write.payload).content)
            late.append(create_event_call(desk.rig.room, event, transaction_id=write.transaction_id))

        desk.before("POST", lose)
        await unanswered(desk, is_done=False)
        await desk.mirror.advance(590)
        with pytest.raises(OutcomeUnknown):
            await desk.resume()
        headers = {"content-type": "application/json"}
        made = await desk.rig.graph.post(f"/users/{desk.rig.room}/events", content=late[0].content, headers=headers)
        assert made.status_code == 201, made.text
        await desk.mirror.advance(15)
        assert await desk.resume() == [None]
        assert await desk.told() == [PENDING, CONFIRMED]


async def test_booking_that_exchange_shows_on_a_later_page_is_found(tmp_path: Path) -> None:
    """Searches answer with empty pages that have a next one."""
    async with desk_set(tmp_path) as desk:
        await unanswered(desk, is_done=True)
        await desk.mirror.advance(601)
        write = await desk.write()
        assert write is not None
        call = find_event_call(desk.rig.room, transaction_id=write.transaction_id)
        body = json.dumps({"value": [], "@odata.nextLink": f"https://graph.microsoft.com/v1.0{call.path}"})
        empty = {"match": {"path_regex": "filter="}, "effect": {"status": 200, "body": body}}
        await desk.rig.told("POST", "/control/faults", empty)
        assert await desk.resume() == [None]
        assert await desk.told() == [PENDING, CONFIRMED]


async def test_booking_whose_transaction_exchange_knows_but_does_not_show_yet_is_not_given_up(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await unanswered(desk, is_done=True)
        known = {"status": 409, "code": "ErrorDuplicateTransactionId"}
        await desk.rig.told(
            "POST", "/control/faults", {"match": {"method": "POST", "path": "/events"}, "effect": known}
        )
        empty = {"match": {"path_regex": "filter="}, "effect": {"status": 200, "body": '{"value": []}'}}
        await desk.rig.told("POST", "/control/faults", empty)
        with pytest.raises(OutcomeUnknown):
            await desk.resume()
        assert (await desk.create()).booking.state == Booking.STATE_CONFIRMED
        assert len(await desk.rig.truth()) == 1


async def test_booking_that_another_version_wrote_in_other_words_is_found_by_its_transaction(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await unanswered(desk, is_done=True)
        (event,) = await desk.rig.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
        write = await desk.write()
        assert write is not None
        assert write.payload is not None
        order = CreateOrder.decode(write.payload)
        other = replace(order, content=replace(order.content, body_text="in other words"))
        sealed = make_vault().seal(other.encode(), tenant_uid=write.tenant_uid, role=write.uid)
        await desk.mirror.opened.execute("UPDATE writes SET sealed = $1", sealed)
        assert await desk.resume() == [None]
        assert (await desk.ended()).event_id == event["id"]
        assert len(await desk.rig.truth()) == 1


async def test_room_that_was_tied_to_another_mailbox_meanwhile_gets_nothing_of_it(tmp_path: Path) -> None:
    """The booking is settled where it was made, and the copy is of another calendar by now."""
    async with desk_set(tmp_path) as desk:
        await unanswered(desk, is_done=True)
        room = await desk.mirror.opened.readdress(desk.mirror.room, desk.rig.rooms[1]["address"], is_same_mailbox=False)
        assert room.calendar_no == 2
        assert await desk.resume() == [None]
        assert (await desk.ended()).state is WriteState.DONE
        assert await desk.mirror.copy() == []
        assert len(await desk.rig.truth()) == 1
        assert await desk.rig.truth(desk.rig.rooms[1]["address"]) == []


async def test_calendar_that_is_shown_as_empty_does_not_take_a_booking_away(tmp_path: Path) -> None:
    """One read of a span proves nothing: what a direct read finds is there, and is looked for again."""
    async with desk_set(tmp_path) as desk:
        empty = {
            "match": {"path": "/calendarView", "skip": 1, "count": 2},
            "effect": {"status": 200, "body": '{"value": []}'},
        }
        await desk.rig.told("POST", "/control/faults", empty)
        assert (await desk.create(max_wait=Duration(seconds=1))).booking.state == Booking.STATE_PENDING
        await asyncio.sleep(3.0)
        await desk.resume()
        assert (await desk.create()).booking.state == Booking.STATE_CONFIRMED
        assert await desk.told() == [PENDING, CONFIRMED]
        assert len(await desk.rig.truth()) == 1


async def test_booking_that_somebody_moves_before_it_is_settled_is_settled_where_it_is(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        slow = {"match": {"path": "/calendarView", "skip": 1}, "effect": {"delay_s": 5.0}}
        await desk.rig.told("POST", "/control/faults", slow)
        call = asyncio.ensure_future(desk.create())
        await asyncio.sleep(1.0)
        (event,) = await desk.mirror.opened.fetch("SELECT event_id FROM bookings")
        times = {
            name: {"dateTime": f"2026-11-25T{hour}:00:00", "timeZone": "UTC"}
            for name, hour in (("start", 14), ("end", 15))
        }
        moved = await desk.rig.graph.patch(f"/users/{desk.rig.room}/events/{event[0]}", json=times)
        assert moved.is_success
        booking = (await call).booking
        assert (booking.state, time_of(booking.time.start_time).hour) == (Booking.STATE_CONFIRMED, 14)
        await desk.mirror.check_equal()


async def test_repetition_is_not_refused_for_what_stands_in_the_way_since(tmp_path: Path) -> None:
    """It may be done already: only who asks for the first time is told that nothing was done."""
    async with desk_set(tmp_path) as desk:
        await desk.create()
        await desk.mirror.opened.store.lifecycle.suspend(desk.mirror.tenant.tenant_id, reason="")
        assert (await desk.create()).booking.state == Booking.STATE_CONFIRMED
        with pytest.raises(TenantSuspended):
            await desk.create(request_id="q2")


async def test_caller_who_does_not_wait_is_told_pending_and_the_watch_the_rest(tmp_path: Path) -> None:
    """And whoever sends the request again learns of it, too."""
    async with desk_set(tmp_path) as desk:
        fault = {"match": {"method": "GET", "path": "/calendarView", "skip": 1}, "effect": {"delay_s": 2}}
        await desk.rig.told("POST", "/control/faults", fault)
        answer = await desk.create(completion=WRITE_COMPLETION_SUBMITTED)
        assert answer.booking.state == Booking.STATE_PENDING
        assert await desk.writing.driver.wait_idle(60.0)
        assert await desk.told() == [PENDING, CONFIRMED]
        again = await desk.create()
        assert (again.booking.name, again.booking.state) == (answer.booking.name, Booking.STATE_CONFIRMED)


async def test_booking_that_takes_longer_than_the_caller_waits_is_told_pending(tmp_path: Path) -> None:
    """It is at Exchange, and nobody knows yet whether it stays."""
    async with desk_set(tmp_path) as desk:
        fault = {"match": {"method": "GET", "path": "/calendarView", "skip": 1}, "effect": {"delay_s": 20}}
        await desk.rig.told("POST", "/control/faults", fault)
        answer = await desk.create(max_wait=Duration(seconds=3))
        assert answer.booking.state == Booking.STATE_PENDING
        assert await desk.writing.driver.wait_idle(60.0)
        assert await desk.told() == [PENDING, CONFIRMED]


async def test_booking_that_exchange_has_not_taken_in_time_is_told_unknown(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        fault = {"match": {"method": "POST", "path": "/events"}, "effect": {"delay_s": 20}}
        await desk.rig.told("POST", "/control/faults", fault)
        with pytest.raises(OutcomeUnknown):
            await desk.create(max_wait=Duration(seconds=3))
        assert (await desk.create()).booking.state == Booking.STATE_CONFIRMED


async def test_copy_that_is_a_moment_old_refuses_nothing(tmp_path: Path) -> None:
    """The booking in the way was taken out of the calendar, and the copy has not heard of it."""
    async with desk_set(tmp_path) as desk:
        await desk.create()
        (event,) = await desk.rig.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
        await desk.rig.graph.delete(desk.rig.event_url(event["id"]))
        assert (await desk.create(request_id="q2")).booking.state == Booking.STATE_CONFIRMED


async def test_repetition_is_answered_though_the_tenants_mode_is_another_by_now(tmp_path: Path) -> None:
    """It was done: whoever asks for the first time is told what is wrong with the request."""
    async with desk_set(tmp_path) as desk:
        answer = await desk.create()
        settings = TenantSettings(write_mode=WriteMode.ORGANIZER)
        await desk.mirror.opened.store.tenants.update(TENANT, lambda name, _: (name, settings), etag="")
        again = await desk.create()
        assert (again.booking.name, again.booking.state) == (answer.booking.name, Booking.STATE_CONFIRMED)
        with pytest.raises(InvalidArgument):
            await desk.create(request_id="q2")
        with pytest.raises(RequestIdReused):
            await desk.create(booking_subject="Something else")


async def test_repetition_is_answered_though_the_rooms_zone_is_another_by_now(tmp_path: Path) -> None:
    """Whole days were from midnight to midnight when it was asked for."""
    async with desk_set(tmp_path) as desk:
        midnight = datetime(2026, 11, 25, tzinfo=ZoneInfo(desk.mirror.room.time_zone))
        answer = await desk.create(midnight, hours=24, booking_all_day=True)
        await desk.mirror.opened.execute("UPDATE rooms SET time_zone = 'America/New_York'")
        again = await desk.create(midnight, hours=24, booking_all_day=True)
        assert again.booking.name == answer.booking.name


async def test_repetition_after_a_change_of_mode_goes_on_with_what_was_left(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await unanswered(desk, is_done=True)
        settings = TenantSettings(write_mode=WriteMode.ORGANIZER)
        await desk.mirror.opened.store.tenants.update(TENANT, lambda name, _: (name, settings), etag="")
        assert (await desk.create()).booking.state == Booking.STATE_CONFIRMED
        assert len(await desk.rig.truth()) == 1


async def test_booking_that_the_calendar_never_shows_is_looked_for_ever_more_seldom_and_then_given_up(
    tmp_path: Path,
) -> None:
    """It was moved to another calendar of the mailbox, for one: it is there when asked for, and in no view."""
    async with desk_set(tmp_path) as desk:
        empty = {
            "match": {"path": "/calendarView", "skip": 1, "count": 0},
            "effect": {"status": 200, "body": '{"value": []}'},
        }
        await desk.rig.told("POST", "/control/faults", empty)
        assert (await desk.create(max_wait=Duration(seconds=1))).booking.state == Booking.STATE_PENDING
        looks_count = 0
        for _ in range(60):
            await desk.mirror.advance(60)
            await desk.rig.sign_in()
            looks_count += len(await desk.resume())
        assert 0 < looks_count <= 20
        assert not (await desk.write() or pytest.fail("it is under way")).state.is_ended
        await desk.mirror.advance(27 * 3_600)
        await desk.rig.sign_in()
        assert await desk.resume() == [None]
        with pytest.raises(BookingNotFound):
            await desk.create()
        assert await desk.mirror.copy() == []
