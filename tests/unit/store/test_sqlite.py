"""What is SQLite's own: a full disk, a locked file, one process per file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.model.ids import TenantId
from sidecar.model.plan import Upsert
from sidecar.store import sqlite
from sidecar.store.engine import Connection
from sidecar.store.sqlite import SqliteEngine
from tests.support.builders import CANARY, TENANT, always, make_booking, upsert
from tests.support.stores import ManualClock, OpenStore, open_store


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenStore]:
    async with open_store(tmp_path / "exchange.sqlite3", clock=ManualClock()) as opened:
        yield opened


async def _limit_pages(opened: OpenStore, count: int) -> None:
    """Make the disk full: the file may grow to this many pages, or not at all for 1."""
    raw = opened.sqlite._write_raw
    assert raw is not None
    await asyncio.get_running_loop().run_in_executor(
        opened.sqlite._writer, lambda: raw.execute(f"PRAGMA max_page_count={count}").fetchone()
    )


def _plan_of_many(prefix: str, count: int = 400) -> list[Upsert]:
    return [upsert(make_booking(f"{prefix}{number:04}", subject="x" * 500)) for number in range(count)]


async def test_full_disk_refuses_writes_and_changes_nothing(opened: OpenStore) -> None:
    """A write that does not fit fails whole, reading goes on, and with room on the disk so does writing."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    head = await opened.head()
    await _limit_pages(opened, 1)
    many = always(*_plan_of_many("x"))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await opened.store.calendars.apply(room, many, lease=None)
    assert await opened.head() == head
    assert set(await opened.store.calendars.load_stored(room.uid)) == {"b1"}
    await _limit_pages(opened, 10**6)
    assert await opened.store.calendars.apply(room, many, lease=None) is not None
    assert await opened.head() == head + 400


async def test_full_disk_tells_every_writer_the_truth(opened: OpenStore) -> None:
    """Of many who wait together, whoever is told of success finds its write after the next start, and nobody else does."""
    for number in range(8):
        await opened.add_tenant(f"t{number}")
    rooms = [await opened.add_room("r1", tenant_id=TenantId(f"t{number}")) for number in range(8)]
    await asyncio.gather(*(opened.fill(room, make_booking("b1")) for room in rooms))
    await _limit_pages(opened, 1)

    async def write(number: int) -> bool:
        items = _plan_of_many("x") if number % 2 else [upsert(make_booking("small"))]
        try:
            await opened.store.calendars.apply(rooms[number], always(*items), lease=None)
        except StoreUnavailable:
            return False
        return True

    outcomes = await asyncio.gather(*(write(number) for number in range(8)))
    assert not all(outcomes)
    counts = [len(await opened.store.calendars.load_stored(room.uid)) for room in rooms]
    assert [count > 1 for count in counts] == outcomes


async def test_commit_that_fails_undoes_the_whole_group(opened: OpenStore) -> None:
    """Nobody is told of success without a commit, and the next group begins with a clean slate."""
    await opened.add_tenant()

    async def spoil(c: Connection) -> None:
        # Ends the transaction under the engine's feet, as SQLite does by itself after some faults.
        await c.execute("ROLLBACK")

    outcomes = await asyncio.gather(
        opened.add_tenant("t1"), opened.engine.write(spoil), opened.add_tenant("t2"), return_exceptions=True
    )
    assert isinstance(outcomes[1], StoreUnavailable)
    found = {tenant.tenant_id for tenant in await opened.store.tenants.page(after=TenantId(""), count_max=9)}
    told = {tenant_id for tenant_id, outcome in zip(("t1", "", "t2"), outcomes, strict=True) if not _failed(outcome)}
    assert found == {TENANT} | told
    await opened.add_tenant("t3")


def _failed(outcome: object) -> bool:
    return isinstance(outcome, BaseException)


async def test_locked_file_is_unavailable_until_it_is_free(opened: OpenStore) -> None:
    """Somebody else's lock (a backup, say) makes writes fail after a while; reading and later writing work."""
    await opened.add_tenant()
    other = sqlite3.connect(opened.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreUnavailable):
            await opened.add_tenant("t1")
        assert (await opened.store.tenants.load(TENANT)).tenant_id == TENANT
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert (await opened.add_tenant("t1")).tenant_id == "t1"


async def test_second_engine_on_a_file_is_refused(opened: OpenStore) -> None:
    """Two processes would work on the same rooms, and neither would hear of the other."""
    second = SqliteEngine(opened.path, synchronous="OFF", busy_s=0.05, clock=ManualClock())
    with pytest.raises(StoreUnavailable):
        await second.open()
    await second.close()


async def test_closed_engine_refuses_politely(opened: OpenStore) -> None:
    """What comes too late at a shutdown is an outage like another, never a crash."""
    await opened.engine.close()
    with pytest.raises(StoreUnavailable):
        await opened.add_tenant()
    with pytest.raises(StoreUnavailable):
        await opened.store.check()


async def test_closing_finishes_what_was_handed_over(tmp_path: Path) -> None:
    """A write whose caller waits at the time of the shutdown is committed first."""
    path = tmp_path / "exchange.sqlite3"
    async with open_store(path, clock=ManualClock()) as opened:
        waiting = [asyncio.ensure_future(opened.add_tenant(f"t{number}")) for number in range(100)]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(*waiting)) == 100
    async with open_store(path, clock=ManualClock()) as opened:
        assert len(await opened.store.tenants.page(after=TenantId(""), count_max=1000)) == 100


async def test_reopened_file_holds_everything(tmp_path: Path) -> None:
    """What was committed survives the process."""
    path = tmp_path / "exchange.sqlite3"
    async with open_store(path, clock=ManualClock(), synchronous="FULL") as opened:
        await opened.add_tenant()
        room = await opened.add_filled_room("r1", make_booking("b1"))
        head = await opened.head()
        identity = await opened.store.identity()
    async with open_store(path, clock=ManualClock()) as opened:
        assert await opened.reload(room) == room
        assert await opened.head() == head
        assert await opened.store.identity() == identity


@pytest.mark.parametrize("name", ["missing/exchange.sqlite3", "."])
async def test_file_that_cannot_be_opened_is_unavailable(tmp_path: Path, name: str) -> None:
    """A wrong path is told as an error of ours."""
    engine = SqliteEngine(tmp_path / name, synchronous="OFF", busy_s=0.05, clock=ManualClock())
    with pytest.raises(StoreUnavailable):
        await engine.open()
    await engine.close()


async def test_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """A file of something else is refused and left alone."""
    path = tmp_path / "exchange.sqlite3"
    path.write_bytes(b"not a database at all, but long enough to have a header" * 10)
    before = path.read_bytes()
    engine = SqliteEngine(path, synchronous="OFF", busy_s=0.05, clock=ManualClock())
    with pytest.raises(StoreUnavailable):
        await engine.open()
    await engine.close()
    assert path.read_bytes() == before


async def test_erased_tenant_is_gone_from_the_files(opened: OpenStore) -> None:
    """What was deleted is not left in free pages or in the log of the database, while it runs."""
    tenant = await opened.add_tenant()
    await opened.add_filled_room("r1", *(make_booking(f"b{n}", subject=f"{CANARY}-subject-{n}") for n in range(200)))
    assert f"{CANARY}-subject".encode() in opened.bytes_at_rest()
    await opened.store.lifecycle.delete(TENANT, etag="")
    await opened.store.tenants.erase(tenant.uid)
    assert CANARY.encode() not in opened.bytes_at_rest()


async def test_transaction_that_waits_for_something_else_is_our_bug(opened: OpenStore) -> None:
    """Nothing but the database is awaited inside a transaction; whoever tries is found out and undone."""

    async def wait(c: Connection) -> None:
        await c.execute("INSERT INTO meta (key, value) VALUES ($1, $2)", "half", "done")
        await asyncio.sleep(0)

    with pytest.raises(AssertionError):
        await opened.engine.write(wait)
    assert await opened.fetch("SELECT key FROM meta WHERE key = $1", "half") == []


async def test_scrub_waits_for_a_foreign_reader_and_no_writer_waits_for_it(opened: OpenStore) -> None:
    """A tenant erased during a backup is gone from the log, too, as soon as the backup is done."""
    await opened.add_tenant()
    log = opened.path.with_name(f"{opened.path.name}-wal")
    other = sqlite3.connect(opened.path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT COUNT(*) FROM tenants").fetchone()
    await opened.add_tenant("t1")
    scrubbing = asyncio.ensure_future(opened.engine.scrub())
    for number in range(5):
        await opened.add_tenant(f"u{number}")
    assert not scrubbing.done()
    other.close()
    await scrubbing
    assert log.stat().st_size == 0


async def test_scrub_that_is_kept_from_it_for_ever_is_told(opened: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was deleted is then still in the log; nobody may believe otherwise."""
    monkeypatch.setattr(sqlite, "_SCRUB_TRIES_MAX", 3)
    await opened.add_tenant()
    other = sqlite3.connect(opened.path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT COUNT(*) FROM tenants").fetchone()
    await opened.add_tenant("t1")
    with pytest.raises(StoreUnavailable, match="scrub"):
        await opened.engine.scrub()
    other.close()
    await opened.engine.scrub()


@pytest.mark.parametrize("seed", range(12))
async def test_scrub_leaves_nothing_where_rows_were_moved_to_other_pages(opened: OpenStore, seed: int) -> None:
    """SQLite overwrites what is deleted, but not what stays behind when it shares out rows among its pages anew."""
    rng = Random(seed)

    async def fill(c: Connection) -> None:
        await c.execute("CREATE TABLE words (a TEXT, n BIGINT, body BYTEA, PRIMARY KEY (a, n)) WITHOUT ROWID")
        for n in range(400):
            body = b"SECRET" + bytes(rng.randrange(50, 700))
            await c.execute("INSERT INTO words VALUES ($1, $2, $3)", rng.choice("abc"), n, body)
            if rng.random() < 0.4:
                await c.execute("DELETE FROM words WHERE n = (SELECT MIN(n) FROM words)")
            if rng.random() < 0.3:
                body = b"SECRET" + bytes(rng.randrange(50, 900))
                await c.execute("UPDATE words SET body = $2 WHERE n = $1", rng.randrange(n + 1), body)

    await opened.engine.write(fill)
    await opened.engine.write(lambda c: c.execute("UPDATE words SET body = $1", b"clean"))
    await opened.engine.scrub()
    assert b"clean" in opened.path.read_bytes()
    assert b"SECRET" not in b"".join(file.read_bytes() for file in opened.path.parent.iterdir())
