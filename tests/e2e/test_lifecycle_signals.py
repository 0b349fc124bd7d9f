"""Signals at bad moments, to real processes: before the start is over, while an app ends as well, and twice."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from exchange_client import ExchangeClient, times
from exchange_client.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from exchange_client.gen.ioffice.exchange.v1 import tenant_service_pb2, watch_service_pb2
from exchange_client.gen.ioffice.exchange.v1.booking_service_pb2_grpc import BookingServiceStub
from exchange_client.gen.ioffice.exchange.v1.common_pb2 import WRITE_COMPLETION_ROOM_ANSWERED, WRITE_MODE_ORGANIZER
from exchange_client.gen.ioffice.exchange.v1.tenant_service_pb2_grpc import TenantServiceStub
from exchange_client.gen.ioffice.exchange.v1.watch_service_pb2_grpc import WatchServiceStub

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK
from tests.support.processes import DEADLINE_S, ROOT, Service, eventually, service_started
from tests.support.scene import Scene, scene_set, tomorrow

pytestmark = pytest.mark.e2e

_ENDED_BY_SIGTERM = 128 + signal.SIGTERM
_AS_FIRST = ("unshare", "--pid", "--fork", "--kill-child", sys.executable)
"""Runs Python as the first process of its world, as it is in a container."""


@contextmanager
def starting(service: Service, *before: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `serve` without waiting until it is ready."""
    command = before or (sys.executable,)
    with service.log_file.open("ab") as log:
        process = subprocess.Popen(
            [*command, "-m", "sidecar", "serve"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'clients' / 'python'}", **service.env},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def events(service: Service) -> list[object]:
    """Return the names of what the service has logged, in order."""
    return [line["event"] for line in service.log_lines()]


async def is_said(service: Service, event: str) -> None:
    """Wait until the service has logged something."""
    await eventually(lambda: event in events(service), f"it says {event}", service=service)


async def test_sigterm_while_the_database_does_not_answer_ends_the_start(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    """It takes connections and says nothing, as one behind a broken firewall does."""
    dsn_file = tmp_path / "dsn"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE_S)
        port = silent.getsockname()[1]
        dsn_file.write_text(f"postgresql://user@127.0.0.1:{port}/database?sslmode=disable")
        service = Service(tmp_path, emulator, STORE__DSN_FILE=str(dsn_file))
        with starting(service) as process:
            connection, _ = await asyncio.to_thread(silent.accept)
            with connection:
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, DEADLINE_S) == 0
    assert events(service) == ["service.start_given_up"]


async def test_sigterm_while_the_schema_is_made_ends_the_start_and_leaves_a_database_that_can_be_used(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    """Somebody's shell holds the file, so the migration waits for it, in a thread that nothing can end."""
    service = Service(tmp_path, emulator)
    with closing(sqlite3.connect(service.database, isolation_level=None)) as shell:
        shell.execute("PRAGMA journal_mode=WAL")
        shell.execute("BEGIN EXCLUSIVE")
        with starting(service) as process:
            files = Path(f"/proc/{process.pid}/fd")

            def has_opened() -> bool:
                for file in files.iterdir():
                    with suppress(FileNotFoundError):  # closed since it was listed
                        if os.readlink(file) == str(service.database):
                            return True
                return False

            await eventually(has_opened, "it has opened the database", service=service)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, DEADLINE_S) == 0
        assert events(service)[0] == "service.start_given_up"
        shell.execute("ROLLBACK")
    try:
        await asyncio.to_thread(service.start)
        assert await service.is_ready()
    finally:
        await asyncio.to_thread(service.close)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a process the first one of its own world")
async def test_sigterm_is_heard_by_the_first_process_of_a_container_while_it_reads_its_modules(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    """The kernel spares it signals that it does not handle, so the kubelet would wait for the whole grace."""
    service = Service(tmp_path, emulator)
    with starting(service, *_AS_FIRST) as unshare:
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")

        def is_reading() -> int:
            """Return the process once it has begun to read the modules that take long."""
            found = children.read_text().split()
            assert found, "not forked yet"
            maps = Path(f"/proc/{found[0]}/maps").read_text()
            assert "grpc" in maps, "not yet at the modules that take long"
            return int(found[0])

        os.kill(await eventually(is_reading, "it reads modules", service=service), signal.SIGTERM)
        assert await asyncio.to_thread(unshare.wait, DEADLINE_S) in (_ENDED_BY_SIGTERM, 0)


def invitation(scene: Scene) -> pb.CreateBookingRequest:
    """Ask for a room in a person's calendar, to be answered when the room has answered."""
    asked = pb.CreateBookingRequest(
        parent=scene.room(),
        booking=pb.Booking(subject="Plans", organizer=pb.Person(email=scene.directory.people[0])),
        request_id="q1",
        mode=WRITE_MODE_ORGANIZER,
        completion=WRITE_COMPLETION_ROOM_ANSWERED,
    )
    asked.max_wait.FromSeconds(60)
    asked.booking.time.CopyFrom(times.window(tomorrow(9), tomorrow(10)))
    return asked


async def test_app_that_ends_with_the_service_is_answered_until_it_has_finished(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    """Whoever waits for a room is told at once, who still asks is answered, who wants to watch is sent to the next process."""
    quiet = {**QUICK, "GRPC__QUIET_S": "3", "GRPC__DRAIN_S": "60"}
    with service_started(tmp_path, emulator, **quiet) as service:
        async with scene_set(service, emulator, AutomateProcessing="AutoUpdate") as scene, scene.watching() as watcher:
            socket_path = service.env["EXCHANGE_GRPC__SOCKET"]
            async with grpc.aio.insecure_channel(f"unix:{socket_path}") as channel:
                writing = BookingServiceStub(channel).CreateBooking(invitation(scene), timeout=90.0)
                person = scene.directory.people[0]

                async def is_made() -> bool:
                    return bool(await scene.directory.truth(person, tomorrow(0), tomorrow(23)))

                await eventually(is_made, "the meeting is made, and the room asked", service=service)
                service.process.send_signal(signal.SIGTERM)
                assert (await writing).booking.state == pb.Booking.STATE_PENDING
                await eventually(lambda: watcher.closing, "the watch is closed with a message", service=service)
                tenants = TenantServiceStub(channel)
                for _ in range(5):
                    asked = tenant_service_pb2.GetTenantRequest(name=scene.tenant)
                    assert (await tenants.GetTenant(asked)).tenant.name == scene.tenant
                refused = WatchServiceStub(channel).WatchRooms(watch_service_pb2.WatchRoomsRequest(parent=scene.tenant))
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await refused.read()
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                assert service.process.poll() is None
                assert await asyncio.to_thread(service.process.wait, DEADLINE_S) == 0
            service.env["EXCHANGE_GRPC__QUIET_S"] = "0"
            await asyncio.to_thread(service.start)
            listed = await scene.client.list_bookings(scene.room(), tomorrow(0), tomorrow(23))
            assert [booking.state for booking in listed.bookings] == [pb.Booking.STATE_PENDING]
            assert len(await scene.directory.truth(person, tomorrow(0), tomorrow(23))) == 1


async def test_second_sigterm_ends_the_process_at_once_and_harms_nothing(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    """The first one waits here for callers who have become quiet; an app that calls meanwhile finds the next process."""
    with service_started(tmp_path, emulator, GRPC__QUIET_S="60", GRPC__DRAIN_S="300", **QUICK) as service:
        async with scene_set(service, emulator) as scene:
            await scene.directory.book(scene.mailbox(), tomorrow())
            async with scene.watching() as watcher:
                await scene.converged(watcher)
            service.process.send_signal(signal.SIGTERM)
            await is_said(service, "service.draining")
            service.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(service.process.wait, DEADLINE_S) == _ENDED_BY_SIGTERM
            assert events(service)[-1] == "service.ended_at_once"
            service.env["EXCHANGE_GRPC__QUIET_S"] = "0"
            async with ExchangeClient.connect(f"unix://{service.env['EXCHANGE_GRPC__SOCKET']}") as client:
                early = asyncio.create_task(
                    client.list_bookings(scene.room(), tomorrow(0), tomorrow(23), timeout_s=2 * DEADLINE_S)
                )
                await asyncio.sleep(0)
                await asyncio.to_thread(service.start)
                assert len((await early).bookings) == 1
