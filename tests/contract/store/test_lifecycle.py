"""Tenants that are suspended and resumed, deleted and undeleted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sidecar.errors import EtagMismatch, RoomNotFound, StoreConflict, TenantExists, TenantNotFound, TenantPurged
from sidecar.model.audit import OURSELVES, Act
from sidecar.model.change import ChangeKind
from sidecar.model.ids import TenantId
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.room import FreshnessLimits, RoomState, SyncState, sync_state
from sidecar.model.tenant import TenantState
from sidecar.store.audit import Acting, acting
from tests.support.builders import (
    CANARY,
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

GRACE = timedelta(days=30)
LIMITS = FreshnessLimits(live_s=1_000, polling_s=300, outage_s=300)


async def kinds_due(opened: OpenStore) -> set[IntentKind]:
    """Return the kinds of what is due for the tenant, whoever may do it."""
    uid = await opened.tenant_uid()
    return {intent.kind for intent in await opened.store.intents.due(uid, count_max=100)}


async def subscribed(opened: OpenStore) -> None:
    """Give the first room a live subscription of the key that notifications of the builders have."""
    room = await opened.store.rooms.load(TENANT, make_mapping("r1").room_id)
    await opened.store.subscriptions.prepare(
        room.uid, room.tenant_uid, key="s1", secret_hash=secret_hash("state"), directory_id="d", url="https://x"
    )
    later = opened.clock.now() + timedelta(days=6)
    await opened.store.subscriptions.confirm("s1", graph_id="g1", expires_at=later, renew_at=later)


# Suspending


async def test_suspended_tenant_says_so_with_its_rooms_and_keeps_its_copy(
    opened: OpenStore, clock: ManualClock
) -> None:
    """Reads answer from the copy; what stands in the way has a cause and somebody who must act."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking())
    clock.advance(2_000)
    tenant = await opened.store.lifecycle.suspend(TENANT, reason="unpaid")
    assert tenant.state is TenantState.SUSPENDED
    assert [(one.reason, one.metadata) for one in tenant.problems] == [("TENANT_SUSPENDED", {"reason": "unpaid"})]
    paused = await opened.reload(room)
    assert paused.state is RoomState.PAUSED
    assert sync_state(paused, now=clock.now(), limits=LIMITS) is SyncState.PAUSED
    assert paused.fresh_as_of_at == room.fresh_as_of_at
    assert [one.reason for one in paused.problems] == ["TENANT_SUSPENDED"]
    assert len(await opened.store.calendars.load_stored(room.uid)) == 1


async def test_suspension_is_told_to_watchers_of_each_room_once(opened: OpenStore) -> None:
    """A second call with the same reason changes nothing; another reason is news."""
    tenant = await opened.add_tenant()
    for room_id in ("r1", "r2"):
        await opened.add_filled_room(room_id)
    head = await opened.head()
    first = await opened.store.lifecycle.suspend(TENANT, reason="one")
    entries, _ = await opened.store.changes.read(tenant.uid, after_revision=head, count_max=10)
    assert [entry.kind for entry in entries] == [ChangeKind.ROOM_CHANGED] * 2
    assert await opened.store.lifecycle.suspend(TENANT, reason="one") == await opened.store.tenants.load(TENANT)
    assert await opened.head() == head + 2
    other = await opened.store.lifecycle.suspend(TENANT, reason="another")
    assert other.suspension is not None
    assert first.suspension is not None
    assert (other.suspension.reason, other.suspension.since_at) == ("another", first.suspension.since_at)
    assert other.version > first.version


async def test_work_of_a_suspended_tenant_is_nobodys(opened: OpenStore, clock: ManualClock) -> None:
    """Its lane is not found, not taken and not waited for, whatever is marked in it, also after a restart."""
    tenant = await opened.add_tenant()
    await opened.add_room()
    await opened.store.lifecycle.suspend(TENANT, reason="")
    intents = opened.store.intents
    for _ in range(2):
        assert await intents.due_lanes(count_max=10) == []
        assert await intents.next_ready_at() is None
        assert await intents.take_lane(tenant.uid, owner="me", lease_s=10) is None
        await intents.mark(IntentKind.TENANT_VERIFY, tenant.uid, tenant.uid, priority=Priority.HINT, force=True)
        await opened.add_room("late")
        await intents.break_leases()
        clock.advance(10_000_000)


async def test_work_under_way_loses_its_lease_to_a_suspension(opened: OpenStore) -> None:
    """What was begun before writes nothing any more, and is told as soon as it looks, in any process."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room()
    lease = await opened.store.intents.take_lane(tenant.uid, owner="me", lease_s=10)
    assert lease is not None
    async with beside(opened, clock=opened.clock) as other:
        await other.store.lifecycle.suspend(TENANT, reason="")
    with pytest.raises(StoreConflict):
        await opened.store.intents.due(tenant.uid, count_max=10, lease=lease)
    with pytest.raises(StoreConflict):
        await opened.store.intents.renew_lane(lease, lease_s=10)
    with pytest.raises(StoreConflict):
        await opened.store.calendars.apply(room, always(upsert(make_booking("late"))), lease=lease)
    await opened.store.intents.release_lane(lease, if_idle=False)
    assert await opened.store.intents.take_lane(tenant.uid, owner="me", lease_s=10) is None


async def test_notification_for_a_suspended_tenant_is_dropped(opened: OpenStore) -> None:
    """Nothing piles up; the full read that follows the suspension holds whatever was announced."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    await subscribed(opened)
    await opened.store.lifecycle.suspend(TENANT, reason="")
    outcome = await opened.store.subscriptions.mark([make_notification("s1")], settle_s=1, settle_max_s=10)
    assert outcome.marked_count == 0
    assert IntentKind.ROOM_SYNC not in await kinds_due(opened)
    assert await opened.fetch("SELECT * FROM hints WHERE room_uid = $1", room.uid) == []


async def test_resumed_tenant_has_each_room_read_in_full_and_each_subscription_proved(
    opened: OpenStore, clock: ManualClock
) -> None:
    """Nobody listened, so nothing counts as announced until Exchange has said so again."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room()
    await subscribed(opened)
    await opened.store.lifecycle.suspend(TENANT, reason="")
    clock.advance(60)
    resumed = await opened.store.lifecycle.resume(TENANT)
    assert resumed.suspension is None
    assert not (await opened.reload(room)).is_subscribed
    due = await kinds_due(opened)
    assert due == {IntentKind.TENANT_VERIFY, IntentKind.ROOM_COMPARE, IntentKind.ROOM_SUBSCRIBE}
    assert await opened.store.intents.due_lanes(count_max=10) == [tenant.uid]
    assert await opened.store.intents.take_lane(tenant.uid, owner="me", lease_s=10) is not None


async def test_what_the_first_read_after_a_suspension_finds_is_no_drift(opened: OpenStore, clock: ManualClock) -> None:
    """Drift proves that something was lost; here nobody listened on purpose."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    await subscribed(opened)
    await opened.store.lifecycle.suspend(TENANT, reason="")
    clock.advance(100_000)
    await opened.store.lifecycle.resume(TENANT)
    later = clock.now() + timedelta(days=6)
    await opened.store.subscriptions.confirm("s1", graph_id="g1", expires_at=later, renew_at=later)
    applied = await opened.fill(await opened.reload(room), make_booking())
    assert (applied.changes_count, applied.drift_count, applied.unannounced_count) == (1, 0, 0)


async def test_tenant_that_is_not_suspended_is_resumed_without_effect(opened: OpenStore) -> None:
    """Safe to repeat."""
    tenant = await opened.add_tenant()
    assert await opened.store.lifecycle.resume(TENANT) == tenant


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_tenant_that_is_not_there_is_neither_suspended_nor_resumed(opened: OpenStore, is_deleted: bool) -> None:
    """A deleted one has to be undeleted first."""
    if is_deleted:
        await opened.add_tenant()
        await opened.store.lifecycle.delete(TENANT, etag="", grace=GRACE)
    with pytest.raises(TenantNotFound):
        await opened.store.lifecycle.suspend(TENANT, reason="")
    with pytest.raises(TenantNotFound):
        await opened.store.lifecycle.resume(TENANT)


# Deleting


async def test_deleted_tenant_is_kept_hidden_until_its_time(opened: OpenStore, clock: ManualClock) -> None:
    """Nothing of it is found but itself, nobody works for it, and everything is still there."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking())
    deleted = await opened.store.lifecycle.delete(TENANT, etag="", grace=GRACE)
    assert deleted.state is TenantState.DELETED
    assert deleted.purge_at == clock.now() + GRACE
    with pytest.raises(RoomNotFound):
        await opened.store.rooms.load(TENANT, room.room_id)
    page = opened.store.tenants.page
    assert await page(after=TenantId(""), count_max=10, show_deleted=False) == []
    assert await page(after=TenantId(""), count_max=10, show_deleted=True) == [deleted]
    assert len(await opened.store.calendars.load_stored(room.uid)) == 1
    clock.advance(GRACE.total_seconds() - 1)
    assert await opened.store.intents.due_lanes(count_max=10) == []
    assert await opened.store.intents.next_ready_at() is None
    clock.advance(1)
    assert await opened.store.intents.due_lanes(count_max=10) == [tenant.uid]
    assert await kinds_due(opened) == {IntentKind.TENANT_REMOVE}


async def test_tenant_deleted_twice_keeps_its_time(opened: OpenStore, clock: ManualClock) -> None:
    """Whoever did not hear the answer asks again, with the etag of before."""
    tenant = await opened.add_tenant()
    first = await opened.store.lifecycle.delete(TENANT, etag=str(tenant.version), grace=GRACE)
    clock.advance(1_000)
    assert await opened.store.lifecycle.delete(TENANT, etag="", grace=GRACE) == first
    assert await opened.store.lifecycle.delete(TENANT, etag=str(tenant.version), grace=GRACE) == first


async def test_purge_with_the_etag_of_before_the_deletion_is_refused_and_may_be_repeated(opened: OpenStore) -> None:
    """It is another thing than the deletion; once it is done, asking again changes nothing."""
    tenant = await opened.add_tenant()
    deleted = await opened.store.lifecycle.delete(TENANT, etag="", grace=GRACE)
    with pytest.raises(EtagMismatch):
        await opened.store.lifecycle.delete(TENANT, etag=str(tenant.version), grace=None)
    purged = await opened.store.lifecycle.delete(TENANT, etag=str(deleted.version), grace=None)
    assert await opened.store.lifecycle.delete(TENANT, etag=str(deleted.version), grace=None) == purged


async def test_first_deletion_with_another_etag_is_refused(opened: OpenStore) -> None:
    """Somebody has changed the tenant meanwhile."""
    tenant = await opened.add_tenant()
    with pytest.raises(EtagMismatch):
        await opened.store.lifecycle.delete(TENANT, etag=str(tenant.version + 1), grace=GRACE)


async def test_purge_of_a_deleted_tenant_makes_its_removal_due_at_once(opened: OpenStore, clock: ManualClock) -> None:
    """Whoever is impatient need not wait, and cannot take it back."""
    tenant = await opened.add_tenant()
    await opened.store.lifecycle.delete(TENANT, etag="", grace=GRACE)
    clock.advance(1_000)
    purged = await opened.store.lifecycle.delete(TENANT, etag="", grace=None)
    assert purged.purge_at == clock.now()
    assert await opened.store.intents.due_lanes(count_max=10) == [tenant.uid]
    with pytest.raises(TenantPurged):
        await opened.store.lifecycle.undelete(TENANT)


async def test_removal_that_has_begun_cannot_be_taken_back(opened: OpenStore, clock: ManualClock) -> None:
    """Also when a clock is set back meanwhile: what is half erased stays so."""
    tenant = await opened.add_tenant()
    await opened.store.lifecycle.delete(TENANT, etag="", grace=GRACE)
    clock.advance(GRACE.total_seconds())
    assert await opened.store.intents.take_lane(tenant.uid, owner="me", lease_s=10) is not None
    clock.advance(-100)
    with pytest.raises(TenantPurged):
        await opened.store.lifecycle.undelete(TENANT)


async def test_undeleted_tenant_is_looked_after_again_while_a_grant_is_awaited(opened: OpenStore) -> None:
    """The looks went with all that was due; the first room that refuses us has them made again."""
    tenant = await opened.add_tenant()
    look_at = opened.clock.now() + timedelta(minutes=1)
    await opened.store.propagations.begin(tenant.uid, tenant.created_at, look_at=look_at)
    await opened.store.lifecycle.delete(TENANT, etag="", grace=GRACE)
    await opened.store.lifecycle.undelete(TENANT)
    await opened.store.propagations.begin(tenant.uid, tenant.created_at, look_at=look_at)
    assert (await opened.store.propagations.progress([tenant.uid]))[tenant.uid].next_look_at == look_at


async def test_undeleted_tenant_is_as_it_was_and_proved_anew(opened: OpenStore, clock: ManualClock) -> None:
    """Its log goes on in another epoch, since its readers were told that it had ended."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking())
    _, before = await opened.store.changes.tenant_head(TENANT)
    await opened.store.lifecycle.delete(TENANT, etag="", grace=GRACE)
    clock.advance(GRACE.total_seconds() - 1)
    back = await opened.store.lifecycle.undelete(TENANT)
    assert (back.uid, back.deleted_at, back.purge_at, back.state) == (tenant.uid, None, None, tenant.state)
    assert len(await opened.store.calendars.load_stored((await opened.reload(room)).uid)) == 1
    _, head = await opened.store.changes.tenant_head(TENANT)
    assert head.epoch != before.epoch
    assert head.revision > before.revision
    assert await opened.store.intents.due_lanes(count_max=10) == [tenant.uid]
    assert await kinds_due(opened) == {IntentKind.TENANT_VERIFY, IntentKind.ROOM_COMPARE, IntentKind.ROOM_SUBSCRIBE}


async def test_tenant_suspended_before_its_deletion_comes_back_suspended(opened: OpenStore, clock: ManualClock) -> None:
    """Undeleting takes back the deletion, and nothing else."""
    tenant = await opened.add_tenant()
    await opened.store.lifecycle.suspend(TENANT, reason="unpaid")
    await opened.store.lifecycle.delete(TENANT, etag="", grace=GRACE)
    back = await opened.store.lifecycle.undelete(TENANT)
    assert back.state is TenantState.SUSPENDED
    clock.advance(10_000_000)
    assert await opened.store.intents.take_lane(tenant.uid, owner="me", lease_s=10) is None


async def test_tenant_that_is_not_deleted_is_undeleted_without_effect(opened: OpenStore) -> None:
    """Safe to repeat."""
    tenant = await opened.add_tenant()
    assert await opened.store.lifecycle.undelete(TENANT) == tenant


@pytest.mark.parametrize("directory_id", ["same", "another"])
async def test_id_of_a_deleted_tenant_is_taken_and_says_how_it_gets_free(opened: OpenStore, directory_id: str) -> None:
    """Neither silently revived by a registration, nor given to somebody else."""
    await opened.add_tenant()
    deleted = await opened.store.lifecycle.delete(TENANT, etag="", grace=GRACE)
    registration = make_registration() if directory_id == "same" else make_registration(directory_id="another")
    with pytest.raises(TenantExists) as refused:
        await opened.store.tenants.register(registration)
    assert deleted.purge_at is not None
    assert refused.value.details == {"purge_time": deleted.purge_at.isoformat()}
    assert "undelete" in refused.value.message
    assert "purge" in refused.value.message


async def test_purged_tenant_leaves_no_word_about_anybody(opened: OpenStore) -> None:
    """Neither in a table nor, on SQLite, anywhere in the files; the audit knows only ids, and who did what when."""
    tenant = await opened.store.tenants.register(make_registration(display_name=f"{CANARY}-name"))
    mapping = make_mapping("r1", mailbox=f"{CANARY}@contoso.example", annotations={"note": f"{CANARY}-note"})
    room = await opened.map_room(mapping)
    await opened.fill(room, *(make_booking(f"b{n}", subject=f"{CANARY}-subject") for n in range(100)))
    await subscribed(opened)
    await opened.store.subscriptions.mark([make_notification("s1")], settle_s=1, settle_max_s=10)
    act = Act(method="TenantService/DeleteTenant", resource=tenant.name, caller=OURSELVES, fields=("name",))
    for change in (
        opened.store.lifecycle.suspend(TENANT, reason=f"{CANARY}-reason"),
        opened.store.lifecycle.delete(TENANT, etag="", grace=GRACE),
        opened.store.lifecycle.delete(TENANT, etag="", grace=None),
        opened.store.tenants.erase(tenant.uid),
    ):
        with acting(Acting(act)):
            await change
    kept: list[str] = []
    for table in await opened.tables():
        kept += [table for row in await opened.fetch(f"SELECT * FROM {table}") if CANARY in repr(row)]
    assert kept == []
    if opened.path.suffix == ".sqlite3":
        assert CANARY.encode() not in opened.bytes_at_rest()
    audited = await opened.store.audit.page(among={TENANT}, start_at=None, end_at=None, before="", count_max=10)
    assert len(audited) == 4
