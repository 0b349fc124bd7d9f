"""WatchRoom, against a bare server that streams the very same messages.

One watcher that catches up on the log, from memory and from the store; a thousand watchers of one room who get a burst, and
who get changes one at a time; a thousand watchers over fifty rooms, twenty of whom each change concerns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

import grpc

from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as booking_pb
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as pb
from tests.bench.figures import Figure, Scale, ratio_of, spread
from tests.bench.lines import Json
from tests.bench.programs import Program, cpu_s, program, to_text
from tests.bench.stage import PREFIX, Api, list_request
from tests.support.builders import TENANT

_GOAL = 0.7
_ROOMS = 50
_WATCHERS = 1_000
_CHANNELS = 8
_BATCH = 100
_OURS, _CEILING = f"{PREFIX}WatchService/WatchRoom", "/bench.Bare/Watch"


@dataclass(frozen=True, slots=True)
class _Round:
    """What came through, and what it cost."""

    seconds: float
    messages: int
    changes: int
    cpu_s: float

    @property
    def messages_per_s(self) -> float:
        return self.messages / self.seconds

    @property
    def changes_per_s(self) -> float:
        return self.changes / self.seconds


@dataclass(frozen=True, slots=True)
class _Ground:
    """The processes."""

    driven: Program
    bare: Program
    load: Program

    def request(self, room: int, resume_token: str = "") -> str:
        options = pb.WatchOptions(resume_token=resume_token)
        return to_text(pb.WatchRoomRequest(room=self.driven.ready["rooms"][room], options=options).SerializeToString())

    def watch(self, subject: Program, requests: list[str], channels: int) -> Json:
        method = _OURS if subject is self.driven else _CEILING
        target = subject.ready["target"]
        opened = self.load.ask(op="watch", target=target, method=method, requests=requests, channels=channels)
        assert opened["refused"] == 0, opened
        return opened


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Measure all shapes."""
    with (
        program("driven_server", str(folder), str(_ROOMS)) as driven,
        program("bare_server") as bare,
        program("grpc_load") as load,
    ):
        ground = _Ground(driven, bare, load)
        return [
            _catch_up(ground, scale, is_kept=True),
            _catch_up(ground, scale, is_kept=False),
            _fan_out(
                ground, scale, "1,000 watchers of one room, bursts of 1,000 changes", rooms=1, messages=10, batch=_BATCH
            ),
            _fan_out(ground, scale, "1,000 watchers of one room, 10 changes one by one", rooms=1, messages=10, batch=1),
            _fan_out(
                ground, scale, "1,000 watchers over 50 rooms, 1 change each", rooms=_ROOMS, messages=_ROOMS, batch=1
            ),
        ]


def _catch_up(ground: _Ground, scale: Scale, *, is_kept: bool) -> Figure:
    """One watcher resumes behind, within what is kept in memory or beyond it; nothing is written meanwhile."""
    messages = 40 if is_kept else 200
    request = list_request("r000", page_size=1)
    request.parent = f"tenants/{TENANT}/rooms/r000"
    with grpc.insecure_channel(ground.driven.ready["target"]) as channel:
        token = Api(channel).call("BookingService/ListBookings", request, booking_pb.ListBookingsResponse).resume_token
    with program("grpc_load") as keeping:  # while somebody watches the tenant, its latest changes are kept in memory
        if is_kept:
            target = ground.driven.ready["target"]
            keeping.ask(op="watch", target=target, method=_OURS, requests=[ground.request(0)], channels=1)
        return _measure_catch_up(ground, scale, token, messages, "in memory" if is_kept else "read from the store")


def _measure_catch_up(ground: _Ground, scale: Scale, token: str, messages: int, whence: str) -> Figure:
    ground.driven.ask(messages=messages, changes=_BATCH, rooms=1)
    ours: list[_Round] = []
    ceiling: list[_Round] = []
    for round_number in range(-1, 3 * scale.rounds_count):
        for subject, found in ((ground.driven, ours), (ground.bare, ceiling)):
            is_ours = subject is ground.driven
            before_s = cpu_s(subject.pid)
            opened = ground.watch(subject, [ground.request(0, token) if is_ours else to_text(b"%d" % messages)], 1)
            got = ground.load.ask(op="await", changes=messages * _BATCH)
            if is_ours and round_number < 0:
                ground.bare.ask(op="body", body=ground.load.ask(op="kept")["body"])
            used_s = cpu_s(subject.pid) - before_s
            ground.load.ask(op="close")
            if round_number >= 0:
                found.append(_Round(got["ended_s"] - opened["began_s"], got["messages"], got["changes"], used_s))
    what = f"{messages * _BATCH:,} changes of the log, {_BATCH} a message"
    return _figure(f"1 watcher catches up, {whence}", ours, ceiling, what)


def _fan_out(ground: _Ground, scale: Scale, name: str, *, rooms: int, messages: int, batch: int) -> Figure:
    """Everybody watches; each round something happens, and ends when everybody has heard of it."""
    load, driven, bare = ground.load, ground.driven, ground.bare
    own = messages * batch // rooms  # what one watcher gets in a round
    ours: list[_Round] = []
    ceiling: list[_Round] = []
    for part in range(
        2
    ):  # both subjects twice: A B A B, for opening a thousand streams for each round would take longer
        for subject, found in ((driven, ours), (bare, ceiling)):
            is_ours = subject is driven
            requests = [ground.request(number % rooms) if is_ours else "" for number in range(_WATCHERS)]
            ground.watch(subject, requests, _CHANNELS)
            known = {"messages": 0, "changes": 0}
            for round_number in range(-1, scale.rounds_count):
                before_s = cpu_s(subject.pid)
                got, seconds = _round(ground, subject, rooms, messages, batch, own * (round_number + 2))
                if is_ours and round_number < 0 and part == 0:
                    bare.ask(op="body", body=load.ask(op="kept")["body"])
                told = {key: got[key] - known[key] for key in known}
                known = {key: got[key] for key in known}
                if round_number >= 0:
                    found.append(_Round(seconds, told["messages"], told["changes"], cpu_s(subject.pid) - before_s))
            load.ask(op="close")
    return _figure(
        name, ours, ceiling, f"{own} changes to each of {_WATCHERS:,} streams a round, over {_CHANNELS} connections"
    )


def _round(ground: _Ground, subject: Program, rooms: int, messages: int, batch: int, total: int) -> tuple[Json, float]:
    """Make something happen, once or, without batches, one thing after the other is heard by everybody."""
    is_ours = subject is ground.driven
    jobs: list[tuple[Json, int]]
    if batch > 1 or rooms > 1:
        count = messages if is_ours else messages // rooms
        jobs = [({"messages": count, "changes": batch, "rooms": rooms}, total)]
    else:
        jobs = [
            ({"messages": 1, "changes": 1, "rooms": 1}, total - messages + number) for number in range(1, messages + 1)
        ]
    seconds = 0.0
    got: Json = {}
    for job, wanted in jobs:
        subject.tell(op="emit", **job)
        got = ground.load.ask(op="await", changes=wanted)
        seconds += got["ended_s"] - subject.answer()["began_s"]
    return got, seconds


def _figure(name: str, ours: list[_Round], ceiling: list[_Round], what: str) -> Figure:
    rates = [one.changes_per_s for one in ours]
    ceilings = [one.changes_per_s for one in ceiling]
    return Figure(
        name=f"WatchRoom, {name}",
        measured=_tell(ours),
        ceiling="bare gRPC server, same messages: " + _tell(ceiling),
        result=f"x{spread(rates, ceilings)}",
        goal=f">= {_GOAL}",
        is_met=ratio_of(rates, ceilings) >= _GOAL,
        ran=f"{len(ours)} rounds of {what}, N = {sum(one.messages for one in ours):,} messages",
    )


def _tell(rounds: list[_Round]) -> str:
    messages = median(one.messages_per_s for one in rounds)
    changes = median(one.changes_per_s for one in rounds)
    cpu_us = sum(one.cpu_s for one in rounds) / sum(one.messages for one in rounds) * 1e6
    return f"{messages:,.0f} messages/s, {changes:,.0f} changes/s, {cpu_us:.0f} us CPU a message"
