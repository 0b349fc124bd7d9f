"""The only place where this package waits. Tests hand in their own and never wait for real time."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Clock(Protocol):
    """How the async client waits. Both pauses and watchdogs are made of time-outs."""

    def monotonic(self) -> float:
        """Give seconds since some fixed moment; never goes back."""
        ...

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """Cancel the block after so many seconds and raise TimeoutError from it, like `asyncio.timeout`."""
        ...


class SyncClock(Protocol):
    """How the sync client waits."""

    def monotonic(self) -> float:
        """Give seconds since some fixed moment; never goes back."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for the event, at most so many seconds; say whether it came."""
        ...


class SystemClock:
    """Real time: the default of both clients."""

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """See `Clock`."""
        return asyncio.timeout(seconds)

    def monotonic(self) -> float:
        """See `Clock` and `SyncClock`."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """See `SyncClock`."""
        return event.wait(seconds)
