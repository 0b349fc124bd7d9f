"""The first import of a tenant: CPU of the service for each booking, against a program that only reads the pages."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from tests.bench.figures import Figure, Scale, ratio_of, spread
from tests.bench.lines import Json
from tests.bench.programs import cpu_s, program, wait_idle
from tests.bench.stage import Microsoft, map_rooms, microsoft, reading_job, service, wait_live

_ROOMS, _BOOKINGS = 200, 500
_ROUNDS = 2
_GOAL = 3.0


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Import into a new database, then read plainly, and again."""
    rooms_count = 20 if scale.is_quick else _ROOMS
    total = rooms_count * _BOOKINGS
    ours: list[Json] = []
    ceiling: list[Json] = []
    with microsoft(folder, rooms_count=rooms_count, bookings_count=_BOOKINGS) as emulator:
        for number in range(_ROUNDS):
            ours.append(_import(folder / f"service-{number}", emulator))
            wait_idle(emulator.started.process.pid)
            with program("plain_reader") as reader:
                got = reader.ask(**reading_job(emulator))
            assert got["events"] == total, got
            ceiling.append(got)
            wait_idle(emulator.started.process.pid)
    used = [one["cpu_s"] / total for one in ours]
    least = [one["cpu_s"] / total for one in ceiling]
    return [
        Figure(
            name="First import, CPU a booking",
            measured=f"{median(used) * 1e6:.0f} us, {median(one['wall_s'] for one in ours):.0f} s wall",
            ceiling=f"httpx + msgspec, same pages: {median(least) * 1e6:.0f} us,"
            f" {median(one['wall_s'] for one in ceiling):.0f} s wall",
            result=f"x{spread(used, least)}",
            goal=f"<= {_GOAL:g}",
            is_met=ratio_of(used, least) <= _GOAL,
            ran=f"{_ROUNDS} rounds of {rooms_count} rooms x {_BOOKINGS} bookings, N = {total:,}; the service also verifies the"
            " tenant, subscribes each room (two handshakes) and keeps everything on disk",
        )
    ]


def _import(folder: Path, emulator: Microsoft) -> Json:
    with service(folder, emulator) as running:
        wait_idle(running.pid)
        began_s, before_s = time.monotonic(), cpu_s(running.pid)
        map_rooms(running, emulator)
        ended_s = wait_live(running, len(emulator.rooms))
        wait_idle(running.pid)  # what the import leaves to be done is part of it
        return {"wall_s": ended_s - began_s, "cpu_s": cpu_s(running.pid) - before_s}
