"""One watch: snapshots, changes, checkpoints and endings."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

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
from sidecar.model.ids import TenantId, TenantUid
from tests.support.builders import HORIZON, TENANT, make_booking, make_mapping, make_problem
from tests.support.stores import OpenStore, open_feed
from tests.unit.feed.reading import ALL, closing_of, kinds, rooms, token, watching, write

pytestmark = pytest.mark.looptime


def numbered(count: int, prefix: str = "b") -> list[Any]:  # bookings
    return [make_booking(f"{prefix}{number:04}") for number in range(count)]


async def test_watch_without_a_token_begins_with_a_snapshot_of_each_room(opened: OpenStore) -> None:
    """Rooms one after the other, each between its two marks, then a checkpoint that names all of them."""
    await opened.add_tenant()
    mapped = [await opened.add_filled_room("r1", *numbered(3)), await opened.add_filled_room("r2")]
    async with open_feed(opened.store, clock=opened.clock, batch_count_max=2) as feed, watching(feed) as stream:
        checkpoint = await stream.until(Checkpoint)
        assert kinds(stream.seen) == [
            "SnapshotBegins", "SnapshotRows", "SnapshotRows", "SnapshotEnds", "SnapshotBegins", "SnapshotEnds", "Checkpoint",
        ]  # fmt: skip
        begins, ends = stream.seen[0], stream.seen[3]
        assert isinstance(begins, SnapshotBegins)
        assert isinstance(ends, SnapshotEnds)
        assert (begins.reason, begins.coverage, begins.count) == (SnapshotReason.REQUESTED, HORIZON, 3)
        assert begins.snapshot_id == ends.snapshot_id
        assert stream.rows() == ["b0000", "b0001", "b0002"]
        assert ends.cursor.done == mapped[0].uid
        assert checkpoint.cursor.done is None
        assert [room.uid for room in checkpoint.rooms] == [room.uid for room in mapped]


async def test_snapshot_rows_are_cut_to_size(opened: OpenStore) -> None:
    """No message is longer than its limit, unless a single booking is."""
    await opened.add_tenant()
    bookings = [make_booking(f"b{number}", subject="x" * length) for number, length in enumerate((400, 400, 5000, 1))]
    await opened.add_filled_room("r1", *bookings)
    async with open_feed(opened.store, clock=opened.clock, batch_bytes_max=1024) as feed, watching(feed) as stream:
        await stream.until(SnapshotEnds)
        sizes = [len(getattr(event, "bodies", ())) for event in stream.seen[1:-1]]
        assert sizes == [1, 1, 1, 1]
        assert stream.rows() == ["b0", "b1", "b2", "b3"]


async def test_change_reaches_an_idle_watch_at_once(opened: OpenStore) -> None:
    """Neither polling nor the heartbeat is waited for."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed) as stream:
        await stream.settle()
        waiting = asyncio.ensure_future(stream.next())
        await asyncio.sleep(3)
        began_s = feed.clock.monotonic()
        await write(opened, room, make_booking("b1"))
        event = await waiting
        assert isinstance(event, Changed)
        assert [change.booking_key for change in event.changes] == ["b1"]
        assert event.cursor.revision == event.changes[-1].revision == await opened.head()
        assert feed.clock.monotonic() - began_s < 0.1


@pytest.mark.parametrize("turns", range(12))
async def test_entry_committed_while_the_watch_goes_to_sleep_is_not_missed(opened: OpenStore, turns: int) -> None:
    """Between the last look and the wait there is no moment in which a commit goes unheard."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed, rooms("r1")) as stream:
        await stream.settle()
        for number in range(20):
            waiting = asyncio.ensure_future(stream.next())
            for _ in range(turns):
                await asyncio.sleep(0)
            began_s = feed.clock.monotonic()
            await write(opened, room, make_booking(f"b{number}"))
            assert isinstance(await waiting, Changed)
            assert feed.clock.monotonic() - began_s < 0.1


async def test_quiet_watch_sends_checkpoints_at_its_heartbeat(opened: OpenStore) -> None:
    """Each carries a token, and one that has moved over entries the watch does not show."""
    await opened.add_tenant()
    await opened.add_filled_room("r1")
    other = await opened.add_filled_room("r2")
    async with (
        open_feed(opened.store, clock=opened.clock) as feed,
        watching(feed, rooms("r1"), heartbeat_s=7.0) as stream,
    ):
        await stream.settle()
        began_s = feed.clock.monotonic()
        await write(opened, other, make_booking("b1"))
        for beat in (1, 2, 3):
            event = await stream.next()
            assert isinstance(event, Checkpoint)
            assert feed.clock.monotonic() - began_s == pytest.approx(7.0 * beat, abs=0.5)
            assert event.cursor.revision == await opened.head()


async def test_busy_watch_sends_checkpoints_too(opened: OpenStore) -> None:
    """The heartbeat is a promise, not what happens when there is nothing else to do."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed, heartbeat_s=5.0) as stream:
        await stream.settle()
        began_s = feed.clock.monotonic()
        for number in range(40):
            await write(opened, room, make_booking(f"b{number}"))
            await stream.until(Changed)
            await asyncio.sleep(0.5)
        assert feed.clock.monotonic() - began_s >= 20
        assert 3 <= sum(isinstance(event, Checkpoint) for event in stream.seen) <= 5


async def test_checkpoint_comes_after_everything_its_states_rest_on(opened: OpenStore) -> None:
    """What the rooms' states were read after is sent first, though it was committed a moment ago and nobody was told yet."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed, heartbeat_s=5.0) as stream:
        await stream.settle()
        for number in range(60):
            writing = asyncio.ensure_future(write(opened, room, make_booking(f"b{number}")))
            checkpoint = await stream.until(Checkpoint)
            await writing
            view = await feed.view(room.tenant_uid, at_least=0)
            assert view.revision >= checkpoint.cursor.revision
        await stream.until(Checkpoint)
        assert stream.keys() == [f"b{number}" for number in range(60)]


async def never(tenant_uid: TenantUid) -> None:
    """Take nothing in."""


async def test_watch_whose_tail_lags_behind_still_sends_its_checkpoint(opened: OpenStore) -> None:
    """Where the log's newest entries have not been taken into memory yet, they are read from the store."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed, heartbeat_s=5.0) as stream:
        await stream.settle()
        feed.tails._refresh = never  # type: ignore[method-assign]
        await asyncio.sleep(4.5)
        await write(opened, room, make_booking("b1"))
        checkpoint = await stream.until(Checkpoint)
        assert stream.keys() == ["b1"]
        assert checkpoint.cursor.revision == await opened.head()


async def test_resumed_watch_goes_on_after_its_token(opened: OpenStore) -> None:
    """Nothing is repeated, nothing left out, and no snapshot is sent."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    async with open_feed(opened.store, clock=opened.clock) as feed:
        async with watching(feed) as stream:
            saved = (await stream.settle()).cursor
        await write(opened, room, *numbered(3))
        async with watching(feed, resume=token(saved)) as stream:
            await stream.until(Checkpoint)
            assert kinds(stream.seen) == ["Changed", "Checkpoint"]
            assert stream.keys() == ["b0000", "b0001", "b0002"]


async def test_watch_resumed_between_first_snapshots_sends_the_other_rooms(opened: OpenStore) -> None:
    """Rooms already sent get their changes, the others their snapshots."""
    await opened.add_tenant()
    first = await opened.add_filled_room("r1", make_booking("a1"))
    second = await opened.add_filled_room("r2", make_booking("b1"))
    async with open_feed(opened.store, clock=opened.clock) as feed:
        async with watching(feed) as stream:
            saved = (await stream.until(SnapshotEnds)).cursor
        await write(opened, first, make_booking("a2"))
        await write(opened, second, make_booking("b2"))
        async with watching(feed, resume=token(saved)) as stream:
            await stream.until(Checkpoint)
            assert stream.rows() == ["b1", "b2"]
            assert stream.keys() in (["a2"], ["a2", "b2"])
            assert stream.keys()[0] == "a2"


async def test_room_being_read_for_the_first_time_has_no_snapshot_yet(opened: OpenStore) -> None:
    """Half a copy would look like free time; the snapshot comes when the first read is complete."""
    await opened.add_tenant()
    room = await opened.add_room()
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed) as stream:
        checkpoint = await stream.until(Checkpoint)
        assert kinds(stream.seen) == ["Checkpoint"]
        assert [shown.uid for shown in checkpoint.rooms] == [room.uid]
        assert checkpoint.cursor.done is None
        await opened.fill(room, *numbered(2))
        await stream.until(RoomChanged)
        assert kinds(stream.seen[1:]) == ["SnapshotBegins", "SnapshotRows", "SnapshotEnds", "RoomChanged"]
        begins = stream.seen[1]
        assert isinstance(begins, SnapshotBegins)
        assert begins.reason is SnapshotReason.ROOM_ADDED
        assert stream.rows() == ["b0000", "b0001"]


async def test_thousands_of_rooms_being_read_do_not_hold_up_the_loop(opened: OpenStore) -> None:
    """A watch passes over rooms without a copy in one step, not in one for each pair of them."""
    await opened.add_tenant()
    await opened.store.rooms.map_all(TENANT, [make_mapping(f"r{number}") for number in range(3000)])
    await opened.add_filled_room("last", make_booking("b1"))
    looked = 0

    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed) as stream:
        plain = feed.view

        async def counted(*args: Any, **more: Any) -> Any:  # what `view` takes and gives
            nonlocal looked
            looked += 1
            return await plain(*args, **more)

        feed.view = counted  # type: ignore[method-assign]
        await stream.until(SnapshotEnds)
        assert stream.rows() == ["b1"]
        assert looked < 10


async def test_room_mapped_later_joins_a_watch_of_all_rooms_only(opened: OpenStore) -> None:
    """All rooms means those to come, too; a choice of rooms stays what it was."""
    await opened.add_tenant()
    await opened.add_filled_room("r1")
    async with (
        open_feed(opened.store, clock=opened.clock) as feed,
        watching(feed) as everything,
        watching(feed, rooms("r1"), heartbeat_s=5.0) as one,
    ):
        await everything.settle()
        await one.settle()
        await opened.add_filled_room("r2", make_booking("b1"))
        await everything.until(SnapshotEnds)
        assert kinds(everything.seen) == ["RoomChanged", "SnapshotBegins", "SnapshotRows", "SnapshotEnds"]
        assert isinstance(await one.next(), Checkpoint)


async def test_change_of_a_room_is_told_with_a_token(opened: OpenStore) -> None:
    """The room comes as it is now; a cause that comes and goes quickly may be seen once."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed) as stream:
        await stream.settle()
        await opened.store.rooms.set_problem(room.uid, make_problem(), lease=None)
        event = await stream.next()
        assert isinstance(event, RoomChanged)
        assert event.room == await opened.reload(room)
        assert event.cursor.revision == await opened.head()


async def test_resync_sends_the_room_anew(opened: OpenStore) -> None:
    """Watchers that doubt what they have get all of it."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed) as stream:
        await stream.settle()
        await opened.store.rooms.resync(TENANT, room.room_id)
        await opened.fill(room, make_booking("b1"), resyncs=1)
        begins = await stream.until(SnapshotBegins)
        assert begins.reason is SnapshotReason.RESYNCED
        ends = await stream.until(SnapshotEnds)
        assert stream.rows() == ["b1"]
        assert ends.cursor.revision == await opened.head()


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
        await opened.store.tenants.begin_delete(TENANT, etag="")
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


async def test_token_of_a_former_tenant_of_the_same_id_is_a_gap(opened: OpenStore) -> None:
    """A tenant that was deleted and registered again begins a new log: nothing of it may be skipped."""
    tenant = await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking("old"))
    async with open_feed(opened.store, clock=opened.clock) as feed:
        async with watching(feed) as stream:
            saved = token((await stream.settle()).cursor)
        await opened.store.tenants.begin_delete(TENANT, etag="")
        await opened.store.tenants.erase(tenant.uid)
        await opened.add_tenant()
        await opened.add_filled_room("r1", *numbered(9))
        async with watching(feed, resume=saved) as stream:
            await stream.until(SnapshotEnds)
            assert len(stream.rows()) == 9
