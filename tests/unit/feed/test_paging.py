"""The log by pages."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from sidecar.errors import ResumeTokenExpired, ResumeTokenForeign, RoomNotFound, ServerDraining, TenantNotFound
from sidecar.feed.events import Changed, SnapshotEnds
from sidecar.feed.feed import Feed, WatchScope
from sidecar.feed.paging import ChangesPage, read_changes
from sidecar.model.change import ChangeKind
from sidecar.model.ids import RoomUid
from tests.support.builders import TENANT, make_booking
from tests.support.stores import OpenStore, decoded, open_feed
from tests.unit.feed.reading import ALL, rooms, token, watching, write

pytestmark = pytest.mark.looptime


async def page(
    feed: Feed, resume: str, scope: WatchScope = ALL, *, count_max: int = 100, max_wait_s: float = 0.0
) -> ChangesPage:
    return await read_changes(feed, scope, resume_token=resume, count_max=count_max, max_wait_s=max_wait_s)


async def read_all(feed: Feed, resume: str, scope: WatchScope = ALL, *, count_max: int = 100) -> list[str]:
    """Read page after page until nothing more is there; return the keys in order."""
    found: list[str] = []
    while True:
        got = await page(feed, resume, scope, count_max=count_max)
        assert len(got.changes) <= count_max
        found += [str(change.booking_key) for change in got.changes]
        resume = token(got.cursor)
        if not got.is_more:
            return found


async def start(opened: OpenStore, feed: Feed, scope: WatchScope = ALL) -> str:
    """Return the token of a list that begins now."""
    return token(feed.cursor(scope, *await opened.store.changes.tenant_head(TENANT)))


@pytest.mark.parametrize("count_max", [1, 2, 3, 7, 100])
async def test_pages_give_every_change_once_in_order(opened: OpenStore, count_max: int) -> None:
    """However small the pages are."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1")
    other = await opened.add_filled_room("r2")
    async with open_feed(opened.store, clock=opened.clock) as feed:
        everything, one = await start(opened, feed), await start(opened, feed, rooms("r1"))
        for number in range(8):
            await write(opened, room if number % 2 else other, make_booking(f"b{number}"))
        assert await read_all(feed, everything, count_max=count_max) == [f"b{number}" for number in range(8)]
        assert await read_all(feed, one, rooms("r1"), count_max=count_max) == ["b1", "b3", "b5", "b7"]


@pytest.mark.parametrize("count_max", [1, 2, 3, 5, 100])
async def test_room_read_for_the_first_time_is_paged_as_changes(opened: OpenStore, count_max: int) -> None:
    """Its bookings have no entries of their own; they come in their place in the log."""
    await opened.add_tenant()
    old = await opened.add_filled_room("r1")
    async with open_feed(opened.store, clock=opened.clock) as feed:
        resume = await start(opened, feed)
        await write(opened, old, make_booking("before"))
        await opened.add_filled_room("r2", *(make_booking(f"n{number}") for number in range(5)))
        await write(opened, old, make_booking("behind"))
        expected = ["before", *(f"n{number}" for number in range(5)), "behind"]
        assert await read_all(feed, resume, count_max=count_max) == expected


async def test_read_waits_for_a_first_change(opened: OpenStore) -> None:
    """And not longer than asked; what concerns others does not end the wait."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1")
    other = await opened.add_filled_room("r2")
    async with open_feed(opened.store, clock=opened.clock) as feed:
        resume = await start(opened, feed, rooms("r1"))
        began_s = feed.clock.monotonic()
        empty = await page(feed, resume, rooms("r1"), max_wait_s=20.0)
        assert (list(empty.changes), empty.is_more) == ([], False)
        assert feed.clock.monotonic() - began_s == pytest.approx(20.0, abs=0.5)
        waiting = asyncio.ensure_future(page(feed, token(empty.cursor), rooms("r1"), max_wait_s=20.0))
        await asyncio.sleep(2)
        await write(opened, other, make_booking("foreign"))
        await asyncio.sleep(2)
        assert not waiting.done()
        await write(opened, room, make_booking("mine"))
        async with asyncio.timeout(0.1):
            got = await waiting
        assert [change.booking_key for change in got.changes] == ["mine"]
        assert got.cursor.revision == await opened.head()


async def test_waiting_read_is_answered_when_the_service_drains(opened: OpenStore) -> None:
    """A call does not hold up a shutdown."""
    await opened.add_tenant()
    async with open_feed(opened.store, clock=opened.clock) as feed:
        waiting = asyncio.ensure_future(page(feed, await start(opened, feed), max_wait_s=50.0))
        await asyncio.sleep(1)
        feed.drain()
        async with asyncio.timeout(0.1):
            assert list((await waiting).changes) == []


async def test_read_that_would_wait_is_sent_away_while_the_service_drains(opened: OpenStore) -> None:
    """Answered at once with nothing, its reader would be back at once, for as long as calls are still taken."""
    await opened.add_tenant()
    async with open_feed(opened.store, clock=opened.clock) as feed:
        token = await start(opened, feed)
        feed.drain()
        with pytest.raises(ServerDraining):
            await page(feed, token, max_wait_s=50.0)
        assert list((await page(feed, token, max_wait_s=0.0)).changes) == []


async def test_gap_is_always_an_error(opened: OpenStore) -> None:
    """A page has no way to say that rows are to be swept."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    async with open_feed(opened.store, clock=opened.clock) as feed:
        resume = await start(opened, feed)
        await write(opened, room, make_booking("b1"), make_booking("b2"))
        await opened.store.changes.prune(room.tenant_uid, retention=timedelta(days=1), count_max=1)
        with pytest.raises(ResumeTokenExpired):
            await page(feed, resume)
        with pytest.raises(ResumeTokenForeign):
            await page(feed, resume, rooms("r1"))


async def test_room_or_tenant_that_is_gone_is_told(opened: OpenStore) -> None:
    """The bookings leave in the reading of all rooms; a reader of the room itself learns that there is none."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    async with open_feed(opened.store, clock=opened.clock) as feed:
        everything, one = await start(opened, feed), await start(opened, feed, rooms("r1"))
        await opened.store.rooms.unmap(TENANT, room.room_id, etag="")
        got = await page(feed, everything)
        assert [(change.kind, change.booking_key) for change in got.changes] == [(ChangeKind.LEFT_SCOPE, "b1")]
        with pytest.raises(RoomNotFound):
            await page(feed, one, rooms("r1"))
        await opened.store.lifecycle.delete(TENANT, etag="")
        with pytest.raises(TenantNotFound):
            await page(feed, token(got.cursor))


@pytest.mark.parametrize("count_max", [1, 2, 100])
async def test_paging_goes_on_where_a_stream_was_cut_between_snapshots(opened: OpenStore, count_max: int) -> None:
    """The rooms that the stream had not sent are paged, then what has changed since."""
    await opened.add_tenant()
    first = await opened.add_filled_room("r1", make_booking("a1"))
    for number in (2, 3):
        await opened.add_filled_room(f"r{number}", make_booking(f"b{number}1"), make_booking(f"b{number}2"))
    await opened.add_room("importing")
    async with open_feed(opened.store, clock=opened.clock) as feed:
        async with watching(feed) as stream:
            saved = (await stream.until(SnapshotEnds)).cursor
        await write(opened, first, make_booking("a2"))
        assert await read_all(feed, token(saved), count_max=count_max) == ["b21", "b22", "b31", "b32", "a2"]


async def test_room_unmapped_while_it_is_paged_takes_nothing_from_the_next(opened: OpenStore) -> None:
    """A place within one room means nothing in another."""
    await opened.add_tenant()
    gone = await opened.add_filled_room("r1", *(make_booking(f"z{number}") for number in range(4)))
    await opened.add_filled_room("r2", make_booking("a1"), make_booking("a2"))
    async with open_feed(opened.store, clock=opened.clock) as feed:
        got = await page(
            feed,
            token(feed.cursor(ALL, *await opened.store.changes.tenant_head(TENANT), done=RoomUid(""))),
            count_max=2,
        )
        assert [change.booking_key for change in got.changes] == ["z0", "z1"]
        await opened.store.rooms.unmap(TENANT, gone.room_id, etag="")
        assert await read_all(feed, token(got.cursor)) == ["a1", "a2", "z0", "z1", "z2", "z3"]


async def test_watch_goes_on_where_paging_stopped_within_a_room(opened: OpenStore) -> None:
    """A watch sends the whole room, and its later tokens are not tied to the place that paging had come to."""
    await opened.add_tenant()
    await opened.add_filled_room("r1")
    async with open_feed(opened.store, clock=opened.clock) as feed:
        resume = await start(opened, feed)
        await opened.add_filled_room("r2", *(make_booking(f"m{number}") for number in range(4)))
        got = await page(feed, resume, count_max=3)
        assert len(got.changes) == 3
        async with watching(feed, resume=token(got.cursor)) as stream:
            checkpoint = await stream.settle()
        assert (checkpoint.cursor.room, checkpoint.cursor.key) == (None, None)
        await opened.add_filled_room("r3", make_booking("a0"), make_booking("z0"))
        assert await read_all(feed, token(checkpoint.cursor)) == ["a0", "z0"]


async def test_page_carries_the_bookings_own_revisions(opened: OpenStore) -> None:
    """A reader's revision guard works on pages as on streams."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1")
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed) as stream:
        await stream.settle()
        resume = await start(opened, feed)
        await write(opened, room, make_booking("b1"), make_booking("b2"))
        event = await stream.until(Changed)
        got = await page(feed, resume)
        assert [change.body for change in got.changes] == [change.body for change in event.changes]
        assert [decoded(change.body)["revision"] for change in got.changes] == [c.revision for c in got.changes]
