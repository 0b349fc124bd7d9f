"""`$batch`: what is a batch, what becomes of its items, and that they meet what ordinary requests meet."""

import asyncio
import base64
from typing import Any

import httpx
import pytest

from tests.unit.emulator.rig import Rig, rig, wire_event

pytestmark = pytest.mark.looptime
JSON = {"Content-Type": "application/json"}


async def post(r: Rig, *items: dict[str, Any], **more: Any) -> httpx.Response:
    return await r.graph.post("/$batch", json={"requests": list(items)}, **more)


async def answers(r: Rig, *items: dict[str, Any]) -> dict[str, dict[str, Any]]:
    answer = await post(r, *items)
    assert answer.status_code == 200, answer.text
    return {one["id"]: one for one in answer.json()["responses"]}


def get(item_id: str, url: str, **more: Any) -> dict[str, Any]:
    return {"id": item_id, "method": "GET", "url": url, **more}


async def test_items_are_answered_each_with_its_own_status_headers_and_body() -> None:
    async with rig() as r:
        found = await answers(
            r,
            get("read", f"/users/{r.room}/events", headers={"Prefer": 'outlook.timezone="Europe/Berlin"'}),
            {"id": "make", "method": "POST", "url": f"users/{r.ada}/events", "headers": JSON, "body": wire_event()},
            get("none", "/users/nobody@x.example/events"),
        )
        assert {name: one["status"] for name, one in found.items()} == {"read": 200, "make": 201, "none": 404}
        assert found["read"]["headers"]["Preference-Applied"] == 'outlook.timezone="Europe/Berlin"'
        assert found["read"]["body"]["value"] == []
        assert found["make"]["body"]["subject"] == "Review"
        assert found["make"]["headers"]["Location"].startswith("https://graph.microsoft.com/v1.0/users/")
        assert found["none"]["body"]["error"]["code"] == "ErrorInvalidUser"
        assert found["read"]["headers"]["Content-Type"].startswith("application/json")
        assert [item["subject"] for item in await r.truth(r.ada)] == ["Review"]


async def test_item_takes_no_preference_from_outside() -> None:
    async with rig() as r:
        made = (await r.graph.post(f"/users/{r.room}/events", json=wire_event())).json()
        outer = {"prefer": 'outlook.timezone="Europe/Berlin"'}
        answer = await post(r, get("1", r.event_url(made["id"])), headers=outer)
        assert answer.json()["responses"][0]["body"]["start"]["timeZone"] == "UTC"


async def test_answer_without_a_body_has_none() -> None:
    async with rig() as r:
        made = (await r.graph.post(f"/users/{r.room}/events", json=wire_event())).json()
        found = await answers(r, {"id": "1", "method": "DELETE", "url": r.event_url(made["id"])})
        assert found["1"]["status"] == 204
        assert "body" not in found["1"]
        assert "Content-Type" not in found["1"]["headers"]


async def test_answer_that_is_not_json_comes_as_base64() -> None:
    async with rig() as r:
        effect = {"status": 503, "body": "<html>"}
        await r.told("POST", "/control/faults", {"match": {"path": "/events"}, "effect": effect})
        found = await answers(r, get("1", f"/users/{r.room}/events"))
        assert (found["1"]["status"], base64.b64decode(found["1"]["body"])) == (503, b"<html>")


@pytest.mark.parametrize(
    "items",
    [
        [],
        [get(str(number), "/subscriptions") for number in range(21)],
        [get("1", "/subscriptions"), get("1", "/subscriptions")],
        [get("a", "/subscriptions"), get("A", "/subscriptions")],
        [get("", "/subscriptions")],
        [get("1", "https://graph.microsoft.com/v1.0/subscriptions")],
        [get("1", "")],
        [get("1", "/?$top=1")],
        [{"id": "1", "url": "/subscriptions"}],
        [{"id": "1", "method": "LOOK", "url": "/subscriptions"}],
        [{"id": 1, "method": "GET", "url": "/subscriptions"}],
        [{"id": "1", "method": "POST", "url": "/$batch", "headers": JSON, "body": {"requests": []}}],
        [{"id": "1", "method": "POST", "url": "/subscriptions", "body": {}}],
        [
            {
                "id": "1",
                "method": "POST",
                "url": "/subscriptions",
                "headers": {"content-type": "text/plain"},
                "body": "é",
            }
        ],
        [get("1", "/subscriptions", dependsOn=["2"])],
        [get("1", "/subscriptions", dependsOn=["1"])],
        [get("1", "/subscriptions", dependsOn=["2"]), get("2", "/subscriptions", dependsOn=["1"])],
        [get("1", "/s"), get("2", "/s"), get("3", "/s", dependsOn=["1", "2"])],
        [get("1", "/s"), get("2", "/s", dependsOn=["1"]), get("3", "/s", dependsOn=["1"])],
    ],
)
async def test_what_is_no_batch_is_refused_whole(items: list[dict[str, Any]]) -> None:
    async with rig() as r:
        answer = await post(r, *items)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")


@pytest.mark.parametrize("body", [b"", b"rubbish", b"[]", b'{"requests":{}}', b'{"requests":[],"more":1}'])
async def test_body_that_is_not_a_batch_is_refused(body: bytes) -> None:
    async with rig() as r:
        assert (await r.graph.post("/$batch", content=body)).status_code == 400


async def test_refused_batch_carries_nothing_out() -> None:
    async with rig() as r:
        make = {"id": "1", "method": "POST", "url": f"/users/{r.room}/events", "headers": JSON, "body": wire_event()}
        assert (await post(r, make, get("2", "/subscriptions", dependsOn=["3"]))).status_code == 400
        assert await r.truth() == []


async def test_twenty_items_are_a_batch() -> None:
    async with rig() as r:
        assert len(await answers(r, *(get(str(number), "/subscriptions") for number in range(20)))) == 20


async def test_chain_goes_in_order_and_fails_from_its_first_failure_on() -> None:
    async with rig() as r:
        url = f"/users/{r.room}/events"
        found = await answers(
            r,
            get("third", url, dependsOn=["second"]),
            get("second", "/users/nobody@x.example/events", dependsOn=["first"]),
            {"id": "first", "method": "POST", "url": url, "headers": JSON, "body": wire_event()},
            get("apart", url),
        )
        assert {name: one["status"] for name, one in found.items()} == {
            "first": 201,
            "second": 404,
            "third": 424,
            "apart": 200,
        }
        assert found["third"]["body"]["error"]["code"] == "FailedDependency"


async def test_item_sees_what_the_one_before_it_did() -> None:
    async with rig() as r:
        await r.told("POST", "/control/faults", {"match": {"method": "POST", "skip": 1}, "effect": {"delay_s": 5}})
        url = f"/users/{r.room}/events"
        found = await answers(
            r,
            {"id": "make", "method": "POST", "url": url, "headers": JSON, "body": wire_event()},
            get("read", url, dependsOn=["make"]),
        )
        assert len(found["read"]["body"]["value"]) == 1


async def test_items_on_one_mailbox_go_four_at_a_time() -> None:
    async with rig() as r:
        await r.told("POST", "/control/faults", {"match": {"path": "/users", "count": 0}, "effect": {"delay_s": 1}})
        started = r.clock.now()
        other = r.rooms[1]["address"]
        urls = [f"/users/{r.room}/events"] * 10 + [f"/users/{other}/events"] * 4
        found = await answers(r, *(get(str(number), url) for number, url in enumerate(urls)))
        assert {one["status"] for one in found.values()} == {200}
        assert (r.clock.now() - started).total_seconds() == pytest.approx(3, abs=0.1)


async def test_batch_meets_the_throttle_beside_other_requests() -> None:
    async with rig() as r:
        await r.told("POST", "/control/faults", {"match": {"path": "/users", "count": 0}, "effect": {"delay_s": 1}})
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(r.graph.get(f"/users/{r.room}/events")) for _ in range(2)]
            found = group.create_task(answers(r, *(get(str(number), f"/users/{r.room}/events") for number in range(4))))
        inside = [one for one in found.result().values() if one["status"] == 429]
        assert {one.result().status_code for one in others} == {200}
        assert len(inside) == 2
        assert inside[0]["headers"]["Retry-After"] == "10"


async def test_each_item_counts_and_the_batch_does_not() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/throttle", {"limits": {"mailbox_requests": 2}})
        found = await answers(r, *(get(str(number), f"/users/{r.room}/events") for number in range(3)))
        assert sorted(one["status"] for one in found.values()) == [200, 200, 429]
        rows = (await r.told("GET", r.path("/throttle")))["counts"]
        assert [row["count"] for row in rows if row["limit"] == "app_requests"] == [2]


async def test_items_have_the_roles_of_the_outer_token() -> None:
    async with rig(roles=["Calendars.Read"]) as r:
        url = f"/users/{r.room}/events"
        make = {"id": "make", "method": "POST", "url": url, "headers": JSON, "body": wire_event()}
        strange = get("read", url, headers={"Authorization": "Bearer rubbish"})
        found = await answers(r, make, strange)
        assert {name: one["status"] for name, one in found.items()} == {"make": 403, "read": 200}


async def test_batch_without_a_token_is_refused_whole() -> None:
    async with rig() as r:
        answer = await post(r, get("1", "/subscriptions"), headers={"authorization": ""})
        assert answer.status_code == 401


@pytest.mark.parametrize("effect", [{"drop": True}, {"half_body": True}])
async def test_item_that_breaks_the_connection_takes_the_batch_along(effect: dict[str, bool]) -> None:
    async with rig() as r:
        await r.told("POST", "/control/faults", {"match": {"path": "/events"}, "effect": effect})
        with pytest.raises(httpx.RemoteProtocolError):
            await post(r, get("1", f"/users/{r.room}/events"), get("2", "/subscriptions"))


async def test_answers_come_in_any_order_when_unkind_and_in_theirs_when_calm() -> None:
    async with rig() as r:
        items = [get(str(number), "/subscriptions") for number in range(8)]
        in_order = [str(number) for number in range(8)]
        assert [one["id"] for one in (await post(r, *items)).json()["responses"]] == in_order
        await r.told("PUT", "/control/moods", {"batch_shuffle_share": 1})
        told = [one["id"] for one in (await post(r, *items)).json()["responses"]]
        assert told != in_order
        assert sorted(told) == in_order


async def test_batch_and_its_items_are_recorded() -> None:
    async with rig() as r:
        before = (await r.told("GET", r.path("/requests")))["requests"][-1]["number"]
        await answers(r, get("1", f"/users/{r.room}/events?$top=3"))
        item, outer = (await r.told("GET", r.path(f"/requests?after={before}")))["requests"]
        assert (outer["path"], outer["in_batch"]) == ("/v1.0/$batch", False)
        assert (item["path"], item["query"], item["in_batch"]) == (f"/v1.0/users/{r.room}/events", "$top=3", True)


async def test_batch_is_posted_only() -> None:
    async with rig() as r:
        assert (await r.graph.get("/$batch")).status_code == 501


async def test_next_link_of_an_item_can_be_followed() -> None:
    async with rig() as r:
        for day in (24, 25):
            times = {"start": f"2026-11-{day}T09:00:00", "end": f"2026-11-{day}T10:00:00"}
            await r.graph.post(f"/users/{r.room}/events", json=wire_event(**times))
        found = await answers(r, get("1", f"/users/{r.room}/events?$top=1"))
        link = found["1"]["body"]["@odata.nextLink"]
        assert len((await r.graph.get(link)).json()["value"]) == 1
