"""$filter, $orderby, $count and $select over events."""

from typing import Any

import pytest

from tests.unit.emulator.rig import Rig, rig, weekly, wire_event

pytestmark = pytest.mark.looptime
BOOKING_ID = "String {7d2c2f0e-3a4b-4c5d-9e6f-0a1b2c3d4e5f} Name bookingId"


async def post(r: Rig, **event: Any) -> dict[str, Any]:
    answer = await r.graph.post(f"/users/{r.room}/events", json=wire_event(**event))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def three_events(r: Rig) -> None:
    """Make a review, a workshop and a holiday, unlike in everything a filter may ask."""
    await post(
        r,
        subject="Design Review",
        start="2026-11-24T09:00:00",
        end="2026-11-24T10:00:00",
        categories=["Red"],
        attendees=[{"emailAddress": {"address": r.ada}}],
        singleValueExtendedProperties=[{"id": BOOKING_ID, "value": "8812-A"}],
    )
    await post(
        r,
        subject="O'Brien's workshop, part 2",
        start="2026-11-25T09:00:00",
        end="2026-11-25T12:00:00",
        sensitivity="private",
        showAs="oof",
        importance="high",
        allowNewTimeProposals=False,
        reminderMinutesBeforeStart=45,
        location={"displayName": "Attic"},
    )
    await post(
        r, subject="Holiday", start="2026-11-26T00:00:00", end="2026-11-27T00:00:00", isAllDay=True, showAs="free"
    )


async def found(r: Rig, **options: str) -> list[str]:
    params = {f"${name}": value for name, value in options.items()}
    answer = await r.graph.get(f"/users/{r.room}/events", params=params)
    assert answer.status_code == 200, answer.text
    return [item["subject"].split()[0] for item in answer.json()["value"]]


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("texts are compared in any case", "subject eq 'design review'", ["Design"]),
        ("a doubled quote is one", "startswith(subject,'O''Brien')", ["O'Brien's"]),
        ("commas and brackets in quotes are text", "contains(subject,', part 2')", ["O'Brien's"]),
        ("endswith", "endswith(subject, 'day')", ["Holiday"]),
        ("start as a quoted time", "start/dateTime ge '2026-11-25T00:00:00'", ["O'Brien's", "Holiday"]),
        ("start as a bare time", "start/dateTime lt 2026-11-24T09:00:01.0000000Z", ["Design"]),
        ("start with an offset", "start/dateTime gt '2026-11-25T10:00:00+01:00'", ["Holiday"]),
        ("end", "end/dateTime le '2026-11-24T10:00:00'", ["Design"]),
        ("a flag by comparison", "isAllDay eq true", ["Holiday"]),
        ("a flag by itself", "isAllDay", ["Holiday"]),
        ("not with brackets", "not(isAllDay eq true)", ["Design", "O'Brien's"]),
        ("a name that begins with a keyword", "allowNewTimeProposals eq false", ["O'Brien's"]),
        ("an enumeration as text", "sensitivity eq 'private'", ["O'Brien's"]),
        ("an enumeration with its type", "importance eq microsoft.graph.importance'high'", ["O'Brien's"]),
        ("one of a list of one", "showAs in ('oof')", ["O'Brien's"]),
        ("one of a list", "showAs in ('oof', 'free')", ["O'Brien's", "Holiday"]),
        ("a number", "reminderMinutesBeforeStart gt 15", ["O'Brien's"]),
        ("and before or", "isAllDay eq true or showAs eq 'oof' and importance eq 'low'", ["Holiday"]),
        ("brackets before and", "(isAllDay eq true or showAs eq 'oof') and importance eq 'high'", ["O'Brien's"]),
        ("the constant on the left", "15 lt reminderMinutesBeforeStart", ["O'Brien's"]),
        ("null", "transactionId eq null and not isAllDay", ["Design", "O'Brien's"]),
        ("null is never more or less", "originalStart gt 2020-01-01T00:00:00Z", []),
        ("a path into the organizer", "organizer/emailAddress/address ne 'x@y.example' and isAllDay", ["Holiday"]),
        ("a path into the location", "location/displayName eq 'attic'", ["O'Brien's"]),
        ("names in any case", "Start/DateTime ge '2026-11-26'", ["Holiday"]),
        ("any over texts", "categories/any(c: c eq 'Red')", ["Design"]),
        ("any over nothing in particular", "categories/any()", ["Design"]),
        ("all over an empty collection", "categories/all(c: c eq 'Red')", ["Design", "O'Brien's", "Holiday"]),
        ("any over attendees", "attendees/any(a: startswith(a/emailAddress/address, 'ada'))", ["Design"]),
        ("any with the item outside", "attendees/any(a: a/type eq 'required' and isAllDay eq false)", ["Design"]),
        (
            "an extended property, value in any case",
            f"singleValueExtendedProperties/Any(ep: ep/id eq '{BOOKING_ID}' and ep/value eq '8812-a')",
            ["Design"],
        ),
        (
            "the set of an extended property in any case",
            f"singleValueExtendedProperties/any(ep: ep/id eq '{BOOKING_ID.replace('7d2c', '7D2C')}')",
            ["Design"],
        ),
        (
            "the name of an extended property is told apart by case",
            f"singleValueExtendedProperties/any(ep: ep/id eq '{BOOKING_ID.replace('bookingId', 'BookingId')}')",
            [],
        ),
    ],
)
async def test_filter_picks_what_it_says(rule: str, text: str, expected: list[str]) -> None:
    async with rig() as r:
        await three_events(r)
        assert await found(r, filter=text) == expected, rule


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        ("subject eq", "BadRequest", "Syntax error at position 10"),
        ("subject eq 'x", "BadRequest", "Syntax error at position 11"),
        ("subject equals 'x'", "BadRequest", "Syntax error at position 8"),
        ("(isAllDay eq true", "BadRequest", "Syntax error at position 17"),
        ("isAllDay eq true)", "BadRequest", "Syntax error at position 16"),
        ("showAs in ()", "BadRequest", "Syntax error at position 11"),
        ("start/dateTime ge '2026-13-01'", "BadRequest", "not a date"),
        ("(" * 60 + "isAllDay" + ")" * 60, "BadRequest", "recursion limit"),
        ("colour eq 'red'", "BadRequest", "Could not find a property named 'colour'"),
        ("isAllDay eq 'true'", "BadRequest", "'Edm.Boolean' and 'Edm.String' for operator kind 'Equal'"),
        ("createdDateTime ge '2026-01-01T00:00:00Z'", "BadRequest", "incompatible types"),
        ("showAs eq 'sleeping'", "BadRequest", "'sleeping' is not a valid enumeration"),
        ("subject", "BadRequest", "must evaluate to a single boolean"),
        ("shout(subject) eq 'x'", "BadRequest", "unknown function with name 'shout'"),
        ("contains(subject)", "BadRequest", "No function signature"),
        ("singleValueExtendedProperties/any(e: e/id eq 'bookingId')", "ErrorInvalidExtendedProperty", "'bookingId'"),
    ],
)
async def test_bad_filter_is_refused_in_graphs_words_even_over_nothing(text: str, code: str, part: str) -> None:
    async with rig() as r:
        answer = await r.graph.get(f"/users/{r.room}/events", params={"$filter": text})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, code)
        assert part in error["message"]


@pytest.mark.parametrize(
    ("option", "text", "named"),
    [
        ("$filter", "tolower(subject) eq 'x'", "tolower"),
        ("$filter", "reminderMinutesBeforeStart add 5 gt 15", "add"),
        ("$filter", "subject eq organizer/emailAddress/name", "two properties"),
        ("$filter", "webLink eq 'x'", "webLink"),
        ("$filter", "start/timeZone eq 'UTC'", "start/timeZone"),
        ("$filter", "showAs gt 'free'", "gt"),
        ("$filter", "attendees/any(a: a/proposedNewTime eq null)", "a/proposedNewTime"),
        ("$filter", "multiValueExtendedProperties/any(e: e/value/any(v: v eq 'x'))", "lambda within a lambda"),
        ("$orderby", "importance", "importance"),
    ],
)
async def test_filter_that_is_not_played_is_named(option: str, text: str, named: str) -> None:
    async with rig() as r:
        answer = await r.graph.get(f"/users/{r.room}/events", params={option: text})
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "notImplementedByEmulator")
        assert named in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("start/dateTime desc", ["Holiday", "O'Brien's", "Design"]),
        ("subject", ["Design", "Holiday", "O'Brien's"]),
        ("subject desc", ["O'Brien's", "Holiday", "Design"]),
        ("end/dateTime desc, subject", ["Holiday", "O'Brien's", "Design"]),
        ("createdDateTime,subject desc", ["O'Brien's", "Holiday", "Design"]),
        ("lastModifiedDateTime asc,start/dateTime", ["Design", "O'Brien's", "Holiday"]),
    ],
)
async def test_order_is_by_each_property_in_turn(order: str, expected: list[str]) -> None:
    async with rig() as r:
        await three_events(r)
        assert await found(r, orderby=order) == expected


@pytest.mark.parametrize("order", ["colour", "subject sideways", "subject asc desc"])
async def test_bad_order_is_refused(order: str) -> None:
    async with rig() as r:
        answer = await r.graph.get(f"/users/{r.room}/events", params={"$orderby": order})
        assert answer.status_code == 400


async def test_links_carry_filter_and_order_and_reach_everything_once() -> None:
    async with rig() as r:
        for minute in range(20):
            await post(r, subject=f"{minute:02}", start=f"2026-11-24T09:{minute:02}:00", end="2026-11-24T10:00:00")
        picked = await r.view(
            "2026-11-24T00:00:00Z",
            "2026-11-25T00:00:00Z",
            filter="not endswith(subject,'5')",
            orderby="subject desc",
            top="4",
        )
        assert [item["subject"] for item in picked] == [f"{m:02}" for m in reversed(range(20)) if m % 10 != 5]


async def test_count_is_of_what_the_filter_leaves_before_paging() -> None:
    async with rig() as r:
        await three_events(r)
        params = {"$count": "true", "$top": "1", "$filter": "isAllDay eq false"}
        page = (await r.graph.get(f"/users/{r.room}/events", params=params)).json()
        assert (page["@odata.count"], len(page["value"])) == (2, 1)
        assert (await r.graph.get(page["@odata.nextLink"])).json()["@odata.count"] == 2
        assert "@odata.count" not in (await r.graph.get(f"/users/{r.room}/events")).json()
        assert (await r.graph.get(f"/users/{r.room}/events", params={"$count": "yes"})).status_code == 400


async def test_views_and_instances_filter_occurrences() -> None:
    async with rig() as r:
        made = await post(r, start="2026-11-23T09:00:00", recurrence=weekly("2026-11-23", days=["monday"], zone="UTC"))
        window = {"startDateTime": "2026-11-01T00:00:00Z", "endDateTime": "2027-01-31T00:00:00Z"}
        late = {**window, "$filter": "start/dateTime ge '2026-12-01T00:00:00' and type eq 'occurrence'"}
        for path in ("calendarView", f"events/{made['id']}/instances"):
            shown = (await r.graph.get(f"/users/{r.room}/{path}", params=late)).json()["value"]
            assert [item["start"]["dateTime"][:10] for item in shown] == ["2026-12-07", "2026-12-14"]


async def test_select_takes_names_in_any_case_and_expansions_besides() -> None:
    async with rig() as r:
        await three_events(r)
        params = {
            "$select": "Subject",
            "$expand": f"singleValueExtendedProperties($filter=id eq '{BOOKING_ID}')",
            "$filter": "startswith(subject,'Design')",
        }
        (item,) = (await r.graph.get(f"/users/{r.room}/events", params=params)).json()["value"]
        assert set(item) == {"@odata.etag", "id", "subject", "singleValueExtendedProperties"}
