"""Lanes that are driven from outside, with a chore of the test's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from types import SimpleNamespace
from typing import cast

from sidecar.aio.clock import Clock, SystemClock
from sidecar.model.intent import Intent, IntentKind, Lease
from sidecar.settings import TasksSettings
from sidecar.store.store import Store
from sidecar.tasks.called_runner import CalledRunner
from sidecar.tasks.chores import Chores, Done, Outcome
from sidecar.tasks.driving import LaneDriving
from sidecar.tasks.lanes import Lanes
from sidecar.telemetry.metrics import Telemetry

SETTINGS = TasksSettings(lease_s=3.0, linger_s=0.0, slice_s=1.0, rooms_per_lane_max=4, lanes_max=2)

Work = Callable[[Intent], Awaitable[Outcome | None]]


async def nothing(intent: Intent) -> None:
    """Do nothing."""


def make_called(
    store: Store,
    work: Work = nothing,
    *,
    clock: Clock | None = None,
    settings: TasksSettings = SETTINGS,
    is_relied_on: bool = False,
) -> CalledRunner:
    """Return a runner that does this work, whatever is due."""

    async def chore(intent: Intent, lease: Lease) -> Outcome:
        return await work(intent) or Done()

    clock = clock or SystemClock()
    chores = SimpleNamespace(by_kind=dict.fromkeys(IntentKind, chore))
    lanes = Lanes(
        store=store,
        chores=cast(Chores, chores),  # only by_kind is used
        owner="host:1:called",
        clock=clock,
        rng=Random(1),
        settings=settings,
        telemetry=Telemetry(),
    )
    return CalledRunner(store=store, lanes=lanes, clock=clock, settings=settings, is_relied_on=is_relied_on)


def make_driving(store: Store, work: Work = nothing, *, clock: Clock | None = None) -> LaneDriving:
    """Return lanes to drive; nobody runs its runner, so that none can be drained."""
    runner = make_called(store, work, clock=clock)
    return LaneDriving(store=store, runner=runner, clock=clock or SystemClock(), sweep_s=SETTINGS.sweep_s)
