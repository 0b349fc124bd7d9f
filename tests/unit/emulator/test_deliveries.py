"""Notifications: what causes them, how they are batched, retried, doubled, held and lost."""

from typing import Any

import pytest

from sidecar.emulator.clock import sleep
from sidecar.emulator.moods import Moods
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
