"""States that time alone changes: nobody writes a row, and every watcher hears of it within a heartbeat."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from sidecar.feed.events import Checkpoint, RoomChanged, WatchEvent
from sidecar.feed.feed import Feed
from sidecar.model.ids import RoomId
from sidecar.model.room import SyncState, freshness_limits, sync_state
from sidecar.model.window import to_micros
from sidecar.settings import SyncSettings
from tests.support.builders import TENANT, make_problem
from tests.support.stores import OpenStore, open_feed
from tests.unit.feed.reading import ALL, Stream, rooms, token, watching

pytestmark = pytest.mark.looptime
LIMITS = freshness_limits(SyncSettings())
HEARTBEAT_S = 15.0
STALE_BY_S = LIMITS.polling_s + 2 * HEARTBEAT_S


def states(events: list[WatchEvent], opened: OpenStore) -> list[tuple[str, SyncState]]:
    """Return what was told of single rooms."""
    now = opened.clock.now()
    return [
        (event.room.room_id, sync_state(event.room, now=now, limits=LIMITS))
        for event in events
        if isinstance(event, RoomChanged)
    ]


def worst(checkpoint: Checkpoint, opened: OpenStore) -> SyncState:
    """Return the worst state that a checkpoint tells of."""
    order = list(SyncState)
    told = [sync_state(room, now=opened.clock.now(), limits=LIMITS) for room in checkpoint.rooms]
    return max(told, key=order.index)


async def wait_until_stale(stream: Stream, opened: OpenStore) -> list[WatchEvent]:
    """Read until a checkpoint says STALE, and return what came up to there."""
    began_s = opened.clock.monotonic()
    seen: list[WatchEvent] = []
    while True:
        event = await stream.next(within_s=60)
        seen.append(event)
        if isinstance(event, Checkpoint) and worst(event, opened) is SyncState.STALE:
            assert opened.clock.monotonic() - began_s <= STALE_BY_S
            return seen


async def fill(opened: OpenStore, *names: str) -> None:
    """Map rooms that nobody announces, and read them."""
    for name in names:
        await opened.add_filled_room(name)


def feed_over(opened: OpenStore) -> AbstractAsyncContextManager[Feed]:
    """Run a feed."""
    return open_feed(opened.store, clock=opened.clock)


async def test_watcher_of_one_room_hears_of_staleness_by_its_checkpoint(opened: OpenStore) -> None:
    """Nothing happened, which is what makes it stale."""
    await opened.add_tenant()
    await fill(opened, "r1")
    async with feed_over(opened) as feed, watching(feed, rooms("r1"), heartbeat_s=HEARTBEAT_S) as stream:
        await stream.settle()
        assert states(await wait_until_stale(stream, opened), opened) == []


async def test_watcher_of_several_rooms_hears_which_of_them_is_stale(opened: OpenStore) -> None:
    """The checkpoint tells the worst state of all; before it each room that changed by itself is told, once."""
    await opened.add_tenant()
    await fill(opened, "r1")
    async with feed_over(opened) as feed, watching(feed, ALL, heartbeat_s=HEARTBEAT_S) as stream:
        await stream.settle()
        await feed.clock.sleep(100)
        await fill(opened, "r2")
        await stream.settle()
        assert states(await wait_until_stale(stream, opened), opened) == [("r1", SyncState.STALE)]
        await stream.next()
        assert isinstance(stream.seen[-1], Checkpoint)


async def test_room_that_is_checked_again_is_told_without_an_entry(opened: OpenStore) -> None:
    """A check that finds nothing new writes no entry, and makes the room fresh."""
    await opened.add_tenant()
    await fill(opened, "r1", "r2")
    async with feed_over(opened) as feed, watching(feed, ALL, heartbeat_s=HEARTBEAT_S) as stream:
        await stream.settle()
        await wait_until_stale(stream, opened)
        head = await opened.head()
        for name in ("r1", "r2"):
            await opened.execute(
                "UPDATE rooms SET fresh_as_of_at = $2 WHERE room_id = $1", name, to_micros(opened.clock.now())
            )
        seen = [await stream.next() for _ in range(3)]
        assert states(seen, opened) == [("r1", SyncState.POLLING), ("r2", SyncState.POLLING)]
        assert await opened.head() == head


async def test_stream_begins_by_telling_which_rooms_are_stale(opened: OpenStore) -> None:
    """A reader that was away does not know what time did meanwhile."""
    await opened.add_tenant()
    await fill(opened, "r1", "r2")
    async with feed_over(opened) as feed:
        async with watching(feed, ALL, heartbeat_s=HEARTBEAT_S) as stream:
            before = await stream.settle()
        await feed.clock.sleep(LIMITS.polling_s + 1)
        async with watching(feed, ALL, resume=token(before.cursor), heartbeat_s=HEARTBEAT_S) as stream:
            await stream.until(Checkpoint)
            assert states(stream.seen, opened) == [("r1", SyncState.STALE), ("r2", SyncState.STALE)]


async def test_change_that_the_log_tells_is_not_told_twice(opened: OpenStore) -> None:
    """The entry's own message says the state already."""
    await opened.add_tenant()
    await fill(opened, "r1", "r2")
    async with feed_over(opened) as feed, watching(feed, ALL, heartbeat_s=HEARTBEAT_S) as stream:
        await stream.settle()
        room = await opened.store.rooms.load(TENANT, RoomId("r1"))
        await opened.store.rooms.set_problem(room.uid, make_problem("MAILBOX_ACCESS_DENIED"), lease=None)
        await stream.until(Checkpoint)
        assert states(stream.seen, opened) == [("r1", SyncState.BLOCKED)]


async def test_outage_of_the_tenant_makes_every_room_stale_after_the_budget(opened: OpenStore) -> None:
    """Exchange promised to call, and cannot: whatever a room's own check says, nobody vouches for it."""
    tenant = await opened.add_tenant()
    await fill(opened, "r1", "r2")
    async with feed_over(opened) as feed, watching(feed, ALL, heartbeat_s=HEARTBEAT_S) as stream:
        await stream.settle()
        problem = make_problem("EXCHANGE_UNAVAILABLE", seen_at=opened.clock.now())
        await opened.store.tenants.set_problem(tenant.uid, problem)
        seen = await wait_until_stale(stream, opened)
        assert states(seen, opened) == [("r1", SyncState.STALE), ("r2", SyncState.STALE)]
