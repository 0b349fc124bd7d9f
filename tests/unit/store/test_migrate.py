"""Bringing a schema up to date, and refusing one that is newer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from sidecar.errors import StoreUnavailable
from sidecar.model.privacy import DEFAULT_PRIVACY
from sidecar.model.tenant_settings import NO_SETTINGS
from sidecar.store import migrate
from sidecar.store.migrate import SCHEMA_VERSION, migrate_sqlite, schema_version
from tests.support.builders import TENANT
from tests.support.stores import ManualClock, open_store


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def dump(path: Path) -> list[str]:
    with raw(path) as connection:
        return list(connection.iterdump())


def test_schema_version_is_the_newest_script() -> None:
    """The constant that spares us Alembic at start says what Alembic would say."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [SCHEMA_VERSION]


def test_missing_file_is_made_with_an_identity_of_its_own(tmp_path: Path) -> None:
    """Two stores never have the same identity."""
    identities: set[tuple[str, ...]] = set()
    for name in ("a.sqlite3", "b.sqlite3"):
        assert schema_version(tmp_path / name) is None
        assert migrate_sqlite(tmp_path / name)
        assert schema_version(tmp_path / name) == SCHEMA_VERSION
        with raw(tmp_path / name) as connection:
            identities.update(connection.execute("SELECT value FROM meta WHERE key = 'store_id'"))
    assert len(identities) == 2


def test_migrating_twice_does_nothing(tmp_path: Path) -> None:
    """A start with an up-to-date file leaves it alone."""
    path = tmp_path / "exchange.sqlite3"
    migrate_sqlite(path)
    before = dump(path)
    assert not migrate_sqlite(path)
    assert dump(path) == before


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """An old version never works on what it does not understand."""
    path = tmp_path / "exchange.sqlite3"
    migrate_sqlite(path)
    with raw(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = dump(path)
    with pytest.raises(StoreUnavailable, match="newer"):
        migrate_sqlite(path)
    assert dump(path) == before


def test_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """Half a schema would keep every later start from finishing it."""
    path = tmp_path / "exchange.sqlite3"
    with raw(path) as connection:
        connection.execute("CREATE TABLE lanes (somebody_elses TEXT)")
    before = dump(path)
    with pytest.raises(StoreUnavailable):
        migrate_sqlite(path)
    assert dump(path) == before
    with raw(path) as connection:
        connection.execute("DROP TABLE lanes")
    assert migrate_sqlite(path)


@pytest.mark.parametrize("name", ["with space", "a#b", "a?mode=memory", "50%25", "umlaut-ä"])
def test_path_is_taken_literally(tmp_path: Path, name: str) -> None:
    """Characters that mean something in a URL mean nothing in a file's name."""
    directory = tmp_path / name
    directory.mkdir()
    path = directory / "exchange.sqlite3"
    assert migrate_sqlite(path)
    assert path.is_file()
    assert schema_version(path) == SCHEMA_VERSION
    assert not migrate_sqlite(path)


def test_missing_directory_is_told(tmp_path: Path) -> None:
    """A mount that is not there is not made up for by an empty directory."""
    with pytest.raises(StoreUnavailable, match="directory"):
        migrate_sqlite(tmp_path / "missing" / "exchange.sqlite3")
    assert not (tmp_path / "missing").exists()


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """It may be somebody's letter."""
    path = tmp_path / "exchange.sqlite3"
    path.write_bytes(b"not a database at all, but long enough to have a header" * 10)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable):
        migrate_sqlite(path)
    assert path.read_bytes() == before


def test_log_goes_on_in_its_epoch_through_the_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No reader begins anew because of a new version."""
    path = tmp_path / "exchange.sqlite3"
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "SCHEMA_VERSION", "0001")
        migrate_sqlite(path)
    columns = "uid, tenant_id, display_name, directory_id, cloud, version, revision, created_at, updated_at"
    with raw(path) as connection:
        connection.execute("INSERT INTO meta (key, value) VALUES ('epoch', '84dbf938')")
        connection.execute(f"INSERT INTO tenants ({columns}) VALUES ('t1', 'acme', '', '', 'global', 1, 7, 0, 0)")
    assert migrate_sqlite(path)
    with raw(path) as connection:
        assert connection.execute("SELECT revision, epoch FROM tenants").fetchall() == [(7, "84dbf938")]
        assert connection.execute("SELECT key FROM meta").fetchall() == [("store_id",)]


async def test_tenant_and_room_of_before_have_no_settings_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go on as they did: nothing is erased, and the next full read of the room finds no other visibility."""
    path = tmp_path / "exchange.sqlite3"
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "SCHEMA_VERSION", "0005")
        migrate_sqlite(path)
    with raw(path) as connection:
        connection.execute(
            "INSERT INTO tenants (uid, tenant_id, display_name, directory_id, cloud, version, revision, created_at,"
            " updated_at) VALUES ('t1', 'acme', '', 'd1', 'global', 1, 5, 0, 0)"
        )
        connection.execute(
            "INSERT INTO credentials (tenant_uid, role, application_id, kind, sealed, fingerprint)"
            " VALUES ('t1', 'current', 'a1', 'client_secret', x'00', 'f1')"
        )
        connection.execute(
            "INSERT INTO rooms (uid, tenant_uid, room_id, mailbox, mailbox_key, display_name, time_zone, capacity,"
            " annotations, version, created_at, updated_at)"
            " VALUES ('r1', 't1', 'r1', 'r1@contoso.example', 'r1@contoso.example', '', '', 0, '{}', 1, 0, 0)"
        )
    assert migrate_sqlite(path)
    async with open_store(path, clock=ManualClock()) as opened:
        tenant = await opened.store.tenants.load(TENANT)
        assert (tenant.settings, tenant.erasing_since_at) == (NO_SETTINGS, None)
        _, (room,) = await opened.store.rooms.load_all(tenant.uid)
        assert (room.settings, room.read_privacy) == (NO_SETTINGS, DEFAULT_PRIVACY)
