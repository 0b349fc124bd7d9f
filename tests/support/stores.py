"""Stores for tests: real ones on temporary files, a codec of their own, and clocks that obey.

Two ways to run the same engine. `open_store` runs it as it is, with its threads. `stepped=` runs its work on the loop's own
thread, a random number of turns later: then everything that happens follows from one seed, and a schedule can be replayed.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import shutil
import tempfile
import warnings
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import looptime
import pytest

from sidecar.aio.clock import Clock, LoopClock
from sidecar.feed.feed import Feed
from sidecar.model.attendance import Attendance
from sidecar.model.booking import Booking
from sidecar.model.ids import Mailbox, RoomId, TenantId, TenantUid
from sidecar.model.plan import Applied
from sidecar.model.privacy import Privacy, Visibility
from sidecar.model.room import Room, freshness_limits
from sidecar.model.tenant import Tenant
from sidecar.model.window import Window
from sidecar.settings import SyncSettings, WatchSettings
from sidecar.store.engine import Engine, Row, Value
from sidecar.store.migrate import migrate_sqlite
from sidecar.store.postgres import PostgresEngine
from sidecar.store.postgres_link import Link
from sidecar.store.room_edits import NewAddress, RoomEdit
from sidecar.store.rooms import RoomMapping
from sidecar.store.sqlite import SqliteEngine
from sidecar.store.store import Store
from sidecar.store.vault import Vault
from sidecar.telemetry.metrics import Telemetry
from tests.support import postgres
from tests.support.builders import HORIZON, NOW, TENANT, complete_read, make_mapping, make_registration, towards

T = TypeVar("T")

ENGINES = ("sqlite", "postgres")
"""What the conformance suite runs over."""


class JsonCodec:
    """Bookings as JSON, so that the store is tested without the API."""

    def encode(self, booking: Booking, *, room_name: str, revision: int, digest: bytes) -> bytes:
        """Return the encoded booking."""
        shown = {
            "name": f"{room_name}/bookings/{booking.key}",
            "room": room_name,
            "key": booking.key,
            "start": booking.start_at.isoformat(),
            "end": booking.end_at.isoformat(),
            "state": int(booking.state),
            "subject": booking.subject,
            "digest": digest.hex(),
            "revision": revision,
        }
        return json.dumps(shown, sort_keys=True).encode()

    def restrict(self, body: bytes, *, privacy: Privacy, hash_key: bytes) -> tuple[bytes, bytes]:
        """Return an encoded booking without its subject, unless that is to be kept, and its digest."""
        shown = json.loads(body)
        if privacy.subject is not Visibility.STORED:
            shown |= {"subject": "", "digest": hashlib.sha256(shown["key"].encode()).hexdigest()[:32]}
        return json.dumps(shown, sort_keys=True).encode(), bytes.fromhex(shown["digest"])

    def attend(self, body: bytes, attendance: Attendance) -> tuple[bytes, bytes]:
        """Return an encoded booking with our own data in it, and its digest."""
        shown = json.loads(body)
        known = attendance.of(datetime.fromisoformat(shown["end"]))
        shown["attendance"] = None if known is None else repr(known)
        digest = hashlib.blake2b(json.dumps([shown["key"], shown["attendance"]]).encode(), digest_size=16)
        return json.dumps(shown | {"digest": digest.hexdigest()}, sort_keys=True).encode(), digest.digest()

    def stamp(self, body: bytes, *, revision: int) -> bytes:
        """Return an encoded booking with another revision."""
        return json.dumps(json.loads(body) | {"revision": revision}, sort_keys=True).encode()


def decoded(body: bytes) -> dict[str, Any]:
    """Read what JsonCodec wrote (Any: JSON of our own making)."""
    shown: dict[str, Any] = json.loads(body)
    return shown


class ManualClock:
    """A calendar that stands still until the test moves it."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def now(self) -> datetime:
        """Return the test's time."""
        return self.at

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.at += timedelta(seconds=seconds)

    def monotonic(self) -> float:
        """Return seconds since NOW."""
        return (self.at - NOW).total_seconds()

    async def sleep(self, duration_s: float) -> None:
        """Move on instead of waiting."""
        self.advance(duration_s)
        await asyncio.sleep(0)


class TickingClock(LoopClock):
    """Follows the loop's virtual time; each question is a little later than the one before, as in life.

    Ids that sort by time are then in the order of their making, whatever random part they have.
    """

    def __init__(self) -> None:
        super().__init__(NOW)
        self._ticks = 0

    def now(self) -> datetime:
        """Return a new instant."""
        self._ticks += 1
        return super().now() + timedelta(microseconds=self._ticks)


class SteppedExecutor(Executor):
    """Runs jobs in order on the loop's thread, each a random number of the loop's turns after the one before."""

    def __init__(self, rng: Random, turns: tuple[int, ...] = (0, 0, 0, 1, 2, 7)) -> None:
        self._rng = rng
        self._turns = turns
        self._queue: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue a job (Any: those of the base class)."""
        future: Future[T] = Future()
        self._queue.append((future, functools.partial(fn, *args, **kwargs)))
        if len(self._queue) == 1:
            self._step(self._rng.choice(self._turns))
        return future

    def _step(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns > 0:
            loop.call_soon(self._step, turns - 1)
        else:
            loop.call_soon(self._run)

    def _run(self) -> None:
        future, job = self._queue[0]
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)
        self._queue.popleft()
        if self._queue:
            self._step(self._rng.choice(self._turns))


class SteppedEngine(SqliteEngine):
    """The SQLite engine without threads."""

    def __init__(self, path: Path, *, clock: Clock, rng: Random) -> None:
        super().__init__(path, synchronous="OFF", busy_s=0.0, clock=clock)
        self._writer.shutdown()
        self._reader.shutdown()
        self._writer = SteppedExecutor(rng)  # type: ignore[assignment]  # any executor does
        self._reader = SteppedExecutor(rng)  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store in use, and shortcuts for what most tests need."""

    store: Store
    engine: Engine
    clock: Clock
    path: Path
    """The SQLite file, or the file with the URI of the PostgreSQL."""

    @property
    def sqlite(self) -> SqliteEngine:
        """The engine of a store on SQLite, for what is SQLite's own."""
        assert isinstance(self.engine, SqliteEngine)
        return self.engine

    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        """Run a query of the test's own."""

        async def run(c: Any) -> list[Row]:  # a connection of any engine
            return list(await c.fetch(sql, *values))

        return await self.engine.read(run)

    async def tables(self) -> list[str]:
        """Return the names of all tables."""
        from_catalogue = (
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            if isinstance(self.engine, PostgresEngine)
            else "SELECT name FROM sqlite_master WHERE type = 'table'"
        )
        return [str(row[0]) for row in await self.fetch(from_catalogue)]

    async def execute(self, sql: str, *values: Value) -> None:
        """Run a statement of the test's own."""

        async def run(c: Any) -> None:  # as in fetch
            await c.execute(sql, *values)

        await self.engine.write(run)

    async def add_tenant(self, tenant_id: str = TENANT) -> Tenant:
        """Register a tenant."""
        return await self.store.tenants.register(make_registration(tenant_id))

    async def add_room(self, room_id: str = "r1", *, tenant_id: TenantId = TENANT) -> Room:
        """Map a room that has not been read."""
        return await self.map_room(make_mapping(room_id), tenant_id=tenant_id)

    async def map_room(self, mapping: RoomMapping, *, tenant_id: TenantId = TENANT) -> Room:
        """Map a room; it must work."""
        (outcome,) = await self.store.rooms.map_all(tenant_id, [mapping])
        assert isinstance(outcome, Room), outcome
        return outcome

    async def fill(self, room: Room, *bookings: Booking, horizon: Window = HORIZON, resyncs: int = 0) -> Applied:
        """Read a room's whole calendar, which holds these bookings."""
        wanted = {booking.key: booking for booking in bookings}
        complete = complete_read(horizon, began_at=self.clock.now(), resyncs=resyncs)
        applied = await self.store.calendars.apply(room, towards(wanted), lease=None, complete=complete)
        assert applied is not None
        return applied

    async def add_filled_room(self, room_id: str = "r1", *bookings: Booking) -> Room:
        """Map a room and read it for the first time."""
        room = await self.add_room(room_id)
        await self.fill(room, *bookings)
        return await self.reload(room)

    async def reload(self, room: Room) -> Room:
        """Load a room as it is now."""
        return await self.store.rooms.load(room.tenant_id, RoomId(room.room_id))

    async def readdress(self, room: Room, mailbox: str, *, is_same_mailbox: bool, object_id: str | None = None) -> Room:
        """Give a room another address, of its own mailbox or of another one."""
        new = NewAddress(mailbox=Mailbox(mailbox), object_id=object_id, is_same_mailbox=is_same_mailbox)
        return await self.store.rooms.update(room, RoomEdit(address=new), etag="")

    async def tenant_uid(self, tenant_id: TenantId = TENANT) -> TenantUid:
        """Return our id of a tenant."""
        return (await self.store.tenants.load(tenant_id)).uid

    async def head(self, tenant_id: TenantId = TENANT) -> int:
        """Return the revision of a tenant's newest entry."""
        _, head = await self.store.changes.tenant_head(tenant_id)
        return head.revision

    def bytes_at_rest(self) -> bytes:
        """Return everything that the database keeps on disk."""
        if isinstance(self.engine, PostgresEngine):
            return postgres.server().bytes_at_rest(postgres.name_of(self.path))
        return b"".join(file.read_bytes() for file in sorted(self.path.parent.glob(f"{self.path.name}*")))


@functools.cache
def _template() -> bytes:
    """Return an empty migrated database; Alembic takes longer than most tests."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "template.sqlite3"
        migrate_sqlite(path)
        return path.read_bytes()


def make_vault() -> Vault:
    """Return a vault with one key."""
    return Vault(primary="k1", keys={"k1": bytes(range(32))})


def provide(path: Path) -> None:
    """Make an empty migrated database, unless there is one."""
    if not path.exists():
        path.write_bytes(_template())


@asynccontextmanager
async def open_store(
    path: Path, *, clock: Clock, stepped: Random | None = None, busy_s: float = 0.05, synchronous: str = "OFF"
) -> AsyncIterator[OpenStore]:
    """Open a store on a file, made when missing; `stepped` runs it without threads, at times chosen by this generator."""
    provide(path)
    if stepped is None:
        engine: SqliteEngine = SqliteEngine(path, synchronous=synchronous, busy_s=busy_s, clock=clock)
    else:
        engine = SteppedEngine(path, clock=clock, rng=stepped)
    await engine.open()
    store = Store(engine, vault=make_vault(), codec=JsonCodec())
    try:
        await store.epochs.renew_if_rolled_back()
        yield OpenStore(store, engine, clock, path)
    finally:
        await engine.close()


@asynccontextmanager
async def open_postgres(dsn_file: Path, *, clock: Clock | None, connections_max: int = 8) -> AsyncIterator[OpenStore]:
    """Open a store on a PostgreSQL, and hear what others announce there; without a clock it goes by the database's."""
    link = Link(dsn_file, statement_s=5.0, lock_s=5.0)
    engine = PostgresEngine(link, connections_max=connections_max, clock=clock, rng=Random(1))
    await engine.open()
    hearing = asyncio.ensure_future(engine.run())
    await engine.bell.hears.wait()
    try:
        yield OpenStore(Store(engine, vault=make_vault(), codec=JsonCodec()), engine, engine.clock, dsn_file)
    finally:
        hearing.cancel()
        await asyncio.wait([hearing])
        await engine.close()


@asynccontextmanager
async def open_any(kind: str, folder: Path, *, clock: Clock) -> AsyncIterator[OpenStore]:
    """Open an empty store on one of ENGINES."""
    if kind == "sqlite":
        async with open_store(folder / "exchange.sqlite3", clock=clock) as opened:
            yield opened
        return
    assert kind == "postgres", kind
    with postgres.database() as dsn_file:
        async with open_postgres(dsn_file, clock=clock) as opened:
            yield opened


@asynccontextmanager
async def beside(opened: OpenStore, *, clock: Clock) -> AsyncIterator[OpenStore]:
    """Open the same database once more, as another process would; SQLite lets nobody else in, so there it is the same."""
    if not isinstance(opened.engine, PostgresEngine):
        yield opened
        return
    async with open_postgres(opened.path, clock=clock) as other:
        yield other


@asynccontextmanager
async def open_feed(
    store: Store,
    *,
    clock: Clock,
    seed: int = 0,
    watches_max: int = 100,
    telemetry: Telemetry | None = None,
    **settings: Any,
) -> AsyncIterator[Feed]:
    """Run a feed over a store (Any: each setting has a type of its own)."""
    feed = Feed(
        store=store,
        identity=await store.identity(),
        settings=WatchSettings(**settings),
        limits=freshness_limits(SyncSettings()),
        watches_max=watches_max,
        clock=clock,
        rng=Random(seed),
        telemetry=telemetry or Telemetry(),
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(feed.run())
        try:
            yield feed
        finally:
            running.cancel()


def run_virtually(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a loop of its own whose time is virtual (Any: nothing is sent or yielded)."""
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return runner.run(main())


@pytest.fixture(autouse=True, scope="session")
def no_stray_loop() -> None:
    """Close the loop that asyncio makes for a thread whoever asks first; the plugin for virtual time asks before sync tests.

    Nobody else would close it, and warnings are errors.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            return
    loop.close()
    asyncio.set_event_loop(None)


def put_back(backup: Path, path: Path, *, with_mark: bool) -> None:
    """Copy a file over a closed database, as an operator does who knows of no command for it.

    Args:
        with_mark: what lies beside the database stays; else it comes to an empty folder.
    """
    for file in path.parent.glob(f"{path.name}*"):
        if not (with_mark and file.suffix == ".highwater"):
            file.unlink()
    shutil.copy(backup, path)
