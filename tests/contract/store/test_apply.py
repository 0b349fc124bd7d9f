"""Writing what a read of Exchange changes: rows, log and sync state in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from sidecar.errors import StoreConflict
from sidecar.model.booking import BookingState, StoredBooking, booking_digest
from sidecar.model.change import Cause, Change, ChangeKind, SnapshotReason
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.plan import RoomPlan, Scope, Touch
from sidecar.model.room import Room, RoomState
from sidecar.model.window import Window
from tests.support.builders import (
    CANARY,
    DIRECTORY,
    HORIZON,
    TENANT,
    after,
    always,
    complete_read,
    make_booking,
    make_notification,
    make_problem,
    removal,
    secret_hash,
    upsert,
)
from tests.support.stores import ManualClock, OpenStore, decoded


async def entries_after(opened: OpenStore, room: Room, revision: int) -> list[Change]:
    entries, _ = await opened.store.changes.read(room.tenant_uid, after_revision=revision, count_max=1000)
    return list(entries)


async def hint(opened: OpenStore, *event_ids: str) -> None:
    notifications = [make_notification(event_id=EventId(event_id)) for event_id in event_ids]
    outcome = await opened.store.subscriptions.mark(notifications, settle_s=1.0, settle_max_s=10.0)
    assert outcome.marked_count == len(event_ids)


async def subscribed_room(opened: OpenStore) -> Room:
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room()
    await opened.store.subscriptions.prepare(
        room.uid, tenant.uid, key="s1", secret_hash=secret_hash(f"{CANARY}-state"), directory_id=DIRECTORY, url="u"
    )
    return room


async def test_first_complete_read_is_one_snapshot_entry(opened: OpenStore) -> None:
    """The first read of a room tells watchers to read it all, not each of its thousands of bookings."""
    await opened.add_tenant()
    room = await opened.add_room()
    head = await opened.head()
    applied = await opened.fill(room, make_booking("b1"), make_booking("b2"))
    assert (applied.is_first, applied.changes_count, applied.drift_count) == (True, 2, 0)
    kinds = [(entry.kind, entry.cause) for entry in await entries_after(opened, room, head)]
    assert kinds == [(ChangeKind.ROOM_SNAPSHOT, SnapshotReason.ROOM_ADDED), (ChangeKind.ROOM_CHANGED, 0)]
    read = await opened.reload(room)
    assert (read.state, read.horizon, read.fresh_as_of_at) == (RoomState.UP, HORIZON, opened.clock.now())
    assert await opened.store.calendars.count(room.uid) == 2


async def test_entries_follow_the_plan_and_carry_their_revisions(opened: OpenStore) -> None:
    """Each piece of news is one entry, numbered without a hole, whose body has the same number."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"), make_booking("b2"))
    head = await opened.head()
    plan = always(
        upsert(make_booking("b3")),
        upsert(make_booking("b2", state=BookingState.DECLINED), ChangeKind.REMOVED, Cause.DECLINED),
        removal("b1", ChangeKind.LEFT_SCOPE, Cause.OUTSIDE_HORIZON),
    )
    applied = await opened.store.calendars.apply(room, plan, lease=None)
    assert applied is not None
    assert applied.changes_count == 3
    entries = await entries_after(opened, room, head)
    assert [(entry.revision, entry.kind, entry.cause, entry.booking_key) for entry in entries] == [
        (head + 1, ChangeKind.UPSERTED, Cause.NONE, "b3"),
        (head + 2, ChangeKind.REMOVED, Cause.DECLINED, "b2"),
        (head + 3, ChangeKind.LEFT_SCOPE, Cause.OUTSIDE_HORIZON, "b1"),
    ]
    assert [decoded(entry.body)["revision"] for entry in entries] == [entry.revision for entry in entries]
    assert {entry.recorded_at for entry in entries} == {opened.clock.now()}
    assert await opened.head() == head + 3
    stored = await opened.store.calendars.load_stored(room.uid)
    assert {key: item.takes_room for key, item in stored.items()} == {"b2": False, "b3": True}


async def test_stored_booking_is_what_was_written(opened: OpenStore) -> None:
    """A plan finds in the store what the one before has written, to the microsecond."""
    await opened.add_tenant()
    booking = make_booking(
        "b1", master_id=EventId("master"), start_at=after(microseconds=1), end_at=after(days=2, microseconds=7)
    )
    room = await opened.add_filled_room("r1", booking)
    assert await opened.store.calendars.load_stored(room.uid) == {
        booking.key: StoredBooking(
            key=booking.key,
            event_id=booking.event_id,
            master_id=EventId("master"),
            change_key=booking.change_key,
            start_at=booking.start_at,
            end_at=booking.end_at,
            takes_room=True,
            digest=booking_digest(booking),
        )
    }


async def test_what_is_no_news_writes_no_entry(opened: OpenStore) -> None:
    """Bookings that never took the room, and Graph's new ids, are written silently."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    head = await opened.head()
    touch = Touch(BookingKey("b1"), EventId("moved"), EventId("master"), "ck2")
    cancelled = upsert(make_booking("b2", state=BookingState.CANCELLED), None)
    await opened.store.calendars.apply(room, lambda _: RoomPlan(upserts=(cancelled,), touches=(touch,)), lease=None)
    assert await opened.head() == head
    stored = await opened.store.calendars.load_stored(room.uid)
    found = stored[BookingKey("b1")]
    assert (found.event_id, found.master_id, found.change_key) == ("moved", "master", "ck2")
    assert not stored[BookingKey("b2")].takes_room
    await opened.store.calendars.apply(room, always(removal("b2", None, Cause.NONE)), lease=None)
    assert await opened.head() == head
    assert BookingKey("b2") not in await opened.store.calendars.load_stored(room.uid)


async def test_revisions_of_two_rooms_are_one_order(opened: OpenStore) -> None:
    """A tenant has one log: its revisions are the order of commits, whatever room they are about."""
    tenant = await opened.add_tenant()
    rooms = [await opened.add_filled_room("r1"), await opened.add_filled_room("r2")]
    head = await opened.head()
    for number in range(6):
        plan = always(upsert(make_booking(f"b{number}")))
        await opened.store.calendars.apply(rooms[number % 2], plan, lease=None)
    entries, _ = await opened.store.changes.read(tenant.uid, after_revision=head, count_max=100)
    assert [entry.revision for entry in entries] == list(range(head + 1, head + 7))
    assert [entry.room_uid for entry in entries] == [rooms[number % 2].uid for number in range(6)]


async def test_planner_that_raises_leaves_everything_as_it_was(opened: OpenStore) -> None:
    """Facts commit together or not at all."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    before = (await opened.head(), await opened.store.calendars.load_stored(room.uid), await opened.reload(room))

    def explode(stored: Mapping[BookingKey, StoredBooking]) -> RoomPlan:
        assert stored
        raise ZeroDivisionError("a bug of ours")

    with pytest.raises(ZeroDivisionError):
        await opened.store.calendars.apply(room, explode, lease=None, complete=complete_read(began_at=after(hours=1)))
    now = (await opened.head(), await opened.store.calendars.load_stored(room.uid), await opened.reload(room))
    assert now == before


async def test_plan_that_fails_halfway_leaves_nothing_behind(opened: OpenStore) -> None:
    """Rows and entries already written are taken back with the one that could not be."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    before = (await opened.head(), await opened.store.calendars.load_stored(room.uid))
    with pytest.raises(AssertionError):
        await opened.store.calendars.apply(room, always(upsert(make_booking("b2")), removal("nobody")), lease=None)
    assert (await opened.head(), await opened.store.calendars.load_stored(room.uid)) == before


async def test_write_with_a_lost_lease_is_refused(opened: OpenStore, clock: ManualClock) -> None:
    """Whoever was too slow to keep its lane changes nothing: somebody else works on it now."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room()
    stale = await opened.store.intents.take_lane(tenant.uid, owner="slow", lease_s=10)
    clock.advance(11)
    fresh = await opened.store.intents.take_lane(tenant.uid, owner="quick", lease_s=10)
    head = await opened.head()
    plan = always(upsert(make_booking("b1")))
    with pytest.raises(StoreConflict):
        await opened.store.calendars.apply(room, plan, lease=stale)
    with pytest.raises(StoreConflict):
        await opened.store.rooms.set_problem(room.uid, make_problem(), lease=stale)
    assert await opened.head() == head
    assert await opened.store.calendars.apply(room, plan, lease=fresh) is not None


async def test_read_of_an_unmapped_room_writes_nothing(opened: OpenStore) -> None:
    """A room may go while Exchange is being asked; that is no fault."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    await opened.store.rooms.unmap(TENANT, room.room_id, etag="")
    head = await opened.head()
    assert await opened.store.calendars.apply(room, always(upsert(make_booking("b1"))), lease=None) is None
    assert await opened.head() == head


async def test_hinted_read_before_the_first_complete_one_is_left_to_it(opened: OpenStore) -> None:
    """A room that was never read as a whole shows nothing, not a few bookings that happened to change."""
    await opened.add_tenant()
    room = await opened.add_room()
    head = await opened.head()
    applied = await opened.store.calendars.apply(room, always(upsert(make_booking("b1"))), lease=None)
    assert applied is not None
    assert applied.changes_count == 0
    assert await opened.store.calendars.load_stored(room.uid) == {}
    assert await opened.head() == head


async def test_hints_are_answered_up_to_the_given_generation(opened: OpenStore) -> None:
    """A hint that came while Exchange was being asked is not answered by what was read before it."""
    room = await subscribed_room(opened)
    await hint(opened, "e1", "e2")
    event_ids, generation = await opened.store.calendars.load_hints(room.uid)
    assert event_ids == ["e1", "e2"]
    await hint(opened, "e2", "e3")
    await opened.store.calendars.apply(room, always(), lease=None, hints_through=generation)
    left, _ = await opened.store.calendars.load_hints(room.uid)
    assert left == ["e2", "e3"]


async def test_scope_chooses_what_the_planner_sees(opened: OpenStore) -> None:
    """A hinted read may judge the bookings it asked about, and no others."""
    await opened.add_tenant()
    series = [make_booking(f"o{n}", master_id=EventId("master"), start_at=after(days=n)) for n in range(3)]
    room = await opened.add_filled_room("r1", *series, make_booking("single"), make_booking("other"))
    seen: set[BookingKey] = set()

    def look(stored: Mapping[BookingKey, StoredBooking]) -> RoomPlan:
        seen.update(stored)
        return RoomPlan()

    scope = Scope(event_ids=(EventId("master"), EventId("event-single")), keys=(BookingKey("o1"), BookingKey("nobody")))
    await opened.store.calendars.apply(room, look, lease=None, scope=scope)
    assert seen == {"o0", "o1", "o2", "single"}


async def test_difference_that_nobody_announced_is_drift(opened: OpenStore) -> None:
    """What a full compare repairs is counted, unless a hint about the room waits: then it was announced."""
    room = await subscribed_room(opened)
    await opened.store.subscriptions.confirm("s1", graph_id="g1", expires_at=after(days=6), renew_at=after(days=3))
    room = await opened.reload(room)
    applied = await opened.fill(room, make_booking("b1"))
    assert (applied.changes_count, applied.drift_count) == (1, 1)
    await hint(opened, "e1")
    applied = await opened.fill(room, make_booking("b1"), make_booking("b2"))
    assert (applied.changes_count, applied.drift_count) == (1, 0)
    assert (await opened.reload(room)).drift_count == 1


async def test_resync_gives_one_more_snapshot(opened: OpenStore) -> None:
    """A read answers the resyncs asked for before it began; one asked for during it stays open."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    begun = await opened.store.rooms.resync(TENANT, room.room_id)
    begun = await opened.reload(begun)
    await opened.store.rooms.resync(TENANT, room.room_id)
    head = await opened.head()
    await opened.fill(begun, make_booking("b1"), make_booking("b2"), resyncs=begun.resyncs)
    entries = await entries_after(opened, room, head)
    assert [(entry.kind, entry.cause) for entry in entries] == [
        (ChangeKind.UPSERTED, 0),
        (ChangeKind.ROOM_SNAPSHOT, SnapshotReason.RESYNCED),
    ]
    assert (await opened.reload(room)).resyncs == 1


@pytest.mark.parametrize(
    ("reason", "is_complete", "is_over"),
    [
        ("MAILBOX_ACCESS_DENIED", True, True),
        ("MAILBOX_ACCESS_DENIED", False, False),
        ("EXCHANGE_UNAVAILABLE", True, True),
        ("EXCHANGE_UNAVAILABLE", False, True),
    ],
)
async def test_successful_read_ends_what_it_disproves(
    opened: OpenStore, reason: str, is_complete: bool, is_over: bool
) -> None:
    """A read of the whole room ends any problem; a hinted one only proves that Exchange answers again."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    await opened.store.rooms.set_problem(room.uid, make_problem(reason), lease=None)
    room = await opened.reload(room)
    assert room.state is not RoomState.UP
    head = await opened.head()
    complete = complete_read() if is_complete else None
    scope = None if is_complete else Scope(event_ids=(EventId("e1"),), keys=())
    await opened.store.calendars.apply(room, always(), lease=None, complete=complete, scope=scope)
    if not is_over:
        assert (await opened.reload(room)).problem == room.problem
        return
    assert (await opened.reload(room)).state is RoomState.UP
    assert [entry.kind for entry in await entries_after(opened, room, head)] == [ChangeKind.ROOM_CHANGED]


async def test_complete_read_moves_horizon_and_freshness_silently(opened: OpenStore, clock: ManualClock) -> None:
    """A compare that finds everything as it was is no news, but the copy is fresh as of its beginning."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    head = await opened.head()
    began_at = clock.now()
    clock.advance(30)
    later = Window(HORIZON.start_at, HORIZON.end_at + timedelta(days=1))
    wanted = complete_read(later, began_at=began_at)
    await opened.store.calendars.apply(room, always(), lease=None, complete=wanted)
    read = await opened.reload(room)
    assert (read.horizon, read.fresh_as_of_at) == (later, began_at)
    assert await opened.head() == head
