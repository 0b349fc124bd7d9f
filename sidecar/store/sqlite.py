"""SQLite: one writer thread, one reader thread, and group commit.

All transactions that wait when the writer becomes free share one commit, each behind its own savepoint: the disk is
waited for once for all of them. A transaction that fails undoes only itself; a commit that fails fails all.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import SidecarError, StoreUnavailable
from sidecar.store.engine import Row, Transaction, Value
from sidecar.store.sqlite_files import HighWaterMark, is_behind, lock_database, next_count
from sidecar.telemetry.tracing import carried

T = TypeVar("T")
log = structlog.get_logger(__name__)

_GROUP_MAX = 64
_SCRUB_BUSY_MS = 50
"""Enough for the engine's own reads to end, little enough for the writers that wait behind."""
_SCRUB_PAUSE_S, _SCRUB_TRIES_MAX = 1.0, 300
"""Five minutes: a backup of the largest database is done long before."""


@lru_cache(maxsize=512)
def _dialect(sql: str) -> str:
    return re.sub(r"\$(\d+)", r"?\1", sql)


class _Connection:
    """A `Connection` whose awaits never suspend."""

    row_lock = ""

    def __init__(self, raw: sqlite3.Connection, now: datetime, *, trace: str | None = None) -> None:
        self._raw = raw
        self.now = now
        self.trace = trace
        self.announcements: list[tuple[str, str]] = []

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        return self._raw.execute(_dialect(sql), values).fetchall()

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        return cast("Row | None", self._raw.execute(_dialect(sql), values).fetchone())  # sqlite3 says Any

    async def execute(self, sql: str, *values: Value) -> int:
        return self._raw.execute(_dialect(sql), values).rowcount

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        self._raw.executemany(_dialect(sql), rows)

    def announce(self, channel: str, payload: str) -> None:
        self.announcements.append((channel, payload))


def _drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends to its end (Any: nothing is ever sent or yielded)."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast("T", stop.value)  # StopIteration has no type parameter
    coroutine.close()
    raise AssertionError("a transaction awaited something other than its connection")


@dataclass(slots=True)
class _Job:
    transaction: Transaction[Any]  # jobs of all result types share one queue
    now: datetime
    done: asyncio.Future[Any]
    trace: str | None
    result: Any = None
    error: BaseException | None = None
    announcements: list[tuple[str, str]] = field(default_factory=list)


class SqliteEngine:
    """One SQLite file in WAL mode. Use from one event loop; `open` it first."""

    def __init__(self, path: Path, *, synchronous: str, busy_s: float, clock: Clock) -> None:
        self._path = path
        self._synchronous = synchronous
        self._busy_s = busy_s
        self._clock = clock
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._write_raw: sqlite3.Connection | None = None
        self._read_raw: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._mark: HighWaterMark | None = None
        self._commits_count = 0
        self._is_rolled_back = False
        self._queue: deque[_Job] = deque()
        self._is_busy = False
        self._writes_count = 0
        self._is_closed = False
        self._listeners: dict[str, list[Callable[[str], None]]] = {}

    async def open(self) -> None:
        """Open the file; its schema is `migrate.py`'s business.

        Raises:
            StoreUnavailable: it cannot be opened, or another process has it.
        """
        # Two processes would work on the same rooms, and neither would hear of the other.
        self._lock = lock_database(self._path)
        loop = asyncio.get_running_loop()
        self._write_raw = await loop.run_in_executor(self._writer, self._connect, False)
        self._read_raw = await loop.run_in_executor(self._reader, self._connect, True)
        await loop.run_in_executor(self._writer, self._compare_with_mark)

    def _compare_with_mark(self) -> None:
        """Find out whether the database has gone back; go on counting from the higher of the two numbers."""
        assert self._write_raw is not None, "opened before"
        self._mark = HighWaterMark(self._path)
        count, mark = commits_count(self._write_raw), self._mark.load()
        self._is_rolled_back = count != 0 if mark is None else is_behind(count, mark)
        self._commits_count = mark if mark is not None and self._is_rolled_back else count
        if not self._is_rolled_back:
            self._mark.note(count)

    @property
    def is_rolled_back(self) -> bool:
        """See `Engine.is_rolled_back`."""
        return self._is_rolled_back

    def _connect(self, is_reader: bool) -> sqlite3.Connection:
        try:
            raw = sqlite3.connect(self._path, timeout=self._busy_s, isolation_level=None, check_same_thread=True)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot open the database: {error}") from error
        try:
            raw.execute("PRAGMA journal_mode=WAL")
            raw.execute(f"PRAGMA synchronous={self._synchronous}")
            raw.execute("PRAGMA foreign_keys=ON")
            raw.execute("PRAGMA secure_delete=ON")  # what was deleted is overwritten, not left in free pages
            raw.execute("PRAGMA cache_size=-32000")
            raw.execute("PRAGMA mmap_size=268435456")
            if is_reader:
                raw.execute("PRAGMA query_only=ON")
            else:
                # Where `scrub` writes the second file: the disk that is big enough, and perhaps the only one there is.
                folder = str(self._path.parent).replace("'", "''")
                raw.execute(f"PRAGMA temp_store_directory='{folder}'")
        except sqlite3.Error as error:
            raw.close()
            raise StoreUnavailable(f"cannot open the database: {error}") from error
        return raw

    @property
    def version(self) -> int | None:
        """See `Engine.version`. Nobody else can write: `open` locked the file."""
        return None if self._is_busy else self._writes_count

    async def write(self, transaction: Transaction[T]) -> T:
        """See `Engine.write`."""
        self._check_open()
        self._writes_count += 1
        loop = asyncio.get_running_loop()
        job = _Job(transaction, self._clock.now(), loop.create_future(), carried())
        self._queue.append(job)
        if not self._is_busy:
            self._is_busy = True
            self._submit(loop)
        return cast("T", await asyncio.shield(job.done))  # the job is committed even if the caller is cancelled

    def _submit(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs = [self._queue.popleft() for _ in range(min(len(self._queue), _GROUP_MAX))]
        loop.run_in_executor(self._writer, self._run_group, jobs).add_done_callback(lambda _: self._finish(loop, jobs))

    def _run_group(self, jobs: list[_Job]) -> None:
        raw = self._write_raw
        assert raw is not None, "open() comes first"
        try:
            _roll_back(raw)
            raw.execute("BEGIN IMMEDIATE")
            before = raw.total_changes
            for job in jobs:
                self._run_one(raw, job)
            count = self._commits_count
            if raw.total_changes != before:
                count = next_count(count)
                raw.execute(f"PRAGMA user_version={count}")
            raw.execute("COMMIT")
            self._note_commit(count)
        except BaseException as error:
            for job in jobs:
                # Also jobs that went well inside: without the commit they did not happen, whatever it was that failed.
                job.error = job.error or StoreUnavailable(f"the database did not commit: {error}")
            with suppress(sqlite3.Error):  # a roll-back that fails is made up for before the next group begins
                _roll_back(raw)

    def _note_commit(self, count: int) -> None:
        """Note in the mark how far the database has come; after the commit, or one that fails would look like a return."""
        if count != self._commits_count and self._mark is not None:
            self._mark.note(count)
            self._commits_count = count
            self._is_rolled_back = False

    def _run_one(self, raw: sqlite3.Connection, job: _Job) -> None:
        connection = _Connection(raw, job.now, trace=job.trace)
        raw.execute("SAVEPOINT job")
        try:
            job.result = _drive(cast("Coroutine[Any, Any, Any]", job.transaction(connection)))  # an async function's
            raw.execute("RELEASE job")
        except BaseException as error:
            job.error = error
            if not raw.in_transaction:  # SQLite itself rolled everything back (disk full, corruption)
                raise sqlite3.OperationalError(str(error)) from error
            raw.execute("ROLLBACK TO job")
            raw.execute("RELEASE job")
            return
        job.announcements = connection.announcements

    def _finish(self, loop: asyncio.AbstractEventLoop, jobs: list[_Job]) -> None:
        if self._queue:
            self._submit(loop)
        else:
            self._is_busy = False
        for job in jobs:
            if job.done.done():
                continue
            if job.error is None:
                job.done.set_result(job.result)
            else:
                job.done.set_exception(_translate(job.error))
                job.done.exception()  # seen: a caller that was cancelled will not ask
        # After the answers: a listener that fails must not leave callers waiting for ever.
        for job in jobs:
            if job.error is None:
                for channel, payload in job.announcements:
                    for listener in list(self._listeners.get(channel, ())):
                        listener(payload)

    async def read(self, transaction: Transaction[T]) -> T:
        """See `Engine.read`."""
        self._check_open()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, self._run_read, transaction, self._clock.now())

    def _run_read(self, transaction: Transaction[T], now: datetime) -> T:
        raw = self._read_raw
        assert raw is not None, "open() comes first"
        try:
            raw.execute("BEGIN")
            try:
                return _drive(cast("Coroutine[Any, Any, T]", transaction(_Connection(raw, now))))  # as in _run_one
            finally:
                _roll_back(raw)
        except sqlite3.Error as error:
            raise _translate(error) from error

    def listen(self, channel: str, listener: Callable[[str], None]) -> Callable[[], None]:
        """See `Engine.listen`."""
        self._listeners.setdefault(channel, []).append(listener)
        return lambda: self._listeners[channel].remove(listener)

    async def run(self) -> None:
        """See `Engine.run`. No other process writes, so there is nothing to hear."""

    async def scrub(self) -> None:
        """See `Engine.scrub`.

        The file is written anew: `secure_delete` overwrites what is deleted, but not what is left where rows lay before
        SQLite moved them to another page. Other writers wait meanwhile, about a second for 200 MB. Then the write-ahead log,
        in which all that lives on, is written back and cut. It cannot be cut while somebody reads, such as a backup; that is
        waited for here, not in the writer's thread.

        Raises:
            StoreUnavailable: somebody reads for very long, or the disk fails or is too full for a second file.
        """
        loop = asyncio.get_running_loop()
        self._check_open()
        await loop.run_in_executor(self._writer, self._write_anew)
        for _ in range(_SCRUB_TRIES_MAX):
            self._check_open()
            if await loop.run_in_executor(self._writer, self._cut_log):
                return
            await self._clock.sleep(_SCRUB_PAUSE_S)
        raise StoreUnavailable(
            "another program reads the database for so long that what was deleted cannot be scrubbed"
        )

    def _write_anew(self) -> None:
        raw = self._write_raw
        assert raw is not None, "open() comes first"
        try:
            _roll_back(raw)
            raw.execute("VACUUM")
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the database did not scrub: {error}") from error

    def _cut_log(self) -> bool:
        raw = self._write_raw
        assert raw is not None, "open() comes first"
        try:
            raw.execute(f"PRAGMA busy_timeout={_SCRUB_BUSY_MS}")
            try:
                (is_busy, _, _) = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                raw.execute(f"PRAGMA busy_timeout={round(self._busy_s * 1000)}")
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the database did not scrub: {error}") from error
        return not is_busy

    async def close(self) -> None:
        """See `Engine.close`. Closing again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        loop = asyncio.get_running_loop()
        while self._is_busy:
            await loop.run_in_executor(self._writer, lambda: None)
        for executor, raw in ((self._writer, self._write_raw), (self._reader, self._read_raw)):
            if raw is not None:
                await loop.run_in_executor(executor, raw.close)
            executor.shutdown(wait=True)
        if self._mark is not None:
            self._mark.close()
            self._mark = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("the database is closed")


class SqliteReader:
    """Reads a SQLite file beside the service that has it; blocks whoever asks. For commands."""

    def __init__(self, path: Path, *, now: datetime) -> None:
        self._path = path
        self._now = now

    async def read(self, transaction: Transaction[T]) -> T:
        """Run a transaction that writes nothing.

        Raises:
            StoreUnavailable: there is no such database, or it cannot be read.
        """
        try:
            raw = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
            try:
                raw.execute("BEGIN")
                return _drive(
                    cast("Coroutine[Any, Any, T]", transaction(_Connection(raw, self._now)))
                )  # as in _run_one
            finally:
                raw.close()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the database {self._path} cannot be read: {error}") from error


def commits_count(raw: sqlite3.Connection) -> int:
    """Return how many commits a database has seen; see `sqlite_files.py`."""
    return int(raw.execute("PRAGMA user_version").fetchone()[0])


def run_alone(raw: sqlite3.Connection, transaction: Transaction[T], *, now: datetime, count: int) -> T:
    """Run one transaction on a connection of somebody's own, and give the database this number of commits with it."""
    connection = _Connection(raw, now)
    raw.execute("BEGIN IMMEDIATE")
    try:
        result = _drive(cast("Coroutine[Any, Any, T]", transaction(connection)))  # as in _run_one
        raw.execute(f"PRAGMA user_version={count}")
        raw.execute("COMMIT")
    finally:
        _roll_back(raw)
    return result


def _roll_back(raw: sqlite3.Connection) -> None:
    if raw.in_transaction:
        raw.execute("ROLLBACK")


def _translate(error: BaseException) -> BaseException:
    if isinstance(error, sqlite3.Error):
        return StoreUnavailable(f"the database failed: {error}").with_traceback(error.__traceback__)
    if not isinstance(error, SidecarError):
        log.error("store.transaction_failed", exc_info=error)
    return error
