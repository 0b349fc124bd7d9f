"""The line in front of Microsoft: nothing leaks, nothing is given out twice, and everybody's turn comes."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.graph.line import PASSED_OVER_MAX, Line, LineFull, Place
from sidecar.graph.urgency import Urgency
from sidecar.model.ids import TenantUid

A, B, C = TenantUid("a"), TenantUid("b"), TenantUid("c")


def place(
    tenant_uid: TenantUid = A, mailbox: str = "m", urgency: Urgency = Urgency.HINT, mailbox_max: int = 3
) -> Place:
    return Place(tenant_uid=tenant_uid, mailbox=mailbox, mailbox_max=mailbox_max, urgency=urgency)


class Crowd:
    """Tasks that stand in a line, and the order in which they are let in."""

    def __init__(self, group: asyncio.TaskGroup, **limits: int) -> None:
        self.line = Line(**{"requests_max": 10, "per_tenant_max": 10, "waiting_max": 1_000, **limits})
        self.inside: list[Place] = []
        self.order: list[Place] = []
        self._group = group

    async def join(self, asked: Place) -> asyncio.Task[None]:
        task = self._group.create_task(self._stand(asked))
        await asyncio.sleep(0)
        return task

    async def _stand(self, asked: Place) -> None:
        await self.line.enter(asked)
        self.inside.append(asked)
        self.order.append(asked)

    async def let_go(self, which: int = 0) -> None:
        self.line.leave(self.inside.pop(which))
        await asyncio.sleep(0)


async def test_more_urgent_goes_first_within_a_tenant() -> None:
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(group, per_tenant_max=1)
        await crowd.join(place())
        for urgency in sorted(Urgency, reverse=True):
            await crowd.join(place(mailbox=urgency.name, urgency=urgency))
        for _ in Urgency:
            await crowd.let_go()
    assert [one.urgency for one in crowd.order[1:]] == sorted(Urgency)


async def test_equally_urgent_go_in_the_order_they_came() -> None:
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(group, per_tenant_max=1)
        for number in range(6):
            await crowd.join(place(mailbox=str(number)))
        for _ in range(5):
            await crowd.let_go()
    assert [one.mailbox for one in crowd.order] == list("012345")


async def test_import_is_passed_over_a_bounded_number_of_times() -> None:
    """However many hints keep coming."""
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(group, per_tenant_max=1)
        await crowd.join(place())
        await crowd.join(place(mailbox="imported", urgency=Urgency.IMPORT))
        for number in range(PASSED_OVER_MAX + 1):
            await crowd.join(place(mailbox=f"{number}"))
            await crowd.join(place(mailbox=f"{number}+"))
            await crowd.let_go()
        assert crowd.order[-1].urgency is Urgency.IMPORT
        assert all(one.urgency is Urgency.HINT for one in crowd.order[:-1])
        while crowd.inside:
            await crowd.let_go()


async def test_waiter_with_a_full_mailbox_is_stepped_around() -> None:
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(group, per_tenant_max=2)
        await crowd.join(place(mailbox="full", mailbox_max=1))
        await crowd.join(place(mailbox="other"))
        await crowd.join(place(mailbox="full", mailbox_max=1, urgency=Urgency.WRITE))
        await crowd.join(place(mailbox="free", urgency=Urgency.IMPORT))
        await crowd.let_go(1)
        assert [one.mailbox for one in crowd.inside] == ["full", "free"]
        while crowd.inside:
            await crowd.let_go()


async def test_tenant_that_holds_everything_gives_way_to_who_comes() -> None:
    """An import that took all slots while nobody else wanted any shrinks to its share, one slot at a time."""
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(group, requests_max=6)
        for number in range(100):
            await crowd.join(place(A, f"a{number}", Urgency.IMPORT))
        for number in range(20):
            await crowd.join(place(B, f"b{number}", Urgency.IMPORT))
            await crowd.join(place(C, f"c{number}", Urgency.IMPORT))
        for _ in range(6):
            await crowd.let_go()
        assert Counter(one.tenant_uid for one in crowd.inside) == {A: 2, B: 2, C: 2}
        while crowd.inside:
            await crowd.let_go()


async def test_tenant_that_asks_for_little_waits_for_one_slot_only() -> None:
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(group, requests_max=4)
        for number in range(50):
            await crowd.join(place(A, f"a{number}", Urgency.HINT))
        await crowd.join(place(B, "b", Urgency.IMPORT))
        await crowd.let_go()
        assert crowd.order[-1].tenant_uid == B
        while crowd.inside:
            await crowd.let_go()


async def test_between_equal_shares_the_more_urgent_goes_first() -> None:
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(group, requests_max=1)
        await crowd.join(place(A))
        await crowd.join(place(B, urgency=Urgency.IMPORT))
        await crowd.join(place(C, urgency=Urgency.HINT))
        await crowd.let_go()
        assert crowd.order[-1].tenant_uid == C
        while crowd.inside:
            await crowd.let_go()


async def test_line_that_is_full_refuses_at_once() -> None:
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(group, requests_max=1, waiting_max=1)
        await crowd.join(place())
        await crowd.join(place())
        with pytest.raises(LineFull):
            await crowd.line.enter(place(B))
        while crowd.inside:
            await crowd.let_go()
    assert crowd.line._tenants == {}


async def test_cancelled_in_the_moment_of_its_turn_leaves_the_slot_to_the_next() -> None:
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(group, requests_max=1)
        await crowd.join(place())
        second = await crowd.join(place(mailbox="second"))
        await crowd.join(place(mailbox="third"))
        crowd.line.leave(crowd.inside.pop())  # the second is let in, and has not run yet
        second.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [one.mailbox for one in crowd.inside] == ["third"]
        await crowd.let_go()
    assert crowd.line._tenants == {}


async def _live(rng: Random) -> None:
    """Let random callers come, give up and go, and look at the line after each step."""
    limits = {"requests_max": rng.randint(1, 6), "per_tenant_max": rng.randint(1, 5)}
    line = Line(**limits, waiting_max=1_000)
    inside: list[tuple[Place, asyncio.Event]] = []
    waiting: list[Place] = []

    async def call(asked: Place) -> None:
        waiting.append(asked)
        try:
            await line.enter(asked)
        finally:
            waiting.remove(asked)
        gone = asyncio.Event()
        inside.append((asked, gone))
        try:
            await gone.wait()
        finally:
            inside.remove((asked, gone))
            line.leave(asked)

    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[None]] = []
        for _ in range(120):
            dice = rng.random()
            if dice < 0.5:
                mailbox_max = rng.randint(1, 3)
                tenant_uid = rng.choice((A, B, C))
                asked = place(tenant_uid, f"m{mailbox_max}", rng.choice(list(Urgency)), mailbox_max)
                tasks.append(group.create_task(call(asked)))
            elif dice < 0.75 and inside:
                rng.choice(inside)[1].set()
            elif tasks:
                rng.choice(tasks).cancel()
            for _ in range(rng.randint(0, 3)):
                await asyncio.sleep(0)
            _check(line, [asked for asked, _ in inside], waiting, **limits, is_at_rest=False)
        for _ in range(10):
            await asyncio.sleep(0)
        _check(line, [asked for asked, _ in inside], waiting, **limits, is_at_rest=True)
        while inside or waiting:
            for _, gone in inside:
                gone.set()
            await asyncio.sleep(0)
    assert line.under_way_count == 0
    assert line.waiting_count == 0
    assert line._tenants == {}


def _check(
    line: Line,
    inside: list[Place],
    waiting: list[Place],
    *,
    requests_max: int,
    per_tenant_max: int,
    is_at_rest: bool,
) -> None:
    tenants = Counter(one.tenant_uid for one in inside)
    mailboxes = Counter((one.tenant_uid, one.mailbox) for one in inside)
    assert len(inside) <= line.under_way_count <= requests_max
    assert all(amount <= per_tenant_max for amount in tenants.values())
    assert all(mailboxes[one.tenant_uid, one.mailbox] <= one.mailbox_max for one in inside)
    if is_at_rest:
        assert len(inside) == line.under_way_count, "a slot that nobody holds is gone"
        for one in waiting:
            has_room = len(inside) < requests_max and tenants[one.tenant_uid] < per_tenant_max
            assert not has_room or mailboxes[one.tenant_uid, one.mailbox] >= one.mailbox_max, "waits though it fits"


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_random_lives_neither_leak_a_slot_nor_exceed_a_limit_nor_leave_one_idle(seed: int) -> None:
    asyncio.run(_live(Random(seed)))
