"""Endpoints that answer slowly: their notifications come late, or are dropped, until a probe goes well."""

from typing import Any

import msgspec
import pytest

from sidecar.emulator.clock import sleep
from sidecar.emulator.moods import Moods, calm_moods
from sidecar.emulator.notify.sender import WebhookAnswer
from tests.unit.emulator.rig import JOIN, Rig, rig, wire_event

pytestmark = pytest.mark.looptime
TEN_MINUTES_S = 600.0


def quick_to_judge(**changes: Any) -> Moods:
    return msgspec.structs.replace(calm_moods(), endpoint_responses_min=10, **changes)


async def endpoint(r: Rig, host: str = "hooks.example.org") -> dict[str, Any]:
    found = (await r.told("GET", "/control/endpoints"))["endpoints"]
    return next(dict(one) for one in found if one["host"] == host)


async def change(r: Rig, room: int = 0) -> None:
    assert (await r.graph.post(f"/users/{r.rooms[room]['address']}/events", json=wire_event())).status_code == 201


async def change_apart(r: Rig, count: int, *, pause_s: float = 0.2) -> None:
    """Make changes that each have a POST of their own."""
    for _ in range(count):
        await change(r)
        await sleep(r.clock, pause_s)


async def make_slow(r: Rig) -> None:
    """Answer 10 times, twice of them after more than three seconds."""
    await change_apart(r, 8)
    r.webhook.delay_s = 3.5
    await change_apart(r, 2, pause_s=4.0)
    r.webhook.delay_s = 0.0


async def make_drop(r: Rig) -> None:
    """Let retries hang until the endpoint is dropped."""
    r.webhook.delay_s = 60.0
    await change_apart(r, 6, pause_s=1.0)
    for _ in range(600):
        if (await endpoint(r))["state"] == "drop":
            return
        await sleep(r.clock, 1.0)
    raise AssertionError("the endpoint is not dropped")


async def test_quick_endpoint_is_good_and_its_answers_are_counted() -> None:
    async with rig(moods=quick_to_judge()) as r:
        await r.subscribe()
        await change_apart(r, 12)
        found = await endpoint(r)
        assert (found["state"], found["responses"], found["over_3_s"], found["over_10_s"]) == ("good", 12, 0, 0)


async def test_tenth_of_slow_answers_delays_new_notifications_by_ten_minutes() -> None:
    async with rig(moods=quick_to_judge()) as r:
        await r.subscribe()
        await make_slow(r)
        assert (await endpoint(r))["state"] == "slow"
        await sleep(r.clock, 30)  # the retries of the two slow ones are through
        told_count, at = len(r.webhook.items), r.clock.now()
        await change(r)
        await sleep(r.clock, TEN_MINUTES_S - 1)
        assert len(r.webhook.items) == told_count
        await sleep(r.clock, 2)
        assert len(r.webhook.items) == told_count + 1
        assert (r.clock.now() - at).total_seconds() == pytest.approx(TEN_MINUTES_S, abs=2)


async def test_share_of_slow_answers_that_is_only_a_tenth_changes_nothing() -> None:
    async with rig(moods=quick_to_judge()) as r:
        await r.subscribe()
        await change_apart(r, 9)
        r.webhook.delay_s = 3.5
        await change_apart(r, 1, pause_s=4.0)
        found = await endpoint(r)
        assert (found["state"], found["responses"], found["over_3_s"]) == ("good", 10, 1)


async def test_few_answers_say_nothing_about_an_endpoint() -> None:
    async with rig() as r:  # 100 are needed
        await r.subscribe()
        r.webhook.delay_s = 3.5
        await change_apart(r, 20, pause_s=4.0)
        assert (await endpoint(r))["state"] == "good"


async def test_counts_begin_anew_every_ten_minutes() -> None:
    async with rig(moods=quick_to_judge()) as r:
        await r.subscribe()
        r.webhook.delay_s = 3.5
        await change_apart(r, 4, pause_s=4.0)
        r.webhook.delay_s = 0.0
        await sleep(r.clock, TEN_MINUTES_S)
        await change_apart(r, 9)
        found = await endpoint(r)
        assert (found["state"], found["responses"], found["over_3_s"]) == ("good", 9, 0)


async def test_slow_endpoint_is_good_again_after_a_quick_probe() -> None:
    async with rig(moods=quick_to_judge()) as r:
        await r.subscribe()
        await make_slow(r)
        await change(r)
        await sleep(r.clock, 2 * TEN_MINUTES_S + 60)
        assert (await endpoint(r))["state"] == "good"
        at = len(r.webhook.items)
        await change(r)
        await r.rest()
        assert len(r.webhook.items) == at + 1


async def test_slow_endpoint_stays_slow_while_its_probes_are() -> None:
    async with rig(moods=quick_to_judge()) as r:
        await r.subscribe()
        await make_slow(r)
        r.webhook.delay_s = 3.5
        await change(r)
        await sleep(r.clock, 2 * TEN_MINUTES_S + 60)
        assert (await endpoint(r))["state"] == "slow"


async def test_endpoint_that_hangs_loses_its_notifications_for_ten_minutes() -> None:
    async with rig(moods=quick_to_judge()) as r:
        await r.subscribe()
        await make_drop(r)
        r.webhook.delay_s = 0.0
        before = await endpoint(r)
        assert before["until"] is not None
        await change(r)
        assert (await endpoint(r))["dropped"] == before["dropped"] + 1
        records = (await r.told("GET", r.path("/deliveries")))["deliveries"]
        assert records[-1]["outcome"] == "dropped"
        await sleep(r.clock, TEN_MINUTES_S)
        assert [item for item in r.webhook.items if "changeType" in item] == []


async def test_dropped_subscription_is_told_missed_once_and_a_good_probe_ends_it() -> None:
    async with rig(moods=quick_to_judge()) as r:
        await r.subscribe()
        await make_drop(r)
        r.webhook.delay_s = 0.0
        for _ in range(3):
            await change(r)
        await sleep(r.clock, TEN_MINUTES_S + 30)
        assert [item["lifecycleEvent"] for item in r.webhook.items if "lifecycleEvent" in item] == ["missed"]
        assert (await endpoint(r))["probing"]
        await change(r)
        await r.rest()
        assert (await endpoint(r))["state"] == "good"
        assert [item["changeType"] for item in r.webhook.items if "changeType" in item] == ["created"]


async def test_probe_that_hangs_too_drops_for_ten_more_minutes() -> None:
    async with rig(moods=quick_to_judge()) as r:
        await r.subscribe()
        await make_drop(r)
        first_until = (await endpoint(r))["until"]
        await sleep(r.clock, TEN_MINUTES_S + 1)
        await change(r)
        await sleep(r.clock, 11)
        found = await endpoint(r)
        assert (found["state"], found["probing"]) == ("drop", False)
        assert found["until"] > first_until


async def test_dropping_mood_can_leave_missed_unsaid() -> None:
    async with rig(moods=quick_to_judge(drop_missed_share=0.0)) as r:
        await r.subscribe()
        await make_drop(r)
        r.webhook.delay_s = 0.0
        await change(r)
        await sleep(r.clock, TEN_MINUTES_S + 30)
        assert r.webhook.items == []


async def test_slow_path_punishes_its_host_and_no_other() -> None:
    async with rig(moods=quick_to_judge()) as r:
        await r.subscribe()
        await r.subscribe(
            r.rooms[1]["address"], notificationUrl="https://other.example.org/n", lifecycleNotificationUrl=None
        )
        await make_slow(r)
        await change(r, room=1)
        await sleep(r.clock, 1)
        assert [url for _, url, _ in r.webhook.posts][-1] == "https://other.example.org/n"
        assert (await endpoint(r, "other.example.org"))["state"] == "good"


async def test_hanging_host_does_not_hold_up_another() -> None:
    async with rig() as r:
        await r.subscribe(notificationUrl="https://stuck.example.org/n", lifecycleNotificationUrl=None)
        await r.subscribe(r.rooms[1]["address"])
        r.webhook.delays = {"stuck.example.org": 60.0}
        await r.told("PUT", "/control/moods", {"notify_shuffle_share": 0.0001})  # so that POSTs to one URL overlap
        await change_apart(r, 30, pause_s=0.1)
        assert (await endpoint(r, "stuck.example.org"))["in_flight"] == 8
        at = r.clock.now()
        await change(r, room=1)
        await sleep(r.clock, 0.1)
        assert [url for _, url, _ in r.webhook.posts] == [f"{JOIN}/n?k=7"]
        assert (r.clock.now() - at).total_seconds() < 0.2


async def test_lifecycle_notifications_pass_a_slow_state() -> None:
    async with rig(moods=quick_to_judge()) as r:
        made = (await r.subscribe()).json()["id"]
        await make_slow(r)
        await sleep(r.clock, 30)
        await r.told("POST", r.path("/lifecycle"), {"subscription_id": made, "event": "missed"})
        await sleep(r.clock, 1)
        assert r.webhook.items[-1]["lifecycleEvent"] == "missed"


async def test_refusals_are_no_slow_answers() -> None:
    async with rig(moods=quick_to_judge()) as r:
        await r.subscribe()
        r.webhook.answer = lambda url: WebhookAnswer(status=404, content_type="", body="")
        await change_apart(r, 12)
        found = await endpoint(r)
        assert (found["state"], found["responses"] >= 12, found["over_3_s"]) == ("good", True, 0)


async def test_posts_wait_for_room_when_too_many_are_under_way() -> None:
    async with rig() as r:
        await r.told("POST", r.path("/rooms"), {"count": 68})
        addresses = [f"room{number}@{r.tenant['domain']}" for number in range(1, 71)]
        for number, address in enumerate(addresses):
            url = f"https://hooks{number}.example.org/n"
            await r.subscribe(address, notificationUrl=url, lifecycleNotificationUrl=None)
        r.webhook.delay_s = 2.0
        for address in addresses:
            await r.graph.post(f"/users/{address}/events", json=wire_event())
        await sleep(r.clock, 1)
        found = (await r.told("GET", "/control/endpoints"))["endpoints"]
        assert sum(one["in_flight"] for one in found) == 64
        await r.rest()
        assert len(r.webhook.posts) == 70


async def test_paths_of_one_host_take_turns() -> None:
    async with rig() as r:
        await r.told("POST", r.path("/rooms"), {"count": 18})
        addresses = [f"room{number}@{r.tenant['domain']}" for number in range(1, 21)]
        for number, address in enumerate(addresses):
            url = f"https://hooks.example.org/{number}"
            await r.subscribe(address, notificationUrl=url, lifecycleNotificationUrl=None)
        r.webhook.delay_s = 2.0
        for address in addresses:
            await r.graph.post(f"/users/{address}/events", json=wire_event())
        await r.rest()
        waves = sorted(round(at) for at, _, _ in r.webhook.posts)
        assert [waves.count(at) for at in sorted(set(waves))] == [8, 8, 4]


async def test_every_url_of_a_crowded_host_gets_its_turn() -> None:
    async with rig() as r:
        for number in range(60):
            host = "hooks.example.org" if number % 3 else "other.example.org"
            booked = (await r.told("POST", r.path("/rooms"), {"count": 1}))["rooms"][0]["address"]
            assert (await r.subscribe(booked, notificationUrl=f"https://{host}/{number}")).status_code == 201
        r.webhook.delay_s = 1.0
        rooms = [
            one for one in r.emulator.world.directory.tenants[r.tenant["tenant_id"]].mailboxes.values() if one.is_room
        ]
        for room in rooms[2:]:
            assert (await r.graph.post(f"/users/{room.object_id}/events", json=wire_event())).status_code == 201
        await r.rest()
        assert len({url for _, url, _ in r.webhook.posts}) == 60
        assert max(at for at, _, _ in r.webhook.posts) < 10.0  # forty POSTs of a second each, eight at one time
