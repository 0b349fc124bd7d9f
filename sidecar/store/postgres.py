"""PostgreSQL: several processes on one database, each with a pool of connections.

A write is one READ COMMITTED transaction; `store/locks.py` says what keeps writers of one tenant apart. Those that meet
nevertheless are run again here. A read is one snapshot. Once a write was handed over it happens, even if its caller leaves.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from random import Random
from typing import Any, TypeVar, cast

import asyncpg
import structlog
from asyncpg.pool import PoolAcquireContext

from sidecar.aio.backoff import backoff_s
from sidecar.aio.clock import Clock, SystemClock
from sidecar.errors import SettingsInvalid, SidecarError, StoreUnavailable
from sidecar.store.engine import Row, Transaction, Value
from sidecar.store.postgres_bell import Bell
from sidecar.store.postgres_clock import DatabaseClock
from sidecar.store.postgres_link import TROUBLE, Link, Raw, is_race, translate
from sidecar.telemetry.tracing import carried

T = TypeVar("T")
log = structlog.get_logger(__name__)

_BEGIN_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TRIES_MAX = 10
_RACE_BASE_S, _RACE_CAP_S = 0.005, 0.2
_CONNECTION_WAIT_S = 30.0
"""A transaction that finds no free connection for so long fails: the database is far too slow for what is asked of it."""
_ROLL_BACK_S = 2.0
_CLOSE_S = 10.0
_STATUS_COUNT = re.compile(r"(\d+)$")


class _Connection:
    """A `Connection` on PostgreSQL."""

    row_lock = "FOR NO KEY UPDATE"  # the key stays readable for foreign keys, so marks go on beside it

    def __init__(self, raw: Raw, now: datetime) -> None:
        self._raw = raw
        self.now = now
        self.trace = carried()  # each transaction runs in its caller's task, or in one that began as a copy of it
        self.announcements: list[tuple[str, str]] = []

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        return cast("Sequence[Row]", await self._raw.fetch(sql, *_storable(values)))  # a record is as good as a tuple

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        return cast("Row | None", await self._raw.fetchrow(sql, *_storable(values)))  # as in fetch

    async def execute(self, sql: str, *values: Value) -> int:
        count = _STATUS_COUNT.search(await self._raw.execute(sql, *_storable(values)))
        return 0 if count is None else int(count[1])

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        found = [_storable(row) for row in rows]
        if found:
            await self._raw.executemany(sql, found)

    def announce(self, channel: str, payload: str) -> None:
        self.announcements.append((channel, payload))


def _storable(values: Sequence[Value]) -> Sequence[Value]:
    """Return values with what PostgreSQL's texts cannot hold, the character NUL, replaced by U+FFFD."""
    for value in values:
        if isinstance(value, str) and "\0" in value:
            return [each.replace("\0", "\ufffd") if isinstance(each, str) else each for each in values]
    return values


class PostgresEngine:
    """One PostgreSQL database. Use from one event loop; `open` it first, and keep `run` running.

    Args:
        clock: what transactions tell as their time; None: the database's own, which is then `clock`.
    """

    def __init__(self, link: Link, *, connections_max: int, clock: Clock | None, rng: Random) -> None:
        self._link = link
        self._connections_max = connections_max
        database_clock = DatabaseClock() if clock is None else None
        self._database_clock = database_clock
        self.clock: Clock = clock or database_clock or SystemClock()
        self._rng = rng
        self.bell = Bell(link, clock=SystemClock(), database_clock=database_clock, rng=rng)
        self._pool: asyncpg.Pool | None = None
        self._writes: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    async def open(self) -> None:
        """Connect; the schema is `migrate.py`'s business.

        Raises:
            StoreUnavailable: the database cannot be reached, or does not let us in.
            SettingsInvalid: the connection URI cannot be used.
        """
        try:
            self._pool = await asyncpg.create_pool(
                connect=self._connect, min_size=1, max_size=self._connections_max, reset=_keep_as_it_is
            )
            if self._database_clock is not None:
                async with self._pool.acquire() as raw:
                    await self._database_clock.measure(raw)
        except TROUBLE as error:
            raise translate(error, "let us in") from error

    async def _connect(self, *_: object, **__: object) -> asyncpg.Connection:
        try:
            return await self._link.connect()
        except SettingsInvalid as error:
            if self._pool is None:
                raise
            # It was in order at the start: for those who ask now this is an outage like another.
            raise StoreUnavailable("the file with the database's URI cannot be used") from error

    @property
    def is_rolled_back(self) -> bool:
        """See `Engine.is_rolled_back`; a server restored to an earlier point looks like any other."""
        return False

    @property
    def version(self) -> int | None:
        """See `Engine.version`. Others write too."""
        return None

    async def write(self, transaction: Transaction[T]) -> T:
        """See `Engine.write`."""
        self._check_open()
        # A task of its own, in no group: it outlives a caller that leaves, and what it fails with is its caller's only.
        task = asyncio.get_running_loop().create_task(self._write(transaction))
        self._writes.add(task)  # the loop itself would forget it
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:  # Any: a transaction may return anything
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, or the loop would write a driver's words to the log when the caller has left

    async def _write(self, transaction: Transaction[T]) -> T:
        try:
            for attempt in range(1, _TRIES_MAX):
                try:
                    return await self._write_once(transaction)
                except asyncpg.PostgresError as error:
                    if not is_race(error):
                        raise
                    log.info("store.met_another", sqlstate=error.sqlstate, attempt=attempt)
                await asyncio.sleep(  # noqa: TID251  (the machine's time, whatever clock the transactions are told)
                    backoff_s(attempt, base_s=_RACE_BASE_S, cap_s=_RACE_CAP_S, rng=self._rng)
                )
            return await self._write_once(transaction)
        except TROUBLE as error:
            raise translate(error, "commit") from error
        except BaseException as error:
            if not isinstance(error, SidecarError | asyncio.CancelledError):
                log.error("store.transaction_failed", exc_info=error)
            raise

    async def _write_once(self, transaction: Transaction[T]) -> T:
        async with self._acquire() as raw:
            connection = _Connection(raw, self.clock.now())
            async with _transaction(raw, _BEGIN_WRITE):
                result = await transaction(connection)
        self.bell.ring(connection.announcements)
        return result

    async def read(self, transaction: Transaction[T]) -> T:
        """See `Engine.read`."""
        self._check_open()
        try:
            async with self._acquire() as raw, _transaction(raw, _BEGIN_READ):
                return await transaction(_Connection(raw, self.clock.now()))
        except TROUBLE as error:
            raise translate(error, "answer") from error

    def _acquire(self) -> PoolAcquireContext:
        assert self._pool is not None, "open() comes first"
        return self._pool.acquire(timeout=_CONNECTION_WAIT_S)

    def listen(self, channel: str, listener: Callable[[str], None]) -> Callable[[], None]:
        """See `Engine.listen`."""
        return self.bell.listen(channel, listener)

    async def run(self) -> None:
        """See `Engine.run`."""
        await self.bell.run()

    async def scrub(self) -> None:
        """See `Engine.scrub`. Nothing to do that a client may: dead rows are overwritten after the next vacuum.

        The write-ahead log and backups keep them for as long as the database's operator set; secrets in them are sealed.
        """

    async def close(self) -> None:
        """See `Engine.close`. Closing again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._writes:
            await asyncio.wait(self._writes, timeout=_CLOSE_S)
        if self._pool is not None:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await self._pool.close()
            except TROUBLE:
                self._pool.terminate()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("the database is closed")


async def _keep_as_it_is(_: asyncpg.Connection) -> None:
    """Give a connection back without statements that reset it: nothing here sets anything that outlives a transaction."""


@asynccontextmanager
async def _transaction(raw: Raw, begin: str) -> AsyncIterator[None]:
    """Commit what is done inside, or roll it back."""
    await raw.execute(begin)
    try:
        yield
        # A transaction that swallowed an error of the database is answered with a roll-back.
        if await raw.execute("COMMIT") != "COMMIT":
            raise StoreUnavailable("the database did not commit: a statement before had failed")
    except BaseException:
        await _roll_back(raw)
        raise


async def _roll_back(raw: Raw) -> None:
    """Leave a connection without a transaction, or without a connection."""
    if raw.is_closed() or not raw.is_in_transaction():
        return
    try:
        async with asyncio.timeout(_ROLL_BACK_S):
            await raw.execute("ROLLBACK")
    except TROUBLE:
        raw.terminate()
