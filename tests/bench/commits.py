"""Changes committed per second, on each database, against a bare transaction that writes the same rows.

The product's transaction also proves its lease, reads what is stored, encodes bookings and announces. Plans are made before
the clock starts; so are the rows of the bare transaction, which are the product's own, taken from its tables. Both write to
the same database in turn, and wait for the disk at each commit.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

import asyncpg
import structlog
import uvloop

from sidecar.aio.clock import SystemClock
from sidecar.api.booking_codec import ProtoBookingCodec
from sidecar.model.ids import TenantId
from sidecar.model.intent import Lease
from sidecar.model.plan import Scope, Upsert
from sidecar.model.room import Room
from sidecar.store.engine import Connection, Engine, Row
from sidecar.store.migrate import migrate_sqlite
from sidecar.store.postgres import PostgresEngine
from sidecar.store.postgres_link import Link
from sidecar.store.postgres_migrate import migrate_postgres
from sidecar.store.sqlite import SqliteEngine
from sidecar.store.store import Store
from tests.bench.driven_server import some_bookings
from tests.bench.figures import Figure, Scale, ratio_of, spread
from tests.support import postgres
from tests.support.builders import always, complete_read, make_mapping, make_registration, upsert
from tests.support.stores import make_vault

_GOAL = 0.5
_TENANTS, _ROOMS_PER_TENANT, _BOOKINGS = 4, 4, 100
_CONNECTIONS = 10
_LEASE_S = 3_600.0
_REVISION = "UPDATE tenants SET revision = revision + $2 WHERE uid = $1 RETURNING revision"
_CHANGE_COLUMNS = "tenant_uid, revision, room_uid, kind, cause, booking_key, body, recorded_at"
_BOOKING_COLUMNS = (
    "room_uid, key, tenant_uid, start_at, end_at, takes_room, event_id, master_id, change_key, digest, body, revision"
)
_CHANGE = f"INSERT INTO changes ({_CHANGE_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
_BOOKING = (
    f"INSERT INTO bookings ({_BOOKING_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
    " ON CONFLICT (room_uid, key) DO UPDATE SET start_at = $4, end_at = $5, takes_room = $6, event_id = $7,"
    " master_id = $8, change_key = $9, digest = $10, body = $11, revision = $12"
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How changes come: so many in a transaction, for so many rooms at once."""

    name: str
    changes: int
    rooms: int
    transactions: int


_SHAPES = (
    _Shape("100 a transaction, one room", 100, 1, 40),
    _Shape("1 a transaction, one room", 1, 1, 300),
    _Shape("1 a transaction, 16 rooms of 4 tenants at once", 1, 16, 640),
)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What one transaction of the product wrote."""

    tenant_uid: str
    changes: list[Row]
    bookings: list[Row]

    def after(self, last: int) -> tuple[list[Row], list[Row]]:
        """Return the rows of changes and bookings for revisions up to `last`."""
        first = last - len(self.changes) + 1
        changes = [(row[0], revision, *row[2:]) for revision, row in enumerate(self.changes, first)]
        return changes, [(*row[:-1], revision) for revision, row in enumerate(self.bookings, first)]


class _Bare(Protocol):
    """The driver alone."""

    async def write(self, rows: _Rows) -> None:
        """Commit these rows under the next revisions."""


class _BareSqlite:
    """`sqlite3` in this thread."""

    def __init__(self, path: Path) -> None:
        self.raw = sqlite3.connect(path, isolation_level=None)
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", "cache_size=-32000"):
            self.raw.execute(f"PRAGMA {pragma}")

    async def write(self, rows: _Rows) -> None:
        self.raw.execute("BEGIN IMMEDIATE")
        values = (rows.tenant_uid, len(rows.changes))
        ((last,),) = self.raw.execute(_REVISION.replace("$", "?"), values).fetchall()
        changes, bookings = rows.after(last)
        self.raw.executemany(_CHANGE.replace("$", "?"), changes)
        self.raw.executemany(_BOOKING.replace("$", "?"), bookings)
        self.raw.execute("COMMIT")


class _BarePostgres:
    """`asyncpg`, over as many connections as the product has."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def write(self, rows: _Rows) -> None:
        async with self._pool.acquire() as raw, raw.transaction():
            changes, bookings = rows.after(await raw.fetchval(_REVISION, rows.tenant_uid, len(rows.changes)))
            await raw.executemany(_CHANGE, changes)
            await raw.executemany(_BOOKING, bookings)


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Measure both databases in each shape."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    return [*uvloop.run(_on_sqlite(folder, scale)), *_on_postgres(folder, scale)]


async def _on_sqlite(folder: Path, scale: Scale) -> list[Figure]:
    path = folder / "commits.sqlite3"
    migrate_sqlite(path)
    engine = SqliteEngine(path, synchronous="FULL", busy_s=5.0, clock=SystemClock())
    await engine.open()
    bare = _BareSqlite(path)
    try:
        return await _measure_all("SQLite", engine, bare, scale)
    finally:
        bare.raw.close()
        await engine.close()


def _on_postgres(folder: Path, scale: Scale) -> list[Figure]:
    server = postgres.Server(fsync="on", synchronous_commit="on", full_page_writes="on", autovacuum="on")
    try:
        server.start()
        dsn_file = folder / "dsn"
        dsn_file.write_text(server.dsn("postgres"))
        return uvloop.run(_on_database(Link(dsn_file, statement_s=10.0, lock_s=10.0), scale))
    finally:
        server.close()


async def _on_database(link: Link, scale: Scale) -> list[Figure]:
    await migrate_postgres(link)
    engine = PostgresEngine(link, connections_max=_CONNECTIONS, clock=None, rng=Random(1))
    await engine.open()
    pool = asyncpg.create_pool(link.dsn_file.read_text(), min_size=_CONNECTIONS, max_size=_CONNECTIONS)
    async with pool, asyncio.TaskGroup() as group:
        hearing = group.create_task(engine.run())
        figures = await _measure_all("PostgreSQL", engine, _BarePostgres(pool), scale)
        hearing.cancel()
    await engine.close()
    return figures


async def _measure_all(name: str, engine: Engine, bare: _Bare, scale: Scale) -> list[Figure]:
    store = Store(engine, vault=make_vault(), codec=ProtoBookingCodec())
    stage = _Stage(store, engine, await _seed(store))
    return [await _measure(name, shape, stage, bare, scale) for shape in _SHAPES]


async def _seed(store: Store) -> list[tuple[Room, Lease]]:
    """Register tenants, and map and read their rooms; neighbours in the list belong to different tenants."""
    found: list[list[tuple[Room, Lease]]] = []
    for number in range(_TENANTS):
        tenant = await store.tenants.register(make_registration(f"t{number}"))
        lease = await store.intents.take_lane(tenant.uid, owner="bench", lease_s=_LEASE_S)
        assert lease is not None, "nobody else is here"
        found.append([])
        mappings = [make_mapping(f"r{place}") for place in range(_ROOMS_PER_TENANT)]
        for room in await store.rooms.map_all(TenantId(f"t{number}"), mappings):
            assert isinstance(room, Room), room
            read = complete_read(began_at=SystemClock().now())
            items = [upsert(booking) for booking in some_bookings(0, _BOOKINGS)]
            await store.calendars.apply(room, always(*items), lease=lease, complete=read)
            found[-1].append((await store.rooms.load(room.tenant_id, room.room_id), lease))
    return [rooms[place] for place in range(_ROOMS_PER_TENANT) for rooms in found]


class _Stage:
    """The seeded rooms, and what has been written to them."""

    def __init__(self, store: Store, engine: Engine, rooms: list[tuple[Room, Lease]]) -> None:
        self._store = store
        self._engine = engine
        self._rooms = rooms
        self._version = 0

    def prepare(self, shape: _Shape) -> list[Callable[[], Awaitable[object]]]:
        """Return the transactions of a round, ready to run; each of them is news."""
        return [self._prepare_one(shape, self._rooms[number % shape.rooms]) for number in range(shape.transactions)]

    def _prepare_one(self, shape: _Shape, where: tuple[Room, Lease]) -> Callable[[], Awaitable[object]]:
        self._version += 1
        items: list[Upsert] = [upsert(booking) for booking in some_bookings(self._version, shape.changes)]
        # A notified booking is read by its event; more than a few are read with the whole room.
        scope = Scope(event_ids=(items[0].booking.event_id,), keys=()) if shape.changes == 1 else None
        room, lease = where
        return lambda: self._store.calendars.apply(room, always(*items), lease=lease, scope=scope)

    async def rows(self, shape: _Shape) -> list[_Rows]:
        """Return what the latest transaction of each room wrote."""

        async def load(c: Connection) -> list[_Rows]:
            found: list[_Rows] = []
            for room, _ in self._rooms[: shape.rooms]:
                changes = await c.fetch(
                    f"SELECT {_CHANGE_COLUMNS} FROM changes WHERE room_uid = $1 ORDER BY revision DESC LIMIT $2",
                    room.uid,
                    shape.changes,
                )
                bookings = await c.fetch(
                    f"SELECT {_BOOKING_COLUMNS} FROM bookings WHERE room_uid = $1 ORDER BY revision DESC LIMIT $2",
                    room.uid,
                    shape.changes,
                )
                found.append(_Rows(room.tenant_uid, [tuple(row) for row in changes], [tuple(row) for row in bookings]))
            return found

        return await self._engine.read(load)


async def _measure(name: str, shape: _Shape, stage: _Stage, bare: _Bare, scale: Scale) -> Figure:
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    rounds_count = 3 * scale.rounds_count
    for round_number in range(-1, rounds_count):
        ours = await _changes_per_s(shape, stage.prepare(shape))
        rows = await stage.rows(shape)
        alone = await _changes_per_s(shape, [_writing(bare, rows[n % shape.rooms]) for n in range(shape.transactions)])
        if round_number >= 0:  # the first one warms up
            rates["ours"].append(ours)
            rates["bare"].append(alone)
    return Figure(
        name=f"Changes committed on {name}, {shape.name}",
        measured=f"{_median(rates['ours']):,.0f} changes/s",
        ceiling=f"bare transaction of the same rows: {_median(rates['bare']):,.0f} changes/s",
        result=f"x{spread(rates['ours'], rates['bare'])}",
        goal=f">= {_GOAL}",
        is_met=ratio_of(rates["ours"], rates["bare"]) >= _GOAL,
        ran=f"{rounds_count} rounds of {shape.transactions} transactions",
    )


def _writing(bare: _Bare, rows: _Rows) -> Callable[[], Awaitable[object]]:
    return lambda: bare.write(rows)


async def _changes_per_s(shape: _Shape, transactions: list[Callable[[], Awaitable[object]]]) -> float:
    """Run transactions, one after the other for one room, else all at once."""

    async def one(transaction: Callable[[], Awaitable[object]]) -> None:
        await transaction()

    began_s = time.perf_counter()
    if shape.rooms == 1:
        for transaction in transactions:
            await transaction()
    else:
        async with asyncio.TaskGroup() as group:
            for transaction in transactions:
                group.create_task(one(transaction))
    return shape.changes * len(transactions) / (time.perf_counter() - began_s)


def _median(rates: list[float]) -> float:
    return sorted(rates)[len(rates) // 2]
