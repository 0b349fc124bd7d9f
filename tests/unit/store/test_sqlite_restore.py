"""Putting a backup back: all of it or nothing, in a new epoch, and never under somebody's feet."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.model.intent import IntentKind
from sidecar.store import migrate, sqlite_restore
from sidecar.store.epochs import Renewal
from sidecar.store.migrate import SCHEMA_VERSION, migrate_sqlite, schema_version
from sidecar.store.sqlite import SqliteEngine
from sidecar.store.sqlite_backup import BackupRefused, back_up
from sidecar.store.sqlite_restore import Restored, restore
from tests.support.builders import NOW, after, always, make_booking, upsert
from tests.support.stores import ManualClock, OpenStore, open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "service"
    folder.mkdir()
    return folder / "exchange.sqlite3"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "backup"


async def use(path: Path, *keys: str) -> tuple[set[str], str]:
    """Use a database for a while; return the keys of its bookings and the epoch of its log."""
    async with open_store(path, clock=ManualClock()) as opened:
        return await _use(opened, *keys)


async def _use(opened: OpenStore, *keys: str) -> tuple[set[str], str]:
    if not await opened.fetch("SELECT uid FROM tenants"):
        await opened.add_tenant()
        await opened.add_filled_room()
    room = (await opened.store.rooms.load_all(await opened.tenant_uid()))[1][0]
    for key in keys:
        await opened.store.calendars.apply(room, always(upsert(make_booking(key))), lease=None)
    head = await opened.store.changes.head(room.tenant_uid)
    assert head is not None
    return {str(key) for key in await opened.store.calendars.load_stored(room.uid)}, head.epoch


def put_back(saved: Path, path: Path, *, seconds: int = 0) -> Restored:
    return restore(saved, path, now=after(seconds=seconds))


def contents_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix not in (".lock", ".highwater")}


async def test_restored_database_holds_what_the_backup_held_in_a_new_epoch(path: Path, saved: Path) -> None:
    """And everything that proves it is due."""
    _, before = await use(path, "b1")
    back_up(path, saved, overwrite=False)
    await use(path, "b2")
    restored = put_back(saved, path)
    assert (restored.contents.bookings_count, restored.renewal) == (1, Renewal(1, 1))
    async with open_store(path, clock=ManualClock()) as opened:
        kinds = {str(row[0]) for row in await opened.fetch("SELECT kind FROM intents WHERE attempts = 0")}
        proofs = {IntentKind.ROOM_COMPARE, IntentKind.ROOM_SUBSCRIBE, IntentKind.SUBSCRIPTION_AUDIT}
        assert kinds == {IntentKind.TENANT_VERIFY, *proofs}
        keys, epoch = await _use(opened)
    assert keys == {"b1"}
    assert epoch != before


async def test_start_after_a_restore_finds_nothing_more_to_do(path: Path, saved: Path) -> None:
    """Epochs are renewed once for each restore; a second one from the same backup gives yet another."""
    await use(path, "b1")
    back_up(path, saved, overwrite=False)
    epochs = set()
    for number in range(3):
        await use(path, f"lost{number}")
        put_back(saved, path, seconds=number)
        engine = SqliteEngine(path, synchronous="OFF", busy_s=0.05, clock=ManualClock())
        await engine.open()
        assert not engine.is_rolled_back
        await engine.close()
        epochs.add((await use(path))[1])
    assert len(epochs) == 3


async def test_former_database_is_kept(path: Path, saved: Path) -> None:
    """Whoever chose the wrong backup has lost nothing."""
    await use(path, "b1")
    back_up(path, saved, overwrite=False)
    await use(path, "b2")
    former = put_back(saved, path).former
    assert former is not None
    assert (await use(former))[0] == {"b1", "b2"}


async def test_restore_into_an_empty_folder_needs_no_former_database(path: Path, saved: Path) -> None:
    """As after the loss of a volume."""
    _, before = await use(path, "b1")
    back_up(path, saved, overwrite=False)
    for file in path.parent.iterdir():
        file.unlink()
    assert put_back(saved, path).former is None
    keys, epoch = await use(path)
    assert keys == {"b1"}
    assert epoch != before


async def test_database_in_use_by_the_service_is_left_alone(path: Path, saved: Path) -> None:
    """A service that goes on writing to a file that was taken away loses all it writes."""
    async with open_store(path, clock=ManualClock()) as opened:
        await _use(opened, "b1")
        back_up(path, saved, overwrite=False)
        await _use(opened, "b2")
        with pytest.raises(StoreUnavailable, match="stop it first"):
            put_back(saved, path)
        assert (await _use(opened, "b3"))[0] == {"b1", "b2", "b3"}
    assert not list(path.parent.glob("*.partial*"))


async def test_database_in_use_by_another_program_is_left_alone(path: Path, saved: Path) -> None:
    """A backup under way, or a person with a shell: they do not know of the service's lock."""
    await use(path, "b1")
    back_up(path, saved, overwrite=False)
    await use(path, "b2")
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("SELECT COUNT(*) FROM bookings").fetchone()
        with pytest.raises(StoreUnavailable, match="another program"):
            put_back(saved, path)
    assert (await use(path))[0] == {"b1", "b2"}


def test_backup_of_an_older_version_is_brought_up_to_date(
    path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the way, in the copy: the backup stays what it is."""
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "SCHEMA_VERSION", "0001")
        migrate_sqlite(saved)
    with closing(sqlite3.connect(saved)) as raw, raw:
        raw.execute("INSERT INTO meta (key, value) VALUES ('epoch', '84dbf938')")
    before = saved.read_bytes()
    assert put_back(saved, path).contents.schema == "0001"
    assert schema_version(path) == SCHEMA_VERSION
    assert saved.read_bytes() == before


@pytest.mark.parametrize("kind", ["missing", "letter", "foreign", "newer", "damaged"])
async def test_what_is_no_good_backup_leaves_the_database_as_it_was(path: Path, saved: Path, kind: str) -> None:
    """Each is found out before the database is touched."""
    await use(path, *(f"b{number}" for number in range(60)))
    _make_bad(kind, path, saved)
    before = contents_of(path.parent)
    with pytest.raises(BackupRefused):
        put_back(saved, path)
    assert contents_of(path.parent) == before


def _make_bad(kind: str, path: Path, saved: Path) -> None:
    if kind == "letter":
        saved.write_bytes(b"Dear operator, this is no database. " * 50)
    elif kind == "foreign":
        with closing(sqlite3.connect(saved)) as raw, raw:
            raw.execute("CREATE TABLE songs (name TEXT)")
    elif kind != "missing":
        back_up(path, saved, overwrite=False)
    if kind == "newer":
        with closing(sqlite3.connect(saved)) as raw, raw:
            raw.execute("UPDATE alembic_version SET version_num = '9999'")
    if kind == "damaged":
        with saved.open("r+b") as file:
            file.seek(10 * 4096)
            file.write(os.urandom(20 * 4096))


async def test_database_is_not_restored_from_itself(path: Path) -> None:
    """That would be a renewal of the epoch, for which there is a command."""
    await use(path, "b1")
    with pytest.raises(BackupRefused, match="epoch renew"):
        put_back(path, path)


async def test_log_of_a_killed_service_is_not_played_back_over_the_backup(path: Path, saved: Path) -> None:
    """What it held belongs to the former database, and is kept with it."""
    async with open_store(path, clock=ManualClock()) as opened:
        await _use(opened, "b1")
        back_up(path, saved, overwrite=False)
        await _use(opened, "b2")
        shutil.copytree(path.parent, killed := path.parent.with_name("killed"))
    path = killed / path.name
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    former = put_back(saved, path).former
    assert (await use(path))[0] == {"b1"}
    assert former is not None
    assert (await use(former))[0] == {"b1", "b2"}


async def test_damaged_database_is_replaced_with_its_log(path: Path, saved: Path) -> None:
    """It is what backups are for."""
    await use(path, "b1")
    back_up(path, saved, overwrite=False)
    log = path.with_name(f"{path.name}-wal")
    for file in (path, log):
        await asyncio.to_thread(file.write_bytes, b"\x00rubbish" * 5000)
    former = put_back(saved, path).former
    assert not log.exists()
    assert (await use(path))[0] == {"b1"}
    assert former is not None
    assert former.read_bytes().startswith(b"\x00rubbish")


@pytest.mark.parametrize("step", ["migrate_sqlite", "run_alone", "_set_aside", "sync_folder"])
async def test_restore_cut_off_at_any_step_leaves_one_of_the_two(
    path: Path, saved: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former database or the restored one, whole; the latter always in a new epoch."""
    _, before = await use(path, "b1")
    back_up(path, saved, overwrite=False)
    await use(path, "b2")

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sqlite_restore, step, cut)
    with pytest.raises(KeyboardInterrupt):
        put_back(saved, path)
    keys, epoch = await use(path)
    assert (keys, epoch != before) == (({"b1"}, True) if step == "sync_folder" else ({"b1", "b2"}, False))
    assert not list(path.parent.glob("*.partial*"))


def test_former_database_has_the_time_in_its_name_and_the_new_one_is_for_its_owner(path: Path, saved: Path) -> None:
    """So that several are told apart, and nobody else reads a copy that a person moved about."""
    migrate_sqlite(path)
    back_up(path, saved, overwrite=False)
    former = restore(saved, path, now=NOW).former
    assert path.stat().st_mode & 0o777 == 0o600
    assert former == path.with_name("exchange.sqlite3.replaced-20260302T080000Z")
