"""Celery on a real Redis. Its transport can lose a message when a worker dies, as README says: only bridges are killed here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random, SystemRandom

import pytest
from exchange_client import FileTokenStore, names

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK
from tests.support import brokers
from tests.support.celery_scene import celery_scene
from tests.support.processes import Service, eventually, service_started
from tests.support.restless import background
from tests.support.scene import Scene, scene_set, tomorrow

pytestmark = [pytest.mark.e2e, brokers.needs_redis, pytest.mark.xdist_group("redis")]

KILLS = 4


@pytest.fixture(scope="module")
def broker() -> Iterator[brokers.Redis]:
    """Give a broker for the tests of this file."""
    with brokers.redis() as server:
        yield server


async def test_kills_of_the_bridge_lose_no_change_and_no_order(
    tmp_path_factory: pytest.TempPathFactory, service: Service, emulator: RunningEmulator, broker: brokers.Redis
) -> None:
    seed = SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    rng = Random(seed)
    async with scene_set(service, emulator, rooms=4) as scene, scene.watching() as watcher:
        folder = tmp_path_factory.mktemp("c")
        with celery_scene(folder, broker.url, target=service.target, tenant_id=scene.tenant_id) as celery:
            bridge, worker = celery.bridge(), celery.worker("a", "-P", "threads")
            bridge.start()
            worker.start()
            office = scene.office(rng)
            async with background(office.work(120.0, pause_s=0.15)):
                for _ in range(KILLS):
                    await celery.hears_more(service)
                    await asyncio.sleep(rng.random())
                    await asyncio.to_thread(bridge.kill)
                    bridge.start()
            await scene.converged(watcher)
            await eventually(lambda: celery.same_as(watcher.mirror), "the handlers know all", service=service)
            celery.check_order()
            print(f"{office.actions_count} actions, {celery.count('calls')} calls, {celery.count('told')} of them news")


async def test_broker_that_dies_is_waited_for_and_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, service: Service, emulator: RunningEmulator, broker: brokers.Redis
) -> None:
    async with scene_set(service, emulator, rooms=2) as scene, scene.watching() as watcher:
        folder = tmp_path_factory.mktemp("c")
        with celery_scene(folder, broker.url, target=service.target, tenant_id=scene.tenant_id) as celery:
            bridge = celery.bridge()
            bridge.start()
            await scene.directory.book(scene.mailbox(0), tomorrow(9))
            await scene.converged(watcher)
            await eventually(lambda: list(celery.cursor.glob("*.token")), "a place is kept", service=service)
            await asyncio.to_thread(broker.kill)
            await scene.directory.book(scene.mailbox(1), tomorrow(10))
            await eventually(lambda: "bridge.broker_lost" in bridge.text(), "it notices", service=service)
            await asyncio.to_thread(broker.start)
            celery.worker("a", "-P", "solo").start()
            await scene.converged(watcher)
            await eventually(lambda: celery.same_as(watcher.mirror), "the handlers know all", service=service)
            assert await asyncio.to_thread(bridge.stop) == 0, bridge.text()[-2000:]


async def test_bridge_inside_a_worker_is_taken_over_by_the_next_one(
    tmp_path_factory: pytest.TempPathFactory, service: Service, emulator: RunningEmulator, broker: brokers.Redis
) -> None:
    async with scene_set(service, emulator, rooms=2) as scene, scene.watching() as watcher:
        folder = tmp_path_factory.mktemp("c")
        with celery_scene(folder, broker.url, target=service.target, tenant_id=scene.tenant_id) as celery:
            first, second = celery.worker_with_bridge("a"), celery.worker_with_bridge("b", queues="unrelated")
            first.start()
            await scene.directory.book(scene.mailbox(0), tomorrow())
            await scene.converged(watcher)
            await eventually(lambda: celery.same_as(watcher.mirror), "the first one bridges", service=service)
            second.start()
            await eventually(lambda: "ready" in second.text(), "the second one stands by", service=service)
            assert "bridge.started" not in second.text()
            third = celery.bridge()
            third.start()
            assert await asyncio.to_thread(third.wait) == 1
            assert "CursorTaken: another bridge uses" in third.text()
            assert await asyncio.to_thread(first.stop) == 0, first.text()[-2000:]
            await eventually(lambda: "bridge.started" in second.text(), "the second one takes over", service=service)


async def test_worker_whose_bridge_cannot_go_on_ends_instead_of_staying_without_one(
    tmp_path: Path, broker: brokers.Redis
) -> None:
    with celery_scene(tmp_path, broker.url, target="127.0.0.1:1", tenant_id="acme") as celery:
        FileTokenStore(celery.cursor).save(names.tenant("acme"), "not a cursor")
        worker = celery.worker_with_bridge("a")
        worker.start()
        assert await asyncio.to_thread(worker.wait) == 1
        assert "is not a bridge's cursor" in worker.text()


async def test_sidecar_without_a_schedule_of_its_own_is_driven_by_beat_alone(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, broker: brokers.Redis
) -> None:
    settings = QUICK | {"TASKS__RUNNER": "outside"}
    folder = tmp_path_factory.mktemp("c")
    with (
        service_started(tmp_path_factory.mktemp("s"), emulator, **settings) as service,
        celery_scene(folder, broker.url, target=service.target, tenant_id="unused") as celery,
    ):
        celery.chores("a").start()
        async with scene_set(service, emulator, rooms=2) as scene, scene.watching() as watcher:
            await scene.directory.book(scene.mailbox(), tomorrow())
            await scene.converged(watcher)
            assert watcher.mirror.bookings(scene.room())
            await eventually(partial(has_run, scene, "compare-rooms"), "a run of beat has ended", service=service)


async def has_run(scene: Scene, task: str) -> bool:
    """Tell whether a chore was run to its end about all rooms."""
    runs = [run async for run in scene.client.list_task_runs(f"tasks/{task}")]
    return any(run.HasField("end_time") and run.done_count == len(scene.rooms) for run in runs)
