"""FindAvailability of 500 rooms over a day, against a bare server that hands out the same bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from tests.bench.figures import Figure, Scale, spread
from tests.bench.lines import Json
from tests.bench.programs import Program, cpu_s, program, to_text
from tests.bench.stage import PREFIX, TENANT, Service, stage

_ROOMS = 500
_BOOKINGS = 100
_GOAL_MS = 50.0


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Measure one call at a time: this is what a person waits for who looks for a room."""
    with (
        stage(folder, rooms_count=_ROOMS, bookings_count=_BOOKINGS) as (service, _),
        program("bare_server") as bare,
        program("grpc_load") as load,
    ):
        request = _request()
        answer = service.api.call("BookingService/FindAvailability", request, pb.FindAvailabilityResponse)
        assert len(answer.availabilities) == _ROOMS, len(answer.availabilities)
        assert not [one.room for one in answer.availabilities if one.HasField("problem")]
        bare.ask(op="body", body=to_text(answer.SerializeToString()))
        return [_measure(service, bare, load, request, sum(len(one.free) for one in answer.availabilities), scale)]


def _request() -> pb.FindAvailabilityRequest:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    request = pb.FindAvailabilityRequest(parent=f"tenants/{TENANT}")
    request.window.start_time.FromDatetime(midnight)
    request.window.end_time.FromDatetime(midnight + timedelta(days=1))
    return request


def _measure(
    service: Service, bare: Program, load: Program, request: pb.FindAvailabilityRequest, spans_count: int, scale: Scale
) -> Figure:
    job = {"op": "unary", "concurrency": 1, "request": to_text(request.SerializeToString())}
    subjects = {
        "ours": ({"target": service.target, "method": f"{PREFIX}BookingService/FindAvailability"}, service.pid),
        "ceiling": ({"target": bare.ready["target"], "method": "/bench.Bare/Get"}, bare.pid),
    }
    found: dict[str, list[Json]] = {name: [] for name in subjects}
    cpu: list[float] = []
    for round_number in range(-1, scale.rounds_count):
        for name, (subject, pid) in subjects.items():
            before_s = cpu_s(pid)
            answer = load.ask(**job, **subject, seconds=scale.round_s)
            if round_number < 0:  # the first one warms up
                continue
            found[name].append(answer)
            if name == "ours":
                cpu.append((cpu_s(pid) - before_s) / answer["calls"])
    p95_ms = median(answer["p95_s"] for answer in found["ours"]) * 1e3
    rates = {name: [answer["rps"] for answer in answers] for name, answers in found.items()}
    return Figure(
        name=f"FindAvailability of {_ROOMS} rooms over a day",
        measured=f"{_tell(found['ours'])}, {median(cpu) * 1e3:.1f} ms CPU a call",
        ceiling="bare gRPC server, same bytes: " + _tell(found["ceiling"]),
        result=f"p95 {p95_ms:.1f} ms, x{spread(rates['ours'], rates['ceiling'])}",
        goal=f"p95 < {_GOAL_MS:g} ms",
        is_met=p95_ms < _GOAL_MS,
        ran=f"{scale.rounds_count} rounds x {scale.round_s:g} s, N = {sum(a['calls'] for a in found['ours']):,} calls,"
        f" {spans_count:,} spans, {len(found['ours'][0]['body']) * 3 // 4:,} bytes",
    )


def _tell(answers: list[Json]) -> str:
    p50_ms, p95_ms = (median(answer[name] for answer in answers) * 1e3 for name in ("p50_s", "p95_s"))
    return f"p50 {p50_ms:.1f} ms, p95 {p95_ms:.1f} ms"
