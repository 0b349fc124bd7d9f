"""The clock: sleeping, being woken by a moved present, and never waking early."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sidecar.emulator.clock import Background, LoopClock, sleep
from tests.unit.emulator.rig import START

pytestmark = pytest.mark.looptime


async def test_sleeper_wakes_when_its_moment_has_come() -> None:
    clock = LoopClock(start_at=START)
    assert clock.now() == START
    await sleep(clock, 90)
    assert clock.now() == START + timedelta(seconds=90)


async def test_moved_present_wakes_whose_moment_has_come_and_no_other() -> None:
    clock = LoopClock(start_at=START)
    woken: list[int] = []

    async def wait(seconds: int) -> None:
        await sleep(clock, seconds)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (100, 1000):
            group.create_task(wait(seconds))
        await sleep(clock, 1)
        clock.advance(500)
        await sleep(clock, 1)
        assert woken == [100]
    assert woken == [100, 1000]
    assert clock.now() == START + timedelta(seconds=1000)


async def test_loop_that_wakes_early_does_not_end_a_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event loop counts in milliseconds; a notification taken a hair too early would never be taken again."""
    clock, loop = LoopClock(start_at=START), asyncio.get_running_loop()
    punctual = loop.call_later

    def early(delay: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        return punctual(delay - 0.4 if delay > 1 else delay, callback, *args)

    monkeypatch.setattr(loop, "call_later", early)
    await sleep(clock, 10)
    assert clock.now() >= START + timedelta(seconds=10)


async def test_bug_in_the_background_ends_everything_loudly() -> None:
    background, stop = Background(), asyncio.Event()

    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        await background.run(lambda: background.spawn("broken", broken), stop)
    assert caught.group_contains(ZeroDivisionError)


async def test_nothing_starts_before_the_emulator_runs() -> None:
    async def work() -> None: ...

    with pytest.raises(RuntimeError, match="not running"):
        Background().spawn("early", work)
