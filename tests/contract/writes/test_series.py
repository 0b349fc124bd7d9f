"""Changes and cancellations in series, against the emulator: one, all that follow, or the whole.

The series is a weekly one of ten, Tuesdays from 24 November, nine to ten.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import (
    BookingNotOurs,
    GraphRefused,
    InvalidArgument,
    MailboxWriteDenied,
    OccurrenceOutOfPlace,
    OutcomeUnknown,
    RoomConflict,
)
from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Booking
from sidecar.gen.ioffice.exchange.v1.common_pb2 import SERIES_SCOPE_FOLLOWING, SERIES_SCOPE_SERIES
from sidecar.model.write import WriteState
from tests.contract.writes.test_creating import desk_set
from tests.support.write_desk import NINE, WriteDesk

pytestmark = pytest.mark.looptime

HOUR, WEEK = timedelta(hours=1), timedelta(days=7)
_FOLLOWING = {"scope": SERIES_SCOPE_FOLLOWING}
_SERIES = {"scope": SERIES_SCOPE_SERIES}


async def _series(desk: WriteDesk, rule: str = "FREQ=WEEKLY;COUNT=10") -> list[Booking]:
    await desk.create(rrule=rule)
    return await desk.listed()


def _start(booking: Booking) -> datetime:
    return booking.time.start_time.ToDatetime(tzinfo=UTC)


async def _shown(desk: WriteDesk) -> list[tuple[datetime, str]]:
    """Return the copy, after holding it to the calendar."""
    await desk.mirror.check_equal()
    return [(_start(one), one.subject) for one in await desk.listed()]


def _weeks(*numbers: int, at: timedelta = timedelta(), subject: str = "Design review") -> list[tuple[datetime, str]]:
    return [(NINE + number * WEEK + at, subject) for number in numbers]


async def _fault(desk: WriteDesk, match: dict[str, Any], effect: dict[str, Any]) -> None:
    await desk.rig.told("POST", "/control/faults", {"match": match, "effect": effect})


async def test_one_occurrence_is_moved_and_the_others_stay(tmp_path: Path) -> None:
    """It keeps its name."""
    async with desk_set(tmp_path) as desk:
        third = (await _series(desk))[2]
        moved = (await desk.change(third.name, start_at=_start(third) + HOUR)).booking
        assert (moved.name, moved.recurrence.exception) == (third.name, True)
        assert await _shown(desk) == [*_weeks(0, 1), *_weeks(2, at=HOUR), *_weeks(*range(3, 10))]


async def test_occurrence_is_not_moved_past_its_neighbour(tmp_path: Path) -> None:
    """Exchange keeps them in order, and we say so."""
    async with desk_set(tmp_path) as desk:
        third = (await _series(desk))[2]
        with pytest.raises(OccurrenceOutOfPlace):
            await desk.change(third.name, start_at=_start(third) + 8 * timedelta(days=1))
        assert await _shown(desk) == _weeks(*range(10))


async def test_all_that_follow_are_moved_and_the_former_stay(tmp_path: Path) -> None:
    """Two series take the room when one did; the answer names the booking that came of the one that was named."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        answer = await desk.change(made[4].name, start_at=_start(made[4]) + HOUR, **_FOLLOWING)
        assert not answer.lost_exceptions
        assert await _shown(desk) == [*_weeks(*range(4)), *_weeks(*range(4, 10), at=HOUR)]
        listed = await desk.listed()
        assert answer.booking == listed[4]
        assert {one.name for one in listed[:4]} == {one.name for one in made[:4]}
        assert {one.recurrence.series_id for one in listed[4:]} == {answer.booking.recurrence.series_id}
        again = await desk.change(made[4].name, start_at=_start(made[4]) + HOUR, **_FOLLOWING)
        assert again.booking == answer.booking


async def test_words_of_all_that_follow_change_and_single_days_are_done_again(tmp_path: Path) -> None:
    """A moved one, a renamed one and a cancelled one on either side of the cut."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        for number in (1, 6):
            await desk.change(made[number].name, start_at=_start(made[number]) + HOUR, request_id=f"m{number}")
            name = made[number + 1].name
            await desk.change(name, booking_subject="With guests", request_id=f"r{number}")
            await desk.cancel(made[number + 2].name, request_id=f"c{number}")
        answer = await desk.change(made[5].name, booking_subject="Second half", **_FOLLOWING)
        assert not answer.lost_exceptions
        assert await _shown(desk) == [
            *_weeks(0),
            *_weeks(1, at=HOUR),
            *_weeks(2, subject="With guests"),
            *_weeks(4),
            *_weeks(5, subject="Second half"),
            *_weeks(6, at=HOUR, subject="Second half"),
            *_weeks(7, subject="With guests"),
            *_weeks(9, subject="Second half"),
        ]


async def test_endless_series_goes_on_after_a_cut(tmp_path: Path) -> None:
    """The tail has no end, either."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk, "FREQ=WEEKLY")
        await desk.change(made[4].name, start_at=_start(made[4]) + HOUR, **_FOLLOWING)
        shown = await _shown(desk)
        assert len(shown) == len(made)
        winter = 14
        assert shown[:winter] == [*_weeks(*range(4)), *_weeks(*range(4, winter), at=HOUR)]
        assert {start.hour for start, _ in shown[winter:]} == {9, 10}, "the room's zone has summer time"


async def test_all_that_follow_the_first_are_the_whole_series(tmp_path: Path) -> None:
    """No second series is made."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        await desk.change(made[0].name, start_at=NINE + HOUR, **_FOLLOWING)
        assert await _shown(desk) == _weeks(*range(10), at=HOUR)
        found = (await desk.rig.told("GET", desk.rig.path("/requests")))["requests"]
        assert sum(one["method"] == "POST" and one["path"].endswith("/events") for one in found) == 1


async def test_whole_series_is_moved_and_single_days_are_done_again(tmp_path: Path) -> None:
    """A moved one stays where it was moved to; a renamed one goes with the series."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        await desk.change(made[1].name, start_at=_start(made[1]) + 3 * HOUR, request_id="m")
        await desk.change(made[2].name, booking_subject="With guests", request_id="r")
        await desk.cancel(made[3].name)
        answer = await desk.change(made[5].name, start_at=_start(made[5]) + HOUR, **_SERIES)
        assert not answer.lost_exceptions
        assert _start(answer.booking) == NINE + 5 * WEEK + HOUR
        assert await _shown(desk) == [
            *_weeks(0, at=HOUR),
            *_weeks(1, at=3 * HOUR),
            *_weeks(2, at=HOUR, subject="With guests"),
            *_weeks(*range(4, 10), at=HOUR),
        ]


async def test_watchers_of_a_changed_series_never_see_a_day_that_is_not_meant(tmp_path: Path) -> None:
    """Exchange brings cancelled days back for a moment; no read in between tells of it."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        await desk.cancel(made[3].name)
        before = len(await desk.mirror.told())
        await _fault(desk, {"method": "GET", "path": "/instances"}, {"delay_s": 5.0})
        async with asyncio.TaskGroup() as group:
            group.create_task(desk.change(made[5].name, start_at=_start(made[5]) + HOUR, **_SERIES))
            await asyncio.sleep(2.0)
            assert len(await desk.rig.truth()) == 10
            await desk.mirror.compare()
            assert len(await desk.listed()) == 9
        told = [Booking.FromString(change.body) for change in (await desk.mirror.told())[before:]]
        assert all(_start(one) - 3 * WEEK - NINE not in (timedelta(), HOUR) for one in told)
        assert await _shown(desk) == _weeks(*range(3), *range(4, 10), at=HOUR)


async def test_new_rule_names_what_its_days_have_lost(tmp_path: Path) -> None:
    """What was different about a day that is no more is named with its time."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        await desk.change(made[1].name, start_at=_start(made[1]) + HOUR, request_id="m")
        new = NINE + timedelta(days=1)
        answer = await desk.change(made[0].name, start_at=new, rrule="FREQ=WEEKLY;COUNT=3;BYDAY=WE", **_SERIES)
        (lost,) = answer.lost_exceptions
        assert lost.original_start_time.ToDatetime(tzinfo=UTC) == NINE + WEEK
        assert lost.time.start_time.ToDatetime(tzinfo=UTC) == NINE + WEEK + HOUR
        assert await _shown(desk) == _weeks(0, 1, 2, at=timedelta(days=1))
        again = await desk.change(made[0].name, start_at=new, rrule="FREQ=WEEKLY;COUNT=3;BYDAY=WE", **_SERIES)
        assert list(again.lost_exceptions) == [lost]


async def test_series_is_not_moved_to_other_days_without_a_rule(tmp_path: Path) -> None:
    """Which days are meant is not for us to guess."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        with pytest.raises(InvalidArgument):
            await desk.change(made[2].name, start_at=_start(made[2]) + timedelta(days=1), **_SERIES)
        with pytest.raises(InvalidArgument):
            await desk.change(made[2].name, start_at=_start(made[2]), rrule="FREQ=WEEKLY;BYDAY=FR", **_SERIES)
        assert await _shown(desk) == _weeks(*range(10))


async def test_series_whose_new_time_is_taken_stays_as_it_was(tmp_path: Path) -> None:
    """In front of the change, or, with single days done again, behind it."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        await desk.cancel(made[3].name)
        body = {"subject": "Theirs", "start": _at("2026-12-22T10:30:00"), "end": _at("2026-12-22T11:00:00")}
        await _fault(desk, {"method": "PATCH"}, {"delay_s": 5.0})
        async with asyncio.TaskGroup() as group:
            call = group.create_task(_refused(desk, made[5], "u1", _SERIES))
            await asyncio.sleep(2.0)
            assert (await desk.rig.graph.post(f"/users/{desk.rig.room}/events", json=body)).status_code == 201
        assert call.result().details["start_time"] == "2026-12-22T10:30:00Z"
        await desk.mirror.compare()
        rest = _weeks(*range(3), *range(4, 10))
        theirs = (datetime(2026, 12, 22, 10, 30, tzinfo=UTC), "Theirs")
        assert await _shown(desk) == sorted([*rest, theirs])
        await _refused(desk, made[4], "u2", _FOLLOWING)
        assert await _shown(desk) == sorted([*rest, theirs])


async def _refused(desk: WriteDesk, booking: Booking, request_id: str, scope: dict[str, Any]) -> RoomConflict:
    with pytest.raises(RoomConflict) as caught:
        await desk.change(booking.name, start_at=_start(booking) + HOUR, request_id=request_id, **scope)
    return caught.value


def _at(wall: str) -> dict[str, str]:
    return {"dateTime": wall, "timeZone": "UTC"}


async def test_tail_whose_time_is_taken_meanwhile_is_not_cut_off(tmp_path: Path) -> None:
    """Somebody was first: the new series goes again, and the old one was never touched."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        body = {"subject": "Theirs", "start": _at("2026-12-29T10:30:00"), "end": _at("2026-12-29T11:00:00")}
        await _fault(desk, {"method": "POST", "path": "/events"}, {"delay_s": 5.0})
        async with asyncio.TaskGroup() as group:
            group.create_task(_refused(desk, made[4], "u1", _FOLLOWING))
            await asyncio.sleep(2.0)
            answer = await desk.rig.graph.post(f"/users/{desk.rig.rooms[0]['id']}/events", json=body)
            assert answer.status_code == 201
        await desk.mirror.compare()
        theirs = (datetime(2026, 12, 29, 10, 30, tzinfo=UTC), "Theirs")
        assert await _shown(desk) == sorted([*_weeks(*range(10)), theirs])


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_cut_that_exchange_refuses_leaves_the_series_as_it_was(tmp_path: Path, method: str) -> None:
    """At its first request or its last, which is an answer and no unknown outcome; of the tail nothing is left."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        await _fault(desk, {"method": method}, {"status": 403, "code": "ErrorAccessDenied"})
        with pytest.raises(MailboxWriteDenied):
            await desk.change(made[4].name, start_at=_start(made[4]) + HOUR, **_FOLLOWING)
        assert await _shown(desk) == _weeks(*range(10))


async def test_change_that_exchange_refuses_is_answered_so(tmp_path: Path) -> None:
    """It is no unknown outcome."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        await _fault(desk, {"method": "PATCH"}, {"status": 400, "code": "ErrorInvalidRequest"})
        with pytest.raises(GraphRefused):
            await desk.change(made[4].name, start_at=_start(made[4]) + HOUR, **_SERIES)
        assert await _shown(desk) == _weeks(*range(10))


_STEPS: dict[str, dict[str, Any]] = {
    "tail": {"method": "POST", "path": "/events"},
    "look": {"method": "GET", "path": "/calendarView", "skip": 1},
    "cut": {"method": "PATCH"},
    "days": {"method": "GET", "path": "/instances"},
    "cancelled": {"method": "DELETE"},
}


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("step", _STEPS)
async def test_cut_of_a_killed_process_is_brought_to_its_end(tmp_path: Path, step: str, is_done: bool) -> None:
    """Killed at each of its steps, before or after Exchange has carried it out; the hours were never free."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        await desk.cancel(made[2].name, request_id="c2")
        await desk.cancel(made[7].name, request_id="c7")
        await _fault(desk, _STEPS[step], {"stall_s": 5.0} if is_done else {"delay_s": 5.0, "drop": True})
        async with asyncio.TaskGroup() as group:
            group.create_task(_unknown(desk, made[5]))
            await asyncio.sleep(2.0)
            await desk.die()
        busy = {one["start"][:10] for one in await desk.rig.truth()}
        assert {f"{NINE + number * WEEK:%Y-%m-%d}" for number in (0, 1, 3, 4, 5, 6, 8, 9)} <= busy
        await desk.mirror.compare()
        assert [_start(one) for one in await desk.listed()] == [start for start, _ in _weeks(0, 1, 3, 4, 5, 6, 8, 9)]
        await desk.live_again()
        await desk.resume()
        write = await desk.write("u1")
        assert write is not None
        assert write.state is WriteState.DONE
        assert await _shown(desk) == [
            *_weeks(0, 1, 3, 4),
            *_weeks(5, 6, 8, 9, at=HOUR, subject="Design review"),
        ]


async def _unknown(desk: WriteDesk, booking: Booking) -> None:
    with pytest.raises(OutcomeUnknown):
        await desk.change(booking.name, start_at=_start(booking) + HOUR, **_FOLLOWING)


async def test_one_occurrence_is_cancelled(tmp_path: Path) -> None:
    """The others stay, and what is different about them."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        await desk.change(made[1].name, start_at=_start(made[1]) + HOUR)
        assert (await desk.cancel(made[3].name)).booking.state == Booking.STATE_CANCELLED
        assert await _shown(desk) == [*_weeks(0), *_weeks(1, at=HOUR), *_weeks(2, *range(4, 10))]


async def test_last_occurrence_goes_with_its_series(tmp_path: Path) -> None:
    """Exchange would keep a series that never takes place."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk, "FREQ=WEEKLY;COUNT=2")
        await desk.cancel(made[0].name, request_id="c0")
        await desk.cancel(made[1].name, request_id="c1")
        assert await _shown(desk) == []
        answer = await desk.rig.graph.get(f"/users/{desk.rig.room}/events")
        assert answer.json()["value"] == []


async def test_all_that_follow_are_cancelled(tmp_path: Path) -> None:
    """What is different before stays so; a series without an end has one now."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk, "FREQ=WEEKLY")
        await desk.change(made[1].name, start_at=_start(made[1]) + HOUR)
        await desk.cancel(made[2].name, request_id="c2")
        await desk.cancel(made[5].name, request_id="c5", **_FOLLOWING)
        assert await _shown(desk) == [*_weeks(0), *_weeks(1, at=HOUR), *_weeks(3, 4)]


@pytest.mark.parametrize("scope", [_FOLLOWING, _SERIES])
async def test_whole_series_is_cancelled(tmp_path: Path, scope: dict[str, Any]) -> None:
    """By its name, or from its first occurrence on."""
    async with desk_set(tmp_path) as desk:
        made = await _series(desk)
        await desk.cancel(made[0].name, **scope)
        assert await _shown(desk) == []


async def test_scope_means_a_single_booking_itself(tmp_path: Path) -> None:
    """There is nothing else it could mean."""
    async with desk_set(tmp_path) as desk:
        made = (await desk.create()).booking
        assert (await desk.change(made.name, start_at=NINE + HOUR, **_FOLLOWING)).booking.name == made.name
        await desk.cancel(made.name, **_SERIES)
        assert await _shown(desk) == []


async def test_of_somebodys_series_one_or_all_are_declined(tmp_path: Path) -> None:
    """From a day on is not possible: only its organizer can cut it."""
    async with desk_set(tmp_path) as desk:
        rule: dict[str, Any] = {"pattern": {"type": "daily", "interval": 1}}
        rule["range"] = {"type": "numbered", "numberOfOccurrences": 4, "startDate": "2026-11-24"}
        await desk.rig.book("2026-11-24T09:00:00", "2026-11-24T10:00:00", time_zone="UTC", recurrence=rule)
        await desk.rig.rest()
        await desk.mirror.compare()
        theirs = await desk.listed()
        await desk.cancel(theirs[1].name)
        await desk.rig.rest()
        with pytest.raises(BookingNotOurs):
            await desk.cancel(theirs[2].name, request_id="c2", **_FOLLOWING)
        assert [_start(one).day for one in await desk.listed()] == [24, 26, 27]
        await desk.cancel(theirs[2].name, request_id="c3", **_SERIES)
        await desk.rig.rest()
        assert await _shown(desk) == []
