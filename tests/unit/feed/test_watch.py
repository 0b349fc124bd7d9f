"""One watch: snapshots, changes and checkpoints."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.feed.events import (
    Changed,
    Checkpoint,
    RoomChanged,
    SnapshotBegins,
    SnapshotEnds,
)
from sidecar.model.change import SnapshotReason
from sidecar.model.ids import TenantUid
from tests.support.builders import HORIZON, TENANT, make_booking, make_mapping, make_problem
from tests.support.stores import OpenStore, open_feed
from tests.unit.feed.reading import kinds, numbered, rooms, token, watching, write

pytestmark = pytest.mark.looptime


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


async def test_changes_are_live_for_a_reader_that_had_read_everything(opened: OpenStore) -> None:
    """What a reader is sent while it catches up says nothing about how quick the service is."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1")
    async with open_feed(opened.store, clock=opened.clock) as feed:
        async with watching(feed) as stream:
            before = await stream.settle()
            await write(opened, room, make_booking("b1"))
            assert (await stream.until(Changed)).is_live
        async with watching(feed, resume=token(before.cursor)) as stream:
            assert not (await stream.until(Changed)).is_live
            await stream.settle()
            await write(opened, room, make_booking("b2"))
            assert (await stream.until(Changed)).is_live


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
