"""The webhook: notifications arrive at a steady rate, and each 202 means that the marks are on disk.

The notifications name real subscriptions and real events, so the service reads what they announce meanwhile.
"""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from random import Random

from tests.bench.figures import Figure, Scale, quantile
from tests.bench.lines import Json
from tests.bench.programs import Program, cpu_s, program, wait_idle
from tests.bench.stage import Microsoft, Service, stage

_ROOMS = 50
_RATE = 200
_SECONDS = 15.0
_GOAL_S = 0.020
_BODIES = 500
_COMMITS = 500


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Measure with one notification a body, and with ten."""
    seconds = 3.0 if scale.is_quick else _SECONDS
    with stage(folder, rooms_count=_ROOMS, bookings_count=20) as (service, emulator), program("webhook_load") as load:
        items = genuine_items(emulator)
        ceiling = _commit_alone(folder)
        return [_measure(service, emulator, load, items, size, seconds, ceiling) for size in (1, 10)]


def _measure(
    service: Service,
    emulator: Microsoft,
    load: Program,
    items: list[Json],
    size: int,
    seconds: float,
    ceiling: str,
) -> Figure:
    bodies = posts(items, size, Random(1))
    wait_idle(service.pid, emulator.started.process.pid)
    before_s = cpu_s(service.pid)
    got = load.ask(port=service.webhook_port, rate=_RATE / size, seconds=seconds, bodies=bodies)
    used_s = cpu_s(service.pid) - before_s
    return Figure(
        name=f"Webhook, {_RATE} notifications/s, {size} a body",
        measured=f"p50 {got['p50_s'] * 1e3:.1f} ms, p95 {got['p95_s'] * 1e3:.1f} ms, p99 {got['p99_s'] * 1e3:.1f} ms,"
        f" max {got['max_s'] * 1e3:.0f} ms; answers {got['statuses']}; service at {used_s / seconds:.0%} of a core",
        ceiling=ceiling,
        result=f"p99 {got['p99_s'] * 1e3:.1f} ms",
        goal=f"p99 < {_GOAL_S * 1e3:.0f} ms",
        is_met=got["p99_s"] < _GOAL_S and set(got["statuses"]) == {"202"},
        ran=f"{seconds:g} s, N = {sum(got['statuses'].values()):,} posts, {_ROOMS} rooms, synchronous FULL, with the reads"
        " that the marks cause",
    )


def posts(items: list[Json], size: int, rng: Random) -> list[str]:
    """Return bodies of so many notifications each."""
    return [json.dumps({"value": rng.sample(items, size)}) for _ in range(_BODIES)]


def genuine_items(emulator: Microsoft) -> list[Json]:
    """Return genuine notifications, some for each room."""
    found: list[Json] = []
    for subscription in emulator.get("/subscriptions")["subscriptions"]:
        mailbox = subscription["mailbox"]
        for event in emulator.get(f"/calendars/{mailbox}")["items"][:5]:
            resource = f"Users/{mailbox}/Events/{event['id']}"
            found.append(
                {
                    "subscriptionId": subscription["id"],
                    "subscriptionExpirationDateTime": subscription["expirationDateTime"],
                    "changeType": "updated",
                    "resource": resource,
                    "resourceData": {"@odata.type": "#Microsoft.Graph.Event", "@odata.id": resource, "id": event["id"]},
                    "clientState": subscription["clientState"],
                    "tenantId": emulator.tenant["tenant_id"],
                }
            )
    assert len(found) > _ROOMS, len(found)
    return found


def _commit_alone(folder: Path) -> str:
    """Time what durability itself costs here: one row, one commit, nothing else going on."""
    raw = sqlite3.connect(folder / "alone.sqlite3", isolation_level=None)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA synchronous=FULL")
    raw.execute("CREATE TABLE marks (at REAL)")
    durations_s: list[float] = []
    for _ in range(_COMMITS):
        began_s = time.perf_counter()
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("INSERT INTO marks VALUES (?)", (began_s,))
        raw.execute("COMMIT")
        durations_s.append(time.perf_counter() - began_s)
    raw.close()
    p50_ms, p99_ms = quantile(durations_s, 0.5) * 1e3, quantile(durations_s, 0.99) * 1e3
    return f"one SQLite commit alone, FULL: p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms"
