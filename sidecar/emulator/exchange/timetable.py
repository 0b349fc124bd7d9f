"""Waiting for moments: whatever is due at one is handed over then, with as few timers as possible.

A timetable holds no state of its own: it can be emptied, and filled again from the data it points to. Whether a thing still
counts when its moment has come is for the one it is handed to.
"""

import heapq
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

from sidecar.emulator.exchange.world import World

ThingT = TypeVar("ThingT")


class Timetable(Generic[ThingT]):
    """Hands things over when their moment has come, the earliest first, and those of one moment in the order they came."""

    def __init__(self, *, world: World, name: str, act: Callable[[ThingT], None]) -> None:
        """Build an empty timetable.

        Args:
            name: of what waits, for the names of its timers.
            act: takes a thing that is due; it may add others.
        """
        self._world = world
        self._name = name
        self._act = act
        self._due: list[tuple[datetime, int, ThingT]] = []
        self._armed: list[datetime] = []
        self._count = 0
        self._is_acting = False

    def add(self, at: datetime, thing: ThingT) -> None:
        """Hand a thing over at a moment, or soon if it has passed."""
        self._count += 1
        heapq.heappush(self._due, (at, self._count, thing))
        self._arm()

    def clear(self) -> None:
        """Forget everything that waits, and every timer."""
        self._due.clear()
        self._armed.clear()

    def _arm(self) -> None:
        if self._is_acting or not self._due:
            return
        at = self._due[0][0]
        if not self._armed or at < min(self._armed):
            self._armed.append(at)
            self._world.background.spawn(f"{self._name} at {at.isoformat()}", partial(self._wake, at))

    async def _wake(self, at: datetime) -> None:
        await self._world.clock.sleep_until(at)
        if at in self._armed:
            self._armed.remove(at)
        self._is_acting = True
        try:
            now = self._world.now()
            while self._due and self._due[0][0] <= now:
                self._act(heapq.heappop(self._due)[2])
        finally:
            self._is_acting = False
        self._arm()
