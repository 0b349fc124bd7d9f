"""Celery on a real RabbitMQ: bridge and workers are killed at any moment; each change is handled, in the order of its room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random, SystemRandom

import pytest

from sidecar.emulator.fixture import RunningEmulator
from tests.support import brokers
from tests.support.celery_scene import CeleryScene, celery_scene
from tests.support.processes import Service, eventually
from tests.support.restless import background
from tests.support.scene import scene_set

pytestmark = [pytest.mark.e2e, brokers.needs_rabbitmq]

KILLS = 6


@pytest.fixture(scope="module")
def broker_url() -> Iterator[str]:
    """Give a broker for the tests of this file."""
    with brokers.rabbitmq() as url:
        yield url


async def test_kills_of_bridge_and_workers_lose_no_change_and_no_order(
    tmp_path_factory: pytest.TempPathFactory, service: Service, emulator: RunningEmulator, broker_url: str
) -> None:
    seed = SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    rng = Random(seed)
    folder = tmp_path_factory.mktemp("c")
    async with scene_set(service, emulator, rooms=4) as scene, scene.watching() as watcher:
        with celery_scene(folder, broker_url, target=service.target, tenant_id=scene.tenant_id) as celery:
            bridge, *workers = processes = [
                celery.bridge(),
                celery.worker("a", "-P", "solo"),
                celery.worker("b", "-P", "solo"),
            ]
            for process in processes:
                process.start()
            office = scene.office(rng)
            async with background(office.work(120.0, pause_s=0.15)):
                for number in range(KILLS):
                    await hears_more(celery, service)
                    await asyncio.sleep(rng.random())
                    killed = bridge if number % 2 else rng.choice(workers)
                    await asyncio.to_thread(killed.kill)
                    killed.start()
            await scene.converged(watcher)
            await eventually(lambda: celery.same_as(watcher.mirror), "the handlers know all", service=service)
            celery.check_order()
            code = await asyncio.to_thread(bridge.stop)
            assert code == 0, bridge.text()[-2000:]
            calls, told = celery.count("calls"), celery.count("told")
            print(f"{office.actions_count} actions, {calls} calls of the handler, {told} of them news")


async def hears_more(celery: CeleryScene, service: Service) -> None:
    """Wait until a handler is told something new."""
    known = celery.count("told")
    await eventually(lambda: celery.count("told") > known, "a handler is told something", service=service)
