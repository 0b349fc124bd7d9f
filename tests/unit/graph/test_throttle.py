"""How many requests may be under way, and who is left alone."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.errors import Throttled
from sidecar.graph.throttle import SUBSCRIPTIONS, Throttle
from sidecar.graph.urgency import Urgency, acting_with
from sidecar.model.ids import TenantUid
from sidecar.settings import GraphSettings
from tests.unit.graph.kit import FakeClock

T1, T2 = TenantUid("t1"), TenantUid("t2")


class Line:
    """Tasks that hold a slot until they are let go, and the most that held one at once."""

    def __init__(self, **settings: int) -> None:
        self.clock = FakeClock()
        self.throttle = Throttle(settings=GraphSettings.model_validate(settings), clock=self.clock)
        self.inside: list[str] = []
        self.go = asyncio.Event()

    async def hold(self, tenant_uid: TenantUid, mailbox: str, urgency: Urgency = Urgency.HINT) -> None:
        with acting_with(urgency):
            async with self.throttle.slot(tenant_uid, mailbox):
                self.inside.append(mailbox)
                await self.go.wait()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_mailbox_takes_no_more_than_its_share() -> None:
    line = Line(concurrency_per_mailbox=3)
    async with asyncio.TaskGroup() as group:
        for spelling in ("a@x", "A@x", "a@X", "a@x", "a@x"):
            group.create_task(line.hold(T1, spelling))
        group.create_task(line.hold(T1, "b@x"))
        await settle()
        assert len(line.inside) == 4
        line.go.set()
    assert len(line.inside) == 6


async def test_tenant_takes_no_more_than_its_share_and_others_go_on() -> None:
    line = Line(concurrency_per_tenant=2)
    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(line.hold(T1, f"{number}@x"))
        group.create_task(line.hold(T2, "other@x"))
        await settle()
        assert sorted(line.inside) == ["0@x", "1@x", "other@x"]
        line.go.set()


async def test_those_waiting_for_a_mailbox_take_nothing_from_the_tenant() -> None:
    line = Line(concurrency_per_mailbox=1, concurrency_per_tenant=2)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(line.hold(T1, "busy@x"))
        await settle()
        group.create_task(line.hold(T1, "free@x"))
        await settle()
        assert line.inside == ["busy@x", "free@x"]
        line.go.set()


async def test_long_hold_refuses_at_once_and_ends() -> None:
    line = Line()
    line.go.set()
    line.throttle.hold(T1, "a@x", 60.0)

    with pytest.raises(Throttled) as caught:
        await line.hold(T1, "A@x")
    assert caught.value.retry_after_s == pytest.approx(60.0)
    await line.hold(T1, "b@x")
    line.clock.passed_s += 60.0
    await line.hold(T1, "a@x")


async def test_short_hold_is_waited_for() -> None:
    line = Line()
    line.go.set()
    line.throttle.hold(T1, "a@x", 2.0)
    await line.hold(T1, "a@x")

    assert line.clock.sleeps == [pytest.approx(2.0)]


async def test_hold_of_a_tenant_covers_its_mailboxes_only() -> None:
    line = Line()
    line.go.set()
    line.throttle.hold(T1, None, 60.0)

    with pytest.raises(Throttled):
        await line.hold(T1, "a@x")
    await line.hold(T2, "a@x")


async def test_shorter_hold_does_not_shorten_a_longer_one() -> None:
    line = Line()
    line.throttle.hold(T1, "a@x", 60.0)
    line.throttle.hold(T1, "a@x", 10.0)

    with pytest.raises(Throttled) as caught:
        await line.hold(T1, "a@x")
    assert caught.value.retry_after_s == pytest.approx(60.0)


async def test_refusal_met_while_standing_in_line_is_heeded() -> None:
    line = Line(concurrency_per_mailbox=1)

    async def be_refused() -> None:
        with pytest.raises(Throttled):
            await line.hold(T1, "a@x")

    async with asyncio.TaskGroup() as group:
        group.create_task(line.hold(T1, "a@x"))
        await settle()
        group.create_task(be_refused())
        await settle()
        line.throttle.hold(T1, "a@x", 60.0)
        line.go.set()
    assert line.inside == ["a@x"]


async def test_nothing_is_kept_of_mailboxes_that_are_quiet() -> None:
    line = Line()
    line.go.set()
    for number in range(100):
        line.throttle.hold(T1, f"{number}@x", 1.0)
        line.clock.passed_s += 2.0
        await line.hold(T1, f"{number}@x")

    assert line.throttle._line._tenants == {}
    assert len(line.throttle._holds) == 0


async def test_cancelled_waiter_gives_its_place_back() -> None:
    line = Line(concurrency_per_mailbox=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(line.hold(T1, "a@x"))
        await settle()
        waiter = group.create_task(line.hold(T1, "a@x"))
        await settle()
        waiter.cancel()
        await settle()
        line.go.set()
    await line.hold(T1, "a@x")
    assert line.throttle._line._tenants == {}


async def test_one_slot_of_a_mailbox_is_kept_for_writes() -> None:
    line = Line(concurrency_per_mailbox=3)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(line.hold(T1, "a@x"))
        await settle()
        for _ in range(2):
            group.create_task(line.hold(T1, "a@x", Urgency.WRITE))
        await settle()
        assert len(line.inside) == 4
        line.go.set()


async def test_write_goes_no_further_than_exchange_allows() -> None:
    line = Line(concurrency_per_mailbox=4)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(line.hold(T1, "a@x", Urgency.WRITE))
        await settle()
        assert len(line.inside) == 4
        line.go.set()


async def test_all_tenants_together_take_no_more_than_is_set() -> None:
    line = Line(concurrency=4)
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(line.hold(TenantUid(f"t{number}"), "a@x"))
        await settle()
        assert len(line.inside) == 4
        line.go.set()


async def test_subscription_service_has_slots_of_its_own() -> None:
    line = Line()
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(line.hold(T1, SUBSCRIPTIONS))
        await settle()
        assert len(line.inside) == 16
        line.go.set()


async def test_who_waits_for_a_refusal_to_end_holds_no_slot() -> None:
    line = Line(concurrency_per_tenant=1)
    waiting = asyncio.Event()

    async def sleep(duration_s: float) -> None:
        line.clock.passed_s += duration_s
        waiting.set()
        await asyncio.sleep(0)
        assert line.inside == ["free@x"], "the tenant's only slot was free for the other"

    line.clock.sleep = sleep  # type: ignore[method-assign]  # looks at what happens during the wait
    line.throttle.hold(T1, "held@x", 2.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(line.hold(T1, "held@x"))
        group.create_task(line.hold(T1, "free@x"))
        await settle()
        assert waiting.is_set()
        line.go.set()
    assert line.inside == ["free@x", "held@x"]


async def test_wait_in_line_and_for_refusals_is_bounded_together() -> None:
    """Two refusals, each short enough to be waited for, are put off when together they are not."""
    line = Line(concurrency_per_mailbox=1)
    line.throttle.hold(T1, "a@x", 4.0)

    async def be_put_off() -> None:
        with pytest.raises(Throttled):
            await line.hold(T1, "a@x")

    async def sleep(duration_s: float) -> None:
        line.clock.passed_s += duration_s
        line.throttle.hold(T1, "a@x", 4.0)

    line.clock.sleep = sleep  # type: ignore[method-assign]  # somebody else is refused during the wait
    await be_put_off()
    assert line.inside == []
