"""The example runs as its README says."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import grpc
import pytest
from exchange_client import RoomMirror, SyncExchangeClient, names, times
from exchange_client.messages import (
    Booking,
    BookingChange,
    BookingChanges,
    Checkpoint,
    ListRoomsResponse,
    Person,
    Room,
    SnapshotEnd,
    SnapshotStart,
    StreamClosing,
    SyncState,
    SyncStatus,
    WatchRoomsResponse,
)

from tests.unit.client.fake_server import FakeServer, Fault
from tests.unit.client.test_mirror import HOUR, NINE, ROOM

EXAMPLE = Path(__file__).parents[3] / "clients/python/example.py"


def example() -> Any:  # Any: a module loaded from a path has no type
    spec = importlib.util.spec_from_file_location("client_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_example_shows_rooms_and_changes(
    server: FakeServer, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    booking = Booking(name=f"{ROOM}/bookings/b1", subject="Plan", organizer=Person(email="ann@acme.example"))
    booking.time.CopyFrom(times.window(NINE, NINE + HOUR))
    change = BookingChange(kind=BookingChange.KIND_UPSERTED, booking=booking)
    listed = Room(name=ROOM, mailbox="r1@acme.example", state=Room.STATE_UP)
    live = SyncStatus(state=SyncState.SYNC_STATE_LIVE, fresh_as_of_time=times.to_timestamp(NINE))
    server.answers["ListRooms"] = lambda request: ListRoomsResponse(rooms=[listed])
    server.streams["WatchRooms"] = [
        [Fault(grpc.StatusCode.INTERNAL)],
        [
            WatchRoomsResponse(snapshot_start=SnapshotStart(room=ROOM, snapshot_id="s1", epoch="e1")),
            WatchRoomsResponse(changes=BookingChanges(changes=[change])),
            WatchRoomsResponse(snapshot_end=SnapshotEnd(room=ROOM, snapshot_id="s1"), resume_token="t1"),
            WatchRoomsResponse(checkpoint=Checkpoint(sync=live), resume_token="t2"),
            WatchRoomsResponse(closing=StreamClosing(reason=StreamClosing.REASON_SCOPE_GONE)),
        ],
    ]
    mirror = RoomMirror()
    async with asyncio.timeout(10):
        await example().follow(target, "acme", mirror)
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "r1: r1@acme.example, STATE_UP",
        f"{ROOM} added 2026-11-23 09:00 to 10:00 UTC 'Plan' by ann@acme.example",
        f"{ROOM} is complete: 1 bookings",
        "the copy is SYNC_STATE_LIVE, fresh as of 2026-11-23 09:00:00+00:00",
        f"{ROOM} removed 2026-11-23 09:00 to 10:00 UTC 'Plan' by ann@acme.example",
        f"{ROOM} room_gone ",
    ]
    assert "calling again" in shown.err
    assert mirror.resume_token == "t2"


async def test_watch_outlives_a_restart_of_the_service(
    server: FakeServer, sync_client: SyncExchangeClient, target: str
) -> None:
    """The socket is gone for a moment and another process has it afterwards."""
    first = WatchRoomsResponse(checkpoint=Checkpoint(), resume_token="t1")
    server.streams["WatchRooms"] = [[first, Fault(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")]]
    after = FakeServer()
    after.streams["WatchRooms"] = [[WatchRoomsResponse(checkpoint=Checkpoint(), resume_token="t2")]]
    with sync_client.watch_rooms(names.tenant("acme")) as watch:
        await asyncio.to_thread(next, watch)
        await server.stop()
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            waiting = group.create_task(asyncio.to_thread(lambda: [next(watch), next(watch)]))
            await after.start(target)
    assert isinstance(waiting.result()[1], WatchRoomsResponse)
    assert after.tokens("WatchRooms") == ["t1"]
    await after.stop()
