"""Counting rooms by what their states follow from: the groups say the same as the rooms themselves."""

from __future__ import annotations

from collections import Counter

from sidecar.model.ids import TenantId
from sidecar.model.room import FreshnessLimits, RoomState, SyncState, sync_state
from sidecar.model.tenant_settings import TenantSettings
from tests.support.builders import DIRECTORY, TENANT, after, make_problem, make_registration, secret_hash
from tests.support.stores import ManualClock, OpenStore

LIMITS = FreshnessLimits(live_s=1_000, polling_s=300, outage_s=300)


async def counted(opened: OpenStore) -> Counter[SyncState]:
    """Count the rooms by their groups; those of each tenant are counted like its rooms one by one."""
    now = opened.clock.now()
    for tenant in await opened.store.tenants.page(after=TenantId(""), count_max=10):
        census = await opened.store.census.tenant(tenant.uid, LIMITS)
        assert census is not None
        states, copies = Counter[RoomState](), Counter[SyncState]()
        for group in census.groups:
            states[group.state] += group.count
            copies[group.sync_state(now=now, limits=LIMITS)] += group.count
        _, rooms = await opened.store.rooms.load_all(tenant.uid)
        assert states == Counter(room.state for room in rooms)
        assert copies == Counter(sync_state(room, now=now, limits=LIMITS) for room in rooms)
    counts: Counter[SyncState] = Counter()
    for group in await opened.store.census.groups(LIMITS):
        counts[group.sync_state(now=now, limits=LIMITS)] += group.count
    return counts


async def loaded(opened: OpenStore) -> Counter[SyncState]:
    """Count the rooms one by one."""
    _, rooms = await opened.store.rooms.load_all(await opened.tenant_uid())
    return Counter(sync_state(room, now=opened.clock.now(), limits=LIMITS) for room in rooms)


async def test_groups_tell_every_state_as_the_rooms_do(opened: OpenStore, clock: ManualClock) -> None:
    """Subscribed and not, fresh, older and old, refused, unread; and when Exchange is away from the tenant."""
    tenant = await opened.add_tenant()
    await opened.add_room("unread")
    for number, name in enumerate(("old", "older", "fresh")):
        for kind in ("polled", "announced", "refused", "unannounced"):
            room = await opened.add_filled_room(f"{name}-{kind}")
            if kind in ("announced", "unannounced"):
                key = f"{name}-{kind}"
                await opened.store.subscriptions.prepare(
                    room.uid, tenant.uid, key=key, secret_hash=secret_hash("s"), directory_id=DIRECTORY, url="u"
                )
                await opened.store.subscriptions.confirm(
                    key, graph_id=key, expires_at=after(days=2), renew_at=after(days=1)
                )
            if kind == "unannounced":
                problem = make_problem("SUBSCRIPTION_REFUSED")
                await opened.store.rooms.set_subscription_problem(room.uid, problem, lease=None)
            if kind == "refused":
                await opened.store.rooms.set_problem(room.uid, make_problem("MAILBOX_NOT_FOUND"), lease=None)
        clock.advance((800, 400, 0)[number])
    expected = {
        SyncState.LIVE: 2,
        SyncState.POLLING: 2,
        SyncState.INITIALIZING: 1,
        SyncState.STALE: 5,
        SyncState.BLOCKED: 3,
    }
    assert await counted(opened) == await loaded(opened) == expected
    await opened.store.rooms.set_problem(room.uid, make_problem("EXCHANGE_THROTTLED", seen_at=after()), lease=None)
    assert await counted(opened) == await loaded(opened) == expected | {SyncState.POLLING: 1, SyncState.STALE: 6}
    await opened.store.rooms.set_problem(room.uid, None, lease=None)
    await opened.store.tenants.set_problem(tenant.uid, make_problem("EXCHANGE_UNAVAILABLE", seen_at=after(seconds=1)))
    assert await counted(opened) == await loaded(opened)
    assert (await counted(opened))[SyncState.STALE] == 9
    await opened.store.tenants.set_problem(tenant.uid, make_problem("CREDENTIAL_REJECTED"))
    assert await counted(opened) == await loaded(opened) == {SyncState.BLOCKED: 13}


async def test_oldest_of_a_group_is_told(opened: OpenStore, clock: ManualClock) -> None:
    """The age of the oldest copy is a metric."""
    await opened.add_tenant()
    await opened.add_filled_room("r1")
    clock.advance(100)
    await opened.add_filled_room("r2")
    (group,) = await opened.store.census.groups(LIMITS)
    assert (group.count, group.fresh_as_of_at) == (2, after())


async def test_room_checked_by_a_clock_set_back_since_is_counted_apart(opened: OpenStore, clock: ManualClock) -> None:
    """Its age is unknown: it is stale, and rooms checked afterwards do not lend it theirs."""
    await opened.add_tenant()
    clock.advance(3_600)
    await opened.add_filled_room("before")
    clock.advance(-3_600)
    await opened.add_filled_room("after")
    expected = {SyncState.STALE: 1, SyncState.POLLING: 1}
    assert await counted(opened) == await loaded(opened) == expected


async def test_room_at_its_tenants_own_pace_is_stale_by_that_pace(opened: OpenStore, clock: ManualClock) -> None:
    """A tenant that wants checks seldom is not stale all the time; one that wants them often is so sooner."""
    for name, interval_s in (("seldom", 3_600), ("often", 60)):
        settings = TenantSettings(check_interval_s=interval_s)
        tenant = await opened.store.tenants.register(make_registration(name, settings=settings))
        room = await opened.add_room("r1", tenant_id=tenant.tenant_id)
        await opened.fill(room)
        await opened.store.subscriptions.prepare(
            room.uid, tenant.uid, key=name, secret_hash=secret_hash("s"), directory_id=DIRECTORY, url="u"
        )
        await opened.store.subscriptions.confirm(name, graph_id=name, expires_at=after(days=2), renew_at=after(days=1))
    clock.advance(700)
    assert await counted(opened) == {SyncState.LIVE: 1, SyncState.STALE: 1}
    clock.advance(3_600)
    assert await counted(opened) == {SyncState.STALE: 2}


async def test_tenant_is_counted_when_it_is_deleted_and_not_once_it_is_erased(opened: OpenStore) -> None:
    """Whoever watches it sees its rooms at rest, then nothing; other tenants' rooms are not counted with its own."""
    tenant = await opened.add_tenant()
    await opened.add_tenant("other")
    await opened.add_room()
    await opened.add_room(tenant_id=TenantId("other"))
    await opened.store.lifecycle.delete(TENANT, etag="")
    census = await opened.store.census.tenant(tenant.uid, LIMITS)
    assert census is not None
    assert [(group.state, group.count) for group in census.groups] == [(RoomState.PAUSED, 1)]
    await opened.store.tenants.erase(tenant.uid)
    assert await opened.store.census.tenant(tenant.uid, LIMITS) is None
