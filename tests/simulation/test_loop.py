"""The loop that simulations run on: time jumps, and what would wait for ever ends the run."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.simulation.loop import Deadlock, run_virtually


def test_time_jumps_to_the_next_timer() -> None:
    """A day passes at once, and exactly."""

    async def main() -> float:
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(86_400.0)
        return asyncio.get_running_loop().time() - began_s

    began_s = time.perf_counter()
    assert run_virtually(main) == 86_400.0
    assert time.perf_counter() - began_s < 60.0


def test_waiting_for_what_never_comes_is_a_deadlock() -> None:
    """A program that hangs fails, instead of hanging the tests."""

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run_virtually(main)


def test_work_in_a_thread_is_refused() -> None:
    """What a thread does follows from no seed."""

    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, time.time)

    with pytest.raises(AssertionError, match="in a thread"):
        run_virtually(main)
