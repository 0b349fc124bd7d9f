"""Who may do what to which mailbox, and the directory's own paths."""

import pytest

from tests.unit.emulator.rig import rig

pytestmark = pytest.mark.looptime
ALL = ["Calendars.ReadWrite", "User.Read.All", "Place.Read.All", "MailboxSettings.Read"]


async def test_access_policy_shuts_other_mailboxes() -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"access_policy": [r.room]})
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200
        shut = await r.graph.get(f"/users/{r.ada}/events")
        assert (shut.status_code, shut.json()["error"]["code"]) == (403, "ErrorAccessDenied")
        assert "[RAOP]" in shut.json()["error"]["message"]
        await r.told("PATCH", r.path("/app"), {"access_policy": None})
        assert (await r.graph.get(f"/users/{r.ada}/events")).status_code == 200


async def test_rbac_opens_its_mailboxes_to_a_token_without_roles() -> None:
    async with rig(roles=[]) as r:
        await r.told("PATCH", r.path("/app"), {"rbac_scope": [r.room]})
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200
        assert (await r.graph.get(f"/users/{r.ada}/events")).status_code == 403


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("onPremises", 404, "MailboxNotEnabledForRESTAPI"),
        ("gone", 404, "ErrorInvalidUser"),
        ("moving", 503, "ErrorMailboxMoveInProgress"),
    ],
)
async def test_mailbox_elsewhere_is_refused(kind: str, status: int, code: str) -> None:
    async with rig() as r:
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"kind": kind})
        answer = await r.graph.get(f"/users/{r.room}/events")
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"kind": "cloud"})
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200


async def test_unknown_mailbox_is_an_invalid_user() -> None:
    async with rig() as r:
        answer = await r.graph.get("/users/nobody@contoso.example/calendarView?startDateTime=a&endDateTime=b")
        assert answer.json()["error"]["message"] == "The requested user 'nobody@contoso.example' is invalid."


async def test_mailbox_is_found_by_id_and_by_address_in_any_case() -> None:
    async with rig() as r:
        for key in (r.rooms[0]["id"], r.rooms[0]["id"].upper(), r.room.upper()):
            assert (await r.graph.get(f"/users/{key}/calendar")).json()["owner"]["address"] == r.room


async def test_renamed_mailbox_keeps_its_id() -> None:
    async with rig() as r:
        new = f"atrium@{r.tenant['domain']}"
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"address": new, "display_name": "Atrium"})
        assert (await r.graph.get(f"/users/{r.rooms[0]['id']}/calendar")).json()["owner"] == {
            "name": "Atrium",
            "address": new,
        }
        assert (await r.graph.get(f"/users/{r.room}/calendar")).status_code == 404


async def test_directory_paths_need_their_own_roles() -> None:
    async with rig() as r:
        refused = {
            f"/users/{r.room}": "Authorization_RequestDenied",
            f"/users/{r.room}/mailboxSettings": "ErrorAccessDenied",
            "/places/microsoft.graph.room": "Authorization_RequestDenied",
        }
        for path, code in refused.items():
            answer = await r.graph.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)
    async with rig(roles=ALL) as r:
        user = (await r.graph.get(f"/users/{r.room}", params={"$select": "id,mail"})).json()
        assert {key: user[key] for key in ("id", "mail")} == {"id": r.rooms[0]["id"], "mail": r.room}
        settings = (await r.graph.get(f"/users/{r.room}/mailboxSettings")).json()
        assert (settings["timeZone"], settings["userPurpose"]) == ("UTC", "room")
        assert (await r.graph.get(f"/users/{r.room}?$select=jobTitle")).status_code == 501


async def test_rooms_of_the_directory_are_paged() -> None:
    async with rig(roles=ALL) as r:
        await r.told("POST", r.path("/rooms"), {"count": 118})
        first = (await r.graph.get("/places/microsoft.graph.room")).json()
        second = (await r.graph.get(first["@odata.nextLink"])).json()
        assert (len(first["value"]), len(second["value"])) == (100, 20)
        assert "@odata.nextLink" not in second
        assert first["value"][0]["emailAddress"] == r.room
