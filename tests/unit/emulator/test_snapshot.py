"""Dumping the whole state and restoring it: the restored emulator goes on as the other one would have."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from sidecar.emulator.clock import LoopClock, sleep
from sidecar.emulator.core import Emulator
from sidecar.emulator.notify.sender import WebhookAnswer
from tests.unit.emulator.rig import Rig, Webhook, rig, weekly, wire_event

pytestmark = pytest.mark.looptime
TEN = ("2026-11-24T10:00:00", "2026-11-24T11:00:00")
DAY = ("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
HOOK = "https://hooks.example.org/n"


def events_url(r: Rig) -> str:
    return f"/users/{r.room}/events"


async def dumped(r: Rig) -> Any:
    """Dump, and send it through JSON as a file would."""
    return json.loads(json.dumps(await r.told("GET", "/control/state")))


@asynccontextmanager
async def restored(r: Rig, state: Any) -> AsyncIterator[Rig]:
    """Give another emulator that has taken over a dump; it has the same tenants and takes the same token."""
    clock = LoopClock()
    webhook = Webhook(clock)
    emulator = Emulator(seed=77, calm=True, clock=clock, sender=webhook)
    async with emulator.running():
        other = Rig(emulator, clock, webhook)
        await other.told("PUT", "/control/state", state)
        other.tenant, other.rooms, other.users = r.tenant, r.rooms, r.users
        other.graph.headers["authorization"] = r.graph.headers["authorization"]
        yield other


async def subscribe(r: Rig) -> dict[str, Any]:
    body = {
        "changeType": "created,updated,deleted",
        "notificationUrl": HOOK,
        "resource": f"/users/{r.room}/events",
        "expirationDateTime": "2026-11-29T08:00:00Z",
        "clientState": "secret",
    }
    made: dict[str, Any] = (await r.graph.post("/subscriptions", json=body)).json()
    return made


async def busy_life(r: Rig) -> None:
    """Fill every part of the state: series with exceptions, meetings, subscriptions, faults, limits, room lists."""
    await subscribe(r)
    await r.book(*TEN)
    recurrence = weekly("2026-11-24", days=["tuesday"])
    series = (await r.graph.post(events_url(r), json=wire_event(recurrence=recurrence))).json()
    url = f"/users/{r.room}/events/{series['id']}/instances?startDateTime=2026-11-20T00:00:00Z&endDateTime=2027-01-20T00:00:00Z"
    first, second, *_ = (await r.graph.get(url)).json()["value"]
    await r.graph.patch(r.event_url(first["id"], r.room), json={"subject": "Once"})
    await r.graph.delete(r.event_url(second["id"], r.room))
    await r.graph.post(events_url(r), json=wire_event(transactionId="t1", categories=["Red"], isAllDay=False))
    await r.told("POST", "/control/faults", {"match": {"path": "/places", "skip": 1}, "effect": {"status": 503}})
    await r.told("PUT", "/control/throttle", {"limits": {"mailbox_requests": 500}})
    await r.told("PATCH", r.path(f"/mailboxes/{r.rooms[1]['address']}"), {"settings": {"BookingWindowInDays": 9}})
    await r.told("POST", r.path("/room_lists"), {"display_name": "All", "address": "all@x.example", "rooms": [r.room]})
    await r.view(*DAY)


async def test_dump_of_the_restored_is_the_dump() -> None:
    """Nothing is lost on the way, also of what is still waiting."""
    async with rig() as r:
        await busy_life(r)
        state = await dumped(r)
        async with restored(r, state) as other:
            again = await dumped(other)
            del state["root"]["now"], again["root"]["now"]
            assert again == state


async def test_restored_room_answers_when_the_other_would_have() -> None:
    async with rig() as r:
        await r.book(*TEN)
        state = await dumped(r)
        async with restored(r, state) as other:
            assert [item["response"] for item in await other.truth()] == ["notResponded"]
            await sleep(other.clock, 0.29)
            assert [item["response"] for item in await other.truth()] == ["notResponded"]
            await sleep(other.clock, 0.02)
            assert [item["response"] for item in await other.truth()] == ["accepted"]


async def test_token_subscription_delta_link_and_fault_live_on() -> None:
    async with rig() as r:
        made = await subscribe(r)
        await r.graph.post(events_url(r), json=wire_event())
        window = "startDateTime=2026-11-20T00:00:00Z&endDateTime=2026-12-20T00:00:00Z"
        link = (await r.graph.get(f"/users/{r.room}/calendarView/delta?{window}")).json()["@odata.deltaLink"]
        await r.told("POST", "/control/faults", {"match": {"path": "/calendarView"}, "effect": {"status": 503}})
        await r.rest()
        async with restored(r, await dumped(r)) as other:
            created = (await other.graph.post(events_url(other), json=wire_event(subject="New"))).json()
            await other.rest()
            assert [item["subscriptionId"] for item in other.webhook.items] == [made["id"]]
            assert (await other.graph.get(link)).status_code == 503
            assert [item["id"] for item in (await other.graph.get(link)).json()["value"]] == [created["id"]]
            assert (await other.told("GET", "/control/faults"))["unconsumed_count"] == 0


async def test_notification_that_nobody_took_is_sent_again_by_the_restored() -> None:
    async with rig() as r:
        await subscribe(r)
        r.webhook.answer = lambda url: (
            None if "validationToken" in url else WebhookAnswer(status=503, content_type="", body="")
        )
        await r.graph.post(events_url(r), json=wire_event())
        await sleep(r.clock, 5)
        state = await dumped(r)
        async with restored(r, state) as other:
            assert (await other.told("GET", other.path("/pending")))["deliveries"] == 1
            await sleep(other.clock, 6)
            assert [item["changeType"] for item in other.webhook.items] == ["created"]
            assert (await other.told("GET", other.path("/pending")))["deliveries"] == 0


async def test_what_was_there_before_is_gone() -> None:
    """Also what it was still waiting for: an old room answers nothing in the restored state."""
    async with rig() as r:
        empty = await dumped(r)
        await r.book(*TEN)
        await r.told("PUT", "/control/state", empty)
        await sleep(r.clock, 1)
        assert await r.truth() == []
        assert (await r.told("GET", r.path("/pending")))["room_processing"] == 0


@pytest.mark.parametrize("seed", range(3))
async def test_both_go_on_alike(seed: int) -> None:
    """The same calls after the dump have the same answers, ids and chances included."""
    async with rig(calm=False, seed=seed) as r:
        r.graph.headers["prefer"] = 'IdType="ImmutableId"'
        for _ in range(3):
            await r.graph.post(events_url(r), json=wire_event())
        await r.rest()
        state = await dumped(r)
        async with restored(r, state) as other:
            other.graph.headers["prefer"] = 'IdType="ImmutableId"'
            ours, theirs = await some_calls(r, seed), await some_calls(other, seed)
            assert theirs == ours


async def some_calls(r: Rig, seed: int) -> list[tuple[int, Any]]:
    """Write and read for a while, and give what does not tell the time."""
    rng, seen = Random(seed), list[tuple[int, Any]]()
    for number in range(12):
        if rng.random() < 0.5:
            answer = await r.graph.post(events_url(r), json=wire_event(subject=f"{number}"))
            seen.append((answer.status_code, answer.json().get("id")))
        else:
            answer = await r.graph.get(events_url(r), params={"$top": "5"})
            seen.append((answer.status_code, [one["id"] for one in answer.json().get("value", ())]))
    return seen


def of(state: dict[str, Any], kind: str) -> dict[str, Any]:
    """Give the fields of the first object of a kind."""
    found: dict[str, Any] = next(one["of"] for one in state["objects"] if one["is"] == kind)
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(format="other/1"), "`format` must be exchange-emulator-state/1"),
        (lambda state: state["root"].pop("deliveries"), "it lacks deliveries"),
        (lambda state: state["objects"][0].update({"is": "Popen"}), "'Popen', which this emulator does not know"),
        (lambda state: state["root"].update(tenants=[1]), "tenants is not what it should be"),
        (lambda state: state["root"].update(now="soon"), "now is not what it should be"),
        (lambda state: state["root"].update(randomness=[1]), "randomness is not what it should be"),
        (lambda state: state["root"].update(signing_key={"map": []}), "KeyError"),
        (lambda state: state.pop("objects"), "not whole"),
        (lambda state: state["root"].update(now={"at": "2026-11-24T10:00:00"}), "now is not what it should be"),
        (lambda state: state["root"].update(now={"at": "9000-01-01T00:00:00+00:00"}), "now is not what it should be"),
        (lambda state: state["root"].update(item_count=True), "item_count is not what it should be"),
        (lambda state: state["root"].update(tenants=[{}]), "not whole"),
        (lambda state: state["root"]["moods"]["of"].update(retry_for_s=1e18), "ValidationError"),
        (lambda state: of(state, "Subscription").update(expires_at="soon"), "a Subscription with an odd expires_at"),
        (lambda state: of(state, "Subscription").update(mailbox={"ref": 0}), "a Subscription with an odd mailbox"),
        (lambda state: of(state, "Tenant").update(pending_acts={"map": [[1, 2]]}), "a Tenant with an odd pending_acts"),
        (lambda state: of(state, "Tenant").update(own_moods={"map": [["retry_for_s", "x"]]}), "ValidationError"),
        (
            lambda state: of(state, "Event").update(kind={"enum": "EventKind", "value": "seriesMaster"}),
            "a series without",
        ),
        (lambda state: of(state, "Lane").update(waiting=[{"tuple": [1, 2, 3]}]), "a Lane with an odd waiting"),
        (lambda state: of(state, "Notice").update(item={"map": [["a", {"ref": 0}]]}), "a Notice with an odd item"),
    ],
)
async def test_odd_state_is_refused_and_changes_nothing(change: Any, message: str) -> None:
    async with rig() as r:
        await r.subscribe()
        await r.book(*TEN)
        state = await dumped(r)
        change(state)
        answer = await r.control.put("/control/state", json=state)
        assert answer.status_code == 400
        assert message in answer.json()["error"]
        await r.rest()
        assert [item["response"] for item in await r.truth()] == ["accepted"]
