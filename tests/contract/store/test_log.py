"""Reading and pruning the tenants' logs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sidecar.errors import TenantNotFound
from sidecar.model.change import ChangeKind
from sidecar.model.ids import TenantId, TenantUid
from sidecar.model.room import Room
from sidecar.store import changes
from sidecar.store.changes import LogHead, Pruned
from tests.support.builders import TENANT, always, make_booking, upsert
from tests.support.stores import ManualClock, OpenStore

NOTHING = Pruned(0, is_cut_short=False)


@pytest.fixture
async def room(opened: OpenStore) -> Room:
    await opened.add_tenant()
    return await opened.add_filled_room()


async def write(opened: OpenStore, room: Room, *keys: str) -> None:
    await opened.store.calendars.apply(room, always(*(upsert(make_booking(key)) for key in keys)), lease=None)


async def keys_after(opened: OpenStore, room: Room, revision: int, count_max: int = 100) -> list[str | None]:
    entries, _ = await opened.store.changes.read(room.tenant_uid, after_revision=revision, count_max=count_max)
    return [entry.booking_key for entry in entries]


async def test_log_is_read_from_any_place_in_order(opened: OpenStore, room: Room) -> None:
    """Entries after a revision, at most as many as asked for, and where the log stood."""
    start = await opened.head()
    await write(opened, room, "a", "b")
    await write(opened, room, "c")
    assert await keys_after(opened, room, start) == ["a", "b", "c"]
    assert await keys_after(opened, room, start + 1) == ["b", "c"]
    assert await keys_after(opened, room, start, count_max=2) == ["a", "b"]
    assert await keys_after(opened, room, start + 3) == []
    _, head = await opened.store.changes.read(room.tenant_uid, after_revision=start, count_max=1)
    assert head == await opened.store.changes.head(room.tenant_uid)
    assert head is not None
    assert head.revision == start + 3


async def test_log_of_one_room_leaves_out_the_others(opened: OpenStore, room: Room) -> None:
    """A watch of a room reads its entries only, under the tenant's numbers."""
    other = await opened.add_filled_room("r2")
    start = await opened.head()
    for number in range(4):
        await write(opened, room if number % 2 else other, f"b{number}")
    entries, _ = await opened.store.changes.read(room.tenant_uid, after_revision=start, count_max=9, room_uid=room.uid)
    assert [(entry.revision, entry.booking_key) for entry in entries] == [(start + 2, "b1"), (start + 4, "b3")]


@pytest.mark.parametrize("count_max", [1, 9])
async def test_end_of_the_log_is_told_to_readers_of_one_room(opened: OpenStore, room: Room, count_max: int) -> None:
    """The deletion of the tenant is about no room, and ends the watch of each."""
    start = await opened.head()
    await write(opened, room, "b1")
    await opened.store.lifecycle.delete(TENANT, etag="")
    kinds = []
    revision = start
    while True:
        entries, head = await opened.store.changes.read(
            room.tenant_uid, after_revision=revision, count_max=count_max, room_uid=room.uid
        )
        assert head is not None
        if not entries:
            break
        kinds += [entry.kind for entry in entries]
        revision = entries[-1].revision
    assert kinds == [ChangeKind.UPSERTED, ChangeKind.TENANT_DELETED]
    assert revision == head.revision


async def test_log_of_nobody_has_no_head(opened: OpenStore) -> None:
    """A tenant that was erased is told from one whose log is empty."""
    assert await opened.store.changes.head(TenantUid("nobody")) is None
    assert await opened.store.changes.read(TenantUid("nobody"), after_revision=0, count_max=9) == ([], None)
    with pytest.raises(TenantNotFound):
        await opened.store.changes.tenant_head(TenantId("nobody"))
    assert await opened.store.changes.prune(TenantUid("nobody"), retention=timedelta(days=1), count_max=1) == NOTHING


async def test_old_entries_are_pruned_and_the_floor_tells(opened: OpenStore, room: Room, clock: ManualClock) -> None:
    """A reader below the floor has missed entries; one on it has not."""
    await write(opened, room, "old")
    old = await opened.head()
    clock.advance(3600)
    await write(opened, room, "new")
    assert (
        await opened.store.changes.prune(room.tenant_uid, retention=timedelta(seconds=3600), count_max=10**6) == NOTHING
    )
    clock.advance(1)
    dropped = await opened.store.changes.prune(room.tenant_uid, retention=timedelta(seconds=3600), count_max=10**6)
    assert dropped == Pruned(old, is_cut_short=False)
    assert await opened.store.changes.head(room.tenant_uid) == LogHead(old + 1, old)
    assert await keys_after(opened, room, old) == ["new"]


async def test_log_is_cut_to_its_newest_entries(opened: OpenStore, room: Room) -> None:
    """However much happens, a log has a limit; the floor never goes back."""
    await write(opened, room, *(f"b{number}" for number in range(10)))
    head = await opened.head()
    dropped = await opened.store.changes.prune(room.tenant_uid, retention=timedelta(days=1), count_max=3)
    assert dropped == Pruned(head - 3, is_cut_short=True)
    assert await keys_after(opened, room, head - 3) == ["b7", "b8", "b9"]
    assert await opened.store.changes.head(room.tenant_uid) == LogHead(head, head - 3)
    assert await opened.store.changes.prune(room.tenant_uid, retention=timedelta(days=1), count_max=9) == NOTHING
    assert await opened.store.changes.head(room.tenant_uid) == LogHead(head, head - 3)


async def test_entries_that_a_snapshot_may_still_rest_on_are_held_back(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """Too many young entries are no reason to drop them: who began a snapshot before them could never catch up."""
    await write(opened, room, "a", "b")
    old = await opened.head()
    clock.advance(60)
    await write(opened, room, "c", "d")
    dropped = await opened.store.changes.prune(
        room.tenant_uid, retention=timedelta(days=1), count_max=1, held=timedelta(seconds=60)
    )
    assert dropped == Pruned(old, is_cut_short=True)
    assert await keys_after(opened, room, old) == ["c", "d"]


async def test_log_pruned_to_nothing_goes_on_where_it_was(opened: OpenStore, room: Room) -> None:
    """Revisions are never given twice, even if no entry remembers them."""
    head = await opened.head()
    await opened.store.changes.prune(room.tenant_uid, retention=timedelta(days=1), count_max=0)
    assert await opened.store.changes.head(room.tenant_uid) == LogHead(head, head)
    await write(opened, room, "next")
    entries, _ = await opened.store.changes.read(room.tenant_uid, after_revision=head, count_max=9)
    assert [entry.revision for entry in entries] == [head + 1]


async def test_pruning_one_tenant_leaves_the_others(opened: OpenStore, room: Room) -> None:
    """Each log has its own floor."""
    other = await opened.add_tenant("other")
    await opened.add_room("r1", tenant_id=TenantId("other"))
    before = await opened.store.changes.head(other.uid)
    await opened.store.changes.prune(room.tenant_uid, retention=timedelta(days=1), count_max=0)
    assert await opened.store.changes.head(other.uid) == before
    assert before is not None
    entries, _ = await opened.store.changes.read(other.uid, after_revision=before.floor, count_max=9)
    assert len(entries) == before.revision - before.floor


async def test_long_log_is_pruned_in_steps_to_the_same_end(
    opened: OpenStore, room: Room, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other writers get in between; what is dropped does not depend on how large the steps are."""
    monkeypatch.setattr(changes, "_PRUNE_COUNT", 4)
    start = await opened.head()
    await write(opened, room, *(f"old{number}" for number in range(9)))
    clock.advance(60)
    await write(opened, room, "new")
    clock.advance(60)
    dropped = await opened.store.changes.prune(room.tenant_uid, retention=timedelta(seconds=90), count_max=10**6)
    assert dropped == Pruned(start + 9, is_cut_short=False)
    assert await keys_after(opened, room, start + 9) == ["new"]
    await write(opened, room, *(f"b{number}" for number in range(20)))
    dropped = await opened.store.changes.prune(room.tenant_uid, retention=timedelta(seconds=90), count_max=1)
    assert dropped == Pruned(20, is_cut_short=True)


async def test_clock_that_went_back_drops_nothing_too_early(opened: OpenStore, room: Room, clock: ManualClock) -> None:
    """An entry that seems old but follows a young one is kept: a reader was promised the young one and all after it."""
    await write(opened, room, "young")
    young = await opened.head()
    clock.advance(-3600)
    await write(opened, room, "seems-old")
    clock.advance(3600)
    assert (
        await opened.store.changes.prune(room.tenant_uid, retention=timedelta(seconds=1800), count_max=10**6) == NOTHING
    )
    assert await keys_after(opened, room, young - 1) == ["young", "seems-old"]
