"""Streams that wait: 1,500 opened at once must all be let in, and cost little."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import grpc

from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as booking_pb
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as pb
from tests.bench.figures import Figure, Scale
from tests.bench.programs import Program, program, rss_kb, to_text, wait_idle
from tests.bench.stage import PREFIX, Api, list_request

_STREAMS = 1_500
_WARMING = 30
_ROOMS = 30
_CHANNELS = 10
_GOAL_KB = 35.0
_REST_S = 1.0


@dataclass(frozen=True, slots=True)
class _Opened:
    accepted: int
    refused: int
    took_s: float
    each_kb: float


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Open them at the service, once resuming and once with snapshots, and at a bare server for comparison."""
    with program("bare_server") as bare:
        ceiling = _open(bare, "/bench.Bare/Watch", [""])
    resumed, fresh = _at_service(folder / "resumed", True), _at_service(folder / "fresh", False)
    return [
        Figure(
            name="1,500 streams opened at once",
            measured=f"resumed: {_tell(resumed)}; with snapshots of 100 bookings: {_tell(fresh)}",
            ceiling=f"bare gRPC server: {_tell(ceiling)}",
            result=f"{resumed.refused + fresh.refused:,} refused",
            goal="0 refused",
            is_met=resumed.accepted == fresh.accepted == _STREAMS,
            ran=f"{_STREAMS:,} WatchRoom over {_ROOMS} rooms and {_CHANNELS} connections; up: first checkpoint received",
        ),
        Figure(
            name="Memory of an idle stream",
            measured=f"{resumed.each_kb:.1f} KB; {fresh.each_kb:.1f} KB with what 1,500 snapshots at once leave behind",
            ceiling=f"bare gRPC server: {ceiling.each_kb:.1f} KB",
            result=f"{resumed.each_kb:.1f} KB",
            goal=f"<= {_GOAL_KB:.0f} KB",
            is_met=resumed.each_kb <= _GOAL_KB,
            ran=f"resident memory of the server after minus before, over {_STREAMS:,} streams, {_WARMING} opened and closed"
            " before",
        ),
    ]


def _at_service(folder: Path, is_resuming: bool) -> _Opened:
    """Open streams at a new server, with resume tokens or without."""
    folder.mkdir()
    with program("driven_server", str(folder), str(_ROOMS)) as driven:
        requests: list[str] = []
        with grpc.insecure_channel(driven.ready["target"]) as channel:
            for room in driven.ready["rooms"]:
                request = list_request("", page_size=1)
                request.parent = room
                listed = Api(channel).call("BookingService/ListBookings", request, booking_pb.ListBookingsResponse)
                options = pb.WatchOptions(resume_token=listed.resume_token if is_resuming else "")
                requests.append(to_text(pb.WatchRoomRequest(room=room, options=options).SerializeToString()))
        return _open(driven, f"{PREFIX}WatchService/WatchRoom", requests)


def _tell(opened: _Opened) -> str:
    return f"{opened.accepted:,} accepted, {opened.refused:,} refused, all up after {opened.took_s:.2f} s"


def _open(server: Program, method: str, requests: list[str]) -> _Opened:
    with program("grpc_load") as load:
        job = {"op": "watch", "target": server.ready["target"], "method": method}
        load.ask(**job, requests=requests[:1] * _WARMING, channels=_CHANNELS)
        load.ask(op="close")
        wait_idle(server.pid)
        before_kb = rss_kb(server.pid)
        many = [requests[number % len(requests)] for number in range(_STREAMS)]
        opened = load.ask(**job, requests=many, channels=_CHANNELS)
        time.sleep(_REST_S)
        wait_idle(server.pid)
        each_kb = (rss_kb(server.pid) - before_kb) / _STREAMS
    return _Opened(opened["accepted"], opened["refused"], opened["took_s"], each_kb)
