"""Ten thousand rooms: how soon the service is back after a stop, what it holds, and what it costs to do nothing.

Everything is real: the emulator holds the calendars, the service has imported them, and each room is checked as often as in
operation. Only the schedule is set: after an import of some minutes everything would be due within the same minutes, while
rooms that have been there for days are spread evenly. The bench spreads what is due over each chore's own interval.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from sidecar.settings import SyncSettings
from tests.bench.figures import Figure, Scale
from tests.bench.programs import cpu_s, rss_kb, wait_idle
from tests.bench.stage import Microsoft, Service, free_port, map_rooms, microsoft, service, wait_live

_TENANTS, _ROOMS, _BOOKINGS = 10, 1_000, 200
_READY_GOAL_S, _HELD_GOAL_MB, _IDLE_GOAL = 3.0, 400, 0.03
_IDLE_S = 120.0
_IMPORT_S = 1_800.0
_SEED = 11
_IMPORTS = (
    "import asyncio, alembic, cryptography.fernet, grpc, httpx, msal, msgspec, starlette, structlog, uvicorn, uvloop"
)


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Import, stop, spread, start, and look."""
    rooms_count = 20 if scale.is_quick else _ROOMS
    port = free_port()
    with microsoft(folder, rooms_count=rooms_count, bookings_count=_BOOKINGS) as emulator:
        tenants = [emulator, *(_another(emulator, number, rooms_count) for number in range(1, _TENANTS))]
        with service(folder / "service", emulator, webhook_port=port) as running:
            for number, tenant in enumerate(tenants):
                map_rooms(running, tenant, tenant_id=f"t{number}")
            for number, _ in enumerate(tenants):
                wait_live(running, rooms_count, tenant_id=f"t{number}", patience_s=_IMPORT_S)
            wait_idle(running.pid)
        _spread(folder / "service" / "exchange.sqlite3")
        bare_s = _start_bare()
        began_s = time.perf_counter()
        with service(folder / "service", emulator, webhook_port=port) as running:
            ready_s = time.perf_counter() - began_s
            return _figures(running, tenants, ready_s, bare_s, rooms_count * _TENANTS, scale)


def _figures(
    running: Service, tenants: list[Microsoft], ready_s: float, bare_s: float, rooms_count: int, scale: Scale
) -> list[Figure]:
    time.sleep(2.0)
    idle_s = 20.0 if scale.is_quick else _IDLE_S
    numbers = [_last_number(tenant) for tenant in tenants]
    before_s = cpu_s(running.pid)
    began_s = time.perf_counter()
    time.sleep(idle_s)
    share = (cpu_s(running.pid) - before_s) / (time.perf_counter() - began_s)
    asked = sum(_last_number(tenant) - number for tenant, number in zip(tenants, numbers, strict=True))
    held_mb = rss_kb(running.pid) / 1024
    told = f"{rooms_count:,} rooms x {_BOOKINGS} bookings in {_TENANTS} tenants, imported before; seed {_SEED}"
    return [
        Figure(
            name="Restart with many rooms",
            measured=f"{ready_s:.2f} s to the ready line",
            ceiling=f"a Python that imports the same libraries: {bare_s:.2f} s",
            result=f"{ready_s:.2f} s",
            goal=f"< {_READY_GOAL_S:g} s",
            is_met=ready_s < _READY_GOAL_S,
            ran=told,
        ),
        Figure(
            name="Memory with many rooms",
            measured=f"{held_mb:.0f} MB after {idle_s:.0f} s",
            ceiling="none",
            result=f"{held_mb:.0f} MB",
            goal=f"< {_HELD_GOAL_MB} MB",
            is_met=held_mb < _HELD_GOAL_MB,
            ran="resident memory of the process above",
        ),
        Figure(
            name="Doing nothing with many rooms",
            measured=f"{share:.1%} of a core; {asked:,} requests in {idle_s:.0f} s",
            ceiling="none",
            result=f"{share:.1%}",
            goal=f"< {_IDLE_GOAL:.0%}",
            is_met=share < _IDLE_GOAL,
            ran="CPU of the process above while nobody books; checks, full reads and renewals at their own pace, spread"
            f" evenly; {share / max(1, asked) * idle_s * 1e3:.1f} ms a request",
        ),
    ]


def _another(emulator: Microsoft, number: int, rooms_count: int) -> Microsoft:
    """Make one more tenant at the emulator, as full as the first."""
    body = {"domain": f"tenant{number}.example"}
    tenant = emulator.control.post("/control/tenants", json=body).raise_for_status().json()
    another = Microsoft(emulator.started, emulator.control, tenant, [])
    seeded = another.post("/seed", {"rooms": rooms_count, "bookings_per_room": _BOOKINGS})
    another.rooms.extend(seeded["rooms"])
    return another


def _spread(database: Path) -> None:
    """Set what is due to random moments of each chore's interval, as it is after some days."""
    settings, rng = SyncSettings(), Random(_SEED)
    interval_s = {
        "room.check": 900.0,
        "room.compare": settings.compare_interval_s,
        "room.subscribe": settings.subscription_minutes * 60 / 2,
    }
    now_us = time.time_ns() // 1_000
    connection = sqlite3.connect(database)
    with connection:
        for kind, key in connection.execute("SELECT kind, key FROM intents ORDER BY kind, key").fetchall():
            if kind not in interval_s:
                continue
            due_us = now_us + round(rng.random() * interval_s[kind] * 1e6)
            connection.execute("UPDATE intents SET ready_at = ? WHERE kind = ? AND key = ?", (due_us, kind, key))
            if kind == "room.subscribe":
                connection.execute("UPDATE subscriptions SET renew_at = ? WHERE room_uid = ?", (due_us, key))
    connection.close()


def _start_bare() -> float:
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", _IMPORTS], check=True)
    return time.perf_counter() - began_s


def _last_number(tenant: Microsoft) -> int:
    requests = tenant.get("/requests")["requests"]
    return int(requests[-1]["number"]) if requests else 0
