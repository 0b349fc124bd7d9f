"""Marks by the thousand on the embedded engine: they merge, run one at a time for a room, and start soon when it is calm.

The store, the lanes and the runner are the service's; the chore notes its start, waits as if for Microsoft, and looks whether
another one of the same room runs. The goal for a calm load is about the start; the burst tells how fast it all drains.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import structlog
import uvloop

from sidecar.model.ids import TenantUid
from sidecar.model.intent import Intent, IntentKind, Lease, Priority
from sidecar.store.store import Store
from sidecar.tasks.chores import Chore, Done, Outcome
from tests.bench.driven_engine import open_engine
from tests.bench.driven_server import open_real_store
from tests.bench.figures import Figure, Scale, quantile

_ROOMS, _MARKS = 2_000, 20_000
_CALM_MARKS, _CALM_PAUSE_S = 1_000, 0.02
_MARKERS = 64
"""Webhook bodies that are worked on at once."""
_CALL_S = 0.005
_GOAL_MS = 50.0
_LANE = TenantUid("bench")
_DRAINED_S = 120.0


@dataclass
class _Rooms:
    """In place of the chores: notes what runs."""

    running: Counter[str] = field(default_factory=Counter)
    started_s: dict[str, list[float]] = field(default_factory=dict)
    at_once_max: int = 0
    runs_count: int = 0

    def __post_init__(self) -> None:
        self.by_kind: dict[IntentKind, Chore] = dict.fromkeys(IntentKind, self._run)

    async def _run(self, intent: Intent, lease: Lease) -> Outcome:
        self.started_s.setdefault(intent.key, []).append(time.perf_counter())
        self.running[intent.key] += 1
        self.runs_count += 1
        self.at_once_max = max(self.at_once_max, self.running[intent.key])
        await asyncio.sleep(_CALL_S)
        self.running[intent.key] -= 1
        return Done()


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Measure a burst and a calm load."""
    return uvloop.run(_run(folder, share=0.1 if scale.is_quick else 1.0))


async def _run(folder: Path, *, share: float) -> list[Figure]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    marks_count = int(_MARKS * share)
    rooms = _Rooms()
    async with open_real_store(folder / "burst.sqlite3") as store, open_engine(store, rooms):
        began_s = time.perf_counter()
        queued_max = await _burst(store, marks_count)
        marked_s = time.perf_counter() - began_s
        await _drained(store)
        drained_s = time.perf_counter() - began_s
    burst = Figure(
        name=f"{marks_count:,} marks on {_ROOMS:,} rooms, drained",
        measured=f"marked in {marked_s:.1f} s, drained after {drained_s:.1f} s, {rooms.runs_count:,} runs",
        ceiling=f"as many runs as rooms: {_ROOMS:,}",
        result=f"{queued_max} queued and {rooms.at_once_max} running of a room at most",
        goal="1 and 1",
        is_met=queued_max == 1 and rooms.at_once_max == 1,
        ran=f"{_MARKERS} at a time; chores of {_CALL_S * 1e3:.0f} ms",
    )
    rooms = _Rooms()
    async with open_real_store(folder / "calm.sqlite3") as store, open_engine(store, rooms):
        waits_s = await _calm(store, rooms, int(_CALM_MARKS * share))
    p50_ms, p99_ms = quantile(waits_s, 0.5) * 1e3, quantile(waits_s, 0.99) * 1e3
    calm = Figure(
        name="Mark to start, calm load",
        measured=f"p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms",
        ceiling="",
        result=f"p99 {p99_ms:.1f} ms",
        goal=f"p99 < {_GOAL_MS:g} ms",
        is_met=p99_ms < _GOAL_MS,
        ran=f"N = {len(waits_s):,} marks, one every {_CALM_PAUSE_S * 1e3:.0f} ms, each on the next of {_ROOMS:,} rooms;"
        " from before the call that marks",
    )
    return [burst, calm]


async def _burst(store: Store, count: int) -> int:
    """Mark rooms at random; return how many rows one room had at most while it went on."""
    rng = Random(1)
    keys = [f"r{rng.randrange(_ROOMS)}" for _ in range(count)]
    queued_max = 0

    async def mark(share: list[str]) -> None:
        nonlocal queued_max
        for number, key in enumerate(share):
            await store.intents.mark(IntentKind.ROOM_SYNC, key, _LANE, priority=Priority.HINT)
            if number % 50 == 0:
                due = await store.intents.due(_LANE, count_max=_ROOMS * 2)
                queued_max = max(queued_max, *Counter(intent.key for intent in due).values(), 0)

    async with asyncio.TaskGroup() as group:
        for number in range(_MARKERS):
            group.create_task(mark(keys[number::_MARKERS]))
    return queued_max


async def _drained(store: Store) -> None:
    deadline_s = time.perf_counter() + _DRAINED_S
    while await store.intents.count():
        assert time.perf_counter() < deadline_s, "it did not drain"
        await asyncio.sleep(0.02)


async def _calm(store: Store, rooms: _Rooms, count: int) -> list[float]:
    marked_s: list[tuple[str, float]] = []
    for number in range(count):
        key = f"r{number % _ROOMS}"
        marked_s.append((key, time.perf_counter()))
        await store.intents.mark(IntentKind.ROOM_SYNC, key, _LANE, priority=Priority.HINT)
        await asyncio.sleep(_CALM_PAUSE_S)
    await _drained(store)
    return [min(at_s for at_s in rooms.started_s[key] if at_s >= since_s) - since_s for key, since_s in marked_s]
