"""The async watch on a real socket: what it survives, what ends it, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import gc

import grpc
import pytest
from exchange_client import (
    AccessDenied,
    ClientClosed,
    ExchangeClient,
    ExchangeError,
    FileTokenStore,
    GapError,
    InvalidRequest,
    MemoryTokenStore,
    NotFound,
    Reconnected,
    Watch,
    WatcherTooSlow,
)
from exchange_client.messages import GapPolicy, StreamClosing, WatchRoomResponse

from tests.unit.client.fake_server import HANG, FakeClock, FakeServer, Fault, checkpoint, closing, rooms_checkpoint

ROOM = "tenants/acme/rooms/r1"


async def take(watch: Watch[WatchRoomResponse], count: int) -> list[str | Reconnected]:
    """Take so many messages; give their tokens, and markers as they are."""
    taken: list[str | Reconnected] = []
    async with asyncio.timeout(10):
        while len(taken) < count:
            item = await anext(watch)
            taken.append(item if isinstance(item, Reconnected) else item.resume_token)
    return taken


async def test_broken_stream_is_resumed_from_the_last_token_dealt_with(
    server: FakeServer, client: ExchangeClient
) -> None:
    server.streams["WatchRoom"] = [
        [checkpoint("t1"), checkpoint("t2"), Fault(grpc.StatusCode.UNAVAILABLE)],
        [checkpoint("t3"), HANG],
    ]
    async with client.watch_room(ROOM, resume_token="t0") as watch:
        one, two, marker, three = await take(watch, 4)
        assert (one, two, three) == ("t1", "t2", "t3")
        assert isinstance(marker, Reconnected)
        assert marker.attempts == 1
        assert marker.cause is not None
        assert marker.cause.code == "UNAVAILABLE"
    assert server.tokens() == ["t0", "t2"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING"),
        Fault(grpc.StatusCode.INTERNAL, "INTERNAL"),
        Fault(grpc.StatusCode.UNKNOWN),
        Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW"),
        Fault(grpc.StatusCode.DEADLINE_EXCEEDED),
        Fault(grpc.StatusCode.CANCELLED),
    ],
    ids=lambda fault: fault.code.name,
)
async def test_what_may_pass_does_not_end_a_watch(fault: Fault, server: FakeServer, client: ExchangeClient) -> None:
    server.streams["WatchRoom"] = [[fault], [fault], [checkpoint("t1"), HANG]]
    async with client.watch_room(ROOM) as watch:
        assert await take(watch, 1) == ["t1"]  # no marker: nothing was heard before
    assert len(server.tokens()) == 3


async def test_stream_that_ends_without_a_word_is_resumed(server: FakeServer, client: ExchangeClient) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1")], [checkpoint("t2"), HANG]]
    async with client.watch_room(ROOM) as watch:
        assert [item for item in await take(watch, 3) if isinstance(item, str)] == ["t1", "t2"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_MALFORMED"), InvalidRequest),
        (Fault(grpc.StatusCode.NOT_FOUND, "ROOM_NOT_FOUND"), NotFound),
        (Fault(grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED"), GapError),
        (Fault(grpc.StatusCode.PERMISSION_DENIED), ExchangeError),
    ],
    ids=lambda value: value.code.name if isinstance(value, Fault) else "",
)
async def test_what_cannot_pass_ends_a_watch(
    fault: Fault, error: type[ExchangeError], server: FakeServer, client: ExchangeClient
) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), fault]]
    async with client.watch_room(ROOM, gap_policy=GapPolicy.GAP_POLICY_FAIL) as watch:
        assert await take(watch, 1) == ["t1"]
        with pytest.raises(error):
            await anext(watch)
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
    assert server.requests["WatchRoom"][0].options.gap_policy == GapPolicy.GAP_POLICY_FAIL


async def test_watch_whose_token_was_taken_back_calls_again_once(server: FakeServer, client: ExchangeClient) -> None:
    """With the token of now; who is refused then, too, is not let in by asking on."""
    refused = Fault(grpc.StatusCode.UNAUTHENTICATED)
    server.streams["WatchRoom"] = [[checkpoint("t1"), refused], [refused]]
    async with client.watch_room(ROOM) as watch:
        assert await take(watch, 1) == ["t1"]
        with pytest.raises(AccessDenied):
            await anext(watch)
    assert len(server.requests["WatchRoom"]) == 2


async def test_watch_whose_first_call_is_refused_does_not_call_again(
    server: FakeServer, client: ExchangeClient
) -> None:
    server.streams["WatchRoom"] = [[Fault(grpc.StatusCode.UNAUTHENTICATED)]]
    async with client.watch_room(ROOM) as watch:
        with pytest.raises(AccessDenied):
            await anext(watch)
    assert len(server.requests["WatchRoom"]) == 1


async def test_watch_ends_normally_after_the_scope_is_gone(server: FakeServer, client: ExchangeClient) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), closing(StreamClosing.REASON_SCOPE_GONE)]]
    async with asyncio.timeout(10):
        kinds = [m.WhichOneof("event") async for m in client.watch_room(ROOM) if not isinstance(m, Reconnected)]
    assert kinds == ["checkpoint", "closing"]


async def test_draining_server_is_given_the_time_it_asks_for(
    server: FakeServer, client: ExchangeClient, clock: FakeClock
) -> None:
    server.streams["WatchRoom"] = [[closing(StreamClosing.REASON_DRAINING, 4, "t1")], [checkpoint("t2"), HANG]]
    async with client.watch_room(ROOM) as watch:
        farewell, marker, _ = await take(watch, 3)
    assert farewell == "t1"
    assert isinstance(marker, Reconnected)
    assert marker.cause is None
    assert 4.0 <= clock.pauses[0] <= 4.2
    assert server.tokens() == ["", "t1"]


async def test_silent_stream_is_given_up_after_three_heartbeats(
    server: FakeServer, client: ExchangeClient, clock: FakeClock
) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), HANG], [checkpoint("t2"), HANG]]
    told: list[str] = []
    async with client.watch_room(ROOM, on_retry=lambda error, delay_s: told.append(error.code)) as watch:
        assert await take(watch, 1) == ["t1"]
        async with asyncio.TaskGroup() as group:
            rest = group.create_task(take(watch, 2))
            while len(clock.guards) < 2:
                await server_turn()
            clock.fire()
        assert rest.result()[1] == "t2"
        assert told == ["DEADLINE_EXCEEDED"]
        assert server.open_streams == 1


async def server_turn() -> None:
    """Let other tasks run."""
    async with asyncio.timeout(None):
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)


async def test_token_is_saved_only_when_the_consumer_comes_back(server: FakeServer, client: ExchangeClient) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), checkpoint("t2"), HANG]]
    store = MemoryTokenStore()
    async with client.watch_room(ROOM, token_store=store) as watch:
        await take(watch, 1)
        assert store.load(ROOM) is None
        await take(watch, 1)
        assert store.load(ROOM) == "t1"
        assert watch.resume_token == "t1"


async def test_kept_token_comes_before_the_given_one(
    server: FakeServer, client: ExchangeClient, tmp_path: object
) -> None:
    server.streams["WatchRooms"] = [[rooms_checkpoint("t9"), HANG]]
    store = FileTokenStore(f"{tmp_path}/tokens")
    store.save("tenants/acme", "t8")
    async with client.watch_rooms("tenants/acme", resume_token="t1", token_store=store) as watch:
        async with asyncio.timeout(10):
            await anext(watch)
    assert server.tokens("WatchRooms") == ["t8"]


async def test_error_of_the_token_store_reaches_the_consumer(server: FakeServer, client: ExchangeClient) -> None:
    class Full(MemoryTokenStore):
        def save(self, name: str, token: str) -> None:
            raise OSError("disk full")

    server.streams["WatchRoom"] = [[checkpoint("t1"), HANG]]
    async with client.watch_room(ROOM, token_store=Full()) as watch:
        await take(watch, 1)
        with pytest.raises(OSError, match="disk full"):
            await take(watch, 1)


async def test_cancellation_of_the_consumer_is_not_swallowed_and_ends_the_call(
    server: FakeServer, client: ExchangeClient
) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), HANG], [checkpoint("t2"), HANG]]
    watch = client.watch_room(ROOM)
    await take(watch, 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(watch)
    async with asyncio.timeout(10):
        await server.idle.wait()
    marker, token = await take(watch, 2)  # the watch itself is not spoilt
    assert isinstance(marker, Reconnected)
    assert token == "t2"
    assert server.tokens() == ["", "t1"]
    await watch.aclose()


async def test_closing_the_watch_ends_the_call_and_a_waiting_consumer(
    server: FakeServer, client: ExchangeClient, clock: FakeClock
) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), HANG]]
    watch = client.watch_room(ROOM)

    async def consume() -> int:
        return len([message async for message in watch])

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        consumer = group.create_task(consume())
        while len(clock.guards) < 2:
            await server_turn()
        await watch.aclose()
    assert consumer.result() == 1
    async with asyncio.timeout(10):
        await server.idle.wait()


async def test_watch_that_nobody_holds_ends_its_call(server: FakeServer, client: ExchangeClient) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), HANG]]
    async for _ in client.watch_room(ROOM):
        break
    gc.collect()
    async with asyncio.timeout(10):
        await server.idle.wait()


async def test_closing_the_client_ends_its_watches(
    server: FakeServer, client: ExchangeClient, clock: FakeClock
) -> None:
    server.streams["WatchRoom"] = [[checkpoint("t1"), HANG]]
    server.streams["WatchRooms"] = [[Fault(grpc.StatusCode.UNAVAILABLE)]]
    clock.hold = True
    reading, pausing = client.watch_room(ROOM), client.watch_rooms("tenants/acme")

    async def consume(watch: Watch[WatchRoomResponse]) -> None:
        with pytest.raises(ClientClosed):
            async for _ in watch:
                pass

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(consume(reading))
        group.create_task(consume(pausing))  # type: ignore[arg-type]  # the kind does not matter here
        await clock.held.wait()
        while len(clock.guards) < 3:
            await server_turn()
        await client.close()
    with pytest.raises(ClientClosed):
        client.watch_room(ROOM)


async def test_slow_watcher_is_told_by_its_own_class(server: FakeServer, client: ExchangeClient) -> None:
    server.streams["WatchRoom"] = [
        [Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW", retry_after_s=1.5)],
        [checkpoint("t1"), HANG],
    ]
    told: list[tuple[ExchangeError, float]] = []
    async with client.watch_room(ROOM, on_retry=lambda error, delay_s: told.append((error, delay_s))) as watch:
        await take(watch, 1)
    ((error, delay_s),) = told
    assert isinstance(error, WatcherTooSlow)
    assert 1.5 <= delay_s <= 1.7
