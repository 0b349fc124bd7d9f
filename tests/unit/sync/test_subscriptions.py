"""A room's subscription: made, renewed and repaired by the same code."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from sidecar.errors import (
    CredentialRejected,
    GraphUnavailable,
    StoreConflict,
    SubscriptionExists,
    SubscriptionGone,
    WebhookUnreachable,
)
from sidecar.model.ids import RoomId, TenantId
from sidecar.model.intent import IntentKind
from sidecar.model.subscription import Lifecycle, Notification
from sidecar.store.subscriptions import MarkOutcome
from sidecar.sync.subscriptions import Kept
from tests.support.builders import NOW, after, make_notification
from tests.support.desk import Desk

OTHER_URL = "https://other.example.com"


async def ensured(desk: Desk) -> datetime | None:
    """Ensure the room's subscription, and return when it is looked at again."""
    kept = await desk.keeper().ensure(await desk.opened.reload(desk.room), desk.tenant)
    assert isinstance(kept, Kept)
    return kept.next_at


def genuine(desk: Desk, number: int = -1, **changes: object) -> Notification:
    """Build a notification with the client state that Exchange was given."""
    key, _, secret = desk.subscriptions.states[number].partition(".")
    return make_notification(key, secret=secret, directory_id=desk.tenant.directory_id, **changes)


async def mark(desk: Desk, *notifications: Notification) -> MarkOutcome:
    """Take in what Exchange calls about."""
    return await desk.opened.store.subscriptions.mark(notifications, settle_s=1, settle_max_s=10)


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


async def test_creation_whose_answer_was_lost_is_adopted(desk: Desk) -> None:
    """The next try asks for the same, finds it there, and takes it; its calls were genuine all along."""
    desk.subscriptions.lost = GraphUnavailable("broke off")
    with pytest.raises(GraphUnavailable):
        await ensured(desk)
    assert (await mark(desk, genuine(desk))).marked_count == 1
    await ensured(desk)
    assert len(desk.subscriptions.states) == 1
    assert "delete" not in desk.subscriptions.calls
    assert (await desk.opened.reload(desk.room)).is_subscribed
    assert (await mark(desk, genuine(desk))).marked_count == 1


async def test_creation_that_failed_is_asked_for_with_the_same_client_state(desk: Desk) -> None:
    """It is sealed until Exchange has answered, and nowhere readable; then only its hash is left."""
    desk.subscriptions.lost = GraphUnavailable("broke off")
    with pytest.raises(GraphUnavailable):
        await ensured(desk)
    secret = desk.subscriptions.states[0].partition(".")[2]
    assert secret.encode() not in desk.opened.bytes_at_rest()
    desk.subscriptions.live.clear()  # it had not come as far as that
    await ensured(desk)
    assert desk.subscriptions.states[0] == desk.subscriptions.states[1]
    assert await desk.opened.fetch("SELECT 1 FROM subscriptions WHERE sealed_state IS NOT NULL") == []


@pytest.mark.parametrize(
    "change",
    [
        {"client_state": "someone.else"},
        {"client_state": None},
        {"lifecycle_url": "https://hooks.example.com/elsewhere"},
    ],
)
async def test_leftover_that_is_not_what_was_asked_for_is_replaced(desk: Desk, change: dict[str, str | None]) -> None:
    """It calls us, but nobody here knows its secret, or half of it would go astray."""
    desk.subscriptions.lost = GraphUnavailable("broke off")
    with pytest.raises(GraphUnavailable):
        await ensured(desk)
    desk.subscriptions.live["s1"] = replace(desk.subscriptions.live["s1"], **change)  # type: ignore[arg-type]  # texts only
    await ensured(desk)
    assert list(desk.subscriptions.live) == ["s2"]
    assert (await mark(desk, genuine(desk))).marked_count == 1


async def test_subscription_of_another_installation_is_left_alone(desk: Desk) -> None:
    """It calls an address that never was ours; people are told that the room cannot have one of its own."""
    desk.subscriptions.lost = GraphUnavailable("broke off")
    with pytest.raises(GraphUnavailable):
        await ensured(desk)
    foreign = replace(desk.subscriptions.live["s1"], notification_url="https://test.example.com/graph/notifications")
    desk.subscriptions.live["s1"] = foreign
    with pytest.raises(SubscriptionExists):
        await ensured(desk)
    assert desk.subscriptions.live == {"s1": foreign}


async def test_leftover_that_exchange_does_not_name_is_a_problem(desk: Desk) -> None:
    """Without an id there is nothing to look at; people are told."""
    desk.subscriptions.errors = [SubscriptionExists("exists", subscription_id=None)]
    with pytest.raises(SubscriptionExists):
        await ensured(desk)


async def test_former_subscription_announces_until_the_new_one_is_confirmed(desk: Desk) -> None:
    """Exchange allows two where the mailbox is spelled differently: there is no moment without one that calls us."""
    await desk.opened.store.rooms.set_mailbox(desk.room, object_id="object-1", time_zone=None)
    await ensured(desk)
    await desk.announce(OTHER_URL)
    await ensured(desk)
    assert sorted(desk.subscriptions.live) == ["s1", "s2"]
    assert "delete" not in desk.subscriptions.calls
    assert (await mark(desk, genuine(desk, 0), genuine(desk, 1))).marked_count == 2
    room = await desk.opened.reload(desk.room)
    assert room.is_subscribed
    await remove_former(desk)
    assert list(desk.subscriptions.live) == ["s2"]
    assert (await mark(desk, genuine(desk, 0), genuine(desk, 1))).marked_count == 1


async def remove_former(desk: Desk) -> None:
    """Do what is due once a subscription has been replaced."""
    (key,) = (row[0] for row in await desk.opened.fetch("SELECT key FROM intents WHERE kind = 'subscription.remove'"))
    await desk.keeper().remove(key, desk.tenant)


async def test_exchange_that_allows_only_one_is_given_the_new_one_and_the_room_is_compared(desk: Desk) -> None:
    """Between the two nobody is told, however short that is."""
    await ensured(desk)
    await desk.opened.execute("DELETE FROM intents WHERE kind = 'room.compare'")
    await desk.announce(OTHER_URL)
    await ensured(desk)
    assert [made.notification_url for made in desk.subscriptions.live.values()] == [f"{OTHER_URL}/graph/notifications"]
    assert [made.lifecycle_url for made in desk.subscriptions.live.values()] == [f"{OTHER_URL}/graph/lifecycle"]
    assert IntentKind.ROOM_COMPARE in await desk.due()
    await remove_former(desk)
    assert list(desk.subscriptions.live) == ["s2"]


async def test_new_address_where_nobody_answers_costs_no_subscription(desk: Desk) -> None:
    """A slip of the pen in a setting: what is there goes on calling the former address, and people are told."""
    await ensured(desk)
    await desk.announce(OTHER_URL)
    desk.subscriptions.errors = [None, WebhookUnreachable("nobody")]  # 409, then the proof fails
    with pytest.raises(WebhookUnreachable):
        await ensured(desk)
    assert list(desk.subscriptions.live) == ["s1"]
    assert (await mark(desk, genuine(desk, 0))).marked_count == 1


async def test_former_address_that_counts_again_has_its_subscription_renewed(desk: Desk) -> None:
    """A roll-out that is taken back makes nothing anew; what was asked for meanwhile is forgotten, here and at Exchange."""
    await ensured(desk)
    await desk.announce(OTHER_URL)
    desk.subscriptions.errors = [None, WebhookUnreachable("nobody")]
    with pytest.raises(WebhookUnreachable):
        await ensured(desk)
    await desk.announce("https://hooks.example.com")
    await ensured(desk)
    assert list(desk.subscriptions.live) == ["s1"]
    assert (await desk.opened.reload(desk.room)).is_subscribed
    assert desk.subscriptions.calls[-1] == "renew"
    await remove_former(desk)
    assert await desk.opened.fetch("SELECT COUNT(*) FROM subscriptions") == [(1,)]
    assert await desk.opened.fetch("SELECT 1 FROM intents WHERE kind = 'subscription.audit'") == [(1,)]


async def test_run_cut_off_between_delete_and_create_ends_with_one_and_a_compare(desk: Desk) -> None:
    """Whatever is cut off is done again from what the store knows."""
    await ensured(desk)
    await desk.opened.execute("DELETE FROM intents WHERE kind = 'room.compare'")
    await desk.announce(OTHER_URL)
    desk.subscriptions.errors = [None, None, None, GraphUnavailable("away")]  # 409, proof, delete, create
    with pytest.raises(GraphUnavailable):
        await ensured(desk)
    assert desk.subscriptions.live == {}
    assert not (await desk.opened.reload(desk.room)).is_subscribed
    await ensured(desk)
    assert list(desk.subscriptions.live) == ["s2"]
    assert (await desk.opened.reload(desk.room)).is_subscribed
    assert IntentKind.ROOM_COMPARE in await desk.due()


async def test_old_secret_is_replaced_without_a_gap_and_without_a_word(desk: Desk) -> None:
    """Nothing was missed, so nothing is read again, and the room is live throughout."""
    await desk.opened.store.rooms.set_mailbox(desk.room, object_id="object-1", time_zone=None)
    await ensured(desk)
    await desk.opened.execute("DELETE FROM intents")
    for _ in range(30):
        desk.clock.advance(timedelta(days=3.5).total_seconds())
        await ensured(desk)
        assert (await desk.opened.reload(desk.room)).is_subscribed
    assert len(set(desk.subscriptions.states)) == 2
    assert IntentKind.ROOM_COMPARE not in await desk.due()


async def test_late_notice_about_a_replaced_subscription_leaves_the_new_one_alone(desk: Desk) -> None:
    """Doubled, late, or about a twin: the room's current subscription is untouched."""
    await desk.opened.store.rooms.set_mailbox(desk.room, object_id="object-1", time_zone=None)
    await ensured(desk)
    await desk.announce(OTHER_URL)
    await ensured(desk)
    removed = genuine(desk, 0, event_id=None, lifecycle=Lifecycle.SUBSCRIPTION_REMOVED)
    await mark(desk, removed, removed)
    assert (await desk.opened.reload(desk.room)).is_subscribed
    await remove_former(desk)
    assert (await mark(desk, removed)).unknown_count == 1
    twin = genuine(desk, 1, event_id=None, lifecycle=Lifecycle.SUBSCRIPTION_REMOVED, graph_id="twin")
    await mark(desk, twin)
    assert (await desk.opened.reload(desk.room)).is_subscribed


async def test_removal_told_before_the_creation_was_answered_is_not_forgotten(desk: Desk) -> None:
    """Notices may be quicker than the 201: the subscription is asked about as soon as it is known."""
    original = desk.subscriptions.create_subscription

    async def create(*args: object, **kwargs: object) -> object:
        made = await original(*args, **kwargs)  # type: ignore[arg-type]  # passed through
        desk.subscriptions.live.clear()
        await mark(desk, genuine(desk, event_id=None, lifecycle=Lifecycle.SUBSCRIPTION_REMOVED))
        return made

    desk.subscriptions.create_subscription = create  # type: ignore[assignment,method-assign]  # a hook of this test
    await ensured(desk)
    desk.subscriptions.create_subscription = original  # type: ignore[method-assign]
    desk.clock.advance(1)
    await ensured(desk)
    assert list(desk.subscriptions.live) == ["s2"]


async def test_without_a_webhook_address_nothing_is_asked(desk: Desk) -> None:
    """Rooms are then polled, and say so."""
    await desk.announce(None)
    assert await ensured(desk) is None
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


async def test_subscription_that_may_not_be_removed_is_left_to_run_out(desk: Desk) -> None:
    """Microsoft's refusal is asked about again only as long as the subscription can be alive."""
    await ensured(desk)
    await desk.opened.store.rooms.unmap(TenantId(desk.room.tenant_id), RoomId(desk.room.room_id), etag="")
    key = desk.subscriptions.states[0].partition(".")[0]
    desk.subscriptions.errors = [CredentialRejected("no"), CredentialRejected("no")]
    with pytest.raises(CredentialRejected):
        await desk.keeper().remove(key, desk.tenant)
    assert await desk.opened.store.subscriptions.load(key) is not None
    desk.clock.advance(15 * 86_400)
    assert await desk.keeper().remove(key, desk.tenant) == Kept()
    assert await desk.opened.store.subscriptions.load(key) is None


async def test_subscription_for_a_former_mailbox_is_not_kept(desk: Desk) -> None:
    """The room was tied to another mailbox while Exchange was answering."""

    def readdress() -> None:
        raise StoreConflict("stop here")

    desk.subscriptions.on_create = readdress
    with pytest.raises(StoreConflict):
        await ensured(desk)
    room = await desk.opened.readdress(desk.room, "other@contoso.example", is_same_mailbox=False)
    key = desk.subscriptions.states[0].partition(".")[0]
    confirm = desk.opened.store.subscriptions.confirm
    assert not await confirm(key, graph_id="s1", expires_at=after(days=6), renew_at=after(days=3))
    desk.subscriptions.on_create = lambda: None
    await ensured(desk)
    assert desk.subscriptions.live["s2"].resource == "/users/other@contoso.example/events"
    assert (await desk.opened.reload(room)).is_subscribed


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
    await desk.announce("https://hooks.example.com")
    assert await desk.due() == {}
    await desk.announce(OTHER_URL)
    assert not (await desk.opened.reload(desk.room)).is_subscribed
    assert IntentKind.ROOM_SUBSCRIBE in await desk.due()


async def test_removed_webhook_address_ends_the_subscriptions(desk: Desk) -> None:
    """Nobody listens any more; the rooms are polled and say so."""
    await ensured(desk)
    await desk.announce(None)
    assert not (await desk.opened.reload(desk.room)).is_subscribed
    await remove_former(desk)
    assert desk.subscriptions.live == {}


async def test_subscription_in_doubt_is_asked_about_before_its_time(desk: Desk) -> None:
    """A resync also proves that Exchange still has the subscription."""
    await ensured(desk)
    await desk.opened.store.rooms.resync(TenantId(desk.room.tenant_id), RoomId(desk.room.room_id))
    desk.subscriptions.errors = [SubscriptionGone("gone")]
    await ensured(desk)
    assert len(desk.subscriptions.states) == 2
