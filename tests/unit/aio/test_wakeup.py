"""Bells: rings merge, and none is missed."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.aio.wakeup import Broadcast, Wakeup

pytestmark = pytest.mark.looptime


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def test_ring_while_nobody_listens_is_kept() -> None:
    """A mark made during a run causes one more run."""
    bell = Wakeup()
    bell.ring()
    assert await bell.wait(10.0)
    assert now_s() == 0


async def test_rings_merge() -> None:
    """However often it rang, one wait answers."""
    bell = Wakeup()
    for _ in range(3):
        bell.ring()
    assert await bell.wait(1.0)
    assert not await bell.wait(1.0)
    assert now_s() == pytest.approx(1.0)


async def test_wakeup_that_never_rings_times_out() -> None:
    """And a ring after the time was over is kept for the next."""
    bell = Wakeup()
    assert not await bell.wait(2.0)
    bell.ring()
    assert await bell.wait(0.0)


async def test_ring_wakes_the_one_who_waits_without_limit() -> None:
    """None means as long as it takes."""
    bell = Wakeup()
    waiting = asyncio.ensure_future(bell.wait(None))
    await asyncio.sleep(3600)
    assert not waiting.done()
    bell.ring()
    assert await waiting
    assert now_s() == pytest.approx(3600)


async def test_cancelled_wait_does_not_swallow_the_ring() -> None:
    """Who left does not take the ring along."""
    bell = Wakeup()
    waiting = asyncio.ensure_future(bell.wait(None))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    bell.ring()
    assert await bell.wait(0.0)


async def test_broadcast_wakes_everyone_who_waits() -> None:
    """One ring, all listeners."""
    bell = Broadcast()
    waiting = [asyncio.ensure_future(bell.wait(bell.version, timeout_s)) for timeout_s in (None, 5.0, 9.0)]
    await asyncio.sleep(1)
    bell.ring()
    assert await asyncio.gather(*waiting) == [True, True, True]
    assert now_s() == pytest.approx(1.0)


async def test_late_comer_hears_of_the_ring_it_missed() -> None:
    """Whoever looked before the ring and waits after it does not sleep over it."""
    bell = Broadcast()
    seen = bell.version
    bell.ring()
    assert await bell.wait(seen, None)
    assert not await bell.wait(bell.version, 1.0)


async def test_broadcast_wakes_once_for_each_ring() -> None:
    """A ring is for those who wait at the time, not for those who have seen it."""
    bell = Broadcast()
    for round_ in range(3):
        waiting = asyncio.ensure_future(bell.wait(bell.version, None))
        await asyncio.sleep(0)
        assert not waiting.done()
        bell.ring()
        assert await waiting
        assert bell.version == round_ + 1


async def test_one_listeners_end_is_not_the_others() -> None:
    """A listener that gives up or is cancelled leaves the rest waiting."""
    bell = Broadcast()
    patient, hasty, cut = (asyncio.ensure_future(bell.wait(0, timeout_s)) for timeout_s in (None, 1.0, None))
    await asyncio.sleep(0.5)
    cut.cancel()
    assert not await hasty
    assert not patient.done()
    bell.ring()
    assert await patient
    assert cut.cancelled()


async def test_ring_at_the_last_moment_counts_once() -> None:
    """A listener is told of a ring or of the time-out, and never breaks over having both."""
    bell = Broadcast()
    loop = asyncio.get_running_loop()
    loop.call_later(1.0, bell.ring)
    answers = await asyncio.gather(*(bell.wait(0, timeout_s) for timeout_s in (0.5, 1.0, 1.5)))
    assert answers[0] is False
    assert answers[2] is True
