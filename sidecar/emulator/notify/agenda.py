"""Moments at which something is to be looked at, with as few timers as possible.

An agenda holds no state of its own: it can be emptied and filled again from the data it points to, and an errand whose
reason has gone does nothing.
"""

import heapq
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from functools import partial

from sidecar.emulator.exchange.world import World


class Errand(Enum):
    """What is to be looked at."""

    LANE = "lane"
    ENDPOINT = "endpoint"
    SUBSCRIPTION = "subscription"
    UNAUTHORIZED = "unauthorized"


class Agenda:
    """Carries out errands when their moment has come, the earliest first."""

    def __init__(self, *, world: World, act: Callable[[Errand, str], None]) -> None:
        self._world = world
        self._act = act
        self._due: list[tuple[datetime, int, Errand, str]] = []
        self._armed: list[datetime] = []
        self._count = 0
        self._is_acting = False

    def add(self, at: datetime, errand: Errand, key: str) -> None:
        """Have an errand run at a moment, or soon if it has passed; `key` says on what."""
        self._count += 1
        heapq.heappush(self._due, (at, self._count, errand, key))
        self._arm()

    def clear(self) -> None:
        """Forget every errand and every timer."""
        self._due.clear()
        self._armed.clear()

    def _arm(self) -> None:
        if self._is_acting or not self._due:
            return
        at = self._due[0][0]
        if not self._armed or at < min(self._armed):
            self._armed.append(at)
            self._world.background.spawn(f"notify at {at.isoformat()}", partial(self._wake, at))

    async def _wake(self, at: datetime) -> None:
        await self._world.clock.sleep_until(at)
        if at in self._armed:
            self._armed.remove(at)
        self._is_acting = True
        try:
            now = self._world.now()
            while self._due and self._due[0][0] <= now:
                _, _, errand, key = heapq.heappop(self._due)
                self._act(errand, key)
        finally:
            self._is_acting = False
        self._arm()
