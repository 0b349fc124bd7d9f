"""Writers side by side: whatever their order, the outcome is one that some order one after the other would have had.

On SQLite they run one after the other by themselves; on PostgreSQL they meet, over connections of two processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, cast

import pytest

from sidecar.errors import RoomExists, RoomNotFound, SidecarError, StoreConflict, TenantExists, TenantNotFound
from sidecar.model.change import ChangeKind
from sidecar.model.ids import BookingKey, EventId, Mailbox, RoomId, TenantUid
from sidecar.model.intent import IntentKind, Lease, Priority
from sidecar.model.room import Room
from sidecar.model.task_run import Aim, RunState, Subject, TaskRun
from sidecar.store.engine import Connection, Transaction, Value
from tests.support.builders import (
    CANARY,
    DIRECTORY,
    TENANT,
    always,
    make_booking,
    make_mapping,
    make_notification,
    make_registration,
    secret_hash,
    upsert,
)
from tests.support.stores import ManualClock, OpenStore, beside

ROUNDS = 20


@pytest.fixture
async def other(opened: OpenStore, clock: ManualClock) -> AsyncIterator[OpenStore]:
    """The same database, as another process has it; on SQLite there is none."""
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(beside(opened, clock=clock))


async def together(*calls: Awaitable[Any]) -> list[Any]:
    """Run calls at once; return their results and errors of ours."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, SidecarError):
            raise outcome
    return outcomes


async def test_tenant_registered_by_many_at_once_is_one(opened: OpenStore, other: OpenStore) -> None:
    """The same tenant id never becomes two tenants, and a second directory is refused."""
    for number in range(ROUNDS):
        tenant_id = f"t{number:03}"
        outcomes = await together(
            opened.store.tenants.register(make_registration(tenant_id)),
            other.store.tenants.register(make_registration(tenant_id)),
            opened.store.tenants.register(make_registration(tenant_id, directory_id="another")),
        )
        good = [outcome for outcome in outcomes if not isinstance(outcome, SidecarError)]
        assert len({tenant.uid for tenant in good}) == 1
        assert len({tenant.directory_id for tenant in good}) == 1
        assert all(isinstance(outcome, TenantExists) for outcome in outcomes if isinstance(outcome, SidecarError))


async def test_mailbox_mapped_by_many_at_once_is_one_room(opened: OpenStore, other: OpenStore) -> None:
    """Two rooms never share a mailbox, and one room never has two."""
    await opened.add_tenant()
    for number in range(ROUNDS):
        mailbox = Mailbox(f"m{number}@contoso.example")
        calls = [
            store.store.rooms.map_all(TENANT, [make_mapping(f"{name}{number}", mailbox=mailbox)])
            for store in (opened, other)
            for name in ("a", "b")
        ]
        outcomes = [found[0] for found in await together(*calls)]
        rooms = {outcome.uid for outcome in outcomes if isinstance(outcome, Room)}
        assert len(rooms) == 1
        assert all(isinstance(outcome, Room | RoomExists) for outcome in outcomes)


async def test_room_unmapped_while_it_is_read_and_notified_leaves_nothing(opened: OpenStore, other: OpenStore) -> None:
    """Whichever comes first, no booking, hint or subscription is left of the room, and its log ends with its departure."""
    tenant = await opened.add_tenant()
    for number in range(ROUNDS):
        room = await opened.add_filled_room(f"r{number}", make_booking("b1"))
        key = f"s{number}"
        await subscribe(opened, room, key)
        notification = make_notification(key=key, event_id=EventId("e1"))
        outcomes = await together(
            other.store.calendars.apply(room, always(upsert(make_booking("b2"))), lease=None),
            opened.store.rooms.unmap(TENANT, room.room_id, etag=""),
            other.store.subscriptions.mark([notification] * 3, settle_s=0.0, settle_max_s=0.0),
            subscribe(other, room, f"n{number}"),
            opened.store.subscriptions.lose(key),
        )
        assert not [outcome for outcome in outcomes if isinstance(outcome, SidecarError)]
        assert await opened.fetch("SELECT key FROM bookings WHERE room_uid = $1", room.uid) == []
        assert await opened.fetch("SELECT event_id FROM hints WHERE room_uid = $1", room.uid) == []
        assert await opened.fetch("SELECT key FROM subscriptions WHERE room_uid = $1", room.uid) == []
        entries, _ = await opened.store.changes.read(tenant.uid, after_revision=0, count_max=10_000, room_uid=room.uid)
        assert entries[-1].kind is ChangeKind.ROOM_UNMAPPED
        told = {entry.booking_key for entry in entries if entry.kind is ChangeKind.UPSERTED}
        left = {entry.booking_key for entry in entries if entry.kind is ChangeKind.LEFT_SCOPE}
        assert left == told | {"b1"}


async def subscribe(opened: OpenStore, room: Room, key: str) -> None:
    await opened.store.subscriptions.prepare(
        room.uid, room.tenant_uid, key=key, secret_hash=secret_hash(f"{CANARY}-state"), directory_id=DIRECTORY, url="u"
    )


async def test_tenant_deleted_while_rooms_are_mapped_and_read_takes_them_along(
    opened: OpenStore, other: OpenStore
) -> None:
    """The last entry of a log is the tenant's end, and erasing leaves no row of it, whatever went on."""
    for number in range(ROUNDS):
        tenant = await opened.store.tenants.register(make_registration(f"t{number}"))
        room = await opened.add_room("r1", tenant_id=tenant.tenant_id)
        await opened.fill(room, make_booking("b1"))
        await together(
            other.store.calendars.apply(room, always(upsert(make_booking("b2"))), lease=None),
            other.store.rooms.map_all(tenant.tenant_id, [make_mapping("r2")]),
            opened.store.lifecycle.delete(tenant.tenant_id, etag=""),
            other.store.tenants.set_proven(tenant.uid, identity=tenant.credential.identity),
        )
        entries, head = await opened.store.changes.read(tenant.uid, after_revision=0, count_max=1_000)
        assert head is not None
        assert [entry.revision for entry in entries] == list(range(1, head.revision + 1))
        assert entries[-1].kind is ChangeKind.TENANT_DELETED
        outcomes = await together(
            opened.store.tenants.erase(tenant.uid),
            other.store.calendars.apply(room, always(upsert(make_booking("b3"))), lease=None),
            other.store.rooms.map_all(tenant.tenant_id, [make_mapping("r3")]),
        )
        errors = [outcome for outcome in outcomes if isinstance(outcome, SidecarError)]
        assert all(isinstance(error, TenantNotFound | RoomNotFound | StoreConflict) for error in errors)
        for table in ("rooms", "bookings", "changes", "subscriptions"):
            assert await opened.fetch(f"SELECT 1 FROM {table} WHERE tenant_uid = $1", tenant.uid) == []


async def test_lane_is_taken_by_one_of_many(opened: OpenStore, other: OpenStore, clock: ManualClock) -> None:
    """However many ask at once, also for a lane that nobody ever had."""
    for number in range(ROUNDS):
        lane = TenantUid(f"lane{number % 5}")
        leases = await together(
            *(
                store.store.intents.take_lane(lane, owner=f"o{place}", lease_s=10)
                for place, store in enumerate((opened, other) * 4)
            )
        )
        assert len([lease for lease in leases if lease is not None]) == 1
        clock.advance(11)


async def test_writer_whose_lease_was_taken_over_writes_before_the_next_holder_or_not_at_all(
    opened: OpenStore, other: OpenStore, clock: ManualClock
) -> None:
    """Of two holders' writes the later holder's is the later one: an old read never covers a newer one."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    for number in range(ROUNDS):
        old = await opened.store.intents.take_lane(room.tenant_uid, owner="old", lease_s=10)
        assert old is not None
        clock.advance(11)

        async def take_and_write(number: int = number) -> None:
            lease = await other.store.intents.take_lane(room.tenant_uid, owner="new", lease_s=10)
            await write(other, room, f"new {number}", lease)

        await together(write(opened, room, f"old {number}", old), take_and_write())
        stored = await opened.store.calendars.load_stored(room.uid)
        assert stored[BookingKey("b1")].change_key == f"new {number}"
        clock.advance(11)


async def write(opened: OpenStore, room: Room, change_key: str, lease: Lease | None) -> None:
    item = upsert(make_booking("b1", change_key=change_key))
    await opened.store.calendars.apply(room, always(item), lease=lease)


async def test_marks_from_everywhere_at_once_are_all_counted(opened: OpenStore, other: OpenStore) -> None:
    """Each mark raises the generation by one, so that a run never answers a mark it has not seen."""
    lane = TenantUid("lane")
    marks = [
        store.store.intents.mark(IntentKind.ROOM_SYNC, "k", lane, priority=Priority.HINT)
        for store in (opened, other) * ROUNDS
    ]
    await together(*marks)
    (intent,) = await opened.store.intents.due(lane, count_max=9)
    assert intent.generation == 2 * ROUNDS


async def test_notifications_of_many_rooms_in_any_order_do_not_stand_in_each_others_way(
    opened: OpenStore, other: OpenStore
) -> None:
    """Bodies that name the same rooms in different orders are all taken."""
    await opened.add_tenant()
    rooms = [await opened.add_filled_room(f"r{number}") for number in range(5)]
    for number, room in enumerate(rooms):
        await subscribe(opened, room, f"s{number}")
    told = [make_notification(key=f"s{number}", event_id=EventId("e")) for number in range(5)]
    calls = []
    for turn in range(ROUNDS):
        body = told[turn % 5 :] + told[: turn % 5]
        body = body if turn % 2 else body[::-1]
        store = (opened, other)[turn % 2]
        calls.append(store.store.subscriptions.mark(body, settle_s=0.0, settle_max_s=0.0))
    outcomes = await together(*calls)
    assert [outcome.marked_count for outcome in outcomes] == [5] * ROUNDS


async def test_write_that_meets_another_on_a_unique_key_is_run_again(opened: OpenStore, other: OpenStore) -> None:
    """A transaction that looks before it inserts finds what was inserted meanwhile, instead of failing."""

    async def claim(c: Connection) -> str:
        row = await c.fetch_one("SELECT value FROM meta WHERE key = $1", "claimed")
        if row is not None:
            return str(row[0])
        await c.execute("INSERT INTO meta (key, value) VALUES ($1, $2)", "claimed", "first")
        return "mine"

    outcomes = await together(*(store.engine.write(claim) for store in (opened, other) * 5))
    assert sorted(outcomes) == ["first"] * 9 + ["mine"]


async def test_text_with_a_nul_is_kept_or_not_found_but_never_breaks_a_call(opened: OpenStore) -> None:
    """PostgreSQL cannot hold the character; what is asked by it is simply not there."""
    await opened.add_tenant()
    (room,) = await opened.store.rooms.map_all(TENANT, [make_mapping(display_name="a\0b")])
    assert isinstance(room, Room)
    assert room.display_name in ("a\0b", "a\ufffdb")
    assert await opened.store.subscriptions.load("no\0body") is None
    with pytest.raises(RoomNotFound):
        await opened.store.rooms.load(TENANT, RoomId("\0"))


COMPARING = Aim(
    task="compare-rooms",
    kind=IntentKind.ROOM_COMPARE,
    subject=Subject.ROOM,
    priority=Priority.COMPARE,
    tenant_id=TENANT,
    room_id=None,
    visible=None,
)


async def end_all(opened: OpenStore, lane: TenantUid) -> None:
    """Have everything that is due done, and nothing planned anew."""
    while due := await opened.store.intents.due(lane, count_max=1_000):
        for intent in due:
            await opened.store.intents.finish(intent, next_at=None)


async def test_run_begun_while_rooms_come_and_go_waits_for_nothing_that_is_over(
    opened: OpenStore, other: OpenStore
) -> None:
    """Once all that is due is done the run has ended. It is about all tenants, so it keeps nobody's row."""
    tenant = await opened.add_tenant()
    for number in range(ROUNDS // 2):
        going = [await opened.add_room(f"g{number}-{each}") for each in range(4)]
        comings = [
            make_mapping(f"n{number}-{each}", mailbox=Mailbox(f"n{number}-{each}@contoso.example")) for each in range(4)
        ]
        run, *_ = await together(
            other.store.task_runs.begin(replace(COMPARING, tenant_id=None), request_id=f"q{number}"),
            *(opened.store.rooms.unmap(TENANT, room.room_id, etag="") for room in going),
            *(opened.store.rooms.map_all(TENANT, [coming]) for coming in comings),
        )
        assert isinstance(run, TaskRun)
        await end_all(opened, tenant.uid)
        found = await opened.store.task_runs.load(run.task, run.uid, visible=None)
        assert found.state is RunState.SUCCEEDED, number


class Between:
    """A connection on which something happens elsewhere each time that work was marked."""

    def __init__(self, inner: Connection, happens: Callable[[], Awaitable[object]]) -> None:
        self._inner = inner
        self._happens = happens

    def __getattr__(self, name: str) -> Any:  # all the rest of a connection
        return getattr(self._inner, name)

    async def execute(self, sql: str, *values: Value) -> int:
        count = await self._inner.execute(sql, *values)
        if sql.startswith("INSERT INTO intents"):
            await self._happens()
        return count


async def test_run_does_not_wait_for_a_room_that_came_after_it_had_marked_the_others(
    opened: OpenStore, other: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    if opened.engine is other.engine:
        return  # SQLite: nothing comes while another writes
    tenant = await opened.add_tenant()
    await opened.add_room()
    write = other.engine.write

    async def write_slowly(transaction: Transaction[Any]) -> Any:  # of whatever it returns
        async def happens() -> None:
            await opened.store.rooms.map_all(TENANT, [make_mapping("late", mailbox=Mailbox("late@contoso.example"))])

        return await write(lambda c: transaction(cast("Connection", Between(c, happens))))

    monkeypatch.setattr(other.store.task_runs._engine, "write", write_slowly)
    run = await other.store.task_runs.begin(replace(COMPARING, tenant_id=None), request_id="q")
    assert run.total_count == 1
    await end_all(opened, tenant.uid)
    assert (await opened.store.task_runs.load(run.task, run.uid, visible=None)).state is RunState.SUCCEEDED


async def test_run_begun_while_its_tenant_is_suspended_is_refused_or_has_failed(
    opened: OpenStore, other: OpenStore
) -> None:
    """Nothing of it is waited for in a lane that rests."""
    await opened.add_tenant()
    await opened.add_room()
    for number in range(ROUNDS):
        run, _ = await together(
            other.store.task_runs.begin(COMPARING, request_id=f"q{number}"),
            opened.store.lifecycle.suspend(TENANT, reason="x"),
        )
        if isinstance(run, TaskRun):
            found = await opened.store.task_runs.load(run.task, run.uid, visible=None)
            assert found.state is RunState.FAILED, number
        await opened.store.lifecycle.resume(TENANT)
