"""A token belongs to one log: that of a tenant, since it was registered, in a store, since it was restored."""

from __future__ import annotations

import pytest

from sidecar.errors import ResumeTokenExpired
from sidecar.feed.events import Checkpoint, SnapshotBegins
from sidecar.model.change import SnapshotReason
from tests.support.builders import TENANT, make_booking
from tests.support.stores import OpenStore, open_feed
from tests.unit.feed.reading import numbered, token, watching, write

pytestmark = pytest.mark.looptime


async def _registered_anew(opened: OpenStore) -> None:
    """Delete the tenant, register it again, and let its new log grow beyond the old one."""
    old = await opened.store.tenants.begin_delete(TENANT, etag="")
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
        old_epoch = feed.epoch_of(await opened.tenant_uid())
        await _registered_anew(opened)
        assert await opened.head() > checkpoint.cursor.revision
        async with watching(feed, resume=token(checkpoint.cursor)) as stream:
            begins = await stream.until(SnapshotBegins)
            assert begins.reason is SnapshotReason.EPOCH_CHANGED
        assert feed.epoch_of(await opened.tenant_uid()) != old_epoch


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
