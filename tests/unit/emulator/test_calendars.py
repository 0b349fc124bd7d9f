"""Calendars by name and by id, schedules, and the time zones the service knows."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from sidecar.emulator.windows_zones import WINDOWS_TO_IANA
from tests.unit.emulator.rig import Rig, rig, wire_event

pytestmark = pytest.mark.looptime
WINDOW = {"startDateTime": "2026-11-24T00:00:00Z", "endDateTime": "2026-11-25T00:00:00Z"}


async def calendar_id(r: Rig, mailbox: str | None = None) -> str:
    (found,) = (await r.graph.get(f"/users/{mailbox or r.room}/calendars")).json()["value"]
    assert found["isDefaultCalendar"] is True
    return str(found["id"])


async def test_default_calendar_answers_by_its_id_as_it_does_by_name() -> None:
    async with rig() as r:
        own = f"/users/{r.room}/calendars/{await calendar_id(r)}"
        made = await r.graph.post(f"{own}/events", json=wire_event())
        assert made.status_code == 201
        assert (await r.graph.get(own)).json() == (await r.graph.get(f"/users/{r.room}/calendar")).json()
        for path, params in (("events", {}), ("calendarView", WINDOW), ("calendarView/delta", WINDOW)):
            (item,) = (await r.graph.get(f"{own}/{path}", params=params)).json()["value"]
            assert item["id"] == made.json()["id"]
        event = f"{own}/events/{made.json()['id']}"
        assert (await r.graph.patch(event, json={"subject": "B"})).json()["subject"] == "B"
        assert (await r.graph.delete(event)).status_code == 204


async def test_delta_links_of_a_calendar_by_id_lead_on() -> None:
    async with rig() as r:
        url = f"/users/{r.room}/calendars/{await calendar_id(r)}/calendarView/delta"
        link = (await r.graph.get(url, params=WINDOW)).json()["@odata.deltaLink"]
        assert "/calendars/" in link
        await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        assert len((await r.graph.get(link)).json()["value"]) == 1


@pytest.mark.parametrize("path", ["", "/events", "/calendarView", "/calendarView/delta"])
async def test_calendar_of_somebody_else_is_not_found(path: str) -> None:
    async with rig() as r:
        other = await calendar_id(r, r.ada)
        answer = await r.graph.get(f"/users/{r.room}/calendars/{other}{path}", params=WINDOW if path else None)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ErrorItemNotFound")


async def schedule(r: Rig, addresses: list[str], headers: dict[str, str] | None = None, **changes: Any) -> Any:
    body = {
        "schedules": addresses,
        "startTime": {"dateTime": "2026-11-24T06:00:00", "timeZone": "UTC"},
        "endTime": {"dateTime": "2026-11-24T18:00:00", "timeZone": "UTC"},
        **changes,
    }
    return await r.graph.post(f"/users/{r.room}/calendar/getSchedule", json=body, headers=headers)


async def one_schedule(r: Rig, headers: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    answer = await schedule(r, [r.room], headers, **changes)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["value"]
    result: dict[str, Any] = found
    return result


@pytest.mark.parametrize(
    ("rule", "events", "minutes", "expected"),
    [
        ("nothing is free", [], None, "0" * 24),
        ("half an hour unless asked", [("09:00", "10:00", "busy")], None, "000000220000000000000000"),
        ("an interval that is only touched counts", [("09:10", "09:20", "busy")], 60, "000200000000"),
        ("the last interval may be shorter", [("17:50", "18:00", "busy")], 480, "02"),
        ("tentative", [("06:00", "07:00", "tentative")], 240, "100"),
        ("out of office", [("06:00", "07:00", "oof")], 240, "300"),
        ("working elsewhere", [("06:00", "07:00", "workingElsewhere")], 240, "400"),
        ("free counts as free", [("06:00", "07:00", "free")], 240, "000"),
        ("busy hides tentative", [("06:00", "07:00", "tentative"), ("06:30", "07:00", "busy")], 240, "200"),
        ("out of office hides busy", [("06:00", "07:00", "oof"), ("06:30", "07:00", "busy")], 240, "300"),
        ("an item that began before the window", [("05:00", "06:30", "busy")], 60, "200000000000"),
        ("one that ends at its start", [("05:00", "06:00", "busy")], 60, "000000000000"),
    ],
)
async def test_availability_has_a_digit_per_interval(
    rule: str, events: list[tuple[str, str, str]], minutes: int | None, expected: str
) -> None:
    async with rig() as r:
        for start, end, show_as in events:
            body = wire_event(f"2026-11-24T{start}:00", f"2026-11-24T{end}:00", showAs=show_as)
            await r.graph.post(f"/users/{r.room}/events", json=body)
        changes: dict[str, Any] = {} if minutes is None else {"availabilityViewInterval": minutes}
        assert (await one_schedule(r, **changes))["availabilityView"] == expected, rule


async def test_schedule_tells_items_in_the_preferred_zone_and_never_their_ids() -> None:
    async with rig() as r:
        await r.graph.post(f"/users/{r.room}/events", json=wire_event(location={"displayName": "Attic"}))
        found = await one_schedule(r, {"prefer": 'outlook.timezone="Europe/Berlin"'})
        assert found["scheduleItems"] == [
            {
                "isPrivate": False,
                "status": "busy",
                "subject": "Review",
                "location": "Attic",
                "start": {"dateTime": "2026-11-24T10:00:00.0000000", "timeZone": "Europe/Berlin"},
                "end": {"dateTime": "2026-11-24T11:00:00.0000000", "timeZone": "Europe/Berlin"},
            }
        ]
        assert "error" not in found


async def test_schedule_hides_what_is_private() -> None:
    async with rig() as r:
        body = wire_event(sensitivity="private", location={"displayName": "Attic"})
        await r.graph.post(f"/users/{r.room}/events", json=body)
        (item,) = (await one_schedule(r))["scheduleItems"]
        assert (item["isPrivate"], item["status"], item["subject"], item["location"]) == (True, "busy", "", "")


async def test_cancelled_but_kept_meeting_counts_as_free() -> None:
    async with rig() as r:
        booked = await r.book("2026-11-24T09:00:00", "2026-11-24T10:00:00")
        await r.rest()
        assert "2" in (await one_schedule(r))["availabilityView"]
        await r.told("POST", r.path("/outlook/cancel"), {"meeting": booked["meeting"]})
        await r.rest()
        found = await one_schedule(r)
        assert set(found["availabilityView"]) == {"0"}
        assert [item["status"] for item in found["scheduleItems"]] == ["free"]


async def test_working_hours_are_in_the_mailboxs_own_zone() -> None:
    async with rig() as r:
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"time_zone": "W. Europe Standard Time"})
        hours = (await one_schedule(r))["workingHours"]
        assert (hours["startTime"], hours["endTime"]) == ("08:00:00.0000000", "17:00:00.0000000")
        assert hours["timeZone"] == {"name": "W. Europe Standard Time"}
        assert hours["daysOfWeek"] == ["monday", "tuesday", "wednesday", "thursday", "friday"]


async def test_working_hours_are_those_the_mailbox_was_given() -> None:
    async with rig() as r:
        hours = {"days": ["saturday"], "start": "09:30", "end": "12:00", "time_zone": "Asia/Tokyo"}
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"working_hours": hours})
        told = (await one_schedule(r))["workingHours"]
        assert (told["daysOfWeek"], told["startTime"]) == (["saturday"], "09:30:00.0000000")
        assert (told["endTime"], told["timeZone"]) == ("12:00:00.0000000", {"name": "Asia/Tokyo"})


async def test_former_address_of_a_room_tells_its_schedule() -> None:
    async with rig() as r:
        await r.book("2026-11-24T09:00:00", "2026-11-24T10:00:00")
        await r.rest()
        former, r.rooms[0]["address"] = r.room, "atrium@contoso.example"
        await r.told("PATCH", r.path(f"/mailboxes/{former}"), {"address": r.room})
        (found,) = (await schedule(r, [former])).json()["value"]
        assert found["scheduleId"] == former
        assert "2" in found["availabilityView"]


async def test_schedule_tells_the_working_hours_the_mailbox_keeps() -> None:
    async with rig(roles=["Calendars.ReadWrite", "MailboxSettings.ReadWrite"]) as r:
        wish = {"daysOfWeek": ["saturday"], "startTime": "06:30:00", "timeZone": {"name": "Asia/Tokyo"}}
        url = f"/users/{r.room}/mailboxSettings"
        assert (await r.graph.patch(url, json={"workingHours": wish})).status_code == 200
        hours = (await one_schedule(r))["workingHours"]
        assert hours == (await r.graph.get(url)).json()["workingHours"]
        assert (hours["daysOfWeek"], hours["startTime"]) == (["saturday"], "06:30:00.0000000")


async def test_address_nobody_knows_is_told_in_its_own_entry() -> None:
    async with rig() as r:
        answer = await schedule(r, ["nosuch@contoso.example", r.room])
        first, second = answer.json()["value"]
        assert (first["scheduleId"], first["error"]["responseCode"]) == ("nosuch@contoso.example", "5016")
        assert (first["scheduleItems"], first["workingHours"]) == (None, None)
        assert "error" not in second


@pytest.mark.parametrize("kind", ["gone", "softDeleted"])
async def test_mailbox_the_directory_has_lost_is_told_in_its_own_entry(kind: str) -> None:
    async with rig() as r:
        other = r.rooms[1]["address"]
        await r.told("PATCH", r.path(f"/mailboxes/{other}"), {"kind": kind})
        first, second = (await schedule(r, [other, r.room])).json()["value"]
        assert first["error"]["responseCode"] == "5016"
        assert "error" not in second


async def test_schedule_of_more_than_a_thousand_items_is_an_error_of_its_own() -> None:
    async with rig() as r:
        series = wire_event("2026-11-24T06:00:00", "2026-11-24T06:30:00")
        series["recurrence"] = {
            "pattern": {"type": "daily", "interval": 1},
            "range": {"type": "noEnd", "startDate": "2026-11-24"},
        }
        for _ in range(21):
            await r.graph.post(f"/users/{r.room}/events", json=series)
        month = {"dateTime": "2027-01-10T06:00:00", "timeZone": "UTC"}
        assert len((await one_schedule(r, endTime=month))["scheduleItems"]) == 21 * 47
        longer = {"dateTime": "2027-01-12T06:00:00", "timeZone": "UTC"}
        assert (await one_schedule(r, endTime=longer))["error"]["responseCode"] == "5006"


def _ends_after(days: int) -> dict[str, dict[str, str]]:
    end = datetime(2026, 11, 24, 6) + timedelta(days=days)
    return {"endTime": {"dateTime": end.isoformat(), "timeZone": "UTC"}}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (_ends_after(63), "ErrorTimeIntervalTooBig"),
        (_ends_after(0), "ErrorInvalidTimeInterval"),
        ({"availabilityViewInterval": 4}, "ErrorInvalidMergedFreeBusyInterval"),
        ({"availabilityViewInterval": 1441}, "ErrorInvalidMergedFreeBusyInterval"),
        ({"schedules": []}, "ErrorInvalidRequest"),
        ({"schedules": ["a@b.example"] * 21}, "ErrorInvalidRequest"),
        ({"startTime": None}, "ErrorPropertyValidationFailure"),
    ],
)
async def test_schedule_beyond_its_limits_is_refused(changes: dict[str, Any], code: str) -> None:
    async with rig() as r:
        answer = await schedule(r, [r.room], **changes)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


async def test_schedule_takes_as_much_as_its_limits_allow() -> None:
    async with rig() as r:
        answer = await schedule(r, [r.room] * 20, **_ends_after(62), availabilityViewInterval=1440)
        assert [len(one["availabilityView"]) for one in answer.json()["value"]] == [62] * 20


async def test_schedules_of_mailboxes_out_of_scope_are_told_by_one_in_scope() -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"access_policy": [r.room]})
        assert (await schedule(r, [r.ada])).status_code == 200
        answer = await r.graph.post(f"/users/{r.ada}/calendar/getSchedule", json={})
        assert answer.status_code == 403


@pytest.mark.parametrize(
    ("call", "known"),
    [
        ("supportedTimeZones", "W. Europe Standard Time"),
        ("supportedTimeZones(TimeZoneStandard=microsoft.graph.timeZoneStandard'Windows')", "W. Europe Standard Time"),
        ("supportedTimeZones(TimeZoneStandard=microsoft.graph.timeZoneStandard'Iana')", "Europe/Berlin"),
    ],
)
async def test_each_supported_zone_can_be_preferred(call: str, known: str) -> None:
    async with rig() as r:
        zones = (await r.graph.get(f"/users/{r.room}/outlook/{call}")).json()["value"]
        names = [one["alias"] for one in zones]
        assert known in names
        for name in names[::40]:
            prefer = {"prefer": f'outlook.timezone="{name}"'}
            assert (await r.graph.get(f"/users/{r.room}/events", headers=prefer)).status_code == 200, name


async def test_windows_zones_show_their_standard_offset() -> None:
    async with rig() as r:
        zones = (await r.graph.get(f"/users/{r.room}/outlook/supportedTimeZones")).json()["value"]
        shown = {one["alias"]: one["displayName"] for one in zones}
        assert set(shown) == set(WINDOWS_TO_IANA)
        assert shown["W. Europe Standard Time"].startswith("(UTC+01:00)")
        assert shown["Newfoundland Standard Time"].startswith("(UTC-03:30)")
        assert shown["Lord Howe Standard Time"].startswith("(UTC+10:30)")
