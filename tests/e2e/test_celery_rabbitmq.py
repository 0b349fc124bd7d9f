"""Celery on a real RabbitMQ: bridge, workers and sidecar are killed at any moment; all is handled, each room in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from random import Random, SystemRandom

import pytest

from sidecar.emulator.fixture import RunningEmulator
from tests.support import brokers
from tests.support.celery_scene import celery_scene
from tests.support.processes import Service, eventually
from tests.support.restless import background
from tests.support.scene import scene_set, tomorrow, wall

pytestmark = [pytest.mark.e2e, brokers.needs_rabbitmq, pytest.mark.xdist_group("rabbitmq")]

KILLS = 6
BUSY = {"HANDLER_S": "0.1"}
"""Handlers take long enough that a worker has hardly a moment without a change in hand."""


@pytest.fixture(scope="module")
def broker_url() -> Iterator[str]:
    """Give a broker for the tests of this file."""
    with brokers.rabbitmq() as url:
        yield url


async def test_kills_of_bridge_workers_and_sidecar_lose_no_change_and_no_order(
    tmp_path_factory: pytest.TempPathFactory, own_service: Service, emulator: RunningEmulator, broker_url: str
) -> None:
    service = own_service
    seed = SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    rng = Random(seed)
    folder = tmp_path_factory.mktemp("c")
    async with scene_set(service, emulator, rooms=4) as scene, scene.watching() as watcher:
        with celery_scene(folder, broker_url, target=service.target, tenant_id=scene.tenant_id) as celery:
            bridge = celery.bridge()
            for process in (bridge, *(celery.worker(name, "-P", "threads", **BUSY) for name in "ab")):
                process.start()
            office = scene.office(rng)
            async with background(office.work(120.0, pause_s=0.15)):
                for number in range(KILLS):
                    await asyncio.sleep(rng.random())
                    if number % 2:
                        await celery.hears_more(service)
                        bridge.kill()
                        bridge.start()
                    else:
                        (await celery.kill_at_work(service)).start()
                    if number == KILLS // 2:
                        await asyncio.to_thread(service.kill)
                        await asyncio.to_thread(service.start)
            await scene.converged(watcher)
            await eventually(lambda: celery.same_as(watcher.mirror), "the handlers know all", service=service)
            celery.check_order()
            code = await asyncio.to_thread(bridge.stop)
            assert code == 0, bridge.text()[-2000:]
            calls, told = celery.count("calls"), celery.count("told")
            print(f"{office.actions_count} actions, {calls} calls of the handler, {told} of them news")


async def test_queues_that_nobody_works_on_hold_the_bridge_up_and_a_change_that_fails_is_put_aside(
    tmp_path_factory: pytest.TempPathFactory, service: Service, emulator: RunningEmulator, broker_url: str
) -> None:
    async with scene_set(service, emulator, rooms=2) as scene, scene.watching() as watcher:
        folder = tmp_path_factory.mktemp("c")
        with celery_scene(folder, broker_url, target=service.target, tenant_id=scene.tenant_id) as celery:
            bridge = celery.bridge("--high-water", "4", "--heartbeat", "5")
            bridge.start()
            poisoned = await scene.directory.book(scene.mailbox(), tomorrow(3) + timedelta(minutes=33))
            for hour in range(9, 15):
                await scene.directory.book(scene.mailbox(), tomorrow(hour))
            await eventually(lambda: "bridge.waits_for_workers" in bridge.text(), "it waits", service=service)
            await scene.converged(watcher)
            celery.worker("a", "-P", "solo").start()
            await eventually(lambda: len(celery.kept()) == 6, "all but one are handled", service=service)
            await eventually(lambda: "bridge.goes_on" in bridge.text(), "it goes on", service=service)
            assert celery.length(broker_url, "exchange.changes.dead") > 0
            await scene.directory.act(
                "move", meeting=poisoned["meeting"], start=wall(tomorrow(16)), end=wall(tomorrow(17))
            )
            await scene.converged(watcher)
            await eventually(lambda: celery.same_as(watcher.mirror), "its next change heals it", service=service)
            celery.check_order()
