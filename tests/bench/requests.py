"""Requests to Graph: for each change, and for a room in which nothing happens, against a client that takes it easy.

The service and the emulator run in one loop on virtual time, as in the simulation, so a day takes seconds; nothing goes
wrong in it. The easy client is reckoned from the same record: a GET for each notification, and a read of the window every
five minutes. A coalesced change is what is notified of one event without a pause longer than the service waits for things to
settle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sidecar.settings import GrpcSettings, Settings, SyncSettings, TasksSettings, WebhookSettings
from tests.bench.figures import Figure, Scale
from tests.simulation.logs import kept
from tests.simulation.loop import run_virtually
from tests.simulation.office import Office
from tests.simulation.plan import HOOKS_URL, Plan, calm_plan
from tests.simulation.trace import Trace
from tests.simulation.world import World, world_made

_ROOMS, _ACTIONS = 16, 240
_IDLE_HOURS, _BUSY_HOURS = 72.0, 24.0
_WARM_UP_S = 7_200.0
_REST_S = 1_200.0
_NAIVE_POLLS_AN_HOUR = 12
_GOAL_A_CHANGE, _GOAL_AN_HOUR = 1.2, 4.1
_GOAL_HANDSHAKES_AN_HOUR = 15.0
"""One in four minutes, however many rooms and tenants there are."""


class _Counting(Trace):
    """Counts what is asked of Graph, not of the login, and how much of that is checks of rooms and renewals.

    Calls of the webhook that Microsoft is asked for are counted apart: one deployment makes them, however many rooms it has.
    """

    graph_count = 0
    planned_count = 0
    handshakes_count = 0

    def note(self, kind: str, text: str = "") -> None:
        """See `Trace`."""
        super().note(kind, text)
        if kind == "graph" and "oauth2" not in text and "openid-configuration" not in text:
            self.graph_count += 1
            is_check = "calendarView/delta" in text and "skiptoken" not in text.lower()
            self.planned_count += is_check or "/subscriptions" in text
        if kind == "webhook" and " 0 bytes 200" in text:
            self.handshakes_count += 1


@dataclass(frozen=True, slots=True)
class _Counted:
    idle_count: int
    idle_planned_count: int
    idle_handshakes_count: int
    busy_count: int
    busy_planned_count: int
    busy_hours: float
    notifications_count: int
    changes_count: int


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Let a day pass in which nothing happens, and one with work in it."""
    share = 0.25 if scale.is_quick else 1.0
    settings = Settings(
        grpc=GrpcSettings(socket=None),
        webhook=WebhookSettings(public_url=HOOKS_URL),
        tasks=TasksSettings(sweep_s=60.0),  # looks at the database, which are no requests
    )
    plan = replace(
        calm_plan(1, rooms=_ROOMS, actions=int(_ACTIONS * share), hours=_BUSY_HOURS * share),
        people_count=4,
        watchers_count=0,
        settings=settings,
    )
    trace = _Counting(None)
    with kept(trace):
        counted = run_virtually(lambda: _count(plan, folder, trace, idle_s=_IDLE_HOURS * share * 3_600.0))
    return _figures(counted, idle_hours=_IDLE_HOURS * share)


async def _count(plan: Plan, folder: Path, trace: _Counting, *, idle_s: float) -> _Counted:
    async with world_made(plan, folder, trace) as world:
        await world.begin_life()
        await world.register()
        await asyncio.sleep(_WARM_UP_S)
        before_count, before_planned_count = trace.graph_count, trace.planned_count
        before_handshakes_count = trace.handshakes_count
        await asyncio.sleep(idle_s)
        idle_count, idle_planned_count = trace.graph_count - before_count, trace.planned_count - before_planned_count
        idle_handshakes_count = trace.handshakes_count - before_handshakes_count
        deliveries_before = len(await _deliveries(world))
        before_count, before_planned_count = trace.graph_count, trace.planned_count
        began_s = asyncio.get_running_loop().time()
        await Office(world).work()
        await asyncio.sleep(_REST_S)
        busy_count, ended_s = trace.graph_count - before_count, asyncio.get_running_loop().time()
        told = _told((await _deliveries(world))[deliveries_before:])
        return _Counted(
            idle_count=idle_count,
            idle_planned_count=idle_planned_count,
            idle_handshakes_count=idle_handshakes_count,
            busy_count=busy_count,
            busy_planned_count=trace.planned_count - before_planned_count,
            busy_hours=(ended_s - began_s) / 3_600.0,
            notifications_count=len(told),
            changes_count=_coalesced(told),
        )


async def _deliveries(world: World) -> list[dict[str, Any]]:  # Any: JSON
    answer = await world.directory.call("GET", "deliveries")
    return list(answer["deliveries"])


def _told(deliveries: Sequence[dict[str, Any]]) -> list[tuple[str, datetime]]:
    """Return which event was notified when."""
    return [
        (item["resource"].casefold(), datetime.fromisoformat(record["at"]))
        for record in deliveries
        if record["kind"] == "notification"
        for item in record["items"]
    ]


def _coalesced(told: Sequence[tuple[str, datetime]]) -> int:
    settle_s = SyncSettings().settle_s
    last_at: dict[str, datetime] = {}
    count = 0
    for resource, at in sorted(told, key=lambda one: one[1]):
        before_at = last_at.get(resource)
        count += before_at is None or (at - before_at).total_seconds() > settle_s
        last_at[resource] = at
    return count


def _figures(counted: _Counted, *, idle_hours: float) -> list[Figure]:
    of_rooms_count = counted.idle_count - counted.idle_handshakes_count
    an_hour = of_rooms_count / (_ROOMS * idle_hours)
    handshakes_an_hour = counted.idle_handshakes_count / idle_hours
    # Checks and renewals are made by the clock, whatever happens; what checks find makes other requests, or more pages.
    others_an_hour = (counted.idle_count - counted.idle_planned_count) / idle_hours
    for_changes = counted.busy_count - counted.busy_planned_count - others_an_hour * counted.busy_hours
    a_change = for_changes / counted.changes_count
    naive = counted.notifications_count / counted.changes_count
    return [
        Figure(
            name="Requests to Graph for a coalesced change",
            measured=f"{a_change:.2f}",
            ceiling=f"a GET for each notification: {naive:.2f}",
            result=f"{a_change:.2f}",
            goal=f"<= {_GOAL_A_CHANGE:g}",
            is_met=a_change <= _GOAL_A_CHANGE,
            ran=f"N = {counted.changes_count} changes, {counted.notifications_count} notifications, of an office that books,"
            f" moves, cancels and repeats in {_ROOMS} rooms for {counted.busy_hours:.0f} virtual hours; what idle rooms need is"
            " taken off",
        ),
        Figure(
            name="Requests to Graph for an idle room-hour",
            measured=f"{an_hour:.2f}",
            ceiling=f"the window every five minutes: {_NAIVE_POLLS_AN_HOUR}",
            result=f"{an_hour:.2f}",
            goal=f"<= {_GOAL_AN_HOUR:g}",
            is_met=an_hour <= _GOAL_AN_HOUR,
            ran=f"{_ROOMS} rooms, {idle_hours:.0f} virtual hours: {of_rooms_count} requests, subscriptions, verification"
            " and pulse included",
        ),
        Figure(
            name="Requests to Graph for an idle deployment-hour besides its rooms",
            measured=f"{handshakes_an_hour:.1f}",
            ceiling="none",
            result=f"{handshakes_an_hour:.1f}",
            goal=f"<= {_GOAL_HANDSHAKES_AN_HOUR:g}",
            is_met=handshakes_an_hour <= _GOAL_HANDSHAKES_AN_HOUR,
            ran=f"{counted.idle_handshakes_count} calls of the webhook that Microsoft was asked for: nothing was announced",
        ),
    ]
