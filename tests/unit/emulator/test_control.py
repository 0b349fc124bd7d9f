"""The control API: its description, its manners, its clock and its seeding."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

import sidecar.emulator
from sidecar.emulator.core import Emulator
from tests.unit.emulator.rig import rig

pytestmark = pytest.mark.looptime


async def test_description_holds_exactly_the_routes() -> None:
    async with rig() as r:
        told = await r.told("GET", "/control/openapi.json")
        described = {(method.upper(), path) for path, operations in told["paths"].items() for method in operations}
        assert described == {(route.method, route.path) for route in r.emulator.control_app.routes}
        assert told["openapi"] == "3.1.0"
        ids = [operation["operationId"] for operations in told["paths"].values() for operation in operations.values()]
        assert len(ids) == len(set(ids))
        references = re.findall(r"#/components/schemas/(\w+)", str(told))
        assert set(references) <= set(told["components"]["schemas"])


async def test_readme_lists_exactly_the_routes() -> None:
    readme = (Path(sidecar.emulator.__file__).parent / "README.md").read_text()
    listed = set(re.findall(r"^\| `(GET|POST|PUT|PATCH|DELETE) (/control/\S+)`", readme, re.MULTILINE))
    assert listed == {(route.method, route.path) for route in Emulator().control_app.routes}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/control/nothing", None, 404, "no control call"),
        ("DELETE", "/control/health", None, 405, "takes GET"),
        ("GET", "/control/health?x=1", None, 400, "no query parameter x"),
        ("POST", "/control/tenants", {"colour": 1}, 400, "unknown field `colour`"),
        ("POST", "/control/tenants", {"roles": ["Mail.Read"]}, 400, "does not play Mail.Read"),
        ("POST", "/control/tenants", {"tenant_id": "common"}, 400, "'common' is not a GUID"),
        ("POST", "/control/tenants", {"client_id": "rooms"}, 400, "'rooms' is not a GUID"),
        ("POST", "/control/tenants", {"domain": "a/b"}, 400, "'a/b' is not a domain"),
        ("POST", "/control/tenants/nobody/rooms", {}, 404, "no tenant nobody"),
        ("PUT", "/control/moods", {"throttle_share": 2}, 400, "not moods"),
        ("POST", "{t}/rooms", {"rooms": [{"time_zone": "Mars"}]}, 400, "no time zone Mars"),
        ("POST", "{t}/rooms", {"rooms": [{"settings": {"Nope": 1}}]}, 400, "not room settings"),
        ("PATCH", "{t}/mailboxes/x@y.example", {}, 404, "no mailbox"),
        (
            "POST",
            "{t}/outlook/move",
            {"meeting": "x", "start": "2026-11-24T10:00:00", "end": "2026-11-24T11:00:00"},
            404,
            "no meeting",
        ),
        (
            "POST",
            "{t}/outlook/book",
            {"organizer": "x@y.example", "start": "a", "end": "b"},
            404,
            "no mailbox x@y.example",
        ),
        ("POST", "{t}/lifecycle", {"subscription_id": "x", "event": "missed"}, 404, "no subscription"),
        ("POST", "{t}/deliveries/later", None, 404, "pause, resume or drop"),
    ],
)
async def test_bad_call_is_refused_with_a_sentence(method: str, path: str, body: Any, status: int, words: str) -> None:
    async with rig() as r:
        answer = await r.control.request(method, path.replace("{t}", r.path("")), json=body)
        assert answer.status_code == status
        assert words in answer.json()["error"]


async def test_tenant_is_made_as_asked() -> None:
    wish: dict[str, Any] = {"domain": "fabrikam.example", "client_secret": "abc~8Q", "roles": []}
    async with rig(**wish) as r:
        assert (r.tenant["domain"], r.tenant["client_secret"]) == ("fabrikam.example", "abc~8Q")
        assert r.tenant["authority"].endswith(f"/{r.tenant['tenant_id']}")
        again = await r.control.post("/control/tenants", json=wish)
        assert again.status_code == 409


async def test_clock_moves_and_wakes_what_waited() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"room_delay_min_s": 3000, "room_delay_max_s": 3000})
        await r.book("2026-11-24T10:00:00", "2026-11-24T11:00:00")
        assert (await r.told("GET", r.path("/pending")))["room_processing"] == 1
        told = await r.told("POST", "/control/clock", {"advance_s": 3600})
        assert told["now"].startswith("2026-11-23T09:00:0")
        await r.rest()
        assert [item["response"] for item in await r.truth()] == ["accepted"]


async def test_seeded_rooms_are_full_settled_and_never_double_booked() -> None:
    async with rig() as r:
        await r.subscribe()
        rooms = (await r.told("POST", r.path("/seed"), {"rooms": 3, "bookings_per_room": 120, "seed": 5}))["rooms"]
        assert len(rooms) == 3
        assert await r.told("GET", r.path("/pending")) == {"room_processing": 0, "deliveries": 0, "held": 0}
        for room in rooms:
            items = await r.truth(room["address"])
            assert len(items) == 120
            assert {(item["response"], item["show_as"]) for item in items} == {("accepted", "busy")}
            assert all(one["end"] <= other["start"] for one, other in itertools.pairwise(items))


async def test_requests_are_recorded() -> None:
    async with rig() as r:
        before = (await r.told("GET", r.path("/requests")))["requests"][-1]["number"]
        await r.graph.get(f"/users/{r.room}/events?$top=5", headers={"client-request-id": "mine"})
        (one,) = (await r.told("GET", r.path(f"/requests?after={before}")))["requests"]
        assert (one["method"], one["status"], one["client_request_id"]) == ("GET", 200, "mine")
        assert one["path"] == f"/v1.0/users/{r.room}/events"


async def test_meeting_can_be_edited() -> None:
    async with rig() as r:
        booked = await r.book("2026-11-24T10:00:00", "2026-11-24T11:00:00")
        await r.rest()
        other = r.rooms[1]["address"]
        edited = await r.told(
            "POST", r.path("/outlook/edit"), {"meeting": booked["meeting"], "rooms": [other], "subject": "New"}
        )
        await r.rest()
        assert set(edited["events"]) == {r.ada, other}
        assert [item["is_cancelled"] for item in await r.truth()] == [True]
        assert [item["response"] for item in await r.truth(other)] == ["accepted"]
        assert [item["subject"] for item in await r.truth(r.ada)] == ["New"]


async def test_unnamed_mailboxes_get_names_that_are_free() -> None:
    async with rig() as r:
        wanted = [{"address": f"room4@{r.tenant['domain']}"}, {"address": f"ada.lovelace2@{r.tenant['domain']}"}]
        await r.told("POST", r.path("/rooms"), {"rooms": wanted[:1]})
        await r.told("POST", r.path("/users"), {"users": wanted[1:]})
        rooms = (await r.told("POST", r.path("/rooms"), {"count": 2}))["rooms"]
        users = (await r.told("POST", r.path("/users"), {"count": 18}))["users"]
        assert [one["address"].partition("@")[0] for one in rooms] == ["room5", "room6"]
        people = [one["address"].partition("@")[0] for one in users]
        assert people[0] == "barbara.liskov"
        assert [one for one in people if one.startswith("ada")] == ["ada.lovelace3", "ada.lovelace4"]
        assert len(set(people)) == 18
