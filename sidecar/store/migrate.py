"""Brings the schema up to what this version needs, and refuses a schema that is newer.

Alembic and SQLAlchemy are imported only when something is to be done, because they cost a third of a second at start.

An old version goes on serving while a new one migrates (PostgreSQL, several processes), so a migration only adds: tables,
indexes, and columns that the old version may leave out. What it stops using is dropped a release later.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.errors import StoreUnavailable
from sidecar.settings import StoreSettings

if TYPE_CHECKING:
    from sqlalchemy import Connection

SCHEMA_VERSION = "0020"
"""The newest script in `migrations/versions/`."""


async def migrate(settings: StoreSettings, *, with_hints: bool = False) -> bool:
    """Bring the schema of the database that is set up to date; say whether anything was done.

    Args:
        with_hints: Procrastinate's tables, too (PostgreSQL only).
    Raises:
        StoreUnavailable: the database cannot be used, or was written by a newer version of the service.
        SettingsInvalid: the connection URI cannot be used.
    """
    if settings.dsn_file is None:
        return await asyncio.get_running_loop().run_in_executor(None, migrate_sqlite, settings.path)
    # Imported here: who runs on SQLite does without the driver.
    from sidecar.store.postgres_link import Link
    from sidecar.store.postgres_migrate import migrate_postgres

    link = Link(settings.dsn_file, statement_s=settings.statement_s, lock_s=settings.busy_s)
    was_needed = await migrate_postgres(link)
    if with_hints:
        from sidecar.store.procrastinate_schema import migrate_procrastinate

        was_needed |= await migrate_procrastinate(link)
    return was_needed


async def find_version(settings: StoreSettings) -> str | None:
    """Return the version of the schema of the database that is set, None when it has none; nothing is changed.

    Raises:
        StoreUnavailable: the database cannot be read.
        SettingsInvalid: the connection URI cannot be used.
    """
    if settings.dsn_file is None:
        return await asyncio.get_running_loop().run_in_executor(None, schema_version, settings.path)
    # Imported here, as above.
    from sidecar.store.postgres_link import Link
    from sidecar.store.postgres_migrate import find_postgres_version

    return await find_postgres_version(
        Link(settings.dsn_file, statement_s=settings.statement_s, lock_s=settings.busy_s)
    )


def schema_version(path: Path) -> str | None:
    """Return the version of a database file's schema, None when there is no file or no schema."""
    if not path.exists():
        return None
    try:
        raw = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            table = raw.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            row = raw.execute("SELECT version_num FROM alembic_version").fetchone() if table else None
        finally:
            raw.close()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"cannot read {path.name}: {error}") from error
    return None if row is None else str(row[0])


def is_current(version: str | None) -> bool:
    """Tell whether a schema is what this version needs.

    Raises:
        StoreUnavailable: it is newer.
    """
    if version is not None and version > SCHEMA_VERSION:
        raise StoreUnavailable(
            f"the database has schema {version}, newer than {SCHEMA_VERSION} of this version; run the newer version"
        )
    return version == SCHEMA_VERSION


def migrate_sqlite(path: Path) -> bool:
    """Make the file when missing and bring its schema up to date; say whether anything was done.

    Raises:
        StoreUnavailable: the file cannot be used, or was written by a newer version of the service.
    """
    if is_current(schema_version(path)):
        return False
    if not path.parent.is_dir():
        raise StoreUnavailable(f"the directory of the database does not exist: {path.parent}")
    from sqlalchemy import URL, create_engine, event
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)
    # Left to itself the driver begins a transaction before rows are written, not before tables are made: a migration
    # that broke off would leave half a schema.
    event.listen(engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            upgrade(connection, SCHEMA_VERSION)
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"cannot migrate {path.name}: {error}") from error
    finally:
        engine.dispose()
    return True


def upgrade(connection: Connection, version: str) -> None:
    """Run the scripts up to a version inside the connection's transaction, and give a new store its identity."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import text

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, version)
    connection.execute(
        text("INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO NOTHING"),
        {"key": "store_id", "value": secrets.token_hex(4)},
    )
