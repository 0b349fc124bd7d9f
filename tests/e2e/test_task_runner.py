"""A task runner outside drives a service whose own schedule is off: nothing is lost, whenever it calls and whatever dies."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from exchange_client import ExchangeClient, ExchangeError, names
from exchange_client.messages import TaskRun

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK, store_of
from tests.support.processes import DEADLINE_S, ROOT, Service, eventually, run_cli, service_started
from tests.support.restless import background
from tests.support.scene import Scene, scene_set, tomorrow
from tests.support.stores import ENGINES

pytestmark = pytest.mark.e2e

OUTSIDE = {"TASKS__RUNNER": "outside"}


@pytest.fixture(params=ENGINES)
def outside(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> Iterator[Service]:
    """Give a running service that does nothing by itself."""
    folder = tmp_path_factory.mktemp("s")
    with store_of(request.param) as store, service_started(folder, emulator, **QUICK, **OUTSIDE, **store) as service:
        yield service


@asynccontextmanager
async def scene_left_alone(service: Service, emulator: RunningEmulator, *, rooms: int) -> AsyncIterator[Scene]:
    """Give a tenant with rooms that were read, for which nobody does anything any more."""
    async with AsyncExitStack() as stack:
        async with background(drive(service)):
            scene = await stack.enter_async_context(scene_set(service, emulator, rooms=rooms))
            await scene.settled_rooms()
        yield scene


async def drive(service: Service) -> None:
    """Be a task runner: ask what is due, have it drained, twice at once; begin anew after every failure."""
    while True:
        try:
            async with ExchangeClient.connect(service.target) as client:
                while True:
                    for lane in await client.wait_due_lanes(wait_s=5.0):
                        async with asyncio.TaskGroup() as group:
                            for _ in range(2):
                                group.create_task(client.drain_lane(lane.name, max_s=5.0))
        except* ExchangeError:
            await asyncio.sleep(0.1)


def round_as_written(target: str) -> subprocess.CompletedProcess[str]:
    """Run what the task runner in operating.md does again and again, once."""
    (line,) = re.findall(
        r"^ +(exchange-sidecar task lanes --wait .*)$",
        (ROOT / "sidecar" / "operating.md").read_text("utf-8"),
        re.MULTILINE,
    )
    command = f'set -o pipefail; exchange-sidecar() {{ "{sys.executable}" -m sidecar "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "EXCHANGE_TARGET": target},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )


async def test_service_driven_from_outside_keeps_its_promise_over_kills(
    outside: Service, emulator: RunningEmulator
) -> None:
    async with background(drive(outside)), scene_set(outside, emulator, rooms=4) as scene, scene.watching() as watcher:
        for number in range(3):
            await scene.directory.book(scene.mailbox(number), tomorrow())
            await asyncio.to_thread(outside.kill)
            await asyncio.to_thread(outside.start)
        await scene.settled_rooms()
        await scene.converged(watcher, deadline_s=60.0)
        assert await scene.directory.subscribed() == sorted(scene.rooms.values())


async def test_run_is_done_after_a_kill_in_its_middle(outside: Service, emulator: RunningEmulator) -> None:
    """Some of its rooms were read before, and are not read again for it; its id still gives the same run."""
    async with scene_left_alone(outside, emulator, rooms=12) as scene:

        async def begin() -> TaskRun:
            return await scene.client.run_task("tasks/compare-rooms", scene.tenant, request_id="once", timeout_s=60.0)

        begun = await begin()
        assert (begun.total_count, begun.remaining_count) == (12, 12)
        await scene.directory.fault({"delay_s": 20.0}, count=4, method="GET", path="/calendarView")

        async def drained() -> bool:
            return not (await scene.client.drain_lane(scene.tenant, max_s=30.0)).held_elsewhere

        draining = asyncio.ensure_future(eventually(drained, "the last drain of before has given the lane back"))

        async def some_are_done() -> bool:
            return (await scene.client.get_task_run(begun.name)).done_count in range(1, 12)

        await eventually(some_are_done, "it is under way", service=outside)
        await asyncio.to_thread(outside.kill)
        with pytest.raises(ExchangeError):
            await draining
        await asyncio.to_thread(outside.start)
        assert (await begin()).name == begun.name
        seen = []
        async with background(drive(outside)):
            async for run in scene.client.watch_task_run(begun.name, timeout_s=DEADLINE_S):
                seen.append(run)
        assert seen[-1].state == TaskRun.STATE_SUCCEEDED
        assert (seen[-1].done_count, seen[-1].failed_count, seen[-1].remaining_count) == (12, 0, 0)
        assert [run.done_count for run in seen] == sorted(run.done_count for run in seen)


async def test_without_anybody_who_drains_it_stays_ready_and_says_what_waits(
    outside: Service, emulator: RunningEmulator
) -> None:
    async with scene_left_alone(outside, emulator, rooms=1) as scene:
        await scene.directory.add_rooms(1)
        await scene.map_all()
        assert await outside.is_ready()
        shown = run_cli("task", "lanes", "-o", "json", "--target", outside.target)
        (lane,) = json.loads(shown.stdout)
        assert lane["name"] == scene.tenant
        assert lane["due_count"] >= 2
        assert not (await scene.client.get_room(scene.room(1))).sync.HasField("fresh_as_of_time")
        drained = await asyncio.to_thread(round_as_written, outside.target)
        assert drained.returncode == 0, drained.stderr
        assert "room.compare" in drained.stdout
        assert (await scene.client.get_room(scene.room(1))).sync.HasField("fresh_as_of_time")


async def test_commands_list_try_run_and_follow_chores(service: Service, emulator: RunningEmulator) -> None:
    """Beside a schedule of its own, which then does what is asked for."""

    def told(*arguments: str, code: int = 0) -> str:
        result = run_cli("task", *arguments, "--target", service.target)
        assert result.returncode == code, result.stderr
        return result.stdout

    async with scene_set(service, emulator, rooms=2) as scene:
        assert "compare-rooms" in told("list")
        tried = json.loads(told("run", "compare-rooms", scene.tenant_id, "--dry-run", "-o", "json"))
        assert (tried["total_count"], len(tried["examples"]), "name" in tried) == (2, 2, False)
        assert told("run", "compare-rooms", scene.room(1), "--dry-run") == f"it would be about {scene.room(1)}\n"
        lines = told("run", "compare-rooms", scene.tenant_id, "--request-id", "x", "--wait").splitlines()
        assert lines[-1].endswith("succeeded, 2 of 2 done")
        name = lines[-1].partition(":")[0]
        assert told("watch", name).splitlines() == [lines[-1]]
        begun = told("run", "compare-rooms", scene.tenant_id, "--request-id", "x").splitlines()
        assert begun == [lines[-1], f"to follow it: exchange-sidecar task watch {name}"]
        assert name in told("runs", "compare-rooms", "--scope", scene.tenant_id)
        refused = run_cli(
            *("task", "run", "check-rooms", scene.tenant_id, "--request-id", "x"), "--target", service.target
        )
        assert (refused.returncode, "REQUEST_ID_REUSED" in refused.stderr) == (1, True)
        assert scene.tenant in told("lanes", "--all")
        room = names.room(scene.tenant_id, "nowhere")
        assert "ROOM_NOT_FOUND" in run_cli("task", "run", "check-rooms", room, "--target", service.target).stderr
