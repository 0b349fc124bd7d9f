"""Changes of bookings in the room's own calendar, against the emulator: what is asked for, or what was there before."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import (
    BookingNotFound,
    BookingNotOurs,
    EtagMismatch,
    GraphUnavailable,
    InvalidArgument,
    OutcomeUnknown,
    RequestIdReused,
    RoomConflict,
)
from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Attendee, Booking, Person
from sidecar.gen.ioffice.exchange.v1.common_pb2 import (
    SERIES_SCOPE_SERIES,
    WRITE_COMPLETION_SUBMITTED,
    WRITE_MODE_ORGANIZER,
)
from sidecar.graph.clouds import ref_of
from sidecar.model.change import Cause
from sidecar.model.write import WriteState
from tests.contract.writes.test_creating import CONFIRMED, PENDING, desk_set
from tests.support.write_desk import NINE, WriteDesk

pytestmark = pytest.mark.looptime

HOUR = timedelta(hours=1)


def starts(desk_truth: list[dict[str, Any]]) -> list[str]:
    """Return when the calendar's items start, and what they are called."""
    return sorted(f"{one['start'][:16]} {one['subject']}" for one in desk_truth)


async def _patches(desk: WriteDesk) -> int:
    found = (await desk.rig.told("GET", desk.rig.path("/requests")))["requests"]
    return sum(one["method"] == "PATCH" for one in found)


async def test_moved_booking_keeps_its_name_and_watchers_see_it_pending_first(tmp_path: Path) -> None:
    """Its new time stands in the calendar, in the copy, and in the answer."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        moved = (await desk.change(made.name, start_at=NINE + HOUR)).booking
        assert moved.name == made.name
        assert moved.time.start_time.ToDatetime() == (NINE + HOUR).replace(tzinfo=None)
        assert moved.state == Booking.STATE_CONFIRMED
        assert starts(await desk.rig.truth()) == ["2026-11-24T10:00 Design review"]
        assert await desk.told() == [PENDING, CONFIRMED, PENDING, CONFIRMED]
        await desk.mirror.check_equal()


async def test_words_and_people_are_changed_and_all_else_stays(tmp_path: Path) -> None:
    """What the mask does not name is ignored, though it is set."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        guest = Attendee(person=Person(email=desk.rig.ada, display_name="Ada"))
        changed = (
            await desk.change(
                made.name,
                booking_subject="Kick-off",
                booking_attendees=[guest],
                booking_annotations={"cost": "7"},
                booking_is_private=False,
            )
        ).booking
        assert (changed.subject, [one.person.email for one in changed.attendees]) == ("Kick-off", [desk.rig.ada])
        event_id = (await desk.write()).event_id  # type: ignore[union-attr]  # it was written
        contents = await desk.mirror.graph.fetch_contents(ref_of(desk.mirror.tenant), desk.rig.room, event_id or "")
        assert contents is not None
        assert [one["value"] for one in contents["singleValueExtendedProperties"]] == ['{"cost":"7"}']
        assert changed.time == made.time
        await desk.mirror.check_equal()


async def test_same_change_ten_times_at_once_is_made_once(tmp_path: Path) -> None:
    """However they meet, and whoever asks later."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(desk.change(made.name, start_at=NINE + HOUR)) for _ in range(10)]
        again = await desk.change(made.name, start_at=NINE + HOUR)
        assert {call.result().booking.SerializeToString() for call in calls} == {again.booking.SerializeToString()}
        assert await _patches(desk) == 1


async def test_other_change_under_the_same_request_id_is_refused(tmp_path: Path) -> None:
    """The id names one wish."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        await desk.change(made.name, booking_subject="Kick-off")
        with pytest.raises(RequestIdReused):
            await desk.change(made.name, booking_subject="Something else")


async def test_stale_version_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    """Whether the copy knows of the other's change already or not."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        with pytest.raises(EtagMismatch):
            await desk.change(made.name, booking_subject="Mine", booking_etag="AAAA")
        event_id = (await desk.write()).event_id  # type: ignore[union-attr]  # it was written
        url = desk.rig.event_url(event_id or "")
        assert (await desk.rig.graph.patch(url, json={"subject": "Theirs"})).status_code == 200
        with pytest.raises(EtagMismatch):
            await desk.change(made.name, booking_subject="Mine", booking_etag=made.etag)
        assert starts(await desk.rig.truth()) == ["2026-11-24T09:00 Theirs"]
        assert (await desk.change(made.name, booking_subject="Mine")).booking.subject == "Mine"


async def test_change_that_is_no_news_keeps_the_version(tmp_path: Path) -> None:
    """Exchange touches events for reasons nobody can see; the caller's version is still the one."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        event_id = (await desk.write()).event_id  # type: ignore[union-attr]  # it was written
        url = desk.rig.event_url(event_id or "")
        assert (await desk.rig.graph.patch(url, json={"categories": ["Red"]})).status_code == 200
        assert (await desk.change(made.name, booking_subject="Mine", booking_etag=made.etag)).booking.subject == "Mine"


async def test_time_that_is_taken_is_refused_and_the_booking_stays(tmp_path: Path) -> None:
    """The other's window is named, and nothing else of it."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        await desk.rig.book("2026-11-24T10:30:00", "2026-11-24T11:30:00", time_zone="UTC", subject="Secret plans")
        await desk.rig.rest()
        with pytest.raises(RoomConflict) as caught:
            await desk.change(made.name, start_at=NINE + HOUR)
        assert caught.value.details["start_time"] == "2026-11-24T10:30:00Z"
        assert "2026-11-24T09:00 Design review" in starts(await desk.rig.truth())
        assert await _patches(desk) == 0
        await desk.mirror.compare()
        await desk.mirror.check_equal()


async def test_time_that_is_taken_meanwhile_is_given_back(tmp_path: Path) -> None:
    """Somebody books between the look and the change: the booking is where it was, and the other stays."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        effect = {"match": {"method": "PATCH"}, "effect": {"delay_s": 5.0}}
        await desk.rig.told("POST", "/control/faults", effect)
        async with asyncio.TaskGroup() as group:
            call = group.create_task(_refused(desk, made.name))
            await asyncio.sleep(2.0)
            body = {"subject": "Theirs", "start": _at("10:30"), "end": _at("11:30")}
            assert (await desk.rig.graph.post(f"/users/{desk.rig.room}/events", json=body)).status_code == 201
        assert call.result().details["start_time"] == "2026-11-24T10:30:00Z"
        assert starts(await desk.rig.truth()) == ["2026-11-24T09:00 Design review", "2026-11-24T10:30 Theirs"]
        shown = [booking for booking in await desk.listed() if booking.name == made.name]
        assert [one.state for one in shown] == [Booking.STATE_CONFIRMED]
        assert shown[0].time == made.time
        with pytest.raises(RoomConflict):
            await desk.change(made.name, start_at=NINE + HOUR)


async def _refused(desk: WriteDesk, name: str) -> RoomConflict:
    with pytest.raises(RoomConflict) as caught:
        await desk.change(name, start_at=NINE + HOUR)
    return caught.value


def _at(clock: str) -> dict[str, str]:
    return {"dateTime": f"2026-11-24T{clock}:00", "timeZone": "UTC"}


async def test_meeting_of_somebody_is_not_changed(tmp_path: Path) -> None:
    """It lies in their calendar; the room's copy would be overwritten by their next change."""
    async with desk_set(tmp_path) as desk:
        await desk.rig.book("2026-11-24T09:00:00", "2026-11-24T10:00:00", time_zone="UTC")
        await desk.rig.rest()
        await desk.mirror.compare()
        (theirs,) = await desk.listed()
        with pytest.raises(BookingNotOurs):
            await desk.change(theirs.name, start_at=NINE + HOUR)
        assert await desk.write("u1") is None


async def test_booking_that_is_gone_is_not_found(tmp_path: Path) -> None:
    """In the copy, or in Exchange though the copy does not know yet."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        with pytest.raises(BookingNotFound):
            await desk.change(made.name[:-4] + "0000", booking_subject="x")
        event_id = (await desk.write()).event_id  # type: ignore[union-attr]  # it was written
        assert (await desk.rig.graph.delete(desk.rig.event_url(event_id or ""))).status_code == 204
        with pytest.raises(BookingNotFound):
            await desk.change(made.name, booking_subject="x")


async def test_dry_run_changes_nothing(tmp_path: Path) -> None:
    """It tells the booking as it would be, and refuses as the real one would."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        told = (await desk.change(made.name, start_at=NINE + HOUR, validate_only=True)).booking
        assert told.time.start_time.ToDatetime() == (NINE + HOUR).replace(tzinfo=None)
        assert told.subject == made.subject
        assert await desk.write("u1") is None
        await desk.create(NINE + HOUR, request_id="q2")
        with pytest.raises(RoomConflict):
            await desk.change(made.name, start_at=NINE + HOUR, validate_only=True)
        assert await _patches(desk) == 0


async def test_lost_answer_of_exchange_changes_once(tmp_path: Path) -> None:
    """Sent again it meets another version, with the mark of this very write."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        fault = {"match": {"method": "PATCH"}, "effect": {"drop": True, "after": True}}
        await desk.rig.told("POST", "/control/faults", fault)
        changed = (await desk.change(made.name, start_at=NINE + HOUR, booking_etag=made.etag)).booking
        assert changed.time.start_time.ToDatetime() == (NINE + HOUR).replace(tzinfo=None)
        assert await _patches(desk) == 2


@pytest.mark.parametrize("is_done", [False, True])
async def test_change_of_a_killed_process_is_brought_to_its_end(tmp_path: Path, is_done: bool) -> None:
    """Whether Exchange had carried it out before the process died, or not."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        effect = {"stall_s": 5.0} if is_done else {"delay_s": 5.0, "drop": True}
        await desk.rig.told("POST", "/control/faults", {"match": {"method": "PATCH"}, "effect": effect})
        async with asyncio.TaskGroup() as group:
            call = group.create_task(_unknown(desk, made.name))
            await asyncio.sleep(2.0)
            await desk.die()
        assert call.result()
        await desk.live_again()
        await desk.resume()
        write = await desk.write("u1")
        assert write is not None
        assert write.state is WriteState.DONE
        assert starts(await desk.rig.truth()) == ["2026-11-24T10:00 Design review"]
        await desk.mirror.check_equal()
        again = await desk.change(made.name, start_at=NINE + HOUR)
        assert again.booking.name == made.name


async def _unknown(desk: WriteDesk, name: str) -> bool:
    with pytest.raises(OutcomeUnknown):
        await desk.change(name, start_at=NINE + HOUR)
    return True


async def test_two_who_move_to_the_same_hour_never_both_get_it(tmp_path: Path) -> None:
    """Each looks after its change; whoever finds another gives way, and no booking is lost."""
    async with desk_set(tmp_path) as desk:
        first = (await desk.create()).booking
        second = (await desk.create(NINE + 2 * HOUR, request_id="q2")).booking
        async with asyncio.TaskGroup() as group:
            one = group.create_task(_try_move(desk, first.name, "u1"))
            other = group.create_task(_try_move(desk, second.name, "u2"))
        assert one.result() + other.result() <= 1
        truth = starts(await desk.rig.truth())
        assert len(truth) == 2
        assert truth.count("2026-11-24T10:00 Design review") == one.result() + other.result()
        await desk.mirror.check_equal()


async def _try_move(desk: WriteDesk, name: str, request_id: str) -> bool:
    try:
        await desk.change(name, start_at=NINE + HOUR, request_id=request_id)
    except RoomConflict:
        return False
    return True


async def test_withdrawn_change_leaves_the_watch_where_it_was(tmp_path: Path) -> None:
    """Whoever watches ends with the booking at its old time, confirmed."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        await desk.rig.told("POST", "/control/faults", {"match": {"method": "PATCH"}, "effect": {"delay_s": 5.0}})
        async with asyncio.TaskGroup() as group:
            group.create_task(_refused(desk, made.name))
            await asyncio.sleep(2.0)
            body = {"subject": "Theirs", "start": _at("10:30"), "end": _at("11:30")}
            await desk.rig.graph.post(f"/users/{desk.rig.room}/events", json=body)
        told = [Booking.FromString(change.body) for change in await desk.mirror.told()]
        last = [one for one in told if one.name == made.name][-1]
        assert (last.state, last.time) == (Booking.STATE_CONFIRMED, made.time)
        assert all(cause == Cause.NONE for _, _, cause in await desk.told())


async def test_change_by_somebody_else_meanwhile_does_not_stop_ours(tmp_path: Path) -> None:
    """Without an etag whichever version is there is meant; with one the caller has to read it again."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        url = desk.rig.event_url((await desk.write()).event_id or "")  # type: ignore[union-attr]  # it was written

        async def rename() -> None:
            assert (await desk.rig.graph.patch(url, json={"subject": "Theirs"})).status_code == 200

        desk.before("PATCH", rename)
        await desk.change(made.name, start_at=NINE + HOUR)
        assert starts(await desk.rig.truth()) == ["2026-11-24T10:00 Theirs"]
        etag = (await desk.listed())[0].etag

        async def rename_again() -> None:
            assert (await desk.rig.graph.patch(url, json={"subject": "Theirs again"})).status_code == 200

        desk.before("PATCH", rename_again)
        with pytest.raises(EtagMismatch):
            await desk.change(made.name, start_at=NINE, booking_etag=etag, request_id="u2")
        assert starts(await desk.rig.truth()) == ["2026-11-24T10:00 Theirs again"]
        await desk.mirror.check_equal()


async def test_read_during_a_change_that_fails_is_made_good(tmp_path: Path) -> None:
    """What was told as pending while nobody knew is confirmed when the change is refused."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        event_id = (await desk.write()).event_id or ""  # type: ignore[union-attr]  # it was written

        async def rename_and_read() -> None:
            url = desk.rig.event_url(event_id)
            assert (await desk.rig.graph.patch(url, json={"subject": "Theirs"})).status_code == 200
            await desk.mirror.compare()

        desk.before("PATCH", rename_and_read)
        with pytest.raises(EtagMismatch):
            await desk.change(made.name, start_at=NINE + HOUR, booking_etag=made.etag)
        (shown,) = await desk.listed()
        assert (shown.state, shown.subject) == (Booking.STATE_CONFIRMED, "Theirs")
        await desk.mirror.check_equal()


async def test_change_that_exchange_did_not_take_for_long_is_not_made_any_more(tmp_path: Path) -> None:
    """Whoever wanted it has gone on without it; asked again, it begins anew."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        fault = {"match": {"method": "PATCH", "count": 4}, "effect": {"drop": True}}
        await desk.rig.told("POST", "/control/faults", fault)
        with pytest.raises(OutcomeUnknown):
            await desk.change(made.name, start_at=NINE + HOUR)
        await desk.mirror.advance(601)
        with pytest.raises(GraphUnavailable):
            await desk.resume()
        assert await desk.write("u1") is None
        assert starts(await desk.rig.truth()) == ["2026-11-24T09:00 Design review"]
        assert (await desk.listed())[0].state == Booking.STATE_CONFIRMED
        await desk.change(made.name, start_at=NINE + HOUR)
        assert starts(await desk.rig.truth()) == ["2026-11-24T10:00 Design review"]


async def test_shorter_booking_is_in_nobodys_way(tmp_path: Path) -> None:
    """A person has booked over it in Outlook: making ours shorter takes nothing from anybody."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create(hours=2.0)).booking
        body = {"subject": "Theirs", "start": _at("10:30"), "end": _at("11:30")}
        assert (await desk.rig.graph.post(f"/users/{desk.rig.room}/events", json=body)).status_code == 201
        shorter = (await desk.change(made.name, start_at=NINE, hours=1.75)).booking
        assert shorter.state == Booking.STATE_CONFIRMED
        with pytest.raises(RoomConflict):
            await desk.change(made.name, start_at=NINE, hours=2.0 + 0.25, request_id="u2")


@pytest.mark.parametrize(("start", "is_fine"), [("2026-11-25T23:00", True), ("2026-11-25T09:00", False)])
async def test_whole_day_is_a_day_of_the_room(tmp_path: Path, start: str, is_fine: bool) -> None:
    """From midnight to midnight in Berlin, where the room is."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        start_at = datetime.fromisoformat(start).replace(tzinfo=UTC)
        if is_fine:
            day = (await desk.change(made.name, start_at=start_at, hours=24.0, booking_all_day=True)).booking
            assert day.all_day
            assert day.time.start_time.ToDatetime(tzinfo=UTC) == start_at
            await desk.change(made.name, start_at=NINE, booking_all_day=False, request_id="u2")
        else:
            with pytest.raises(InvalidArgument):
                await desk.change(made.name, start_at=start_at, hours=24.0, booking_all_day=True)
        assert starts(await desk.rig.truth()) == ["2026-11-24T09:00 Design review"]
        await desk.mirror.check_equal()


async def test_rule_for_a_single_booking_is_refused(tmp_path: Path) -> None:
    """It does not become a series by being changed."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        with pytest.raises(InvalidArgument):
            await desk.change(made.name, start_at=NINE, rrule="FREQ=DAILY", scope=SERIES_SCOPE_SERIES)


@pytest.mark.parametrize("processing", ["None", "AutoUpdate"])
async def test_meeting_that_the_room_has_not_answered_is_changed_where_it_lies(tmp_path: Path, processing: str) -> None:
    """The copy knows it by the organizer's id, under which the room has nothing."""
    async with desk_set(tmp_path) as desk:
        settings = {"settings": {"AutomateProcessing": processing}}
        await desk.rig.told("PATCH", desk.rig.path(f"/mailboxes/{desk.rig.room}"), settings)
        made = await desk.create(
            booking_organizer=Person(email=desk.rig.ada),
            mode=WRITE_MODE_ORGANIZER,
            completion=WRITE_COMPLETION_SUBMITTED,
        )
        changed = (
            await desk.change(made.booking.name, booking_subject="New", completion=WRITE_COMPLETION_SUBMITTED)
        ).booking
        assert (changed.name, changed.state) == (made.booking.name, made.booking.state)
        (event,) = await desk.rig.truth(desk.rig.ada)
        assert event["subject"] == "New"
