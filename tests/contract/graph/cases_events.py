"""Sections 6.1 to 6.3: what an event is, its ids, and what a Prefer header does to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.contract.graph.case import Table
from tests.contract.graph.subject import IMMUTABLE, Subject, assert_refused, starts

TABLE = Table()
_MUTABLE = 'IdType="RestId"'
_PROPERTIES = frozenset(
    """@odata.etag id createdDateTime lastModifiedDateTime changeKey categories transactionId originalStartTimeZone
    originalEndTimeZone iCalUId reminderMinutesBeforeStart isReminderOn hasAttachments subject bodyPreview importance
    sensitivity isAllDay isCancelled isOrganizer responseRequested seriesMasterId showAs type webLink onlineMeetingUrl
    isOnlineMeeting onlineMeetingProvider allowNewTimeProposals isDraft hideAttendees onlineMeeting recurrence
    responseStatus body start end location locations attendees organizer""".split()  # noqa: SIM905  (easier to read)
)


@TABLE.case("6.1", "reading an event tells everything about it")
async def all_properties(s: Subject) -> None:
    shown = await s.get((await s.create())["id"])
    assert set(shown) >= _PROPERTIES
    assert shown["@odata.context"].endswith("/events/$entity")


@TABLE.case("6.1", "what was not said has Outlook's defaults")
async def defaults(s: Subject) -> None:
    made = await s.create()
    wanted: dict[str, Any] = {
        "type": "singleInstance",
        "showAs": "busy",
        "sensitivity": "normal",
        "importance": "normal",
        "isAllDay": False,
        "isCancelled": False,
        "isDraft": False,
        "hideAttendees": False,
        "hasAttachments": False,
        "isOnlineMeeting": False,
        "onlineMeetingProvider": "unknown",
        "onlineMeeting": None,
        "recurrence": None,
        "seriesMasterId": None,
        "transactionId": None,
        "responseRequested": True,
        "allowNewTimeProposals": True,
        "categories": [],
        "attendees": [],
        "locations": [],
        "bodyPreview": "",
    }
    assert {name: made[name] for name in wanted} == wanted
    assert made["location"]["displayName"] == ""


@TABLE.case("6.5", "an event written straight to a calendar is its owner's own")
async def direct_event(s: Subject) -> None:
    made = await s.create()
    assert made["isOrganizer"] is True
    assert made["organizer"]["emailAddress"]["address"].lower() == s.mailbox.lower()
    assert made["responseStatus"]["response"] == "organizer"


@TABLE.case("6.2", "the etag is the change key, weak")
async def etag(s: Subject) -> None:
    made = await s.create()
    assert made["@odata.etag"] == f'W/"{made["changeKey"]}"'


@TABLE.case("6.2", "each change gives a new change key and a later time, and keeps the id")
async def change_key(s: Subject) -> None:
    made = await s.create()
    keys = [made["changeKey"]]
    for subject in ("Changed", "Changed again"):
        changed = await s.patch(made["id"], {"subject": subject})
        assert (changed["id"], changed["iCalUId"]) == (made["id"], made["iCalUId"])
        assert changed["lastModifiedDateTime"] >= made["lastModifiedDateTime"]
        assert changed["createdDateTime"] == made["createdDateTime"]
        keys.append(changed["changeKey"])
    assert len(set(keys)) == 3


@TABLE.case("6.2", "reading changes nothing")
async def reading(s: Subject) -> None:
    made = await s.create()
    first, second = await s.get(made["id"]), await s.get(made["id"])
    assert first == second
    assert first["changeKey"] == made["changeKey"]


@TABLE.case("6.2", "two events have different ids and calendar UIDs")
async def uids(s: Subject) -> None:
    one, other = await s.create(), await s.create()
    assert one["id"] != other["id"]
    assert one["iCalUId"] != other["iCalUId"]


@TABLE.case("6.2", "times have seven digits of fraction, no offset, and are UTC unless asked")
async def times(s: Subject) -> None:
    made = await s.create(start={"dateTime": s.at(10)["dateTime"], "timeZone": "Europe/Berlin"})
    assert made["start"] == {"dateTime": s.at(9)["dateTime"] + ".0000000", "timeZone": "UTC"}
    assert made["originalStartTimeZone"] == "Europe/Berlin"


@TABLE.case("6.2", "instants are in UTC and not in the future")
async def instants(s: Subject) -> None:
    made = await s.create()
    for name in ("createdDateTime", "lastModifiedDateTime"):
        assert made[name].endswith("Z")
        assert abs((datetime.fromisoformat(made[name]) - s.now()).total_seconds()) < 300


@TABLE.case(
    "6.2",
    "what is written is what is read",
    rows={
        **{
            f"show-as-{value}": ({"showAs": value},)
            for value in ("free", "tentative", "busy", "oof", "workingElsewhere")
        },
        **{
            f"sensitivity-{value}": ({"sensitivity": value},)
            for value in ("normal", "personal", "private", "confidential")
        },
        **{f"importance-{value}": ({"importance": value},) for value in ("low", "normal", "high")},
        "categories": ({"categories": ["Blue", "Green"]},),
        "reminder": ({"isReminderOn": True, "reminderMinutesBeforeStart": 25},),
        "no-reminder": ({"isReminderOn": False},),
        "no-response": ({"responseRequested": False},),
        "no-proposals": ({"allowNewTimeProposals": False},),
        "hidden-attendees": ({"hideAttendees": True},),
        "empty-subject": ({"subject": ""},),
        "long-subject": ({"subject": "x" * 255},),
        "subject-beyond-ascii": ({"subject": "Größe – 会議 🗓"},),
    },
)
async def round_trip(s: Subject, given: dict[str, Any]) -> None:
    made = await s.create(**given)
    shown = await s.get(made["id"])
    assert {name: shown[name] for name in given} == given
    assert {name: made[name] for name in given} == given


@TABLE.case("6.2", "a location is told with its name, and `locations` begins with it")
async def location(s: Subject) -> None:
    made = await s.create(location={"displayName": "Room 4.12", "locationUri": "room412@contoso.example"})
    assert made["location"]["displayName"] == made["locations"][0]["displayName"] == "Room 4.12"
    assert made["location"]["locationUri"] == "room412@contoso.example"


@TABLE.case("6.2", "a location keeps its address and coordinates")
async def location_address(s: Subject) -> None:
    address = {"street": "1 Example Way", "city": "Berlin", "countryOrRegion": "DE"}
    coordinates = {"latitude": 52.5, "longitude": 13.4}
    made = await s.create(location={"displayName": "East", "address": address, "coordinates": coordinates})
    shown = (await s.get(made["id"]))["location"]
    assert {name: shown["address"][name] for name in address} == address
    assert {name: shown["coordinates"][name] for name in coordinates} == coordinates


@TABLE.case("6.2", "of several locations the first is `location`")
async def locations(s: Subject) -> None:
    made = await s.create(locations=[{"displayName": "East"}, {"displayName": "West"}])
    assert [one["displayName"] for one in made["locations"]] == ["East", "West"]
    assert made["location"]["displayName"] == "East"


@TABLE.case("6.2", "the preview is the first 255 characters of the text")
async def preview(s: Subject) -> None:
    made = await s.create(body={"contentType": "text", "content": "word " * 100})
    assert len(made["bodyPreview"]) <= 255
    assert made["bodyPreview"].startswith("word word")


@TABLE.case("6.3", "a body is told as HTML unless text is preferred")
async def body_format(s: Subject) -> None:
    made = await s.create(body={"contentType": "text", "content": "five < six"})
    shown = (await s.get(made["id"]))["body"]
    assert shown["contentType"] == "html"
    assert "five &lt; six" in shown["content"]
    text = (await s.get(made["id"], prefer='outlook.body-content-type="text"'))["body"]
    assert (text["contentType"], text["content"].strip()) == ("text", "five < six")


@TABLE.case(
    "6.3",
    "times come in the preferred zone, named as it was asked for",
    rows={
        "windows": ("Pacific Standard Time", "01:00"),
        "iana": ("Europe/Berlin", "10:00"),
        "half-hour": ("Asia/Kolkata", "14:30"),
        "utc": ("UTC", "09:00"),
    },
)
async def preferred_zone(s: Subject, zone: str, clock_time: str) -> None:
    made = await s.create()
    prefer = f'{IMMUTABLE}, outlook.timezone="{zone}"'
    shown = await s.get(made["id"], prefer=prefer)
    assert shown["start"] == {"dateTime": f"{s.day.date().isoformat()}T{clock_time}:00.0000000", "timeZone": zone}
    assert shown["changeKey"] == made["changeKey"]


@TABLE.case("6.3", "an unknown zone in Prefer is refused")
async def unknown_zone(s: Subject) -> None:
    answer = await s.graph.get(f"/users/{s.mailbox}/events", headers={"prefer": 'outlook.timezone="Middle-earth"'})
    assert "TimeZone value is not supported" in assert_refused(answer, 400)["message"]


@TABLE.case("6.3", "the id's format follows Prefer on each call, and either is understood in a path")
async def id_formats(s: Subject) -> None:
    made = await s.create()
    mutable = (await s.get(made["id"], prefer=_MUTABLE))["id"]
    assert mutable != made["id"]
    assert (await s.get(mutable))["id"] == made["id"]
    assert (await s.get(mutable, prefer=_MUTABLE))["id"] == mutable
    patched = await s.graph.patch(s.url(mutable), json={"subject": "Changed"}, headers={"prefer": _MUTABLE})
    assert patched.json()["id"] == mutable


@TABLE.case("6.3", "an occurrence names its master in the same id format as itself")
async def id_formats_in_a_series(s: Subject) -> None:
    master = await s.create_series({"type": "daily"})
    mutable = (await s.get(master["id"], prefer=_MUTABLE))["id"]
    assert {one["seriesMasterId"] for one in await s.view(0, 7, prefer=_MUTABLE)} == {mutable}
    assert {one["seriesMasterId"] for one in await s.view(0, 7)} == {master["id"]}


@TABLE.case("12", "ids differ in more than the case of their letters")
async def ids_are_case_sensitive(s: Subject) -> None:
    made = await s.create()
    answer = await s.graph.get(s.url(made["id"].swapcase()))
    assert answer.status_code in (400, 404)


@TABLE.case("6.3", "what was preferred and applied is told back")
async def preference_applied(s: Subject) -> None:
    made = await s.create()
    prefer = f'{IMMUTABLE}, outlook.timezone="Europe/Berlin"'
    applied = (await s.graph.get(s.url(made["id"]), headers={"prefer": prefer})).headers["preference-applied"]
    assert 'outlook.timezone="Europe/Berlin"' in applied


@TABLE.case("5.2", "several Prefer headers count like one with commas")
async def several_prefer_headers(s: Subject) -> None:
    made = await s.create()
    several = [("prefer", IMMUTABLE), ("prefer", 'outlook.timezone="Europe/Berlin"')]
    shown = (await s.graph.get(s.url(made["id"]), headers=several)).json()
    assert (shown["id"], shown["start"]["timeZone"]) == (made["id"], "Europe/Berlin")


def _all_day(s: Subject, *, days: int = 1, zone: str = "UTC") -> dict[str, Any]:
    times = {"start": s.at(0), "end": s.at(0, day=days)}
    return {"isAllDay": True, **{name: {**one, "timeZone": zone} for name, one in times.items()}}


@TABLE.case("6.3", "an all-day event is from midnight to midnight in every zone")
async def all_day_floats(s: Subject) -> None:
    made = await s.create(**_all_day(s))
    for zone in ("UTC", "Pacific Standard Time", "Asia/Tokyo"):
        shown = await s.get(made["id"], prefer=f'outlook.timezone="{zone}"')
        assert shown["isAllDay"] is True
        assert shown["start"]["dateTime"] == s.at(0)["dateTime"] + ".0000000"
        assert shown["end"]["dateTime"] == s.at(0, day=1)["dateTime"] + ".0000000"


@TABLE.case("6.3", "an all-day event's window is its days in UTC")
async def all_day_window(s: Subject) -> None:
    await s.create(**_all_day(s, days=2))
    for first, last, count in ((-1, 0, 0), (0, 1, 1), (1, 2, 1), (2, 3, 0)):
        assert len(await s.view(first, last)) == count


@TABLE.case(
    "6.2",
    "an all-day event needs midnights and at least a day",
    rows={
        "nine": ({"start": 9, "end": 24},),
        "to-ten": ({"start": 0, "end": 10},),
        "no-length": ({"start": 0, "end": 0},),
    },
)
async def all_day_refused(s: Subject, hours: dict[str, int]) -> None:
    body = s.body(isAllDay=True, **{name: s.at(hour) for name, hour in hours.items()})
    assert_refused(await s.post(body), 400)
    assert starts(await s.view()) == []


@TABLE.case("6.2", "an attendee is told with type, name and an answer yet to come")
async def attendees(s: Subject) -> None:
    given = [
        {"type": kind, "emailAddress": {"address": f"{kind}@contract.invalid", "name": kind.title()}}
        for kind in ("required", "optional")
    ]
    made = await s.create(attendees=given)
    for one, asked in zip(made["attendees"], given, strict=True):
        assert (one["type"], one["emailAddress"]) == (asked["type"], asked["emailAddress"])
        assert one["status"] == {"response": "none", "time": "0001-01-01T00:00:00Z"}
