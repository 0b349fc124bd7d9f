"""Which address counts while several processes were told different ones, and what a change of it does to subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from sidecar.model.ids import TenantUid
from sidecar.model.intent import IntentKind
from sidecar.model.room import Room
from sidecar.model.window import from_micros
from tests.support.builders import DIRECTORY, after, secret_hash
from tests.support.stores import ManualClock, OpenStore, beside

OLD, NEW = "https://old.example.com", "https://new.example.com"


async def announce(opened: OpenStore, url: str | None, *, is_start: bool = False, is_alone: bool = False) -> str:
    return await opened.store.webhook_urls.announce(url, is_start=is_start, is_alone=is_alone)


@pytest.fixture
async def other(opened: OpenStore, clock: ManualClock) -> AsyncIterator[OpenStore]:
    """The same database, as another process has it."""
    async with beside(opened, clock=clock) as other:
        yield other


@pytest.fixture
async def room(opened: OpenStore) -> Room:
    """A room that is announced at the old address."""
    await announce(opened, OLD, is_start=True)
    await opened.add_tenant()
    room = await opened.add_filled_room()
    await subscribe(opened, room, "s1", OLD)
    await opened.execute("DELETE FROM intents")
    return await opened.reload(room)


async def subscribe(opened: OpenStore, room: Room, key: str, url: str) -> None:
    await opened.store.subscriptions.prepare(
        room.uid, room.tenant_uid, key=key, secret_hash=secret_hash("s"), directory_id=DIRECTORY, url=url
    )
    assert await opened.store.subscriptions.confirm(
        key, graph_id=f"g-{key}", expires_at=after(days=6), renew_at=after(days=3)
    )


async def due(opened: OpenStore, key: str) -> set[IntentKind]:
    return {IntentKind(row[0]) for row in await opened.fetch("SELECT kind FROM intents WHERE key = $1", key)}


async def test_address_announced_last_counts_for_all(opened: OpenStore, other: OpenStore, clock: ManualClock) -> None:
    """A roll-out: old processes work towards the new address, too."""
    assert await announce(opened, OLD, is_start=True) == OLD
    clock.advance(20)
    assert await announce(other, NEW, is_start=True) == NEW
    clock.advance(20)
    assert await announce(opened, OLD) == NEW


async def test_old_process_that_starts_again_changes_nothing(opened: OpenStore, clock: ManualClock) -> None:
    """It goes on with its old reign, or processes of a roll-out would undo each other's work for ever."""
    await announce(opened, OLD, is_start=True)
    clock.advance(20)
    await announce(opened, NEW, is_start=True)
    for _ in range(10):
        clock.advance(20)
        assert await announce(opened, OLD, is_start=True) == NEW
        assert await announce(opened, NEW) == NEW


async def test_roll_out_that_is_taken_back_ends_with_the_former_address(opened: OpenStore, clock: ManualClock) -> None:
    """A minute after the last process with the new address is gone, without anybody's doing."""
    await announce(opened, OLD, is_start=True)
    clock.advance(20)
    await announce(opened, NEW, is_start=True)
    said = []
    for _ in range(5):
        clock.advance(20)
        said.append(await announce(opened, OLD))
    assert said == [NEW, NEW, NEW, OLD, OLD]


async def test_address_that_returns_after_silence_begins_a_new_reign(opened: OpenStore, clock: ManualClock) -> None:
    """Somebody went back to it on purpose."""
    await announce(opened, OLD, is_start=True)
    clock.advance(20)
    await announce(opened, NEW, is_start=True)
    for _ in range(4):
        clock.advance(20)
        await announce(opened, NEW)
    assert await announce(opened, OLD, is_start=True) == OLD


async def test_process_that_is_alone_is_believed_at_once(opened: OpenStore, clock: ManualClock) -> None:
    """Nobody else can use its database, however lately the other address was announced."""
    await announce(opened, OLD, is_start=True, is_alone=True)
    clock.advance(1)
    assert await announce(opened, NEW, is_start=True, is_alone=True) == NEW
    clock.advance(1)
    assert await announce(opened, OLD, is_start=True, is_alone=True) == OLD


async def test_processes_that_announce_at_once_agree(opened: OpenStore, other: OpenStore, clock: ManualClock) -> None:
    """Whoever is first: afterwards all are told the same."""
    for _ in range(10):
        clock.advance(100)
        await asyncio.gather(announce(opened, OLD), announce(other, NEW), announce(opened, OLD), announce(other, NEW))
        clock.advance(1)
        assert await announce(opened, OLD) == await announce(other, NEW)


async def test_changed_address_makes_every_room_due_once(opened: OpenStore, room: Room, clock: ManualClock) -> None:
    """What was made for the former one counts as run out, because nobody knows whether its calls still reach us."""
    head = await opened.head()
    clock.advance(1)
    await announce(opened, NEW, is_start=True)
    assert not (await opened.reload(room)).is_subscribed
    assert await due(opened, room.uid) == {IntentKind.ROOM_SUBSCRIBE, IntentKind.ROOM_CHECK}
    await announce(opened, NEW, is_start=True)
    assert await opened.head() == head + 1, "told once"


async def test_room_that_was_put_off_is_due_at_once_when_the_address_changes(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """What stood in the way of one address need not stand in the way of another, be it the one before."""
    await announce(opened, NEW, is_start=True, is_alone=True)
    clock.advance(1)
    subscribing = next(
        one
        for one in await opened.store.intents.due(room.tenant_uid, count_max=9)
        if one.kind is IntentKind.ROOM_SUBSCRIBE
    )
    await opened.store.intents.put_off(subscribing, until=after(hours=1), reason="WEBHOOK_UNREACHABLE")
    await announce(opened, NEW, is_start=True, is_alone=True)
    assert await ready_at(opened, room) == after(hours=1), "a start alone changes nothing about it"
    await announce(opened, OLD, is_start=True, is_alone=True)
    assert await ready_at(opened, room) == clock.now()


async def ready_at(opened: OpenStore, room: Room) -> datetime:
    sql = "SELECT ready_at FROM intents WHERE kind = 'room.subscribe' AND key = $1"
    return from_micros((await opened.fetch(sql, room.uid))[0][0])


async def test_room_announced_at_the_address_that_counts_is_left_alone(opened: OpenStore, room: Room) -> None:
    """A restart asks nothing of Microsoft."""
    head = await opened.head()
    await announce(opened, OLD, is_start=True)
    assert (await opened.reload(room)).is_subscribed
    assert await due(opened, room.uid) == set()
    assert await opened.head() == head


async def test_successor_becomes_current_and_the_former_one_is_to_be_deleted(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """In one transaction, so that exactly one is current at every moment; nothing was missed if the former one lived."""
    head = await opened.head()
    await subscribe(opened, room, "s2", OLD)
    upkeep = await opened.store.subscriptions.load_upkeep(room.uid)
    assert upkeep.current is not None
    assert (upkeep.current.key, upkeep.pending) == ("s2", None)
    assert await due(opened, "s1") == {IntentKind.SUBSCRIPTION_REMOVE}
    assert await due(opened, room.uid) == set()
    assert await opened.head() == head


async def test_successor_of_one_that_ran_out_has_the_room_compared(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """A change of address is such a case."""
    await opened.store.subscriptions.lapse("s1")
    await subscribe(opened, room, "s2", NEW)
    assert IntentKind.ROOM_COMPARE in await due(opened, room.uid)


async def test_pending_subscription_is_asked_for_again_as_it_was(opened: OpenStore, room: Room) -> None:
    """Its client state is there until it is confirmed, and sealed."""
    await opened.store.subscriptions.prepare(
        room.uid,
        room.tenant_uid,
        key="s2",
        secret_hash=secret_hash("s"),
        directory_id=DIRECTORY,
        url=OLD,
        mailbox="m@contoso.example",
        client_state="s2.CANARY-state",
    )
    upkeep = await opened.store.subscriptions.load_upkeep(room.uid)
    assert upkeep.current is not None
    assert upkeep.pending is not None
    assert (upkeep.current.key, upkeep.pending.client_state) == ("s1", "s2.CANARY-state")
    assert upkeep.pending.subscription.mailbox == "m@contoso.example"
    assert "CANARY-state" not in repr(upkeep)
    assert b"CANARY-state" not in opened.bytes_at_rest()


async def test_unmapped_room_leaves_both_subscriptions_to_be_deleted(opened: OpenStore, room: Room) -> None:
    """The one that was current, and the one on its way."""
    await opened.store.subscriptions.prepare(
        room.uid, room.tenant_uid, key="s2", secret_hash=secret_hash("s"), directory_id=DIRECTORY, url=NEW
    )
    await opened.store.rooms.unmap(room.tenant_id, room.room_id, etag="")
    for key in ("s1", "s2"):
        assert await due(opened, key) == {IntentKind.SUBSCRIPTION_REMOVE}
    assert not await opened.store.subscriptions.confirm(
        "s2", graph_id="g2", expires_at=after(days=6), renew_at=after(days=3)
    )


async def test_no_address_leaves_all_subscriptions_to_be_deleted(opened: OpenStore, room: Room) -> None:
    """Nobody listens any more."""
    await announce(opened, None, is_start=True, is_alone=True)
    assert not (await opened.reload(room)).is_subscribed
    assert await due(opened, "s1") == {IntentKind.SUBSCRIPTION_REMOVE}
    assert (await opened.store.subscriptions.load_upkeep(room.uid)).url == ""


async def test_former_addresses_are_known_for_as_long_as_anything_can_call_there(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """Leftovers at Microsoft are told from other people's by them."""
    await announce(opened, NEW, is_start=True, is_alone=True)
    assert (await opened.store.subscriptions.load_upkeep(room.uid)).urls == {OLD, NEW}
    await opened.execute("DELETE FROM subscriptions WHERE tenant_uid = $1", TenantUid(room.tenant_uid))
    clock.advance(31 * 86_400)
    await announce(opened, NEW)
    assert (await opened.store.subscriptions.load_upkeep(room.uid)).urls == {NEW}
