"""How much of a bare server's rate ListBookings reaches: `python -m tests.unit.api.bench_list_bookings`.

One process serves both, over two Unix sockets: the real service on SQLite, and a bare grpc.aio server that answers the same
ready bytes. This process calls them in turns. Rates move with the machine; the ratio of neighbouring rounds is the result.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc
import uvloop

from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.model.booking import Attendee, Booking, Person, Response
from tests.support.builders import NOW, make_booking
from tests.unit.api import rig
from tests.unit.api.rig import raw, serving, window_of

METHOD = "/ioffice.exchange.v1.BookingService/ListBookings"
ROOMS = 20


def request(room: int) -> bytes:
    name = f"tenants/acme/rooms/r{room}"
    return pb.ListBookingsRequest(parent=name, window=window_of(), page_size=50).SerializeToString()


def _booking(number: int) -> Booking:
    people = tuple(
        Attendee(Person(f"person{place}@contoso.example", f"Person {place}"), False, Response.ACCEPTED)
        for place in range(4)
    )
    start_at = NOW + timedelta(minutes=30 * number)
    return make_booking(f"b{number}", start_at=start_at, minutes=30, attendees=people)


async def _serve(directory: Path, pipe: Connection) -> None:
    rig.PATIENCE_S = 3_600.0
    async with serving(directory) as real:
        await real.db.add_tenant()
        for room in range(ROOMS):
            await real.db.add_filled_room(f"r{room}", *[_booking(number) for number in range(60)])
        ready: bytes = await raw(real.channel, METHOD)(request(0))

        async def answer(_: bytes, __: object) -> bytes:
            return ready

        bare = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handler: Any = grpc.unary_unary_rpc_method_handler(answer)
        name, method = METHOD.strip("/").split("/")
        bare.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, {method: handler})])
        bare.add_insecure_port(f"unix:{directory / 'bare.sock'}")
        await bare.start()
        pipe.send(len(ready))
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        await bare.stop(None)


def _child(directory: Path, pipe: Connection) -> None:
    uvloop.run(_serve(directory, pipe))


async def _rate(call: Callable[[bytes], Awaitable[bytes]], concurrency: int, duration_s: float) -> float:
    done = 0
    end_s = perf_counter() + duration_s
    requests = [request(room) for room in range(ROOMS)]

    async def loop(first: int) -> None:
        nonlocal done
        place = first
        while perf_counter() < end_s:
            await call(requests[place % ROOMS])
            place += 1
            done += 1

    began_s = perf_counter()
    async with asyncio.TaskGroup() as group:
        for first in range(concurrency):
            group.create_task(loop(first))
    return done / (perf_counter() - began_s)


async def _measure(directory: Path, rounds: int, duration_s: float) -> None:
    async with (
        grpc.aio.insecure_channel(f"unix:{directory / 'bare.sock'}") as bare,
        grpc.aio.insecure_channel(f"unix:{directory / 'api.sock'}") as real,
    ):
        calls = [raw(channel, METHOD) for channel in (bare, real)]
        for concurrency in (1, 16):
            ratios, rates = [], []
            for _ in range(rounds):
                pair = [await _rate(call, concurrency, duration_s) for call in calls]
                rates.append(pair)
                ratios.append(pair[1] / pair[0])
            bare_rate, real_rate = (statistics.median(column) for column in zip(*rates, strict=True))
            print(
                f"concurrency {concurrency:2}: bare {bare_rate:6.0f}/s, ListBookings {real_rate:6.0f}/s, "
                f"ratio median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.7)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        ours, theirs = context.Pipe()
        child = context.Process(target=_child, args=(Path(name), theirs))
        child.start()
        theirs.close()
        print(f"{ours.recv()} bytes a response, {ROOMS} rooms")
        uvloop.run(_measure(Path(name), options.rounds, options.seconds))
        ours.send(None)
        child.join()


if __name__ == "__main__":
    main()
