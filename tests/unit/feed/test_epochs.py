"""A token belongs to one log: that of a tenant, since it was registered, in a store, since it was restored."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sidecar.errors import ResumeTokenExpired
from sidecar.feed.events import Changed, Checkpoint, SnapshotBegins, SnapshotEnds
from sidecar.feed.gaps import epoch_of
from sidecar.feed.paging import read_changes
from sidecar.model.change import SnapshotReason
from sidecar.model.ids import TenantUid
from tests.support.builders import TENANT, make_booking
from tests.support.stores import OpenStore, open_feed
from tests.unit.feed.reading import ALL, kinds, numbered, rooms, token, watching, write

pytestmark = pytest.mark.looptime


async def _registered_anew(opened: OpenStore) -> None:
    """Delete the tenant, register it again, and let its new log grow beyond the old one."""
    old = await opened.store.lifecycle.delete(TENANT, etag="")
    await opened.store.tenants.erase(old.uid)
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b2"))
    await write(opened, room, *numbered(20, "c"))


async def test_token_of_a_tenant_registered_anew_gets_a_snapshot(opened: OpenStore) -> None:
    """Its log begins at revision 1 again; a position in the old one means nothing there, however far it has come."""
    await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking("b1"))
    async with open_feed(opened.store, clock=opened.clock) as feed:
        async with watching(feed) as before:
            checkpoint = await before.until(Checkpoint)
        await _registered_anew(opened)
        assert await opened.head() > checkpoint.cursor.revision
        async with watching(feed, resume=token(checkpoint.cursor)) as stream:
            begins = await stream.until(SnapshotBegins)
            assert begins.reason is SnapshotReason.EPOCH_CHANGED
            assert begins.epoch != epoch_of(checkpoint.cursor)


async def test_token_of_a_tenant_registered_anew_fails_if_asked_to(opened: OpenStore) -> None:
    """Never a silent jump."""
    await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking("b1"))
    async with open_feed(opened.store, clock=opened.clock) as feed:
        async with watching(feed) as before:
            checkpoint = await before.until(Checkpoint)
        await _registered_anew(opened)
        async with watching(feed, resume=token(checkpoint.cursor), fail_on_gap=True) as stream:
            with pytest.raises(ResumeTokenExpired):
                await stream.until(Checkpoint)


@pytest.mark.parametrize("only_room", [False, True])
async def test_open_watch_begins_anew_when_its_epoch_is_renewed(opened: OpenStore, only_room: bool) -> None:
    """It need not reconnect: the snapshots come in the stream, in the new epoch, and its tokens are of that."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    scope = rooms("r1") if only_room else ALL
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed, scope) as stream:
        before = await stream.settle()
        await opened.store.epochs.renew(TENANT)
        begins = await stream.until(SnapshotBegins)
        assert (begins.reason, begins.room.uid) == (SnapshotReason.EPOCH_CHANGED, room.uid)
        assert begins.epoch != epoch_of(before.cursor)
        ends = await stream.until(SnapshotEnds)
        assert epoch_of(ends.cursor) == begins.epoch
        assert stream.rows() == ["b1"]
        await stream.settle()
        await write(opened, room, make_booking("b2"))
        changed = await stream.until(Changed)
        assert epoch_of(changed.cursor) == begins.epoch
        assert stream.keys() == ["b2"]


async def test_open_watch_that_wants_no_gaps_ends_with_the_error(opened: OpenStore) -> None:
    """As at its beginning."""
    await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking("b1"))
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed, fail_on_gap=True) as stream:
        await stream.settle()
        await opened.store.epochs.renew(TENANT)
        with pytest.raises(ResumeTokenExpired):
            await stream.until(SnapshotBegins)


async def test_page_by_page_reader_is_told_of_a_renewed_epoch(opened: OpenStore) -> None:
    """At its next page, and within the one that it waits for."""
    await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking("b1"))
    async with open_feed(opened.store, clock=opened.clock) as feed:
        resume = token(feed.cursor(ALL, *await opened.store.changes.tenant_head(TENANT)))
        waiting = asyncio.ensure_future(read_changes(feed, ALL, resume_token=resume, count_max=9, max_wait_s=50.0))
        await asyncio.sleep(3)
        assert not waiting.done()
        await opened.store.epochs.renew()
        with pytest.raises(ResumeTokenExpired):
            await waiting
        with pytest.raises(ResumeTokenExpired):
            await read_changes(feed, ALL, resume_token=resume, count_max=9, max_wait_s=0.0)


async def test_watch_of_the_new_epoch_never_reads_a_tail_of_the_old_one(opened: OpenStore) -> None:
    """A process that has not heard of the renewal yet asks the store, instead of sending its reader back and forth."""
    await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking("b1"))
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed) as old:
        await old.settle()
        plain = feed.tails._refresh

        async def stall(tenant_uid: TenantUid) -> None:
            """Take nothing in."""

        feed.tails._refresh = stall  # type: ignore[method-assign]
        await opened.store.epochs.renew()
        async with watching(feed) as new:
            begins = await new.until(SnapshotBegins)
            await new.until(Checkpoint)
            feed.tails._refresh = plain  # type: ignore[method-assign]
            feed.tails.note(await opened.tenant_uid())
            again = await new.until(Checkpoint)
            assert epoch_of(again.cursor) == begins.epoch
            assert kinds(new.seen).count("SnapshotBegins") == 1
        assert (await old.until(SnapshotBegins)).epoch == begins.epoch


async def test_token_from_the_future_renews_the_epoch(opened: OpenStore) -> None:
    """It proves that the database went back: what its reader holds has revisions that are about to be given again."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed) as other:
        known = await other.settle()
        future = token(replace(known.cursor, revision=known.cursor.revision + 50))
        for _ in range(2):  # the second time the token is merely one of an epoch that is over
            async with watching(feed, resume=future) as stream:
                begins = await stream.until(SnapshotBegins)
                assert begins.reason is SnapshotReason.EPOCH_CHANGED
                assert begins.epoch != epoch_of(known.cursor)
        assert (await other.until(SnapshotBegins)).epoch == begins.epoch
        with pytest.raises(ResumeTokenExpired):
            await read_changes(feed, ALL, resume_token=future, count_max=9, max_wait_s=0.0)
        assert room.uid in {intent.key for intent in await opened.store.intents.due(room.tenant_uid, count_max=9)}


async def test_log_that_goes_back_beneath_a_watch_is_a_new_epoch(opened: OpenStore) -> None:
    """A database server can be restored while the service runs; nobody's position means what it meant."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    head = await opened.head()
    async with open_feed(opened.store, clock=opened.clock) as feed, watching(feed) as stream:
        await write(opened, room, make_booking("lost"))
        before = await stream.settle()
        await opened.execute("DELETE FROM bookings WHERE key = $1", "lost")
        await opened.execute("DELETE FROM changes WHERE revision > $1", head)
        await opened.execute("UPDATE tenants SET revision = $1", head)
        begins = await stream.until(SnapshotBegins)
        assert begins.reason is SnapshotReason.EPOCH_CHANGED
        assert begins.epoch != epoch_of(before.cursor)
        await stream.until(SnapshotEnds)
        assert stream.rows() == ["b1"]
        await write(opened, room, make_booking("b2"))
        await stream.until(Changed)
        assert stream.keys() == ["b2"]
