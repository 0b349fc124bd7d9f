"""The SQLite engine on the loop's own thread, as a process that can be killed, over a disk that can fail."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from sidecar.aio.clock import Clock
from sidecar.errors import StoreUnavailable
from sidecar.store.engine import Transaction
from tests.support.stores import SteppedEngine, SteppedExecutor

T = TypeVar("T")


class _MortalExecutor(SteppedExecutor):
    """Runs nothing more once its process is dead."""

    is_dead = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue a job (Any: those of the base class)."""
        return Future() if self.is_dead else super().submit(fn, *args, **kwargs)

    def _run(self) -> None:
        if not self.is_dead:
            super()._run()


class MortalEngine(SteppedEngine):
    """A store's engine that can be killed between any two of its steps: what was not committed is lost.

    Attributes:
        is_failing: asked before each step; while it says yes, nothing can be read or written.
        stepped: called before each transaction that may write, and after each group of them that was committed.
    """

    def __init__(self, path: Path, *, clock: Clock, rng: Random) -> None:
        super().__init__(path, clock=clock, rng=rng)
        self._executors = [_MortalExecutor(rng) for _ in range(2)]
        self._writer, self._reader = self._executors  # type: ignore[assignment]  # any executor does
        self.is_killed = False
        self.is_failing: Callable[[], bool] = lambda: False
        self.stepped: Callable[[], None] = lambda: None

    @property
    def raw(self) -> sqlite3.Connection | None:
        """The writer's connection, for tests that look into the database: everything happens on one thread."""
        return self._write_raw

    def kill(self) -> None:
        """Die at once. Whoever waits for an answer waits for ever."""
        self.is_killed = True
        for executor in self._executors:
            executor.is_dead = True
        self._is_closed = True
        # After the step that is under way, which is over in no time: a database call cannot be interrupted from within.
        asyncio.get_running_loop().call_soon(self._let_go)

    def _let_go(self) -> None:
        for raw in (self._write_raw, self._read_raw):
            if raw is not None:
                raw.close()
        if self._mark is not None:
            self._mark.close()
            self._mark = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def write(self, transaction: Transaction[T]) -> T:
        """See `Engine.write`."""
        self.stepped()
        if self.is_killed:  # by this very step: the answer never comes
            await asyncio.get_running_loop().create_future()
        return await super().write(transaction)

    def _run_group(self, jobs: list[Any]) -> None:  # Any: jobs of all result types
        if self.is_failing():
            for job in jobs:
                job.error = StoreUnavailable("the database did not commit: disk I/O error")
            return
        super()._run_group(jobs)
        self.stepped()

    def _run_read(self, transaction: Transaction[T], now: datetime) -> T:
        if self.is_failing():
            raise StoreUnavailable("the database failed: disk I/O error")
        return super()._run_read(transaction, now)
