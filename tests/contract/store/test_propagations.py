"""Grants that are waited for: which rooms, since when, and how many have arrived."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from sidecar.model.ids import TenantUid
from sidecar.model.intent import IntentKind
from sidecar.model.propagation import Propagation
from sidecar.model.room import Room
from sidecar.model.window import from_micros
from tests.support.builders import TENANT, after, make_problem
from tests.support.stores import ManualClock, OpenStore


async def deny(opened: OpenStore, *rooms: Room, reason: str = "ACCESS_PENDING") -> None:
    """Let rooms refuse us."""
    for room in rooms:
        await opened.store.rooms.set_problem(room.uid, make_problem(reason), lease=None)


async def due(opened: OpenStore, kind: IntentKind) -> dict[str, datetime]:
    """Return what is due of a kind."""
    found = await opened.fetch("SELECT key, ready_at FROM intents WHERE kind = $1", kind.value)
    return {str(key): from_micros(ready_at) for key, ready_at in found}


async def look_at(opened: OpenStore, tenant_uid: TenantUid) -> datetime | None:
    """Return when the tenant is looked after."""
    return (await due(opened, IntentKind.TENANT_PROPAGATION)).get(tenant_uid)


async def test_registration_is_the_first_grant(opened: OpenStore) -> None:
    tenant = await opened.add_tenant()
    assert await opened.store.propagations.granted_at(tenant.uid) == tenant.created_at


async def test_credential_that_is_proven_and_consent_that_appears_are_grants(
    opened: OpenStore, clock: ManualClock
) -> None:
    """One that was proven again is none."""
    tenant = await opened.add_tenant()
    store = opened.store
    for problem, granted_s in (
        (None, 100.0),
        (None, 100.0),
        ("EXCHANGE_UNAVAILABLE", 100.0),
        ("CONSENT_MISSING", 400.0),
    ):
        clock.advance(100.0)
        if problem is not None:
            await store.tenants.set_problem(tenant.uid, make_problem(problem))
        await store.tenants.set_proven(tenant.uid, identity=tenant.credential.identity)
        assert await store.propagations.granted_at(tenant.uid) == after(seconds=granted_s)


async def test_progress_counts_rooms_that_were_read_and_do_not_refuse_us(opened: OpenStore) -> None:
    """Without a watch there is nothing to tell."""
    tenant = await opened.add_tenant()
    await opened.add_filled_room("well")
    moved = await opened.add_filled_room("in trouble otherwise")
    pending = await opened.add_filled_room("was read once")
    denied = await opened.add_room("never read")
    await opened.add_room("not asked yet")
    await deny(opened, moved, reason="EXCHANGE_UNAVAILABLE")
    await deny(opened, pending)
    await deny(opened, denied, reason="MAILBOX_ACCESS_DENIED")
    propagations = opened.store.propagations
    assert await propagations.progress([tenant.uid]) == {}
    await propagations.begin(tenant.uid, after(), look_at=after(minutes=1))
    expected = Propagation(rooms_count=5, readable_count=2, started_at=after(), next_look_at=after(minutes=1))
    assert await propagations.progress([tenant.uid, TenantUid("unknown")]) == {tenant.uid: expected}
    standing = await propagations.standing(tenant.uid)
    assert standing is not None
    assert (standing.readable_count, standing.denied_count, standing.seen_count) == (2, 2, 0)
    await propagations.end(tenant.uid)
    assert await propagations.progress([tenant.uid]) == {}


async def test_watch_begins_once_for_rooms_that_were_mapped_together_and_anew_for_later_ones(opened: OpenStore) -> None:
    tenant = await opened.add_tenant()
    propagations = opened.store.propagations
    await propagations.begin(tenant.uid, after(), look_at=after(minutes=1))
    await opened.execute("DELETE FROM intents")
    await propagations.begin(tenant.uid, after(seconds=30), look_at=after(minutes=1))
    await propagations.begin(tenant.uid, after(hours=-1), look_at=after(minutes=1))
    assert await look_at(opened, tenant.uid) is None
    await propagations.begin(tenant.uid, after(hours=1), look_at=after(minutes=61))
    assert await look_at(opened, tenant.uid) == after(minutes=61)


@pytest.mark.parametrize("is_grant", [False, True])
async def test_room_that_can_be_read_makes_a_look_due_where_somebody_waits(
    opened: OpenStore, clock: ManualClock, is_grant: bool
) -> None:
    """If nobody waited for it, it is the sign of a grant, and others wait from now on."""
    tenant = await opened.add_tenant()
    clock.advance(timedelta(days=5).total_seconds())
    await opened.store.propagations.look_soon(tenant.uid, look_at=after(days=5), is_grant=is_grant)
    assert await look_at(opened, tenant.uid) == (after(days=5) if is_grant else None)
    assert await opened.store.propagations.granted_at(tenant.uid) == after(days=5 if is_grant else 0)


async def test_rooms_that_were_not_asked_for_longest_are_asked_one_after_the_other(
    opened: OpenStore, clock: ManualClock
) -> None:
    """What was put off comes due, too: there is a reason to believe that the obstacle is gone."""
    tenant = await opened.add_tenant()
    rooms = [await opened.add_room(f"r{number}") for number in range(4)]
    for room in (rooms[2], rooms[0], rooms[1]):
        clock.advance(10.0)
        await deny(opened, room)
    await opened.execute("UPDATE intents SET ready_at = $1, held_until = $1", int(after(days=1).timestamp() * 1e6))
    await opened.store.propagations.begin(tenant.uid, after(), look_at=after(minutes=1))
    asked = await opened.store.propagations.ask_again(tenant.uid, count_max=2, step_s=5.0, readable_count=1)
    assert asked == 2
    ready = await due(opened, IntentKind.ROOM_COMPARE)
    assert (ready[rooms[2].uid], ready[rooms[0].uid]) == (after(seconds=30), after(seconds=35))
    assert ready[rooms[1].uid] == ready[rooms[3].uid] == after(days=1)
    standing = await opened.store.propagations.standing(tenant.uid)
    assert standing is not None
    assert standing.seen_count == 1


async def test_deleted_tenant_waits_for_nothing(opened: OpenStore) -> None:
    tenant = await opened.add_tenant()
    await opened.store.lifecycle.delete(TENANT, etag="")
    await opened.store.propagations.begin(tenant.uid, after(), look_at=after(minutes=1))
    assert await look_at(opened, tenant.uid) is None
    assert await opened.store.propagations.standing(tenant.uid) is None
    await opened.store.tenants.erase(tenant.uid)
    assert await opened.fetch("SELECT 1 FROM propagations") == []
