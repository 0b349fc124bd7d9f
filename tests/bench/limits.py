"""The import of a tenant while changes flow, against the time that Microsoft's limits alone would allow.

The emulator answers as slowly as Graph does and enforces what Graph documents. The least time is measured in the same run, by
a program that makes the requests of an import (mailbox, zone, view, a first round of delta) for all rooms side by side and
drops the answers, so what the emulator itself can do is in it; and reckoned from the limit on subscriptions. The larger counts.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure, Scale
from tests.bench.notify import measure
from tests.bench.programs import program, wait_idle
from tests.bench.stage import TENANT, Microsoft, as_documented, map_rooms, microsoft, reading_job, service, wait_read

_ROOMS, _BOOKINGS = 200, 500
_CHANGES, _PAUSE_S = 40, 0.25
_SUBSCRIPTION_WRITES, _SUBSCRIPTION_WINDOW_S = 500, 20.0
_GOAL = 2.0


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Import while people book, then read the same as fast as Microsoft allows."""
    rooms_count = 40 if scale.is_quick else _ROOMS
    with microsoft(folder, rooms_count=rooms_count, bookings_count=_BOOKINGS) as emulator:
        as_documented(emulator)
        with service(folder / "service", emulator) as running:
            wait_idle(running.pid)
            began_s = time.monotonic()
            map_rooms(running, emulator)

            def change() -> None:
                measure(running, emulator, count=_CHANGES, pause_s=_PAUSE_S, first_day=60)

            changing = threading.Thread(target=change)
            changing.start()
            read_s = wait_read(running, rooms_count, tenant_id=TENANT) - began_s
            changing.join()
            asked = _asked(emulator)
        wait_idle(emulator.started.process.pid)
        with program("plain_import") as reader:
            least = reader.ask(**reading_job(emulator))
    writes_s = max(0, rooms_count - _SUBSCRIPTION_WRITES) / _SUBSCRIPTION_WRITES * _SUBSCRIPTION_WINDOW_S
    least_s = max(least["wall_s"], writes_s)
    return [
        Figure(
            name="First import under Graph's limits, while changes flow",
            measured=f"{read_s:.1f} s, {asked['all']:,} requests, {asked['429']} refused with 429",
            ceiling=f"{least['requests']:,} requests as fast as the limits allow: {least_s:.1f} s",
            result=f"x{read_s / least_s:.2f}",
            goal=f"<= {_GOAL:g}",
            is_met=read_s / least_s <= _GOAL,
            ran=f"{rooms_count} rooms x {_BOOKINGS} bookings until all are read, {_CHANGES} bookings made meanwhile;"
            f" {least['refused']} requests of the plain program were refused with 429",
        )
    ]


def _asked(emulator: Microsoft) -> Counter[str]:
    told: Any = emulator.get("/requests")  # Any: JSON
    found: Counter[str] = Counter()
    for one in told["requests"]:
        found["all"] += 1
        found[str(one["status"])] += 1
    return found
