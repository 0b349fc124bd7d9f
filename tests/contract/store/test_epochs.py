"""Renewing an epoch: what was told before counts no more, and everything is proved again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sidecar.errors import TenantNotFound
from sidecar.model.ids import TenantId
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.room import Room
from sidecar.store.changes import LogHead
from sidecar.store.epochs import Renewal
from tests.support.builders import CANARY, DIRECTORY, HORIZON, TENANT, after, always, make_booking, secret_hash, upsert
from tests.support.stores import ManualClock, OpenStore

OTHER = TenantId("other")


@pytest.fixture
async def room(opened: OpenStore, clock: ManualClock) -> Room:
    """A room that was read and is announced; nothing about it is due."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    await opened.store.subscriptions.prepare(
        room.uid, room.tenant_uid, key="s1", secret_hash=secret_hash(CANARY), directory_id=DIRECTORY, url="u"
    )
    assert await opened.store.subscriptions.confirm(
        "s1", graph_id="g1", expires_at=after(days=6), renew_at=after(days=3)
    )
    await opened.execute("DELETE FROM intents")
    clock.advance(60)
    return await opened.reload(room)


async def head_of(opened: OpenStore, tenant_id: TenantId = TENANT) -> LogHead:
    return (await opened.store.changes.tenant_head(tenant_id))[1]


async def due(opened: OpenStore, lane: str) -> set[tuple[str, str]]:
    micros = round(opened.clock.now().timestamp() * 1_000_000)
    return set(await opened.fetch("SELECT kind, key FROM intents WHERE lane = $1 AND ready_at <= $2", lane, micros))


async def test_each_renewal_gives_an_epoch_never_seen_before(opened: OpenStore, room: Room) -> None:
    """Restored twice from one backup, a log is in two epochs; its revisions go on."""
    heads = [await head_of(opened)]
    for _ in range(3):
        assert await opened.store.epochs.renew() == Renewal(1, 1)
        heads.append(await head_of(opened))
    assert len({head.epoch for head in heads}) == 4
    assert len({head.revision for head in heads}) == 1


async def test_renewing_one_log_leaves_the_others(opened: OpenStore, room: Room) -> None:
    """Readers of other tenants hear nothing of it, and nothing of theirs is read again."""
    other = await opened.add_tenant(OTHER)
    await opened.add_room("r1", tenant_id=OTHER)
    await opened.execute("DELETE FROM intents")
    before = await head_of(opened, OTHER)
    assert await opened.store.epochs.renew(TENANT) == Renewal(1, 1)
    assert await head_of(opened, OTHER) == before
    assert await due(opened, other.uid) == set()
    assert await opened.store.epochs.renew() == Renewal(2, 2)
    assert await head_of(opened, OTHER) != before
    with pytest.raises(TenantNotFound):
        await opened.store.epochs.renew(TenantId("nobody"))


async def test_renewal_makes_everything_due_that_proves_the_copy(opened: OpenStore, room: Room) -> None:
    """The credential, each room's subscription and its calendar, even what was put off after failures."""
    await opened.store.intents.mark(IntentKind.ROOM_COMPARE, room.uid, room.tenant_uid, priority=Priority.COMPARE)
    (intent,) = await opened.store.intents.due(room.tenant_uid, count_max=9)
    await opened.store.intents.put_off(intent, until=after(days=1), reason="EXCHANGE_THROTTLED")
    assert await due(opened, room.tenant_uid) == set()
    await opened.store.epochs.renew(TENANT)
    assert await due(opened, room.tenant_uid) == {
        (IntentKind.TENANT_VERIFY, room.tenant_uid),
        (IntentKind.ROOM_SUBSCRIBE, room.uid),
        (IntentKind.ROOM_COMPARE, room.uid),
    }


async def test_subscription_counts_as_run_out_until_exchange_confirms_it(opened: OpenStore, room: Room) -> None:
    """Exchange may have forgotten it; what it announces meanwhile is still believed, and then the room is read again."""
    assert room.is_subscribed
    await opened.store.epochs.renew()
    assert not (await opened.reload(room)).is_subscribed
    subscription = await opened.store.subscriptions.load_for_room(room.uid)
    assert subscription is not None
    assert (subscription.graph_id, subscription.renew_at) == ("g1", opened.clock.now())
    await opened.execute("DELETE FROM intents")
    assert await opened.store.subscriptions.confirm(
        "s1", graph_id="g1", expires_at=after(days=6), renew_at=after(days=3)
    )
    assert (await opened.reload(room)).is_subscribed
    assert await due(opened, room.tenant_uid) == {(IntentKind.ROOM_COMPARE, room.uid)}


async def test_tenant_that_is_being_deleted_gets_no_new_work(opened: OpenStore, room: Room) -> None:
    """Its removal goes on; nothing is proved for it."""
    await opened.store.lifecycle.delete(TENANT, etag="")
    assert await opened.store.epochs.renew() == Renewal(1, 0)
    assert await due(opened, room.tenant_uid) == {(IntentKind.TENANT_REMOVE, room.tenant_uid)}


async def test_of_several_who_notice_a_lost_log_one_renews_it(opened: OpenStore, room: Room) -> None:
    """Else each would throw away the epoch that the one before has just told to readers."""
    seen = await head_of(opened)
    first = await opened.store.epochs.renew_lost(room.tenant_uid, seen)
    assert first is not None
    assert first.epoch != seen.epoch
    assert await opened.store.epochs.renew_lost(room.tenant_uid, seen) == first == await head_of(opened)
    await opened.store.lifecycle.delete(TENANT, etag="")
    await opened.store.tenants.erase(room.tenant_uid)
    assert await opened.store.epochs.renew_lost(room.tenant_uid, first) is None


async def test_what_a_restored_copy_lacks_is_no_drift(opened: OpenStore, room: Room, clock: ManualClock) -> None:
    """It was announced, to a copy that is gone; from the first full read on, drift is what it always was."""
    await opened.store.epochs.renew()
    clock.advance(60)
    await opened.store.subscriptions.confirm("s1", graph_id="g1", expires_at=after(days=6), renew_at=after(days=3))
    room = await opened.reload(room)
    assert room.is_subscribed
    since = make_booking("since", start_at=clock.now() + timedelta(days=1))
    applied = await opened.fill(room, make_booking("b1"), since)
    assert (applied.changes_count, applied.drift_count) == (1, 0)
    clock.advance(900)
    applied = await opened.fill(await opened.reload(room), make_booking("b1"), since, make_booking("old"))
    assert (applied.changes_count, applied.drift_count) == (1, 1)


async def test_listing_and_log_tell_one_epoch(opened: OpenStore, room: Room) -> None:
    """The position that a listing starts from is one in the log as it is now."""
    await opened.store.epochs.renew()
    await opened.store.calendars.apply(room, always(upsert(make_booking("b2"))), lease=None)
    _, head = await opened.store.changes.read(room.tenant_uid, after_revision=0, count_max=1)
    listing = await opened.store.calendars.list_room(
        TENANT, room.room_id, HORIZON, after=None, count_max=9, show_all=False
    )
    assert listing.head == head == await opened.store.changes.head(room.tenant_uid)
