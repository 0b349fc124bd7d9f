"""Watches of tenants: the whole state at once, when it changes, and at every heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from sidecar.errors import ServerDraining, StoreUnavailable, TenantNotFound, WatcherLimit
from sidecar.feed.events import Closing, ClosingReason
from sidecar.feed.feed import Feed
from sidecar.feed.steps import NextStep, StepKind, next_step
from sidecar.feed.tenant_watch import watch_standing
from sidecar.feed.tenants import TenantStanding, TenantWatch
from sidecar.model.ids import TenantId
from sidecar.model.room import RoomState, SyncState
from sidecar.model.tenant import TenantState
from tests.support.builders import TENANT, make_booking, make_problem, make_registration
from tests.support.stores import OpenStore, open_feed

pytestmark = pytest.mark.looptime

Standings = AsyncGenerator[TenantStanding | Closing, None]


@asynccontextmanager
async def watching(opened: OpenStore, *, watches_max: int = 10) -> AsyncIterator[tuple[Feed, Standings]]:
    """Run a feed, and open a watch of the tenant."""
    async with open_feed(opened.store, clock=opened.clock, watches_max=watches_max) as feed:
        looking = asyncio.ensure_future(feed.tenants.run())
        watch = feed.watch_tenant(TENANT, heartbeat_s=15.0)
        try:
            yield feed, watch
        finally:
            await watch.aclose()
            looking.cancel()
            await asyncio.wait([looking])


async def told(watch: Standings, *, within_s: float) -> TenantStanding:
    """Return the next standing."""
    async with asyncio.timeout(within_s):
        event = await anext(watch)
    assert isinstance(event, TenantStanding), event
    return event


async def test_first_message_comes_at_once_and_is_the_whole(opened: OpenStore) -> None:
    """State, problems, counts of rooms, and what happens next."""
    await opened.add_tenant()
    await opened.add_room("unread")
    await opened.add_filled_room("r1", make_booking())
    async with watching(opened) as (_, watch):
        first = await told(watch, within_s=0.5)
        assert first.tenant == await opened.store.tenants.load(TENANT)
        assert first.rooms_count == 2
        assert first.states == {RoomState.IMPORTING: 1, RoomState.UP: 1}
        assert first.sync_states == {SyncState.INITIALIZING: 1, SyncState.POLLING: 1}
        assert first.next_step == NextStep(StepKind.IMPORT, None)


async def test_credential_that_comes_near_its_end_is_told_by_time_alone(opened: OpenStore) -> None:
    """Nothing is written on the day of a warning."""
    expires_at = opened.clock.now() + timedelta(days=30, seconds=60)
    await opened.store.tenants.register(make_registration(expires_at=expires_at))
    async with watching(opened) as (_, watch):
        assert (await told(watch, within_s=0.5)).expiry_step == 60
        while (standing := await told(watch, within_s=20.0)).expiry_step == 60:
            assert opened.clock.now() < expires_at
        assert standing.expiry_step == 30
        assert standing.seen_at >= expires_at - timedelta(days=30)


async def test_many_changes_are_one_message_a_second(opened: OpenStore) -> None:
    """What came and went between two looks is told to nobody."""
    await opened.add_tenant()
    loop = asyncio.get_running_loop()
    async with watching(opened) as (_, watch):
        await told(watch, within_s=0.5)
        began_s = loop.time()
        for number in range(20):
            await opened.add_room(f"r{number}")
        counts: list[int] = []
        times: list[float] = []
        while not counts or counts[-1] < 20:
            counts.append((await told(watch, within_s=3.0)).rooms_count)
            times.append(loop.time())
        assert len(counts) <= 2
        assert times[0] - began_s >= 0.9


async def test_change_of_the_tenant_alone_is_told(opened: OpenStore) -> None:
    """Such as a problem that concerns no room's state, of which the log has no entry."""
    tenant = await opened.add_tenant()
    async with watching(opened) as (_, watch):
        await told(watch, within_s=0.5)
        await opened.store.tenants.set_problem(tenant.uid, make_problem("EXCHANGE_UNAVAILABLE"))
        assert (await told(watch, within_s=2.0)).tenant.state is TenantState.DEGRADED


async def test_access_that_is_awaited_is_told_with_its_progress(opened: OpenStore) -> None:
    """And that Microsoft is asked again soon is what happens next."""
    tenant = await opened.add_tenant()
    await opened.add_filled_room("r1")
    propagations, look_at = opened.store.propagations, opened.clock.now() + timedelta(minutes=1)
    await propagations.begin(tenant.uid, opened.clock.now(), look_at=look_at)
    async with watching(opened) as (_, watch):
        standing = await told(watch, within_s=0.5)
        assert standing.propagation == (await propagations.progress([tenant.uid]))[tenant.uid]
        due = await opened.store.intents.next_ready_at(tenant.uid)
        assert due is not None
        assert standing.next_step == NextStep(StepKind.VERIFY, due)


async def test_what_time_alone_changes_is_told_within_a_heartbeat(opened: OpenStore) -> None:
    """A room turns stale because nothing happens to it."""
    await opened.add_tenant()
    await opened.add_filled_room("r1")
    loop = asyncio.get_running_loop()
    async with watching(opened) as (_, watch):
        began_s = loop.time()
        while True:
            standing = await told(watch, within_s=16.0)
            if standing.sync_states == {SyncState.STALE: 1}:
                break
            assert standing.sync_states == {SyncState.POLLING: 1}
        assert 300.0 <= loop.time() - began_s <= 316.0


async def test_quiet_tenant_is_told_at_every_heartbeat(opened: OpenStore) -> None:
    """So that a reader knows that the line is not dead."""
    await opened.add_tenant()
    loop = asyncio.get_running_loop()
    async with watching(opened) as (_, watch):
        first = await told(watch, within_s=0.5)
        began_s = loop.time()
        assert await told(watch, within_s=16.0) == first
        assert loop.time() - began_s == pytest.approx(15.0, abs=0.1)


async def test_thousand_watchers_share_one_look(opened: OpenStore) -> None:
    """And are given the very same standing, so that it is written once."""
    await opened.add_tenant()
    async with watching(opened, watches_max=2_000) as (feed, _):
        looks_count = 0
        look = opened.store.census.tenant

        async def counted(*args: object) -> object:
            nonlocal looks_count
            looks_count += 1
            return await look(*args)  # type: ignore[arg-type]  # passed on

        opened.store.census.tenant = counted  # type: ignore[method-assign, assignment]
        watches = [feed.watch_tenant(TENANT, heartbeat_s=15.0) for _ in range(1_000)]
        standings = [await told(watch, within_s=1.0) for watch in watches]
        assert all(standing is standings[0] for standing in standings)
        assert looks_count == 1
        for watch in watches:
            await watch.aclose()
        assert feed.watches_count == 0


async def test_deleted_tenant_is_followed_until_it_is_erased(opened: OpenStore) -> None:
    """Suspended, deleted, back again, gone: each is told, and only the last one ends the watch."""
    tenant = await opened.add_tenant()
    await opened.add_filled_room("r1")
    lifecycle = opened.store.lifecycle
    async with watching(opened) as (_, watch):
        await told(watch, within_s=0.5)
        await lifecycle.suspend(TENANT, reason="unpaid")
        suspended = await told(watch, within_s=2.0)
        assert (suspended.tenant.state, suspended.states) == (TenantState.SUSPENDED, {RoomState.PAUSED: 1})
        assert suspended.next_step is None
        deleted = await lifecycle.delete(TENANT, etag="", grace=timedelta(days=30))
        gone = await told(watch, within_s=2.0)
        assert gone.tenant.state is TenantState.DELETED
        assert gone.next_step == NextStep(StepKind.PURGE, deleted.purge_at)
        await lifecycle.undelete(TENANT)
        assert (await told(watch, within_s=2.0)).tenant.state is TenantState.SUSPENDED
        await lifecycle.delete(TENANT, etag="", grace=None)
        assert (await told(watch, within_s=2.0)).tenant.state is TenantState.DELETED
        await opened.store.tenants.erase(tenant.uid)
        async with asyncio.timeout(2.0):
            rest = [event async for event in watch]
        assert rest == [Closing(ClosingReason.SCOPE_GONE, 0.0, None)]


async def test_draining_ends_the_watch_and_refuses_new_ones(opened: OpenStore) -> None:
    """A rollout costs a watcher one reconnect."""
    await opened.add_tenant()
    async with watching(opened) as (feed, watch):
        await told(watch, within_s=0.5)
        feed.drain()
        async with asyncio.timeout(1.0):
            rest = [event async for event in watch]
        assert [event.reason for event in rest if isinstance(event, Closing)] == [ClosingReason.DRAINING]
        with pytest.raises(ServerDraining):
            await anext(feed.watch_tenant(TENANT, heartbeat_s=15.0))


async def test_watches_of_tenants_count_against_the_limit(opened: OpenStore) -> None:
    """They are watches like any other."""
    await opened.add_tenant()
    async with watching(opened, watches_max=1) as (feed, watch):
        await told(watch, within_s=0.5)
        with pytest.raises(WatcherLimit):
            await anext(feed.watch_tenant(TENANT, heartbeat_s=15.0))
        await watch.aclose()
        await anext(feed.watch_tenant(TENANT, heartbeat_s=15.0))


async def test_heartbeats_do_not_vouch_for_what_nobody_could_look_at(opened: OpenStore) -> None:
    """Where the database does not answer the watch ends, as other calls fail."""
    await opened.add_tenant()
    async with watching(opened) as (_, watch):
        await told(watch, within_s=0.5)

        async def fail(*_: object) -> None:
            await asyncio.Event().wait()

        opened.store.census.tenant = fail  # type: ignore[method-assign, assignment]
        for _ in range(3):
            await told(watch, within_s=20.0)
        with pytest.raises(StoreUnavailable):
            await told(watch, within_s=20.0)


async def test_first_look_that_never_ends_is_waited_for_quietly_and_not_for_ever(opened: OpenStore) -> None:
    """A database that hangs costs a watch no processor time meanwhile."""
    tenant = await opened.add_tenant()
    async with open_feed(opened.store, clock=opened.clock) as feed:
        with feed.tenants.watching(tenant.uid) as watch:
            waits_count = 0

            class Counted(TenantWatch):
                async def wait(self, seen_version: int, timeout_s: float) -> bool:
                    nonlocal waits_count
                    waits_count += 1
                    assert waits_count < 10, "it does not rest"
                    return await super().wait(seen_version, timeout_s)

            events = watch_standing(feed, Counted(watch._look), heartbeat_s=15.0)
            async with asyncio.timeout(60.0):
                with pytest.raises(StoreUnavailable):
                    await anext(aiter(events))


async def test_watch_that_joins_when_nobody_can_look_is_not_told_what_is_old(opened: OpenStore) -> None:
    """Its first message would claim to be the state of now."""
    await opened.add_tenant()
    async with watching(opened) as (feed, watch):
        await told(watch, within_s=0.5)

        async def hang(*_: object) -> None:
            await asyncio.Event().wait()

        opened.store.census.tenant = hang  # type: ignore[method-assign, assignment]
        await asyncio.sleep(50.0)
        with pytest.raises(StoreUnavailable):
            await anext(feed.watch_tenant(TENANT, heartbeat_s=15.0))


async def test_missing_tenant_cannot_be_watched(opened: OpenStore) -> None:
    """There is nothing to wait for."""
    async with open_feed(opened.store, clock=opened.clock) as feed:
        with pytest.raises(TenantNotFound):
            await anext(feed.watch_tenant(TenantId("nobody"), heartbeat_s=15.0))
        assert feed.watches_count == 0


async def test_next_step_is_the_one_that_time_brings(opened: OpenStore) -> None:
    """First what stands in the way is looked at again, then rooms are read, then all is verified again."""
    tenant = await opened.add_tenant()
    now = opened.clock.now()
    verify_at = now + timedelta(hours=1)
    assert next_step(tenant, importing_count=0, verify_at=None) is None
    assert next_step(tenant, importing_count=0, verify_at=verify_at) == NextStep(StepKind.VERIFY, verify_at)
    assert next_step(tenant, importing_count=3, verify_at=verify_at) == NextStep(StepKind.IMPORT, None)
    await opened.store.tenants.set_problem(tenant.uid, replace(make_problem("CONSENT_MISSING"), next_check_at=now))
    refused = await opened.store.tenants.load(TENANT)
    assert next_step(refused, importing_count=3, verify_at=verify_at) == NextStep(StepKind.VERIFY, now)
