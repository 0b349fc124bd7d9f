"""Sections 8.3 and 8.5: JSON batching, and the subscription service's own limits."""

from __future__ import annotations

from typing import Any

import httpx

from tests.contract.graph.case import Table
from tests.contract.graph.emulated import Emulated
from tests.contract.graph.subject import Json, Subject, assert_refused

TABLE = Table()
_JSON = {"Content-Type": "application/json"}


async def _batch(s: Subject, *items: Json) -> httpx.Response:
    return await s.graph.post("/$batch", json={"requests": list(items)})


async def _answers(s: Subject, *items: Json) -> dict[str, Json]:
    answer = await _batch(s, *items)
    assert answer.status_code == 200, answer.text
    return {one["id"]: one for one in answer.json()["responses"]}


def _get(name: str, url: str, **more: Any) -> Json:  # Any: JSON for the wire
    return {"id": name, "method": "GET", "url": url, **more}


@TABLE.case("8.5", "each item has its own status, headers and body")
async def items(s: Subject) -> None:
    found = await _answers(
        s,
        _get("good", f"/users/{s.mailbox}/calendar"),
        _get("bad", f"/users/nobody@{s.mailbox.partition('@')[2]}/calendar"),
    )
    assert (found["good"]["status"], found["bad"]["status"]) == (200, 404)
    assert found["good"]["body"]["owner"]["address"].lower() == s.mailbox.lower()
    assert found["bad"]["body"]["error"]["code"]
    assert found["good"]["headers"]["Content-Type"].startswith("application/json")


@TABLE.case("8.5", "items write as requests of their own do")
async def writes(s: Subject) -> None:
    post = {"id": "1", "method": "POST", "url": f"/users/{s.mailbox}/events", "headers": _JSON, "body": s.body()}
    made = (await _answers(s, post))["1"]
    assert made["status"] == 201
    url = s.url(made["body"]["id"])
    s.later(lambda: s.graph.delete(url))
    assert len(await s.view()) == 1
    assert (await _answers(s, {"id": "1", "method": "DELETE", "url": url}))["1"]["status"] == 204
    assert await s.view() == []


@TABLE.case("8.5", "an item needs its own preferences")
async def preferences(s: Subject) -> None:
    made = await s.create()
    prefer = {"Prefer": 'IdType="ImmutableId", outlook.timezone="Europe/Berlin"'}
    found = await _answers(s, _get("with", s.url(made["id"]), headers=prefer), _get("without", s.url(made["id"])))
    assert (found["with"]["body"]["id"], found["with"]["body"]["start"]["timeZone"]) == (made["id"], "Europe/Berlin")
    assert found["without"]["body"]["id"] != made["id"]
    assert found["without"]["body"]["start"]["timeZone"] == "UTC"


@TABLE.case("8.5", "twenty items are a batch, twenty-one are not", rows={"20": (20, 200), "21": (21, 400)})
async def size(s: Subject, count: int, status: int) -> None:
    answer = await _batch(s, *(_get(str(at), f"/users/{s.mailbox}/calendar?$select=id") for at in range(count)))
    assert answer.status_code == status


@TABLE.case("8.5", "two items cannot have one id")
async def equal_ids(s: Subject) -> None:
    assert_refused(await _batch(s, *(_get("1", f"/users/{s.mailbox}/calendar") for _ in range(2))), 400)


@TABLE.case("8.5", "what depends on a failed item fails with 424")
async def failed_dependency(s: Subject) -> None:
    found = await _answers(
        s,
        _get("1", s.url("AAMkAGI-nonsense=")),
        _get("2", f"/users/{s.mailbox}/calendar", dependsOn=["1"]),
    )
    assert found["2"]["status"] == 424
    assert found["2"]["body"]["error"]["code"] == "FailedDependency"


@TABLE.case("8.5", "what depends on a good item comes after it")
async def dependency(s: Subject) -> None:
    post = {"id": "1", "method": "POST", "url": f"/users/{s.mailbox}/events", "headers": _JSON, "body": s.body()}
    window = "&".join(f"{name}={value}" for name, value in s.window().items())
    found = await _answers(s, post, _get("2", f"/users/{s.mailbox}/calendarView?{window}", dependsOn=["1"]))
    url = s.url(found["1"]["body"]["id"])
    s.later(lambda: s.graph.delete(url))
    assert len(found["2"]["body"]["value"]) == 1


@TABLE.case(
    "8.5",
    "the batch succeeds when an item is throttled, and the item says when to come back",
    emulator_only="a fault is scripted",
)
async def throttled_item(s: Emulated) -> None:
    await s.fault({"status": 429, "code": "ApplicationThrottled", "headers": {"Retry-After": "10"}}, path="/events")
    found = await _answers(s, _get("1", f"/users/{s.mailbox}/events"), _get("2", f"/users/{s.mailbox}/calendar"))
    assert (found["1"]["status"], found["1"]["headers"]["Retry-After"]) == (429, "10")
    assert found["2"]["status"] == 200


@TABLE.case(
    "8.3", "subscriptions can be listed 25 times in 20 seconds", emulator_only="a real tenant's limit would be used up"
)
async def list_limit(s: Emulated) -> None:
    await s.rig.told("PUT", "/control/moods", {"documented_limits": True})
    answers = [await s.graph.get("/subscriptions") for _ in range(26)]
    assert [one.status_code for one in answers] == [200] * 25 + [429]
    wait_s = int(answers[-1].headers["retry-after"])
    assert 0 < wait_s <= 20
    await s.advance(wait_s)
    assert (await s.graph.get("/subscriptions")).status_code == 200


@TABLE.case("8.1", "10,000 requests in ten minutes are a mailbox's share", emulator_only="a limit is made small")
async def request_limit(s: Emulated) -> None:
    await s.rig.told("PUT", "/control/throttle", {"limits": {"mailbox_requests": 3}})
    statuses = [(await s.graph.get(f"/users/{s.mailbox}/events")).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert (await s.graph.get(f"/users/{s.room}/events")).status_code == 200
    await s.advance(600)
    assert (await s.graph.get(f"/users/{s.mailbox}/events")).status_code == 200
