"""Bookings made in people's calendars, against the emulator whose rooms answer by their settings: every answer, and none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import (
    BookingNotFound,
    GraphUnavailable,
    InvalidArgument,
    OrganizerUnreachable,
    OutcomeUnknown,
    RequestIdReused,
)
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Booking, Decline
from sidecar.gen.ioffice.exchange.v1.common_pb2 import (
    WRITE_COMPLETION_ROOM_ANSWERED,
    WRITE_COMPLETION_SUBMITTED,
    WRITE_MODE_ORGANIZER,
)
from sidecar.model.change import Cause
from sidecar.model.ids import BookingKey
from sidecar.model.privacy import Privacy, Visibility
from sidecar.model.tenant_settings import TenantSettings
from sidecar.model.write import WriteMode, WriteState
from sidecar.writes.invitations import InviteOrder
from tests.support.builders import TENANT
from tests.support.stores import make_vault
from tests.support.write_desk import NINE, WriteDesk, write_desk
from tests.unit.emulator.rig import Rig, rig

pytestmark = pytest.mark.looptime

ROLES = ["Calendars.ReadWrite"]
PENDING = ("UPSERTED", Booking.STATE_PENDING, Cause.NONE)
TENTATIVE = ("UPSERTED", Booking.STATE_TENTATIVE, Cause.NONE)
CONFIRMED = ("UPSERTED", Booking.STATE_CONFIRMED, Cause.NONE)
DECLINED = ("REMOVED", Booking.STATE_DECLINED, Cause.DECLINED)


@asynccontextmanager
async def desk_set(folder: Path, **room: Any) -> AsyncIterator[WriteDesk]:
    """Set a desk up over a room with settings of its own; not a fixture, because virtual time begins with the test."""
    async with rig(roles=ROLES) as made:
        if room:
            await made.told("PATCH", made.path(f"/mailboxes/{made.room}"), {"settings": room})
        async with write_desk(made, folder) as desk:
            yield desk


async def invite(desk: WriteDesk, start_at: datetime = NINE, **more: Any) -> pb.CreateBookingResponse:
    """Book the room in Ada's calendar, and wait for its answer unless told otherwise."""
    organizer = pb.Person(email=more.pop("organizer", desk.rig.ada))
    defaults = {"mode": WRITE_MODE_ORGANIZER, "completion": WRITE_COMPLETION_ROOM_ANSWERED}
    return await desk.create(start_at, booking_organizer=organizer, **{**defaults, **more})


async def answer_for_the_room(r: Rig, response: str) -> None:
    """Have somebody with rights on the room's calendar answer the one invitation there; the organizer is told."""
    (item,) = await r.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
    answer = await r.graph.post(f"{r.event_url(item['id'])}/{response}", json={"SendResponse": True})
    assert answer.status_code == 202, answer.text


async def pass_time(desk: WriteDesk, seconds: float) -> None:
    """Move the present forward, with a token that is good then."""
    await desk.mirror.advance(seconds)
    await desk.rig.sign_in()


async def organizers_events(r: Rig) -> list[dict[str, Any]]:
    """Return what stands in Ada's calendar."""
    return await r.truth(r.ada)


async def body_of(desk: WriteDesk, name: str) -> Booking | None:
    """Return what reads show of a booking."""
    calendars, room = desk.mirror.opened.store.calendars, desk.mirror.room
    body = await calendars.load_body(TENANT, room.room_id, BookingKey(name.rpartition("/")[2]))
    return None if body is None else Booking.FromString(body)


async def test_room_that_accepts_confirms_and_watchers_saw_it_pending_first(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        answer = await invite(desk)
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert answer.booking.origin == Booking.ORIGIN_API
        assert answer.booking.organizer.email == desk.rig.ada
        assert await desk.told() == [PENDING, CONFIRMED]
        assert len(await organizers_events(desk.rig)) == len(await desk.rig.truth()) == 1
        await desk.mirror.check_equal()


async def test_submitted_booking_is_pending_and_later_confirmed_without_the_caller(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        answer = await invite(desk, completion=WRITE_COMPLETION_SUBMITTED)
        assert answer.booking.state == Booking.STATE_PENDING
        assert await desk.writing.driver.wait_idle(60.0)
        assert await desk.told() == [PENDING, CONFIRMED]


async def test_stop_answers_the_caller_at_once_and_leaves_the_question_for_later(tmp_path: Path) -> None:
    """The room has not answered, which may take days: the process that comes next goes on asking."""
    async with desk_set(tmp_path, AutomateProcessing="AutoUpdate") as desk:
        call = asyncio.create_task(invite(desk))
        await asyncio.sleep(9.0)
        desk.writing.driver.drain()
        async with asyncio.timeout(0.5):
            assert (await call).booking.state == Booking.STATE_PENDING
            assert await desk.writing.driver.wait_idle(0.5)
        write = await desk.write()
        assert write is not None
        assert not write.state.is_ended
        assert len(await desk.mirror.opened.fetch("SELECT 1 FROM intents WHERE kind = 'booking.write'")) == 1


async def test_confirmed_booking_is_what_a_read_of_the_room_would_have_told(tmp_path: Path) -> None:
    """Whoever learned it from the organizer told it in the room's words, so a read finds nothing different, nor drift."""
    async with desk_set(tmp_path) as desk:
        answer = await invite(desk, booking_annotations={"desk": "7"})
        applied = await desk.mirror.compare()
        assert (applied.changes_count, applied.drift_count) == (0, 0)
        shown = await body_of(desk, answer.booking.name)
        assert shown is not None
        assert (shown.origin, shown.subject) == (Booking.ORIGIN_API, "Ada Lovelace ")
        assert dict(shown.annotations) == {"desk": "7"}


async def test_answer_that_a_read_of_the_room_brings_ends_the_waiting(tmp_path: Path) -> None:
    """A notification may be quicker than the next question."""
    async with desk_set(tmp_path, AutomateProcessing="AutoUpdate") as desk:
        call = asyncio.create_task(invite(desk))
        await asyncio.sleep(9.0)
        await answer_for_the_room(desk.rig, "accept")
        await desk.mirror.compare()
        since_s = asyncio.get_running_loop().time()
        assert (await call).booking.state == Booking.STATE_CONFIRMED
        assert asyncio.get_running_loop().time() - since_s < 1.0
        write = await desk.write()
        assert write is not None
        assert (write.state, write.payload) == (WriteState.DONE, None)


async def test_room_that_is_taken_declines_and_the_others_window_is_told(tmp_path: Path) -> None:
    """A refusal is an answer, and not a failure of the call."""
    async with desk_set(tmp_path) as desk:
        await desk.rig.book("2026-11-24T09:30:00", "2026-11-24T10:30:00", time_zone="UTC", subject="Secret plans")
        await desk.rig.rest()
        answer = await invite(desk)
        told = answer.booking
        assert told.state == Booking.STATE_DECLINED
        assert (told.decline.reason, told.decline.assumed) == (Decline.REASON_ROOM_TAKEN, False)
        assert told.decline.competing.start_time.ToDatetime() == datetime(2026, 11, 24, 9, 30)
        assert b"Secret" not in told.SerializeToString()
        assert await desk.told() == [PENDING, DECLINED]
        assert await body_of(desk, told.name) == told


@pytest.mark.parametrize(
    ("start_at", "hours", "settings", "reason"),
    [
        (NINE + timedelta(days=190), 1, {}, Decline.REASON_OUTSIDE_BOOKING_WINDOW),
        (NINE, 25, {}, Decline.REASON_TOO_LONG),
        (NINE, 1, {"AllBookInPolicy": False}, Decline.REASON_OTHER_POLICY),
        (NINE, 1, {"BookingType": "Reserved"}, Decline.REASON_OTHER_POLICY),
    ],
)
async def test_room_that_declines_by_its_rules_is_told_with_what_is_assumed(
    tmp_path: Path, start_at: datetime, hours: int, settings: dict[str, Any], reason: int
) -> None:
    async with desk_set(tmp_path, **settings) as desk:
        told = (await invite(desk, start_at, hours=hours)).booking
        assert told.state == Booking.STATE_DECLINED
        assert told.decline == Decline(reason=reason, assumed=True)  # type: ignore[arg-type]  # one of them


async def test_late_word_of_a_declined_invitation_takes_nothing_away(tmp_path: Path) -> None:
    """The room's copy was there for a moment; that it is gone is known."""
    async with desk_set(tmp_path, AllBookInPolicy=False) as desk:
        call = asyncio.create_task(invite(desk))
        await asyncio.sleep(0.2)
        await desk.mirror.check()
        told = (await call).booking
        await desk.mirror.check()
        assert await body_of(desk, told.name) == told
        assert [state for _, state, _ in await desk.told()][-1] == Booking.STATE_DECLINED


async def test_refusal_that_a_read_of_the_room_brings_is_told_at_once_and_as_one(tmp_path: Path) -> None:
    """The room's copy vanishes; the organizer's item tells why that is."""
    async with desk_set(tmp_path, AutomateProcessing="AutoUpdate") as desk:
        call = asyncio.create_task(invite(desk))
        await asyncio.sleep(9.0)
        await desk.mirror.check()
        await answer_for_the_room(desk.rig, "decline")
        since_s = asyncio.get_running_loop().time()
        await desk.mirror.check()
        assert (await call).booking.state == Booking.STATE_DECLINED
        assert asyncio.get_running_loop().time() - since_s < 1.0
        assert (await desk.told())[-1] == DECLINED


@pytest.mark.parametrize(("response", "last"), [("accept", CONFIRMED), ("decline", DECLINED)])
async def test_delegate_that_decides_later_has_the_last_word(
    tmp_path: Path, response: str, last: tuple[str, int, int]
) -> None:
    """TENTATIVE is an answer, and whoever waits gets it; the rest is for background work."""
    settings = {"AllBookInPolicy": False, "AllRequestInPolicy": True}
    async with desk_set(tmp_path, **settings) as desk:
        told = (await invite(desk)).booking
        assert told.state == Booking.STATE_TENTATIVE
        assert await desk.writing.driver.wait_idle(60.0)
        await pass_time(desk, 7_200.0)
        assert [due is not None for due in await desk.resume()] == [True]
        await answer_for_the_room(desk.rig, response)
        await pass_time(desk, 7_200.0)
        assert await desk.resume() == [None]
        assert await desk.told() == [PENDING, TENTATIVE, last]
        assert (await invite(desk)).booking.state == last[1]


@pytest.mark.parametrize("processing", ["AutoUpdate", "None"])
async def test_room_that_never_answers_leaves_it_pending_in_ever_fewer_questions(
    tmp_path: Path, processing: str
) -> None:
    """Until it is over. The booking stays in the copy though the room may know nothing of it."""
    async with desk_set(tmp_path, AutomateProcessing=processing) as desk:
        told = (await invite(desk)).booking
        assert told.state == Booking.STATE_PENDING
        assert await desk.writing.driver.wait_idle(60.0)
        await desk.mirror.compare()
        await desk.mirror.compare()
        assert await body_of(desk, told.name) is not None
        desk.mirror.requests.clear()
        asked = 0
        for _ in range(48):
            await pass_time(desk, 1_800.0)
            asked += len(await desk.resume())
        write = await desk.write()
        assert write is not None
        assert asked <= 30
        assert not write.state.is_ended
        await pass_time(desk, 7_200.0)
        assert await desk.resume() == [None]


async def test_room_that_knows_nothing_of_many_invitations_is_not_taken_for_a_calendar_that_is_away(
    tmp_path: Path,
) -> None:
    """The brake on deletions is for what was there."""
    async with desk_set(tmp_path, AutomateProcessing="None") as desk:
        for number in range(8):
            start_at = NINE + timedelta(hours=number)
            await invite(desk, start_at, request_id=f"q{number}", completion=WRITE_COMPLETION_SUBMITTED)
        await desk.mirror.compare()
        room = await desk.mirror.reloaded()
        assert room.hold_problem is None
        assert len(await desk.mirror.copy()) == 8


async def test_person_who_cancels_while_it_is_pending_ends_it(tmp_path: Path) -> None:
    async with desk_set(tmp_path, AutomateProcessing="None") as desk:
        told = (await invite(desk)).booking
        assert await desk.writing.driver.wait_idle(60.0)
        (item,) = await desk.rig.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z", mailbox=desk.rig.ada)
        await desk.rig.graph.delete(desk.rig.event_url(item["id"], desk.rig.ada))
        await pass_time(desk, 7_200.0)
        assert await desk.resume() == [None]
        assert (await desk.told())[-1] == ("REMOVED", Booking.STATE_PENDING, Cause.CANCELLED)
        assert await body_of(desk, told.name) is None
        with pytest.raises(BookingNotFound):
            await invite(desk)


async def test_room_that_is_invited_no_more_loses_the_booking(tmp_path: Path) -> None:
    async with desk_set(tmp_path, AutomateProcessing="AutoUpdate") as desk:
        await invite(desk)
        (item,) = await desk.rig.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z", mailbox=desk.rig.ada)
        url = desk.rig.event_url(item["id"], desk.rig.ada)
        assert (await desk.rig.graph.patch(url, json={"attendees": []})).status_code == 200
        assert await desk.writing.driver.wait_idle(60.0)
        await pass_time(desk, 7_200.0)
        assert await desk.resume() == [None]
        await desk.rig.rest()
        await desk.mirror.compare()
        await desk.mirror.check_equal()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"access_policy": "room"}, "ACCESS_POLICY"),
        ({"roles": [], "rbac_scope": "room"}, "ACCESS_DENIED"),
    ],
)
async def test_organizer_out_of_scope_is_refused_and_nothing_is_left(
    tmp_path: Path, change: dict[str, Any], cause: str
) -> None:
    async with rig(roles=ROLES) as made:
        app = {name: [made.room] if value == "room" else value for name, value in change.items()}
        await made.told("PATCH", made.path("/app"), app)
        await made.sign_in()
        async with write_desk(made, tmp_path) as desk:
            with pytest.raises(OrganizerUnreachable) as caught:
                await invite(desk)
            assert caught.value.details["cause"] == cause
            assert await organizers_events(desk.rig) == []
            assert await desk.told() == []
            assert await desk.write() is None
            with pytest.raises(OrganizerUnreachable):
                await invite(desk, validate_only=True)


async def test_organizer_nobody_knows_is_refused(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        with pytest.raises(OrganizerUnreachable) as caught:
            await invite(desk, organizer="nobody@elsewhere.example")
        assert caught.value.details["cause"] == "NOT_FOUND"


async def test_organizer_on_premises_is_refused(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await desk.rig.told("PATCH", desk.rig.path(f"/mailboxes/{desk.rig.ada}"), {"kind": "onPremises"})
        with pytest.raises(OrganizerUnreachable) as caught:
            await invite(desk)
        assert caught.value.details["cause"] == "NOT_IN_CLOUD"


async def test_organizers_mailbox_that_goes_while_it_is_pending_leaves_the_word_to_the_room(tmp_path: Path) -> None:
    """The room may hold a meeting whose organizer is no more."""
    async with desk_set(tmp_path, AutomateProcessing="AutoUpdate") as desk:
        await invite(desk)
        assert await desk.writing.driver.wait_idle(60.0)
        await desk.mirror.compare()
        await desk.rig.told("PATCH", desk.rig.path(f"/mailboxes/{desk.rig.ada}"), {"kind": "gone"})
        await pass_time(desk, 7_200.0)
        assert await desk.resume() == [None]
        await desk.mirror.compare()
        await desk.mirror.check_equal()


async def test_same_request_ten_times_at_once_makes_one_meeting_and_one_answer(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(invite(desk)) for _ in range(10)]
        answers = [call.result().booking for call in calls]
        assert {(booking.name, booking.state) for booking in answers} == {(answers[0].name, Booking.STATE_CONFIRMED)}
        assert len(await organizers_events(desk.rig)) == 1
        with pytest.raises(RequestIdReused):
            await invite(desk, booking_subject="Something else")


async def test_lost_answers_of_exchange_make_no_second_meeting(tmp_path: Path) -> None:
    """Asking again resolves what is not known."""
    async with desk_set(tmp_path) as desk:
        fault = {"match": {"method": "POST", "path": "/events", "count": 4}, "effect": {"drop": True, "after": True}}
        await desk.rig.told("POST", "/control/faults", fault)
        with pytest.raises(OutcomeUnknown):
            await invite(desk)
        assert (await invite(desk)).booking.state == Booking.STATE_CONFIRMED
        assert len(await organizers_events(desk.rig)) == 1


async def unanswered(desk: WriteDesk, *, is_done: bool) -> None:
    """Have Exchange not answer an invitation, so that the outcome is not known."""
    fault = {"match": {"method": "POST", "path": "/events", "count": 4}, "effect": {"drop": True, "after": is_done}}
    await desk.rig.told("POST", "/control/faults", fault)
    with pytest.raises(OutcomeUnknown):
        await invite(desk)


async def test_meeting_that_exchange_did_not_take_for_long_is_not_made_any_more(tmp_path: Path) -> None:
    """Whoever wanted it has gone on without it, and nobody is to be invited hours later."""
    async with desk_set(tmp_path) as desk:
        await unanswered(desk, is_done=False)
        await pass_time(desk, 601.0)
        with pytest.raises(GraphUnavailable):
            await desk.resume()
        assert await desk.write() is None
        assert await organizers_events(desk.rig) == []


async def test_meeting_that_another_version_wrote_in_other_words_is_found_by_its_transaction(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await unanswered(desk, is_done=True)
        write = await desk.write()
        assert write is not None
        assert write.payload is not None
        order = InviteOrder.decode(write.payload)
        other = replace(order, content=replace(order.content, body_text="in other words"))
        sealed = make_vault().seal(other.encode(), tenant_uid=write.tenant_uid, role=write.uid)
        await desk.mirror.opened.execute("UPDATE writes SET sealed = $1", sealed)
        assert await desk.resume() == [None]
        assert (await desk.ended()).state is WriteState.DONE
        assert len(await organizers_events(desk.rig)) == 1


@pytest.mark.parametrize("at_s", [0.0, 0.05, 0.2, 0.5, 1.1])
async def test_process_that_dies_at_any_step_leaves_one_meeting_and_its_answer(tmp_path: Path, at_s: float) -> None:
    async with desk_set(tmp_path) as desk:
        call = asyncio.create_task(invite(desk))
        for _ in range(1_000):
            if await desk.write() is not None:
                break
        await asyncio.sleep(at_s)
        await desk.die()
        await asyncio.wait([call])
        await desk.live_again()
        await asyncio.sleep(2.0)
        await desk.mirror.compare()
        await desk.resume()
        assert (await invite(desk)).booking.state == Booking.STATE_CONFIRMED
        assert len(await organizers_events(desk.rig)) == len(await desk.rig.truth()) == 1
        await desk.mirror.check_equal()


async def test_series_is_confirmed_as_a_whole_and_its_first_booking_told(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        told = (await invite(desk, rrule="FREQ=DAILY;COUNT=5")).booking
        assert told.state == Booking.STATE_CONFIRMED
        await desk.mirror.compare()
        shown = await desk.mirror.opened.fetch("SELECT body FROM bookings WHERE takes_room = 1")
        states = [Booking.FromString(bytes(body)).state for (body,) in shown]
        assert states == [Booking.STATE_CONFIRMED] * 5
        await desk.mirror.check_equal()


async def test_series_without_end_is_declined_for_its_reach(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        told = (await invite(desk, rrule="FREQ=WEEKLY")).booking
        assert told.state == Booking.STATE_DECLINED
        assert told.decline.reason == Decline.REASON_OUTSIDE_BOOKING_WINDOW


async def test_occurrences_lead_to_the_event_in_the_organizers_calendar(tmp_path: Path) -> None:
    """Whoever changes or cancels one later finds where it lies."""
    async with desk_set(tmp_path) as desk:
        await invite(desk, rrule="FREQ=DAILY;COUNT=3", booking_annotations={"desk": "7"})
        await desk.mirror.compare()
        store = desk.mirror.opened.store
        (master,) = {
            item["seriesMasterId"]
            for item in await desk.rig.view("2026-11-24T00:00:00Z", "2026-11-27T00:00:00Z", mailbox=desk.rig.ada)
        }
        rows = await desk.mirror.opened.fetch("SELECT body FROM bookings WHERE takes_room = 1")
        for (body,) in rows:
            found = await store.organizer_events.find(
                desk.mirror.room.uid, Booking.FromString(bytes(body)).calendar_uid
            )
            assert found is not None
            assert (found.mailbox, found.event_id) == (desk.rig.ada, master)
            assert found.annotations == {"desk": "7"}


async def test_tenants_mode_holds_where_the_request_names_none(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        settings = TenantSettings(write_mode=WriteMode.ORGANIZER)
        await desk.mirror.opened.store.tenants.update(TENANT, lambda name, _: (name, settings), etag="")
        assert (await invite(desk, mode=0)).booking.state == Booking.STATE_CONFIRMED
        assert len(await organizers_events(desk.rig)) == 1


async def test_organizer_that_is_missing_or_the_room_itself_is_named_as_the_fault(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        for organizer in ("", desk.rig.room.upper()):
            with pytest.raises(InvalidArgument) as caught:
                await invite(desk, organizer=organizer)
            assert {violation.field for violation in caught.value.violations} == {"booking.organizer.email"}
        with pytest.raises(InvalidArgument) as caught:
            await desk.create(booking_organizer=pb.Person(email=desk.rig.ada))
        assert {violation.field for violation in caught.value.violations} == {"booking.organizer"}


async def test_room_counts_among_those_who_are_invited(tmp_path: Path) -> None:
    """Exchange takes 500."""
    people = [pb.Attendee(person=pb.Person(email=f"p{number}@contoso.example")) for number in range(500)]
    async with desk_set(tmp_path) as desk:
        with pytest.raises(InvalidArgument) as caught:
            await invite(desk, booking_attendees=people)
        assert {violation.field for violation in caught.value.violations} == {"booking.attendees"}


async def test_organizer_whom_nobody_may_keep_is_nowhere_in_the_database(tmp_path: Path) -> None:
    """The address is needed to change or cancel the meeting, and lies under the key ring."""
    async with desk_set(tmp_path) as desk:
        settings = TenantSettings(privacy=Privacy(organizer=Visibility.MASKED, attendees=Visibility.MASKED))
        await desk.mirror.opened.store.tenants.update(TENANT, lambda name, _: (name, settings), etag="")
        await desk.mirror.reloaded()
        await desk.mirror.compare()
        answer = await invite(desk)
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert not answer.booking.HasField("organizer")
        files = [path for path in tmp_path.rglob("*") if path.is_file()]  # noqa: ASYNC240  (a few small files)
        found = [path.name for path in files if desk.rig.ada.encode() in path.read_bytes()]
        assert found == []
        assert any(b"organizer_events" in path.read_bytes() for path in files)


@pytest.mark.parametrize("turns_count", range(0, 64, 3))
async def test_process_killed_at_any_turn_makes_one_meeting_and_one_answer(tmp_path: Path, turns_count: int) -> None:
    """Between the row, the request, its answer and the commit."""
    async with desk_set(tmp_path) as desk:
        call = asyncio.create_task(invite(desk))
        for _ in range(turns_count):
            await asyncio.sleep(0)
        assert not call.done()
        call.cancel()
        await desk.die()
        await asyncio.wait([call])
        await desk.mirror.compare()
        await desk.live_again()
        if turns_count % 2:
            await desk.resume()
        await asyncio.sleep(1.0)
        await desk.resume()
        assert (await invite(desk)).booking.state == Booking.STATE_CONFIRMED
        assert len(await organizers_events(desk.rig)) == len(await desk.rig.truth()) == 1
        assert CONFIRMED in await desk.told()
        await desk.mirror.check_equal()


async def test_answer_that_cannot_be_looked_up_now_is_not_told_as_a_booking_that_is_gone(tmp_path: Path) -> None:
    """Beyond what the copy covers only the organizer's item tells."""
    async with desk_set(tmp_path, BookingWindowInDays=1_000) as desk:
        start_at = NINE + timedelta(days=600)
        assert (await invite(desk, start_at)).booking.state == Booking.STATE_CONFIRMED
        fault = {"match": {"method": "GET", "path": "/events/", "count": 8}, "effect": {"status": 503}}
        await desk.rig.told("POST", "/control/faults", fault)
        with pytest.raises(OutcomeUnknown):
            await invite(desk, start_at)
        with pytest.raises(OutcomeUnknown):
            await invite(desk, start_at)
        await asyncio.sleep(120.0)
        assert (await invite(desk, start_at)).booking.state == Booking.STATE_CONFIRMED


async def test_meeting_that_cannot_be_made_is_given_up_when_its_time_is_over(tmp_path: Path) -> None:
    """Whether an earlier try made it cannot be learned; nobody goes on for ever."""
    async with desk_set(tmp_path) as desk:
        fault = {"match": {"method": "POST", "path": "/events", "count": 4}, "effect": {"drop": True}}
        await desk.rig.told("POST", "/control/faults", fault)
        with pytest.raises(OutcomeUnknown):
            await invite(desk)
        await desk.rig.told("PATCH", desk.rig.path("/app"), {"access_policy": [desk.rig.room]})
        with pytest.raises(OutcomeUnknown):
            await desk.resume()
        await pass_time(desk, 30 * 3_600.0)
        assert await desk.resume() == [None]
        write = await desk.write()
        assert write is not None
        assert (write.state, write.payload) == (WriteState.FAILED, None)
        assert write.failure is not None
        assert write.failure.reason == "ORGANIZER_UNREACHABLE"


async def test_answer_for_a_room_that_was_tied_to_another_mailbox_meanwhile_is_not_told_of_the_new_one(
    tmp_path: Path,
) -> None:
    """The meeting is at the former mailbox, and stays in the person's calendar; the copy is of another calendar by now."""
    async with desk_set(tmp_path, AutomateProcessing="AutoUpdate") as desk:
        await invite(desk)
        assert await desk.writing.driver.wait_idle(60.0)
        other = desk.rig.rooms[1]["address"]
        await answer_for_the_room(desk.rig, "accept")
        desk.mirror.room = await desk.mirror.opened.readdress(desk.mirror.room, other, is_same_mailbox=False)
        await desk.mirror.compare()
        await pass_time(desk, 7_200.0)
        assert await desk.resume() == [None]
        assert (await desk.ended()).state is WriteState.DONE
        assert await desk.mirror.copy() == []


@pytest.mark.parametrize("settings", [{"AutomateProcessing": "None"}, {"AllBookInPolicy": False}])
async def test_exchange_that_says_whose_event_it_is_does_not_keep_the_room_from_being_read(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    """A read that misses the booking asks the room for it by the organizer's id, which is another mailbox's."""
    async with desk_set(tmp_path, **settings) as desk:
        await invite(desk)
        assert await desk.writing.driver.wait_idle(60.0)
        foreign = {"status": 400, "code": "ErrorInvalidMailboxItemId"}
        path = f"/users/{desk.rig.room}/events/"
        await desk.rig.told("POST", "/control/faults", {"match": {"path": path, "count": 0}, "effect": foreign})
        for _ in range(2):
            await desk.mirror.compare()
        room = await desk.mirror.reloaded()
        assert room.problem is None


async def test_series_that_was_made_and_cannot_be_read_is_not_made_again(tmp_path: Path) -> None:
    """A failure after the meeting was made is no proof that there is none."""
    async with desk_set(tmp_path) as desk:
        fault = {"match": {"method": "GET", "path": "/instances", "count": 4}, "effect": {"status": 503}}
        await desk.rig.told("POST", "/control/faults", fault)
        with pytest.raises(OutcomeUnknown):
            await invite(desk, rrule="FREQ=DAILY;COUNT=3")
        await pass_time(desk, 120.0)
        assert (await invite(desk, rrule="FREQ=DAILY;COUNT=3")).booking.state == Booking.STATE_CONFIRMED
        assert len({item["series_master_id"] or item["id"] for item in await organizers_events(desk.rig)}) == 1
