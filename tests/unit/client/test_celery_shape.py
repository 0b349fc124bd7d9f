"""What handlers are given: the shape of changes, their ids, and which queue they go to."""

from __future__ import annotations

import json

import pytest
from exchange_client import Reconnected
from exchange_client.celery.layout import Layout, queue_of
from exchange_client.celery.shape import Change, ChangeMaker, ChangeTask
from exchange_client.messages import (
    Booking,
    BookingChange,
    Room,
    RoomUnmapped,
    StreamClosing,
    SyncState,
    SyncStatus,
    WatchRoomsResponse,
)

from tests.unit.client.test_mirror import ROOM, booking, end, removal, start, upserts

TENANT = "tenants/acme"


def taken(maker: ChangeMaker, *messages: object) -> list[Change]:
    """Give the changes that messages make; those of a watch of one room are laid out like those of many."""
    changes: list[Change] = []
    for message in messages:
        is_plain = isinstance(message, Reconnected)
        told = message if is_plain else WatchRoomsResponse.FromString(message.SerializeToString())  # type: ignore[attr-defined]
        changes += [task.change for task in maker.take(told)]  # type: ignore[arg-type]  # either, as above
    return changes


def made(epoch: str = "e1") -> ChangeMaker:
    return ChangeMaker(TENANT, queues_count=8, epoch=epoch)


def test_snapshot_is_told_as_begin_items_and_end_under_one_id() -> None:
    declined = booking("c", 3, state=Booking.STATE_DECLINED)
    changes = taken(made(""), start(), upserts(booking("a", 1), booking("b", 2), declined), end())
    assert [change["kind"] for change in changes] == [
        "SNAPSHOT_BEGIN", "SNAPSHOT_ITEM", "SNAPSHOT_ITEM", "SNAPSHOT_ITEM", "SNAPSHOT_END",
    ]  # fmt: skip
    assert {change["snapshot"]["id"] for change in changes} == {changes[0]["snapshot"]["id"]}
    assert {change["epoch"] for change in changes} == {"e1"}
    assert changes[0]["snapshot"]["start_at"] == "2026-11-22T09:00:00.000000Z"
    assert changes[-1]["snapshot"]["items_count"] == 2, "those that take the room"
    assert [change["takes_room"] for change in changes[1:4]] == [True, True, False]


def test_snapshot_that_is_begun_anew_has_another_id_although_the_server_gives_the_same() -> None:
    maker = made()
    first, _, second, ended = taken(
        maker, start(), upserts(booking("a", 1)), Reconnected(attempts=1, cause=None), start(), end()
    )
    assert first["snapshot"]["id"] != second["snapshot"]["id"]
    assert ended["snapshot"] == {"id": second["snapshot"]["id"], "items_count": 0}


def test_end_of_a_snapshot_that_broke_off_is_not_told() -> None:
    assert taken(made(), start(), Reconnected(attempts=1, cause=None), end())[1:] == []


def test_change_is_told_whole_and_survives_json() -> None:
    (change,) = taken(made(), upserts(booking("a", 2**40, subject="Ünüsual")))
    assert json.loads(json.dumps(change)) == change
    assert change["schema"] == 1
    assert (change["kind"], change["room"], change["tenant"], change["epoch"]) == ("UPSERTED", ROOM, TENANT, "e1")
    assert (change["revision"], change["takes_room"], change["cause"]) == (2**40, True, None)
    assert (change["start_at"], change["end_at"]) == ("2026-11-23T09:00:00.000000Z", "2026-11-23T10:00:00.000000Z")
    assert change["booking"]["subject"] == "Ünüsual"
    assert change["snapshot"] is None


def test_removal_is_told_with_its_cause_and_the_last_contents() -> None:
    (change,) = taken(made(), removal(booking("a", 9)))
    assert (change["kind"], change["cause"], change["takes_room"]) == ("REMOVED", "CANCELLED", False)
    (left,) = taken(
        made(), removal(booking("a", 9), BookingChange.CAUSE_OUTSIDE_HORIZON, BookingChange.KIND_LEFT_SCOPE)
    )
    assert (left["kind"], left["cause"]) == ("LEFT_SCOPE", "OUTSIDE_HORIZON")


def test_stream_that_resumes_tells_changes_in_the_epoch_that_was_kept() -> None:
    first = made("")
    taken(first, start(epoch="e7"), end())
    assert first.epoch == "e7"
    (change,) = taken(made(first.epoch), upserts(booking("a", 5)))
    assert change["epoch"] == "e7"


def test_change_that_is_told_again_has_the_same_id_and_any_other_has_another() -> None:
    told = upserts(booking("a", 5), booking("b", 5), booking("a", 6))
    first, again = taken(made(), told), taken(made(), told)
    assert [change["id"] for change in first] == [change["id"] for change in again]
    other_epoch = taken(made("e2"), told)
    other_tenant = [task.change for task in ChangeMaker("tenants/b", queues_count=8, epoch="e1").take(_rooms(told))]
    removed = taken(made(), removal(booking("a", 5)))
    ids = [change["id"] for change in (*first, *other_epoch, *other_tenant, *removed)]
    assert len(set(ids)) == len(ids)


def test_id_of_a_known_change_is_the_same_in_every_version() -> None:
    (change,) = taken(made(), upserts(booking("a", 5)))
    assert change["id"] == "8876dc39-68e1-5bf0-86cc-f282ba0b466a"


def test_rooms_are_told_changed_and_unmapped() -> None:
    changed = WatchRoomsResponse(resume_token="t1", room_changed=Room(name=ROOM, state=Room.STATE_UP))
    unmapped = WatchRoomsResponse(resume_token="t2", room_unmapped=RoomUnmapped(room=ROOM))
    changes = taken(made(), changed, unmapped)
    assert [(change["kind"], change["room"]) for change in changes] == [("ROOM_CHANGED", ROOM), ("ROOM_UNMAPPED", ROOM)]
    assert changes[0]["room_state"]["state"] == "STATE_UP"


def test_states_of_a_room_that_only_time_has_changed_are_no_repeats_of_each_other() -> None:
    """The log does not move meanwhile, so all of them come with one resume token; a handler must take each."""
    told = [WatchRoomsResponse(resume_token="t1", room_changed=Room(name=ROOM, sync=sync)) for sync in states()]
    first, again = taken(made(), *told), taken(made(), *told)
    assert [change["id"] for change in first] == [change["id"] for change in again]
    assert len({change["id"] for change in first}) == 3


def states() -> list[SyncStatus]:
    """Make those of a room that was fresh, grew stale, and was proved fresh again."""
    found = []
    for state, fresh_s in (
        (SyncState.SYNC_STATE_LIVE, 1),
        (SyncState.SYNC_STATE_STALE, 1),
        (SyncState.SYNC_STATE_LIVE, 2),
    ):
        found.append(SyncStatus(state=state))
        found[-1].fresh_as_of_time.FromSeconds(fresh_s)
    return found


def test_deleted_tenant_is_told_in_each_queue_and_a_shutdown_in_none() -> None:
    maker = made()
    closing = WatchRoomsResponse(closing=StreamClosing(reason=StreamClosing.REASON_DRAINING))
    assert maker.take(closing) == []
    assert not maker.is_gone
    closing.closing.reason = StreamClosing.REASON_SCOPE_GONE
    tasks = maker.take(closing)
    assert [task.queue for task in tasks] == list(range(8))
    assert {task.change["kind"] for task in tasks} == {"TENANT_GONE"}
    assert len({task.id for task in tasks}) == 8
    assert maker.is_gone


def test_end_of_a_watch_of_some_rooms_says_nothing_of_the_tenant() -> None:
    """A watch of one room ends when that room is unmapped."""
    maker = ChangeMaker(TENANT, queues_count=8, rooms=[ROOM])
    closing = WatchRoomsResponse(closing=StreamClosing(reason=StreamClosing.REASON_SCOPE_GONE))
    assert [(task.change["kind"], task.change["room"]) for task in maker.take(closing)] == [("ROOM_UNMAPPED", ROOM)]
    assert maker.is_gone


def test_change_of_a_kind_that_is_not_known_is_passed_over_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    unknown = upserts(booking("a", 1))
    unknown.changes.changes[0].kind = 99  # type: ignore[assignment]  # of a later version
    assert taken(made(), unknown) == []
    assert "change.kind_unknown kind=99" in caplog.text


def test_room_belongs_to_the_same_queue_in_every_process() -> None:
    # A room that changed its queue with a new version would overtake what waits in the old one.
    assert [queue_of(f"tenants/acme/rooms/r{number}", 8) for number in range(8)] == [6, 0, 2, 4, 7, 1, 3, 5]


def test_all_changes_of_a_room_go_to_one_queue() -> None:
    maker = made()
    messages = [start(), upserts(booking("a", 1), booking("b", 2)), end(), removal(booking("a", 3))]
    tasks: list[ChangeTask] = [task for message in messages for task in maker.take(_rooms(message))]
    assert {task.queue for task in tasks} == {queue_of(ROOM, 8)}


def test_many_rooms_are_spread_over_all_queues() -> None:
    counts = [0] * 8
    for number in range(1000):
        counts[queue_of(f"tenants/acme/rooms/room-{number}", 8)] += 1
    assert min(counts) > 80, counts


@pytest.mark.parametrize("wrong", [{"queues_count": 0}, {"queues_count": 257}, {"prefix": ""}, {"prefix": "a b"}])
def test_layout_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Layout(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def _rooms(message: object) -> WatchRoomsResponse:
    return WatchRoomsResponse.FromString(message.SerializeToString())  # type: ignore[attr-defined]
