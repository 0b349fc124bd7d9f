"""How watches end, are refused, and begin again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from sidecar.errors import (
    ResumeTokenExpired,
    ResumeTokenForeign,
    ResumeTokenMalformed,
    RoomNotFound,
    ServerDraining,
    TenantNotFound,
    WatcherLimit,
)
from sidecar.feed.events import (
    Changed,
    Checkpoint,
    Closing,
    ClosingReason,
    RoomChanged,
    SnapshotBegins,
    SnapshotEnds,
)
from sidecar.feed.feed import WatchScope
from sidecar.model.change import ChangeKind, SnapshotReason
from sidecar.model.ids import TenantId
from sidecar.model.room import RoomState, SyncState
from sidecar.telemetry.metrics import Telemetry
from tests.support.builders import TENANT, make_booking
from tests.support.counted import counted
from tests.support.stores import OpenStore, open_feed
from tests.unit.feed.reading import ALL, closing_of, kinds, numbered, rooms, token, watching, write

pytestmark = pytest.mark.looptime


async def test_unmapped_room_ends_the_watch_of_that_room(opened: OpenStore) -> None:
    """Its bookings leave first; there is nothing to resume."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    await opened.add_filled_room("r2", make_booking("c1"))
    async with (
        open_feed(opened.store, clock=opened.clock) as feed,
        watching(feed, rooms("r1")) as one,
        watching(feed, rooms("r1", "r2"), heartbeat_s=5.0) as two,
    ):
        await one.settle()
        await two.settle()
        await opened.store.rooms.unmap(TENANT, room.room_id, etag="")
        events = await one.rest()
        assert kinds(events) == ["Changed", "RoomUnmapped", "Closing"]
        assert [change.kind for change in events[0].changes] == [ChangeKind.LEFT_SCOPE]  # type: ignore[union-attr]
        assert (closing_of(events).reason, closing_of(events).cursor) == (ClosingReason.SCOPE_GONE, None)
        await two.until(Checkpoint)
        assert kinds(two.seen) == ["Changed", "RoomUnmapped", "Checkpoint"], "the other room goes on"


@pytest.mark.parametrize("scope", [ALL, rooms("r1"), rooms("r1", "r2")])
@pytest.mark.parametrize("is_behind", [False, True])
async def test_deleted_tenant_ends_every_watch(opened: OpenStore, scope: WatchScope, is_behind: bool) -> None:
    """Also of a reader so far behind that it reads the store, and long before the tenant is erased."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1")
    await opened.add_filled_room("r2")
    async with (
        open_feed(opened.store, clock=opened.clock, tail_count=100) as feed,
        watching(feed, scope, heartbeat_s=5.0) as stream,
    ):
        await stream.settle()
        for part in range(4 if is_behind else 0):
            await write(opened, room, *numbered(100, f"p{part}-"))
        await opened.store.lifecycle.delete(TENANT, etag="")
        if is_behind:
            await asyncio.sleep(2)
        events = await stream.rest()
        assert closing_of(events).reason is ClosingReason.SCOPE_GONE
        assert closing_of(events).cursor is None
        assert not any(isinstance(event, Checkpoint) for event in events)
        with pytest.raises(TenantNotFound):
            async with watching(feed, ALL) as again:
                await again.next()


async def test_draining_ends_watches_with_a_token_and_refuses_new_ones(opened: OpenStore) -> None:
    """A rollout costs a watcher one reconnect, and no change."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed) as stream:
        last = await stream.settle()
        waiting = asyncio.ensure_future(stream.next())
        await asyncio.sleep(1)
        feed.drain()
        async with asyncio.timeout(0.1):
            event = await waiting
        assert isinstance(event, Closing)
        assert (event.reason, event.cursor) == (ClosingReason.DRAINING, last.cursor)
        assert event.retry_after_s > 0
        assert await stream.rest() == []
        with pytest.raises(ServerDraining):
            async with watching(feed) as refused:
                await refused.next()
    await write(opened, room, make_booking("b1"))
    async with (
        open_feed(opened.store, clock=opened.clock) as feed,
        watching(feed, resume=token(event.cursor)) as stream,
    ):
        await stream.until(Changed)
        assert stream.keys() == ["b1"]


async def test_watch_drained_between_snapshots_resumes_there(opened: OpenStore) -> None:
    """A token is given where resuming is safe, whatever was still to come."""
    await opened.add_tenant()
    for number in range(4):
        await opened.add_filled_room(f"r{number}", make_booking(f"b{number}"))
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed) as stream:
        await stream.until(SnapshotEnds)
        feed.drain()
        closing = closing_of(await stream.rest())
    async with (
        open_feed(opened.store, clock=opened.clock) as feed,
        watching(feed, resume=token(closing.cursor)) as rest,
    ):
        await rest.until(Checkpoint)
        assert [*stream.rows(), *rest.rows()] == ["b0", "b1", "b2", "b3"]


async def test_old_watch_is_closed_with_a_token(opened: OpenStore) -> None:
    """Connections spread over new processes in the end."""
    await opened.add_tenant()
    async with open_feed(opened.store, clock=opened.clock, max_age_s=100.0) as feed, watching(feed) as stream:
        events = await stream.rest()
        assert closing_of(events).reason is ClosingReason.MAX_AGE
        assert closing_of(events).cursor is not None
        assert 100 < feed.clock.monotonic() < 120


async def test_watches_are_limited_and_given_back(opened: OpenStore) -> None:
    """A watch that ends, however it ends, makes place for another."""
    await opened.add_tenant()
    async with open_feed(opened.store, clock=opened.clock, watches_max=2) as feed:
        async with watching(feed) as one, watching(feed) as two:
            await one.settle()
            await two.settle()
            assert feed.watches_count == feed.tails.watchers_count == 2
            with pytest.raises(WatcherLimit):
                async with watching(feed) as three:
                    await three.next()
            await one.close()
            async with watching(feed) as four:
                await four.settle()
        with pytest.raises(RoomNotFound):
            async with watching(feed, rooms("nowhere")) as refused:
                await refused.next()
        assert feed.watches_count == feed.tails.watchers_count == 0


async def test_tokens_of_others_are_refused(opened: OpenStore) -> None:
    """A token is good for what it was given out for."""
    await opened.add_tenant()
    await opened.add_tenant("other")
    await opened.add_filled_room("r1")
    async with open_feed(opened.store, clock=opened.clock) as feed:
        async with watching(feed) as stream:
            saved = token((await stream.settle()).cursor)
        for scope in (rooms("r1"), WatchScope(tenant_id=TenantId("other"), room_ids=None)):
            with pytest.raises(ResumeTokenForeign):
                async with watching(feed, scope, resume=saved) as refused:
                    await refused.next()
        with pytest.raises(ResumeTokenMalformed):
            async with watching(feed, resume=saved[:-1]) as refused:
                await refused.next()


async def test_token_older_than_the_log_gives_snapshots_with_the_reason(opened: OpenStore) -> None:
    """A gap is told: as a new snapshot, or as an error if the reader asked for that; never as silence."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    async with open_feed(opened.store, clock=opened.clock) as feed:
        async with watching(feed) as stream:
            saved = token((await stream.settle()).cursor)
        await write(opened, room, make_booking("b2"), make_booking("b3"))
        await opened.store.changes.prune(room.tenant_uid, retention=timedelta(days=1), count_max=1)
        async with watching(feed, resume=saved) as stream:
            assert (await stream.until(SnapshotBegins)).reason is SnapshotReason.TOKEN_EXPIRED
            await stream.until(SnapshotEnds)
            assert stream.rows() == ["b1", "b2", "b3"]
        with pytest.raises(ResumeTokenExpired):
            async with watching(feed, resume=saved, fail_on_gap=True) as refused:
                await refused.next()


async def test_watches_are_counted_by_where_they_begin(opened: OpenStore) -> None:
    """An operator sees readers lose their place."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    telemetry = Telemetry()
    async with open_feed(opened.store, clock=opened.clock, telemetry=telemetry) as feed:
        async with watching(feed) as stream:
            saved = token((await stream.settle()).cursor)
        async with watching(feed, resume=saved) as stream:
            await stream.settle()
        await write(opened, room, make_booking("b2"), make_booking("b3"))
        await opened.store.changes.prune(room.tenant_uid, retention=timedelta(days=1), count_max=1)
        async with watching(feed, resume=saved) as stream:
            await stream.settle()
    assert counted(telemetry, "watches_begun") == {'how="new"': 1, 'how="resumed"': 1, 'how="gap"': 1}


async def test_token_of_a_former_tenant_of_the_same_id_is_a_gap(opened: OpenStore) -> None:
    """A tenant that was deleted and registered again begins a new log: nothing of it may be skipped."""
    tenant = await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking("old"))
    async with open_feed(opened.store, clock=opened.clock) as feed:
        async with watching(feed) as stream:
            saved = token((await stream.settle()).cursor)
        await opened.store.lifecycle.delete(TENANT, etag="")
        await opened.store.tenants.erase(tenant.uid)
        await opened.add_tenant()
        await opened.add_filled_room("r1", *numbered(9))
        async with watching(feed, resume=saved) as stream:
            await stream.until(SnapshotEnds)
            assert len(stream.rows()) == 9


@pytest.mark.parametrize("scope", [ALL, rooms("r1")])
async def test_watch_of_a_suspended_tenant_stays_and_is_told(opened: OpenStore, scope: WatchScope) -> None:
    """Suspending ends no watch: its reader hears that the room is paused, and later what changed."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1")
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed, scope) as stream:
        await stream.settle()
        await opened.store.lifecycle.suspend(TENANT, reason="unpaid")
        told = await stream.until(RoomChanged)
        assert told.room.state is RoomState.PAUSED
        checkpoint = await stream.until(Checkpoint)
        assert [feed.state(one) for one in checkpoint.rooms] == [SyncState.PAUSED]
        await opened.store.lifecycle.resume(TENANT)
        assert (await stream.until(RoomChanged)).room.state is RoomState.UP
        await write(opened, room, *numbered(1))
        assert len((await stream.until(Changed)).changes) == 1


async def test_token_from_before_a_deletion_that_was_taken_back_gets_snapshots(opened: OpenStore) -> None:
    """Its reader may have forgotten everything when the stream ended; going on from the token would leave a gap."""
    await opened.add_tenant()
    await opened.add_filled_room("r1", *numbered(3))
    async with open_feed(opened.store, clock=opened.clock) as feed:
        async with watching(feed) as stream:
            last = await stream.settle()
            await opened.store.lifecycle.delete(TENANT, etag="", grace=timedelta(days=1))
            assert closing_of(await stream.rest()).reason is ClosingReason.SCOPE_GONE
        await opened.store.lifecycle.undelete(TENANT)
        async with watching(feed, resume=token(last.cursor)) as again:
            assert (await again.until(SnapshotBegins)).reason is SnapshotReason.EPOCH_CHANGED
            await again.until(Checkpoint)
            assert len(again.rows()) == 3
        with pytest.raises(ResumeTokenExpired):
            async with watching(feed, resume=token(last.cursor), fail_on_gap=True) as strict:
                await strict.next()
