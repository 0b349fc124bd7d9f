"""Stops and starts in good order: what a restart costs, how it is announced, and that nobody else gets in."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest
from exchange_client import ExchangeClient, SyncExchangeClient, names
from exchange_client.messages import StreamClosing, Tenant

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK
from tests.support.processes import Service, eventually, free_port, run_cli, service_started
from tests.support.scene import Scene, directory_made, scene_set, tomorrow

pytestmark = pytest.mark.e2e

ROOMS = 1_000
BOOKINGS_PER_ROOM = 4


async def test_restart_with_a_thousand_rooms_is_quick_and_reads_no_calendar_again(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    loop = asyncio.get_running_loop()
    with service_started(tmp_path_factory.mktemp("s"), emulator, **QUICK) as service:
        async with directory_made(emulator) as directory, ExchangeClient.connect(service.target) as client:
            scene = Scene(service, client, directory, tenant_id=f"t-{directory.id[:8]}")
            body = {"rooms": ROOMS, "bookings_per_room": BOOKINGS_PER_ROOM, "start": tomorrow().isoformat()}
            directory.rooms = [room["address"] for room in (await directory.call("POST", "seed", body))["rooms"]]
            await scene.register()
            await scene.state(Tenant.STATE_ACTIVE)
            began_s = loop.time()
            await scene.map_all()
            await scene.settled_rooms(deadline_s=90.0)
            imported_s = loop.time() - began_s
            assert await asyncio.to_thread(service.stop) == 0
            asked = (await directory.requests())[-1]["number"]
            began_s = loop.time()
            await asyncio.to_thread(service.start)
            assert await service.is_ready()
            listed = await client.list_bookings(names.all_rooms(scene.tenant_id), tomorrow(0), tomorrow(0, days=30))
            ready_s = loop.time() - began_s
            assert len(listed.bookings) == ROOMS * BOOKINGS_PER_ROOM
            await scene.settled_rooms()
            # Something new makes sure that the service has been at work, and would have read what it meant to.
            mailbox = scene.mailbox(7)
            await directory.book(mailbox, tomorrow(20, days=3))
            window = tomorrow(0, days=3), tomorrow(0, days=4)

            async def arrived() -> bool:
                found = (await client.list_bookings(scene.room(7), *window)).bookings
                return any(
                    booking.calendar_uid for booking in found if booking.time.start_time.seconds % 86_400 == 72_000
                )

            await eventually(arrived, "a new booking arrives", service=service)
            again = [one["path"] for one in await directory.requests(after=asked)]
            assert len(again) < 10, again
            assert not any("calendarView" in path or "subscriptions" in path for path in again), again
            print(f"{ROOMS} rooms: imported in {imported_s:.1f} s; after a restart ready and listed in {ready_s:.1f} s")
            assert ready_s < 15.0


async def test_stop_ends_each_watch_with_a_message_and_a_token_that_goes_on(
    own_service: Service, emulator: RunningEmulator
) -> None:
    loop = asyncio.get_running_loop()
    async with scene_set(own_service, emulator, rooms=3) as scene, AsyncExitStack() as stack:
        watchers = [await stack.enter_async_context(scene.watching(room)) for room in [None, None, *scene.rooms]]
        for watcher in watchers:
            await eventually(lambda watcher=watcher: watcher.mirror.fresh_as_of, "a first checkpoint")  # type: ignore[misc]
        began_s = loop.time()
        assert await asyncio.to_thread(own_service.stop) == 0
        stopped_s = loop.time() - began_s
        for watcher in watchers:
            await eventually(lambda watcher=watcher: watcher.closing, "a closing message", service=own_service)  # type: ignore[misc]
            assert watcher.closing is not None
            assert watcher.closing.reason == StreamClosing.REASON_DRAINING
            assert watcher.closing.retry_after.ToMilliseconds() >= 1_000
            last = next(m for m in reversed(watcher.messages) if getattr(m, "resume_token", ""))
            assert getattr(last, "closing", None) == watcher.closing  # the message itself has the token
        assert stopped_s < 10.0
        await asyncio.to_thread(own_service.start)
        for mailbox in scene.rooms.values():
            await scene.directory.book(mailbox, tomorrow())
        await scene.converged(*watchers[:2])
        for number, watcher in enumerate(watchers[2:]):
            heard = partial(watcher.mirror.bookings, scene.room(number))
            await eventually(heard, "the watch of a room goes on by itself", service=own_service)
        print(f"stopped with {len(watchers)} watches in {stopped_s:.1f} s")


async def test_watch_that_never_ends_does_not_hold_up_the_stop(own_service: Service, emulator: RunningEmulator) -> None:
    async with scene_set(own_service, emulator) as scene, ExchangeClient.connect(own_service.target) as client:
        watch = client.watch_rooms(scene.tenant)
        await anext(watch)  # and takes nothing more
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        assert await asyncio.to_thread(own_service.stop) == 0
        assert loop.time() - began_s < 15.0
        await watch.aclose()


def addresses(folder: Path) -> dict[str, str]:
    """Return settings under which another process finds nothing taken but the database."""
    return {
        "EXCHANGE_GRPC__SOCKET": str(folder / "other.sock"),
        "EXCHANGE_GRPC__ADDRESSES": f'["127.0.0.1:{free_port()}"]',
        "EXCHANGE_WEBHOOK__LISTEN": f"127.0.0.1:{free_port()}",
        "EXCHANGE_PROBES__LISTEN": f"127.0.0.1:{free_port()}",
    }


def assert_unharmed(service: Service) -> None:
    """See that a service answers on all its listeners."""
    for target in (service.target, f"unix://{service.env['EXCHANGE_GRPC__SOCKET']}"):
        with SyncExchangeClient.connect(target) as client:
            assert list(client.list_tenants()) == []
    token = httpx.post(f"{service.webhooks}/graph/notifications", params={"validationToken": "there?"}, trust_env=False)
    assert token.text == "there?"
    assert httpx.get(f"{service.probes}/readyz", trust_env=False).status_code == 200


def test_second_process_on_one_database_is_refused_and_the_first_unharmed(service: Service, tmp_path: Path) -> None:
    refused = run_cli("serve", env=service.env | addresses(tmp_path))
    assert refused.returncode == 3
    assert refused.stderr.splitlines()[-1].startswith("exchange-sidecar: another process has the database")
    assert "Traceback" not in refused.stderr
    assert_unharmed(service)


@pytest.mark.parametrize("taken", ["GRPC__SOCKET", "GRPC__ADDRESSES", "WEBHOOK__LISTEN", "PROBES__LISTEN"])
def test_second_process_on_one_address_is_refused_and_the_first_unharmed(
    service: Service, tmp_path: Path, taken: str
) -> None:
    name = f"EXCHANGE_{taken}"
    other = {**addresses(tmp_path), "EXCHANGE_STORE__PATH": str(tmp_path / "other.sqlite3"), name: service.env[name]}
    refused = run_cli("serve", env=service.env | other)
    assert refused.returncode == 2, refused.stderr
    sentence, setting = refused.stderr.splitlines()[-2:]
    assert sentence.startswith("exchange-sidecar: cannot listen")
    assert setting.strip().startswith(taken.lower().replace("__", "."))
    assert "Traceback" not in refused.stderr
    assert_unharmed(service)


def test_key_ring_that_is_missing_is_refused_at_the_start(service: Service, tmp_path: Path) -> None:
    other = {**addresses(tmp_path), "EXCHANGE_STORE__PATH": str(tmp_path / "other.sqlite3")}
    refused = run_cli("serve", env=service.env | other | {"EXCHANGE_VAULT__KEY_RING_FILE": str(tmp_path / "none.json")})
    assert refused.returncode == 2
    assert "none.json" in refused.stderr
    assert "Traceback" not in refused.stderr
