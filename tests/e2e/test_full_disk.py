"""A disk without room: nothing is promised that cannot be kept, the process lives on, and recovers by itself."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from exchange_client import Unavailable
from exchange_client.messages import Room

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK
from tests.support.processes import Service, eventually, service_started
from tests.support.scene import prove_copy, scene_set, tomorrow

pytestmark = pytest.mark.e2e

CHECKPOINT_BYTES = 1_000 * 4_096
"""Where SQLite writes its log back into the database."""


@contextmanager
def no_room(service: Service) -> Iterator[None]:
    """Let the database's write-ahead log not grow any more: to the process, a disk that is full.

    The log file of the service is shorter than that, and goes on.
    """
    pid = service.process.pid
    written = service.database.with_name(service.database.name + "-wal").stat().st_size
    assert written < CHECKPOINT_BYTES, (
        "SQLite begins the log anew after a checkpoint, and needs no more room for a while"
    )
    assert written > 4 * service.log_file.stat().st_size, "the limit would meet the log as well"
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (written, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def own_service(tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator) -> Iterator[Service]:
    """Give a service whose tenants are worked for again soon after a failure: their lease has to run out first."""
    with service_started(tmp_path_factory.mktemp("s"), emulator, **QUICK, TASKS__LEASE_S="3") as running:
        yield running


async def test_full_disk_refuses_what_it_cannot_keep_and_loses_nothing(
    own_service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(own_service, emulator, rooms=16) as scene, scene.watching() as watcher:
        first = await scene.directory.book(scene.mailbox(), tomorrow())
        await scene.converged(watcher)
        window = tomorrow(0), tomorrow(0, days=2)
        with no_room(own_service):
            known = len(await scene.directory.deliveries())
            await scene.directory.book(scene.mailbox(1), tomorrow())
            await scene.directory.act("cancel", meeting=first["meeting"])

            async def refused() -> bool:
                sent = await scene.directory.deliveries(after=known)
                assert not [one for one in sent if one["outcome"] == "accepted"], (
                    "nothing may be taken that is not kept"
                )
                return any(one["status"] == 503 for one in sent)

            await eventually(refused, "Exchange is told to come again", service=own_service)
            assert await own_service.metric("notifications_not_stored_total") > 0
            with pytest.raises(Unavailable) as unavailable:
                await scene.client.map_room(scene.tenant, "one-more", "one-more@contoso.example")
            assert unavailable.value.reason == "STORE_UNAVAILABLE"
            assert "disk" not in unavailable.value.message
            with pytest.raises(Unavailable):
                await scene.client.unmap_room(scene.room(2))
            # Reading goes on, and nothing that was refused has happened.
            assert len((await scene.client.list_bookings(scene.room(), *window)).bookings) == 1
            assert (await scene.client.get_room(scene.room(2))).state == Room.STATE_UP
            assert await own_service.is_ready()
            assert own_service.process.poll() is None
        await scene.converged(watcher)
        assert watcher.mirror.bookings(scene.room(0)) == []
        assert len(watcher.mirror.bookings(scene.room(1))) == 1
        await scene.client.unmap_room(scene.room(2))
        del scene.rooms[scene.room(2)]
        await prove_copy(scene)
