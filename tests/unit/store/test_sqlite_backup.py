"""Copies of a database: whole, of one moment, private, and never in the way of what was there."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.model.room import Room
from sidecar.store.sqlite_backup import BackupRefused, Contents, back_up
from tests.support.builders import CANARY, NOW, always, make_booking, upsert
from tests.support.stores import ManualClock, OpenStore, open_store


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenStore]:
    """A store in use, in a folder of its own."""
    folder = tmp_path / "service"
    folder.mkdir()
    async with open_store(folder / "exchange.sqlite3", clock=ManualClock(), busy_s=5.0) as opened:
        await opened.add_tenant()
        yield opened


async def copy(opened: OpenStore, target: Path, *, overwrite: bool = False) -> Contents:
    return await asyncio.to_thread(back_up, opened.path, target, overwrite=overwrite)


async def book(opened: OpenStore, room: Room, *keys: str) -> None:
    await opened.store.calendars.apply(room, always(*(upsert(make_booking(key)) for key in keys)), lease=None)


def fetch(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(sql).fetchall()


def names_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


async def test_copy_is_told_and_holds_what_the_database_holds(opened: OpenStore, tmp_path: Path) -> None:
    """As one file, for its owner only, with nothing left beside it."""
    room = await opened.add_filled_room("r1", make_booking("b1"), make_booking("b2"))
    await book(opened, room, "b3")
    target = tmp_path / "backup"
    contents = await copy(opened, target)
    assert (contents.tenants_count, contents.rooms_count, contents.bookings_count) == (1, 1, 3)
    assert contents.changes_count == await opened.head()
    assert (contents.newest_change_at, contents.bytes_count) == (NOW, target.stat().st_size)
    assert target.stat().st_mode & 0o777 == 0o600
    assert names_in(tmp_path) == {"backup", "service"}
    assert fetch(target, "SELECT key FROM bookings ORDER BY key") == [("b1",), ("b2",), ("b3",)]


async def test_copy_made_while_others_write_is_of_one_moment(opened: OpenStore, tmp_path: Path) -> None:
    """Bookings and log agree in it, the writers go on meanwhile, and it comes to an end however much they write."""
    rooms = [await opened.add_filled_room(f"r{number}", make_booking(f"b{number}")) for number in range(4)]
    await opened.fill(rooms[0], *(make_booking(f"x{number}", subject="s" * 3000) for number in range(2_000)))
    is_over = asyncio.Event()
    commits_count = 0

    async def write(room: Room) -> None:
        nonlocal commits_count
        number = 0
        while not is_over.is_set():
            number += 1
            await book(opened, room, f"{room.room_id}-{number}")
            commits_count += 1

    async with asyncio.TaskGroup() as group:
        for room in rooms[1:]:
            group.create_task(write(room))
        for number in range(3):
            before = commits_count
            await copy(opened, tmp_path / f"backup{number}")
            assert commits_count > before
        is_over.set()
    for number in range(3):
        path = tmp_path / f"backup{number}"
        (head,) = fetch(path, "SELECT revision FROM tenants")
        assert fetch(path, "SELECT MAX(revision), COUNT(*) FROM changes") == [(head[0], head[0])]
        written = fetch(path, "SELECT COUNT(*) FROM changes WHERE booking_key LIKE 'r%'")
        assert fetch(path, "SELECT COUNT(*) FROM bookings WHERE key LIKE 'r%'") == written


async def test_copy_holds_no_secret_in_clear(opened: OpenStore, tmp_path: Path) -> None:
    """Credentials are in it as they are in the database: sealed."""
    await copy(opened, tmp_path / "backup")
    assert fetch(tmp_path / "backup", "SELECT COUNT(*) FROM credentials") == [(1,)]
    assert CANARY.encode() not in (tmp_path / "backup").read_bytes()


async def test_file_that_exists_is_replaced_only_if_asked_for(opened: OpenStore, tmp_path: Path) -> None:
    """It may be the only good backup there is."""
    target = tmp_path / "backup"
    target.write_bytes(b"precious")
    with pytest.raises(BackupRefused, match="exists"):
        await copy(opened, target)
    assert target.read_bytes() == b"precious"
    await copy(opened, target, overwrite=True)
    assert fetch(target, "SELECT tenant_id FROM tenants") == [("acme",)]
    assert target.stat().st_mode & 0o777 == 0o600


async def test_database_is_never_its_own_backup(opened: OpenStore, tmp_path: Path) -> None:
    """Not even through another name."""
    (tmp_path / "link").symlink_to(opened.path)
    for target in (opened.path, tmp_path / "link"):
        with pytest.raises(BackupRefused, match="itself"):
            await copy(opened, target, overwrite=True)


@pytest.mark.parametrize("target", ["missing/backup", "service"])
async def test_target_that_is_no_file_is_refused(opened: OpenStore, tmp_path: Path, target: str) -> None:
    """Folders are not made up."""
    with pytest.raises(BackupRefused):
        await copy(opened, tmp_path / target, overwrite=True)


@pytest.mark.parametrize("content", [None, b"", b"a letter, and no database " * 100])
def test_what_is_no_database_of_ours_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """And leaves nothing behind."""
    database = tmp_path / "exchange.sqlite3"
    if content is not None:
        database.write_bytes(content)
    with pytest.raises(BackupRefused):
        back_up(database, tmp_path / "backup", overwrite=False)
    assert not list(tmp_path.glob("backup*"))


def damage(file: Path, start: int) -> None:
    """Spoil the pages of a file's end; its beginning, which says what it is, stays readable."""
    with file.open("r+b") as raw:
        for page in range(start // 4096, file.stat().st_size // 4096):
            raw.seek(page * 4096)
            raw.write(b"\x5a" * 600)


async def test_damaged_database_gives_no_backup_and_keeps_the_last_good_one(tmp_path: Path) -> None:
    """A copy is proved before it takes the place of another one."""
    database, target = tmp_path / "exchange.sqlite3", tmp_path / "backup"
    async with open_store(database, clock=ManualClock()) as opened:
        await opened.add_tenant()
        await opened.add_filled_room("r1", *(make_booking(f"b{number}", subject="s" * 900) for number in range(200)))
    back_up(database, target, overwrite=False)
    good = target.read_bytes()
    damage(database, len(good) // 2)
    with pytest.raises(BackupRefused, match="damaged"):
        back_up(database, target, overwrite=True)
    assert target.read_bytes() == good
    assert {name for name in names_in(tmp_path) if "backup" in name} == {"backup"}


async def test_folder_that_takes_no_file_is_told(opened: OpenStore) -> None:
    """Try again elsewhere: nothing is wrong with the database."""
    with pytest.raises(StoreUnavailable, match="cannot write"):
        await copy(opened, Path("/proc/backup"))


async def test_backup_of_a_newer_version_is_refused(opened: OpenStore, tmp_path: Path) -> None:
    """What it holds cannot be told by this version."""
    await opened.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(BackupRefused, match="newer"):
        await copy(opened, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
