"""Users, places and mailbox settings: what the directory tells of mailboxes, and since when."""

from typing import Any

import httpx
import pytest

from sidecar.emulator.clock import sleep
from tests.unit.emulator.rig import Rig, rig

pytestmark = pytest.mark.looptime
ALL = ["Calendars.ReadWrite", "User.Read.All", "Place.Read.All", "MailboxSettings.ReadWrite"]
ROOMS, LISTS = "/places/microsoft.graph.room", "/places/microsoft.graph.roomList"
EVENTUAL = {"ConsistencyLevel": "eventual"}


async def all_pages(r: Rig, path: str, **params: str) -> list[dict[str, Any]]:
    answer, found = await r.graph.get(path, params=params), list[dict[str, Any]]()
    while True:
        assert answer.status_code == 200, answer.text
        found += answer.json()["value"]
        link = answer.json().get("@odata.nextLink")
        if link is None:
            return found
        answer = await r.graph.get(link)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_users_are_listed_in_pages_that_do_not_shift() -> None:
    async with rig(roles=ALL) as r:
        first = (await r.graph.get("/users", params={"$top": "3"})).json()
        assert [one["displayName"] for one in first["value"]] == ["Room 1", "Room 2", "Ada Lovelace"]
        assert set(first["value"][0]) == {
            "businessPhones",
            "displayName",
            "givenName",
            "id",
            "jobTitle",
            "mail",
            "mobilePhone",
            "officeLocation",
            "preferredLanguage",
            "surname",
            "userPrincipalName",
        }
        assert "$skiptoken=" in first["@odata.nextLink"]
        rest = (await r.graph.get(first["@odata.nextLink"])).json()
        assert [one["displayName"] for one in rest["value"]] == ["Grace Hopper"]
        assert "@odata.nextLink" not in rest


async def test_users_come_a_hundred_at_a_time() -> None:
    async with rig(roles=ALL) as r:
        await r.told("POST", r.path("/users"), {"count": 120})
        assert len((await r.graph.get("/users")).json()["value"]) == 100
        assert len({one["id"] for one in await all_pages(r, "/users")}) == 124


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"$skip": "1"}, 400, "Request_BadRequest"),
        ({"$top": "1000"}, 400, "Request_UnsupportedQuery"),
        ({"$top": "0"}, 400, "Request_UnsupportedQuery"),
        ({"$skiptoken": "nonsense"}, 400, "Directory_ExpiredPageToken"),
        ({"$search": '"displayName:Ada"'}, 501, "notImplementedByEmulator"),
        ({"$filter": "endswith(mail,'x')"}, 501, "notImplementedByEmulator"),
        ({"$filter": "mail ne 'x'"}, 501, "notImplementedByEmulator"),
        ({"$filter": "aboutMe eq 'x'"}, 501, "notImplementedByEmulator"),
        ({"$filter": "not (mail eq 'x')"}, 501, "notImplementedByEmulator"),
        ({"$filter": "proxyAddresses/any(one: one eq 'x')"}, 501, "notImplementedByEmulator"),
        ({"$filter": ""}, 400, "BadRequest"),
        ({"$filter": "mail eq"}, 400, "BadRequest"),
        ({"$filter": "mail eq 'x' id eq 'y'"}, 400, "BadRequest"),
        ({"$filter": "accountEnabled eq 'yes'"}, 400, "BadRequest"),
        ({"$select": "aboutMe"}, 501, "notImplementedByEmulator"),
        ({"$orderby": "mail"}, 501, "notImplementedByEmulator"),
    ],
)
async def test_list_of_users_refuses_what_it_does_not_take(params: dict[str, str], status: int, code: str) -> None:
    async with rig(roles=ALL) as r:
        assert refusal(await r.graph.get("/users", params=params)) == (status, code)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("mail eq 'ADA.LOVELACE@{domain}'", ["Ada Lovelace"]),
        ("userPrincipalName eq 'room1@{domain}'", ["Room 1"]),
        ("startswith(displayName,'room')", ["Room 1", "Room 2"]),
        ("startsWith(displayName, 'room') and mail eq 'room2@{domain}'", ["Room 2"]),
        ("mail eq 'room2@{domain}' or displayName eq 'Ada Lovelace'", ["Room 2", "Ada Lovelace"]),
        ("accountEnabled eq true", ["Ada Lovelace", "Grace Hopper"]),
        ("mail eq 'nobody''s'", []),
        ("mail eq 'nobody' and accountEnabled eq false or displayName eq 'Room 1'", ["Room 1"]),
        ("mail eq 'nobody' and (accountEnabled eq false or displayName eq 'Room 1')", []),
        ("displayName in ('Room 2', 'Ada Lovelace')", ["Room 2", "Ada Lovelace"]),
    ],
)
async def test_users_are_filtered(text: str, names: list[str]) -> None:
    async with rig(roles=ALL) as r:
        found = await all_pages(r, "/users", **{"$filter": text.replace("{domain}", r.tenant["domain"])})
        assert [one["displayName"] for one in found] == names


async def test_users_are_counted_with_the_header_of_advanced_queries_only() -> None:
    async with rig(roles=ALL) as r:
        plain = await r.graph.get("/users", params={"$count": "true"})
        assert "@odata.count" not in plain.json()
        counted = await r.graph.get("/users", params={"$count": "true", "$top": "3"}, headers=EVENTUAL)
        assert counted.json()["@odata.count"] == 4
        assert "@odata.count" not in (await r.graph.get(counted.json()["@odata.nextLink"], headers=EVENTUAL)).json()
        assert refusal(await r.graph.get("/users/$count")) == (400, "Request_BadRequest")
        assert (await r.graph.get("/users/$count", headers=EVENTUAL)).text == "4"


async def test_user_has_the_properties_control_gave() -> None:
    async with rig(roles=ALL) as r:
        profile = {"jobTitle": "Analyst", "businessPhones": ["+44 1"], "officeLocation": "B1"}
        await r.told("PATCH", r.path(f"/mailboxes/{r.ada}"), {"profile": profile, "address": "ada@x.example"})
        names = "jobTitle,businessPhones,officeLocation,givenName,surname,proxyAddresses,accountEnabled,userType"
        answer = await r.graph.get("/users/ada@x.example", params={"$select": names})
        told = answer.json()
        assert told.pop("@odata.context").endswith(f"#users({names})/$entity")
        assert told == {
            **profile,
            "givenName": "Ada",
            "surname": "Lovelace",
            "proxyAddresses": ["SMTP:ada@x.example", f"smtp:{r.ada}"],
            "accountEnabled": True,
            "userType": "Member",
        }
        assert refusal(await r.graph.get(f"/users/{r.ada}")) == (404, "Request_ResourceNotFound")
        refused = await r.control.patch(r.path("/mailboxes/ada@x.example"), json={"profile": {"shoeSize": 37}})
        assert (refused.status_code, "shoeSize" in refused.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("kind", "events", "user", "subscription"),
    [
        ("onPremises", (404, "MailboxNotEnabledForRESTAPI"), 200, (404, "ExtensionError")),
        ("unlicensed", (404, "MailboxNotEnabledForRESTAPI"), 200, (404, "ExtensionError")),
        ("softDeleted", (404, "MailboxNotEnabledForRESTAPI"), 404, (404, "ExtensionError")),
        ("moving", (503, "ErrorMailboxMoveInProgress"), 200, (503, "ExtensionError")),
        ("unavailable", (503, "ErrorMailboxStoreUnavailable"), 200, (503, "ExtensionError")),
        ("gone", (404, "ErrorInvalidUser"), 404, None),
    ],
)
async def test_mailbox_that_is_not_there_is_refused_everywhere(
    kind: str, events: tuple[int, str], user: int, subscription: tuple[int, str] | None
) -> None:
    async with rig(roles=ALL) as r:
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"kind": kind})
        window = "startDateTime=2026-11-24T00:00:00Z&endDateTime=2026-11-25T00:00:00Z"
        for path in ("events", f"calendarView?{window}", f"calendarView/delta?{window}", "mailboxSettings", "calendar"):
            assert refusal(await r.graph.get(f"/users/{r.room}/{path}")) == events, path
        assert (await r.graph.get(f"/users/{r.room}")).status_code == user
        answer = await r.subscribe()
        assert answer.status_code == events[0]
        assert subscription is None or refusal(answer) == subscription
        listed = [one["emailAddress"] for one in await all_pages(r, ROOMS)]
        assert (r.room in listed) == (user == 200)


async def test_mailbox_is_made_with_a_kind_and_a_purpose() -> None:
    async with rig(roles=ALL) as r:
        wanted = [{"purpose": "shared"}, {"purpose": "linked", "kind": "unlicensed"}]
        made = (await r.told("POST", r.path("/users"), {"users": wanted}))["users"]
        assert [(one["purpose"], one["kind"]) for one in made] == [("shared", "cloud"), ("linked", "unlicensed")]
        shown = await r.graph.get(f"/users/{made[0]['address']}/mailboxSettings/userPurpose")
        assert shown.json()["value"] == "shared"
        refused = await r.control.post(r.path("/users"), json={"users": [{"purpose": "room"}]})
        assert (refused.status_code, "user, linked, shared, others" in refused.json()["error"]) == (400, True)


async def test_mailbox_settings_are_told_whole_and_one_by_one() -> None:
    async with rig(roles=ALL) as r:
        hours = {"days": ["monday", "friday"], "start": "09:30", "end": "18:00"}
        body = {"time_zone": "W. Europe Standard Time", "working_hours": hours}
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), body)
        told = (await r.graph.get(f"/users/{r.room}/mailboxSettings")).json()
        told.pop("@odata.context")
        assert set(told) == {
            "archiveFolder",
            "timeZone",
            "delegateMeetingMessageDeliveryOptions",
            "dateFormat",
            "timeFormat",
            "userPurpose",
            "automaticRepliesSetting",
            "language",
            "workingHours",
        }
        assert (told["timeZone"], told["userPurpose"]) == ("W. Europe Standard Time", "room")
        assert told["workingHours"] == {
            "daysOfWeek": ["monday", "friday"],
            "startTime": "09:30:00.0000000",
            "endTime": "18:00:00.0000000",
            "timeZone": {"name": "W. Europe Standard Time"},
        }
        for name, value in told.items():
            one = (await r.graph.get(f"/users/{r.room}/mailboxSettings/{name}")).json()
            assert one.pop("@odata.context").endswith(f"/mailboxSettings/{name}")
            assert one == (value if isinstance(value, dict) else {"value": value})
        assert (await r.graph.get(f"/users/{r.room}/mailboxSettings/shoeSize")).status_code == 501


async def test_mailbox_settings_can_be_changed() -> None:
    async with rig(roles=ALL) as r:
        changes = {
            "timeZone": "Europe/Berlin",
            "workingHours": {"startTime": "07:00:00.0000000", "timeZone": {"name": "Europe/Paris"}},
            "automaticRepliesSetting": {"status": "alwaysEnabled", "internalReplyMessage": "Away"},
            "dateFormat": "dd.MM.yyyy",
            "language": {"locale": "de-DE"},
        }
        answer = await r.graph.patch(f"/users/{r.ada}/mailboxSettings", json=changes)
        assert answer.status_code == 200
        told = (await r.graph.get(f"/users/{r.ada}/mailboxSettings")).json()
        assert (told["timeZone"], told["dateFormat"], told["language"]["locale"]) == (
            "Europe/Berlin",
            "dd.MM.yyyy",
            "de-DE",
        )
        assert told["workingHours"]["startTime"] == "07:00:00.0000000"
        assert told["workingHours"]["endTime"] == "17:00:00.0000000"
        assert told["workingHours"]["timeZone"] == {"name": "Europe/Paris"}
        assert told["automaticRepliesSetting"]["internalReplyMessage"] == "Away"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"timeZone": "Mars"}, 400, "TimeZoneNotSupportedException"),
        ({"workingHours": {"endTime": "06:00:00"}}, 400, "ErrorInvalidPropertyValue"),
        ({"workingHours": 7}, 400, "ErrorInvalidPropertyValue"),
        ({"workingHours": {"startTime": "07:00:00+01:00"}}, 400, "ErrorInvalidPropertyValue"),
        ({"workingHours": {"startTime": 7}}, 400, "ErrorInvalidPropertyValue"),
        ({"automaticRepliesSetting": {"internalReplyMessage": 7}}, 400, "ErrorInvalidPropertyValue"),
        ({"automaticRepliesSetting": {"status": "scheduled"}}, 400, "ErrorInvalidPropertyValue"),
        ({"automaticRepliesSetting": {"status": "perhaps"}}, 400, "ErrorInvalidPropertyValue"),
        ({"userPurpose": "room"}, 501, "notImplementedByEmulator"),
    ],
)
async def test_bad_change_of_mailbox_settings_changes_nothing(changes: dict[str, Any], status: int, code: str) -> None:
    async with rig(roles=ALL) as r:
        before = (await r.graph.get(f"/users/{r.ada}/mailboxSettings")).json()
        path = f"/users/{r.ada}/mailboxSettings"
        assert refusal(await r.graph.patch(path, json={"dateFormat": "yyyy", **changes})) == (status, code)
        assert (await r.graph.get(path)).json() == before


async def test_mailbox_settings_are_not_changed_with_a_right_to_read() -> None:
    async with rig(roles=["MailboxSettings.Read"]) as r:
        answer = await r.graph.patch(f"/users/{r.ada}/mailboxSettings", json={"timeZone": "UTC"})
        assert refusal(answer) == (403, "ErrorAccessDenied")


async def test_room_shows_the_properties_control_gave() -> None:
    async with rig(roles=ALL) as r:
        place = {
            "capacity": 8,
            "building": "B1",
            "floorNumber": 4,
            "floorLabel": "4th",
            "tags": ["quiet"],
            "address": {"city": "Berlin", "countryOrRegion": "DE"},
            "geoCoordinates": {"latitude": 52.5, "longitude": 13.4},
            "videoDeviceName": "Hub",
            "isWheelChairAccessible": True,
        }
        body = {"place": place, "settings": {"BookingType": "Reserved"}, "display_name": "Atrium"}
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), body)
        shown = (await r.graph.get(f"/places/{r.room}")).json()
        assert shown["@odata.type"] == "#microsoft.graph.room"
        assert shown["address"] == {
            "street": "",
            "city": "Berlin",
            "state": "",
            "postalCode": "",
            "countryOrRegion": "DE",
        }
        assert shown["geoCoordinates"]["latitude"] == 52.5
        for name in ("capacity", "building", "floorNumber", "floorLabel", "tags", "videoDeviceName"):
            assert shown[name] == place[name]
        assert (shown["displayName"], shown["nickname"], shown["bookingType"]) == ("Atrium", "Atrium", "reserved")
        assert shown["isWheelChairAccessible"] is True
        assert shown["id"] not in (r.rooms[0]["id"], shown["placeId"])


async def test_place_is_found_by_each_of_its_names() -> None:
    async with rig(roles=ALL) as r:
        (one, _) = await all_pages(r, ROOMS)
        for name in ("id", "placeId", "emailAddress"):
            found = (await r.graph.get(f"/places/{one[name]}")).json()
            assert found["emailAddress"] == r.room
        assert (await r.graph.get(f"/places/{one['id']}?$select=capacity")).json()["capacity"] is None
        assert refusal(await r.graph.get(f"/places/{r.ada}")) == (404, "ResourceNotFound")
        assert (await r.graph.get("/places/microsoft.graph.workspace")).status_code == 501


async def test_place_of_a_renamed_room_keeps_its_place_id_alone() -> None:
    async with rig(roles=ALL) as r:
        before = (await r.graph.get(f"/places/{r.room}")).json()
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"address": "atrium@x.example"})
        after = (await r.graph.get("/places/atrium@x.example")).json()
        assert after["placeId"] == before["placeId"]
        assert after["id"] != before["id"]


async def test_places_lag_behind_the_mailboxes() -> None:
    async with rig(roles=ALL) as r:
        await r.told("PUT", "/control/moods", {"places_propagation_s": 3600})
        await r.told("POST", r.path("/rooms"), {"count": 1})
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"place": {"capacity": 4}})
        await r.told("PATCH", r.path(f"/mailboxes/{r.rooms[1]['address']}"), {"kind": "gone"})
        await sleep(r.clock, 1800)
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"place": {"capacity": 5}})
        await sleep(r.clock, 1799)
        assert [one["capacity"] for one in await all_pages(r, ROOMS)] == [None, None]
        await sleep(r.clock, 2)
        assert [(one["displayName"], one["capacity"]) for one in await all_pages(r, ROOMS)] == [
            ("Room 1", 4),
            ("Room 3", None),
        ]
        await sleep(r.clock, 1800)
        await r.sign_in()
        assert [one["capacity"] for one in await all_pages(r, ROOMS)] == [5, None]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("capacity ge 6", ["Room 1"]),
        ("capacity eq null", ["Room 2"]),
        ("building eq 'b1' and isWheelChairAccessible eq false", ["Room 1"]),
        ("displayName ne 'Room 1'", ["Room 2"]),
        ("startswith(emailAddress,'room2')", ["Room 2"]),
        ("bookingType eq 'standard' and (capacity gt 5 or capacity eq null)", ["Room 1", "Room 2"]),
    ],
)
async def test_rooms_are_filtered_and_counted(text: str, names: list[str]) -> None:
    async with rig(roles=ALL) as r:
        place = {"capacity": 6, "building": "B1"}
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"place": place})
        page = (await r.graph.get(ROOMS, params={"$filter": text, "$count": "true"})).json()
        assert ([one["displayName"] for one in page["value"]], page["@odata.count"]) == (names, len(names))
        assert (await r.graph.get(f"{ROOMS}/$count", params={"$filter": text})).text == str(len(names))


@pytest.mark.parametrize(
    ("path", "text", "status", "code"),
    [
        (ROOMS, "contains(displayName,'x')", 501, "notImplementedByEmulator"),
        (ROOMS, "tags/any(one: one eq 'x')", 501, "notImplementedByEmulator"),
        (ROOMS, "capacity eq 'six'", 400, "BadRequest"),
        (ROOMS, "bookingType eq 'open'", 400, "BadRequest"),
        (ROOMS, "colour eq 'red'", 400, "BadRequest"),
        (ROOMS, "capacity ge 6 and", 400, "BadRequest"),
        (LISTS, "capacity ge 6", 400, "BadRequest"),
    ],
)
async def test_filter_that_places_do_not_take_is_refused(path: str, text: str, status: int, code: str) -> None:
    async with rig(roles=ALL) as r:
        assert refusal(await r.graph.get(path, params={"$filter": text})) == (status, code)
        assert refusal(await r.graph.get(f"{path}/$count", params={"$filter": text})) == (status, code)


async def test_room_list_holds_its_rooms() -> None:
    async with rig(roles=ALL) as r:
        body = {"display_name": "Building 1", "address": "b1@x.example", "rooms": [r.room], "place": {"phone": "7"}}
        made = await r.told("POST", r.path("/room_lists"), body)
        assert (made["address"], made["rooms"]) == ("b1@x.example", [r.room])
        (shown,) = await all_pages(r, LISTS)
        assert (shown["displayName"], shown["phone"], "capacity" in shown) == ("Building 1", "7", False)
        for key in ("b1@x.example", shown["id"], shown["placeId"]):
            rooms = await all_pages(r, f"/places/{key}/microsoft.graph.roomlist/rooms")
            assert [one["emailAddress"] for one in rooms] == [r.room]
        assert (await r.graph.get("/places/b1@x.example")).json()["@odata.type"] == "#microsoft.graph.roomList"
        unknown = await r.graph.get(f"/places/{r.room}/microsoft.graph.roomlist/rooms")
        assert refusal(unknown) == (404, "ResourceNotFound")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"display_name": "X", "rooms": ["{ada}"]}, 400, "rooms only"),
        ({"display_name": "X", "rooms": ["x@y.example"]}, 404, "no mailbox"),
        ({"display_name": "X", "address": "{ada}"}, 409, "already is"),
        ({}, 400, "display_name"),
    ],
)
async def test_room_list_that_cannot_be_is_refused(body: dict[str, Any], status: int, words: str) -> None:
    async with rig() as r:
        filled = {key: r.ada if value == "{ada}" else value for key, value in body.items()}
        if body.get("rooms") == ["{ada}"]:
            filled["rooms"] = [r.ada]
        answer = await r.control.post(r.path("/room_lists"), json=filled)
        assert (answer.status_code, words in answer.json()["error"]) == (status, True)


async def test_places_need_their_own_right() -> None:
    async with rig(roles=["Calendars.ReadWrite", "User.Read.All"]) as r:
        for path in (
            ROOMS,
            LISTS,
            f"{ROOMS}/$count",
            f"/places/{r.room}",
            f"/places/{r.room}/microsoft.graph.roomlist/rooms",
        ):
            assert refusal(await r.graph.get(path)) == (403, "Authorization_RequestDenied")
