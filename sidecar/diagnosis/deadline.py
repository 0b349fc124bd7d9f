"""Answer in time: a check that takes longer than the caller waits is told as not finished, and the rest as not asked."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sidecar.aio.clock import Clock
from sidecar.diagnosis.results import failed
from sidecar.errors import GraphUnavailable, SidecarError
from sidecar.model.check import CheckResult

T = TypeVar("T")


class Deadline:
    """When a question is to be answered."""

    def __init__(self, clock: Clock, budget_s: float) -> None:
        self._clock = clock
        self._ends_s = clock.monotonic() + budget_s

    @property
    def left_s(self) -> float:
        """Seconds left; never less than none."""
        return max(0.0, self._ends_s - self._clock.monotonic())

    async def telling(self, check_id: str, check: Coroutine[Any, Any, CheckResult]) -> CheckResult:
        """Run a check that tells its own result; see `asking`."""
        return await self.asking(check_id, check)

    async def asking(self, check_id: str, check: Coroutine[Any, Any, T]) -> T | CheckResult:
        """Run a check; it failed if it raises, or does not end in time (Any: nothing is sent or yielded)."""
        try:
            async with asyncio.timeout(self.left_s):
                return await check
        except SidecarError as error:
            return failed(check_id, error, now=self._clock.now())
        except TimeoutError:
            late = GraphUnavailable("the time of the call was over before Exchange answered")
            message = "The time of the call was over before Exchange answered."
            return failed(check_id, late, now=self._clock.now(), message=message)
