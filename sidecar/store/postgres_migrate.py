"""Migrations on PostgreSQL: the same scripts as on SQLite, one process at a time, in one transaction."""

from __future__ import annotations

import asyncpg

from sidecar.store.migrate import SCHEMA_VERSION, is_current, upgrade
from sidecar.store.postgres_link import TROUBLE, Link, Raw, translate

_LOCK_KEY = 0x45584348_5349_4445
"""Names our migration among advisory locks of the database: "EXCHSIDE"."""
_WAIT_S = 110
"""How long to wait for another process that migrates; a little less than what the chart gives a first start."""


async def postgres_schema_version(raw: Raw) -> str | None:
    """Return the version of a database's schema, None when it has none."""
    if await raw.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    version = await raw.fetchval("SELECT version_num FROM alembic_version")
    return None if version is None else str(version)


async def find_postgres_version(link: Link) -> str | None:
    """Return the version of the schema; nothing is changed.

    Raises:
        StoreUnavailable: the database cannot be used.
        SettingsInvalid: the connection URI cannot be used.
    """
    try:
        raw = await link.connect()
        try:
            return await postgres_schema_version(raw)
        finally:
            raw.terminate()
    except TROUBLE as error:
        raise translate(error, "look at") from error


async def migrate_postgres(link: Link) -> bool:
    """Bring the schema up to date; say whether anything was done.

    Raises:
        StoreUnavailable: the database cannot be used, or was written by a newer version of the service.
        SettingsInvalid: the connection URI cannot be used.
    """
    try:
        raw = await link.connect()
        try:
            if is_current(await postgres_schema_version(raw)):
                return False
        finally:
            raw.terminate()
        return await _migrate(link)
    except TROUBLE as error:
        raise translate(error, "migrate") from error


async def _migrate(link: Link) -> bool:
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async def connect() -> asyncpg.Connection:
        return await link.connect(is_patient=True)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            # Two that start at once: the second waits here, and then finds the work done.
            await connection.execute(text(f"SET LOCAL lock_timeout = {_WAIT_S * 1000}"))
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})"))
            # A table that is in use is waited for as briefly as any row: those who come later queue up behind us.
            await connection.execute(text(f"SET LOCAL lock_timeout = {round(link.lock_s * 1000)}"))
            fairy = await connection.get_raw_connection()
            driver = fairy.driver_connection
            assert isinstance(driver, asyncpg.Connection), "connect() makes one"
            if is_current(await postgres_schema_version(driver)):
                return False
            await connection.run_sync(upgrade, SCHEMA_VERSION)
    except DBAPIError as error:
        cause = error.orig.__cause__ if error.orig is not None else None
        raise translate(cause if isinstance(cause, Exception) else error, "migrate") from error
    finally:
        await engine.dispose()
    return True
