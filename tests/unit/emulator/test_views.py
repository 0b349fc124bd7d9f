"""calendarView: what belongs to a window, and how it is paged."""

import pytest

from sidecar.emulator.wire import rendering
from tests.unit.emulator.rig import rig, wire_event

pytestmark = pytest.mark.looptime
DAY = ("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")


async def test_window_holds_what_overlaps_it() -> None:
    async with rig() as r:
        for name, start, end in (
            ("before", "2026-11-23T20:00:00", "2026-11-24T00:00:00"),
            ("into", "2026-11-23T20:00:00", "2026-11-24T00:01:00"),
            ("around", "2026-11-20T00:00:00", "2026-11-30T00:00:00"),
            ("inside", "2026-11-24T09:00:00", "2026-11-24T10:00:00"),
            ("out of", "2026-11-24T23:59:00", "2026-11-25T02:00:00"),
            ("after", "2026-11-25T00:00:00", "2026-11-25T01:00:00"),
            ("instant", "2026-11-24T12:00:00", "2026-11-24T12:00:00"),
        ):
            await r.graph.post(f"/users/{r.room}/events", json=wire_event(start, end, subject=name))
        shown = [item["subject"] for item in await r.view(*DAY)]
        assert shown == ["around", "into", "inside", "instant", "out of"]


async def test_pages_are_ten_unless_asked_and_links_reach_everything() -> None:
    async with rig() as r:
        for minute in range(25):
            start, end = f"2026-11-24T10:{minute:02}:00", f"2026-11-24T11:{minute:02}:00"
            await r.graph.post(f"/users/{r.room}/events", json=wire_event(start, end, subject=str(minute)))
        window = {"startDateTime": DAY[0], "endDateTime": DAY[1]}
        first = (await r.graph.get(f"/users/{r.room}/calendarView", params=window)).json()
        assert len(first["value"]) == 10
        assert "$skip=10" in first["@odata.nextLink"]
        assert [item["subject"] for item in await r.view(*DAY, top=7)] == [str(minute) for minute in range(25)]
        backwards = await r.view(*DAY, top=1000, orderby="start/dateTime desc")
        assert [item["subject"] for item in backwards] == [str(minute) for minute in reversed(range(25))]


async def test_unkind_pages_are_smaller_and_still_complete() -> None:
    async with rig() as r:
        for minute in range(40):
            start, end = f"2026-11-24T10:{minute:02}:00", f"2026-11-24T11:{minute:02}:00"
            await r.graph.post(f"/users/{r.room}/events", json=wire_event(start, end))
        await r.told("PUT", "/control/moods", {"small_page_share": 1})
        window = {"startDateTime": DAY[0], "endDateTime": DAY[1], "$top": "20"}
        page = (await r.graph.get(f"/users/{r.room}/calendarView", params=window)).json()
        assert len(page["value"]) < 20
        assert len({item["id"] for item in await r.view(*DAY, top=20)}) == 40


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"startDateTime": DAY[0]}, "ErrorInvalidParameter"),
        ({"startDateTime": DAY[0], "endDateTime": "tomorrow"}, "ErrorInvalidParameter"),
        ({"startDateTime": DAY[1], "endDateTime": DAY[0]}, "ErrorInvalidRequest"),
        ({"startDateTime": "2026-01-01T00:00:00Z", "endDateTime": "2031-01-01T00:00:00Z"}, "ErrorInvalidRequest"),
        ({"startDateTime": DAY[0], "endDateTime": DAY[1], "$top": "1001"}, "ErrorInvalidRequest"),
    ],
)
async def test_impossible_window_is_refused(params: dict[str, str], code: str) -> None:
    async with rig() as r:
        answer = await r.graph.get(f"/users/{r.room}/calendarView", params=params)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


async def test_window_may_be_1825_days_long_and_carry_an_offset() -> None:
    async with rig() as r:
        params = {"startDateTime": "2026-01-01T00:00:00+01:00", "endDateTime": "2030-12-30T23:00:00Z"}
        assert (await r.graph.get(f"/users/{r.room}/calendarView", params=params)).status_code == 200


async def test_all_day_event_floats() -> None:
    """It is matched at UTC midnights and shown at midnight in every zone."""
    async with rig() as r:
        body = wire_event("2026-11-24T00:00:00", "2026-11-25T00:00:00", zone="Asia/Tokyo", isAllDay=True)
        await r.graph.post(f"/users/{r.room}/events", json=body)
        shown = await r.view(*DAY, headers={"prefer": 'outlook.timezone="America/New_York"'})
        assert shown[0]["start"] == {"dateTime": "2026-11-24T00:00:00.0000000", "timeZone": "America/New_York"}
        assert await r.view("2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z") == []


async def test_cancelled_but_kept_meeting_is_shown() -> None:
    async with rig() as r:
        booked = await r.book("2026-11-24T09:00:00", "2026-11-24T10:00:00")
        await r.rest()
        await r.told("POST", r.path("/outlook/cancel"), {"meeting": booked["meeting"]})
        await r.rest()
        (item,) = await r.view(*DAY)
        assert (item["isCancelled"], item["showAs"], item["subject"]) == (True, "free", "Canceled: Ada Lovelace ")


async def test_bytes_kept_for_reading_again_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been read stays written down only up to a limit, and reads the same when it is written anew."""
    monkeypatch.setattr(rendering, "_KEPT_BYTES_MAX", 20_000)
    async with rig() as r:
        await r.told("POST", r.path("/seed"), {"rooms": 1, "bookings_per_room": 100})
        mailbox = "room3@" + r.room.split("@")[1]
        first = await r.view("2026-11-01T00:00:00Z", "2027-11-01T00:00:00Z", mailbox=mailbox, top=100)
        again = await r.view("2026-11-01T00:00:00Z", "2027-11-01T00:00:00Z", mailbox=mailbox, top=100)
        assert len(first) == 100
        assert again == first
        tenant = next(iter(r.emulator.world.directory.tenants.values()))
        kept = [len(event.rendered) for event in tenant.addresses[mailbox].calendar.roots()]
        assert 0 < sum(kept) <= 20_000
