"""A backup of a large database while bookings change: how long it takes, and what the commits beside it feel of it.

The store is the service's, in this process; the backup is the command, a process of its own, as operators run it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from random import Random
from statistics import median

import structlog
import uvloop

from sidecar.model.change import ChangeKind
from sidecar.model.room import Room
from sidecar.store.store import Store
from tests.bench.driven_server import open_real_store
from tests.bench.figures import Figure, Scale, quantile
from tests.bench.lines import Json
from tests.support.builders import TENANT, always, complete_read, make_booking, make_mapping, make_registration, upsert

_ROOMS, _BOOKINGS = 200, 500
_PAUSE_S = 0.02
"""Between the beginnings of two changes: 50 each second."""
_CALM_S = 8.0


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Measure."""
    rooms_count = 20 if scale.is_quick else _ROOMS
    return [uvloop.run(_run(folder, rooms_count, 2 if scale.is_quick else 5))]


async def _run(folder: Path, rooms_count: int, rounds_count: int) -> Figure:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    path = folder / "exchange.sqlite3"
    async with open_real_store(path) as store:
        rooms = await _fill(store, rooms_count)
        calm_s: list[float] = []
        busy_s: list[float] = []
        taken_s: list[float] = []
        bytes_count = 0
        for number in range(rounds_count):
            calm_s += await _write_until(store, rooms, asyncio.ensure_future(_pause()))
            began_s = time.perf_counter()
            backup = asyncio.ensure_future(_back_up(path, folder / f"backup-{number}"))
            busy_s += await _write_until(store, rooms, backup)
            taken_s.append(time.perf_counter() - began_s)
            bytes_count = int(backup.result()["bytes_count"])
    calm_ms, busy_ms = quantile(calm_s, 0.99) * 1e3, quantile(busy_s, 0.99) * 1e3
    return Figure(
        name="Backup, 50 changes/s meanwhile",
        measured=f"{median(taken_s):.1f} s (up to {max(taken_s):.1f}) for {bytes_count / 1e6:.0f} MB; commits p50"
        f" {quantile(busy_s, 0.5) * 1e3:.1f} ms, p99 {busy_ms:.1f} ms, most {max(busy_s) * 1e3:.0f} ms",
        ceiling=f"commits without a backup: p50 {quantile(calm_s, 0.5) * 1e3:.1f} ms, p99 {calm_ms:.1f} ms,"
        f" most {max(calm_s) * 1e3:.0f} ms",
        result=f"p99 x{busy_ms / calm_ms:.1f}",
        goal="none set",
        is_met=None,
        ran=f"{rounds_count} rounds, N = {rooms_count * _BOOKINGS:,} bookings; {len(busy_s)} commits beside backups,"
        f" {len(calm_s)} without; the backup is a process, its start and the proof of the copy included",
    )


async def _fill(store: Store, rooms_count: int) -> list[Room]:
    await store.tenants.register(make_registration())
    mapped = await store.rooms.map_all(TENANT, [make_mapping(f"r{number:03}") for number in range(rooms_count)])
    rooms = [room for room in mapped if isinstance(room, Room)]
    for room in rooms:
        bookings = [
            make_booking(f"{room.room_id}-{number:04}", subject="Design review " * 4) for number in range(_BOOKINGS)
        ]
        await store.calendars.apply(room, always(*map(upsert, bookings)), lease=None, complete=complete_read())
    return rooms


async def _pause() -> None:
    await asyncio.sleep(_CALM_S)


async def _back_up(path: Path, target: Path) -> Json:
    env = {**os.environ, "EXCHANGE_STORE__PATH": str(path)}
    command = [sys.executable, "-m", "sidecar", "backup", "--to", str(target), "-o", "json"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=env)
    told, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError("the backup failed")
    return dict(json.loads(told))


async def _write_until(
    store: Store, rooms: list[Room], over: asyncio.Future[Json] | asyncio.Future[None]
) -> list[float]:
    """Change a booking every so often until something is over; return how long each commit took, from when it was due."""
    rng = Random(7)
    durations_s: list[float] = []
    due_s = time.perf_counter()
    while not over.done():
        room = rng.choice(rooms)
        booking = make_booking(f"{room.room_id}-{rng.randrange(_BOOKINGS):04}", subject=f"Moved {rng.random()}")
        await store.calendars.apply(room, always(upsert(booking, ChangeKind.UPSERTED)), lease=None)
        durations_s.append(time.perf_counter() - due_s)
        due_s = max(due_s + _PAUSE_S, time.perf_counter())
        await asyncio.sleep(due_s - time.perf_counter())
    return durations_s
