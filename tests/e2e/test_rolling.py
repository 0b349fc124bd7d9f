"""Rolling restarts and upgrades: processes come and go, and whoever watches notices nothing but reconnections."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random, SystemRandom

import pytest
from exchange_client import Reconnected, Unavailable
from exchange_client.messages import SyncState

from sidecar.emulator.fixture import RunningEmulator
from sidecar.store.migrate import SCHEMA_VERSION
from tests.e2e.conftest import QUICK
from tests.support import postgres
from tests.support.cluster import cluster_made
from tests.support.processes import ROOT, eventually, run_cli
from tests.support.promises import prove_promises, told_again_count
from tests.support.restless import background
from tests.support.scene import Scene, Watcher, scene_set

pytestmark = pytest.mark.e2e

ROUNDS = 4
OFTEN = {
    "SYNC__CHECK_INTERVAL_S": "3",
    "SYNC__POLL_MIN_S": "2",
    "SYNC__POLL_MAX_S": "4",
    "SYNC__FRESHNESS_BUDGET_S": "12",
}
"""A room whose check is late by 12 s is STALE: a tenant that lies idle between two processes would show."""


@pytest.mark.parametrize("runner", ["embedded", "procrastinate"])
async def test_rolling_restart_loses_nothing_repeats_nothing_and_no_room_goes_stale(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, runner: str
) -> None:
    seed = SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    settings = QUICK | OFTEN | {"TASKS__RUNNER": runner}
    drift_count = 0.0
    with postgres.database(is_migrated=False) as dsn_file:
        async with (
            cluster_made(tmp_path_factory.mktemp, dsn_file, emulator, **settings) as cluster,
            AsyncExitStack() as stack,
        ):
            running = [cluster.add(), cluster.add()]
            await cluster.start(*running)
            scene = await stack.enter_async_context(scene_set(running[0], emulator, cluster.target, rooms=4))
            watchers = [await stack.enter_async_context(scene.watching()) for _ in range(2)]
            office = scene.office(Random(seed))
            async with background(office.work(300.0, pause_s=0.2), never_stale(scene)):
                for _ in range(ROUNDS):
                    running.append(cluster.add())
                    await cluster.start(running[-1])
                    old = running.pop(0)
                    drift_count += await old.metric("room_drift_total")
                    assert await asyncio.to_thread(old.stop) == 0
                    scene.service = running[0]
                    for watcher in watchers:
                        await hears_a_change(watcher, scene)
            await scene.converged(*watchers, deadline_s=60.0)
            assert told_again_count(watchers) == 0
            assert snapshots_count(watchers) == 2 * len(scene.rooms), "each token was honoured"
            await prove_promises(scene, *watchers)
            drift_count += await running[1].metric("room_drift_total")
            assert drift_count == 0
            reconnected = [sum(isinstance(m, Reconnected) for m in watcher.messages) for watcher in watchers]
            print(f"{runner}: {office.actions_count} actions, {ROUNDS} restarts, reconnections {reconnected}")
            assert sum(reconnected) >= ROUNDS
            lost = [line for s in cluster.services for line in s.log_lines() if line["event"] == "lane.lost"]
            assert lost == []


async def hears_a_change(watcher: Watcher, scene: Scene) -> None:
    """Wait until a watcher has been told of a booking's change from now on."""
    known = len(watcher.changes)
    await eventually(lambda: len(watcher.changes) > known, "the watcher hears a change", service=scene.service)


async def never_stale(scene: Scene) -> None:
    """Look at the rooms for ever; fail when one is STALE."""
    while True:
        try:
            async for room in scene.client.list_rooms(scene.tenant):
                assert room.sync.state != SyncState.SYNC_STATE_STALE, f"{room.name} is stale"
        except Unavailable:
            pass  # between two processes
        await asyncio.sleep(0.3)


def snapshots_count(watchers: Sequence[Watcher]) -> int:
    """Count the snapshots that watchers were sent."""
    return sum(
        message.HasField("snapshot_start")
        for watcher in watchers
        for message in watcher.messages
        if not isinstance(message, Reconnected)
    )


MIGRATION = """
\"\"\"What a later version may add.\"\"\"
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{SCHEMA_VERSION}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("tenants", "credentials", "rooms", "bookings", "changes", "subscriptions", "hints", "intents", "lanes"):
        op.add_column(table, sa.Column("added", sa.BigInteger(), nullable=False, server_default="7"))
        op.add_column(table, sa.Column("added_text", sa.Text(), nullable=True))
    op.create_index("intents_by_added", "intents", ["added", "lane"])
    op.create_table("additions", sa.Column("key", sa.Text(), primary_key=True))
"""


def later_version(folder: Path) -> dict[str, str]:
    """Make a later version of the service, which is this one with one more migration; return its environment."""
    package = shutil.copytree(ROOT / "sidecar", folder / "sidecar", ignore=shutil.ignore_patterns("__pycache__"))
    revision = f"{int(SCHEMA_VERSION) + 1:04d}"
    script = MIGRATION.replace("{revision}", revision).replace("{SCHEMA_VERSION}", SCHEMA_VERSION)
    (package / "store" / "migrations" / "versions" / f"{revision}_later.py").write_text(script)
    constants = package / "store" / "migrate.py"
    source = constants.read_text()
    changed = source.replace(f'SCHEMA_VERSION = "{SCHEMA_VERSION}"', f'SCHEMA_VERSION = "{revision}"')
    assert changed != source
    constants.write_text(changed)
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}  # its folder comes first, and this one not at all


async def test_old_version_serves_on_while_a_later_one_migrates_and_takes_over(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    later = later_version(tmp_path_factory.mktemp("later"))
    with postgres.database(is_migrated=False) as dsn_file:
        async with (
            cluster_made(tmp_path_factory.mktemp, dsn_file, emulator, **QUICK, **OFTEN) as cluster,
            AsyncExitStack() as stack,
        ):
            old = [cluster.add(), cluster.add()]
            await cluster.start(*old)
            scene = await stack.enter_async_context(scene_set(old[0], emulator, cluster.target, rooms=4))
            watchers = [await stack.enter_async_context(scene.watching()) for _ in range(2)]
            async with background(scene.office(Random(11)).work(300.0, pause_s=0.1), never_stale(scene)):
                await all_hear(watchers, scene)
                migrated = await asyncio.to_thread(run_cli, "migrate", env=old[0].env | later)
                assert "brought up to date" in migrated.stdout, migrated.stderr
                for _ in range(3):
                    await all_hear(watchers, scene)
                assert not any(isinstance(m, Reconnected) for watcher in watchers for m in watcher.messages)
                assert await old[0].is_ready()
                assert await old[1].is_ready()
                new = cluster.add()
                new.env |= later
                await cluster.start(new)
                for service in old:
                    assert await asyncio.to_thread(service.stop) == 0
                scene.service = new
                await all_hear(watchers, scene)
            await scene.converged(*watchers, deadline_s=60.0)
            assert told_again_count(watchers) == 0
            assert snapshots_count(watchers) == 2 * len(scene.rooms), "each token was honoured"
            await prove_promises(scene, *watchers)
            assert [line for service in old for line in service.log_lines() if line["level"] == "error"] == []
            refused = await asyncio.to_thread(run_cli, "serve", env=old[0].env)
            assert refused.returncode == 3
            assert "run the newer version" in refused.stderr


async def all_hear(watchers: Sequence[Watcher], scene: Scene) -> None:
    """Wait until every watcher has been told of a change from now on."""
    for watcher in watchers:
        await hears_a_change(watcher, scene)
