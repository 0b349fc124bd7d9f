"""What every engine promises about transactions: all or nothing, alone among neighbours, told after the commit."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.errors import RoomExists, SidecarError, TenantExists, TenantNotFound
from sidecar.model.ids import Mailbox, TenantId, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.room import Room
from sidecar.store.engine import Connection
from tests.support.builders import TENANT, always, make_booking, make_mapping, make_registration, removal, upsert
from tests.support.stores import OpenStore


async def test_failing_transaction_does_not_harm_its_neighbours(opened: OpenStore) -> None:
    """Transactions that wait together may share a commit; each still stands or falls alone."""
    await opened.add_tenant()

    async def attempt(number: int) -> str:
        if number % 4 == 1:
            tenant = make_registration(directory_id="another")
            with pytest.raises(TenantExists):
                await opened.store.tenants.register(tenant)
        elif number % 4 == 2:
            with pytest.raises(ZeroDivisionError):
                await opened.engine.write(_half_done)
        else:
            await opened.add_tenant(f"t{number:02}")
            return f"t{number:02}"
        return ""

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attempt(number)) for number in range(40)]
    expected = sorted(name for name in (task.result() for task in tasks) if name)
    found = await opened.store.tenants.page(after=TenantId(TENANT), count_max=100)
    assert [tenant.tenant_id for tenant in found] == expected
    assert await opened.fetch("SELECT key FROM meta WHERE key = $1", "half") == []


async def _half_done(c: Connection) -> None:
    await c.execute("INSERT INTO meta (key, value) VALUES ($1, $2)", "half", "done")
    raise ZeroDivisionError


async def test_writers_at_once_leave_no_hole_in_the_log(opened: OpenStore) -> None:
    """However many write at the same time, revisions are given in the order of commits, without a hole."""
    tenant = await opened.add_tenant()
    rooms = [await opened.add_filled_room(f"r{number}") for number in range(4)]
    head = await opened.head()

    async def write(room: Room, number: int) -> None:
        await opened.store.calendars.apply(room, always(upsert(make_booking(f"b{number}"))), lease=None)

    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(write(rooms[number % 4], number))
    entries, _ = await opened.store.changes.read(tenant.uid, after_revision=head, count_max=1000)
    assert [entry.revision for entry in entries] == list(range(head + 1, head + 101))


async def test_listeners_hear_of_changes_after_their_commit_only(opened: OpenStore) -> None:
    """Whoever is told that there is something new finds it."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room()
    heard: list[tuple[TenantUid, asyncio.Task[int]]] = []

    async with asyncio.TaskGroup() as group:

        def listen(tenant_uid: TenantUid) -> None:
            heard.append((tenant_uid, group.create_task(opened.head())))

        stop = opened.store.on_changes(listen)
        await opened.store.calendars.apply(room, always(upsert(make_booking("b1"))), lease=None)
        head = await opened.head()
        with pytest.raises(AssertionError):
            await opened.store.calendars.apply(room, always(upsert(make_booking("b2")), removal("nobody")), lease=None)
        stop()
        await opened.store.calendars.apply(room, always(upsert(make_booking("b3"))), lease=None)
    assert [(uid, task.result()) for uid, task in heard] == [(tenant.uid, head)]


async def test_listeners_hear_of_work_by_lane(opened: OpenStore) -> None:
    """A mark wakes whoever drains its lane."""
    heard: list[TenantUid] = []
    stop = opened.store.on_work(heard.append)
    await opened.store.intents.mark(IntentKind.ROOM_SYNC, "k", TenantUid("lane"), priority=Priority.HINT)
    stop()
    await opened.store.intents.mark(IntentKind.ROOM_SYNC, "k", TenantUid("lane"), priority=Priority.HINT)
    assert heard == ["lane"]


async def test_listener_that_fails_leaves_callers_with_their_answers(opened: OpenStore) -> None:
    """A write is answered whatever becomes of those who hear of it."""
    loop = asyncio.get_running_loop()
    faults: list[object] = []
    loop.set_exception_handler(lambda _, context: faults.append(context.get("exception")))

    def fail(_: TenantUid) -> None:
        raise ZeroDivisionError

    opened.store.on_work(fail)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        tasks = [group.create_task(opened.add_tenant(f"t{number}")) for number in range(5)]
    assert [task.result().tenant_id for task in tasks] == [f"t{number}" for number in range(5)]
    assert faults


async def test_cancelled_callers_write_is_committed(opened: OpenStore) -> None:
    """A write that was handed over happens, whether or not its caller waits for it."""
    await opened.add_tenant()
    task = asyncio.ensure_future(opened.add_room("r1"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    rooms = await opened.store.rooms.map_all(TENANT, [make_mapping("r2", mailbox=Mailbox("r1@contoso.example"))])
    assert isinstance(rooms[0], RoomExists)


async def test_cancelled_callers_failure_is_nobodys_news(opened: OpenStore) -> None:
    """A write that fails after its caller has left is not reported as lost by the loop."""
    task = asyncio.ensure_future(opened.store.rooms.map_all(TENANT, [make_mapping()]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TenantNotFound):
        await opened.store.rooms.map_all(TENANT, [make_mapping()])


async def test_read_sees_one_state(opened: OpenStore) -> None:
    """Two queries of one read never see a write between them."""
    await opened.add_tenant()
    room = await opened.add_filled_room()

    async def heads(c: Connection) -> tuple[int, int]:
        row = await c.fetch_one("SELECT revision FROM tenants WHERE uid = $1", room.tenant_uid)
        newest = await c.fetch_one("SELECT MAX(revision) FROM changes WHERE tenant_uid = $1", room.tenant_uid)
        assert row is not None
        assert newest is not None
        return int(row[0]), int(newest[0])

    async def write(number: int) -> None:
        await opened.store.calendars.apply(room, always(upsert(make_booking(f"b{number}"))), lease=None)

    async with asyncio.TaskGroup() as group:
        reads = []
        for number in range(50):
            group.create_task(write(number))
            reads.append(group.create_task(opened.engine.read(heads)))
    assert all(revision == newest for revision, newest in (task.result() for task in reads))


async def test_read_cannot_write(opened: OpenStore) -> None:
    """A read that tries is refused, and nothing is left of it."""

    async def write(c: Connection) -> None:
        await c.execute("INSERT INTO meta (key, value) VALUES ($1, $2)", "sneaked", "in")

    with pytest.raises(SidecarError):
        await opened.engine.read(write)
    assert await opened.fetch("SELECT key FROM meta WHERE key = $1", "sneaked") == []


async def test_store_has_one_identity(opened: OpenStore) -> None:
    """Tokens name the store, which stays the same."""
    identity = await opened.store.identity()
    assert identity.store_id
    assert await opened.store.identity() == identity
    await opened.store.check()
