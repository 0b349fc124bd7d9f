"""Backups of a running service, and what a return to one looks like from outside: nobody is ever silently wrong."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import pytest
from exchange_client import GapError, NotFound, Reconnected, RoomMirror, SyncExchangeClient
from exchange_client.messages import GapPolicy, SnapshotReason, SnapshotStart

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK
from tests.e2e.test_crash import NO_COMPARE
from tests.support.processes import Service, eventually, run_cli, service_started
from tests.support.promises import check_told
from tests.support.restless import background
from tests.support.scene import Scene, Watcher, prove_copy, scene_set, tomorrow
from tests.support.truth import ZONE

pytestmark = pytest.mark.e2e

Saved = dict[str, tuple[bytes, str]]
"""A reader's saved mirror and its token, by when they are from."""


def command(service: Service, *arguments: str) -> Any:  # Any: JSON
    """Run a command on the service's database; it must work."""
    result = run_cli(*arguments, "-o", "json", env=service.env)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def refused(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that must say no, in a sentence and without a trace."""
    result = run_cli(*arguments, env=service.env)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    return result


@asynccontextmanager
async def reading(scene: Scene, saved: Saved) -> AsyncIterator[dict[str, Watcher]]:
    """Go on with saved readers, each from its token."""
    async with AsyncExitStack() as stack:
        watchers = {}
        for name, (state, token) in saved.items():
            going_on = scene.watching(mirror=RoomMirror.load(state), resume_token=token, complete=False)
            watchers[name] = await stack.enter_async_context(going_on)
        yield watchers


def snapshots(watcher: Watcher) -> list[SnapshotStart]:
    """Return how snapshots began, in order."""
    messages = [message for message in watcher.messages if not isinstance(message, Reconnected)]
    return [message.snapshot_start for message in messages if message.HasField("snapshot_start")]


async def lose_history(
    scene: Scene, live: Watcher, rng: Random, back_up: Callable[[], object], end: Callable[[], object]
) -> Saved:
    """Let an office work, make a backup in the middle of it, go on, and stop; return readers of before, between and after.

    After the backup a meeting that is in it is cancelled, one is moved, and a room is mapped that the backup does not know.
    """
    saved: Saved = {}
    kept = [await scene.directory.book(scene.mailbox(number % 3), tomorrow(9 + number)) for number in range(6)]
    await scene.converged(live)
    saved["before"] = live.mirror.save(), live.mirror.resume_token
    async with background(scene.office(rng).work(60.0, pause_s=0.1)):
        await asyncio.sleep(1.0)
        await asyncio.to_thread(back_up)
        await asyncio.sleep(0.5)
    await scene.directory.act("cancel", meeting=kept[0]["meeting"])
    start, stop = (tomorrow(hour, days=3).strftime("%Y-%m-%dT%H:%M:%S") for hour in (15, 16))
    await scene.directory.act("move", meeting=kept[1]["meeting"], start=start, end=stop)
    await scene.converged(live)
    saved["between"] = live.mirror.save(), live.mirror.resume_token
    (new,) = await scene.directory.add_rooms(1, time_zone=ZONE)
    await scene.directory.book(new, tomorrow())
    await scene.map_all()
    await scene.settled_rooms()
    for number in range(5):
        await scene.directory.book(scene.mailbox(number % 3), tomorrow(9 + number, days=4))
    await scene.converged(live)
    saved["after"] = live.mirror.save(), live.mirror.resume_token
    saved["rows newer than its token"] = saved["after"][0], saved["before"][1]
    await asyncio.to_thread(end)
    await scene.directory.act("cancel", meeting=kept[2]["meeting"])
    await scene.directory.book(scene.mailbox(0), tomorrow(8, days=5))
    return saved


async def check_all_begin_anew(scene: Scene, live: Watcher, saved: Saved) -> None:
    """See that each reader is told of the new epoch and ends with what the calendars hold, whatever it held before."""
    reads = {name: asyncio.create_task(gap_of(scene, token)) for name, (_, token) in saved.items()}
    async with reading(scene, saved) as watchers:
        with pytest.raises(NotFound):  # mapped since the backup: its application maps it again
            await scene.client.get_room(scene.room(3))
        mailbox = scene.rooms.pop(scene.room(3))
        await scene.map_all()
        assert list(scene.rooms.values())[3] == mailbox
        await scene.settled_rooms()
        await scene.converged(live, *watchers.values(), deadline_s=60.0)
        epochs = set()
        for name, watcher in watchers.items():
            begun = snapshots(watcher)
            anew = {start.room for start in begun if start.reason == SnapshotReason.SNAPSHOT_REASON_EPOCH_CHANGED}
            assert anew >= set(list(scene.rooms)[:3]), f"{name}: {begun}"
            epochs |= {start.epoch for start in begun}
        assert len(epochs) == 1
        check_told(live, *watchers.values())
        assert all(await asyncio.gather(*reads.values())), reads
        assert await scene.directory.subscribed() == sorted(scene.rooms.values())
        audited = [entry.method async for entry in scene.client.list_audit_entries(scene.tenant)]
        assert audited[-1] == "TenantService/RegisterTenant", "the audit goes with the database"
        assert await scene.service.metric("room_drift_total") == 0, "what the backup lacked is no drift"
        await scene.directory.book(scene.mailbox(1), tomorrow(7, days=6))
        await scene.converged(live, *watchers.values())
    await prove_copy(scene)


async def gap_of(scene: Scene, token: str) -> bool:
    """Tell whether a reader that wants no snapshots gets the stated error, on a stream and by pages."""
    with pytest.raises(GapError):
        await scene.client.read_changes(scene.tenant, token)
    with pytest.raises(GapError):
        async with scene.client.watch_rooms(
            scene.tenant, resume_token=token, gap_policy=GapPolicy.GAP_POLICY_FAIL
        ) as watch:
            await anext(watch)
    return True


async def test_readers_of_any_time_end_right_after_a_restore(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, tmp_path: Path
) -> None:
    seed = SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    target = tmp_path / "backup"
    with service_started(tmp_path_factory.mktemp("s"), emulator, **QUICK, **NO_COMPARE) as service:
        async with scene_set(service, emulator, rooms=3) as scene, scene.watching() as live:
            told: list[dict[str, object]] = []
            saved = await lose_history(
                scene,
                live,
                Random(seed),
                lambda: told.append(command(service, "backup", "--to", str(target))),
                service.stop,
            )
            assert told[0]["rooms_count"] == 3
            restored = command(service, "restore", "--from", str(target))
            assert restored["rooms_to_read_count"] == 3
            assert restored["bookings_count"] == told[0]["bookings_count"]
            assert await asyncio.to_thread(Path(restored["former_database"]).is_file)
            await asyncio.to_thread(service.start)
            assert "store.went_back" not in service.log_file.read_text()
            await check_all_begin_anew(scene, live, saved)


async def test_readers_of_any_time_end_right_after_a_copy_was_put_back_by_hand(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, tmp_path: Path
) -> None:
    seed = SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    target = tmp_path / "backup"
    with service_started(tmp_path_factory.mktemp("s"), emulator, **QUICK, **NO_COMPARE) as service:

        def put_back() -> None:
            """Do what an operator does who knows of no command, after a loss of power."""
            service.kill()
            for file in service.folder.glob(f"{service.database.name}-*"):
                file.unlink()
            shutil.copy(target, service.database)

        async with scene_set(service, emulator, rooms=3) as scene, scene.watching() as live:
            saved = await lose_history(
                scene, live, Random(seed), lambda: command(service, "backup", "--to", str(target)), put_back
            )
            await asyncio.to_thread(service.start)
            (line,) = [one for one in service.log_lines() if one["event"] == "store.epochs_renewed"]
            assert (line["tenants_count"], line["rooms_count"]) == (1, 3)
            await check_all_begin_anew(scene, live, saved)


async def test_renewed_epoch_sends_everybody_back_to_the_beginning(
    own_service: Service, emulator: RunningEmulator
) -> None:
    """For a return that nothing can see: the volume, the mark on it and all."""
    async with scene_set(own_service, emulator, rooms=2) as scene, scene.watching() as live:
        await scene.directory.book(scene.mailbox(), tomorrow())
        await scene.converged(live)
        known = {start.epoch for start in snapshots(live)}
        assert refused(own_service, "epoch", "renew").returncode == 3
        began_at = datetime.now(UTC)
        await asyncio.to_thread(own_service.stop)
        assert refused(own_service, "epoch", "renew", "--tenant", "nobody").returncode == 1
        renewed = command(own_service, "epoch", "renew", "--tenant", scene.tenant_id)
        assert renewed == {"epochs_renewed_count": 1, "rooms_to_read_count": 2}
        await asyncio.to_thread(own_service.start)

        async def anew() -> bool:
            return len({start.epoch for start in snapshots(live)} - known) == 1

        await eventually(anew, "the live watch is told of the new epoch", service=own_service)
        await scene.settled_rooms()
        await scene.converged(live)

        async def read_again() -> bool:
            rooms = [room async for room in scene.client.list_rooms(scene.tenant)]
            return all(room.sync.fresh_as_of_time.ToDatetime(UTC) > began_at for room in rooms)

        await eventually(read_again, "each room is read again", service=own_service)


def test_commands_refuse_in_a_sentence_and_with_their_exit_codes(own_service: Service, tmp_path: Path) -> None:
    """1 for what will not work the next time either, 3 for what may."""
    target = tmp_path / "backup"
    assert command(own_service, "backup", "--to", str(target))["tenants_count"] == 0
    assert target.stat().st_mode & 0o777 == 0o600
    exists = refused(own_service, "backup", "--to", str(target))
    assert (exists.returncode, "--overwrite" in exists.stderr) == (1, True)
    command(own_service, "backup", "--to", str(target), "--overwrite")
    running = refused(own_service, "restore", "--from", str(target))
    assert (running.returncode, "stop it first" in running.stderr) == (3, True)
    with SyncExchangeClient.connect(own_service.target) as client:
        assert list(client.list_tenants()) == []
    own_service.stop()
    target.write_bytes(target.read_bytes()[:40_000])
    before = own_service.database.read_bytes()
    damaged = refused(own_service, "restore", "--from", str(target))
    assert (damaged.returncode, "damaged" in damaged.stderr) == (1, True)
    assert own_service.database.read_bytes() == before
    assert refused(own_service, "restore", "--from", str(tmp_path / "none")).returncode == 1
    assert refused(own_service, "backup").returncode == 2
    own_service.start()
