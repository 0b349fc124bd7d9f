"""What tracing costs: ListBookings and a thousand watchers, without traces, at the share that is the default, and all traced.

Three processes of the same program take turns, each round in another order; the collector takes everything at once. Judged
is the CPU that a call or message takes, threads that send included: a server that is busy all the time does as many fewer of
them, and on a machine that others use, too, a rate tells more of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as pb
from sidecar.settings import TelemetrySettings
from tests.bench.figures import Figure, Scale, ratio_of, spread
from tests.bench.programs import Program, cpu_s, program, to_text
from tests.bench.stage import PREFIX, list_request
from tests.support.builders import TENANT
from tests.support.collector import FakeCollector, collecting

_GOAL = 0.9
"""At the share that is set without asking. Tracing everything is for looking into something, and has no goal."""
_CONCURRENCY = 16
_PAGE = 50
_WATCHERS, _CHANNELS, _CHANGES = 1_000, 8, 10
_LIST, _WATCH = f"{PREFIX}BookingService/ListBookings", f"{PREFIX}WatchService/WatchRoom"


@dataclass(frozen=True, slots=True)
class _Subject:
    """One of the three; `rates` and `cpu_us` have a value for each round."""

    name: str
    server: Program
    rates: list[float]
    cpu_us: list[float]


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Measure calls and watchers."""
    default = TelemetrySettings().trace_ratio
    places = {name: folder / name for name in ("off", "some", "all")}
    for place in places.values():
        place.mkdir()
    with (
        collecting() as collector,
        program("driven_server", str(places["off"]), "1") as off,
        program("driven_server", str(places["some"]), "1", collector.url, str(default)) as some,
        program("driven_server", str(places["all"]), "1", collector.url, "1") as all_,
        program("grpc_load") as load,
    ):
        servers = {"off": off, f"of {default:.0%}": some, "of everything": all_}
        lists, watches = ([_Subject(name, server, [], []) for name, server in servers.items()] for _ in range(2))
        _list(load, lists, scale)
        sent = _spans_count(collector)
        _watch(load, watches, scale)
        what = f"ListBookings of {_PAGE}, {_CONCURRENCY} at a time"
        ran = f"{len(lists[0].rates)} rounds x {scale.round_s / 2:g} s, {sent:,} spans"
        fan_out = f"{_WATCHERS:,} watchers of one room"
        heard = (
            f"{len(watches[0].rates)} rounds of {_CHANGES} changes one by one, {_spans_count(collector) - sent:,} spans"
        )
        return [*_figures(what, "calls/s", lists, ran), *_figures(fan_out, "messages/s", watches, heard)]


def _list(load: Program, subjects: Sequence[_Subject], scale: Scale) -> None:
    request = list_request("r000", page_size=_PAGE)
    request.parent = f"tenants/{TENANT}/rooms/r000"
    job = {"op": "unary", "concurrency": _CONCURRENCY, "request": to_text(request.SerializeToString()), "method": _LIST}
    for round_number in range(-1, 3 * scale.rounds_count):
        for subject in _turned(subjects, round_number):
            before_s = cpu_s(subject.server.pid)
            answer = load.ask(**job, target=subject.server.ready["target"], seconds=scale.round_s / 2)
            if round_number >= 0:  # the first one warms up
                subject.rates.append(answer["rps"])
                subject.cpu_us.append((cpu_s(subject.server.pid) - before_s) / answer["calls"] * 1e6)


def _watch(load: Program, subjects: Sequence[_Subject], scale: Scale) -> None:
    """Each in turn, twice: opening a thousand streams for each round would take longer than the rounds."""
    for part in range(2):
        for subject in _turned(subjects, part):
            server = subject.server
            request = to_text(pb.WatchRoomRequest(room=server.ready["rooms"][0]).SerializeToString())
            requests = [request] * _WATCHERS
            watching = {"target": server.ready["target"], "method": _WATCH, "channels": _CHANNELS}
            opened = load.ask(op="watch", requests=requests, **watching)
            assert opened["refused"] == 0, opened
            for round_number in range(-1, scale.rounds_count):
                before_s, seconds = cpu_s(server.pid), 0.0
                for number in range(1, _CHANGES + 1):
                    server.tell(op="emit", messages=1, changes=1, rooms=1)
                    got = load.ask(op="await", changes=(round_number + 1) * _CHANGES + number)
                    seconds += got["ended_s"] - server.answer()["began_s"]
                if round_number >= 0:
                    messages = _WATCHERS * _CHANGES
                    subject.rates.append(messages / seconds)
                    subject.cpu_us.append((cpu_s(server.pid) - before_s) / messages * 1e6)
            load.ask(op="close")


def _turned(subjects: Sequence[_Subject], by: int) -> Sequence[_Subject]:
    """Return them in another order, so that none always comes after the same other, whose last spans are still being sent."""
    first = by % len(subjects)
    return [*subjects[first:], *subjects[:first]]


def _figures(what: str, unit: str, subjects: Sequence[_Subject], ran: str) -> list[Figure]:
    off, *traced = subjects
    return [
        Figure(
            name=f"{what}, traces {subject.name}",
            measured=_tell(subject, unit),
            ceiling=f"traces off: {_tell(off, unit)}",
            result=f"x{spread(off.cpu_us, subject.cpu_us)} by CPU, x{spread(subject.rates, off.rates)} by the clock",
            goal=f">= {_GOAL}" if number == 0 else "",
            is_met=ratio_of(off.cpu_us, subject.cpu_us) >= _GOAL if number == 0 else None,
            ran=ran,
        )
        for number, subject in enumerate(traced)
    ]


def _tell(subject: _Subject, unit: str) -> str:
    return f"{median(subject.rates):,.0f} {unit}, {median(subject.cpu_us):.0f} us CPU each"


def _spans_count(collector: FakeCollector) -> int:
    return len(collector.spans)
