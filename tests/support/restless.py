"""What goes on beside a test: works in the background, and a watcher process that is killed again and again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from exchange_client import RoomMirror

from tests.support.processes import ROOT, eventually
from tests.support.scene import Scene


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
