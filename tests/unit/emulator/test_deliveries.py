"""Notifications: what causes them, how they are batched, retried, doubled, held and lost."""

import itertools
import json
from datetime import datetime
from typing import Any

import msgspec
import pytest

from sidecar.emulator.clock import sleep
from sidecar.emulator.moods import Moods, calm_moods
from sidecar.emulator.notify.sender import WebhookAnswer
from tests.unit.emulator.rig import Rig, rig, weekly, wire_event

pytestmark = pytest.mark.looptime
TEN = ("2026-11-24T10:00:00", "2026-11-24T11:00:00")


async def outcomes(r: Rig) -> list[tuple[str, int]]:
    found = (await r.told("GET", r.path("/deliveries")))["deliveries"]
    return [(one["outcome"], one["attempt"]) for one in found if "validation" not in one["kind"]]


async def test_booking_tells_created_then_updated() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()
        booked = await r.book(*TEN)
        await r.rest()
        copy = booked["events"][r.room]
        assert r.webhook.changes() == [("created", copy), ("updated", copy)]
        item = r.webhook.items[0]
        assert item["subscriptionId"] == made["id"]
        assert (item["clientState"], item["tenantId"]) == ("s3cret", r.tenant["tenant_id"])
        assert item["resource"] == f"Users/{r.rooms[0]['id']}/Events/{copy}"
        assert item["resourceData"]["@odata.type"] == "#Microsoft.Graph.Event"


async def test_declined_booking_tells_created_then_deleted() -> None:
    async with rig() as r:
        await r.book(*TEN)
        await r.rest()
        await r.subscribe()
        await r.book(*TEN, organizer=r.users[1]["address"])
        await r.rest()
        assert [change for change, _ in r.webhook.changes()] == ["created", "deleted"]


async def test_kept_and_removed_cancellations_differ() -> None:
    async with rig() as r:
        await r.subscribe(changeType="updated,deleted")
        for kept in (True, False):
            booked = await r.book(*TEN, cancel_kept=kept)
            await r.rest()
            await r.told("POST", r.path("/outlook/cancel"), {"meeting": booked["meeting"]})
            await r.rest()
        assert [change for change, _ in r.webhook.changes()] == ["updated", "updated", "updated", "deleted"]


async def test_deleted_occurrence_names_only_the_master() -> None:
    async with rig() as r:
        body = wire_event(
            "2026-11-23T09:00:00", "2026-11-23T10:00:00", recurrence=weekly("2026-11-23", days=["monday"], zone="UTC")
        )
        master = (
            await r.graph.post(f"/users/{r.room}/events", json=body, headers={"prefer": 'IdType="ImmutableId"'})
        ).json()
        await r.subscribe()
        shown = await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z")
        await r.graph.delete(r.event_url(shown[1]["id"]))
        await r.rest()
        assert r.webhook.changes() == [("updated", master["id"])]


async def test_changed_occurrence_names_the_exception_and_the_master() -> None:
    async with rig() as r:
        body = wire_event(
            "2026-11-23T09:00:00", "2026-11-23T10:00:00", recurrence=weekly("2026-11-23", days=["monday"], zone="UTC")
        )
        master = (
            await r.graph.post(f"/users/{r.room}/events", json=body, headers={"prefer": 'IdType="ImmutableId"'})
        ).json()
        await r.subscribe()
        shown = await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z")
        await r.graph.patch(r.event_url(shown[1]["id"]), json={"subject": "Only this"})
        await r.rest()
        assert r.webhook.changes() == [("updated", shown[1]["id"]), ("updated", master["id"])]


async def test_only_asked_change_types_are_told_and_ids_are_mutable_without_prefer() -> None:
    async with rig() as r:
        body = {
            "changeType": "deleted",
            "notificationUrl": "https://hooks.example.org/n",
            "resource": f"users/{r.room}/events",
            "expirationDateTime": "2026-11-29T08:00:00Z",
        }
        assert (await r.graph.post("/subscriptions", json=body)).status_code == 201
        made = (await r.graph.post(f"/users/{r.room}/events", json=wire_event())).json()
        await r.graph.delete(r.event_url(made["id"]))
        await r.rest()
        assert r.webhook.changes() == [("deleted", made["id"])]
        assert r.webhook.items[0]["clientState"] is None


async def test_changes_close_together_share_a_post() -> None:
    async with rig() as r:
        await r.subscribe()
        for _ in range(5):
            await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        await r.rest()
        assert [len(items) for _, _, items in r.webhook.posts] == [5]


async def test_refused_notification_is_sent_again_later_and_later() -> None:
    async with rig() as r:
        await r.subscribe()
        r.webhook.answer = lambda url: WebhookAnswer(status=503, content_type="", body="")
        await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        await sleep(r.clock, 100)
        assert await outcomes(r) == [("refused", 1), ("refused", 2), ("refused", 3), ("refused", 4)]
        r.webhook.answer = lambda url: None
        await r.rest()
        assert len(r.webhook.items) == 1
        assert (await outcomes(r))[-1] == ("accepted", 5)


async def test_answer_must_come_within_three_seconds() -> None:
    async with rig() as r:
        await r.subscribe()
        r.webhook.delay_s = 3.1
        await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        await r.rest()
        assert await outcomes(r) == [("timeout", 1), ("accepted", 2)]


async def test_nobody_home_for_four_hours_loses_the_notification_and_tells_missed() -> None:
    async with rig() as r:
        await r.subscribe()
        r.webhook.down = True
        await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        await sleep(r.clock, 4 * 3600 + 60)
        assert ("given up", 0) in await outcomes(r)
        r.webhook.down = False
        await sleep(r.clock, 3600)
        assert [item.get("lifecycleEvent") for item in r.webhook.items] == ["missed"]


async def test_notifications_can_be_held_and_lost() -> None:
    async with rig() as r:
        await r.subscribe()
        await r.told("POST", r.path("/deliveries/pause"))
        await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        assert await r.told("GET", r.path("/pending")) == {"room_processing": 0, "deliveries": 0, "held": 1}
        await r.told("POST", r.path("/deliveries/resume"))
        await r.rest()
        assert len(r.webhook.items) == 1
        await r.told("POST", r.path("/deliveries/drop"))
        await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        await r.told("POST", r.path("/deliveries/resume"))
        await r.rest()
        assert len(r.webhook.items) == 1
        assert (await outcomes(r))[-1] == ("lost by control", 0)


@pytest.mark.parametrize("event", ["reauthorizationRequired", "subscriptionRemoved", "missed"])
async def test_lifecycle_notification_goes_to_its_own_url(event: str) -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()["id"]
        await r.told("POST", r.path("/lifecycle"), {"subscription_id": made, "event": event})
        await r.rest()
        ((_, url, (item,)),) = r.webhook.posts
        assert url == "https://hooks.example.org/graph/l"
        assert (item["subscriptionId"], item["lifecycleEvent"], item["clientState"]) == (made, event, "s3cret")
        left = (await r.told("GET", r.path("/subscriptions")))["subscriptions"]
        assert len(left) == (0 if event == "subscriptionRemoved" else 1)


async def test_expired_subscription_hears_nothing() -> None:
    async with rig() as r:
        await r.subscribe()
        await r.told("POST", "/control/clock", {"advance_s": 7 * 86400})
        await r.sign_in()
        await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        await r.rest()
        assert r.webhook.items == []


@pytest.mark.parametrize("seed", range(5))
async def test_unkind_notifications_double_and_reorder_but_name_everything(seed: int) -> None:
    moods = Moods(notify_duplicate_share=0.5, throttle_share=0, unavailable_share=0, small_page_share=0)
    async with rig(seed=seed, moods=moods) as r:
        await r.subscribe()
        made = set()
        for _ in range(30):
            answer = await r.graph.post(
                f"/users/{r.room}/events", json=wire_event(), headers={"prefer": 'IdType="ImmutableId"'}
            )
            made.add(answer.json()["id"])
        await r.rest()
        told = [event_id for _, event_id in r.webhook.changes()]
        assert set(told) == made
        assert len(told) > 30


async def test_same_seed_gives_the_same_run() -> None:
    async def run() -> list[Any]:
        async with rig(seed=7, calm=False) as r:
            await r.subscribe()
            for hour in range(8, 14):
                await r.book(f"2026-11-24T{hour:02}:00:00", f"2026-11-24T{hour:02}:45:00")
            await r.rest()
            return r.webhook.posts

    assert await run() == await run()


async def write(r: Rig, room: int = 0) -> None:
    assert (await r.graph.post(f"/users/{r.rooms[room]['address']}/events", json=wire_event())).status_code == 201


async def test_subscriptions_of_one_url_share_a_post() -> None:
    async with rig() as r:
        made = [(await r.subscribe(room["address"])).json()["id"] for room in r.rooms]
        await write(r, 0)
        await write(r, 1)
        await r.rest()
        ((_, url, items),) = r.webhook.posts
        assert ([item["subscriptionId"] for item in items], url) == (made, "https://hooks.example.org/graph/n?k=7")


async def test_changes_and_lifecycle_events_never_share_a_post() -> None:
    async with rig() as r:
        made = (await r.subscribe(lifecycleNotificationUrl="https://hooks.example.org/graph/n?k=7")).json()["id"]
        await write(r)
        await r.told("POST", r.path("/lifecycle"), {"subscription_id": made, "event": "missed"})
        await r.rest()
        assert [len(items) for _, _, items in r.webhook.posts] == [1, 1]


async def test_post_holds_a_hundred_notifications_at_most() -> None:
    async with rig() as r:
        await r.subscribe()
        await r.told("POST", r.path("/deliveries/pause"))
        for _ in range(130):
            await write(r)
        await r.told("POST", r.path("/deliveries/resume"))
        await r.rest()
        assert [len(items) for _, _, items in r.webhook.posts] == [100, 30]


async def test_steady_changes_cost_at_most_twenty_posts_a_second() -> None:
    async with rig() as r:
        await r.subscribe()
        for _ in range(200):
            await write(r)
            await sleep(r.clock, 0.005)
        await r.rest()
        assert len(r.webhook.items) == 200
        assert len(r.webhook.posts) <= 22


async def test_calm_item_has_one_spelling_and_no_id() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()
        await write(r)
        await r.rest()
        (item,) = r.webhook.items
        assert "id" not in item
        assert item["subscriptionExpirationDateTime"] == "2026-11-29T08:00:00.0000000+00:00"
        assert made["expirationDateTime"] == "2026-11-29T08:00:00Z"


async def test_every_spelling_comes_when_the_mood_is_so() -> None:
    async with rig(moods=msgspec.structs.replace(calm_moods(), notify_spelling_share=1.0)) as r:
        await r.subscribe()
        await write(r)
        await write(r)
        await r.rest()
        item, other = r.webhook.items
        assert item["id"] != other["id"]
        assert item["subscriptionExpirationDateTime"] == "2026-11-29T08:00:00.000Z"
        assert item["resource"] == f"users/{r.rooms[0]['id']}/events/{item['resourceData']['id']}"


async def test_updated_may_come_before_its_created_in_an_unkind_mood() -> None:
    orders = set()
    for seed in range(12):
        moods = Moods(
            throttle_share=0, unavailable_share=0, small_page_share=0, room_delay_min_s=0, room_delay_max_s=0.1
        )
        async with rig(seed=seed, moods=moods) as r:
            await r.subscribe()
            await r.book(*TEN)
            await r.rest()
            kinds = [kind for kind, _ in r.webhook.changes()]
            orders.add(kinds.index("created") < kinds.index("updated"))
    assert orders == {True, False}


async def test_late_notification_is_as_late_as_the_mood_says() -> None:
    moods = msgspec.structs.replace(calm_moods(), notify_late_share=1.0, notify_late_max_s=180.0)
    async with rig(moods=moods) as r:
        await r.subscribe()
        for _ in range(20):
            await write(r)
        await sleep(r.clock, 181)
        times = [at for at, _, items in r.webhook.posts for _ in items]
        assert len(times) == 20
        assert max(times) > 100


@pytest.mark.parametrize("status", [302, 400, 404, 410, 429, 500])
async def test_any_answer_but_success_is_tried_again(status: int) -> None:
    async with rig() as r:
        await r.subscribe()
        r.webhook.answer = lambda url: WebhookAnswer(status=status, content_type="", body="")
        await write(r)
        await sleep(r.clock, 15)
        assert await outcomes(r) == [("refused", 1), ("refused", 2)]
        r.webhook.answer = lambda url: None
        await r.rest()
        assert len(r.webhook.items) == 1


async def test_retry_may_take_ten_seconds() -> None:
    async with rig() as r:
        await r.subscribe()
        r.webhook.delay_s = 9.9
        await write(r)
        await sleep(r.clock, 60)
        assert await outcomes(r) == [("timeout", 1), ("accepted", 2)]
        r.webhook.delay_s = 10.1
        await write(r)
        await sleep(r.clock, 60)
        assert (await outcomes(r))[2:4] == [("timeout", 1), ("timeout", 2)]


async def test_waits_double_up_to_half_an_hour_for_four_hours() -> None:
    async with rig() as r:
        await r.subscribe()
        r.webhook.down = True
        await write(r)
        await sleep(r.clock, 5 * 3600)
        records = (await r.told("GET", r.path("/deliveries")))["deliveries"]
        failed = [one for one in records if one["kind"] == "notification" and one["outcome"].startswith("failed")]
        tried = [datetime.fromisoformat(one["at"]) for one in failed]
        waits = [round((later - earlier).total_seconds()) for earlier, later in itertools.pairwise(tried)]
        assert waits == [10, 20, 40, 80, 160, 320, 640, 1280, *[1800] * 6]


async def test_losses_are_told_once_until_that_was_heard() -> None:
    async with rig(moods=msgspec.structs.replace(calm_moods(), retry_for_s=60.0, reauthorize_share=0.0)) as r:
        await r.subscribe(lifecycleNotificationUrl="https://life.example.org/l")
        r.webhook.delays = {"hooks.example.org": 60.0, "life.example.org": 2.0}
        await write(r)
        await sleep(r.clock, 0.2)
        await write(r)  # follows the first after three seconds, and is given up soon after it
        await sleep(r.clock, 300)
        assert [item["lifecycleEvent"] for item in r.webhook.items] == ["missed"] * 2
        r.webhook.delays["life.example.org"] = 0.0
        r.webhook.answer = lambda url: WebhookAnswer(status=503, content_type="", body="") if "life" in url else None
        for _ in range(2):
            await write(r)
            await sleep(r.clock, 4)
        await sleep(r.clock, 70)
        r.webhook.answer = lambda url: None
        await sleep(r.clock, 300)
        assert [item["lifecycleEvent"] for item in r.webhook.items] == ["missed"] * 3


async def test_newer_notifications_do_not_wait_for_a_retry() -> None:
    async with rig() as r:
        await r.subscribe()
        r.webhook.down = True
        await write(r)
        await sleep(r.clock, 80)
        r.webhook.down = False
        await write(r)
        await sleep(r.clock, 1)
        assert len(r.webhook.items) == 1


async def test_notifications_for_a_deleted_subscription_are_not_sent_again() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()["id"]
        r.webhook.down = True
        await write(r)
        await sleep(r.clock, 1)
        await r.graph.delete(f"/subscriptions/{made}")
        r.webhook.down = False
        await r.rest()
        assert r.webhook.items == []
        assert (await outcomes(r))[-1] == ("subscription ended", 0)


async def test_notification_keeps_the_query_of_its_url() -> None:
    async with rig() as r:
        await r.subscribe(notificationUrl="https://hooks.example.org/n?k=7&x=%20y")
        await write(r)
        await r.rest()
        assert r.webhook.posts[0][1] == "https://hooks.example.org/n?k=7&x=%20y"


async def test_record_tells_what_an_attempt_took_and_on_request_what_it_sent() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()["id"]
        r.webhook.delay_s = 1.2
        await write(r)
        await r.rest()
        records = (await r.told("GET", r.path("/deliveries")))["deliveries"]
        assert (records[-1]["took_ms"], records[-1]["status"], "body" in records[-1]) == (1200, 202, False)
        answer = await r.control.get(r.path("/deliveries"), params={"bodies": "true", "after": "2"})
        (record,) = answer.json()["deliveries"]
        assert json.loads(record["body"])["value"][0]["subscriptionId"] == made
        assert (await r.control.get(r.path("/deliveries?bodies=yes"))).status_code == 400


async def test_pending_counts_nothing_of_the_far_future() -> None:
    async with rig() as r:
        await r.subscribe()
        assert await r.told("GET", r.path("/pending")) == {"room_processing": 0, "deliveries": 0, "held": 0}


async def disturb(r: Rig, subscription: str, **body: Any) -> dict[str, Any]:
    return dict(await r.told("POST", r.path(f"/subscriptions/{subscription}/disturb"), body))


async def test_next_notifications_of_one_subscription_can_be_lost_delayed_and_doubled() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()["id"]
        told = await disturb(r, made, lose_count=2, delay_count=1, delay_s=30, duplicate_count=1)
        assert told["unconsumed_count"] == 3
        for _ in range(5):
            await write(r)
        await sleep(r.clock, 1)
        assert len(r.webhook.items) == 3  # two of the doubled one, and the fifth
        await sleep(r.clock, 30)
        assert len(r.webhook.items) == 4
        found = await r.told("GET", r.path("/disturbances"))
        assert [(one["kind"], one["consumed"]) for one in found["disturbances"]] == [
            ("lose", 2),
            ("delay", 1),
            ("duplicate", 1),
        ]
        assert found["unconsumed_count"] == 0


async def test_disturbance_leaves_other_subscriptions_and_lifecycle_alone() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()["id"]
        await r.subscribe(r.rooms[1]["address"])
        await disturb(r, made, lose_count=5)
        await r.told("POST", r.path("/lifecycle"), {"subscription_id": made, "event": "missed"})
        await write(r, 1)
        await write(r, 0)
        await r.rest()
        assert len(r.webhook.items) == 2
        assert (await r.told("GET", r.path("/disturbances")))["unconsumed_count"] == 1
        assert await r.told("DELETE", r.path("/disturbances")) == {"cleared_count": 1}
        await write(r, 0)
        await r.rest()
        assert len(r.webhook.items) == 3


@pytest.mark.parametrize(("method", "rest"), [("DELETE", ""), ("POST", "/expire")])
async def test_subscription_can_vanish_without_a_word(method: str, rest: str) -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()["id"]
        await r.told(method, r.path(f"/subscriptions/{made}{rest}"))
        await write(r)
        await r.rest()
        assert r.webhook.posts == []
        assert (await r.graph.get(f"/subscriptions/{made}")).status_code == 404
        assert (await r.control.request(method, r.path(f"/subscriptions/{made}{rest}"))).status_code == 404
