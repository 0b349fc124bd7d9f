"""Pruning beside readers: nobody is held back for them, and none of them is misled.

A snapshot is read by key, page by page, from rows that pruning does not touch. What it can take is the changes that are to
follow the snapshot; then the floor lies beyond the reader's position, and the reader begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from sidecar.errors import ResumeTokenExpired
from sidecar.feed.events import Checkpoint, SnapshotBegins, SnapshotEnds, SnapshotRows
from sidecar.feed.feed import Feed
from sidecar.feed.paging import read_changes
from sidecar.model.change import SnapshotReason
from tests.support.builders import TENANT, always, make_booking, removal
from tests.support.rule_mirror import Mirror
from tests.support.stores import OpenStore, decoded, open_feed
from tests.unit.feed.reading import ALL, Stream, numbered, token, watching, write

pytestmark = pytest.mark.looptime


async def prune(opened: OpenStore) -> None:
    """Drop the whole log."""
    await opened.store.changes.prune(await opened.tenant_uid(), retention=timedelta(days=1), count_max=0)


def copy_of(stream: Stream) -> set[str]:
    """Return the keys of the bookings that a reader holds who followed the rules."""
    mirror = Mirror()
    for event in stream.seen:
        mirror.apply(event)
    return {decoded(body)["key"] for body in mirror.rows.values()}


def reasons(stream: Stream) -> list[tuple[str, SnapshotReason]]:
    """Return which rooms' snapshots began, and why."""
    return [(event.room.room_id, event.reason) for event in stream.seen if isinstance(event, SnapshotBegins)]


@asynccontextmanager
async def feed_over(opened: OpenStore, tail_count: int) -> AsyncIterator[Feed]:
    """Run a feed that remembers so many entries; the settings' least would serve these tests from memory."""
    async with open_feed(opened.store, clock=opened.clock, batch_count_max=2) as feed:
        feed.tails._count_max = tail_count
        yield feed


@pytest.mark.parametrize("tail_count", [1, 100])
async def test_what_is_removed_and_pruned_during_a_snapshot_does_not_stay_with_its_reader(
    opened: OpenStore, tail_count: int
) -> None:
    """The removal of a row already sent is told from memory, or is gone, and then the snapshot comes again without it."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", *numbered(9))
    async with feed_over(opened, tail_count) as feed, watching(feed) as stream:
        await stream.until(SnapshotRows)
        assert stream.rows() == ["b0000", "b0001"]
        await opened.store.calendars.apply(room, always(removal("b0000"), removal("b0005")), lease=None)
        await write(opened, room, make_booking("a-new"), make_booking("c-new"))
        await asyncio.sleep(2)  # the tail has read it
        await prune(opened)
        await stream.until(Checkpoint)
        again = [("r1", SnapshotReason.TOKEN_EXPIRED)] if tail_count == 1 else []
        assert reasons(stream) == [("r1", SnapshotReason.REQUESTED), *again]
        assert copy_of(stream) == {f"b{number:04}" for number in (1, 2, 3, 4, 6, 7, 8)} | {"a-new", "c-new"}


async def test_what_is_pruned_during_a_snapshot_and_older_than_it_is_not_missed(opened: OpenStore) -> None:
    """Pruning up to the snapshot's own position takes nothing that the reader still needs: it is not sent twice."""
    await opened.add_tenant()
    await opened.add_filled_room("r1", *numbered(9))
    async with feed_over(opened, 1) as feed, watching(feed) as stream:
        await stream.until(SnapshotRows)
        await prune(opened)
        await stream.until(Checkpoint)
        assert reasons(stream) == [("r1", SnapshotReason.REQUESTED)]
        assert len(copy_of(stream)) == 9


async def test_reader_between_two_rooms_begins_with_the_first_again(opened: OpenStore) -> None:
    """What changed in a room that was done is lost to it: the room is sent again, not only those to come."""
    await opened.add_tenant()
    first = await opened.add_filled_room("r1", make_booking("b1"))
    await opened.add_filled_room("r2", make_booking("b2"))
    await opened.add_filled_room("r3", make_booking("b3"))
    async with feed_over(opened, 1) as feed:
        async with watching(feed) as stream:
            saved = (await stream.until(SnapshotEnds)).cursor
            await opened.store.calendars.apply(first, always(removal("b1")), lease=None)
            await write(opened, first, make_booking("c1"))
            await asyncio.sleep(2)  # as above
            await prune(opened)
            await stream.until(Checkpoint)
            expired = SnapshotReason.TOKEN_EXPIRED
            assert reasons(stream) == [
                ("r1", SnapshotReason.REQUESTED), ("r1", expired), ("r2", expired), ("r3", expired),
            ]  # fmt: skip
            assert copy_of(stream) == {"b2", "b3", "c1"}
        async with watching(feed, resume=token(saved)) as again:
            assert (await again.until(SnapshotBegins)).reason is SnapshotReason.TOKEN_EXPIRED
            await again.until(Checkpoint)
            assert again.rows() == ["c1", "b2", "b3"]


async def test_page_by_page_reader_within_a_room_is_told(opened: OpenStore) -> None:
    """It cannot be sent rows again, so it gets the error and lists."""
    await opened.add_tenant()
    await opened.add_filled_room("r1")
    async with open_feed(opened.store, clock=opened.clock) as feed:
        resume = token(feed.cursor(ALL, *await opened.store.changes.tenant_head(TENANT)))
        room = await opened.add_filled_room("r2", *numbered(6))
        page = await read_changes(feed, ALL, resume_token=resume, count_max=3, max_wait_s=0.0)
        assert [change.booking_key for change in page.changes] == ["b0000", "b0001", "b0002"]
        await opened.store.calendars.apply(room, always(removal("b0001")), lease=None)
        await prune(opened)
        with pytest.raises(ResumeTokenExpired):
            await read_changes(feed, ALL, resume_token=token(page.cursor), count_max=3, max_wait_s=0.0)
