"""The embedded engine: from marking work to its start, with nothing else to do and beside another tenant's crowd.

The store, the lanes and the runner are the service's; the chores only note when they start and wait a little, as if for
Microsoft. It all runs in this process: there is no wire between a mark and its chore.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import structlog
import uvloop

from sidecar.model.ids import TenantUid
from sidecar.model.intent import Intent, IntentKind, Lease, Priority
from sidecar.store.store import Store
from sidecar.tasks.chores import Chore, Done, Outcome
from tests.bench.driven_engine import open_engine
from tests.bench.driven_server import open_real_store
from tests.bench.figures import Figure, Scale, quantile

_MARKS, _QUEUED = 300, 5_000
_PAUSE_S = 0.04
_CALL_S = 0.06
"""How long a chore seems to wait for Microsoft; the crowd lasts longer than the measuring."""
_OURS, _OTHER = TenantUid("ours"), TenantUid("other")


class _Noted:
    """In place of the chores: every kind notes its start."""

    def __init__(self) -> None:
        self.started_s: dict[str, float] = {}
        self.by_kind: dict[IntentKind, Chore] = dict.fromkeys(IntentKind, self._run)

    async def _run(self, intent: Intent, lease: Lease) -> Outcome:
        self.started_s.setdefault(intent.key, time.perf_counter())
        await asyncio.sleep(_CALL_S)
        return Done()


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Measure both."""
    marks_count = 50 if scale.is_quick else _MARKS
    return uvloop.run(_run(folder, marks_count))


async def _run(folder: Path, marks_count: int) -> list[Figure]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    commit_ms = 0.0
    figures: list[Figure] = []
    for name, queued_count in (("idle", 0), (f"{_QUEUED:,} marks of another tenant queued", _QUEUED)):
        async with open_real_store(folder / f"engine-{queued_count}.sqlite3") as store:
            commit_ms = await _commit_ms(store)
            await _queue(store, queued_count)
            chores = _Noted()
            async with open_engine(store, chores):
                waits_s = await _mark(store, chores, marks_count)
                left_count = queued_count - sum(key.startswith(_OTHER) for key in chores.started_s)
        p50_ms, p99_ms = quantile(waits_s, 0.5) * 1e3, quantile(waits_s, 0.99) * 1e3
        figures.append(
            Figure(
                name=f"Mark to start of its chore, {name}",
                measured=f"p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms",
                ceiling=f"making the mark durable alone: p50 {commit_ms:.1f} ms",
                result=f"p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms",
                goal="none set",
                is_met=None,
                ran=f"N = {len(waits_s)} marks of {marks_count}, one every {_PAUSE_S * 1e3:.0f} ms, from before the call that"
                f" marks; chores of {_CALL_S * 1e3:.0f} ms"
                + (f"; {left_count:,} of the others were still queued at the end" if queued_count else ""),
            )
        )
    return figures


async def _commit_ms(store: Store) -> float:
    durations_s: list[float] = []
    for _ in range(100):
        began_s = time.perf_counter()
        await store.intents.mark(IntentKind.LOG_PRUNE, "alone", _OURS, priority=Priority.HINT)
        durations_s.append(time.perf_counter() - began_s)
    return quantile(durations_s, 0.5) * 1e3


async def _queue(store: Store, count: int) -> None:
    for start in range(0, count, 500):
        async with asyncio.TaskGroup() as group:
            for number in range(start, start + 500):
                key = f"{_OTHER}-{number}"
                group.create_task(store.intents.mark(IntentKind.ROOM_COMPARE, key, _OTHER, priority=Priority.IMPORT))


async def _mark(store: Store, chores: _Noted, count: int) -> list[float]:
    await asyncio.sleep(1.0)  # the other tenant's work is in full swing
    marked_s: dict[str, float] = {}
    for number in range(count):
        key = f"{_OURS}-{number}"
        marked_s[key] = time.perf_counter()
        await store.intents.mark(IntentKind.ROOM_SYNC, key, _OURS, priority=Priority.HINT)
        await asyncio.sleep(_PAUSE_S)
    deadline_s = time.perf_counter() + 10
    while time.perf_counter() < deadline_s and not marked_s.keys() <= chores.started_s.keys():  # noqa: ASYNC110  (rare)
        await asyncio.sleep(0.01)
    return [chores.started_s[key] - at_s for key, at_s in marked_s.items() if key in chores.started_s]
