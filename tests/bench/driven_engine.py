"""The embedded engine on a real store, with something else in place of the chores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Protocol, cast

from sidecar.aio.clock import SystemClock
from sidecar.model.intent import IntentKind
from sidecar.settings import TasksSettings
from sidecar.store.store import Store
from sidecar.tasks.chores import Chore, Chores
from sidecar.tasks.lanes import Lanes
from sidecar.tasks.runner import EmbeddedRunner
from sidecar.telemetry.metrics import Telemetry


class InPlaceOfChores(Protocol):
    """All that lanes ask of chores."""

    @property
    def by_kind(self) -> Mapping[IntentKind, Chore]:
        """Return what carries out each kind of work."""


@asynccontextmanager
async def open_engine(store: Store, chores: InPlaceOfChores) -> AsyncIterator[None]:
    """Run what is due until the end of the block."""
    clock, telemetry, settings = SystemClock(), Telemetry(), TasksSettings()
    lanes = Lanes(
        store=store,
        chores=cast("Chores", chores),
        owner="bench",
        clock=clock,
        rng=Random(1),
        settings=settings,
        telemetry=telemetry,
    )
    runner = EmbeddedRunner(store=store, lanes=lanes, clock=clock, settings=settings)
    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        yield
        runner.stop()
    telemetry.close()
