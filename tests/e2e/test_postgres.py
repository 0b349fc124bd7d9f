"""One PostgreSQL for several processes, and one that goes away and comes back: nothing is lost, nobody works twice."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from random import Random

import pytest
from exchange_client import ExchangeClient, Unavailable, names

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK
from tests.support import postgres
from tests.support.cluster import Cluster, cluster_made
from tests.support.processes import Service, eventually, run_cli, service_started
from tests.support.scene import Scene, prove_copy, scene_set, tomorrow

pytestmark = pytest.mark.e2e

TAKEOVER_S = 30.0


@contextmanager
def own_postgres() -> Iterator[postgres.Server]:
    """Run a PostgreSQL that the test may end, and that keeps what it confirmed."""
    server = postgres.Server(fsync="on", synchronous_commit="on", full_page_writes="on")
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.mark.parametrize(
    ("how", "runner"),
    [(signal.SIGINT, "embedded"), (signal.SIGQUIT, "embedded"), (signal.SIGQUIT, "procrastinate")],
    ids=["restarted", "crashed", "crashed-procrastinate"],
)
async def test_postgres_that_comes_back_finds_nothing_lost(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, how: signal.Signals, runner: str
) -> None:
    folder = tmp_path_factory.mktemp("s")
    with own_postgres() as server:
        dsn_file = folder / "dsn"
        dsn_file.write_text(server.dsn("postgres"))
        settings = QUICK | {"STORE__DSN_FILE": str(dsn_file), "TASKS__LEASE_S": "3", "TASKS__RUNNER": runner}
        with service_started(folder, emulator, **settings) as service:
            async with scene_set(service, emulator, rooms=5) as scene, scene.watching() as watcher:
                office = scene.office(Random(7))
                for _ in range(2):
                    await office.work(2.0, pause_s=0.1)
                    await asyncio.to_thread(server.stop, how)
                    await eventually(partial(is_unready, service), "it is unready", service=service)
                    with pytest.raises(Unavailable) as refused:
                        await scene.client.get_tenant(scene.tenant, timeout_s=5.0)
                    assert refused.value.reason == "STORE_UNAVAILABLE"
                    await office.work(2.0, pause_s=0.1)
                    await asyncio.to_thread(server.start)
                    await eventually(service.is_ready, "it is ready again", service=service)
                await office.work(1.0, pause_s=0.1)
                await scene.converged(watcher, deadline_s=60.0)
                await prove_copy(scene)
            assert service.process.poll() is None
            foreign = [line for line in service.log_file.read_text().splitlines() if not line.startswith("{")]
            assert foreign == [], "libraries' own words may quote hosts and rows"


async def is_unready(service: Service) -> bool:
    return not await service.is_ready()


@asynccontextmanager
async def pair_set(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> AsyncIterator[tuple[Service, Service, Cluster]]:
    """Give two running services on one empty database."""
    with postgres.database(is_migrated=False) as dsn_file:
        async with cluster_made(tmp_path_factory.mktemp, dsn_file, emulator, **QUICK) as cluster:
            first, second = cluster.add(), cluster.add()
            await cluster.start(first, second)
            yield first, second, cluster


def other_side(scene: Scene, service: Service, client: ExchangeClient) -> Scene:
    """Return the same tenant as seen through another service."""
    return Scene(service, client, scene.directory, scene.tenant_id, scene.rooms)


async def test_two_processes_on_one_database_tell_their_watchers_the_same(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    async with (
        pair_set(tmp_path_factory, emulator) as (first, second, cluster),
        scene_set(first, emulator, rooms=4) as scene,
        ExchangeClient.connect(second.target) as client,
    ):
        other = other_side(scene, second, client)
        async with scene.watching() as here, other.watching() as there:
            for _ in range(2):
                cluster.webhooks.ports.reverse()
                await scene.office(Random(3)).work(3.0, pause_s=0.1)
                await scene.converged(here, there)
        found = await client.list_bookings(names.all_rooms(scene.tenant_id), tomorrow(0), tomorrow(0, days=90))
        again = await scene.client.list_bookings(names.all_rooms(scene.tenant_id), tomorrow(0), tomorrow(0, days=90))
        assert found.bookings == again.bookings
        assert await scene.directory.subscribed() == sorted(scene.rooms.values())
        assert await first.metric("room_drift_total") == await second.metric("room_drift_total") == 0
        assert not [
            line for service in cluster.services for line in service.log_lines() if line["event"] == "lane.lost"
        ]


async def test_other_process_takes_over_the_lanes_of_a_killed_one(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    async with pair_set(tmp_path_factory, emulator) as (first, second, _), AsyncExitStack() as stack:
        client = await stack.enter_async_context(ExchangeClient.connect(second.target))
        scenes = [await stack.enter_async_context(scene_set(first, emulator, rooms=3)) for _ in range(3)]
        others = [other_side(scene, second, client) for scene in scenes]
        watchers = [await stack.enter_async_context(other.watching()) for other in others]
        loop = asyncio.get_running_loop()
        for number, other in enumerate(others):
            await other.office(Random(number)).work(0.5, pause_s=0.05)
        await asyncio.to_thread(first.kill)
        killed_s = loop.time()
        for number, other in enumerate(others):
            await other.office(Random(number + 9)).work(0.5, pause_s=0.05)
        for other, watcher in zip(others, watchers, strict=True):
            await other.converged(watcher)
        took_s = loop.time() - killed_s
        print(f"mirrors equal {took_s:.1f} s after the kill")
        assert took_s < TAKEOVER_S
        assert second.process.poll() is None


def test_migrating_from_two_processes_at_once_is_done_by_one(tmp_path: Path) -> None:
    with postgres.database(is_migrated=False) as dsn_file:
        env = {"EXCHANGE_STORE__DSN_FILE": str(dsn_file)}

        async def both() -> list[str]:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(asyncio.to_thread(run_cli, "migrate", env=env)) for _ in range(2)]
            assert [task.result().returncode for task in tasks] == [0, 0], [task.result().stderr for task in tasks]
            return sorted(task.result().stdout.strip() for task in tasks)

        said = asyncio.run(both())
    assert [line.partition(": ")[2] for line in said] == ["brought up to date", "was up to date"]
