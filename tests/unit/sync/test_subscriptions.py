"""A room's subscription: made, renewed and repaired by the same code."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

import pytest

from sidecar.errors import GraphUnavailable, SubscriptionExists, SubscriptionGone, WebhookUnreachable
from sidecar.model.ids import RoomId, TenantId
from sidecar.model.intent import IntentKind
from sidecar.model.subscription import Lifecycle, Notification
from sidecar.sync.subscriptions import Kept
from tests.support.builders import NOW, make_notification
from tests.support.desk import Desk


async def ensured(desk: Desk, url: str | None = "https://hooks.example.com") -> datetime | None:
    """Ensure the room's subscription, and return when it is looked at again."""
    kept = await desk.keeper(url).ensure(await desk.opened.reload(desk.room), desk.tenant)
    assert isinstance(kept, Kept)
    return kept.next_at


def genuine(desk: Desk, number: int = -1, **changes: object) -> Notification:
    """Build a notification with the client state that Exchange was given."""
    key, _, secret = desk.subscriptions.states[number].partition(".")
    return make_notification(key, secret=secret, directory_id=desk.tenant.directory_id, **changes)


async def test_first_subscription_is_live_and_known_by_its_hash_only(desk: Desk) -> None:
    """The secret of the client state is at Exchange; here only its hash is kept."""
    next_at = await ensured(desk)
    assert list(desk.subscriptions.live) == ["s1"]
    assert (await desk.opened.reload(desk.room)).is_subscribed
    assert next_at is not None
    secret = desk.subscriptions.states[0].partition(".")[2]
    at_rest = desk.opened.bytes_at_rest()
    assert secret.encode() not in at_rest
    assert hashlib.sha256(secret.encode()).digest() in at_rest


async def test_notification_before_the_answer_is_known(desk: Desk) -> None:
    """Exchange may call before its 201 arrives; the key was in the store before Exchange heard of it."""
    marked: list[int] = []

    async def check() -> None:
        outcome = await desk.opened.store.subscriptions.mark([genuine(desk)], settle_s=1, settle_max_s=10)
        marked.append(outcome.marked_count)

    original = desk.subscriptions.create_subscription

    async def create(*args: object, **kwargs: object) -> object:
        made = await original(*args, **kwargs)  # type: ignore[arg-type]  # passed through
        await check()
        return made

    desk.subscriptions.create_subscription = create  # type: ignore[assignment,method-assign]  # a hook of this test
    await ensured(desk)
    assert marked == [1]


async def test_subscription_is_left_alone_until_half_of_its_life(desk: Desk) -> None:
    """Renewal is spread around the middle of the life, long before the end."""
    first = await ensured(desk)
    assert await ensured(desk) == first
    life = timedelta(minutes=desk.settings.subscription_minutes)
    assert first is not None
    assert NOW + life * 0.4 < first < NOW + life * 0.6


async def test_renewal_prolongs_the_same_subscription(desk: Desk) -> None:
    """One room never has two."""
    await ensured(desk)
    expires_at = desk.subscriptions.live["s1"].expires_at
    desk.clock.advance(timedelta(days=4).total_seconds())
    await ensured(desk)
    assert list(desk.subscriptions.live) == ["s1"]
    assert desk.subscriptions.live["s1"].expires_at > expires_at


async def test_subscription_that_exchange_dropped_is_made_again_and_the_room_compared(desk: Desk) -> None:
    """Nobody told us what changed between: the room is read in full."""
    await ensured(desk)
    await desk.opened.execute("DELETE FROM intents WHERE kind = 'room.compare'")
    desk.clock.advance(timedelta(days=4).total_seconds())
    desk.subscriptions.errors = [SubscriptionGone("gone")]
    await ensured(desk)
    assert len(desk.subscriptions.states) == 2
    assert IntentKind.ROOM_COMPARE in await desk.due()


async def test_leftover_of_a_lost_answer_is_replaced(desk: Desk) -> None:
    """A create whose answer was lost leaves a subscription with a secret that nobody knows."""
    desk.subscriptions.errors = [SubscriptionExists("exists", subscription_id="old")]
    await ensured(desk)
    assert list(desk.subscriptions.live) == ["s1"]
    outcome = await desk.opened.store.subscriptions.mark([genuine(desk)], settle_s=1, settle_max_s=10)
    assert outcome.marked_count == 1


async def test_leftover_that_exchange_does_not_name_is_a_problem(desk: Desk) -> None:
    """Without an id there is nothing to delete; people are told."""
    desk.subscriptions.errors = [SubscriptionExists("exists", subscription_id=None)]
    with pytest.raises(SubscriptionExists):
        await ensured(desk)


async def test_new_webhook_address_replaces_the_subscription(desk: Desk) -> None:
    """The lifecycle address cannot be changed in place."""
    await ensured(desk)
    await ensured(desk, "https://other.example.com")
    assert [made.notification_url for made in desk.subscriptions.live.values()] == [
        "https://other.example.com/graph/notifications"
    ]


async def test_without_a_webhook_address_nothing_is_asked(desk: Desk) -> None:
    """Rooms are then polled, and say so."""
    assert await ensured(desk, None) is None
    assert desk.subscriptions.states == []


async def test_refused_subscription_leaves_the_room_unsubscribed(desk: Desk) -> None:
    """The room is read at intervals until it works."""
    desk.subscriptions.errors = [WebhookUnreachable("cannot reach")]
    with pytest.raises(WebhookUnreachable):
        await ensured(desk)
    assert not (await desk.opened.reload(desk.room)).is_subscribed


async def test_room_unmapped_during_the_call_leaves_nothing_behind(desk: Desk) -> None:
    """The subscription was made for a room that is gone: it is deleted at once."""
    room = await desk.opened.reload(desk.room)
    original = desk.subscriptions.create_subscription

    async def create(*args: object, **kwargs: object) -> object:
        made = await original(*args, **kwargs)  # type: ignore[arg-type]  # passed through
        await desk.opened.store.rooms.unmap(TenantId(room.tenant_id), RoomId(room.room_id), etag="")
        return made

    desk.subscriptions.create_subscription = create  # type: ignore[assignment,method-assign]  # a hook of this test
    assert await desk.keeper().ensure(room, desk.tenant) == Kept(None)
    assert desk.subscriptions.live == {}


async def test_unmapped_room_has_its_subscription_removed(desk: Desk) -> None:
    """First at Exchange, then here; if Exchange is away, later."""
    await ensured(desk)
    await desk.opened.store.rooms.unmap(TenantId(desk.room.tenant_id), RoomId(desk.room.room_id), etag="")
    key = desk.subscriptions.states[0].partition(".")[0]
    desk.subscriptions.errors = [GraphUnavailable("away")]
    with pytest.raises(GraphUnavailable):
        await desk.keeper().remove(key, desk.tenant)
    await desk.keeper().remove(key, desk.tenant)
    assert desk.subscriptions.live == {}
    assert await desk.opened.store.subscriptions.load(key) is None


async def test_removed_notice_makes_a_new_subscription_due_at_once(desk: Desk) -> None:
    """Exchange says that it dropped the subscription: nothing is announced until there is a new one."""
    await ensured(desk)
    notice = genuine(desk, event_id=None, lifecycle=Lifecycle.SUBSCRIPTION_REMOVED)
    await desk.opened.store.subscriptions.mark([notice], settle_s=1, settle_max_s=10)
    assert not (await desk.opened.reload(desk.room)).is_subscribed
    await ensured(desk)
    assert (await desk.opened.reload(desk.room)).is_subscribed
    assert len(desk.subscriptions.states) == 2


async def test_reauthorization_notice_renews_before_the_time(desk: Desk) -> None:
    """Prolonging also answers the demand for a new authorisation."""
    await ensured(desk)
    before = desk.subscriptions.live["s1"].expires_at
    notice = genuine(desk, event_id=None, lifecycle=Lifecycle.REAUTHORIZATION_REQUIRED)
    await desk.opened.store.subscriptions.mark([notice], settle_s=1, settle_max_s=10)
    desk.clock.advance(1)
    await ensured(desk)
    assert desk.subscriptions.live["s1"].expires_at > before
    assert len(desk.subscriptions.states) == 1


async def test_changed_webhook_address_reaches_every_room_at_the_start(desk: Desk) -> None:
    """Exchange would go on calling the old address for days, and the room would call itself LIVE."""
    await ensured(desk)
    await desk.opened.execute("DELETE FROM intents")
    store = desk.opened.store.subscriptions
    assert await store.adopt_url("https://hooks.example.com") == 0
    assert await desk.due() == {}
    assert await store.adopt_url("https://other.example.com") == 1
    assert not (await desk.opened.reload(desk.room)).is_subscribed
    assert IntentKind.ROOM_SUBSCRIBE in await desk.due()
    await ensured(desk, "https://other.example.com")
    await desk.keeper().remove(desk.subscriptions.states[0].partition(".")[0], desk.tenant)
    assert [made.notification_url for made in desk.subscriptions.live.values()] == [
        "https://other.example.com/graph/notifications"
    ]


async def test_removed_webhook_address_ends_the_subscriptions(desk: Desk) -> None:
    """Nobody listens any more; the rooms are polled and say so."""
    await ensured(desk)
    assert await desk.opened.store.subscriptions.adopt_url(None) == 1
    assert not (await desk.opened.reload(desk.room)).is_subscribed
    kinds = [row[0] for row in await desk.opened.fetch("SELECT kind FROM intents")]
    assert "subscription.remove" in kinds


async def test_subscription_in_doubt_is_asked_about_before_its_time(desk: Desk) -> None:
    """A resync also proves that Exchange still has the subscription."""
    await ensured(desk)
    await desk.opened.store.rooms.resync(TenantId(desk.room.tenant_id), RoomId(desk.room.room_id))
    desk.subscriptions.errors = [SubscriptionGone("gone")]
    await ensured(desk)
    assert len(desk.subscriptions.states) == 2
