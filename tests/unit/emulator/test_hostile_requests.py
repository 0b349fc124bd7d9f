"""Requests that nobody should send: each is refused in Graph's words, at once, and leaves everything as it was."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from sidecar.emulator.moods import calm_moods
from tests.unit.emulator.rig import Rig, rig, wire_event

pytestmark = pytest.mark.looptime
SECONDS_MAX = 2.0


@contextmanager
def at_once() -> Iterator[None]:
    """Measure the processor's time; the loop's own stands still, and the machine may be busy with other things."""
    began = time.process_time()
    yield
    assert time.process_time() - began < SECONDS_MAX


async def ask(r: Rig, path: str, **params: str) -> tuple[int, str]:
    """Read below the room's mailbox; tells status and code."""
    with at_once():
        answer = await r.graph.get(f"/users/{r.room}{path}", params=params or None)
    return answer.status_code, answer.json().get("error", {}).get("code", "")


@pytest.mark.parametrize("name", ["$top", "$skip"])
@pytest.mark.parametrize("value", ["²", "٣", "9" * 5000, "99999999999", "-1", "1.0", "x", ""])
async def test_number_that_is_none_is_refused(name: str, value: str) -> None:
    async with rig() as r:
        assert await ask(r, "/events", **{name: value}) == (400, "ErrorInvalidRequest")


@pytest.mark.parametrize(
    "header", ["odata.maxpagesize=\xb2", "odata.maxpagesize=" + "9" * 5000, "a" + " " * 30_000 + "!"]
)
async def test_preference_that_cannot_be_read_is_named(header: str) -> None:
    async with rig() as r:
        with at_once():
            answer = await r.graph.get(f"/users/{r.room}/events", headers={b"prefer": header.encode("latin-1")})
        assert answer.status_code == 501


@pytest.mark.parametrize(
    "query", ["$top=1&$top=2", "$select=id&$select=subject", "$filter=isAllDay&%24filter=isCancelled"]
)
async def test_option_given_twice_is_refused(query: str) -> None:
    async with rig() as r:
        assert await ask(r, f"/events?{query}") == (400, "RequestBroker--ParseUri")


async def test_property_expanded_twice_is_refused() -> None:
    async with rig() as r:
        assert (await ask(r, "/events", **{"$expand": "extensions,extensions"}))[0] == 400


async def test_property_sorted_by_twice_is_refused() -> None:
    async with rig() as r:
        assert (await ask(r, "/events", **{"$orderby": "subject,start/dateTime,subject desc"}))[0] == 400


@pytest.mark.parametrize("word", ["and", "or"])
async def test_long_filter_is_answered(word: str) -> None:
    async with rig() as r:
        await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        text = f" {word} ".join(["subject eq 'Review'"] * 400)
        answer = await r.graph.get(f"/users/{r.room}/events", params={"$filter": text})
        assert [one["subject"] for one in answer.json()["value"]] == ["Review"]


async def test_endless_filter_is_refused() -> None:
    async with rig() as r:
        text = "subject in (" + ",".join(["'a'"] * 3000) + ")"
        assert await ask(r, "/events", **{"$filter": text}) == (400, "BadRequest")


@pytest.mark.parametrize("path", ["/calendarView", "/calendarView/delta"])
@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+05:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-05:00", "9999-12-31"]
)
async def test_window_of_years_no_calendar_holds_is_refused(path: str, moment: str) -> None:
    async with rig() as r:
        assert await ask(r, path, startDateTime=moment, endDateTime=moment) == (400, "ErrorInvalidParameter")


@pytest.mark.parametrize(
    ("start", "end", "code"),
    [
        ("0001-01-01T00:00:00", "0001-01-01T01:00:00", "ErrorPropertyValidationFailure"),
        ("9999-12-31T23:00:00", "9999-12-31T23:30:00", "ErrorPropertyValidationFailure"),
        ("2026-11-24T09:00:00", "2032-11-24T09:00:00", "ErrorCalendarDurationIsTooLong"),
    ],
)
async def test_event_no_calendar_holds_is_refused(start: str, end: str, code: str) -> None:
    async with rig() as r:
        answer = await r.graph.post(f"/users/{r.room}/events", json=wire_event(start, end, zone="Europe/Berlin"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize("start", [{"dateTime": 20261124}, {"dateTime": "2026-11-24T09:00:00", "zone": "UTC"}, "today"])
async def test_moment_of_another_shape_is_refused(start: Any) -> None:
    async with rig() as r:
        answer = await r.graph.post(f"/users/{r.room}/events", json={**wire_event(), "start": start})
        assert answer.status_code == 400


@pytest.mark.parametrize("name", ["start", "end", "location", "body", "singleValueExtendedProperties", "attendees"])
@pytest.mark.parametrize("value", [False, 0, ""])
async def test_value_that_is_nothing_of_another_type_is_refused(name: str, value: object) -> None:
    async with rig() as r:
        made = (await r.graph.post(f"/users/{r.room}/events", json=wire_event())).json()
        assert (await r.graph.patch(r.event_url(made["id"]), json={name: value})).status_code == 400
        assert (await r.graph.get(r.event_url(made["id"]))).json() == made


async def test_all_day_event_in_two_zones_is_refused() -> None:
    async with rig() as r:
        body = wire_event("2026-11-24T00:00:00", "2026-11-25T00:00:00", isAllDay=True)
        body["end"]["timeZone"] = "Europe/Berlin"
        answer = await r.graph.post(f"/users/{r.room}/events", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ErrorInvalidRequest")


@pytest.mark.parametrize(
    "changes",
    [
        {"reminderMinutesBeforeStart": "9" * 5000},
        {"reminderMinutesBeforeStart": 2**31},
        {"singleValueExtendedProperties": [{"id": "String {7d2c2f0e-3a4b-4c5d-9e6f-0a1b2c3d4e5f} Id " + "1" * 5000}]},
        {"singleValueExtendedProperties": [{"id": "String 0x" + "1" * 5000}]},
    ],
)
async def test_number_too_large_for_its_type_is_refused(changes: dict[str, Any]) -> None:
    async with rig() as r:
        answer = await r.graph.post(f"/users/{r.room}/events", json=wire_event(**changes))
        assert answer.status_code == 400


async def test_extended_property_by_number_is_read_with_leading_zeros() -> None:
    async with rig() as r:
        key = "String {7d2c2f0e-3a4b-4c5d-9e6f-0a1b2c3d4e5f} Id"
        body = wire_event(singleValueExtendedProperties=[{"id": f"{key} 0016", "value": "x"}])
        assert (await r.graph.post(f"/users/{r.room}/events", json=body)).status_code == 201
        expand = {"$expand": f"singleValueExtendedProperties($filter=id eq '{key} 0x10')"}
        (shown,) = (await r.graph.get(f"/users/{r.room}/events", params=expand)).json()["value"]
        assert [one["value"] for one in shown["singleValueExtendedProperties"]] == ["x"]


@pytest.mark.parametrize("path", ["/events", "/calendar/getSchedule", "/translateExchangeIds"])
@pytest.mark.parametrize("body", ["[" * 500_000, '{"a":' * 300_000])
async def test_body_nested_without_end_is_refused(path: str, body: str) -> None:
    async with rig() as r:
        headers = {"content-type": "application/json"}
        answer = await r.graph.post(f"/users/{r.room}{path}", content=body, headers=headers)
        assert answer.status_code == 400


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_body_that_does_not_say_it_is_json_is_refused(content_type: str | None) -> None:
    async with rig() as r:
        headers = {} if content_type is None else {"content-type": content_type}
        body = msgspec.json.encode(wire_event())
        answer = await r.graph.post(f"/users/{r.room}/events", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")
        headers = {"content-type": "Application/JSON; charset=utf-8"}
        assert (await r.graph.post(f"/users/{r.room}/events", content=body, headers=headers)).status_code == 201


async def test_brackets_in_texts_are_no_nesting() -> None:
    async with rig() as r:
        body = wire_event(subject="[{" * 200 + '"\\')
        made = await r.graph.post(f"/users/{r.room}/events", json=body)
        assert made.json()["subject"] == body["subject"]


@pytest.mark.parametrize("content", ["<" * 1_000_000, "<a " * 300_000, "&#" + "9" * 5000 + ";", "&#" * 500_000])
async def test_odd_html_is_kept_and_previewed_at_once(content: str) -> None:
    async with rig() as r:
        body = wire_event(body={"contentType": "html", "content": content})
        with at_once():
            made = (await r.graph.post(f"/users/{r.room}/events", json=body)).json()
            shown = await r.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
        assert [one["body"]["content"] for one in (made, *shown)] == [content, content]
        assert len(made["bodyPreview"]) <= 255


async def test_many_extensions_are_read_at_once() -> None:
    async with rig() as r:
        extensions = [{"extensionName": f"org.example.{number}"} for number in range(5000)]
        with at_once():
            answer = await r.graph.post(f"/users/{r.room}/events", json=wire_event(extensions=extensions))
        assert answer.status_code == 201


@pytest.mark.parametrize("path", ["/calendarView", "/calendarView/delta"])
async def test_years_of_a_full_room_are_read_at_once(path: str) -> None:
    """Five thousand bookings, ten thousand occurrences, and every mood that makes pages odd."""
    moods = msgspec.structs.replace(calm_moods(), delta_repeat_share=0.5, delta_whole_series_share=1)
    async with rig(moods=moods) as r:
        seeded = await r.told("POST", r.path("/seed"), {"rooms": 1, "bookings_per_room": 5000})
        r.rooms = seeded["rooms"]
        pattern = {"type": "daily", "interval": 1}
        reach = {"type": "numbered", "numberOfOccurrences": 999, "startDate": "2026-11-24"}
        for _ in range(10):
            body = wire_event(zone="Europe/Berlin", recurrence={"pattern": pattern, "range": reach})
            assert (await r.graph.post(f"/users/{r.room}/events", json=body)).status_code == 201
        window = {"startDateTime": "2026-11-01T00:00:00Z", "endDateTime": "2031-10-30T00:00:00Z"}
        assert await ask(r, path, **window) == (200, "")
