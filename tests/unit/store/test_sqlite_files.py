"""A database that goes back to an earlier state is found out at its next start, by whatever means it went."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.store.engine import Connection
from sidecar.store.sqlite import SqliteEngine
from sidecar.store.sqlite_files import HighWaterMark, is_behind, next_count
from tests.support.builders import always, make_booking, upsert
from tests.support.stores import ManualClock, OpenStore, open_store, put_back


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exchange.sqlite3"


async def live(path: Path, *keys: str) -> str:
    """Use a database for a while; return the epoch of its log."""
    async with open_store(path, clock=ManualClock()) as opened:
        return await _use(opened, *keys)


async def _use(opened: OpenStore, *keys: str) -> str:
    if not await opened.fetch("SELECT uid FROM tenants"):
        await opened.add_tenant()
        await opened.add_filled_room()
    room = (await opened.store.rooms.load_all(await opened.tenant_uid()))[1][0]
    for key in keys:
        await opened.store.calendars.apply(room, always(upsert(make_booking(key))), lease=None)
    head = await opened.store.changes.head(room.tenant_uid)
    assert head is not None
    return head.epoch


async def is_rolled_back(path: Path) -> bool:
    """Open a database as the service does and close it without a write."""
    engine = SqliteEngine(path, synchronous="OFF", busy_s=0.05, clock=ManualClock())
    await engine.open()
    found = engine.is_rolled_back
    await engine.close()
    return found


async def test_database_that_went_on_is_not_suspected(path: Path) -> None:
    """Starts and stops leave the epoch alone: readers go on from their tokens."""
    epochs = {await live(path, f"b{number}") for number in range(4)}
    assert len(epochs) == 1
    assert not await is_rolled_back(path)


@pytest.mark.parametrize("with_mark", [True, False])
async def test_copy_put_back_begins_a_new_epoch(path: Path, with_mark: bool) -> None:
    """In the old place, or in a new one where nothing is known of it."""
    before = await live(path, "b1")
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    assert await live(path, "b2") == before
    put_back(copy, path, with_mark=with_mark)
    assert await is_rolled_back(path)
    first = await live(path)
    assert first != before
    assert not await is_rolled_back(path)
    assert await live(path, "b3") == first
    put_back(copy, path, with_mark=with_mark)
    assert await live(path) not in (before, first)


async def test_copy_made_within_one_run_is_found_out_after_a_kill(path: Path) -> None:
    """The mark follows each commit; nothing has to be closed for it."""
    copy = path.with_name("copy")
    async with open_store(path, clock=ManualClock()) as opened:
        before = await _use(opened, "b1")
        await opened.engine.scrub()  # everything is in the one file now
        shutil.copy(path, copy)
        await _use(opened, "b2")
        mark = path.with_name(f"{path.name}.highwater").read_bytes()
    put_back(copy, path, with_mark=False)
    path.with_name(f"{path.name}.highwater").write_bytes(mark)  # as of the kill
    assert await live(path) != before


async def test_new_database_is_not_suspected(path: Path) -> None:
    """It has no mark, and no past."""
    async with open_store(path, clock=ManualClock()) as opened:
        assert await opened.fetch("SELECT uid FROM tenants") == []
    assert not await is_rolled_back(path)


async def test_return_is_remembered_until_something_was_written(path: Path) -> None:
    """A start that is cut off before it could renew the epochs leaves that to the next one."""
    before = await live(path, "b1")
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    await live(path, "b2")
    put_back(copy, path, with_mark=True)
    for _ in range(3):
        assert await is_rolled_back(path)
    assert await live(path) != before


async def test_transaction_that_did_not_happen_is_not_counted(path: Path) -> None:
    """Else the next start would take the database for a copy."""
    before = await live(path, "b1")
    async with open_store(path, clock=ManualClock()) as opened:

        async def spoil(c: Connection) -> None:
            await c.execute("INSERT INTO meta (key, value) VALUES ($1, $2)", "half", "done")
            await c.execute("ROLLBACK")

        with pytest.raises(StoreUnavailable):
            await opened.engine.write(spoil)
        with pytest.raises(ZeroDivisionError):
            await opened.engine.write(_fail)
    assert await live(path) == before


async def _fail(c: Connection) -> None:
    await c.execute("INSERT INTO meta (key, value) VALUES ($1, $2)", "half", "done")
    raise ZeroDivisionError


async def test_mark_that_fell_behind_does_no_harm(path: Path) -> None:
    """A loss of power may take the last marks, never the commits before them."""
    before = await live(path, "b1")
    mark = path.with_name(f"{path.name}.highwater")
    earlier = mark.read_bytes()
    await live(path, "b2", "b3")
    mark.write_bytes(earlier)
    assert await live(path) == before


async def test_mark_that_cannot_be_understood_counts_as_missing(path: Path) -> None:
    """Then nothing is known, and the safe side is a new epoch."""
    before = await live(path, "b1")
    path.with_name(f"{path.name}.highwater").write_bytes(b"\x00garbage")
    assert await live(path) != before


def test_mark_on_a_disk_that_fails_does_not_fail_the_commit(path: Path) -> None:
    """The commit has happened; a caller must not be told otherwise."""
    path.with_name(f"{path.name}.highwater").symlink_to("/dev/full")
    mark = HighWaterMark(path)
    mark.note(7)
    mark.note(8)
    assert mark.load() is None
    mark.close()


@pytest.mark.parametrize("count", [0, 1, -1, 2**31 - 1, -(2**31), 2**31 - 5])
def test_numbers_of_commits_compare_on_a_circle(count: int) -> None:
    """A long life comes round to where it began without a return being seen where there is none, or missed."""
    later = count
    for _ in range(9):
        later = next_count(later)
        assert -(2**31) <= later < 2**31
        assert is_behind(count, later)
        assert not is_behind(later, count)
    assert not is_behind(count, count)
