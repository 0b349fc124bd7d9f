"""Lanes by their tenants' names: what is due, since when, and who has it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sidecar.model.ids import TenantId, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.lane import LEFT_OVER
from sidecar.store.settings import erasing_lane
from tests.support.builders import NOW, after
from tests.support.stores import OpenStore

A, B, C = TenantId("a"), TenantId("b"), TenantId("c")


@pytest.fixture
async def lanes(opened: OpenStore) -> dict[TenantId, TenantUid]:
    """Three tenants of which nothing is due."""
    uids = {tenant_id: (await opened.add_tenant(tenant_id)).uid for tenant_id in (A, B, C)}
    await opened.execute("DELETE FROM intents")
    return uids


async def mark(opened: OpenStore, lane: TenantUid, *, in_s: float, priority: Priority = Priority.CHECK) -> None:
    ((count,),) = await opened.fetch("SELECT COUNT(*) FROM intents")
    await opened.store.intents.mark(
        IntentKind.ROOM_CHECK, f"k{count}", lane, priority=priority, ready_at=after(seconds=in_s)
    )


async def names(opened: OpenStore, visible: set[TenantId] | None = None) -> list[TenantId]:
    return [lane.tenant_id for lane in await opened.store.lanes.due(visible=visible, count_max=100)]


async def test_lane_tells_what_is_due_whatever_its_urgency(opened: OpenStore, lanes: dict[TenantId, TenantUid]) -> None:
    for priority, in_s in ((Priority.IMPORT, -30), (Priority.HINT, -5), (Priority.CHECK, 60), (Priority.HINT, 90)):
        await mark(opened, lanes[A], in_s=in_s, priority=priority)
    lane = await opened.store.lanes.look(A)
    assert lane is not None
    assert (lane.due_count, lane.oldest_due_at, lane.next_due_at) == (2, after(seconds=-30), after(seconds=60))
    assert (lane.owner, lane.held_until_at, lane.is_at_rest) == ("", None, False)


async def test_erasing_lane_is_told_with_the_tenants_own(opened: OpenStore, lanes: dict[TenantId, TenantUid]) -> None:
    await mark(opened, lanes[A], in_s=-10)
    await mark(opened, erasing_lane(lanes[A]), in_s=-20)
    (lane,) = await opened.store.lanes.due(visible=None, count_max=100)
    assert (lane.tenant_id, lane.due_count, lane.oldest_due_at) == (A, 2, after(seconds=-20))
    assert list(await opened.store.lanes.of_tenant(A, count_max=9)) == [lanes[A], erasing_lane(lanes[A])]


async def test_lanes_of_no_tenant_are_told_as_one_to_those_who_see_all(
    opened: OpenStore, lanes: dict[TenantId, TenantUid]
) -> None:
    await mark(opened, TenantUid("gone"), in_s=-20)
    await mark(opened, TenantUid("gone.erasing"), in_s=-10)
    await mark(opened, lanes[B], in_s=-15)
    assert await names(opened) == [LEFT_OVER, B]
    assert await names(opened, {A, B}) == [B]
    assert list(await opened.store.lanes.of_tenant(LEFT_OVER, count_max=9)) == ["gone", "gone.erasing"]
    assert await opened.store.lanes.is_due(LEFT_OVER)
    assert await opened.store.lanes.is_due(B)
    assert not await opened.store.lanes.is_due(A)


async def test_due_lanes_go_on_after_the_last_of_a_page(opened: OpenStore, lanes: dict[TenantId, TenantUid]) -> None:
    """Also among those that became due together."""
    for uid in lanes.values():
        await mark(opened, uid, in_s=-10)
    (first,) = await opened.store.lanes.due(visible=None, count_max=1)
    assert first.oldest_due_at is not None
    rest = await opened.store.lanes.due(visible=None, after=(first.oldest_due_at, first.tenant_id), count_max=9)
    assert [first.tenant_id, *(lane.tenant_id for lane in rest)] == [A, B, C]


async def test_lane_that_somebody_has_is_told_with_its_holder(
    opened: OpenStore, lanes: dict[TenantId, TenantUid]
) -> None:
    await mark(opened, lanes[A], in_s=0)
    await opened.store.intents.take_lane(lanes[A], owner="host:1:x", lease_s=10.0)
    assert await names(opened) == []
    assert not await opened.store.lanes.is_due(A)
    lane = await opened.store.lanes.look(A)
    assert lane is not None
    assert (lane.owner, lane.held_until_at) == ("host:1:x", NOW + timedelta(seconds=10))


async def test_lane_at_rest_is_nobodys(opened: OpenStore, lanes: dict[TenantId, TenantUid]) -> None:
    await opened.store.lifecycle.suspend(A, reason="")
    await mark(opened, lanes[A], in_s=0)
    assert A not in await names(opened)
    lane = await opened.store.lanes.look(A)
    assert lane is not None
    assert (lane.owner, lane.held_until_at, lane.is_at_rest) == ("", None, True)


async def test_next_due_work_is_that_of_free_lanes_one_may_see(
    opened: OpenStore, lanes: dict[TenantId, TenantUid]
) -> None:
    for number, uid in enumerate(lanes.values()):
        await mark(opened, uid, in_s=10 + number)
    await opened.store.intents.take_lane(lanes[A], owner="host:1:x", lease_s=60.0)
    assert await opened.store.lanes.next_due_at(visible=None) == after(seconds=11)
    assert await opened.store.lanes.next_due_at(visible={A, C}) == after(seconds=12)
    assert await opened.store.lanes.next_due_at(visible={A}) is None


async def test_all_lanes_are_listed_by_name(opened: OpenStore, lanes: dict[TenantId, TenantUid]) -> None:
    await mark(opened, lanes[B], in_s=0)
    page = await opened.store.lanes.by_name(visible=None, count_max=2)
    rest = await opened.store.lanes.by_name(visible=None, after=page[-1].tenant_id, count_max=2)
    assert [(lane.tenant_id, lane.due_count) for lane in [*page, *rest]] == [(A, 0), (B, 1), (C, 0)]
    mine = await opened.store.lanes.by_name(visible={C}, count_max=9)
    assert [lane.tenant_id for lane in mine] == [C]


async def test_due_work_is_counted_up_to_a_limit(opened: OpenStore, lanes: dict[TenantId, TenantUid]) -> None:
    await opened.execute(
        "INSERT INTO intents (kind, key, lane, priority, ready_at, held_until, generation, attempts)"
        " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)"
        f" SELECT 'room.check', 'k' || i, '{lanes[A]}', 25, 0, 0, 1, 0 FROM n"
    )
    lane = await opened.store.lanes.look(A)
    assert lane is not None
    assert lane.due_count == 1_000
