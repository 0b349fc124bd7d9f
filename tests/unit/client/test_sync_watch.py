"""The sync watch on a real socket; the service runs in the test's loop, the consumer in a thread."""

from __future__ import annotations

import asyncio
import gc
import threading

import grpc
import pytest
from exchange_client import ClientClosed, GapError, MemoryTokenStore, Reconnected, SyncExchangeClient, SyncWatch
from exchange_client.messages import StreamClosing, WatchRoomResponse

from tests.unit.client.fake_server import HANG, FakeServer, FakeSyncClock, Fault, checkpoint, closing

ROOM = "tenants/acme/rooms/r1"


async def take(watch: SyncWatch[WatchRoomResponse], count: int) -> list[str | Reconnected]:
    """Take so many messages in a thread; give their tokens, and markers as they are."""

    def run() -> list[str | Reconnected]:
        items = [next(watch) for _ in range(count)]
        return [item if isinstance(item, Reconnected) else item.resume_token for item in items]

    async with asyncio.timeout(10):
        return await asyncio.to_thread(run)


async def test_broken_stream_is_resumed_from_the_last_token_dealt_with(
    server: FakeServer, sync_client: SyncExchangeClient
) -> None:
    server.streams["WatchRoom"] = [
        [checkpoint("t1"), checkpoint("t2"), Fault(grpc.StatusCode.UNAVAILABLE)],
        [Fault(grpc.StatusCode.CANCELLED)],
        [checkpoint("t3")],
        [checkpoint("t4"), HANG],
    ]
    with sync_client.watch_room(ROOM) as watch:
        one, two, marker, three, _, four = await take(watch, 6)
    assert (one, two, three, four) == ("t1", "t2", "t3", "t4")
    assert isinstance(marker, Reconnected)
    assert marker.attempts == 2
    assert server.tokens() == ["", "t2", "t2", "t3"]


async def test_gap_error_ends_the_watch(server: FakeServer, sync_client: SyncExchangeClient) -> None:
    server.streams["WatchRoom"] = [[Fault(grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")]]
    watch = sync_client.watch_room(ROOM, resume_token="old")
    with pytest.raises(GapError):
        await take(watch, 1)


async def test_watch_ends_normally_after_the_scope_is_gone(server: FakeServer, sync_client: SyncExchangeClient) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), closing(StreamClosing.REASON_SCOPE_GONE)]]
    assert len(await asyncio.to_thread(lambda: list(sync_client.watch_room(ROOM)))) == 2


async def test_silent_stream_is_given_up_after_three_heartbeats(
    server: FakeServer, sync_client: SyncExchangeClient, sync_clock: FakeSyncClock
) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), HANG], [checkpoint("t2"), HANG]]
    told: list[str] = []
    with sync_client.watch_room(ROOM, on_retry=lambda error, delay_s: told.append(error.code)) as watch:
        await take(watch, 1)
        async with asyncio.TaskGroup() as group:
            rest = group.create_task(take(watch, 2))
            sync_clock.fire.set()
        assert rest.result()[1] == "t2"
    assert told == ["DEADLINE_EXCEEDED"]


async def test_token_is_saved_only_when_the_consumer_comes_back(
    server: FakeServer, sync_client: SyncExchangeClient
) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), checkpoint("t2"), HANG]]
    store = MemoryTokenStore()
    with sync_client.watch_room(ROOM, token_store=store) as watch:
        await take(watch, 1)
        assert store.load(ROOM) is None
        await take(watch, 1)
        assert store.load(ROOM) == "t1"


async def test_closing_the_watch_wakes_a_consumer_that_reads(
    server: FakeServer, sync_client: SyncExchangeClient
) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), HANG]]
    watch = sync_client.watch_room(ROOM)
    first = threading.Event()

    def consume() -> int:
        count = 0
        for _ in watch:
            count += 1
            first.set()
        return count

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        consumer = group.create_task(asyncio.to_thread(consume))
        await asyncio.to_thread(first.wait)
        watch.close()
    assert consumer.result() == 1
    async with asyncio.timeout(10):
        await server.idle.wait()


async def test_closing_the_client_wakes_a_consumer_that_pauses(
    server: FakeServer, sync_client: SyncExchangeClient, sync_clock: FakeSyncClock
) -> None:
    server.streams["WatchRoom"] = [[Fault(grpc.StatusCode.UNAVAILABLE)]]
    sync_clock.hold = True
    watch = sync_client.watch_room(ROOM)

    def consume() -> None:
        with pytest.raises(ClientClosed):
            next(watch)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(consume))
        await asyncio.to_thread(sync_clock.held.wait)
        sync_client.close()
    with pytest.raises(ClientClosed):
        sync_client.watch_room(ROOM)


async def test_watch_that_nobody_holds_ends_its_call_and_its_thread(
    server: FakeServer, sync_client: SyncExchangeClient
) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), HANG]]
    watch = sync_client.watch_room(ROOM)
    await take(watch, 1)
    (guard,) = [thread for thread in threading.enumerate() if thread.name == "exchange-client-watchdog"]
    del watch
    gc.collect()
    async with asyncio.timeout(10):
        await server.idle.wait()
        await asyncio.to_thread(guard.join)
