"""CreateBooking at sixteen at a time, against httpx that makes the same events, and one that also looks at each afterwards."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.bench.figures import Figure, Scale, ratio_of, spread
from tests.bench.lines import Json
from tests.bench.programs import Program, cpu_s, program
from tests.bench.stage import TENANT, Microsoft, Service, add_tenant, as_documented, reading_job, stage

_ROOMS = 32
_BOOKINGS = 20
_CONCURRENCY = 16
_GOAL = 0.7


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Measure with a Microsoft that answers at once, which shows what we cost, and with one as slow as the real one."""
    with (
        stage(folder, rooms_count=_ROOMS, bookings_count=_BOOKINGS) as (service, emulator),
        program("write_load") as load,
    ):
        # Of its own: nobody is told of what is written there.
        plain = add_tenant(emulator, "plain.example", rooms_count=_ROOMS, bookings_count=_BOOKINGS)
        quick = _measure(service, plain, load, scale, "Exchange answers at once", _GOAL)
        as_documented(emulator)
        slow = _measure(service, plain, load, scale, "Exchange takes 50 to 250 ms", _GOAL)
        soon = _measure(service, plain, load, scale, "Exchange takes 50 to 250 ms, SUBMITTED", _GOAL, is_submitted=True)
        return [quick, slow, soon]


def _measure(
    service: Service,
    plain: Microsoft,
    load: Program,
    scale: Scale,
    name: str,
    goal: float,
    *,
    is_submitted: bool = False,
) -> Figure:
    ours = {
        "op": "service",
        "target": service.target,
        "is_submitted": is_submitted,
        "rooms": [f"tenants/{TENANT}/rooms/r{number}" for number in range(1, _ROOMS + 1)],
    }
    bare = {"op": "straight", "rooms": [room["address"] for room in plain.rooms], **reading_job(plain)}
    subjects = {"ours": ours, "ceiling": {**bare, "looks": False}, "looking": {**bare, "looks": True}}
    found: dict[str, list[Json]] = {subject: [] for subject in subjects}
    cpu: list[float] = []
    for round_number in range(-1, scale.rounds_count):
        for subject, job in subjects.items():
            before_s = cpu_s(service.pid)
            answer = load.ask(**job, concurrency=_CONCURRENCY, seconds=scale.round_s)
            if round_number < 0:  # the first one warms up
                continue
            found[subject].append(answer)
            if subject == "ours":
                cpu.append((cpu_s(service.pid) - before_s) / answer["calls"])
    rates = {subject: [answer["rps"] for answer in answers] for subject, answers in found.items()}
    return Figure(
        name=f"CreateBooking, {_CONCURRENCY} at a time, {name}",
        measured=f"{_tell(found['ours'])}, {median(cpu) * 1e3:.1f} ms CPU a call",
        ceiling=f"httpx, the same events: {_tell(found['ceiling'])}; and a look at each: {_tell(found['looking'])}",
        result=f"x{spread(rates['ours'], rates['ceiling'])}; x{spread(rates['ours'], rates['looking'])} of the one that looks",
        goal=f">= {goal}",
        is_met=ratio_of(rates["ours"], rates["ceiling"]) >= goal,
        ran=f"{scale.rounds_count} rounds x {scale.round_s:g} s, N = {sum(a['calls'] for a in found['ours']):,} bookings"
        f" in {_ROOMS} rooms; room mode, each {'pending' if is_submitted else 'confirmed'}",
    )


def _tell(answers: list[Json]) -> str:
    rps = median(answer["rps"] for answer in answers)
    p50_ms, p95_ms = (median(answer[name] for answer in answers) * 1e3 for name in ("p50_s", "p95_s"))
    return f"{rps:,.0f} a second, p50 {p50_ms:.0f} ms, p95 {p95_ms:.0f} ms"
