"""Who may do what to which mailbox, and the directory's own paths."""

from typing import Any

import pytest

from tests.unit.emulator.rig import Rig, rig, wire_event

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
        assert (await r.graph.get(f"/users/{r.room}?$select=aboutMe")).status_code == 501


async def test_rooms_of_the_directory_are_paged() -> None:
    async with rig(roles=ALL) as r:
        await r.told("POST", r.path("/rooms"), {"count": 118})
        first = (await r.graph.get("/places/microsoft.graph.room")).json()
        second = (await r.graph.get(first["@odata.nextLink"])).json()
        assert (len(first["value"]), len(second["value"])) == (100, 20)
        assert "@odata.nextLink" not in second
        assert first["value"][0]["emailAddress"] == r.room


async def statuses(r: Rig) -> list[int]:
    """Read the first room and the first person."""
    return [(await r.graph.get(f"/users/{mailbox}/events")).status_code for mailbox in (r.room, r.ada)]


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([], [200, 200]),
        ([{"members": ["room"]}], [200, 403]),
        ([{"right": "DenyAccess", "members": ["room"]}], [403, 200]),
        ([{"members": ["room", "ada"]}, {"right": "DenyAccess", "members": ["ada"]}], [200, 403]),
        ([{"members": ["room"]}, {"members": ["ada"]}], [200, 200]),
        ([{"members": []}], [403, 403]),
    ],
)
async def test_policies_are_weighed_deny_first_then_restrict(policies: list[Any], expected: list[int]) -> None:
    async with rig() as r:
        names = {"room": r.room, "ada": r.ada}
        given = [{**one, "members": [names[member] for member in one["members"]]} for one in policies]
        await r.told("PATCH", r.path("/app"), {"access_policies": given})
        assert await statuses(r) == expected


async def test_policy_is_known_only_when_it_is_due() -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"access_policy": [r.room], "propagation_s": 1800})
        assert await statuses(r) == [200, 200]
        await r.told("POST", "/control/clock", {"advance_s": 1799})
        assert await statuses(r) == [200, 200]
        await r.told("POST", "/control/clock", {"advance_s": 1})
        assert await statuses(r) == [200, 403]


async def test_later_policy_does_not_undo_a_grant_that_is_still_on_its_way() -> None:
    async with rig(roles=[]) as r:
        await r.told("PATCH", r.path("/app"), {"rbac_scope": [r.room], "propagation_s": 600})
        await r.told("PATCH", r.path("/app"), {"access_policy": [r.ada]})
        assert await statuses(r) == [403, 403]
        await r.told("POST", "/control/clock", {"advance_s": 600})
        assert await statuses(r) == [200, 403]


async def test_withdrawn_grant_stays_until_it_is_due() -> None:
    async with rig(roles=[]) as r:
        await r.told("PATCH", r.path("/app"), {"rbac_scope": [r.room]})
        await r.told("PATCH", r.path("/app"), {"rbac_scope": None, "propagation_s": 600})
        assert await statuses(r) == [200, 403]
        await r.told("POST", "/control/clock", {"advance_s": 600})
        assert await statuses(r) == [403, 403]


async def test_grant_does_not_narrow_what_entra_consented() -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"rbac_scope": [r.room]})
        assert await statuses(r) == [200, 200]


async def test_policy_does_not_narrow_what_exchange_granted() -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"rbac_scope": [r.room], "access_policy": []})
        assert await statuses(r) == [200, 403]


async def test_grant_to_read_does_not_write() -> None:
    async with rig(roles=[]) as r:
        grant = {"role": "Application Calendars.Read", "scope": [r.room]}
        await r.told("PATCH", r.path("/app"), {"rbac_grants": [grant]})
        assert await statuses(r) == [200, 403]
        refused = await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "ErrorAccessDenied")
        await r.told("PATCH", r.path("/app"), {"rbac_scope": [r.room]})
        assert (await r.graph.post(f"/users/{r.room}/events", json=wire_event())).status_code == 201


async def test_grant_on_calendars_does_not_open_settings() -> None:
    async with rig(roles=[]) as r:
        await r.told("PATCH", r.path("/app"), {"rbac_scope": [r.room]})
        assert (await r.graph.get(f"/users/{r.room}/mailboxSettings")).status_code == 403
        grant = {"role": "Application MailboxSettings.Read", "scope": [r.room]}
        await r.told("PATCH", r.path("/app"), {"rbac_grants": [grant]})
        assert (await r.graph.get(f"/users/{r.room}/mailboxSettings")).status_code == 200


async def test_grant_alone_opens_subscriptions_unless_told_otherwise() -> None:
    async with rig(roles=[]) as r:
        await r.told("PATCH", r.path("/app"), {"rbac_scope": [r.room]})
        assert (await r.subscribe()).status_code == 201
        await r.told("PATCH", r.path("/app"), {"rbac_opens_subscriptions": False})
        refused = await r.subscribe(changeType="created")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "ExtensionError")


async def test_role_that_exchange_does_not_have_is_refused() -> None:
    async with rig() as r:
        body = {"rbac_grants": [{"role": "Application Place.Read.All", "scope": []}]}
        assert (await r.control.patch(r.path("/app"), json=body)).status_code == 400


async def test_refused_change_of_an_app_changes_nothing() -> None:
    async with rig() as r:
        body = {"access_policy": [], "roles": [], "certificate_pem": "rubbish"}
        assert (await r.control.patch(r.path("/app"), json=body)).status_code == 400
        await r.sign_in()
        assert await statuses(r) == [200, 200]


BASIC = ["Calendars.ReadBasic.All"]
HIDDEN = {"body", "bodyPreview", "attachments", "extensions"}


async def test_basic_reader_sees_events_without_their_bodies() -> None:
    async with rig() as r:
        body = {"contentType": "text", "content": "secret agenda"}
        made = (await r.graph.post(f"/users/{r.room}/events", json=wire_event(body=body))).json()
        assert made.keys() >= {"body", "bodyPreview"}
        await r.told("PATCH", r.path("/app"), {"roles": BASIC})
        await r.sign_in()
        window = "startDateTime=2026-11-24T00:00:00Z&endDateTime=2026-11-25T00:00:00Z"
        for path in (
            "/events",
            f"/calendarView?{window}",
            f"/calendarView/delta?{window}",
            "/events?$select=subject,body",
        ):
            answer = await r.graph.get(f"/users/{r.room}{path}")
            (one,) = answer.json()["value"]
            assert not HIDDEN & one.keys()
            assert one["subject"] == "Review"
            assert "secret agenda" not in answer.text
        one = (await r.graph.get(r.event_url(made["id"]))).json()
        assert not HIDDEN & one.keys()
        assert one["start"] == made["start"]


async def test_basic_reader_neither_writes_nor_subscribes_nor_opens_attachments() -> None:
    async with rig(roles=BASIC) as r:
        assert (await r.graph.post(f"/users/{r.room}/events", json=wire_event())).status_code == 403
        refused = await r.subscribe()
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "ExtensionError")
        for query in ("$filter=contains(bodyPreview,'x')", "$expand=extensions"):
            assert (await r.graph.get(f"/users/{r.room}/events?{query}")).status_code == 403


async def test_basic_reader_may_ask_for_what_only_sounds_like_something_hidden() -> None:
    async with rig(roles=BASIC) as r:
        made = await r.told("POST", r.path("/users"), {"users": [{"address": "body@contoso.example"}]})
        assert (await r.graph.get(f"/users/{made['users'][0]['address']}/events")).status_code == 200
        refused = await r.graph.get(f"/users/{r.room}/events", params={"$filter": "subject eq 'body'"})
        assert refused.status_code != 403


async def test_reader_of_one_mailbox_stays_basic_on_others() -> None:
    async with rig(roles=BASIC) as r:
        await r.book("2026-11-24T09:00:00", "2026-11-24T10:00:00")
        await r.rest()
        await r.told("PATCH", r.path("/app"), {"rbac_scope": [r.room]})
        shown = ["body" in (await r.graph.get(f"/users/{one}/events")).json()["value"][0] for one in (r.room, r.ada)]
        assert shown == [True, False]


async def test_call_without_any_role_may_be_refused_with_401_when_unkind() -> None:
    async with rig(roles=[]) as r:
        await r.told("PUT", "/control/moods", {"roleless_unauthorized_share": 1})
        answer = await r.graph.get(f"/users/{r.room}/events")
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] in ("AuthenticationError", "UnauthorizedError", "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        await r.told("PATCH", r.path("/app"), {"rbac_scope": [r.room]})
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200


async def test_good_token_may_be_refused_by_one_server_when_unkind() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"flaky_token_share": 0.5})
        answers = [await r.graph.get(f"/users/{r.room}/events") for _ in range(40)]
        assert {one.status_code for one in answers} == {200, 401}
        refused = next(one for one in answers if one.status_code == 401)
        assert refused.json()["error"]["code"] == "InvalidAuthenticationToken"
