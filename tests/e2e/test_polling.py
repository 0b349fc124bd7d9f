"""Without a webhook: Exchange tells of nothing, the rooms say so, and their changes come all the same."""

from __future__ import annotations

import pytest
from exchange_client import ExchangeClient, Reconnected
from exchange_client.messages import Room, SyncState, Tenant

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK
from tests.support.processes import eventually, service_started
from tests.support.scene import Scene, directory_made, prove_copy, tomorrow

pytestmark = pytest.mark.e2e

NO_WEBHOOK = {"WEBHOOK__PUBLIC_URL": "", "SYNC__POLL_MIN_S": "0.5", "SYNC__POLL_MAX_S": "2"}


async def test_room_without_webhooks_says_polling_and_follows_its_calendar(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    with service_started(tmp_path_factory.mktemp("s"), emulator, **QUICK, **NO_WEBHOOK) as service:
        async with directory_made(emulator, rooms=2) as directory, ExchangeClient.connect(service.target) as client:
            scene = Scene(service, client, directory, tenant_id=f"t-{directory.id[:8]}")
            await scene.register()
            await scene.state(Tenant.STATE_ACTIVE)
            await scene.map_all()

            async def all_polling() -> bool:
                rooms = [room async for room in client.list_rooms(scene.tenant)]
                return all(
                    (room.state, room.sync.state) == (Room.STATE_UP, SyncState.SYNC_STATE_POLLING) for room in rooms
                )

            await eventually(all_polling, "every room is up and says POLLING", service=service)
            assert await directory.subscribed() == []
            async with scene.watching() as watcher:
                meeting = (await directory.book(scene.mailbox(0), tomorrow(9)))["meeting"]
                await directory.book(scene.mailbox(1), tomorrow(9))
                await scene.converged(watcher)
                await directory.act("move", meeting=meeting, start=f"{tomorrow(11):%FT%T}", end=f"{tomorrow(12):%FT%T}")
                await scene.converged(watcher)
                await directory.act("cancel", meeting=meeting)
                await scene.converged(watcher)
                assert watcher.mirror.bookings(scene.room(0)) == []
                told = [
                    message.checkpoint.sync.state
                    for message in watcher.messages
                    if not isinstance(message, Reconnected) and message.HasField("checkpoint")
                ]
                assert set(told) == {SyncState.SYNC_STATE_POLLING}
            assert await service.metric("delta_checks_total") > 0
            assert await service.metric("unannounced_changes_total") == 0  # nobody had promised to announce them
            await prove_copy(scene)
