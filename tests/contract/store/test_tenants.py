"""Tenants and their credentials."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.errors import RoomNotFound, TenantExists, TenantNotFound
from sidecar.model.change import ChangeKind
from sidecar.model.ids import TenantId
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.tenant import Cloud, TenantState
from tests.support.builders import (
    CANARY,
    TENANT,
    after,
    always,
    make_booking,
    make_mapping,
    make_notification,
    make_problem,
    make_registration,
    secret_hash,
    upsert,
)
from tests.support.stores import ManualClock, OpenStore

TABLES_OF_A_TENANT = {
    "tenants": "uid",
    "credentials": "tenant_uid",
    "rooms": "tenant_uid",
    "bookings": "tenant_uid",
    "changes": "tenant_uid",
    "subscriptions": "tenant_uid",
    "intents": "lane",
    "lanes": "lane",
}


async def test_tenant_registered_twice_is_one_tenant(opened: OpenStore) -> None:
    """Registering the same again changes nothing but makes its verification due."""
    first = await opened.add_tenant()
    again = await opened.add_tenant()
    assert again == first
    assert first.state is TenantState.VERIFYING
    (intent,) = await opened.store.intents.due(first.uid, count_max=10)
    assert (intent.kind, intent.key, intent.generation) == (IntentKind.TENANT_VERIFY, first.uid, 2)


async def test_registration_with_another_secret_replaces_the_credential(opened: OpenStore, clock: ManualClock) -> None:
    """The new proof is in use at once, and is not proven because the old one was."""
    tenant = await opened.add_tenant()
    await opened.store.tenants.set_proven(tenant.uid, identity=tenant.credential.identity)
    clock.advance(10)
    changed = await opened.store.tenants.register(make_registration(secret=f"{CANARY}-other"))
    assert changed.uid == tenant.uid
    assert changed.version > tenant.version
    assert changed.credential.proven_at is None
    assert changed.credential.fingerprint != tenant.credential.fingerprint
    assert (await opened.store.credentials.load_credential(tenant.uid)).proof == f"{CANARY}-other".encode()


@pytest.mark.parametrize("change", [{"directory_id": "another"}, {"cloud": Cloud.CHINA}])
async def test_tenant_id_of_another_directory_is_refused(opened: OpenStore, change: dict[str, Any]) -> None:
    """A tenant id never moves to another directory, so that nobody is shown somebody else's rooms."""
    tenant = await opened.add_tenant()
    with pytest.raises(TenantExists):
        await opened.store.tenants.register(make_registration(**change))
    assert await opened.store.tenants.load(TENANT) == tenant


async def test_secret_is_sealed_at_rest(opened: OpenStore) -> None:
    """No file of the database holds a secret, or what was one."""
    tenant = await opened.add_tenant()
    await opened.store.tenants.register(make_registration(secret=f"{CANARY}-other"))
    assert CANARY.encode() not in opened.bytes_at_rest()
    assert CANARY in (await opened.store.credentials.load_credential(tenant.uid)).proof.decode()


async def test_client_state_is_not_at_rest(opened: OpenStore) -> None:
    """Of a client state only a hash is kept."""
    tenant = await opened.add_tenant()
    room = await opened.add_room()
    await opened.store.subscriptions.prepare(
        room.uid, tenant.uid, key="s1", secret_hash=secret_hash(f"{CANARY}-state"), directory_id="d", url="https://x"
    )
    assert CANARY.encode() not in opened.bytes_at_rest()


async def test_deleted_tenant_is_gone_for_callers_and_ends_its_log(opened: OpenStore) -> None:
    """From the deletion on nothing of the tenant is found, and only its removal is due."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking())
    deleted = await opened.store.lifecycle.delete(TENANT, etag="")
    assert deleted.state is TenantState.DELETED
    with pytest.raises(RoomNotFound):
        await opened.store.rooms.load(TENANT, room.room_id)
    with pytest.raises(TenantNotFound):
        await opened.store.rooms.map_all(TENANT, [make_mapping("r2")])
    with pytest.raises(TenantNotFound):
        await opened.store.changes.tenant_head(TENANT)
    assert await opened.store.rooms.load_by_uid(room.uid) is None
    entries, head = await opened.store.changes.read(tenant.uid, after_revision=0, count_max=100)
    assert head is not None
    assert entries[-1].kind is ChangeKind.TENANT_DELETED
    due = await opened.store.intents.due(tenant.uid, count_max=10)
    assert [intent.kind for intent in due] == [IntentKind.TENANT_REMOVE]


async def test_read_that_ends_after_the_deletion_writes_nothing(opened: OpenStore) -> None:
    """The entry about the deletion is the last one of the log, though a read of a room was under way."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room()
    await opened.store.lifecycle.delete(TENANT, etag="")
    head = await opened.store.changes.head(tenant.uid)
    applied = await opened.store.calendars.apply(room, always(upsert(make_booking("late"))), lease=None)
    assert applied is None
    assert await opened.store.changes.head(tenant.uid) == head


async def test_deleting_twice_is_deleting_once(opened: OpenStore) -> None:
    """The second call finds the tenant as the first left it."""
    tenant = await opened.add_tenant()
    first = await opened.store.lifecycle.delete(TENANT, etag=str(tenant.version))
    assert await opened.store.lifecycle.delete(TENANT, etag="") == first
    assert await opened.store.lifecycle.delete(TENANT, etag=str(tenant.version)) == first


async def test_registering_while_the_removal_is_under_way_is_refused(opened: OpenStore) -> None:
    """A tenant comes back only after every trace of the former one is gone."""
    await opened.add_tenant()
    await opened.store.lifecycle.delete(TENANT, etag="")
    with pytest.raises(TenantExists):
        await opened.add_tenant()


async def test_erased_tenant_leaves_nothing(opened: OpenStore) -> None:
    """After delete and erase no table has a row of the tenant; another tenant's rows are untouched."""
    tenant = await opened.add_tenant()
    other = await opened.add_tenant("other")
    for tenant_id, uid, key in ((TENANT, tenant.uid, "s1"), (TenantId("other"), other.uid, "s2")):
        room = await opened.add_room(tenant_id=tenant_id)
        await opened.fill(room, make_booking())
        await opened.store.subscriptions.prepare(
            room.uid, uid, key=key, secret_hash=secret_hash(f"{CANARY}-state"), directory_id="d", url="https://x"
        )
        outcome = await opened.store.subscriptions.mark(
            [make_notification(key, directory_id="D")], settle_s=1.0, settle_max_s=10.0
        )
        assert outcome.marked_count == 1
        await opened.store.intents.take_lane(uid, owner="me", lease_s=60)
    before = {table: await _count(opened, table, column, other.uid) for table, column in TABLES_OF_A_TENANT.items()}
    await opened.store.lifecycle.delete(TENANT, etag="")
    await opened.store.tenants.erase(tenant.uid)
    for table, column in TABLES_OF_A_TENANT.items():
        assert await _count(opened, table, column, tenant.uid) == 0, table
        assert await _count(opened, table, column, other.uid) == before[table] > 0, table
    assert await opened.fetch("SELECT COUNT(*) FROM hints") == [(1,)]
    with pytest.raises(TenantNotFound):
        await opened.store.tenants.load(TENANT)
    with pytest.raises(TenantNotFound):
        await opened.store.credentials.load_credential(tenant.uid)


async def _count(opened: OpenStore, table: str, column: str, uid: str) -> int:
    ((count,),) = await opened.fetch(f"SELECT COUNT(*) FROM {table} WHERE {column} = $1", uid)
    return int(count)


async def test_tenant_registered_again_is_another_one_with_a_log_of_its_own(opened: OpenStore) -> None:
    """Nothing of the former one is left; the feed tells the two logs apart by the uid."""
    tenant = await opened.add_tenant()
    await opened.add_room("r1")
    await opened.store.lifecycle.delete(TENANT, etag="")
    await opened.store.tenants.erase(tenant.uid)
    again = await opened.add_tenant()
    assert again.uid != tenant.uid
    assert (await opened.store.changes.read(again.uid, after_revision=0, count_max=9))[0] == []


async def test_blocking_problem_is_told_to_every_room_once(opened: OpenStore, clock: ManualClock) -> None:
    """A tenant that Microsoft refuses changes all its rooms; seeing the same cause again is no news."""
    tenant = await opened.add_tenant()
    rooms = [await opened.add_room("r1"), await opened.add_room("r2")]
    head = await opened.head()
    await opened.store.tenants.set_problem(tenant.uid, make_problem("CONSENT_MISSING"))
    clock.advance(60)
    await opened.store.tenants.set_problem(tenant.uid, make_problem("CONSENT_MISSING", seen_at=clock.now()))
    entries, _ = await opened.store.changes.read(tenant.uid, after_revision=head, count_max=10)
    assert sorted((entry.kind, entry.room_uid) for entry in entries) == sorted(
        (ChangeKind.ROOM_CHANGED, room.uid) for room in rooms
    )
    blocked = await opened.store.tenants.load(TENANT)
    assert blocked.state is TenantState.CONSENT_MISSING
    assert blocked.problem is not None
    assert (blocked.problem.first_seen_at, blocked.problem.last_seen_at) == (after(), after(minutes=1))


async def test_tenant_accepted_again_has_every_room_read_at_once(opened: OpenStore, clock: ManualClock) -> None:
    """What changed while Microsoft refused us went by unheard, so each room is read, even one that was put off."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room()
    await opened.store.tenants.set_problem(tenant.uid, make_problem("CREDENTIAL_REJECTED"))
    (compare,) = [
        intent
        for intent in await opened.store.intents.due(tenant.uid, count_max=10)
        if intent.kind is IntentKind.ROOM_COMPARE
    ]
    await opened.store.intents.put_off(compare, until=after(hours=1), reason="CREDENTIAL_REJECTED")
    await opened.store.tenants.set_proven(tenant.uid, identity=tenant.credential.identity)
    accepted = await opened.store.tenants.load(TENANT)
    assert (accepted.state, accepted.problem) == (TenantState.ACTIVE, None)
    due = await opened.store.intents.due(tenant.uid, count_max=10)
    assert (IntentKind.ROOM_COMPARE, room.uid) in [(intent.kind, intent.key) for intent in due]
    assert min(intent.priority for intent in due if intent.key == room.uid) == Priority.REPAIR


async def test_tenants_are_paged_by_id(opened: OpenStore) -> None:
    """Pages follow the ids without repeating or leaving out one."""
    for tenant_id in ("c", "a", "b"):
        await opened.add_tenant(tenant_id)
    first = await opened.store.tenants.page(after=TenantId(""), count_max=2)
    second = await opened.store.tenants.page(after=first[-1].tenant_id, count_max=2)
    assert [tenant.tenant_id for tenant in (*first, *second)] == ["a", "b", "c"]


async def test_page_among_some_holds_only_these_and_counts_only_these(opened: OpenStore) -> None:
    """A caller that may name some tenants gets full pages of them; one that may name none gets nothing."""
    for tenant_id in ("t1", "t2", "t3", "t4"):
        await opened.add_tenant(tenant_id)
    some = {TenantId("t4"), TenantId("t2"), TenantId("ghost")}
    first = await opened.store.tenants.page(after=TenantId(""), count_max=1, among=some)
    second = await opened.store.tenants.page(after=first[-1].tenant_id, count_max=9, among=some)
    assert ([tenant.tenant_id for tenant in first], [tenant.tenant_id for tenant in second]) == (["t2"], ["t4"])
    assert await opened.store.tenants.page(after=TenantId(""), count_max=9, among=frozenset()) == []
