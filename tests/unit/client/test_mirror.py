"""The mirror, message by message; that it ends right under any schedule is the business of the property test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from exchange_client import ChangeKind, MirrorChange, Reconnected, RoomMirror
from exchange_client.messages import (
    Booking,
    BookingChange,
    BookingChanges,
    Checkpoint,
    Room,
    RoomUnmapped,
    SnapshotEnd,
    SnapshotStart,
    StreamClosing,
    SyncState,
    SyncStatus,
    WatchRoomResponse,
    WatchRoomsResponse,
)
from exchange_client.mirror_room import TOMBSTONES_MAX
from exchange_client.times import to_timestamp, window

ROOM = "tenants/acme/rooms/r1"
NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def booking(key: str, revision: int, start_at: datetime = NINE, **fields: object) -> Booking:
    made = Booking(name=f"{ROOM}/bookings/{key}", revision=revision, time=window(start_at, start_at + HOUR))
    made.etag = f"{revision}-{start_at}"
    made.state = Booking.STATE_CONFIRMED
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def upserts(*bookings: Booking, token: str = "") -> WatchRoomResponse:
    changes = [BookingChange(kind=BookingChange.KIND_UPSERTED, booking=one) for one in bookings]
    return WatchRoomResponse(resume_token=token, changes=BookingChanges(changes=changes))


def removal(
    gone: Booking,
    cause: BookingChange.Cause.ValueType = BookingChange.CAUSE_CANCELLED,
    kind: BookingChange.Kind.ValueType = BookingChange.KIND_REMOVED,
) -> WatchRoomResponse:
    change = BookingChange(kind=kind, booking=gone, cause=cause)
    return WatchRoomResponse(changes=BookingChanges(changes=[change]))


def start(snapshot_id: str = "s1", epoch: str = "e1", days: int = 30) -> WatchRoomResponse:
    coverage = window(NINE - timedelta(days=1), NINE + timedelta(days=days))
    started = SnapshotStart(room=ROOM, snapshot_id=snapshot_id, epoch=epoch, coverage=coverage)
    return WatchRoomResponse(snapshot_start=started)


def end(snapshot_id: str = "s1", token: str = "t1") -> WatchRoomResponse:
    return WatchRoomResponse(resume_token=token, snapshot_end=SnapshotEnd(room=ROOM, snapshot_id=snapshot_id))


def filled(*bookings: Booking) -> RoomMirror:
    mirror = RoomMirror()
    for message in (start(), upserts(*bookings), end()):
        mirror.apply(message)
    return mirror


def kinds(changes: list[MirrorChange]) -> list[ChangeKind]:
    return [change.kind for change in changes]


def keys(mirror: RoomMirror) -> list[str]:
    return [row.name.rpartition("/")[2] for row in mirror.bookings(ROOM)]


def test_room_is_unknown_until_its_first_snapshot_has_ended() -> None:
    mirror = RoomMirror()
    assert not mirror.is_complete(ROOM)
    mirror.apply(start())
    mirror.apply(upserts(booking("b1", 3)))
    assert not mirror.is_complete(ROOM)
    assert kinds(mirror.apply(end())) == [ChangeKind.ROOM_COMPLETE]
    assert mirror.is_complete(ROOM)
    coverage = mirror.coverage(ROOM)
    assert coverage is not None
    assert coverage.start_time == to_timestamp(NINE - timedelta(days=1))


def test_changes_tell_before_and_after() -> None:
    mirror = filled(booking("b1", 3))
    (moved,) = mirror.apply(upserts(booking("b1", 4, NINE + HOUR)))
    assert moved.kind is ChangeKind.UPDATED
    assert moved.before == booking("b1", 3)
    assert moved.after == booking("b1", 4, NINE + HOUR)
    (removed,) = mirror.apply(removal(booking("b1", 5)))
    assert (removed.kind, removed.cause) == (ChangeKind.REMOVED, BookingChange.CAUSE_CANCELLED)
    assert removed.room == ROOM


def test_repeats_and_older_changes_are_no_news() -> None:
    mirror = filled(booking("b1", 3))
    mirror.apply(removal(booking("b2", 9)))
    assert mirror.apply(upserts(booking("b1", 3), booking("b1", 2), booking("b2", 8))) == []
    assert keys(mirror) == ["b1"]


def test_end_of_snapshot_takes_what_it_covers_and_did_not_name() -> None:
    far = NINE + timedelta(days=90)
    mirror = filled(booking("b1", 3), booking("b2", 4), booking("far", 5, far))
    mirror.apply(start("s2"))
    mirror.apply(upserts(booking("b1", 3)))
    assert keys(mirror) == ["b1", "b2", "far"]
    (swept,) = mirror.apply(end("s2"))
    assert (swept.kind, swept.cause) == (ChangeKind.REMOVED, BookingChange.CAUSE_UNSPECIFIED)
    assert keys(mirror) == ["b1", "far"]


def test_snapshot_without_coverage_removes_nothing() -> None:
    mirror = filled(booking("b1", 3))
    mirror.apply(WatchRoomResponse(snapshot_start=SnapshotStart(room=ROOM, snapshot_id="s2", epoch="e1")))
    assert mirror.apply(end("s2")) == []
    assert keys(mirror) == ["b1"]


def test_snapshot_that_broke_off_removes_nothing() -> None:
    mirror = filled(booking("b1", 3))
    mirror.apply(start("s2"))
    assert mirror.apply(Reconnected(attempts=1, cause=None)) == []
    assert mirror.apply(end("s2")) == []
    assert keys(mirror) == ["b1"]


def test_revisions_of_another_epoch_do_not_compare() -> None:
    mirror = filled(booking("b1", 30), booking("b2", 40))
    mirror.apply(start("s2", epoch="e2"))
    assert keys(mirror) == ["b1", "b2"]
    (moved,) = mirror.apply(upserts(booking("b1", 1, NINE + HOUR)))
    assert moved.kind is ChangeKind.UPDATED
    assert mirror.apply(upserts(booking("b1", 1))) == []
    mirror.apply(end("s2"))
    assert keys(mirror) == ["b1"]


def test_new_epoch_alone_is_no_news_to_a_screen() -> None:
    same = booking("b1", 30, etag="x")
    mirror = filled(same)
    mirror.apply(start("s2", epoch="e2"))
    assert mirror.apply(upserts(booking("b1", 1, etag="x"))) == []
    assert mirror.bookings(ROOM)[0].revision == 1


@pytest.mark.parametrize("state", [Booking.STATE_CANCELLED, Booking.STATE_DECLINED])
def test_booking_that_takes_no_room_is_a_removal(state: Booking.State.ValueType) -> None:
    mirror = filled(booking("b1", 3))
    (removed,) = mirror.apply(upserts(booking("b1", 4, state=state)))
    assert removed.kind is ChangeKind.REMOVED
    assert removed.cause != BookingChange.CAUSE_UNSPECIFIED
    assert mirror.apply(upserts(booking("b1", 3))) == []


def test_unmapped_room_is_unknown_again() -> None:
    mirror = filled(booking("b1", 3), booking("b2", 4, NINE + HOUR))
    unmapped = BookingChange.CAUSE_ROOM_UNMAPPED
    first = mirror.apply(removal(booking("b1", 5), unmapped, BookingChange.KIND_LEFT_SCOPE))
    assert kinds(first) == [ChangeKind.REMOVED, ChangeKind.ROOM_GONE]
    second = mirror.apply(removal(booking("b2", 6), unmapped, BookingChange.KIND_LEFT_SCOPE))
    assert kinds(second) == [ChangeKind.REMOVED]
    assert not mirror.is_complete(ROOM)
    assert mirror.rooms == {}


def test_room_that_left_during_a_gap_can_be_forgotten() -> None:
    mirror = filled(booking("b1", 3))
    assert kinds(mirror.forget(ROOM)) == [ChangeKind.REMOVED, ChangeKind.ROOM_GONE]
    assert mirror.forget("tenants/acme/rooms/other") == []


def test_end_of_the_scope_forgets_all_rooms() -> None:
    mirror = filled(booking("b1", 3))
    gone = WatchRoomResponse(closing=StreamClosing(reason=StreamClosing.REASON_SCOPE_GONE))
    assert kinds(mirror.apply(gone)) == [ChangeKind.REMOVED, ChangeKind.ROOM_GONE]
    assert mirror.apply(WatchRoomResponse(closing=StreamClosing(reason=StreamClosing.REASON_MAX_AGE))) == []


def test_room_that_is_imported_again_is_unknown() -> None:
    mirror = filled(booking("b1", 3))
    up = Room(name=ROOM, display_name="Big", state=Room.STATE_UP)
    assert kinds(mirror.apply(WatchRoomResponse(room_changed=up))) == [ChangeKind.ROOM_CHANGED]
    assert mirror.rooms == {ROOM: up}
    assert mirror.is_complete(ROOM)
    mirror.apply(WatchRoomResponse(room_changed=Room(name=ROOM, state=Room.STATE_IMPORTING)))
    assert not mirror.is_complete(ROOM)


def test_checkpoint_tells_freshness_and_is_news_only_when_the_state_changes() -> None:
    mirror = RoomMirror()
    assert mirror.fresh_as_of is None
    sync = SyncStatus(state=SyncState.SYNC_STATE_LIVE, fresh_as_of_time=to_timestamp(NINE))
    assert kinds(mirror.apply(WatchRoomResponse(checkpoint=Checkpoint(sync=sync)))) == [ChangeKind.SYNC_CHANGED]
    assert mirror.fresh_as_of == NINE
    sync.fresh_as_of_time.CopyFrom(to_timestamp(NINE + HOUR))
    assert mirror.apply(WatchRoomResponse(checkpoint=Checkpoint(sync=sync), resume_token="t7")) == []
    assert mirror.fresh_as_of == NINE + HOUR
    assert mirror.resume_token == "t7"


def test_bookings_between_are_half_open_and_sorted() -> None:
    mirror = filled(booking("later", 3, NINE + HOUR), booking("b1", 4), booking("before", 5, NINE - HOUR))
    found = mirror.bookings_between(NINE, NINE + 2 * HOUR)
    assert [row.name.rpartition("/")[2] for row in found] == ["b1", "later"]
    assert mirror.bookings_between(NINE, NINE + HOUR, "tenants/acme/rooms/other") == []
    assert len(mirror.bookings_between(NINE, NINE + HOUR, ROOM)) == 1


def test_saved_mirror_comes_back_with_its_token_and_without_marks() -> None:
    mirror = filled(booking("b1", 3))
    mirror.apply(WatchRoomResponse(room_changed=Room(name=ROOM, state=Room.STATE_UP)))
    mirror.apply(removal(booking("b2", 9)))
    mirror.apply(start("s2"))
    again = RoomMirror.load(mirror.save())
    assert again.bookings(ROOM) == mirror.bookings(ROOM)
    assert (again.resume_token, again.rooms, again.is_complete(ROOM)) == ("t1", mirror.rooms, True)
    assert again.coverage(ROOM) == mirror.coverage(ROOM)
    assert again.apply(upserts(booking("b2", 8))) == []
    assert again.apply(end("s2")) == []
    assert again.save() == RoomMirror.load(again.save()).save()


@pytest.mark.parametrize("damage", [lambda saved: b"", lambda saved: saved[:-3], lambda saved: saved[:-9] + b"x" * 9])
def test_damaged_save_is_refused(damage: object) -> None:
    assert callable(damage)
    with pytest.raises(ValueError):
        RoomMirror.load(damage(filled(booking("b1", 3)).save()))


def test_memory_of_removed_bookings_is_bounded() -> None:
    mirror = filled()
    for number in range(TOMBSTONES_MAX + 50):
        mirror.apply(removal(booking(f"b{number}", number + 1)))
    assert mirror.apply(upserts(booking(f"b{TOMBSTONES_MAX}", 5))) == []
    assert kinds(mirror.apply(upserts(booking("b0", 1)))) == [ChangeKind.ADDED]


def test_unmapped_room_is_forgotten() -> None:
    """A room that the watch says is unmapped is unknown from then on, not free."""
    mirror = RoomMirror()
    mirror.apply(start())
    mirror.apply(end())
    assert mirror.is_complete(ROOM)
    gone = WatchRoomsResponse(room_unmapped=RoomUnmapped(room=ROOM), resume_token="t2")
    assert [change.kind for change in mirror.apply(gone)] == [ChangeKind.ROOM_GONE]
    assert not mirror.is_complete(ROOM)
    assert mirror.rooms == {}
    assert mirror.resume_token == "t2"
