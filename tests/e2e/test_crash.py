"""Power cuts: kill -9 of the service and of watchers, at any moment, loses nothing and invents nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from random import Random, SystemRandom

import pytest
from exchange_client import FileTokenStore, Reconnected, Unavailable

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK, store_of
from tests.support.processes import Service, eventually, service_started
from tests.support.promises import prove_promises
from tests.support.restless import RestlessWatcher, background
from tests.support.scene import Scene, Watcher, scene_set, tomorrow
from tests.support.stores import ENGINES
from tests.support.truth import ZONE

pytestmark = pytest.mark.e2e

KILLS = 7
WATCHER_KILLS = 3
NO_COMPARE = {"SYNC__COMPARE_INTERVAL_S": "80000", "SYNC__CHECK_INTERVAL_S": "80000"}
"""So rarely that only marks and notifications can have brought a change."""


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Give the settings of each database."""
    with store_of(request.param) as settings:
        yield settings


async def test_kills_at_random_moments_lose_no_change_and_repeat_none_wrongly(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, store: dict[str, str]
) -> None:
    seed = SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    rng = Random(seed)
    folder = tmp_path_factory.mktemp("s")
    with service_started(folder, emulator, **QUICK, **NO_COMPARE, **store) as service:
        async with scene_set(service, emulator, rooms=6) as scene:
            async with scene.watching(store=FileTokenStore(folder / "tokens")) as watcher, scene.watching() as other:
                restless = RestlessWatcher(scene, folder, rng)
                office = scene.office(rng)
                async with background(office.work(120.0, pause_s=0.25), restless.run()):
                    for number in range(KILLS):
                        if number % 2:  # else a kill may come before the watcher is back
                            await hears_more(watcher, service)
                        await asyncio.sleep(rng.random() * 1.2)
                        if number % 3 == 1:
                            await map_one_more(scene)  # so that some kills meet a first read, or a handshake
                            await asyncio.sleep(rng.random() * 0.1)
                        await asyncio.to_thread(service.kill)
                        await asyncio.to_thread(service.start)
                await scene.settled_rooms()
                await scene.converged(watcher, other, deadline_s=60.0)
                assert await scene.directory.subscribed() == sorted(scene.rooms.values())
                await restless.catch_up()
                await prove_promises(scene, watcher, other)
            assert restless.kills_count >= WATCHER_KILLS
            assert sum(isinstance(message, Reconnected) for message in watcher.messages) >= KILLS // 2
            print(f"{office.actions_count} actions, {KILLS} kills, {restless.kills_count} kills of a watcher")


async def hears_more(watcher: Watcher, service: Service) -> None:
    """Wait until the watcher is told something."""
    known = len(watcher.messages)
    await eventually(lambda: len(watcher.messages) > known, "the watcher is told something", service=service)


async def map_one_more(scene: Scene) -> None:
    """Map another room with a booking in it; the service has just been started and may not be connected yet."""
    (mailbox,) = await scene.directory.add_rooms(1, time_zone=ZONE)
    await scene.directory.book(mailbox, tomorrow())

    async def mapped() -> bool:
        try:
            await scene.map_all()
        except Unavailable:
            return False
        return True

    await eventually(mapped, "the room is mapped", service=scene.service)


async def test_notification_taken_right_before_the_kill_is_not_lost(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, store: dict[str, str]
) -> None:
    settings = QUICK | NO_COMPARE | store | {"SYNC__SETTLE_S": "3"}  # taken, but not read yet
    with service_started(tmp_path_factory.mktemp("s"), emulator, **settings) as service:
        async with scene_set(service, emulator, processing_delay_s=0) as scene, scene.watching() as watcher:
            for count in range(1, 3):
                known = len(await scene.directory.deliveries())
                await scene.directory.book(scene.mailbox(), tomorrow(9 + count))
                await eventually(partial(is_accepted, scene, known), "it is accepted", service=service)
                await asyncio.to_thread(service.kill)
                await scene.directory.call("POST", "deliveries/drop")  # nobody says it a second time
                asked = len(await scene.directory.requests())
                await asyncio.to_thread(service.start)
                assert len(watcher.mirror.bookings(scene.room())) == count - 1
                await scene.converged(watcher)
                assert len(watcher.mirror.bookings(scene.room())) == count
                paths = [one["path"] for one in await scene.directory.requests(after=asked)]
                assert any("/events/" in path for path in paths), paths
                assert not any("calendarView" in path for path in paths), "the mark alone was to bring it"
                await scene.directory.call("POST", "deliveries/resume")


async def is_accepted(scene: Scene, known: int) -> bool:
    """Tell whether the service took a notification after so many deliveries."""
    return any(
        one["kind"] == "notification" and one["outcome"] == "accepted"
        for one in await scene.directory.deliveries(after=known)
    )
