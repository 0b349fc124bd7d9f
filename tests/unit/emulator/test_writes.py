"""What a POST or PATCH of an event makes of what it is given."""

from typing import Any

import pytest

from tests.unit.emulator.rig import Rig, rig, weekly, wire_event

pytestmark = pytest.mark.looptime
ATTIC = {
    "displayName": "Attic",
    "locationUri": "attic@contoso.example",
    "locationEmailAddress": "attic@contoso.example",
    "locationType": "conferenceRoom",
    "uniqueId": "attic@contoso.example",
    "uniqueIdType": "directory",
    "address": {"street": "1 Example Way", "city": "Berlin"},
    "coordinates": {"latitude": 52.5, "longitude": 13.4},
}
BLOCK = "Join the meeting now"
DAY = ("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")


async def post(r: Rig, mailbox: str | None = None, **event: Any) -> dict[str, Any]:
    answer = await r.graph.post(f"/users/{mailbox or r.room}/events", json=wire_event(**event))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def patch(r: Rig, item_id: str, mailbox: str | None = None, **changes: Any) -> dict[str, Any]:
    answer = await r.graph.patch(r.event_url(item_id, mailbox), json=changes)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


@pytest.mark.parametrize(
    ("rule", "name", "before", "after", "shown"),
    [
        ("a list is replaced whole", "categories", ["Red", "Blue"], ["Green"], ["Green"]),
        ("an empty list empties", "categories", ["Red"], [], []),
        ("null restores the default", "importance", "high", None, "normal"),
        ("an enumeration in any case", "showAs", "busy", "OOF", "oof"),
        ("null takes a subject away", "subject", "Review", None, ""),
        ("a number", "reminderMinutesBeforeStart", 15, 0, 0),
        ("a flag", "isReminderOn", True, False, False),
        (
            "a body is replaced whole, its type too",
            "body",
            {"contentType": "html", "content": "<b>x</b>"},
            {"content": "1 < 2"},
            {"contentType": "html", "content": "1 &lt; 2"},
        ),
        (
            "a location is replaced whole",
            "location",
            ATTIC,
            {"displayName": "Cellar"},
            {
                "displayName": "Cellar",
                "locationType": "default",
                "uniqueId": "Cellar",
                "uniqueIdType": "private",
                "address": {},
                "coordinates": {},
            },
        ),
        ("read-only properties are passed over", "bodyPreview", "", "mine", ""),
        ("read-only objects are passed over", "onlineMeeting", None, {"joinUrl": "https://x.example"}, None),
    ],
)
async def test_patch_merges_at_the_top_level(rule: str, name: str, before: Any, after: Any, shown: Any) -> None:
    async with rig() as r:
        made = await post(r, **{"subject": "Review", name: before})
        changed = await patch(r, made["id"], **{name: after})
        assert changed[name] == shown, rule
        others = {"id", "start", "end", "iCalUId", "attendees", "createdDateTime", "recurrence"}
        assert {key: changed[key] for key in others} == {key: made[key] for key in others}


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "red"},
        {"Subject": "wrong case"},
        {"isReminderOn": "yes"},
        {"reminderMinutesBeforeStart": "1.5"},
        {"subject": 7},
        {"categories": "Red"},
        {"categories": [1]},
        {"location": {"displayName": "Attic", "floor": 4}},
        {"location": {"locationType": "castle"}},
        {"location": {"coordinates": {"latitude": "52"}}},
        {"body": {"contentType": "markdown", "content": ""}},
        {"attendees": [{"emailAddress": {"address": "a@b.example", "phone": "1"}}]},
        {"attendees": [{"emailAddress": {"address": "a@b.example"}, "type": "guest"}]},
        {"recurrence": {"pattern": {}}},
        {"onlineMeetingProvider": "carrierPigeon"},
        {"transactionId": "another"},
        {"end": {"dateTime": "2026-11-24T08:00:00", "timeZone": "UTC"}},
        {"start": {"dateTime": "yesterday", "timeZone": "UTC"}},
        {"isAllDay": True},
    ],
)
async def test_bad_change_is_refused_and_changes_nothing(changes: dict[str, Any]) -> None:
    async with rig() as r:
        made = await post(r)
        assert (await r.graph.patch(r.event_url(made["id"]), json=changes)).status_code == 400
        assert (await r.graph.get(r.event_url(made["id"]))).json()["changeKey"] == made["changeKey"]


@pytest.mark.parametrize("option", [{"$select": "colour"}, {"$expand": "colour"}, {"$expand": "attachments"}])
async def test_odd_option_on_a_write_keeps_it_from_being_written(option: dict[str, str]) -> None:
    async with rig() as r:
        assert (await r.graph.post(f"/users/{r.room}/events", json=wire_event(), params=option)).status_code >= 400
        assert await r.truth() == []
        made = await post(r)
        assert (await r.graph.patch(r.event_url(made["id"]), json={"subject": "B"}, params=option)).status_code >= 400
        assert (await r.truth())[0]["change_key"] == made["changeKey"]


async def test_location_keeps_every_part_the_metadata_knows() -> None:
    async with rig() as r:
        made = await post(r, locations=[ATTIC, {"displayName": "Cellar"}], location={"displayName": "Passed over"})
        assert made["location"] == ATTIC
        assert made["locations"][0] == ATTIC
        assert made["locations"][1]["displayName"] == "Cellar"


@pytest.mark.parametrize("zone", ["tzone://Microsoft/Custom", "tzone://Microsoft/Utc"])
async def test_exchanges_own_zone_names_are_kept_and_cannot_be_asked_for(zone: str) -> None:
    async with rig() as r:
        made = await post(r, zone=zone)
        assert (made["originalStartTimeZone"], made["originalEndTimeZone"]) == (zone, zone)
        assert made["start"] == {"dateTime": "2026-11-24T09:00:00.0000000", "timeZone": "UTC"}
        answer = await r.graph.get(r.event_url(made["id"]), headers={"prefer": f'outlook.timezone="{zone}"'})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "TimeZoneNotSupportedException")


async def test_unknown_preferred_zone_is_named_in_the_refusal() -> None:
    async with rig() as r:
        answer = await r.graph.get(f"/users/{r.room}/events", headers={"prefer": 'outlook.timezone="Mars/Base"'})
        assert answer.json()["error"]["message"] == "The following TimeZone value is not supported: Mars/Base."


async def test_online_meeting_gets_a_url_and_a_block_in_the_body_once() -> None:
    async with rig() as r:
        made = await post(r, r.ada, isOnlineMeeting=True, body={"contentType": "text", "content": "Agenda"})
        url = made["onlineMeeting"]["joinUrl"]
        assert (made["isOnlineMeeting"], made["onlineMeetingProvider"]) == (True, "teamsForBusiness")
        assert made["body"]["content"].startswith("Agenda")
        assert BLOCK in made["body"]["content"]
        assert url in made["body"]["content"]
        kept = await patch(r, made["id"], r.ada, isOnlineMeeting=False)
        assert (kept["isOnlineMeeting"], kept["onlineMeeting"]["joinUrl"]) == (True, url)
        again = await patch(r, made["id"], r.ada, isOnlineMeeting=True)
        assert (again["onlineMeeting"]["joinUrl"], again["body"]["content"].count(BLOCK)) == (url, 1)


async def test_body_written_over_an_online_meeting_loses_the_block() -> None:
    async with rig() as r:
        made = await post(r, r.ada, isOnlineMeeting=True)
        changed = await patch(r, made["id"], r.ada, body={"contentType": "html", "content": "New"})
        assert BLOCK not in changed["body"]["content"]


async def test_room_passes_over_the_wish_for_an_online_meeting() -> None:
    async with rig() as r:
        made = await post(r, isOnlineMeeting=True)
        assert (made["isOnlineMeeting"], made["onlineMeeting"]) == (False, None)
        calendars = [(await r.graph.get(f"/users/{one}/calendar")).json() for one in (r.room, r.ada)]
        assert [one["allowedOnlineMeetingProviders"] for one in calendars] == [[], ["teamsForBusiness"]]


async def test_online_meeting_is_shown_only_beside_its_flag() -> None:
    async with rig() as r:
        url = r.event_url((await post(r, r.ada, isOnlineMeeting=True))["id"], r.ada)
        assert "onlineMeeting" not in (await r.graph.get(url, params={"$select": "onlineMeeting"})).json()
        both = (await r.graph.get(url, params={"$select": "onlineMeeting,isOnlineMeeting"})).json()
        assert both["onlineMeeting"]["joinUrl"]


async def invited(r: Rig, **event: Any) -> tuple[dict[str, Any], str, str]:
    """Let ada invite the second person; gives her event, their address and the id of their copy."""
    other = r.users[1]["address"]
    made = await post(r, r.ada, attendees=[{"emailAddress": {"address": other}}], **event)
    await r.rest()
    (copy,) = await r.truth(other)
    return made, other, copy["id"]


SLOT = {
    "start": {"dateTime": "2026-11-24T11:00:00", "timeZone": "Europe/Berlin"},
    "end": {"dateTime": "2026-11-24T12:00:00", "timeZone": "Europe/Berlin"},
}


@pytest.mark.parametrize(
    ("action", "response"), [("tentativelyAccept", "tentativelyAccepted"), ("decline", "declined")]
)
async def test_proposed_time_shows_on_the_organizers_item_until_it_moves(action: str, response: str) -> None:
    async with rig() as r:
        made, other, copy = await invited(r)
        answer = await r.graph.post(f"{r.event_url(copy, other)}/{action}", json={"ProposedNewTime": SLOT})
        assert answer.status_code == 202, answer.text
        await r.rest()
        shown = (await r.graph.get(r.event_url(made["id"], r.ada))).json()
        assert shown["changeKey"] != made["changeKey"]
        (attendee,) = shown["attendees"]
        assert attendee["status"]["response"] == response
        assert attendee["proposedNewTime"]["start"] == {"dateTime": "2026-11-24T10:00:00.0000000", "timeZone": "UTC"}
        renamed = await patch(r, made["id"], r.ada, subject="Other")
        assert "proposedNewTime" in renamed["attendees"][0]
        await r.rest()
        assert all(
            "proposedNewTime" not in one for item in await r.view(*DAY, mailbox=other) for one in item["attendees"]
        )
        moved = await patch(r, made["id"], r.ada, start=SLOT["start"], end=SLOT["end"])
        assert "proposedNewTime" not in moved["attendees"][0]


@pytest.mark.parametrize(
    ("event", "action", "body", "code"),
    [
        ({}, "decline", {"ProposedNewTime": SLOT, "SendResponse": False}, "ErrorInvalidParameter"),
        ({"allowNewTimeProposals": False}, "decline", {"ProposedNewTime": SLOT}, "ErrorInvalidParameter"),
        ({}, "decline", {"ProposedNewTime": {"start": SLOT["end"], "end": SLOT["start"]}}, "ErrorInvalidParameter"),
        ({}, "decline", {"ProposedNewTime": {"start": SLOT["start"]}}, "ErrorPropertyValidationFailure"),
        ({}, "accept", {"ProposedNewTime": SLOT}, "BadRequest"),
        ({}, "decline", {"Reason": "tired"}, "BadRequest"),
        ({}, "decline", {"SendResponse": "perhaps"}, "RequestBodyRead"),
        ({}, "accept", {"Comment": 7}, "RequestBodyRead"),
        ({}, "applaud", {}, "BadRequest"),
    ],
)
async def test_answer_that_makes_no_sense_is_refused(
    event: dict[str, Any], action: str, body: dict[str, Any], code: str
) -> None:
    async with rig() as r:
        made, other, copy = await invited(r, **event)
        answer = await r.graph.post(f"{r.event_url(copy, other)}/{action}", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
        shown = (await r.graph.get(r.event_url(made["id"], r.ada))).json()
        assert shown["attendees"][0]["status"]["response"] == "none"


async def test_hidden_attendees_see_only_themselves() -> None:
    async with rig() as r:
        guests = [{"emailAddress": {"address": one}} for one in (r.users[1]["address"], r.room)]
        made = await post(r, r.ada, attendees=guests, hideAttendees=True)
        await r.rest()
        (copy,) = await r.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
        assert [one["emailAddress"]["address"] for one in copy["attendees"]] == [r.room]
        assert len((await r.graph.get(r.event_url(made["id"], r.ada))).json()["attendees"]) == 2


async def test_change_of_guests_alone_does_not_disturb_those_who_stay() -> None:
    async with rig() as r:
        room, other = {"emailAddress": {"address": r.room}}, {"emailAddress": {"address": r.users[1]["address"]}}
        made = await post(r, r.ada, attendees=[room])
        await r.rest()
        (before,) = await r.truth()
        changed = await patch(r, made["id"], r.ada, attendees=[room, other])
        await r.rest()
        assert changed["attendees"][0]["status"]["response"] == "accepted"
        assert await r.truth() == [before]
        assert len(await r.truth(r.users[1]["address"])) == 1


async def test_permanent_delete_takes_an_event_away() -> None:
    async with rig() as r:
        url = r.event_url((await post(r))["id"])
        assert (await r.graph.post(f"{url}/permanentDelete")).status_code == 204
        assert (await r.graph.get(url)).status_code == 404


async def test_stale_if_match_keeps_an_event_from_being_deleted() -> None:
    async with rig() as r:
        made = await post(r)
        url, stale = r.event_url(made["id"]), {"if-match": made["@odata.etag"]}
        current = (await patch(r, made["id"], subject="B"))["@odata.etag"]
        assert (await r.graph.delete(url, headers=stale)).status_code == 412
        assert (await r.graph.delete(url, headers={"if-match": current})).status_code == 204


async def test_series_patched_without_a_recurrence_becomes_a_single_event() -> None:
    async with rig() as r:
        rule = weekly("2026-11-23", days=["monday"], zone="UTC")
        made = await post(r, start="2026-11-23T09:00:00", end="2026-11-23T10:00:00", recurrence=rule)
        changed = await patch(r, made["id"], recurrence=None)
        assert (changed["type"], changed["recurrence"], changed["id"]) == ("singleInstance", None, made["id"])
        assert len(await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z")) == 1


async def test_occurrence_cannot_grow_into_its_neighbour() -> None:
    async with rig() as r:
        rule = {
            "pattern": {"type": "daily", "interval": 1},
            "range": {"type": "numbered", "numberOfOccurrences": 3, "startDate": "2026-11-23"},
        }
        await post(r, start="2026-11-23T09:00:00", end="2026-11-23T10:00:00", recurrence=rule)
        first = (await r.view("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"))[0]
        longer = {"end": {"dateTime": "2026-11-24T09:30:00", "timeZone": "UTC"}}
        answer = await r.graph.patch(r.event_url(first["id"]), json=longer)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ErrorOccurrenceCrossingBoundary")


async def test_novelty_is_in_an_answer_and_never_in_what_is_kept() -> None:
    async with rig() as r:
        made = await post(r)
        await r.told("PUT", "/control/moods", {"novelty_share": 1})
        window = {"startDateTime": "2026-11-24T00:00:00Z", "endDateTime": "2026-11-25T00:00:00Z"}
        one = (await r.graph.get(r.event_url(made["id"]))).json()
        for path in ("events", "calendarView", "calendarView/delta"):
            params = None if path == "events" else window
            (item,) = (await r.graph.get(f"/users/{r.room}/{path}", params=params)).json()["value"]
            assert item["emulatorNovelty"] == one["emulatorNovelty"]
        await r.told("PUT", "/control/moods", {"novelty_share": 0})
        assert "emulatorNovelty" not in (await r.graph.get(r.event_url(made["id"]))).json()
