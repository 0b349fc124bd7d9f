"""Bookings made with the Python client and the command line, over real processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from exchange_client import RequestIdReused, RoomConflict, SyncExchangeClient
from exchange_client.messages import Booking

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import Service, eventually, run_cli, service_started
from tests.support.scene import Scene, scene_set, tomorrow, wall

pytestmark = pytest.mark.e2e


@pytest.fixture
async def scene(service: Service, emulator: RunningEmulator) -> AsyncIterator[Scene]:
    """Give a tenant with a room."""
    async with scene_set(service, emulator) as scene:
        yield scene


async def run(scene: Scene, *arguments: str) -> tuple[int, str, str]:
    """Run a command against the service; return exit code and both outputs."""
    done = await asyncio.to_thread(run_cli, "booking", *arguments, env={"EXCHANGE_TARGET": scene.service.target})
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def soon(*, minutes: int = 0) -> datetime:
    """Return a minute that comes in a quarter of an hour, or later."""
    return datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=15 + minutes)


async def test_client_books_once_and_learns_of_conflicts(scene: Scene) -> None:
    """Ten equal wishes at once are one booking in the room's calendar."""
    room = scene.room()
    wishes = [
        scene.client.create_booking(room, tomorrow(9), tomorrow(10), subject="Plans", request_id="wish-1")
        for _ in range(10)
    ]
    answers = await asyncio.gather(*wishes)
    assert {answer.booking.name for answer in answers} == {answers[0].booking.name}
    assert answers[0].booking.state == Booking.STATE_CONFIRMED
    assert len(await scene.directory.truth(scene.mailbox(), tomorrow(0), tomorrow(23))) == 1
    with pytest.raises(RoomConflict) as caught:
        await scene.client.create_booking(room, tomorrow(9), tomorrow(11))
    assert caught.value.windows == ((tomorrow(9), tomorrow(10)),)
    with pytest.raises(RequestIdReused):
        await scene.client.create_booking(room, tomorrow(15), tomorrow(16), request_id="wish-1")
    token = answers[0].written_at_token
    free = await scene.client.find_availability(scene.tenant, tomorrow(8), tomorrow(11), read_after_token=token)
    assert len(free[0].free) == 2


async def test_client_gets_over_a_killed_service(tmp_path: Path, emulator: RunningEmulator) -> None:
    """It goes on asking under the same id: one booking, and the answer that it would have had."""
    with service_started(tmp_path, emulator) as service:
        async with scene_set(service, emulator) as scene:
            # The look that the verdict is made of: the process dies before it has its answer.
            await scene.directory.fault({"delay_s": 5.0}, method="GET", path="/calendarView")
            booking = scene.client.create_booking(scene.room(), tomorrow(9), tomorrow(10), timeout_s=60.0)
            under_way = asyncio.create_task(booking, name="booking")

            async def made() -> bool:
                return bool(await scene.directory.truth(scene.mailbox(), tomorrow(0), tomorrow(23)))

            await eventually(made, "Exchange holds the booking", service=service)
            assert not under_way.done()
            service.kill()
            service.start()
            answer = await under_way
            assert answer.booking.state == Booking.STATE_CONFIRMED
            assert len(await scene.directory.truth(scene.mailbox(), tomorrow(0), tomorrow(23))) == 1


async def test_sync_client_books_a_series(scene: Scene) -> None:
    """With a zone that has clock changes."""

    def use() -> Booking:
        with SyncExchangeClient.connect(scene.service.target) as client:
            answer = client.create_booking(
                scene.room(), tomorrow(9), tomorrow(10), rrule="FREQ=DAILY;COUNT=3", time_zone="Europe/Berlin"
            )
            return answer.booking

    booking = await asyncio.to_thread(use)
    assert booking.recurrence.series_id
    assert len((await scene.client.list_bookings(scene.room(), tomorrow(0), tomorrow(23, days=4))).bookings) == 3


async def test_commands_check_in_and_give_the_room_back(scene: Scene) -> None:
    """Of a booking by its short name or its full one."""
    booking = (await scene.client.create_booking(scene.room(), soon(), soon(minutes=30))).booking.name
    short = booking.replace("tenants/", "").replace("/rooms/", "/").replace("/bookings/", "/")
    code, told, error = await run(scene, "checkin", short, "--by", "badge-7")
    assert (code, error) == (0, "")
    assert told.startswith("checked in at ")
    assert told.endswith(f"by badge-7\n{booking}\n")
    assert (await run(scene, "checkin", booking, "--undo"))[1] == f"not checked in\n{booking}\n"
    assert (await run(scene, "release", short, "--reason", "no-show")) == (0, "the room is free\n", "")
    assert (await run(scene, "release", short, "--allow-missing"))[0] == 0
    assert not await scene.directory.truth(scene.mailbox(), soon(minutes=-30), soon(minutes=60))
    code, _, error = await run(scene, "checkin", scene.room())
    assert (code, error.split(":")[1]) == (1, " FIELD_INVALID")
    assert (await run(scene, "checkin", "r1"))[0] == 2


async def test_commands_move_a_booking_and_cancel_a_series(scene: Scene) -> None:
    """What is not given stays as it is; scopes are words."""
    made = await scene.client.create_booking(scene.room(), tomorrow(9), tomorrow(10), rrule="FREQ=DAILY;COUNT=3")
    name = made.booking.name
    code, told, error = await run(scene, "update", name, "--start", wall(tomorrow(14))[:16], "--subject", "Later")
    assert (code, error) == (0, "")
    day = tomorrow(9).strftime("%Y-%m-%d")
    assert told.splitlines()[0] == f"confirmed: {day} 14:00Z to {day} 15:00Z"
    assert (await scene.client.get_booking(told.splitlines()[1])).subject == "Later"
    assert (await run(scene, "update", name, "--for", "90", "--dry-run"))[:2] == (0, "it can be done\n")
    code, _, error = await run(scene, "update", name, "--subject", "x", "--etag", "old")
    assert (code, "ETAG_MISMATCH" in error) == (1, True)
    assert (await run(scene, "update", name))[0] == 2
    assert (await run(scene, "cancel", name, "--scope", "all", "--comment", "Off.")) == (0, "cancelled\n", "")
    assert not (await scene.client.list_bookings(scene.room(), tomorrow(0), tomorrow(23, days=4))).bookings
    assert (await run(scene, "cancel", name, "--allow-missing"))[:2] == (0, "there was none\n")


async def test_commands_book_refuse_and_say_what_to_do(scene: Scene, tmp_path: Path) -> None:
    """One line and an exit code each."""
    room = scene.room().removeprefix("tenants/").replace("/rooms/", "/")
    start = wall(tomorrow(9))[:16]
    code, told, _ = await run(scene, "create", room, start, "--for", "30", "--subject", "Plans", "--dry-run")
    assert (code, told) == (0, "it can be done\n")
    code, told, error = await run(scene, "create", room, start, "--for", "30", "--subject", "Plans")
    assert (code, error) == (0, "")
    day = tomorrow(9).strftime("%Y-%m-%d")
    assert told.splitlines()[0] == f"confirmed: {day} 09:00Z to {day} 09:30Z"
    assert told.splitlines()[1].startswith(scene.room())
    code, told, error = await run(scene, "create", room, start)
    assert (code, told) == (1, "")
    taken = f"the room is taken: {day} 09:00Z to {day} 09:30Z; `booking find` shows when it is free"
    assert error == f"exchange-sidecar: ROOM_CONFLICT: {taken}\n"
    past = datetime(2020, 1, 1, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M")
    code, _, error = await run(scene, "create", room, past)
    assert code == 1
    assert "booking.time: must not be in the past" in error
    for misused in (["--zone", "Middle/Earth"], ["--annotation", "no value"]):
        code, _, error = await run(scene, "create", room, start, *misused)
        assert (code, error.count("\n")) == (2, 1)
