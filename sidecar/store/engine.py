"""What the store asks of a database, so that each query is written once.

A transaction is an async function over a `Connection`. An engine with a network driver awaits it; SQLite drives it to its
end inside one thread, since its connection never really waits. Statements are written with $1, $2, ... and in the part of
SQL that SQLite and PostgreSQL share.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

Value = str | bytes | int | None
Row = tuple[Any, ...]
"""A row as the driver gives it; `store/rows.py` is where it gets its types (Any: a driver's rows have none)."""


class Connection(Protocol):
    """A connection inside a transaction."""

    @property
    def now(self) -> datetime:
        """The time of the transaction. With several processes it is the database's, so that they agree."""

    @property
    def row_lock(self) -> str:
        """What ends a SELECT that keeps its rows from other writers until the commit; empty where writers are alone."""

    @property
    def trace(self) -> str | None:
        """Context of the trace that the transaction is a part of, to be kept with what it causes; None: it is not traced."""

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        """Return all rows."""

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """Return the first row, or None."""

    async def execute(self, sql: str, *values: Value) -> int:
        """Run a statement; return how many rows it touched."""

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run a statement once for each row of values."""

    def announce(self, channel: str, payload: str) -> None:
        """Tell listeners of all processes after the commit, and only then."""


Transaction = Callable[[Connection], Awaitable[T]]


class Engine(Protocol):
    """A database."""

    @property
    def version(self) -> int | None:
        """A number that differs once anything was written; None while a write is under way or others may write too.

        What was read after seeing a number, and not None, is what a read would give for as long as the number stays.
        """

    @property
    def is_rolled_back(self) -> bool:
        """Whether the database, when it was opened, was found in an earlier state than it had been in; until the first write.

        False also where an engine cannot tell; then operators renew the epoch (`exchange-sidecar epoch renew`).
        """

    async def write(self, transaction: Transaction[T]) -> T:
        """Run a transaction that may write; it is committed when this returns, or nothing of it happened.

        It may be run more than once before it is committed, so it does nothing but ask its connection and compute. Where
        several write at once, one that reads before it writes begins with a function of `store/locks.py`.

        Raises:
            StoreUnavailable: the database did not do it.
        """

    async def read(self, transaction: Transaction[T]) -> T:
        """Run a transaction that sees one consistent state and writes nothing."""

    def listen(self, channel: str, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener` with the payload of each announcement on a channel; the result ends it.

        The payload is empty when announcements of other processes may have been missed: anything may be new.
        """

    async def run(self) -> None:
        """Do what has to go on while the database is in use (hearing other processes); until cancelled."""

    async def scrub(self) -> None:
        """Make sure that what was deleted is gone from the files, too."""

    async def close(self) -> None:
        """Finish what is under way and close."""


class EngineAround:
    """An engine around another, which it is like but for what a subclass does otherwise."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner

    @property
    def version(self) -> int | None:
        """See `Engine.version`."""
        return self._inner.version

    @property
    def is_rolled_back(self) -> bool:
        """See `Engine.is_rolled_back`."""
        return self._inner.is_rolled_back

    async def write(self, transaction: Transaction[T]) -> T:
        """See `Engine.write`."""
        return await self._inner.write(transaction)

    async def read(self, transaction: Transaction[T]) -> T:
        """See `Engine.read`."""
        return await self._inner.read(transaction)

    def listen(self, channel: str, listener: Callable[[str], None]) -> Callable[[], None]:
        """See `Engine.listen`."""
        return self._inner.listen(channel, listener)

    async def run(self) -> None:
        """See `Engine.run`."""
        await self._inner.run()

    async def scrub(self) -> None:
        """See `Engine.scrub`."""
        await self._inner.scrub()

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._inner.close()


def places(values: Sequence[Value], *, first: int) -> str:
    """Return what stands between the brackets of IN: the parameters from number `first` on, or NULL for none of them."""
    return ", ".join(f"${place}" for place in range(first, first + len(values))) or "NULL"


_SIZES = (1, 20, 100, 500)
"""Each number of places makes a statement of its own, which a database prepares and remembers; so there are few."""


def padded(ids: Sequence[str]) -> list[str]:
    """Repeat the last of some ids until there are as many as one of few statements with IN has places for; 500 at most."""
    size = next((size for size in _SIZES if size >= len(ids)), len(ids)) if ids else 0
    return [*ids, *list(ids[-1:]) * (size - len(ids))]
