"""Keeping loops running, and how long they wait before they try again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.aio.backoff import backoff_s
from sidecar.aio.clock import LoopClock, SystemClock
from sidecar.aio.supervise import contain, keep_running

STARTED_AT = datetime(2026, 3, 2, 8, tzinfo=UTC)


class Body:
    """A loop that runs for so many seconds and fails, each time; then it ends."""

    def __init__(self, *runs_s: float) -> None:
        self._runs_s = list(runs_s)
        self.began_s: list[float] = []

    async def __call__(self) -> None:
        self.began_s.append(asyncio.get_running_loop().time())
        if not self._runs_s:
            return
        await asyncio.sleep(self._runs_s.pop(0))
        raise ZeroDivisionError

    @property
    def waits_s(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.began_s, self.began_s[1:], strict=False)]


@pytest.mark.looptime
async def test_loop_that_fails_is_run_again_with_growing_waits() -> None:
    """It never spins, never gives up, and never waits longer than half a minute."""
    body = Body(*[0.0] * 12)
    await keep_running("test", body, clock=SystemClock(), rng=Random(1))
    ceilings_s = [min(30.0, 0.2 * 2**number) for number in range(12)]
    assert len(body.waits_s) == 12
    for wait_s, ceiling_s in zip(body.waits_s, ceilings_s, strict=True):
        assert ceiling_s / 2 <= wait_s <= ceiling_s + 0.001


@pytest.mark.looptime
async def test_each_failure_of_a_loop_is_told() -> None:
    """Whoever counts them hears of each, and not of an end that is none."""
    failures: list[float] = []
    now_s = asyncio.get_running_loop().time
    await keep_running("t", Body(0, 0), clock=SystemClock(), rng=Random(1), failed=lambda: failures.append(now_s()))
    assert len(failures) == 2


@pytest.mark.looptime
async def test_loop_that_was_well_for_a_minute_starts_over() -> None:
    """An old failure does not slow down the answer to a new one."""
    body = Body(0, 0, 0, 0, 0, 61.0, 0)
    await keep_running("test", body, clock=SystemClock(), rng=Random(1))
    assert body.waits_s[4] > 1.5
    assert body.waits_s[5] - 61.0 <= 0.201
    assert body.waits_s[6] <= 0.401


@pytest.mark.looptime
async def test_loop_that_ends_is_not_run_again() -> None:
    """Ending is not failing."""
    body = Body()
    await keep_running("test", body, clock=SystemClock(), rng=Random(1))
    assert len(body.began_s) == 1


@pytest.mark.looptime
async def test_cancellation_goes_through() -> None:
    """While it runs, and while it waits to run again."""
    for delay_s in (5.0, 10.1):
        task = asyncio.ensure_future(keep_running("test", Body(10.0), clock=SystemClock(), rng=Random(1)))
        await asyncio.sleep(delay_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_contained_failure_is_returned() -> None:
    """Work that is one of many fails alone; cancellation is not its failure."""

    async def fail() -> None:
        raise ZeroDivisionError

    async def work() -> None:
        await asyncio.sleep(0)

    assert isinstance(await contain(fail()), ZeroDivisionError)
    assert await contain(work()) is None
    task = asyncio.ensure_future(contain(asyncio.sleep(3600)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@given(
    attempt=st.integers(1, 10**6), base_s=st.floats(0.001, 100), cap_s=st.floats(0.001, 10**6), seed=st.integers(0, 9)
)
def test_wait_stays_between_half_and_all_of_its_ceiling(attempt: int, base_s: float, cap_s: float, seed: int) -> None:
    """Fixed for one half, random for the other, doubled with each failure up to the cap."""
    wait_s = backoff_s(attempt, base_s=base_s, cap_s=cap_s, rng=Random(seed))
    ceiling_s = min(cap_s, base_s * 2.0 ** min(attempt - 1, 30))
    assert ceiling_s / 2 <= wait_s <= ceiling_s


@pytest.mark.looptime
async def test_clock_of_the_loop_goes_with_it() -> None:
    """With a virtual loop the whole service is virtual."""
    clock = LoopClock(STARTED_AT)
    assert clock.now() == STARTED_AT
    await clock.sleep(90.0)
    assert clock.now() == STARTED_AT + timedelta(seconds=90)
    assert clock.monotonic() == pytest.approx(90.0)
    await clock.sleep(-5.0)
    assert clock.now() == STARTED_AT + timedelta(seconds=90)


async def test_clock_of_the_machine_is_aware() -> None:
    """Instants without a zone cannot be compared with those of the store."""
    assert SystemClock().now().tzinfo is UTC


async def _failing_while_cancelled(began: asyncio.Event) -> None:
    """End in the failure of a task that cannot bear being cancelled: its group tells that, and not the cancellation."""

    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())
        await asyncio.sleep(0)
        began.set()


@pytest.mark.looptime
async def test_loop_that_fails_while_it_is_cancelled_ends() -> None:
    """It would run on for ever: whoever cancelled it waits for its end, and does not cancel it twice."""
    began = asyncio.Event()
    running = asyncio.create_task(
        keep_running("test", lambda: _failing_while_cancelled(began), clock=SystemClock(), rng=Random(1))
    )
    await began.wait()
    running.cancel()
    await asyncio.wait([running], timeout=3_600.0)
    assert running.done()
    assert running.cancelled()


@pytest.mark.looptime
async def test_contained_work_that_fails_while_it_is_cancelled_ends_its_holder() -> None:
    """What comes after the contained work must not be done by a task that was cancelled."""
    began = asyncio.Event()
    is_beyond = False

    async def hold() -> None:
        nonlocal is_beyond
        await contain(_failing_while_cancelled(began))
        is_beyond = True

    holding = asyncio.create_task(hold())
    await began.wait()
    holding.cancel()
    await asyncio.wait([holding])
    assert holding.cancelled()
    assert not is_beyond
