"""The newest entries in memory: readers that keep up are served from there, those that do not from the store."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from sidecar.errors import ResumeTokenExpired, StoreUnavailable
from sidecar.feed.events import Changed, Checkpoint, ClosingReason, SnapshotBegins, SnapshotEnds
from sidecar.feed.tail import Tail, Tails
from sidecar.model.change import Change, ChangeKind, SnapshotReason
from sidecar.model.ids import BookingKey, RoomUid, TenantId, TenantUid
from sidecar.store.changes import LogHead
from tests.support.builders import NOW, TENANT, make_booking
from tests.support.stores import OpenStore, open_feed
from tests.unit.feed.reading import closing_of, rooms, token, watching, write

pytestmark = pytest.mark.looptime


def entry(revision: int, room: str = "r1", kind: ChangeKind = ChangeKind.UPSERTED) -> Change:
    return Change(revision, RoomUid(room), kind, 0, BookingKey(f"b{revision}"), b"", NOW)


def revisions(entries: list[Change]) -> list[int]:
    return [item.revision for item in entries]


def test_full_ring_forgets_the_oldest_and_says_so() -> None:
    """A tail reaches back to what it forgot last, for the tenant and for each room."""
    tail = Tail(LogHead(10, 0), count_max=4)
    assert (tail.reaches(10), tail.reaches(9), tail.newest) == (True, False, 10)
    tail.add([entry(number, f"r{number % 2}") for number in range(11, 18)], LogHead(17, 0))
    assert (tail.reaches(13), tail.reaches(12), tail.newest) == (True, False, 17)
    assert revisions(tail.after(13, count_max=9, room_uid=None)) == [14, 15, 16, 17]
    assert revisions(tail.after(15, count_max=9, room_uid=None)) == [16, 17]
    assert revisions(tail.after(13, count_max=2, room_uid=None)) == [14, 15]
    assert revisions(tail.after(13, count_max=9, room_uid=RoomUid("r0"))) == [14, 16]
    assert revisions(tail.after(14, count_max=1, room_uid=RoomUid("r1"))) == [15]
    assert tail.after(17, count_max=9, room_uid=None) == []
    assert tail.after(99, count_max=9, room_uid=None) == []


def test_tail_that_begins_again_holds_nothing() -> None:
    """What was pruned unseen is not made up."""
    tail = Tail(LogHead(10, 0), count_max=4)
    tail.add([entry(11)], LogHead(11, 0))
    tail.skip_to(LogHead(20, 15))
    assert (tail.reaches(19), tail.reaches(20), tail.newest) == (False, True, 20)
    tail.add([entry(21)], LogHead(21, 15))
    assert revisions(tail.after(20, count_max=9, room_uid=None)) == [21]


def test_bells_ring_for_those_whom_it_concerns() -> None:
    """A watch of one room sleeps through what happens in others, but not through the end of the tenant."""
    tail = Tail(LogHead(0, 0), count_max=9)
    everything, one, other = (tail.bell(uid) for uid in (None, RoomUid("r1"), RoomUid("r2")))

    def rung() -> tuple[int, int, int]:
        return everything.version, one.version, other.version

    tail.add([entry(1, "r1"), entry(2, "r1")], LogHead(2, 0))
    assert rung() == (1, 1, 0)
    tail.add([entry(3, "r3")], LogHead(3, 0))
    assert rung() == (2, 1, 0)
    tail.add([], LogHead(3, 3))
    assert rung() == (2, 1, 0)
    tail.add([entry(4, "", ChangeKind.TENANT_DELETED)], LogHead(4, 0))
    assert rung() == (3, 2, 1)
    tail.add([], None)
    assert rung() == (4, 3, 2)


async def test_reader_that_fell_behind_the_ring_reads_the_store(opened: OpenStore) -> None:
    """Nothing is lost and nothing told twice, however slow a reader is."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    keys = [f"b{number:04}" for number in range(450)]
    async with open_feed(opened.store, clock=opened.clock, tail_count=100, batch_count_max=30) as feed:
        async with watching(feed) as slow, watching(feed, rooms("r1")) as slow_too, watching(feed) as quick:
            for stream in (slow, slow_too, quick):
                await stream.settle()
            for start in range(0, 450, 50):
                await write(opened, room, *(make_booking(key) for key in keys[start : start + 50]))
                while len(quick.keys()) < start + 50:
                    await quick.until(Changed)
            assert not feed.tails.tail(room.tenant_uid).reaches((await opened.head()) - 101)
            for stream in (slow, slow_too):
                while len(stream.keys()) < 450:
                    await stream.until(Changed)
        assert slow.keys() == slow_too.keys() == quick.keys() == keys


@pytest.mark.parametrize("fails", [False, True])
async def test_reader_that_the_log_was_pruned_past_is_told_of_the_gap(opened: OpenStore, fails: bool) -> None:
    """In the middle of a stream as at its beginning: a snapshot with its reason, or the error the reader asked for."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b0"))
    async with (
        open_feed(opened.store, clock=opened.clock, tail_count=100) as feed,
        watching(feed, fail_on_gap=fails) as stream,
    ):
        await stream.settle()
        for part in range(3):
            await write(opened, room, *(make_booking(f"p{part}-{number}") for number in range(100)))
        await asyncio.sleep(2)
        await opened.store.changes.prune(room.tenant_uid, retention=timedelta(days=1), count_max=10)
        if fails:
            with pytest.raises(ResumeTokenExpired):
                await stream.until(Checkpoint)
            return
        begins = await stream.until(SnapshotBegins)
        assert begins.reason is SnapshotReason.TOKEN_EXPIRED
        ends = await stream.until(SnapshotEnds)
        assert len(stream.rows()) == 301
        assert stream.keys() == []
        assert ends.cursor.revision == await opened.head()


async def test_entries_pruned_before_the_tail_saw_them_are_a_gap(opened: OpenStore) -> None:
    """A tail that was kept from reading (a database outage, say) does not pretend that nothing happened."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed) as stream:
        await stream.settle()
        plain = feed.tails._refresh

        async def stall(tenant_uid: TenantUid) -> None:
            """Take nothing in."""

        feed.tails._refresh = stall  # type: ignore[method-assign]
        await write(opened, room, make_booking("b1"), make_booking("b2"))
        await opened.store.changes.prune(room.tenant_uid, retention=timedelta(days=1), count_max=1)
        feed.tails._refresh = plain  # type: ignore[method-assign]
        feed.tails.note(room.tenant_uid)
        await stream.until(SnapshotEnds)
        assert stream.rows() == ["b1", "b2"]


async def test_subset_watch_moves_past_thousands_of_foreign_entries(opened: OpenStore) -> None:
    """Its own next change comes at once, and its token does not stay behind where the log would be pruned past it."""
    await opened.add_tenant()
    await opened.add_filled_room("r1")
    mine = await opened.add_filled_room("r2")
    foreign = await opened.add_filled_room("r3")
    async with (
        open_feed(opened.store, clock=opened.clock, tail_count=500) as feed,
        watching(feed, rooms("r1", "r2"), heartbeat_s=5.0) as stream,
    ):
        before = await stream.settle()
        for part in range(6):
            await write(opened, foreign, *(make_booking(f"p{part}-{number:04}") for number in range(500)))
        await write(opened, mine, make_booking("mine"))
        began_s = feed.clock.monotonic()
        event = await stream.next()
        assert feed.clock.monotonic() - began_s < 1
        if isinstance(event, Checkpoint):
            event = await stream.next()
        assert isinstance(event, Changed)
        assert [change.booking_key for change in event.changes] == ["mine"]
        assert event.cursor.revision == await opened.head() == before.cursor.revision + 3001
        async with watching(feed, rooms("r1", "r2"), resume=token(event.cursor)) as again:
            assert isinstance(await again.next(), Checkpoint)


async def test_failed_refresh_is_made_up_for_though_other_logs_are_busy(opened: OpenStore) -> None:
    """A tenant whose entries could not be read once is not forgotten until the next quiet second."""
    await opened.add_tenant()
    await opened.add_tenant("other")
    room = await opened.add_filled_room()
    noisy = await opened.add_room("r1", tenant_id=TenantId("other"))
    await opened.fill(noisy)
    tails = Tails(opened.store.changes, opened.store.epochs, count_max=100)
    refreshed: list[TenantUid] = []
    is_down = True
    plain = tails._refresh

    async def refresh(tenant_uid: TenantUid) -> None:
        if is_down:
            raise StoreUnavailable("the database is away")
        refreshed.append(tenant_uid)
        await plain(tenant_uid)

    tails._refresh = refresh  # type: ignore[method-assign]
    head = LogHead(await opened.head(), 0)
    with tails.watching(room.tenant_uid, head), tails.watching(noisy.tenant_uid, head):
        tails._dirty.clear()
        await write(opened, room, make_booking("b1"))
        tails.note(room.tenant_uid)
        with pytest.raises(StoreUnavailable):
            await tails.run(poll_s=1.0)
        is_down = False
        running = asyncio.ensure_future(tails.run(poll_s=1.0))
        for _ in range(5):
            tails.note(noisy.tenant_uid)
            await asyncio.sleep(0.5)
        running.cancel()
        assert room.tenant_uid in refreshed
        assert tails.tail(room.tenant_uid).newest == await opened.head()


async def test_tails_are_all_read_again_when_anything_may_be_new(opened: OpenStore) -> None:
    """What another process announced while nobody heard is found at once, not at the next look."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    tails = Tails(opened.store.changes, opened.store.epochs, count_max=100)
    with tails.watching(room.tenant_uid, LogHead(await opened.head(), 0)):
        running = asyncio.ensure_future(tails.run(poll_s=1_000.0))
        await asyncio.sleep(1.0)
        await write(opened, room, make_booking("b1"))
        tails.note(TenantUid(""))
        await asyncio.sleep(1.0)
        assert tails.tail(room.tenant_uid).newest == await opened.head()
        running.cancel()


async def test_tail_is_kept_while_somebody_watches(opened: OpenStore) -> None:
    """Memory is spent on watched tenants only."""
    tenant = await opened.add_tenant()
    async with open_feed(opened.store, clock=opened.clock) as feed:
        async with watching(feed) as one:
            await one.settle()
            async with watching(feed) as two:
                await two.settle()
                assert feed.tails.watchers_count == 2
            feed.tails.tail(tenant.uid)
        with pytest.raises(KeyError):
            feed.tails.tail(tenant.uid)
        assert feed.tails.watchers_count == 0


async def test_room_unmapped_in_a_gap_ends_its_watch(opened: OpenStore) -> None:
    """The entry that said so is gone with the gap; the watch of a room that is not there would be silent for ever."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed, rooms("r1")) as stream:
        await stream.settle()
        plain = feed.tails._refresh

        async def stall(tenant_uid: TenantUid) -> None:
            """Take nothing in."""

        feed.tails._refresh = stall  # type: ignore[method-assign]
        await opened.store.rooms.unmap(TENANT, room.room_id, etag="")
        await opened.add_room("r2")
        await opened.store.changes.prune(room.tenant_uid, retention=timedelta(days=1), count_max=0)
        feed.tails._refresh = plain  # type: ignore[method-assign]
        feed.tails.note(room.tenant_uid)
        events = await stream.rest()
        assert closing_of(events).reason is ClosingReason.SCOPE_GONE
        assert len(events) == 1, "nothing follows the closing"
