"""Tells waiting tasks that there is something new, without a queue that could overflow."""

from __future__ import annotations

import asyncio


class Wakeup:
    """A bell. Rings merge; a ring while nobody listens is kept for the next one who waits. One listener."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake the listener, now or when it next waits."""
        self._event.set()

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for a ring; say whether one came before the time was over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Broadcast:
    """A bell heard by everyone who waits at the time; `version` tells a late-comer that it missed a ring."""

    def __init__(self) -> None:
        self.version = 0
        # A dict for its order: who waits longest is woken first, in every run alike.
        self._waiting: dict[asyncio.Future[bool], None] = {}

    def ring(self) -> None:
        """Wake all who wait."""
        self.version += 1
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            _resolve(waiter, True)

    async def wait(self, seen_version: int, timeout_s: float | None) -> bool:
        """Return at once if it rang since `seen_version`, else wait; say whether it rang before the time was over."""
        if self.version != seen_version:
            return True
        # By hand, because thousands wait for one ring, and a timeout around an event costs three times as much.
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiting[waiter] = None
        timer = None if timeout_s is None else loop.call_later(timeout_s, _resolve, waiter, False)
        try:
            return await waiter
        finally:
            self._waiting.pop(waiter, None)
            if timer is not None:
                timer.cancel()


def _resolve(waiter: asyncio.Future[bool], has_rung: bool) -> None:
    if not waiter.done():
        waiter.set_result(has_rung)
