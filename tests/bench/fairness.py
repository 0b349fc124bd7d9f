"""One tenant's changes while another tenant imports: from the accepted notification to the watcher, with and without it.

Both tenants are in one emulator and one service, each a process. The emulator answers as slowly as Graph does and enforces what
Graph documents. The import is of so many rooms that it lasts longer than the measuring; how far it came is told.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench.figures import Figure, Scale, quantile
from tests.bench.notify import measure
from tests.bench.programs import wait_idle
from tests.bench.stage import add_tenant, as_documented, count_read, map_rooms, microsoft, service, wait_live

_IMPORTED_ROOMS, _IMPORTED_BOOKINGS = 2_000, 20
_ROOMS, _BOOKINGS = 20, 20
_CHANGES, _PAUSE_S = 150, 0.2
_GOAL = 1.25
_IMPORTER = "importer"


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Measure before the import, and during it."""
    count = 30 if scale.is_quick else _CHANGES
    with (
        microsoft(folder, rooms_count=_ROOMS, bookings_count=_BOOKINGS) as emulator,
        service(folder / "service", emulator) as running,
    ):
        other = add_tenant(emulator, "fabrikam.example", rooms_count=_IMPORTED_ROOMS, bookings_count=_IMPORTED_BOOKINGS)
        as_documented(emulator)
        map_rooms(running, emulator)
        wait_live(running, _ROOMS)
        wait_idle(running.pid, emulator.started.process.pid)
        alone_s = measure(running, emulator, count=count, pause_s=_PAUSE_S, first_day=60)
        map_rooms(running, other, tenant_id=_IMPORTER)
        beside_s = measure(running, emulator, count=count, pause_s=_PAUSE_S, first_day=90)
        imported_count = count_read(running, tenant_id=_IMPORTER)
    alone, beside = ([quantile(latencies_s, 0.5), quantile(latencies_s, 0.95)] for latencies_s in (alone_s, beside_s))
    ratios = [ours / least for ours, least in zip(beside, alone, strict=True)]
    return [
        Figure(
            name="Change of one tenant to its watcher beside another's import",
            measured=f"p50 {beside[0]:.3f} s, p95 {beside[1]:.3f} s",
            ceiling=f"without the import: p50 {alone[0]:.3f} s, p95 {alone[1]:.3f} s",
            result=f"p50 x{ratios[0]:.2f}, p95 x{ratios[1]:.2f}",
            goal=f"p95 <= x{_GOAL:g}",
            is_met=ratios[1] <= _GOAL,
            ran=f"N = {len(alone_s)} and {len(beside_s)} of {count} bookings in {_ROOMS} rooms, one every {_PAUSE_S:g} s;"
            f" {imported_count:,} of {_IMPORTED_ROOMS:,} rooms were imported by the end",
        )
    ]
