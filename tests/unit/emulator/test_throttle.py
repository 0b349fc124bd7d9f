"""Limits: each by what it counts, the honesty of Retry-After, and what control can read and change."""

import asyncio
from typing import Any

import pytest

from sidecar.emulator.exchange.metering import LIMITS, Scope
from tests.unit.emulator.rig import Rig, rig, wire_event

pytestmark = pytest.mark.looptime
# limit: amount, window in seconds, what is counted together. As Microsoft's page tells them.
TOLD = {
    "mailbox_requests": (10_000, 600, Scope.MAILBOX),
    "mailbox_upload_bytes": (150 * 1024 * 1024, 300, Scope.MAILBOX),
    "app_requests": (130_000, 10, Scope.APP),
    "extension_requests": (455, 10, Scope.TENANT),
    "subscription_writes": (500, 20, Scope.TENANT),
    "subscription_writes_app": (2000, 20, Scope.APP),
    "subscription_reauthorizations": (1000, 20, Scope.TENANT),
    "subscription_reauthorizations_app": (4000, 20, Scope.APP),
    "subscription_reads": (500, 20, Scope.TENANT),
    "subscription_reads_app": (2000, 20, Scope.APP),
    "subscription_lists": (25, 20, Scope.TENANT),
    "subscription_lists_app": (40, 20, Scope.APP),
    "token_requests": (0, 300, Scope.TENANT),
}
# limit: method, path
REQUESTS = {
    "mailbox_requests": ("GET", "/users/{room}/events"),
    "app_requests": ("GET", "/users/{room}/events"),
    "extension_requests": ("GET", "/users/{room}/events/x/extensions/y"),
    "subscription_writes": ("DELETE", "/subscriptions/x"),
    "subscription_writes_app": ("PATCH", "/subscriptions/x"),
    "subscription_reauthorizations": ("POST", "/subscriptions/x/reauthorize"),
    "subscription_reauthorizations_app": ("POST", "/subscriptions/x/reauthorize"),
    "subscription_reads": ("GET", "/subscriptions/x"),
    "subscription_reads_app": ("GET", "/subscriptions/x"),
    "subscription_lists": ("GET", "/subscriptions"),
    "subscription_lists_app": ("GET", "/subscriptions"),
}


async def limit_to(r: Rig, **limits: int | None) -> None:
    await r.told("PUT", "/control/throttle", {"limits": limits})


async def counts(r: Rig) -> dict[str, Any]:
    rows = (await r.told("GET", r.path("/throttle")))["counts"]
    return {row["limit"]: row for row in rows if row["mailbox"] in (None, r.room)}


def test_table_holds_the_documented_limits() -> None:
    found = {name: (one.amount_max, one.span.total_seconds(), one.scope) for name, one in LIMITS.items()}
    assert found == TOLD


@pytest.mark.parametrize("limit", sorted(REQUESTS))
async def test_limit_refuses_until_its_window_ends(limit: str) -> None:
    async with rig() as r:
        method, path = REQUESTS[limit]

        async def ask() -> Any:
            return await r.graph.request(method, path.replace("{room}", r.room), json={} if method != "GET" else None)

        await limit_to(r, **{limit: 2})
        answers = [await ask() for _ in range(4)]
        assert [one.status_code == 429 for one in answers] == [False, False, True, True]
        refused = answers[2]
        exchange = LIMITS[limit].scope is Scope.MAILBOX
        assert refused.json()["error"]["code"] == ("ApplicationThrottled" if exchange else "TooManyRequests")
        wait_s = int(refused.headers["retry-after"])
        assert wait_s == LIMITS[limit].span.total_seconds()
        told = (await counts(r))[limit]
        assert (told["count"], told["max"], told["refused_count"]) == (2, 2, 2)
        await r.told("POST", "/control/clock", {"advance_s": wait_s - 1})
        assert (await ask()).headers["retry-after"] == "1"
        await r.told("POST", "/control/clock", {"advance_s": 1})
        assert (await ask()).status_code != 429


async def test_upload_counts_bytes_of_writes_only() -> None:
    async with rig() as r:
        first = await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        size = len(first.request.content)
        assert (await counts(r))["mailbox_upload_bytes"]["count"] == size
        await r.graph.get(f"/users/{r.room}/events")
        assert (await counts(r))["mailbox_upload_bytes"]["count"] == size
        await limit_to(r, mailbox_upload_bytes=2 * size - 1)
        refused = await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "300")
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200
        assert len(await r.truth()) == 1


async def test_mailboxes_are_counted_apart() -> None:
    async with rig() as r:
        await limit_to(r, mailbox_requests=1)
        mailboxes = (r.room, r.room, r.rooms[0]["id"], r.ada, r.ada)
        answers = [(await r.graph.get(f"/users/{one}/events")).status_code for one in mailboxes]
        assert answers == [200, 429, 429, 200, 429]


async def test_app_is_counted_across_its_mailboxes() -> None:
    async with rig() as r:
        await limit_to(r, app_requests=2)
        mailboxes = (r.room, r.ada, r.rooms[1]["address"])
        assert [(await r.graph.get(f"/users/{one}/events")).status_code for one in mailboxes] == [200, 200, 429]


async def test_kinds_of_subscription_requests_are_counted_apart() -> None:
    async with rig() as r:
        await limit_to(r, subscription_lists=1, subscription_writes=1)
        assert (await r.graph.get("/subscriptions")).status_code == 200
        assert (await r.graph.get("/subscriptions")).status_code == 429
        made = await r.subscribe()
        assert made.status_code == 201
        assert (await r.graph.delete(f"/subscriptions/{made.json()['id']}")).status_code == 429
        assert (await r.graph.get(f"/subscriptions/{made.json()['id']}")).status_code == 200


async def test_twenty_sixth_list_of_subscriptions_is_refused_as_documented() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"documented_limits": True})
        answers = [(await r.graph.get("/subscriptions")).status_code for _ in range(26)]
        assert answers == [200] * 25 + [429]


async def test_request_refused_by_one_limit_counts_for_no_other() -> None:
    async with rig() as r:
        await limit_to(r, mailbox_requests=1)
        for _ in range(3):
            await r.graph.get(f"/users/{r.room}/events")
        assert (await counts(r))["app_requests"]["count"] == 1


async def test_calm_service_counts_but_enforces_only_what_control_set() -> None:
    async with rig() as r:
        assert {(await r.graph.get("/subscriptions")).status_code for _ in range(26)} == {200}
        told = (await counts(r))["subscription_lists"]
        assert (told["count"], told["max"], told["refused_count"]) == (26, None, 0)
        await limit_to(r, subscription_reads=1)
        answers = [(await r.graph.get("/subscriptions/x")).status_code for _ in range(2)]
        assert answers == [404, 429]


async def test_limit_of_zero_refuses_nothing() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"documented_limits": True})
        await limit_to(r, subscription_lists=0, subscription_lists_app=0)
        assert {(await r.graph.get("/subscriptions")).status_code for _ in range(50)} == {200}


async def test_documented_number_comes_back() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"documented_limits": True})
        await limit_to(r, mailbox_requests=1)
        await limit_to(r, mailbox_requests=None)
        told = await r.told("GET", "/control/throttle")
        (row,) = [one for one in told["limits"] if one["limit"] == "mailbox_requests"]
        assert (row["max"], row["documented_max"], row["window_s"]) == (10_000, 10_000, 600)


async def test_unknown_limit_is_refused() -> None:
    async with rig() as r:
        answer = await r.control.put("/control/throttle", json={"limits": {"nope": 1}})
        assert (answer.status_code, "no limit nope" in answer.json()["error"]) == (400, True)


async def test_refused_tokens_and_login_count_nothing_for_graph() -> None:
    async with rig() as r:
        await r.graph.get(f"/users/{r.room}/events", headers={"authorization": "Bearer rubbish"})
        await r.ask_token(client_secret="wrong")
        counted = await counts(r)
        assert counted.keys() == {"token_requests"}


async def test_crowd_on_a_mailbox_can_be_read() -> None:
    async with rig() as r:
        await r.told("POST", "/control/faults", {"match": {"count": 0}, "effect": {"delay_s": 1}})
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(r.graph.get(f"/users/{r.room}/events"))
            await asyncio.sleep(0.5)
            told = (await counts(r))["mailbox_concurrency"]
            assert (told["count"], told["max"], told["refused_count"]) == (5, 4, 1)
        assert (await counts(r))["mailbox_concurrency"]["count"] == 0


async def test_random_refusal_may_not_say_when_to_come_back() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"throttle_share": 1, "retry_after_missing_share": 0.5})
        answers = [await r.graph.get(f"/users/{r.room}/events") for _ in range(40)]
        assert {one.status_code for one in answers} == {429}
        assert {one.headers.get("retry-after") for one in answers} == {None, "1"}
