"""Values that no calendar and no clock can hold: each is refused where it comes in, and nothing ends by it later."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sidecar.emulator.clock import LoopClock
from tests.unit.emulator.rig import rig, wire_event

pytestmark = pytest.mark.looptime
ABSURD_S = 1e18


async def test_clock_does_not_leave_the_years_it_can_count() -> None:
    async with rig() as r:
        now = (await r.told("GET", "/control/health"))["now"]
        for _ in range(40):
            answer = await r.control.post("/control/clock", json={"advance_s": 3.1e9})
            if answer.status_code != 200:
                break
        assert answer.status_code == 400
        assert "cannot move that far" in answer.json()["error"]
        assert (await r.told("GET", "/control/health"))["now"] > now
        assert await r.sign_in()


@pytest.mark.parametrize("year", [1, 1969, 4001, 9999])
async def test_clock_does_not_start_out_of_bounds(year: int) -> None:
    with pytest.raises(ValueError, match="between 1970 and 4000"):
        LoopClock(start_at=datetime(year, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/control/clock", {"advance_s": ABSURD_S}),
        ("POST", "/control/outage", {"for_s": ABSURD_S}),
        ("PATCH", "{t}/app", {"generate_secret": True, "propagation_s": ABSURD_S}),
        ("POST", "{t}/rooms", {"rooms": [{"settings": {"processing_delay_s": ABSURD_S}}]}),
        ("POST", "{t}/rooms", {"rooms": [{"settings": {"processing_delay_s": -1}}]}),
        ("POST", "{t}/subscriptions/x/disturb", {"delay_count": 1, "delay_s": ABSURD_S}),
        *(
            ("PUT", "/control/moods", {name: ABSURD_S})
            for name in ("notify_delay_max_s", "retry_for_s", "access_check_s", "token_lifetime_max_s")
        ),
        ("PUT", "/control/moods", {"retry_first_s": 0}),
        ("PUT", "/control/moods", {"retry_max_s": 0}),
    ],
)
async def test_wait_beyond_all_measure_is_refused(method: str, path: str, body: dict[str, Any]) -> None:
    async with rig() as r:
        answer = await r.control.request(method, path.replace("{t}", r.path("")), json=body)
        assert answer.status_code == 400
        assert "Expected `float`" in answer.json()["error"]


@pytest.mark.parametrize(
    ("start", "end", "zone"),
    [
        ("0001-01-01T00:00:00", "0001-01-01T01:00:00", "UTC"),
        ("0001-01-01T00:00:00", "0001-01-01T01:00:00", "Asia/Tokyo"),
        ("9999-12-31T22:00:00", "9999-12-31T23:00:00", "Pacific Standard Time"),
        ("4500-01-01T00:00:00", "4500-01-01T01:00:00", "UTC"),
        ("1602-01-01T00:00:00", "4499-01-01T01:00:00", "UTC"),
        ("2026-12-01T00:00:00", "2031-12-01T01:00:00", "UTC"),
    ],
)
async def test_event_beyond_what_a_calendar_holds_is_refused_everywhere(start: str, end: str, zone: str) -> None:
    async with rig() as r:
        booked = await r.book("2026-12-01T09:00:00", "2026-12-01T10:00:00")
        times = {"start": start, "end": end, "time_zone": zone}
        for call, more in (("book", {"organizer": r.ada, "rooms": [r.room]}), ("move", {"meeting": booked["meeting"]})):
            answer = await r.control.post(r.path(f"/outlook/{call}"), json={**times, **more})
            assert answer.status_code == 400
        answer = await r.graph.post(f"/users/{r.room}/events", json=wire_event(start, end, zone=zone))
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] in ("ErrorPropertyValidationFailure", "ErrorCalendarDurationIsTooLong")
        await r.rest()


@pytest.mark.parametrize(
    ("start", "end"),
    [("1602-01-02T00:00:00", "1602-01-02T01:00:00"), ("4499-12-31T00:00:00", "4499-12-31T01:00:00")],
)
async def test_event_at_the_edge_of_what_a_calendar_holds_is_answered_by_its_room(start: str, end: str) -> None:
    async with rig() as r:
        recurrence = {
            "pattern": {"type": "daily", "interval": 999},
            "range": {"type": "noEnd", "startDate": start[:10]},
        }
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"time_zone": "Pacific/Kiritimati"})
        for more in ({}, {"recurrence": recurrence}):
            for room in (r.room, r.rooms[1]["address"]):
                await r.book(start, end, rooms=[room], **more)
                await r.rest()
        window = {"startDateTime": f"{start[:4]}-01-01T00:00:00Z", "endDateTime": f"{start[:4]}-12-31T23:00:00-12:00"}
        assert (await r.graph.get(f"/users/{r.ada}/calendarView", params=window)).status_code == 200


@pytest.mark.parametrize("edge", ["0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"])
async def test_window_beyond_what_a_calendar_holds_is_refused(edge: str) -> None:
    async with rig() as r:
        for name in ("start", "end"):
            truth = await r.control.get(r.path(f"/calendars/{r.room}"), params={name: edge})
            assert (truth.status_code, "dates and times" in truth.text) == (400, True)
        window = {"startDateTime": edge, "endDateTime": edge}
        assert (await r.graph.get(f"/users/{r.room}/calendarView", params=window)).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"rooms": 100_000, "bookings_per_room": 100_000},
        {"rooms": 1, "start": "9999-12-31T00:00:00Z"},
        {"rooms": 1, "start": "0001-01-01T00:00:00+14:00"},
    ],
)
async def test_seeding_beyond_all_measure_makes_nothing(body: dict[str, Any]) -> None:
    async with rig() as r:
        assert (await r.control.post(r.path("/seed"), json=body)).status_code == 400
        assert len(r.emulator.world.directory.tenants[r.tenant["tenant_id"]].mailboxes) == 4


async def test_seeding_from_a_start_without_an_offset_can_be_read() -> None:
    async with rig() as r:
        seeded = await r.told(
            "POST", r.path("/seed"), {"rooms": 1, "bookings_per_room": 3, "start": "2026-12-01T00:00:00"}
        )
        assert len(await r.truth(seeded["rooms"][0]["address"])) == 3


async def test_truth_of_more_than_a_century_is_refused() -> None:
    async with rig() as r:
        window = {"start": "1900-01-01T00:00:00", "end": "2100-01-01T00:00:00"}
        answer = await r.control.get(r.path(f"/calendars/{r.room}"), params=window)
        assert (answer.status_code, "days apart" in answer.text) == (400, True)
