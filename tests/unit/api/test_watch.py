"""WatchService over the wire: streams and pages of changes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from sidecar.feed.gaps import epoch_of
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as booking_pb
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as pb
from sidecar.model.booking import Booking
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.cursor import decode_cursor
from sidecar.model.ids import TenantId
from sidecar.model.room import Room
from tests.support.builders import NOW, after, always, make_booking, removal, upsert
from tests.unit.api.rig import Rig, failing, raw, serving, take, time_of, told, window_of

ROOM = "tenants/acme/rooms/r1"
TENANT = "tenants/acme"


@pytest.fixture
async def rig(rig: Rig) -> Rig:
    """Give a server with a tenant."""
    await rig.db.add_tenant()
    return rig


async def write(rig: Rig, room: Room, *bookings: Booking) -> None:
    await rig.db.store.calendars.apply(room, always(*map(upsert, bookings)), lease=None)


def watching(rig: Rig, token: str = "", room: str = ROOM, **options: Any) -> Any:  # a stream; fields of WatchOptions
    return rig.watch.WatchRoom(pb.WatchRoomRequest(room=room, options=pb.WatchOptions(resume_token=token, **options)))


def keys(message: Any) -> list[str]:  # a message of either watch, or a page
    changes = message.changes.changes if hasattr(message.changes, "changes") else message.changes
    return [change.booking.name.rpartition("/")[2] for change in changes]


async def until(stream: Any, kind: str) -> list[Any]:  # the messages up to the first of a kind
    found = []
    async for message in stream:
        found.append(message)
        if message.WhichOneof("event") == kind:
            return found
    raise AssertionError(f"the stream ended before a {kind}")


async def test_watch_begins_with_a_snapshot_whose_inside_has_no_token(rig: Rig) -> None:
    await rig.db.add_filled_room("r1", make_booking("b1"), make_booking("b2"))
    messages = await until(watching(rig), "checkpoint")
    kinds = [message.WhichOneof("event") for message in messages]
    assert kinds == ["snapshot_start", "changes", "snapshot_end", "checkpoint"]
    start, rows, end, checkpoint = messages
    assert [bool(message.resume_token) for message in messages] == [False, False, True, True]
    epoch = epoch_of(decode_cursor(end.resume_token))
    assert (start.snapshot_start.room, start.snapshot_start.epoch) == (ROOM, epoch)
    assert start.snapshot_start.reason == pb.SNAPSHOT_REASON_REQUESTED
    assert start.snapshot_start.estimated_count == 2
    assert start.snapshot_start.coverage == window_of()
    assert end.snapshot_end.snapshot_id == start.snapshot_start.snapshot_id
    assert keys(rows) == ["b1", "b2"]
    assert {change.kind for change in rows.changes.changes} == {pb.BookingChange.KIND_UPSERTED}
    assert checkpoint.checkpoint.sync.fresh_as_of_time == time_of(NOW)


async def test_list_then_watch_leaves_no_gap_and_repeats_no_list(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1", make_booking("b1"))
    for parent, is_wide in ((ROOM, False), (f"{TENANT}/rooms/-", True)):
        listed = await rig.bookings.ListBookings(booking_pb.ListBookingsRequest(parent=parent, window=window_of()))
        await write(rig, room, make_booking("b2", subject=parent))
        options = pb.WatchOptions(resume_token=listed.resume_token)
        wide = pb.WatchRoomsRequest(parent=TENANT, options=options)
        stream = rig.watch.WatchRooms(wide) if is_wide else watching(rig, listed.resume_token)
        messages = await until(stream, "checkpoint")
        assert [keys(message) for message in messages[:-1]] == [["b2"]]
        assert all(message.resume_token for message in messages)


async def test_change_tells_kind_cause_revision_and_time(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1", make_booking("b1"))
    stream = watching(rig)
    await until(stream, "checkpoint")
    rig.clock.at = after(minutes=3)
    gone = removal("b1", ChangeKind.REMOVED, Cause.CANCELLED)
    await rig.db.store.calendars.apply(room, always(gone), lease=None)
    (change,) = (await take(stream, "changes")).changes.changes  # type: ignore[attr-defined]
    assert (change.kind, change.cause) == (pb.BookingChange.KIND_REMOVED, pb.BookingChange.CAUSE_CANCELLED)
    assert change.booking.subject == "Design review"
    assert change.booking.revision == await rig.db.head()
    assert change.record_time == time_of(after(minutes=3))


async def test_age_of_a_change_is_measured_when_a_waiting_watcher_is_sent_it(rig: Rig) -> None:
    """From the commit to the transport."""
    room = await rig.db.add_filled_room("r1")
    stream = watching(rig)
    await until(stream, "checkpoint")
    await write(rig, room, make_booking("b1"))
    await take(stream, "changes")
    await write(rig, room, make_booking("b2"))
    await take(stream, "changes")  # so the first one was measured
    assert rig.counts.durations["commit_to_watcher"] == 1


async def test_watch_resumes_after_the_last_token(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1")
    stream = watching(rig)
    token = (await until(stream, "checkpoint"))[-1].resume_token
    await write(rig, room, make_booking("b1"))
    first: Any = await take(stream, "changes")
    stream.cancel()
    await write(rig, room, make_booking("b2"))
    again = await until(watching(rig, first.resume_token), "checkpoint")
    assert [keys(message) for message in again[:-1]] == [["b2"]]
    both = await until(watching(rig, token), "checkpoint")
    assert [key for message in both[:-1] for key in keys(message)] == ["b1", "b2"]


async def test_garbage_foreign_and_huge_tokens_are_refused_without_quoting_them(rig: Rig) -> None:
    await rig.db.add_filled_room("r1")
    await rig.db.add_filled_room("r2")
    foreign = (await until(watching(rig, room="tenants/acme/rooms/r2"), "checkpoint"))[-1].resume_token
    for token, reason in (
        ("garbage!", "RESUME_TOKEN_MALFORMED"),
        ("€", "RESUME_TOKEN_MALFORMED"),
        ("x" * 20_000, "RESUME_TOKEN_MALFORMED"),
        (foreign[:-8] + "AAAAAAAA", "RESUME_TOKEN_MALFORMED"),
        (foreign, "RESUME_TOKEN_SCOPE_MISMATCH"),
    ):
        calls = (
            watching(rig, token),
            rig.watch.WatchRooms(pb.WatchRoomsRequest(parent=TENANT, options=pb.WatchOptions(resume_token=token))),
            rig.watch.ReadChanges(pb.ReadChangesRequest(parent=ROOM, resume_token=token)),
        )
        for call in calls:
            status = await failing(call)
            assert (status.code, status.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
            assert b"xxxx" not in status.raw


async def test_gap_brings_a_snapshot_or_fails_as_asked(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1", make_booking("b1"))
    token = (await until(watching(rig), "checkpoint"))[-1].resume_token
    await write(rig, room, make_booking("b2"), make_booking("b3"))
    await rig.db.execute("UPDATE tenants SET floor = revision")
    (start, *_) = await until(watching(rig, token), "checkpoint")
    assert start.snapshot_start.reason == pb.SNAPSHOT_REASON_TOKEN_EXPIRED
    for call in (
        watching(rig, token, gap_policy=pb.GAP_POLICY_FAIL),
        rig.watch.ReadChanges(pb.ReadChangesRequest(parent=ROOM, resume_token=token)),
    ):
        status = await failing(call)
        assert (status.code, status.reason) == (grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")


async def test_watch_of_some_rooms_hears_of_those_only(rig: Rig) -> None:
    rooms = {name: await rig.db.add_filled_room(name) for name in ("r1", "r2", "r3")}
    request = pb.WatchRoomsRequest(parent=TENANT, rooms=[f"{TENANT}/rooms/{name}" for name in ("r1", "r3", "r1")])
    stream = rig.watch.WatchRooms(request)
    messages = await until(stream, "checkpoint")
    started = [message.snapshot_start.room for message in messages if message.HasField("snapshot_start")]
    assert sorted(started) == [f"{TENANT}/rooms/r1", f"{TENANT}/rooms/r3"]
    for name, room in rooms.items():
        await write(rig, room, make_booking(f"b-{name}"))
    seen: list[str] = []
    while len(seen) < 2:
        seen += keys(await take(stream, "changes"))
    assert seen == ["b-r1", "b-r3"]


async def test_room_mapped_later_joins_a_watch_of_all(rig: Rig) -> None:
    stream = rig.watch.WatchRooms(pb.WatchRoomsRequest(parent=TENANT))
    await until(stream, "checkpoint")
    room = await rig.db.add_room("r9")
    changed: Any = await take(stream, "room_changed")
    assert changed.room_changed.name == f"{TENANT}/rooms/r9"
    assert changed.resume_token
    await rig.db.fill(room, make_booking("b1"))
    start: Any = await take(stream, "snapshot_start")
    assert start.snapshot_start.reason == pb.SNAPSHOT_REASON_ROOM_ADDED


async def test_unmapped_room_ends_its_watch_without_a_token(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1", make_booking("b1"))
    stream = watching(rig)
    await until(stream, "checkpoint")
    await rig.db.store.rooms.unmap(room.tenant_id, room.room_id, etag="")
    messages = await until(stream, "closing")
    assert messages[0].changes.changes[0].kind == pb.BookingChange.KIND_LEFT_SCOPE
    assert messages[-1].closing.reason == pb.StreamClosing.REASON_SCOPE_GONE
    assert not messages[-1].resume_token
    assert await stream.code() is grpc.StatusCode.OK


async def test_drain_closes_every_watch_with_a_token_to_go_on_from(rig: Rig) -> None:
    await rig.db.add_filled_room("r1")
    streams = [watching(rig), rig.watch.WatchRooms(pb.WatchRoomsRequest(parent=TENANT))]
    for stream in streams:
        await until(stream, "checkpoint")
    rig.feed.drain()
    for stream in streams:
        closing: Any = await take(stream, "closing")
        assert closing.closing.reason == pb.StreamClosing.REASON_DRAINING
        assert closing.closing.retry_after.ToTimedelta().total_seconds() >= 1
        assert closing.resume_token
        assert await stream.code() is grpc.StatusCode.OK
    status = await failing(watching(rig))
    assert (status.code, status.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
    assert status.retry_s == 1.0
    assert rig.feed.watches_count == 0


async def test_reader_that_went_away_leaves_nothing_behind(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1")
    gone, stays = watching(rig), watching(rig)
    for stream in (gone, stays):
        await until(stream, "checkpoint")
    gone.cancel()
    number = 0
    while rig.feed.watches_count > 1:  # each write gives the loop its turns
        number += 1
        await write(rig, room, make_booking(f"b{number}"))
    assert rig.counts.counters["rpc_errors"] == 0


async def test_too_many_watches_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, watches_max=1) as rig:
        await rig.db.add_tenant()
        await rig.db.add_filled_room("r1")
        stream = watching(rig)
        await until(stream, "checkpoint")
        status = await failing(watching(rig))
        assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_LIMIT")


async def test_reader_that_takes_nothing_is_ended_while_others_go_on(tmp_path: Path) -> None:
    async with serving(tmp_path, watch={"send_s": 0.3}) as rig:
        await rig.db.add_tenant()
        large = [make_booking(f"b{place:03}", subject="x" * 250_000) for place in range(120)]
        await rig.db.add_filled_room("r1", *large)
        other = await rig.db.add_filled_room("r2")
        async with grpc.aio.insecure_channel(rig.addresses[0]) as apart:
            call = raw(apart, "/ioffice.exchange.v1.WatchService/WatchRoom", is_stream=True)
            slow = call(pb.WatchRoomRequest(room=ROOM).SerializeToString())
            quick = watching(rig, room=f"{TENANT}/rooms/r2")
            await until(quick, "checkpoint")
            await rig.counts.failed.wait()
            await write(rig, other, make_booking("b1"))
            assert keys(await take(quick, "changes")) == ["b1"]
            read = 0
            try:
                while True:
                    read += len(await slow.read())
            except grpc.aio.AioRpcError as error:
                status = told(error)
        assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")
        assert read < 120 * 250_000
        assert rig.feed.watches_count == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"heartbeat_interval": Duration(seconds=4)}, "options.heartbeat_interval"),
        ({"heartbeat_interval": Duration(seconds=61)}, "options.heartbeat_interval"),
        ({"watcher_id": "x" * 101}, "options.watcher_id"),
        ({"gap_policy": 9}, "options.gap_policy"),
    ],
)
async def test_broken_options_are_named(rig: Rig, options: dict[str, Any], named: str) -> None:
    status = await failing(watching(rig, **options))
    assert set(status.violations) == {named}


async def test_rooms_of_another_parent_and_too_many_rooms_are_refused(rig: Rig) -> None:
    request = pb.WatchRoomsRequest(parent=TENANT, rooms=[ROOM, "tenants/b/rooms/r1", "x" * 20_000])
    status = await failing(rig.watch.WatchRooms(request))
    assert set(status.violations) == {"rooms[1]", "rooms[2]"}
    request = pb.WatchRoomsRequest(parent=TENANT, rooms=[ROOM] * 1_001)
    assert set((await failing(rig.watch.WatchRooms(request))).violations) == {"rooms"}


async def test_unknown_room_and_tenant_are_not_found(rig: Rig) -> None:
    assert (await failing(watching(rig))).reason == "ROOM_NOT_FOUND"
    status = await failing(rig.watch.WatchRooms(pb.WatchRoomsRequest(parent="tenants/b")))
    assert status.reason == "TENANT_NOT_FOUND"


def reading(token: str, parent: str = ROOM, **fields: Any) -> pb.ReadChangesRequest:  # any field of the request
    return pb.ReadChangesRequest(parent=parent, resume_token=token, **fields)


async def first_token(rig: Rig, parent: str = ROOM) -> str:
    page = await rig.bookings.ListBookings(booking_pb.ListBookingsRequest(parent=parent, window=window_of()))
    token: str = page.resume_token
    return token


async def test_changes_are_read_by_pages_from_a_list_on(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1", make_booking("b0"))
    token, wide = await first_token(rig), await first_token(rig, f"{TENANT}/rooms/-")
    for number in range(1, 6):
        await write(rig, room, make_booking(f"b{number}"))
    seen: list[str] = []
    while True:
        page = await rig.watch.ReadChanges(reading(token, page_size=2))
        seen += keys(page)
        token = page.resume_token
        if not page.more_available:
            break
    assert seen == [f"b{number}" for number in range(1, 6)]
    assert keys(await rig.watch.ReadChanges(reading(wide, TENANT))) == seen
    assert keys(await rig.watch.ReadChanges(reading(token))) == []


async def test_reader_waits_for_a_first_change(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1")
    call = rig.watch.ReadChanges(reading(await first_token(rig), max_wait=Duration(seconds=50)))
    await write(rig, room, make_booking("b1"))
    assert keys(await call) == ["b1"]


async def test_page_of_large_changes_is_cut_without_losing_any(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1")
    token = await first_token(rig)
    large = [make_booking(f"b{place:02}", subject="x" * 200_000) for place in range(40)]
    await write(rig, room, *large)
    seen: list[str] = []
    while len(seen) < len(large):
        page = await rig.watch.ReadChanges(reading(token, page_size=1_000))
        assert page.ByteSize() < 4 * 1024 * 1024
        assert page.changes
        seen += keys(page)
        token = page.resume_token
    assert seen == [booking.key for booking in large]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"parent": "x"}, "parent"),
        ({"token": ""}, "resume_token"),
        ({"page_size": -1}, "page_size"),
        ({"max_wait": Duration(seconds=51)}, "max_wait"),
    ],
)
async def test_broken_fields_of_a_page_are_named(rig: Rig, fields: dict[str, Any], named: str) -> None:
    status = await failing(rig.watch.ReadChanges(reading(**{"token": "x", **fields})))
    assert set(status.violations) == {named}


async def test_waiting_readers_have_a_limit_of_their_own(tmp_path: Path) -> None:
    async with serving(tmp_path, watches_max=1, calls_max=1) as rig:
        await rig.db.add_tenant()
        await rig.db.add_filled_room("r1")
        token = await first_token(rig)
        waits = rig.watch.ReadChanges(reading(token, max_wait=Duration(seconds=50)))
        while not rig.feed.tails.watchers_count:
            await first_token(rig)  # calls that answer at once are not kept out
        status = await failing(rig.watch.ReadChanges(reading(token)))
        assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_LIMIT")
        waits.cancel()
        with suppress(asyncio.CancelledError):
            await waits


async def test_tokens_of_a_deleted_tenant_lead_nowhere(rig: Rig) -> None:
    await rig.db.add_filled_room("r1")
    token = await first_token(rig)
    await rig.db.store.lifecycle.delete(TenantId("acme"), etag="")
    assert (await failing(watching(rig, token))).reason in {"ROOM_NOT_FOUND", "TENANT_NOT_FOUND"}
    assert (await failing(rig.watch.ReadChanges(reading(token)))).reason in {"ROOM_NOT_FOUND", "TENANT_NOT_FOUND"}
