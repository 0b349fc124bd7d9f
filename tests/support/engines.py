"""Engines for the conformance suite of the runners: a store, lanes, a runner, and a chore that is the test's own.

They run on real time, because a real database does. Waiting is asking until it is so (`eventually`), never sleeping.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

from sidecar.aio.clock import SystemClock
from sidecar.aio.supervise import keep_running
from sidecar.model.ids import TenantUid
from sidecar.model.intent import Intent, IntentKind, Lease, Priority
from sidecar.settings import TasksSettings
from sidecar.store.postgres_link import Link
from sidecar.store.procrastinate_schema import migrate_procrastinate
from sidecar.tasks.chores import Chores, Done, Outcome
from sidecar.tasks.lanes import Lanes
from sidecar.tasks.procrastinate_queue import ProcrastinateQueue
from sidecar.tasks.procrastinate_runner import ProcrastinateRunner
from sidecar.tasks.runner import EmbeddedRunner, Runner
from sidecar.telemetry.metrics import Telemetry
from tests.support import postgres
from tests.support.processes import eventually
from tests.support.stores import OpenStore, open_postgres, open_store

SUBJECTS = ("embedded-sqlite", "embedded-postgres", "procrastinate-postgres")
"""Runner and store."""
SHARED = SUBJECTS[1:]
"""Those whose store lets in several processes."""
LANE = TenantUid("t1")
SETTINGS = TasksSettings(lease_s=1.5, linger_s=0.1, slice_s=0.5, sweep_s=0.5, rooms_per_lane_max=4, lanes_max=3)

Work = Callable[[Intent], Awaitable[Outcome | None]]


@dataclass
class Office:
    """What all engines on one database work on, and what is noted about their work.

    Attributes:
        work: the chore of every kind.
        running: keys that are being worked on, by any engine.
        ran: keys whose work has ended well, in order.
        overlaps: keys that were begun while they ran; a promise broken.
    """

    kind: str
    opened: OpenStore
    work: Work
    running: set[str] = field(default_factory=set)
    ran: list[str] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)

    async def mark(
        self, key: str, *, lane: str = LANE, priority: Priority = Priority.HINT, in_s: float = 0.0, force: bool = False
    ) -> None:
        """Make work due."""
        ready_at = self.opened.clock.now() + timedelta(seconds=in_s) if in_s else None
        await self.opened.store.intents.mark(
            IntentKind.ROOM_SYNC, key, TenantUid(lane), priority=priority, ready_at=ready_at, force=force
        )

    async def is_done(self) -> bool:
        """Tell whether no work is known any more."""
        return await self.opened.store.intents.count() == 0

    async def done(self) -> None:
        """Wait until no work is known any more."""
        await eventually(self.is_done, "all work is done")

    async def chore(self, intent: Intent, lease: Lease) -> Outcome:
        """Do the test's work, and note it."""
        if intent.key in self.running:
            self.overlaps.append(intent.key)
        self.running.add(intent.key)
        try:
            outcome = await self.work(intent)
        finally:
            self.running.discard(intent.key)
        self.ran.append(intent.key)
        return outcome or Done()


class EngineProcess:
    """An engine as a process of its own would run it."""

    def __init__(self, office: Office, opened: OpenStore, *, number: int, settings: TasksSettings = SETTINGS) -> None:
        self.telemetry = Telemetry()
        self._opened = opened
        owner = f"engine {number}"
        lanes = Lanes(
            store=opened.store,
            chores=cast(Chores, SimpleNamespace(by_kind=dict.fromkeys(IntentKind, office.chore))),  # all that is used
            owner=owner,
            clock=opened.clock,
            rng=Random(number),
            settings=settings,
            telemetry=self.telemetry,
        )
        self.runner: Runner
        if office.kind.startswith("embedded"):
            self.runner = EmbeddedRunner(store=opened.store, lanes=lanes, clock=opened.clock, settings=settings)
        else:
            self.runner = ProcrastinateRunner(
                store=opened.store,
                lanes=lanes,
                queue=ProcrastinateQueue(opened.path, store_id="test", statement_s=5.0),
                owner=owner,
                clock=opened.clock,
                rng=Random(number),
                settings=settings,
            )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Work, as the service has it: whatever ends with an error is run again."""
        body = keep_running("runner", self.runner.run, clock=self._opened.clock, rng=Random(0))
        self._task = asyncio.ensure_future(body)

    async def stop(self) -> None:
        """Finish what was begun, begin nothing new."""
        assert self._task is not None, "start() comes first"
        self.runner.stop()
        await self._task

    async def kill(self) -> None:
        """Stop working at once; no lane is given back."""
        assert self._task is not None, "start() comes first"
        self._task.cancel()
        await asyncio.wait([self._task])

    async def close(self) -> None:
        """End it, however far it is."""
        if self._task is not None and not self._task.done():
            await self.kill()
        self.telemetry.close()


@asynccontextmanager
async def office_open(kind: str, folder: Path, work: Work) -> AsyncIterator[Office]:
    """Open an empty store for one of SUBJECTS."""
    if kind == "embedded-sqlite":
        async with open_store(folder / "exchange.sqlite3", clock=SystemClock()) as opened:
            yield Office(kind, opened, work)
        return
    with postgres.database() as dsn_file:
        if kind == "procrastinate-postgres":
            await migrate_procrastinate(Link(dsn_file, statement_s=10.0, lock_s=5.0))
        async with open_postgres(dsn_file, clock=None) as opened:
            yield Office(kind, opened, work)


@asynccontextmanager
async def engine(
    office: Office, *, number: int = 1, settings: TasksSettings = SETTINGS
) -> AsyncIterator[EngineProcess]:
    """Run an engine while inside; the first on the store that the test uses, further ones on connections of their own."""
    if number == 1 or office.kind == "embedded-sqlite":
        made = EngineProcess(office, office.opened, number=number, settings=settings)
        made.start()
        try:
            yield made
        finally:
            await made.close()
        return
    async with open_postgres(office.opened.path, clock=None) as opened:
        made = EngineProcess(office, opened, number=number, settings=settings)
        made.start()
        try:
            yield made
        finally:
            await made.close()
