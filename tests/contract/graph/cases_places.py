"""Section 7: places, calendars, users and mailbox settings."""

from __future__ import annotations

from uuid import uuid4

from tests.contract.graph.case import Table
from tests.contract.graph.emulated import Emulated
from tests.contract.graph.subject import Subject, assert_refused

TABLE = Table()
_ROOM_PROPERTIES = {
    "id",
    "placeId",
    "displayName",
    "emailAddress",
    "nickname",
    "label",
    "phone",
    "address",
    "geoCoordinates",
    "capacity",
    "building",
    "floorNumber",
    "floorLabel",
    "isWheelChairAccessible",
    "bookingType",
    "tags",
    "audioDeviceName",
    "videoDeviceName",
    "displayDeviceName",
}


@TABLE.case("7.3", "the directory's rooms are told with address, name and all else", needs={"places", "room"})
async def rooms(s: Subject) -> None:
    listed = {one["emailAddress"].lower(): one for one in await s.pages("/places/microsoft.graph.room")}
    room = listed[s.room.lower()]
    assert set(room) >= _ROOM_PROPERTIES
    assert room["displayName"]
    assert room["bookingType"] in ("unknown", "standard", "reserved")
    assert isinstance(room["tags"], list)


@TABLE.case("7.3", "rooms come in pages of the asked size", needs={"places", "room"})
async def room_pages(s: Subject) -> None:
    page = (await s.graph.get("/places/microsoft.graph.room", params={"$top": "1"})).json()
    assert len(page["value"]) == 1
    assert page["@odata.context"].endswith("$metadata#places/microsoft.graph.room")


@TABLE.case("7.3", "a page holds 100 rooms unless asked", emulator_only="many rooms are needed")
async def hundred_rooms(s: Emulated) -> None:
    await s.control("POST", "/rooms", {"count": 103})
    first = (await s.graph.get("/places/microsoft.graph.room")).json()
    assert len(first["value"]) == 100
    second = (await s.graph.get(first["@odata.nextLink"])).json()
    assert (len(second["value"]), "@odata.nextLink" in second) == (5, False)


@TABLE.case("7.3", "places need Place.Read.All and nothing else", emulator_only="an admin's decision is the cause")
async def places_role(s: Emulated) -> None:
    await s.change_app(roles=["Place.Read.All"])
    await s.sign_in()
    assert (await s.graph.get("/places/microsoft.graph.room")).status_code == 200
    assert (await s.graph.get(f"/users/{s.room}/events")).status_code == 403
    await s.change_app(roles=["Calendars.ReadWrite"])
    await s.sign_in()
    assert_refused(
        await s.graph.get("/places/microsoft.graph.room"), 403, "Authorization_RequestDenied", "ErrorAccessDenied"
    )


@TABLE.case("7.4", "the default calendar says who owns it and what may be done")
async def calendar(s: Subject) -> None:
    body = (await s.graph.get(f"/users/{s.mailbox}/calendar")).json()
    assert body["owner"]["address"].lower() == s.mailbox.lower()
    assert (body["isDefaultCalendar"], body["canEdit"]) == (True, True)
    assert {"id", "name", "color", "changeKey", "canShare", "canViewPrivateItems"} <= set(body)
    assert isinstance(body["allowedOnlineMeetingProviders"], list)


@TABLE.case("7.4", "a calendar's properties can be selected")
async def calendar_select(s: Subject) -> None:
    body = (await s.graph.get(f"/users/{s.mailbox}/calendar", params={"$select": "id,name,canEdit"})).json()
    assert {name for name in body if not name.startswith("@")} == {"id", "name", "canEdit"}


@TABLE.case("7.4", "the list of calendars holds the default one")
async def calendars(s: Subject) -> None:
    own = (await s.graph.get(f"/users/{s.mailbox}/calendar")).json()
    listed = {one["id"]: one for one in await s.pages(f"/users/{s.mailbox}/calendars")}
    assert listed[own["id"]]["isDefaultCalendar"] is True
    assert (await s.graph.get(f"/users/{s.mailbox}/calendars/{own['id']}")).json()["name"] == own["name"]


@TABLE.case("6.4", "a calendar's own path makes, reads, changes and deletes its events")
async def calendar_by_id(s: Subject) -> None:
    own = (await s.graph.get(f"/users/{s.mailbox}/calendar")).json()["id"]
    path = f"/users/{s.mailbox}/calendars/{own}"
    answer = await s.graph.post(f"{path}/events", json=s.body())
    assert answer.status_code == 201, answer.text
    made = answer.json()["id"]
    s.later(lambda: s.graph.delete(s.url(made)))
    assert [one["id"] for one in await s.pages(f"{path}/calendarView", s.window())] == [made]
    assert [one["id"] for one in await s.pages(f"{path}/events")] == [made]
    url = f"{path}/events/{made}"
    assert (await s.graph.patch(url, json={"subject": "Changed"})).json()["subject"] == "Changed"
    assert (await s.graph.get(url)).json()["subject"] == "Changed"
    assert (await s.graph.delete(url)).status_code == 204
    assert await s.view() == []


@TABLE.case("10", "an unknown calendar is not found")
async def unknown_calendar(s: Subject) -> None:
    answer = await s.graph.get(f"/users/{s.mailbox}/calendars/AAMkAGY1AAA=/events")
    assert_refused(answer, (400, 404), "ErrorItemNotFound", "ErrorInvalidIdMalformed")


@TABLE.case("7.3", "mailbox settings tell zone and purpose", needs={"settings", "room"})
async def mailbox_settings(s: Subject) -> None:
    body = (await s.graph.get(f"/users/{s.room}/mailboxSettings")).json()
    assert body["timeZone"]
    assert body["userPurpose"] == "room"


@TABLE.case("7.3", "a person's mailbox is no room", needs={"settings", "organizer"})
async def purpose_of_a_person(s: Subject) -> None:
    assert (await s.graph.get(f"/users/{s.organizer}/mailboxSettings")).json()["userPurpose"] == "user"


@TABLE.case("7.3", "an address resolves to a user with an id, which finds the same mailbox", needs={"users"})
async def user(s: Subject) -> None:
    body = (await s.graph.get(f"/users/{s.mailbox}", params={"$select": "id,mail"})).json()
    assert body["mail"].lower() == s.mailbox.lower()
    made = await s.create()
    assert (await s.get(made["id"], mailbox=body["id"]))["id"] == made["id"]


@TABLE.case("10", "an unknown user is not found in the directory", needs={"users"})
async def unknown_user(s: Subject) -> None:
    assert_refused(await s.graph.get(f"/users/{uuid4()}"), 404, "Request_ResourceNotFound", "ResourceNotFound")


@TABLE.case("10", "an unknown mailbox is not found")
async def unknown_mailbox(s: Subject) -> None:
    answer = await s.graph.get(f"/users/{uuid4()}@{s.mailbox.partition('@')[2]}/events")
    assert_refused(answer, 404, "ErrorInvalidUser", "ResourceNotFound", "Request_ResourceNotFound")


@TABLE.case("12", "an address is found in any case of letters")
async def address_case(s: Subject) -> None:
    made = await s.create()
    assert (await s.get(made["id"], mailbox=s.mailbox.upper()))["id"] == made["id"]
