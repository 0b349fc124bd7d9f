"""One soak: who works, what is cut, who watches; what is told each minute, and what is proved in the end."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random
from typing import Any

from exchange_client import FileTokenStore, Reconnected

from sidecar.emulator.fixture import RunningEmulator
from tests.support import postgres
from tests.support.processes import Service
from tests.support.promises import prove_promises, told_again_count
from tests.support.restless import RestlessWatcher, background
from tests.support.scene import Scene, Watcher, booking_changes, scene_set

_PATIENCE = {"retry_first_s": 0.5, "retry_max_s": 5.0}
"""Microsoft tries a webhook again after ten seconds and more; minutes would pass before a cut is made up for."""
_PAUSE_S = 0.4
_UP_S = (3.0, 40.0)
"""How long the process lives between two cuts."""
_DOWN_S = (0.0, 5.0)
_TROUBLE_S = (10.0, 60.0)
_OUTAGE_S = (2.0, 15.0)
_REST_S = 300.0
_LINE_S = 60.0


class Soak:
    """A tenant's hard time."""

    def __init__(
        self, service: Service, emulator: RunningEmulator, folder: Path, rng: Random, *, rooms_count: int, store: str
    ) -> None:
        self._service = service
        self._emulator = emulator
        self._folder = folder
        self._rng = rng
        self._rooms_count = rooms_count
        self._store = store
        self._kills_count = 0
        self._troubles_count = 0

    async def run(self, minutes: float) -> None:
        """Let it go on for so long, then prove that nothing is wrong.

        Raises:
            AssertionError: what is wrong.
        """
        async with AsyncExitStack() as stack:
            scene = await stack.enter_async_context(scene_set(self._service, self._emulator, rooms=self._rooms_count))
            await scene.directory.call("PUT", "/control/moods", dict(_PATIENCE))
            tokens = FileTokenStore(self._folder / "tokens")
            watchers = [
                await stack.enter_async_context(scene.watching(store=tokens)),
                await stack.enter_async_context(scene.watching()),
                await stack.enter_async_context(scene.watching(scene.room())),
            ]
            restless = RestlessWatcher(scene, self._folder, self._rng)
            office = scene.office(self._rng)
            works = (office.work(minutes * 60.0, pause_s=_PAUSE_S), restless.run(), self._break_things(scene))
            began_s = time.monotonic()
            async with background(*works, self._tell(scene, watchers, restless, office)):
                await self._cut(began_s + minutes * 60.0)
            self._say(began_s, office.actions_count, restless, watchers)
            await self._prove(scene, watchers, restless)

    async def _cut(self, until_s: float) -> None:
        """End the service as a loss of power does, and start it again, until a time of `time.monotonic`."""
        while True:
            await asyncio.sleep(min(self._rng.uniform(*_UP_S), max(0.0, until_s - time.monotonic())))
            if time.monotonic() >= until_s:
                return
            await asyncio.to_thread(self._service.kill)
            self._kills_count += 1
            await asyncio.sleep(self._rng.uniform(*_DOWN_S))
            await asyncio.to_thread(self._service.start)

    async def _break_things(self, scene: Scene) -> None:
        """Let Microsoft be away for a moment, or call back its tokens, now and then."""
        call = scene.directory.call
        troubles: list[Callable[[], Awaitable[Any]]] = [  # Any: JSON
            lambda: call("POST", "/control/outage", {"status": 503, "for_s": self._rng.uniform(*_OUTAGE_S)}),
            lambda: call("PATCH", "app", {"revoke_tokens": True}),
        ]
        while True:
            await asyncio.sleep(self._rng.uniform(*_TROUBLE_S))
            await self._rng.choice(troubles)()
            self._troubles_count += 1

    async def _tell(self, scene: Scene, watchers: list[Watcher], restless: RestlessWatcher, office: Any) -> None:
        """Print a line each minute (Any: the office of the scene)."""
        began_s = time.monotonic()
        while True:
            await asyncio.sleep(_LINE_S)
            self._say(began_s, office.actions_count, restless, watchers)

    def _say(self, began_s: float, actions_count: int, restless: RestlessWatcher, watchers: list[Watcher]) -> None:
        streams_count = sum(isinstance(message, Reconnected) for one in watchers for message in one.messages)
        told_count = sum(len(booking_changes(one.messages)) for one in watchers)
        print(
            f"{(time.monotonic() - began_s) / 60.0:5.1f} min: {actions_count} actions, {self._kills_count} kills,"
            f" {restless.kills_count} of a watcher, {self._troubles_count} troubles at Microsoft,"
            f" {streams_count} reconnections, {told_count} changes told, {told_again_count(watchers)} again,"
            f" drift {self._drift_count()}",
            flush=True,
        )

    def _drift_count(self) -> int:
        """Count what full reads found and nothing had announced, over all lives of the process."""
        question = "SELECT COALESCE(SUM(drift_count), 0) FROM rooms"
        if self._store == "postgres":
            database = postgres.name_of(Path(self._service.env["EXCHANGE_STORE__DSN_FILE"]))
            return int(postgres.server().query(question, database)[0][0])
        with closing(sqlite3.connect(f"file:{self._service.database}?mode=ro", uri=True)) as raw:
            return int(raw.execute(question).fetchone()[0])

    async def _prove(self, scene: Scene, watchers: list[Watcher], restless: RestlessWatcher) -> None:
        """Wait until everything rests, then prove it."""
        await scene.directory.call("POST", "/control/outage", {"for_s": 0})
        await scene.settled_rooms(deadline_s=_REST_S)
        await scene.converged(*watchers, deadline_s=_REST_S)
        await restless.catch_up()
        assert await scene.directory.subscribed() == sorted(scene.rooms.values()), "one live subscription for each room"
        await prove_promises(scene, *watchers)
        drift_count = self._drift_count()
        assert drift_count == 0, f"full reads found {drift_count} changes that nothing had announced"
        bookings_count = sum(len(watchers[0].mirror.bookings(room)) for room in scene.rooms)
        print(
            f"drift 0, lost 0 of {bookings_count} bookings, doubled 0: no revision said two things;"
            f" {told_again_count(watchers)} changes came again after a reconnection, as they may"
        )
