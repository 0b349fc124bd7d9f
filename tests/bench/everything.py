"""Everything at once: a flood of notifications, a thousand watchers, readers, and people who really book, for a minute.

Most notifications of the flood announce nothing new, as Graph's doubled ones do; each still has to be on disk before its 202.
What people book meanwhile must reach every watcher. Afterwards the copy is compared with the calendars, and what each
stream was told with what a reader of all rooms was told.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import grpc
from exchange_client import times

from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as booking_pb
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as pb
from tests.bench.figures import Figure, Scale
from tests.bench.intake import genuine_items, posts
from tests.bench.lines import Json
from tests.bench.programs import cpu_s, program, rss_kb, to_text, wait_idle
from tests.bench.stage import PREFIX, TENANT, Microsoft, Service, list_request, stage, watch_all

_ROOMS = 200
_BOOKINGS = 20
_SECONDS = 60.0
_NOTIFICATIONS_PER_S = 2_000
_ITEMS_IN_BODY = 10
"""Notifications in one body of the flood; Graph gathers those of a tenant that come at once."""
_WATCHERS = 1_000
_CHANNELS = 10
_LISTS_PER_S = 200
_BOOKED_PER_S = 5.0
_FIRST_DAY = 60
_PATIENCE_S = 120.0
_LOOK_S = 0.5
_GOAL_P99_S = 0.5
_GOAL_KB = 512 * 1024
"""The memory limit that the chart sets."""


@dataclass(slots=True)
class _Reader:
    """A reader of all rooms: how many changes it was told of each room, and which meetings were among them."""

    changes: Counter[str] = field(default_factory=Counter)
    meetings: set[str] = field(default_factory=set)
    is_up: threading.Event = field(default_factory=threading.Event)
    fault: str | None = None


@dataclass(slots=True)
class _Memory:
    """The most that a process held while somebody looked."""

    most_kb: int = 0


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Let all of it go on at once, then count."""
    seconds = 10.0 if scale.is_quick else _SECONDS
    with (
        stage(folder, rooms_count=_ROOMS, bookings_count=_BOOKINGS) as (service, emulator),
        program("grpc_load") as watchers,
        program("grpc_load") as lister,
        program("webhook_load") as notifier,
        _reading(service) as reader,
        _looking(service.pid) as memory,
    ):
        began_kb = rss_kb(service.pid)
        rooms = [f"tenants/{TENANT}/rooms/r{number % _ROOMS + 1}" for number in range(_WATCHERS)]
        opened = watchers.ask(
            op="watch",
            target=service.target,
            method=f"{PREFIX}WatchService/WatchRoom",
            requests=[to_text(pb.WatchRoomRequest(room=room).SerializeToString()) for room in rooms],
            channels=_CHANNELS,
        )
        wait_idle(service.pid)
        before_s = cpu_s(service.pid)
        notifier.tell(**_flood(service, emulator, seconds))
        lister.tell(**_lists(service, seconds))
        made = _book(emulator, seconds)
        posted, listed = notifier.answer(), lister.answer()
        used_s = cpu_s(service.pid) - before_s
        reached_s = _wait_told(reader, made)
        wait_idle(service.pid, emulator.started.process.pid)
        counts = watchers.ask(op="counts")["changes"]
        lost = _lost(reader, rooms, counts, made) + _differing(service, emulator)
    return [
        _webhook_figure(posted, share=used_s / seconds, seconds=seconds),
        _lists_figure(listed),
        Figure(
            name=f"Everything at once: {_WATCHERS:,} watchers",
            measured=f"{len(made)} meetings booked, {sum(counts):,} changes told on {opened['accepted']:,} streams, all"
            f" {reached_s:.1f} s after the flood; {began_kb / 1024:.0f} MB before, at most {memory.most_kb / 1024:.0f} MB",
            ceiling="",
            result="; ".join([f"{len(lost)} lost or different", *lost[:5]]),
            goal=f"0, memory < {_GOAL_KB // 1024} MB",
            is_met=not lost and opened["accepted"] == _WATCHERS and memory.most_kb < _GOAL_KB,
            ran="afterwards: each stream's changes against a reader's of all rooms, each room's copy against its calendar",
        ),
    ]


def _webhook_figure(posted: Json, *, share: float, seconds: float) -> Figure:
    statuses = posted["statuses"]
    return Figure(
        name=f"Everything at once: webhook, {_NOTIFICATIONS_PER_S:,} notifications/s",
        measured=f"{_times(posted)}; answers {statuses}; service at {share:.0%} of a core",
        ceiling="",
        result=f"p99 {posted['p99_s'] * 1e3:.0f} ms",
        goal=f"p99 < {_GOAL_P99_S * 1e3:.0f} ms, all taken",
        is_met=posted["p99_s"] < _GOAL_P99_S and set(statuses) == {"202"},
        ran=f"{seconds:g} s, {_ITEMS_IN_BODY} notifications a body, {_ROOMS} rooms; beside it the two lines below",
    )


def _lists_figure(listed: Json) -> Figure:
    return Figure(
        name=f"Everything at once: ListBookings, {_LISTS_PER_S} a second",
        measured=f"{listed['rps']:.0f} a second, {_times(listed)}, {listed['failed']} failed {listed['codes'] or ''}",
        ceiling="",
        result=f"{listed['failed']} failed",
        goal="0 failed",
        is_met=listed["failed"] == 0,
        ran=f"rooms of {_BOOKINGS} bookings in turn, called at fixed times; from when each was due",
    )


def _times(told: Json) -> str:
    return f"p50 {told['p50_s'] * 1e3:.0f} ms, p99 {told['p99_s'] * 1e3:.0f} ms, longest {told['max_s'] * 1e3:.0f} ms"


def _flood(service: Service, emulator: Microsoft, seconds: float) -> Json:
    bodies = posts(genuine_items(emulator), _ITEMS_IN_BODY, Random(1))
    rate = _NOTIFICATIONS_PER_S / _ITEMS_IN_BODY
    return {"port": service.webhook_port, "rate": rate, "seconds": seconds, "bodies": bodies}


def _lists(service: Service, seconds: float) -> Json:
    requests = [to_text(list_request(f"r{number}").SerializeToString()) for number in range(1, _ROOMS + 1)]
    method = f"{PREFIX}BookingService/ListBookings"
    return {
        "op": "paced",
        "target": service.target,
        "method": method,
        "requests": requests,
        "rate": _LISTS_PER_S,
        "seconds": seconds,
    }


def _book(emulator: Microsoft, seconds: float) -> list[str]:
    """Book rooms in turn for a while, in Outlook; return the meetings' calendar uids."""
    (person,) = emulator.post("/users", {"count": 1})["users"]
    first_at = (datetime.now(UTC) + timedelta(days=_FIRST_DAY)).replace(hour=0, minute=0, second=0, microsecond=0)
    made: list[str] = []
    began_s = time.monotonic()
    while (elapsed_s := time.monotonic() - began_s) < seconds:
        number = len(made)
        start_at = first_at + timedelta(hours=number // _ROOMS)
        room = emulator.rooms[number % _ROOMS]["address"]
        booked = emulator.post(
            "/outlook/book",
            {
                "organizer": person["address"],
                "rooms": [room],
                "subject": "Benchmark",
                "start": start_at.strftime("%Y-%m-%dT%H:%M:%S"),
                "end": (start_at + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%S"),
            },
        )
        made.append(booked["ical_uid"])
        time.sleep(max(0.0, len(made) / _BOOKED_PER_S - elapsed_s))
    return made


@contextmanager
def _reading(service: Service) -> Iterator[_Reader]:
    """Follow all rooms on one stream meanwhile."""
    reader = _Reader()
    with grpc.insecure_channel(service.target) as channel:
        stream = watch_all(channel)

        def follow() -> None:
            try:
                for message in stream:
                    if message.HasField("checkpoint"):
                        reader.is_up.set()
                    for change in message.changes.changes if message.resume_token else ():
                        reader.changes[change.booking.name.partition("/bookings/")[0]] += 1
                        reader.meetings.add(change.booking.calendar_uid)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.CANCELLED:
                    reader.fault = str(error.code())

        following = threading.Thread(target=follow)
        following.start()
        try:
            assert reader.is_up.wait(_PATIENCE_S), "the watch did not come up"
            yield reader
        finally:
            stream.cancel()
            following.join()


@contextmanager
def _looking(pid: int) -> Iterator[_Memory]:
    """Look at a process's memory now and then meanwhile."""
    memory, is_over = _Memory(), threading.Event()

    def look() -> None:
        while not is_over.wait(_LOOK_S):
            memory.most_kb = max(memory.most_kb, rss_kb(pid))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield memory
    finally:
        is_over.set()
        looking.join()


def _wait_told(reader: _Reader, made: list[str]) -> float:
    """Wait until the reader was told of all meetings, or for as long as is patient; return how long that took."""
    began_s = time.monotonic()
    while not reader.meetings.issuperset(made) and time.monotonic() - began_s < _PATIENCE_S:
        time.sleep(_LOOK_S / 10)
    return time.monotonic() - began_s


def _lost(reader: _Reader, rooms: list[str], counts: list[int], made: list[str]) -> list[str]:
    """Say which meetings the reader was not told of, and which streams were told of more or fewer changes than it."""
    if reader.fault is not None:
        return [f"the reader of all rooms ended with {reader.fault}"]
    missing = [f"meeting {uid} was told to nobody" for uid in made if uid not in reader.meetings]
    return missing + [
        f"a watcher of {room} was told {count} of {reader.changes[room]}"
        for room, count in zip(rooms, counts, strict=True)
        if count != reader.changes[room]
    ]


def _differing(service: Service, emulator: Microsoft) -> list[str]:
    """Name the rooms whose copy holds other meetings, or others' hours, than the calendar."""
    found: list[str] = []
    for number, room in enumerate(emulator.rooms, 1):
        answer = service.api.call(
            "BookingService/ListBookings", list_request(f"r{number}"), booking_pb.ListBookingsResponse
        )
        assert not answer.next_page_token, "all of a room fits into one page"
        copy = {(booking.calendar_uid, times.to_datetime(booking.time.start_time)) for booking in answer.bookings}
        items = emulator.get(f"/calendars/{room['address']}")["items"]
        calendar = {(item["ical_uid"], datetime.fromisoformat(item["start"]).astimezone(UTC)) for item in items}
        if copy != calendar:
            found.append(f"r{number} holds {len(copy)} of {len(calendar)}")
    return found
