"""Procrastinate's tables, made and brought up to date by our migration, in a schema of their own where that may be made.

The scripts are Procrastinate's. Which of them have run is kept as the comment of its main table, since it keeps no version
itself. The tables hold hints only: dropping the schema while nothing runs loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import asyncpg

from sidecar.errors import StoreUnavailable
from sidecar.store.postgres_link import TROUBLE, Link, Raw, translate

SCHEMA = "exchange_sidecar_hints"
SEARCH_PATH = f'{SCHEMA}, "$user", public'
"""Where the tables are looked for. A schema that is not there is passed over, so one path fits both cases."""

_LOCK_KEY = 0x45584348_48494E54
"""Names this migration among advisory locks of the database: "EXCHHINT"."""
_WAIT_S = 60
_MARK = "exchange-sidecar: "


async def migrate_procrastinate(link: Link) -> bool:
    """Make the tables, or bring them up to date; say whether anything was done.

    Raises:
        StoreUnavailable: the database cannot be used, or the tables there are somebody else's.
        SettingsInvalid: the connection URI cannot be used.
    """
    try:
        raw = await link.connect(is_patient=True)
        try:
            async with raw.transaction():
                return await _migrate(raw)
        finally:
            raw.terminate()
    except TROUBLE as error:
        raise translate(error, "migrate") from error


async def _migrate(raw: asyncpg.Connection) -> bool:
    scripts, whole = _scripts()
    newest = scripts[-1][0]
    await raw.execute(f"SET LOCAL lock_timeout = {_WAIT_S * 1000}")
    await raw.execute(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
    await raw.execute(f"SET LOCAL search_path TO {SEARCH_PATH}")
    applied = await _applied(raw, await _table(raw))
    if applied is not None and applied >= newest:
        return False
    if applied is None:
        await raw.execute(whole)
    else:
        for name, script in scripts:
            if name > applied:
                await raw.execute(script)
    await raw.execute(f"COMMENT ON TABLE procrastinate_jobs IS '{_MARK}{newest}'")
    return True


def _scripts() -> tuple[Sequence[tuple[str, str]], str]:
    """Return the scripts that change Procrastinate's schema, by name, and the one that makes the newest from nothing."""
    # Imported here: who does not use Procrastinate need not have it.
    from procrastinate.schema import SchemaManager

    files = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    return [(file.stem, file.read_text(encoding="utf-8")) for file in files], SchemaManager.get_schema()


async def _table(raw: Raw) -> str:
    """Return the name of the main table, in a schema of its own if there is one that may be used, or it may be made."""
    found = await raw.fetchrow("SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1", SCHEMA)
    if found is not None and not found[0]:
        return "procrastinate_jobs"  # another user's; the search path passes it over
    if found is None:
        if not await raw.fetchval("SELECT has_database_privilege(current_database(), 'CREATE')"):
            return "procrastinate_jobs"
        await raw.execute(f"CREATE SCHEMA {SCHEMA}")
    return f"{SCHEMA}.procrastinate_jobs"


async def _applied(raw: Raw, table: str) -> str | None:
    """Return the newest script that has run, None when there are no tables."""
    row = await raw.fetchrow(
        "SELECT obj_description(found, 'pg_class') FROM to_regclass($1) found WHERE found IS NOT NULL", table
    )
    if row is None:
        return None
    comment = str(row[0] or "")
    if not comment.startswith(_MARK):
        raise StoreUnavailable(
            f"the database holds another application's Procrastinate; let the user make the schema {SCHEMA}, or make it for it"
        )
    return comment.removeprefix(_MARK)
