"""Bookings in people's calendars, changed through the API, against the emulator: the meeting changes, the room answers anew."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import (
    BookingNotFound,
    BookingNotOurs,
    EtagMismatch,
    InvalidArgument,
    OrganizerUnreachable,
    OutcomeUnknown,
)
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Booking, Decline
from sidecar.gen.ioffice.exchange.v1.common_pb2 import (
    SERIES_SCOPE_FOLLOWING,
    SERIES_SCOPE_OCCURRENCE,
    SERIES_SCOPE_SERIES,
    WRITE_COMPLETION_ROOM_ANSWERED,
)
from sidecar.model.intent import IntentKind
from sidecar.model.write import WriteState
from tests.contract.writes.test_inviting import (
    CONFIRMED,
    DECLINED,
    PENDING,
    TENTATIVE,
    answer_for_the_room,
    body_of,
    desk_set,
    invite,
    organizers_events,
    pass_time,
)
from tests.support.write_desk import NINE, WriteDesk

pytestmark = pytest.mark.looptime

NOON = NINE + timedelta(hours=3)


async def move(desk: WriteDesk, name: str, **more: Any) -> pb.UpdateBookingResponse:
    """Move a booking to noon, and wait for the room's answer unless told otherwise."""
    defaults: dict[str, Any] = {"start_at": NOON, "completion": WRITE_COMPLETION_ROOM_ANSWERED}
    return await desk.change(name, **{**defaults, **more})


async def url_of_the_meeting(desk: WriteDesk) -> str:
    """Return where the only meeting is in Ada's calendar."""
    (event,) = await organizers_events(desk.rig)
    return f"/users/{desk.rig.ada}/events/{event['id']}"


async def move_in_outlook(desk: WriteDesk) -> None:
    """Have Ada move the only meeting to three o'clock by herself."""
    times = {
        name: {"dateTime": f"2026-11-24T{hour}:00:00", "timeZone": "UTC"} for name, hour in (("start", 15), ("end", 16))
    }
    assert (await desk.rig.graph.patch(await url_of_the_meeting(desk), json=times)).status_code == 200


async def test_moved_meeting_is_pending_until_the_room_has_accepted_the_new_time(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        answer = await move(
            desk, made.name, booking_attendees=[pb.Attendee(person=pb.Person(email="lin@elsewhere.example"))]
        )
        assert answer.booking.name == made.name
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert answer.booking.time.start_time.ToDatetime() == NOON.replace(tzinfo=None)
        assert await desk.told() == [PENDING, CONFIRMED, PENDING, CONFIRMED]
        event = await desk.rig.graph.get(await url_of_the_meeting(desk))
        assert sorted(one["type"] for one in event.json()["attendees"]) == ["required", "resource"]
        await desk.mirror.compare()
        await desk.mirror.check_equal()


async def test_answer_to_the_old_time_does_not_confirm_the_new_one(tmp_path: Path) -> None:
    """The room shows its acceptance of the old time until it has heard of the new one."""
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        await desk.rig.told(
            "PATCH", desk.rig.path(f"/mailboxes/{desk.rig.room}"), {"settings": {"AutomateProcessing": "None"}}
        )
        answer = await desk.change(made.name, start_at=NOON)
        assert answer.booking.state == Booking.STATE_PENDING
        await desk.mirror.compare()
        shown = await body_of(desk, made.name)
        assert shown is not None
        assert (shown.state, shown.time) == (Booking.STATE_PENDING, answer.booking.time)


async def test_room_that_is_taken_at_the_new_time_declines_and_the_meeting_stays_there_without_it(
    tmp_path: Path,
) -> None:
    """A refusal is an answer: the meeting is its organizer's, and the old hours are free again."""
    async with desk_set(tmp_path) as desk:
        other = (await invite(desk, NOON, request_id="other")).booking
        made = (await invite(desk)).booking
        answer = await move(desk, made.name)
        assert answer.booking.state == Booking.STATE_DECLINED
        assert answer.booking.decline.reason == Decline.REASON_ROOM_TAKEN
        assert answer.booking.decline.competing == other.time
        assert (await move(desk, made.name)).booking == answer.booking
        assert (await desk.told())[-2:] == [PENDING, DECLINED]
        at_noon = [one["start"] for one in await organizers_events(desk.rig)]
        assert len(at_noon) == 2
        assert len(set(at_noon)) == 1
        await desk.mirror.compare()
        assert [booking.name for booking in await desk.listed()] == [other.name]


async def test_declined_meeting_that_is_moved_gets_the_room(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await invite(desk, request_id="other")
        made = (await invite(desk)).booking
        assert made.state == Booking.STATE_DECLINED
        assert (await move(desk, made.name)).booking.state == Booking.STATE_CONFIRMED
        await desk.mirror.compare()
        await desk.mirror.check_equal()


async def test_delegate_who_has_to_decide_is_told_as_tentative_and_then_heard(tmp_path: Path) -> None:
    async with desk_set(tmp_path, AllBookInPolicy=False, AllRequestInPolicy=True) as desk:
        made = (await invite(desk)).booking
        assert made.state == Booking.STATE_TENTATIVE
        assert (await move(desk, made.name)).booking.state == Booking.STATE_TENTATIVE
        assert await desk.told() == [PENDING, TENTATIVE, PENDING, TENTATIVE]
        await answer_for_the_room(desk.rig, "accept")
        await desk.mirror.compare()
        assert (await desk.told())[-1] == CONFIRMED
        assert (await desk.ended("u1")).state is WriteState.DONE


async def test_other_words_keep_the_rooms_answer(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk, booking_annotations={"desk": "7"})).booking
        answer = await desk.change(
            made.name, booking_subject="Plans", booking_body_text="Bring tea", booking_annotations={"desk": "8"}
        )
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert dict(answer.booking.annotations) == {"desk": "8"}
        assert [event["subject"] for event in await organizers_events(desk.rig)] == ["Plans"]
        assert [state for _, state, _ in await desk.told()].count(Booking.STATE_PENDING) == 1
        await desk.mirror.compare()
        await desk.mirror.check_equal()
        shown = await body_of(desk, made.name)
        assert shown is not None
        assert dict(shown.annotations) == {"desk": "8"}


@pytest.mark.parametrize("processing", ["None", "AutoUpdate"])
async def test_other_words_of_a_meeting_that_the_room_has_not_answered_are_told(
    tmp_path: Path, processing: str
) -> None:
    """And the answer is still waited for. The copy knows it by the organizer's id, under which the room has nothing."""
    async with desk_set(tmp_path, AutomateProcessing=processing) as desk:
        made = (await invite(desk, booking_annotations={"desk": "7"})).booking
        answer = await desk.change(made.name, booking_annotations={"desk": "8"})
        assert answer.booking.state == Booking.STATE_PENDING
        assert dict(answer.booking.annotations) == {"desk": "8"}
        write = await desk.write()
        assert write is not None
        assert write.state is WriteState.UNSETTLED


async def test_annotations_of_a_series_are_told_of_its_other_days_by_a_read_that_is_due(tmp_path: Path) -> None:
    """The room's calendar does not hold them, so it announces nothing."""
    async with desk_set(tmp_path) as desk:
        await invite(desk, rrule="FREQ=DAILY;COUNT=5")
        await desk.mirror.compare()
        third = (await desk.listed())[2]
        answer = await desk.change(third.name, scope=SERIES_SCOPE_SERIES, booking_annotations={"desk": "8"})
        assert dict(answer.booking.annotations) == {"desk": "8"}
        due = await desk.mirror.opened.fetch("SELECT 1 FROM intents WHERE kind = $1", IntentKind.ROOM_COMPARE.value)
        assert len(due) == 1
        await desk.mirror.compare()
        assert {one.annotations["desk"] for one in await desk.listed()} == {"8"}


async def test_same_request_is_carried_out_once_though_it_names_the_version_before(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        calls = [move(desk, made.name, booking_etag=made.etag) for _ in range(5)]
        answers = await asyncio.gather(*calls)
        assert {answer.booking.SerializeToString() for answer in answers} == {answers[0].booking.SerializeToString()}
        assert (await move(desk, made.name, booking_etag=made.etag)).booking == answers[0].booking
        with pytest.raises(EtagMismatch):
            await move(desk, made.name, booking_etag=made.etag, request_id="u2")


async def test_meeting_that_its_organizer_has_moved_is_another_version(tmp_path: Path) -> None:
    """The room's copy may not show it yet."""
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        await move_in_outlook(desk)
        with pytest.raises(EtagMismatch):
            await move(desk, made.name, booking_etag=made.etag)


async def test_preview_changes_nothing(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        answer = await move(desk, made.name, validate_only=True)
        assert answer.booking.time.start_time.ToDatetime() == NOON.replace(tzinfo=None)
        assert await desk.told() == [PENDING, CONFIRMED]
        assert await desk.write("u1") is None


async def test_organizer_out_of_reach_by_now_leaves_the_booking_as_it_is(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        await desk.rig.told("PATCH", desk.rig.path("/app"), {"access_policy": [desk.rig.room]})
        with pytest.raises(OrganizerUnreachable):
            await move(desk, made.name)
        assert await desk.write("u1") is None
        await desk.rig.told("PATCH", desk.rig.path("/app"), {"access_policy": None})
        assert (await move(desk, made.name)).booking.state == Booking.STATE_CONFIRMED


async def test_meeting_that_was_cancelled_by_its_organizer_is_not_found(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        assert (await desk.rig.graph.delete(await url_of_the_meeting(desk))).status_code == 204
        with pytest.raises(BookingNotFound):
            await move(desk, made.name)


async def test_meeting_that_is_moved_again_before_the_room_answers_is_told_where_it_is(tmp_path: Path) -> None:
    async with desk_set(tmp_path, AutomateProcessing="None") as desk:
        made = (await invite(desk)).booking
        await desk.change(made.name, start_at=NOON)
        again = await desk.change(made.name, start_at=NOON + timedelta(hours=1), request_id="u2")
        assert again.booking.state == Booking.STATE_PENDING
        assert (await desk.ended("u1")).state is (await desk.ended("q1")).state is WriteState.DONE
        await move_in_outlook(desk)
        await pass_time(desk, 3_600.0)
        await desk.resume()
        shown = await body_of(desk, made.name)
        assert shown is not None
        assert (shown.state, shown.time.start_time.ToDatetime().hour) == (Booking.STATE_PENDING, 15)


async def test_moved_meeting_that_is_cancelled_before_the_room_answers_is_gone(tmp_path: Path) -> None:
    async with desk_set(tmp_path, AutomateProcessing="None") as desk:
        made = (await invite(desk)).booking
        await desk.change(made.name, start_at=NOON)
        assert await desk.writing.driver.wait_idle(60.0)
        await desk.cancel(made.name)
        await desk.resume()
        assert await desk.mirror.copy() == []
        assert (await desk.ended("u1")).state is WriteState.FAILED


async def test_meeting_beyond_the_copy_is_changed_as_well(tmp_path: Path) -> None:
    async with desk_set(tmp_path, BookingWindowInDays=1_000) as desk:
        made = (await invite(desk, NINE + timedelta(days=600))).booking
        answer = await move(desk, made.name, start_at=NOON + timedelta(days=600))
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert answer.booking.time.start_time.ToDatetime() == (NOON + timedelta(days=600)).replace(tzinfo=None)


@pytest.mark.parametrize("effect", [{"status": 503}, {"status": 503, "after": True}])
async def test_change_whose_answer_is_lost_is_made_once(tmp_path: Path, effect: dict[str, Any]) -> None:
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        fault = {"match": {"method": "PATCH", "path": "/events/", "count": 4}, "effect": effect}
        await desk.rig.told("POST", "/control/faults", fault)
        with pytest.raises(OutcomeUnknown):
            await move(desk, made.name)
        answer = await move(desk, made.name)
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert await desk.told() == [PENDING, CONFIRMED, PENDING, CONFIRMED]


@pytest.mark.parametrize("turns_count", range(0, 60, 3))
async def test_process_killed_at_any_turn_leaves_a_change_that_is_brought_to_its_end(
    tmp_path: Path, turns_count: int
) -> None:
    async with desk_set(tmp_path) as desk:
        made = (await invite(desk)).booking
        call = asyncio.create_task(move(desk, made.name))
        for _ in range(turns_count):
            await asyncio.sleep(0)
        call.cancel()
        await desk.die()
        await asyncio.wait([call])
        await desk.live_again()
        await desk.resume()
        answer = await move(desk, made.name)
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert len(await organizers_events(desk.rig)) == 1
        await desk.rig.rest()
        await desk.mirror.compare()
        await desk.mirror.check_equal()


async def test_occurrence_is_moved_and_the_others_stay(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await invite(desk, rrule="FREQ=DAILY;COUNT=5")
        await desk.mirror.compare()
        third = (await desk.listed())[2]
        at = NOON + timedelta(days=2)
        answer = await move(desk, third.name, start_at=at, scope=SERIES_SCOPE_OCCURRENCE)
        assert answer.booking.name == third.name
        assert answer.booking.state == Booking.STATE_CONFIRMED
        await desk.rig.rest()
        await desk.mirror.compare()
        await desk.mirror.check_equal()
        starts = [one.time.start_time.ToDatetime().hour for one in await desk.listed()]
        assert starts == [9, 9, 12, 9, 9]


async def test_annotations_of_one_day_of_a_series_are_refused(tmp_path: Path) -> None:
    """They are kept for the meeting as a whole."""
    async with desk_set(tmp_path) as desk:
        await invite(desk, rrule="FREQ=DAILY;COUNT=5")
        await desk.mirror.compare()
        third = (await desk.listed())[2]
        with pytest.raises(InvalidArgument):
            await desk.change(third.name, booking_annotations={"desk": "8"})


async def test_series_gets_another_time_and_keeps_its_single_days(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await invite(desk, rrule="FREQ=DAILY;COUNT=5", booking_annotations={"desk": "7"})
        await desk.mirror.compare()
        listed = await desk.listed()
        await desk.cancel(listed[1].name)
        await move(desk, listed[3].name, start_at=NINE + timedelta(days=3, hours=8), request_id="one")
        await desk.rig.rest()
        await desk.mirror.compare()
        answer = await move(
            desk,
            listed[2].name,
            start_at=NOON + timedelta(days=2),
            scope=SERIES_SCOPE_SERIES,
            booking_annotations={"desk": "8"},
        )
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert answer.booking.time.start_time.ToDatetime() == (NOON + timedelta(days=2)).replace(tzinfo=None)
        assert list(answer.lost_exceptions) == []
        await desk.rig.rest()
        await desk.mirror.compare()
        await desk.mirror.check_equal()
        after = await desk.listed()
        starts = [(one.time.start_time.ToDatetime().day, one.time.start_time.ToDatetime().hour) for one in after]
        assert starts == [(24, 12), (26, 12), (27, 17), (28, 12)]
        assert {one.annotations["desk"] for one in after} == {"8"}


async def test_change_of_a_series_waits_for_another_one_that_is_half_way(tmp_path: Path) -> None:
    """Exchange forgets single days with each change of a series: whoever reads half-way takes them for not there."""
    async with desk_set(tmp_path) as desk:
        await invite(desk, rrule="FREQ=DAILY;COUNT=5")
        await desk.mirror.compare()
        listed = await desk.listed()
        await desk.cancel(listed[1].name)
        others: list[asyncio.Task[pb.UpdateBookingResponse]] = []
        patched: list[int] = []

        async def patches() -> int:
            found = (await desk.rig.told("GET", desk.rig.path("/requests")))["requests"]
            return sum(one["method"] == "PATCH" for one in found)

        async def begin_another() -> None:
            await desk.mirror.advance(1.0)  # the younger one waits
            at = NINE + timedelta(days=4, hours=2)
            other = desk.change(listed[4].name, start_at=at, scope=SERIES_SCOPE_SERIES, request_id="u2")
            others.append(asyncio.create_task(other))
            await asyncio.sleep(1.0)
            patched.append(await patches())

        desk.after("PATCH", begin_another)
        before_count = await patches()
        await move(desk, listed[2].name, start_at=NINE + timedelta(days=2, hours=1), scope=SERIES_SCOPE_SERIES)
        await others[0]
        assert patched == [before_count + 1]
        await desk.rig.rest()
        await desk.mirror.compare()
        starts = [
            (one.time.start_time.ToDatetime().day, one.time.start_time.ToDatetime().hour) for one in await desk.listed()
        ]
        assert starts == [(24, 11), (26, 11), (27, 11), (28, 11)]


async def test_rest_of_a_series_in_a_persons_calendar_cannot_be_changed(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await invite(desk, rrule="FREQ=DAILY;COUNT=5")
        await desk.mirror.compare()
        with pytest.raises(BookingNotOurs):
            await desk.change((await desk.listed())[2].name, booking_subject="Plans", scope=SERIES_SCOPE_FOLLOWING)
