"""Bookings over gRPC, in a real process that is killed: told to watchers, and one event for each request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random, SystemRandom
from typing import Any

import grpc
import pytest
from exchange_client import times
from exchange_client.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from exchange_client.gen.ioffice.exchange.v1 import booking_service_pb2_grpc
from exchange_client.messages import Booking

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK, store_of
from tests.support.processes import Service, eventually, service_started
from tests.support.scene import booking_changes, scene_set, tomorrow
from tests.support.stores import ENGINES

pytestmark = pytest.mark.e2e

REQUESTS, KILLS = 40, 5


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Give the settings of each database."""
    with store_of(request.param) as settings:
        yield settings


def wish(room: str, start_at: datetime, request_id: str, **fields: Any) -> pb.CreateBookingRequest:  # Any: any field
    """Ask for an hour."""
    booking = Booking(subject=request_id)
    booking.time.start_time.CopyFrom(times.to_timestamp(start_at))
    booking.time.end_time.CopyFrom(times.to_timestamp(start_at + timedelta(hours=1)))
    return pb.CreateBookingRequest(parent=room, booking=booking, request_id=request_id, **fields)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason of a status as it stands in its details; of others than conflicts, the code."""
    trailers = dict(error.trailing_metadata() or ())
    details = trailers.get("grpc-status-details-bin", b"")
    is_conflict = isinstance(details, bytes) and b"ROOM_CONFLICT" in details
    return "ROOM_CONFLICT" if is_conflict else error.code().name


async def insisting(service: Service, request: pb.CreateBookingRequest) -> Booking | str:
    """Send a request until it is answered, as clients do; return the booking or why there is none."""
    for _ in range(400):
        try:
            async with grpc.aio.insecure_channel(service.target) as channel:
                stub = booking_service_pb2_grpc.BookingServiceStub(channel)
                answer: pb.CreateBookingResponse = await stub.CreateBooking(request, timeout=5)
                return answer.booking
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return reason_of(error)
        await asyncio.sleep(0.2)
    raise AssertionError(f"{request.request_id} was never answered\n{service.log_tail()}")


async def test_booking_reaches_watchers_pending_and_then_confirmed(service: Service, emulator: RunningEmulator) -> None:
    async with scene_set(service, emulator, rooms=1) as scene, scene.watching() as watcher:
        booking = await insisting(service, wish(scene.room(), tomorrow(), "q1"))
        assert isinstance(booking, Booking)
        assert (booking.state, booking.origin) == (Booking.STATE_CONFIRMED, Booking.ORIGIN_API)
        assert await insisting(service, wish(scene.room(), tomorrow(), "q2")) == "ROOM_CONFLICT"
        await eventually(lambda: len(booking_changes(watcher.messages)) >= 2, "both steps are told", service=service)
        states = [change.booking.state for change in booking_changes(watcher.messages)]
        assert states == [Booking.STATE_PENDING, Booking.STATE_CONFIRMED]
        await scene.settled_rooms()
        await scene.converged(watcher)


async def test_kills_while_bookings_are_made_leave_one_event_for_each_request(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, store: dict[str, str]
) -> None:
    """Each is sent until it is answered, twice at once; every second one wants an hour that another one wants."""
    seed = SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    rng = Random(seed)
    with service_started(tmp_path_factory.mktemp("s"), emulator, **QUICK, **store) as service:
        async with scene_set(service, emulator, rooms=4) as scene, scene.watching() as watcher:
            wishes = [
                wish(
                    scene.room(rng.randrange(4)),
                    tomorrow(8, days=1 + number % 3) + timedelta(hours=number % 7),
                    f"q{number}",
                )
                for number in range(REQUESTS)
            ]

            async def ask(request: pb.CreateBookingRequest) -> None:
                await asyncio.sleep(rng.random() * 6)
                first, second = await asyncio.gather(insisting(service, request), insisting(service, request))
                assert getattr(first, "name", first) == getattr(second, "name", second)
                answers[request.request_id] = first

            answers: dict[str, Booking | str] = {}
            async with asyncio.TaskGroup() as group:
                for request in wishes:
                    group.create_task(ask(request))
                for _ in range(KILLS):
                    await asyncio.sleep(rng.random() * 1.5)
                    await asyncio.to_thread(service.kill)
                    await asyncio.to_thread(service.start)
            made = {name for name, answer in answers.items() if isinstance(answer, Booking)}
            assert {answer for answer in answers.values() if isinstance(answer, str)} <= {"ROOM_CONFLICT"}
            start_at = tomorrow(0)
            found = [
                item["subject"]
                for mailbox in scene.rooms.values()
                for item in await scene.directory.truth(mailbox, start_at, start_at + timedelta(days=5))
            ]
            assert sorted(found) == sorted(made)
            print(f"{len(made)} made, {len(answers) - len(made)} refused")
            await scene.settled_rooms()
            await scene.converged(watcher, deadline_s=60.0)
