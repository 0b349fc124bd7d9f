"""The load generator of creates: the same bookings, through the service or straight into the calendars.

Each worker takes the next free quarter of an hour of the next room when its answer is there, so no two are in each other's way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import uuid4

import grpc
import httpx
import msgspec
import uvloop

from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1.common_pb2 import WRITE_COMPLETION_SUBMITTED
from sidecar.graph import wire
from sidecar.graph.logins import build_tls
from sidecar.graph.wire_writes import create_event_call, event_json
from sidecar.model.event import EventContent
from sidecar.model.window import Window
from sidecar.settings import GraphSettings
from tests.bench.figures import quantile
from tests.bench.lines import Json, announce, answer_lines

_LENGTH = timedelta(minutes=15)
_FIRST_DAY = 30
"""Days from now: behind what the rooms were filled with."""
_SUBJECT = "Design review"

Create = Callable[[str, Window], Awaitable[None]]


class _Slots:
    """Free quarters of an hour, each given out once for as long as the program runs."""

    def __init__(self) -> None:
        self._numbers = count()
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self._first_at = midnight + timedelta(days=_FIRST_DAY)

    def take(self, rooms: list[str]) -> tuple[str, Window]:
        """Return a room and when to book it."""
        number = next(self._numbers)
        start_at = self._first_at + number // len(rooms) * _LENGTH
        return rooms[number % len(rooms)], Window(start_at, start_at + _LENGTH)


class _Load:
    def __init__(self) -> None:
        self._slots: dict[str, _Slots] = {}

    async def handle(self, job: Json) -> Json:
        slots = self._slots.setdefault(job["op"], _Slots())
        if job["op"] == "service":
            async with grpc.aio.insecure_channel(job["target"]) as channel:
                return await _run(job, slots, _through_service(channel, is_submitted=job["is_submitted"]))
        settings = GraphSettings(ca_file=Path(job["ca_file"]))
        async with httpx.AsyncClient(verify=build_tls(settings), trust_env=False, timeout=60) as http:
            return await _run(job, slots, await _straight(http, job, settings))


def _through_service(channel: grpc.aio.Channel, *, is_submitted: bool) -> Create:
    call = channel.unary_unary(
        "/ioffice.exchange.v1.BookingService/CreateBooking",
        request_serializer=pb.CreateBookingRequest.SerializeToString,
        response_deserializer=pb.CreateBookingResponse.FromString,
    )

    async def create(room: str, window: Window) -> None:
        request = pb.CreateBookingRequest(parent=room, booking=pb.Booking(subject=_SUBJECT), request_id=str(uuid4()))
        request.booking.time.start_time.FromDatetime(window.start_at)
        request.booking.time.end_time.FromDatetime(window.end_at)
        if is_submitted:
            request.completion = WRITE_COMPLETION_SUBMITTED
        answer = await call(request)
        assert is_submitted or answer.booking.state == pb.Booking.STATE_CONFIRMED, answer

    return create


async def _straight(http: httpx.AsyncClient, job: Json, settings: GraphSettings) -> Create:
    """Make events; with `looks` also read the hours of each afterwards, without which nobody knows whether it stands alone."""
    form = {
        "grant_type": "client_credentials",
        "client_id": job["client_id"],
        "client_secret": job["client_secret"],
        "scope": "https://graph.microsoft.com/.default",
    }
    answer = await http.post(f"{job['url']}/{job['directory']}/oauth2/v2.0/token", data=form)
    token = answer.raise_for_status().json()["access_token"]
    headers = {"authorization": f"Bearer {token}", "prefer": wire.PREFER, "content-type": "application/json"}

    async def create(room: str, window: Window) -> None:
        content = event_json(EventContent(window=window, time_zone="UTC", subject=_SUBJECT), parts=("time", "subject"))
        call = create_event_call(room, content, transaction_id=str(uuid4()))
        reply = await http.post(f"{job['url']}/v1.0{call.path}", content=call.content, headers=headers)
        event_id = msgspec.json.decode(reply.raise_for_status().content)["id"]
        if job["looks"]:
            look = wire.view_call(room, window, page_size=settings.page_size)
            reply = await http.get(f"{job['url']}/v1.0{look.path}", headers=headers)
            assert event_id in {event.id for event in wire.parse_page(reply.raise_for_status().content).value}

    return create


async def _run(job: Json, slots: _Slots, create: Create) -> Json:
    """Create as fast as answers come, from several places at once."""
    durations_s: list[float] = []
    began_s = time.perf_counter()
    ends_s = began_s + job["seconds"]

    async def work() -> None:
        before_s = time.perf_counter()
        while before_s < ends_s:
            await create(*slots.take(job["rooms"]))
            after_s = time.perf_counter()
            durations_s.append(after_s - before_s)
            before_s = after_s

    async with asyncio.TaskGroup() as group:
        for _ in range(job["concurrency"]):
            group.create_task(work())
    return {
        "calls": len(durations_s),
        "rps": len(durations_s) / (time.perf_counter() - began_s),
        "p50_s": quantile(durations_s, 0.5),
        "p95_s": quantile(durations_s, 0.95),
    }


async def _main() -> None:
    announce(ready=True)
    await answer_lines(_Load().handle)


if __name__ == "__main__":
    uvloop.run(_main())
