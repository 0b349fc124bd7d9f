"""ListBookings of 50 bookings, against a bare server that hands out the same bytes."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from tests.bench.figures import Figure, Scale, ratio_of, spread
from tests.bench.lines import Json
from tests.bench.programs import Program, cpu_s, program, to_text
from tests.bench.stage import PREFIX, Service, list_request, stage

_BOOKINGS = 50
_GOAL = 0.8


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Measure at one call at a time and at sixteen."""
    with (
        stage(folder, rooms_count=1, bookings_count=_BOOKINGS) as (service, _),
        program("bare_server") as bare,
        program("grpc_load") as load,
    ):
        request = list_request("r1")
        answer = service.api.call("BookingService/ListBookings", request, pb.ListBookingsResponse)
        assert len(answer.bookings) == _BOOKINGS, len(answer.bookings)
        bare.ask(op="body", body=to_text(answer.SerializeToString()))
        return [_measure(service, bare, load, request, concurrency, scale) for concurrency in (1, 16)]


def _measure(
    service: Service,
    bare: Program,
    load: Program,
    request: pb.ListBookingsRequest,
    concurrency: int,
    scale: Scale,
) -> Figure:
    job = {"op": "unary", "concurrency": concurrency, "request": to_text(request.SerializeToString())}
    ours = {"target": service.target, "method": f"{PREFIX}BookingService/ListBookings"}
    ceiling = {"target": bare.ready["target"], "method": "/bench.Bare/Get"}
    found: dict[str, list[Json]] = {"ours": [], "ceiling": []}
    cpu: dict[str, list[float]] = {"ours": [], "ceiling": []}
    # Many short rounds: what disturbs the machine for a while then disturbs both subjects.
    rounds_count, round_s = 3 * scale.rounds_count, scale.round_s / 2
    for round_number in range(-1, rounds_count):
        for name, subject, pid in (("ours", ours, service.pid), ("ceiling", ceiling, bare.pid)):
            before_s = cpu_s(pid)
            answer = load.ask(**job, **subject, seconds=round_s)
            if round_number >= 0:  # the first one warms up
                found[name].append(answer)
                cpu[name].append((cpu_s(pid) - before_s) / answer["calls"])
    rates = {name: [answer["rps"] for answer in answers] for name, answers in found.items()}
    size_bytes = len(found["ours"][0]["body"]) * 3 // 4
    return Figure(
        name=f"ListBookings of {_BOOKINGS}, {concurrency} at a time",
        measured=_tell(found["ours"], cpu["ours"]),
        ceiling="bare gRPC server, same bytes: " + _tell(found["ceiling"], cpu["ceiling"]),
        result=f"x{spread(rates['ours'], rates['ceiling'])}",
        goal=f">= {_GOAL}",
        is_met=ratio_of(rates["ours"], rates["ceiling"]) >= _GOAL,
        ran=f"{rounds_count} rounds x {round_s:g} s, N = {sum(a['calls'] for a in found['ours']):,} calls"
        f" of {size_bytes:,} bytes",
    )


def _tell(answers: list[Json], cpu: list[float]) -> str:
    rps = median(answer["rps"] for answer in answers)
    p50_ms = median(answer["p50_s"] for answer in answers) * 1e3
    p99_ms = median(answer["p99_s"] for answer in answers) * 1e3
    return f"{rps:,.0f} rps, p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms, {median(cpu) * 1e6:.0f} us CPU a call"
