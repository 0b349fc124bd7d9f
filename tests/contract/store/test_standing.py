"""What an operator watches beside the rooms: counted alike on every engine."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sidecar.model.intent import IntentKind, Priority
from sidecar.model.tenant import TenantState
from sidecar.store import standing
from sidecar.store.standing import NOTHING
from tests.support.builders import DIRECTORY, TENANT, after, make_problem, secret_hash
from tests.support.stores import ManualClock, OpenStore

URL = "https://hooks.example.com"


async def due(opened: OpenStore, lane: str, *keys: str, seconds_ago: float = 0.0) -> None:
    """Make work due in a lane."""
    uid = (await opened.add_tenant(lane)).uid
    await opened.execute("DELETE FROM intents WHERE lane = $1", uid)
    for key in keys:
        at = opened.clock.now() - timedelta(seconds=seconds_ago)
        await opened.store.intents.mark(IntentKind.ROOM_SYNC, key, uid, priority=Priority.HINT, ready_at=at)


async def test_empty_store_has_nothing_to_tell(opened: OpenStore) -> None:
    assert await opened.store.standing.load() == NOTHING


async def test_due_work_is_counted_with_the_age_of_the_oldest(opened: OpenStore, clock: ManualClock) -> None:
    """What is planned for later is not due."""
    clock.advance(3_600)
    await due(opened, "acme", "a", "b", seconds_ago=40)
    await due(opened, "globex", "c", seconds_ago=90)
    await due(opened, "initech", "later", seconds_ago=-60)
    found = await opened.store.standing.load()
    assert (found.due_count, found.lanes_due_count, found.oldest_due_s) == (3, 2, 90.0)


async def test_work_of_a_suspended_tenant_is_not_late(opened: OpenStore, clock: ManualClock) -> None:
    """It rests until the tenant is taken up again; nobody has to act."""
    await due(opened, TENANT, "a")
    clock.advance(60)
    assert (await opened.store.standing.load()).due_count == 1
    await opened.store.lifecycle.suspend(TENANT, reason="unpaid")
    assert (await opened.store.standing.load()).due_count == 0


async def test_counting_due_work_ends_somewhere(opened: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape must not walk through a million rows."""
    monkeypatch.setattr(standing, "_DUE_COUNTED_MAX", 2)
    await due(opened, "acme", "a", "b", "c")
    assert (await opened.store.standing.load()).due_count == 2


async def test_tenants_are_counted_by_the_state_that_callers_are_told(opened: OpenStore) -> None:
    problems = ("CREDENTIAL_EXPIRED", "CONSENT_MISSING", "EXCHANGE_UNAVAILABLE")
    uids = [(await opened.add_tenant(f"t{number}")).uid for number in range(6)]
    for uid, reason in zip(uids, problems, strict=False):
        await opened.store.tenants.set_problem(uid, make_problem(reason))
    await opened.store.lifecycle.suspend((await opened.store.tenants.load_by_uid(uids[4])).tenant_id, reason="unpaid")
    found = await opened.store.standing.load()
    told = [(await opened.store.tenants.load_by_uid(uid)).state for uid in uids]
    assert dict(found.tenants) == {state: told.count(state) for state in told}
    assert found.tenants[TenantState.CREDENTIAL_REJECTED] == found.tenants[TenantState.SUSPENDED] == 1


async def test_rooms_are_counted_by_how_long_they_are_announced(opened: OpenStore) -> None:
    """Those that cannot be read are somebody else's trouble."""
    await opened.store.webhook_urls.announce(URL, is_start=True)
    tenant = await opened.add_tenant()
    # `short` is made for less than a day, and its renewal is not due yet.
    lives = {"alive": (3.0, 1.0), "short": (0.5, 0.1), "expiring": (0.5, -0.1), "over": (-0.1, -0.2)}
    for name in (*lives, "refused", "none", "denied"):
        room = await opened.add_filled_room(name)
        if name in lives or name == "refused":
            ends_days, due_days = lives.get(name, (3.0, 1.0))
            await opened.store.subscriptions.prepare(
                room.uid, tenant.uid, key=name, secret_hash=secret_hash("s"), directory_id=DIRECTORY, url=URL
            )
            await opened.store.subscriptions.confirm(
                name, graph_id=name, expires_at=after(days=ends_days), renew_at=after(days=due_days)
            )
        if name == "refused":
            await opened.store.rooms.set_subscription_problem(
                room.uid, make_problem("SUBSCRIPTION_REFUSED"), lease=None
            )
        if name == "denied":
            await opened.store.rooms.set_problem(room.uid, make_problem("MAILBOX_ACCESS_DENIED"), lease=None)
    assert (await opened.store.standing.load()).subscriptions == {"alive": 2, "expiring": 1, "missing": 3}


async def test_without_a_webhook_address_no_subscription_is_missing(opened: OpenStore) -> None:
    """Rooms are polled on purpose."""
    await opened.add_tenant()
    await opened.add_filled_room()
    assert (await opened.store.standing.load()).subscriptions == NOTHING.subscriptions


async def test_webhook_that_is_not_reached_is_told(opened: OpenStore) -> None:
    await opened.store.webhook_urls.announce(URL, is_start=True)
    for _ in range(2):
        assert not (await opened.store.standing.load()).is_webhook_unreachable
        await opened.store.webhook_reach.note_unreached(URL, make_problem("WEBHOOK_UNREACHABLE"))
    assert (await opened.store.standing.load()).is_webhook_unreachable
