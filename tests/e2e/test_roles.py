"""Processes with one role each do together what one with all of them does; and one of them dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import pytest
from exchange_client import ExchangeClient
from exchange_client.messages import CheckResult, Tenant

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK
from tests.support import postgres
from tests.support.cluster import Cluster, cluster_made
from tests.support.processes import Service, eventually, run_cli
from tests.support.promises import prove_promises
from tests.support.scene import Scene, directory_made, scene_set

pytestmark = pytest.mark.e2e

RUNNERS = ("embedded", "procrastinate")
TAKEOVER_S = 30.0
TENANTS = 4


@asynccontextmanager
async def split(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, runner: str
) -> AsyncIterator[tuple[Cluster, Service, Service, list[Service]]]:
    """Give an api, an ingress and two workers that are not started, on one empty database."""
    settings = QUICK | {"TASKS__RUNNER": runner}
    with postgres.database(is_migrated=False) as dsn_file:
        async with cluster_made(tmp_path_factory.mktemp, dsn_file, emulator, **settings) as cluster:
            yield cluster, cluster.add("api"), cluster.add("ingress"), [cluster.add("worker") for _ in range(2)]


@pytest.mark.parametrize("runner", RUNNERS)
async def test_work_is_done_by_workers_only_and_goes_on_when_one_is_killed(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, runner: str
) -> None:
    loop = asyncio.get_running_loop()
    async with split(tmp_path_factory, emulator, runner) as (cluster, api, ingress, workers), AsyncExitStack() as stack:
        await cluster.start(api, ingress, *workers)
        scenes = [await stack.enter_async_context(scene_set(api, emulator, rooms=2)) for _ in range(TENANTS)]
        watchers = [await stack.enter_async_context(scene.watching()) for scene in scenes]
        await act(scenes, seed=1)
        for scene, watcher in zip(scenes, watchers, strict=True):
            await scene.converged(watcher)
        done = [await service.metric("intents_done_total") for service in (api, ingress, *workers)]
        print(f"{runner}: pieces of work done by api, ingress and the workers: {done}")
        assert done[:2] == [0, 0]
        assert sum(done[2:]) > 0
        assert await ingress.metric("notifications_marked_total") > 0

        await act(scenes, seed=2)
        await asyncio.to_thread(workers[0].kill)
        killed_s = loop.time()
        await act(scenes, seed=3)
        for scene, watcher in zip(scenes, watchers, strict=True):
            await scene.converged(watcher)
        took_s = loop.time() - killed_s
        print(f"{runner}: mirrors equal {took_s:.1f} s after the kill -9 of a worker, lease 10 s")
        assert took_s < TAKEOVER_S
        for scene, watcher in zip(scenes, watchers, strict=True):
            scene.service = workers[1]  # whose counter of drift it is
            await prove_promises(scene, watcher)
        assert [service.process.poll() for service in (api, ingress, workers[1])] == [None] * 3


async def act(scenes: list[Scene], *, seed: int) -> None:
    """Have people at work in every directory for a moment."""
    async with asyncio.TaskGroup() as group:
        for number, scene in enumerate(scenes):
            group.create_task(scene.office(Random(seed * 100 + number)).work(0.7, pause_s=0.1))


async def test_without_a_worker_calls_are_taken_and_wait_for_one(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    """What the API was told is due in the database; the first worker does it, whenever it comes."""
    async with (
        split(tmp_path_factory, emulator, "embedded") as (cluster, api, ingress, (worker, _)),
        directory_made(emulator, rooms=1) as directory,
        ExchangeClient.connect(api.target) as client,
    ):
        await cluster.start(api, ingress)
        assert await api.is_ready()
        assert await ingress.is_ready()
        scene = Scene(api, client, directory, tenant_id=f"t-{directory.id[:8]}")
        assert (await scene.register()).state == Tenant.STATE_VERIFYING
        await scene.map_all()
        assert await directory.requests() == [], "nobody but a worker asks Microsoft"
        await cluster.start(worker)
        await eventually(worker.is_ready, "the worker is ready", service=worker)
        await scene.settled_rooms()
        assert await directory.subscribed() == sorted(scene.rooms.values())


async def test_roles_of_the_command_line_win_and_are_told_when_ready(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    async with split(tmp_path_factory, emulator, "embedded") as (cluster, api, _, __):
        api.arguments = ["--roles", "worker,ingress"]
        await cluster.start(api)
        assert api.ready["roles"] == ["worker", "ingress"]
        assert api.ready["grpc"] == []
        assert api.ready["webhooks"]


def test_fewer_roles_on_sqlite_are_refused_in_a_sentence() -> None:
    said = run_cli("serve", "--roles", "api")
    assert said.returncode == 2
    assert "SQLite has one" in said.stderr


async def test_handshake_from_one_process_is_known_to_arrive_at_another(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    """Only with an ingress of this very deployment behind the public address; any echo would not do."""
    async with split(tmp_path_factory, emulator, "embedded") as (cluster, api, ingress, workers):
        await cluster.start(api, ingress, workers[0])
        async with scene_set(api, emulator) as scene:
            found = await scene.client.diagnose_tenant(scene.tenant)
            outcomes = {check.check_id: check.outcome for check in found.checks}
            assert outcomes["webhook.handshake"] == CheckResult.OUTCOME_PASSED
            await asyncio.to_thread(ingress.stop)
            found = await scene.client.diagnose_tenant(scene.tenant)
            (told,) = (check for check in found.checks if check.check_id == "webhook.handshake")
            assert told.problem.reason == "WEBHOOK_UNREACHABLE"
            assert told.facts["cause"] in {"UNREACHABLE", "STATUS"}
