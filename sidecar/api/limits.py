"""How much one caller may ask for, so that none can take the places of another.

Counted for callers that are known by name. Whoever a trusted listener lets in without one has only the limits of the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sidecar.aio.budget import Budget
from sidecar.aio.clock import Clock
from sidecar.errors import CallerLimit
from sidecar.settings import GrpcSettings

_RETRY_S = 1.0
"""When to call again where only the end of another call makes room; nobody knows when that is."""


@dataclass(slots=True)
class _Usage:
    budget: Budget
    calls_count: int = 0
    waiting_count: int = 0


class CallerLimits:
    """The limits of each caller, and what it uses of them."""

    def __init__(self, settings: GrpcSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._usages: dict[str, _Usage] = {}  # as many as there were ids in the callers file

    @contextmanager
    def counted(self, caller: str, *, is_waiting: bool) -> Iterator[None]:
        """Count a call of a caller while inside.

        Args:
            caller: its id; empty: one that has no limits of its own.
            is_waiting: it is a watch, or may wait as one does.
        Raises:
            CallerLimit: it is not counted.
        """
        if not caller:
            yield
            return
        usage = self._usages.get(caller)
        if usage is None:
            per_s = self._settings.caller_calls_per_s
            usage = self._usages[caller] = _Usage(Budget(most=max(1.0, per_s), per_s=per_s, clock=self._clock))
        self._admit(usage, is_waiting=is_waiting)
        usage.calls_count += not is_waiting
        usage.waiting_count += is_waiting
        try:
            yield
        finally:
            usage.calls_count -= not is_waiting
            usage.waiting_count -= is_waiting

    def _admit(self, usage: _Usage, *, is_waiting: bool) -> None:
        settings = self._settings
        if is_waiting and usage.waiting_count >= settings.caller_watches_max:
            raise _refusal("caller_watches_max", settings.caller_watches_max, _RETRY_S)
        if not is_waiting and usage.calls_count >= settings.caller_calls_max:
            raise _refusal("caller_calls_max", settings.caller_calls_max, _RETRY_S)
        wait_s = usage.budget.take()
        if wait_s:
            raise _refusal("caller_calls_per_s", settings.caller_calls_per_s, wait_s)


def _refusal(limit: str, value: float, retry_after_s: float) -> CallerLimit:
    return CallerLimit(
        f"the caller is over its limit {limit}",
        retry_after_s=retry_after_s,
        details={"limit": limit, limit: f"{value:g}"},
    )
