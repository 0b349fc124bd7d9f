"""Power cuts: kill -9 of the service and of watchers, at any moment, loses nothing and invents nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random, SystemRandom

import pytest
from exchange_client import FileTokenStore, Reconnected, RoomMirror, Unavailable
from exchange_client.messages import BookingChange

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK, store_of
from tests.support.processes import ROOT, Service, eventually, service_started
from tests.support.scene import Scene, Watcher, WatchMessage, prove_copy, scene_set, tomorrow
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
            async with scene.watching(store=FileTokenStore(folder / "tokens")) as watcher:
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
                await scene.converged(watcher, deadline_s=60.0)
                check_history(watcher.messages)
                assert await scene.directory.subscribed() == sorted(scene.rooms.values())
                await restless.catch_up()
            assert restless.kills_count >= WATCHER_KILLS
            assert sum(isinstance(message, Reconnected) for message in watcher.messages) >= KILLS // 2
            print(f"{office.actions_count} actions, {KILLS} kills, {restless.kills_count} kills of a watcher")
            await prove_copy(scene)


@asynccontextmanager
async def background(*works: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run something beside the body, and end it with the body; what failed meanwhile fails the test."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


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


class RestlessWatcher:
    """A watcher process that is killed again and again, and goes on from what it had saved."""

    def __init__(self, scene: Scene, folder: Path, rng: Random) -> None:
        self._command = [sys.executable, "-m", "tests.e2e.watcher_process", scene.service.target, scene.tenant]
        self._scene = scene
        self._folder = folder / "watcher"
        self._folder.mkdir()
        self._rng = rng
        self.kills_count = 0

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen([*self._command, str(self._folder)], stdout=log, stderr=log, cwd=ROOT)

    async def run(self) -> None:
        """Start and kill it for ever."""
        while True:
            process = self._start()
            try:
                await asyncio.sleep(1.0 + self._rng.random() * 2)
                assert process.poll() is None, (self._folder / "log").read_text()[-2000:]
            finally:
                process.kill()
                process.wait()
            self.kills_count += 1

    async def catch_up(self) -> None:
        """Run it once more until the mirror that it saves equals the calendars."""
        process = self._start()
        try:
            await eventually(self._is_equal, "the killed watcher catches up", service=self._scene.service)
        finally:
            process.kill()
            process.wait()

    async def _is_equal(self) -> bool:
        return await self._scene.equal(RoomMirror.load((self._folder / "mirror").read_bytes()))


def check_history(messages: Sequence[WatchMessage]) -> None:
    """See that revisions only grow between reconnections, and that one revision never tells two different things."""
    told: dict[tuple[str, int], tuple[str, int]] = {}
    last_revision = 0
    in_snapshot = False
    for message in messages:
        if isinstance(message, Reconnected):
            last_revision, in_snapshot = 0, False
            continue
        kind = message.WhichOneof("event")
        if kind in ("snapshot_start", "snapshot_end"):
            assert bool(message.resume_token) == (kind == "snapshot_end")
            in_snapshot = kind == "snapshot_start"
        if in_snapshot:
            assert not message.resume_token, "resuming inside of a snapshot is not safe"
        for change in message.changes.changes:
            booking = change.booking
            gone = change.kind != BookingChange.KIND_UPSERTED
            said = (booking.etag, int(gone))
            assert told.setdefault((booking.name, booking.revision), said) == said, f"two contents: {booking}"
            if not in_snapshot:
                assert booking.revision > last_revision, f"out of order: {booking.revision} after {last_revision}"
                last_revision = booking.revision


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
