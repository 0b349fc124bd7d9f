"""What is PostgreSQL's own: processes that hear each other, connections that break, waits that end, secrets that stay."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trustme

from sidecar.errors import SettingsInvalid, StoreUnavailable
from sidecar.model.ids import Mailbox, RoomId, TenantId, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.store.engine import Connection
from sidecar.store.postgres import PostgresEngine
from sidecar.store.postgres_clock import DatabaseClock
from sidecar.store.postgres_link import Link, read_dsn
from tests.support import postgres
from tests.support.builders import CANARY, TENANT, make_booking, make_mapping
from tests.support.processes import eventually
from tests.support.stores import ManualClock, OpenStore, beside, open_postgres

LANE = TenantUid("lane")


@pytest.fixture
def dsn_file() -> Iterator[Path]:
    with postgres.database() as made:
        yield made


@pytest.fixture
async def opened(dsn_file: Path) -> AsyncIterator[OpenStore]:
    async with open_postgres(dsn_file, clock=ManualClock()) as opened:
        yield opened


@asynccontextmanager
async def engine_on(dsn_file: Path, *, statement_s: float = 5.0, lock_s: float = 5.0) -> AsyncIterator[PostgresEngine]:
    """Open an engine of the test's own, which hears nobody."""
    link = Link(dsn_file, statement_s=statement_s, lock_s=lock_s)
    engine = PostgresEngine(link, connections_max=4, clock=ManualClock(), rng=Random(1))
    try:
        await engine.open()
        yield engine
    finally:
        await engine.close()


async def mark(opened: OpenStore, lane: str = LANE) -> None:
    await opened.store.intents.mark(IntentKind.ROOM_SYNC, "k", TenantUid(lane), priority=Priority.HINT)


async def insert(c: Connection) -> None:
    await c.execute("INSERT INTO meta (key, value) VALUES ($1, $2)", "half", "done")


async def is_there(opened: OpenStore) -> bool:
    return bool(await opened.fetch("SELECT 1 FROM meta WHERE key = $1", "half"))


async def connected(opened: OpenStore) -> str:
    """Return the numbers of all connections to the opened store's database, as an SQL list."""
    sql = f"SELECT pid FROM pg_stat_activity WHERE datname = '{postgres.name_of(opened.path)}'"
    return ", ".join(str(row[0]) for row in await asyncio.to_thread(postgres.server().query, sql))


async def cut(opened: OpenStore, pids: str | None = None) -> None:
    """End connections to the opened store's database, as a failing network does."""
    sql = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN ({pids or await connected(opened)})"
    await asyncio.to_thread(postgres.server().query, sql)


async def let_in(opened: OpenStore, is_open: bool) -> None:
    """Let the database take new connections, or none."""
    sql = f"ALTER DATABASE {postgres.name_of(opened.path)} ALLOW_CONNECTIONS {is_open}"
    await asyncio.to_thread(postgres.server().query, sql)


async def test_announcement_is_heard_once_in_each_process(opened: OpenStore) -> None:
    """Whoever announces hears it at once, and everybody else over the database."""
    async with beside(opened, clock=ManualClock()) as other:
        here: list[TenantUid] = []
        there: list[TenantUid] = []
        opened.store.on_work(here.append)
        other.store.on_work(there.append)
        await mark(opened)
        assert here == [LANE]
        await eventually(lambda: there == [LANE], "the other hears")
        await mark(other, "second")
        await eventually(lambda: here == [LANE, "second"], "and is heard")
        assert there == [LANE, "second"]


async def test_process_that_was_deaf_is_told_that_anything_may_be_new(opened: OpenStore) -> None:
    """What was announced while the connection was away is not known; so everything is looked at."""
    heard: list[TenantUid] = []
    opened.store.on_work(heard.append)
    await cut(opened)
    await eventually(lambda: heard == [""], "it is told")
    async with beside(opened, clock=ManualClock()) as other:
        await mark(other)
        await eventually(lambda: heard == ["", LANE], "and it hears again")


async def test_announcement_made_while_the_database_was_away_is_told_later(opened: OpenStore) -> None:
    """The write went well, so the others are told, if only when there is a connection for it again."""
    here = await connected(opened)
    async with beside(opened, clock=ManualClock()) as other:
        there: list[TenantUid] = []
        other.store.on_work(there.append)
        bell = cast("PostgresEngine", opened.engine).bell
        await let_in(opened, False)
        await cut(opened, here)
        await eventually(lambda: not bell.hears.is_set(), "the loss is noticed")
        bell.ring([("work", str(LANE))])
        assert there == []
        await let_in(opened, True)
        await eventually(lambda: there == [LANE], "the other hears")


async def test_too_many_announcements_become_one_that_says_anything(opened: OpenStore) -> None:
    """What waits for a connection has a limit, and nobody is left out by it."""
    async with beside(opened, clock=ManualClock()) as other:
        there: list[TenantUid] = []
        other.store.on_work(there.append)
        cast("PostgresEngine", opened.engine).bell.ring([("work", f"lane{number}") for number in range(20_000)])
        await eventually(lambda: there == [""], "the other hears")


async def test_connection_lost_in_a_transaction_undoes_it_and_the_next_one_works(opened: OpenStore) -> None:
    """A broken connection is an outage for whoever used it, and for nobody after."""

    async def break_off(c: Connection) -> None:
        await insert(c)
        await cut(opened)
        await c.fetch("SELECT 1")

    with pytest.raises(StoreUnavailable):
        await opened.engine.write(break_off)
    assert not await is_there(opened)
    await opened.engine.write(insert)
    assert await is_there(opened)


async def test_read_whose_connection_is_lost_is_unavailable_and_the_next_one_works(opened: OpenStore) -> None:
    """Readers meet the same outages."""

    async def break_off(c: Connection) -> None:
        await c.fetch("SELECT 1")
        await cut(opened)
        await c.fetch("SELECT 1")

    with pytest.raises(StoreUnavailable):
        await opened.engine.read(break_off)
    await opened.store.check()


async def test_failed_statement_that_a_transaction_swallows_commits_nothing(opened: OpenStore) -> None:
    """PostgreSQL answers such a commit with a roll-back and no error; nobody is told of success."""

    async def swallow(c: Connection) -> None:
        await insert(c)
        with suppress(Exception):
            await c.fetch("SELECT nothing")

    with pytest.raises(StoreUnavailable):
        await opened.engine.write(swallow)
    assert not await is_there(opened)


async def test_statement_that_takes_too_long_is_ended(dsn_file: Path) -> None:
    """No call waits for ever."""
    async with engine_on(dsn_file, statement_s=0.2) as engine:

        async def sleep(c: Connection) -> None:
            await c.fetch("SELECT pg_sleep(30)")

        for run in (engine.read, engine.write):
            with pytest.raises(StoreUnavailable):
                await run(sleep)
        await engine.write(insert)


async def test_wait_for_a_tenant_that_another_keeps_ends(opened: OpenStore) -> None:
    """Whoever keeps a row too long makes others fail politely, and they work again once it lets go."""
    await opened.add_tenant()
    async with engine_on(opened.path, lock_s=0.1) as engine:

        async def touch(c: Connection) -> None:
            await c.execute("UPDATE tenants SET version = version + 1")

        async def keep(c: Connection) -> None:
            await touch(c)
            with pytest.raises(StoreUnavailable):
                await engine.write(touch)

        await opened.engine.write(keep)
        await engine.write(touch)


async def test_cancelled_read_gives_its_connection_back(dsn_file: Path) -> None:
    """A caller that leaves costs nothing: as many as there are connections, and the next one is served."""
    async with engine_on(dsn_file) as engine:
        started = asyncio.Event()

        async def sleep(c: Connection) -> None:
            started.set()
            await c.fetch("SELECT pg_sleep(3)")

        for _ in range(8):
            started.clear()
            task = asyncio.ensure_future(engine.read(sleep))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with asyncio.timeout(2):
            await engine.read(lambda c: c.fetch_one("SELECT 1"))


async def test_closing_finishes_what_was_handed_over(dsn_file: Path) -> None:
    """A write whose caller waits at the time of the shutdown is committed first; what comes later is refused."""
    async with open_postgres(dsn_file, clock=ManualClock()) as opened:
        waiting = [asyncio.ensure_future(opened.add_tenant(f"t{number}")) for number in range(50)]
        await asyncio.sleep(0)
        await opened.engine.close()
        with pytest.raises(StoreUnavailable):
            await opened.add_tenant("late")
        with pytest.raises(StoreUnavailable):
            await opened.store.check()
    assert len(await asyncio.gather(*waiting)) == 50
    async with open_postgres(dsn_file, clock=ManualClock()) as opened:
        assert len(await opened.store.tenants.page(after=TenantId(""), count_max=1000)) == 50


async def test_write_that_fails_after_its_caller_left_is_not_told_by_the_loop(dsn_file: Path) -> None:
    """Nobody is left whose failure it is, and the driver's words are not for the log."""
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    has_begun = asyncio.Event()
    may_fail = asyncio.Event()

    async def failing(c: Connection) -> None:
        has_begun.set()
        await may_fail.wait()
        await c.execute("SELECT 1 / 0")

    async with engine_on(dsn_file) as engine:
        caller = asyncio.ensure_future(engine.write(failing))
        await has_begun.wait()
        caller.cancel()
        await asyncio.wait([caller])
        may_fail.set()
    del caller
    gc.collect()
    assert told == []


async def test_order_is_by_bytes_whatever_the_databases_language(opened: OpenStore) -> None:
    """Pages follow each other as they do on SQLite; a language's order would put a before B."""
    await opened.add_tenant()
    for room_id in ("b", "B", "a", "A", "~", "0"):
        await opened.map_room(make_mapping(room_id, mailbox=Mailbox(f"{ord(room_id)}@contoso.example")))
    paged = await opened.store.rooms.page(TENANT, after=RoomId(""), count_max=9)
    assert [room.room_id for room in paged] == ["0", "A", "B", "a", "b", "~"]
    collations = await opened.fetch(
        "SELECT DISTINCT collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'text'"
    )
    assert [row[0] for row in collations] == ["C"]


async def test_time_is_the_databases(dsn_file: Path) -> None:
    """Processes whose machines disagree about the time agree all the same."""
    async with open_postgres(dsn_file, clock=None) as opened:

        async def both(c: Connection) -> tuple[datetime, datetime]:
            row = await c.fetch_one("SELECT clock_timestamp()")
            assert row is not None
            return c.now, row[0]

        told, true = await opened.engine.write(both)
        assert abs(told - true) < timedelta(seconds=1)
        assert opened.clock.now() >= told


class TwistedDatabase:
    """Answers with a time that is ahead of this machine's."""

    def __init__(self, ahead_by: timedelta) -> None:
        self.ahead_by = ahead_by

    async def fetchval(self, _: str) -> datetime:
        return datetime.now(UTC) + self.ahead_by


async def test_clock_follows_the_database_and_stands_still_while_it_is_right() -> None:
    """A difference is taken over, noise is not."""
    clock = DatabaseClock()
    for seconds in (3600, -3600, 0):
        await clock.measure(cast("Any", TwistedDatabase(timedelta(seconds=seconds))))
        ahead_by = clock.now() - datetime.now(UTC)
        assert abs(ahead_by - timedelta(seconds=seconds)) < timedelta(seconds=1)
    known = clock._ahead_by
    told = clock.now()

    async def slow(_: str) -> datetime:
        await asyncio.sleep(0.005)
        told_at = datetime.now(UTC)
        await asyncio.sleep(0.005)
        return told_at

    await clock.measure(cast("Any", SimpleNamespace(fetchval=slow)))
    assert clock._ahead_by == known
    assert clock.now() >= told


SECRET = f"{CANARY}-password"


@pytest.mark.parametrize(
    ("dsn", "rule"),
    [
        ("", "empty"),
        (f"postgresql://u:{SECRET}@localhost/db extra", "one URI"),
        (f"postgresql://u:{SECRET}@localhost/db\npostgresql://u@h/b", "one URI"),
        (f"mysql://u:{SECRET}@localhost/db", "postgresql://"),
        (f"u:{SECRET}@localhost/db", "postgresql://"),
        (f"postgresql://u:{SECRET}@localhost", "name a database"),
        (f"postgresql://u:{SECRET}@[half/db", "not a URI"),
        (f"postgresql://u:{SECRET}@db.example/x", "sslmode"),
        (f"postgresql://u:{SECRET}@localhost,db.example:5433/x", "sslmode"),
        (f"postgresql://u:{SECRET}@/x?host=db.example", "sslmode"),
        (f"postgresql://u:{SECRET}@db.example/x?sslmode=prefer", "sslmode"),
        (f"postgresql://u:{SECRET}@localhost/x?sslmode=allow", "sslmode"),
    ],
)
def test_uri_that_breaks_a_rule_is_told_without_being_quoted(tmp_path: Path, dsn: str, rule: str) -> None:
    """The sentence names the file and the rule; a connection URI holds a password."""
    file = tmp_path / "dsn"
    file.write_text(dsn)
    with pytest.raises(SettingsInvalid) as refused:
        read_dsn(file)
    assert rule in refused.value.details["store.dsn_file"]
    assert CANARY not in str(refused.value.details) + str(refused.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u@localhost/db",
        "postgres://u:p%40@127.0.0.1:5432/db\n",
        "postgresql://u@[::1]:5432/db",
        "postgresql://u@/db?host=%2Frun%2Fpostgresql",
        "postgresql://u@%2Frun%2Fpostgresql/db",
        "postgresql://u:p@a.example,b.example:5433/db?sslmode=verify-full&target_session_attrs=read-write",
        "postgresql://u:p@db.example/db?sslmode=disable",
    ],
)
def test_uri_that_keeps_the_rules_is_taken(tmp_path: Path, dsn: str) -> None:
    """A socket or this machine needs no TLS; another host needs a word about it."""
    file = tmp_path / "dsn"
    file.write_text(dsn)
    assert read_dsn(file) == dsn.strip()


async def test_missing_file_of_the_uri_is_told(tmp_path: Path) -> None:
    """It is a mistake of the configuration, not an outage."""
    with pytest.raises(SettingsInvalid) as refused:
        async with engine_on(tmp_path / "missing"):
            pass
    assert "missing" in refused.value.details["store.dsn_file"]


async def test_database_that_cannot_be_reached_is_unavailable_and_keeps_its_password(tmp_path: Path) -> None:
    """Nobody there, or nobody who knows us: an outage, told without the URI."""
    file = tmp_path / "dsn"
    nobody = postgres.server().dsn(f"{CANARY}-nothing")
    for dsn in (f"postgresql://u:{SECRET}@127.0.0.1:1/db", f"postgresql://u:{SECRET}@/db?host={tmp_path}", nobody):
        file.write_text(dsn)
        with pytest.raises(StoreUnavailable) as refused:
            async with engine_on(file):
                pass
        assert CANARY not in str(refused.value)


async def test_missing_file_of_authorities_is_told_as_such(tmp_path: Path) -> None:
    """Whoever forgot to mount it reads what to look at."""
    file = tmp_path / "dsn"
    file.write_text("postgresql://u:p@127.0.0.1:1/db?sslmode=verify-full")
    with pytest.raises(StoreUnavailable, match="sslrootcert"):
        async with engine_on(file):
            pass


async def test_changed_uri_is_used_by_the_next_connection(opened: OpenStore) -> None:
    """A password that is changed in its file needs no restart."""
    good, pids = opened.path.read_text(), await connected(opened)
    opened.path.write_text(postgres.server().dsn("nothing"))
    await cut(opened, pids)
    with pytest.raises(StoreUnavailable):
        await opened.store.check()
    opened.path.write_text(good)
    await opened.store.check()


async def test_uri_that_is_gone_later_is_an_outage(opened: OpenStore) -> None:
    """At the start it is a mistake of the configuration; for a caller it is a database that does not answer."""
    good, pids = opened.path.read_text(), await connected(opened)
    opened.path.unlink()
    await cut(opened, pids)
    with pytest.raises(StoreUnavailable):
        await opened.store.check()
    opened.path.write_text(good)
    await opened.store.check()


async def test_foreign_words_on_the_channel_are_passed_over(opened: OpenStore) -> None:
    """Anybody on the database may notify; only announcements of ours are heard."""
    heard: list[TenantUid] = []
    opened.store.on_work(heard.append)
    for words in (
        "NOTIFY exchange_sidecar",
        "NOTIFY exchange_sidecar, 'a b c d'",
        "SELECT pg_notify('exchange_sidecar', 'x')",
    ):
        await opened.execute(words)
    async with beside(opened, clock=ManualClock()) as other:
        await mark(other)
        await eventually(lambda: heard == [LANE], "ours is heard")


async def test_values_of_rows_are_no_part_of_errors(opened: OpenStore) -> None:
    """PostgreSQL quotes the row that breaks a rule; we do not."""

    async def twice(c: Connection) -> None:
        for _ in range(2):
            await c.execute("INSERT INTO meta (key, value) VALUES ($1, $2)", f"{CANARY}-key", "x")

    with pytest.raises(StoreUnavailable) as refused:
        await opened.engine.write(twice)
    assert CANARY not in str(refused.value)
    assert "UniqueViolation" in str(refused.value)


@asynccontextmanager
async def tls_in_front(context: ssl.SSLContext) -> AsyncIterator[int]:
    """Take TLS connections as a PostgreSQL does, and pass them on to the tests' server; give the port."""
    socket = str(postgres.server().folder / ".s.PGSQL.5432")
    passing: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readexactly(8)  # "is there TLS?"
            writer.write(b"S")
            await writer.start_tls(context)
            there_reader, there_writer = await asyncio.open_unix_connection(socket)
            await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))
        writer.close()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing.add(asyncio.ensure_future(pass_on(reader, writer)))

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*passing)


async def test_database_is_known_by_its_certificate(dsn_file: Path, tmp_path: Path) -> None:
    """With verify-full only the right certificate for the right name is let at the password."""
    authority, stranger = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    for name, ca in (("good", authority), ("strange", stranger)):
        ca.cert_pem.write_to_path(tmp_path / name)
    file, database = tmp_path / "dsn", postgres.name_of(dsn_file)
    async with tls_in_front(context) as port:
        for host, ca_name, is_let_in in (
            ("localhost", "good", True),
            ("localhost", "strange", False),
            ("127.0.0.1", "good", False),
        ):
            file.write_text(
                f"postgresql://exchange:{SECRET}@{host}:{port}/{database}"
                f"?sslmode=verify-full&sslrootcert={tmp_path / ca_name}"
            )
            if is_let_in:
                async with engine_on(file) as engine:
                    await engine.write(insert)
                continue
            with pytest.raises(StoreUnavailable, match="TLS"):
                async with engine_on(file):
                    pass


async def test_many_writers_share_few_connections(dsn_file: Path) -> None:
    """A burst waits its turn and is served whole."""
    async with open_postgres(dsn_file, clock=ManualClock(), connections_max=2) as opened:
        await opened.add_tenant()
        rooms = [await opened.add_room(f"r{number}") for number in range(5)]
        await asyncio.gather(*(opened.fill(room, make_booking("b1")) for room in rooms * 10))
        name = postgres.name_of(dsn_file)
        sql = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
        assert await opened.fetch(sql) == [(3,)]  # and one that hears
