"""Bookings that Exchange has made, and something fails before that is noted: nobody is told that nothing was done."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from sidecar.errors import OutcomeUnknown
from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Booking
from sidecar.model.privacy import Privacy, Visibility
from sidecar.model.tenant_settings import TenantSettings
from sidecar.model.write import WriteState
from tests.contract.writes.test_creating import desk_set, unanswered
from tests.contract.writes.test_inviting import invite, organizers_events
from tests.support.builders import TENANT

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize("status", [400, 403, 429])
async def test_series_in_a_persons_calendar_that_cannot_be_read_at_once_is_made_once(
    tmp_path: Path, status: int
) -> None:
    """Its occurrences are read for the booking's name; whatever that meets, the series is there."""
    async with desk_set(tmp_path) as desk:
        fault = {
            "match": {"path": "/instances", "count": 1},
            "effect": {"status": status, "headers": {"Retry-After": "60"}, "body": '{"error": {"code": "ErrorX"}}'},
        }
        await desk.rig.told("POST", "/control/faults", fault)
        with pytest.raises(OutcomeUnknown):
            await invite(desk, rrule="FREQ=DAILY;COUNT=3")
        await asyncio.sleep(61.0)
        assert (await invite(desk, rrule="FREQ=DAILY;COUNT=3")).booking.state == Booking.STATE_CONFIRMED
        assert len(await organizers_events(desk.rig)) == 3, "its days, once"


async def test_booking_whose_words_cannot_be_hashed_is_made_once(tmp_path: Path) -> None:
    """The key ring lacks the key of the tenant's hashes for a while: Exchange has the booking by then."""
    async with desk_set(tmp_path) as desk:
        settings = TenantSettings(privacy=Privacy(subject=Visibility.HASHED))
        store = desk.mirror.opened.store
        await store.tenants.update(TENANT, lambda name, _: (name, settings), etag="")
        await desk.mirror.reloaded()
        await desk.mirror.compare()
        (kept,) = await desk.mirror.opened.fetch("SELECT hash_key FROM tenants")

        async def lose() -> None:
            await desk.mirror.opened.execute("UPDATE tenants SET hash_key = $1", b"spoiled" + bytes(kept[0])[7:])

        desk.after("POST", lose)
        with pytest.raises(OutcomeUnknown):
            await desk.create()
        assert len(await desk.rig.truth()) == 1
        await desk.mirror.opened.execute("UPDATE tenants SET hash_key = $1", bytes(kept[0]))
        assert (await desk.create()).booking.state == Booking.STATE_CONFIRMED
        assert len(await desk.rig.truth()) == 1


async def test_write_under_way_when_its_tenant_was_deleted_is_settled_after_the_deletion_was_taken_back(
    tmp_path: Path,
) -> None:
    """All that was due went with the deletion; nobody has to ask again for it to be looked at."""
    async with desk_set(tmp_path) as desk:
        await unanswered(desk, is_done=True)
        lifecycle = desk.mirror.opened.store.lifecycle
        await lifecycle.delete(desk.mirror.tenant.tenant_id, etag="", grace=timedelta(days=7))
        await desk.mirror.advance(60)
        await lifecycle.undelete(desk.mirror.tenant.tenant_id)
        await desk.mirror.advance(60)
        assert await desk.resume() == [None]
        assert (await desk.ended()).state is WriteState.DONE
