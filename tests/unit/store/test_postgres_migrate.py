"""Migrations only add: whatever an old version reads and writes is there after a later one has migrated."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from sidecar.store import migrate, postgres_migrate
from sidecar.store.postgres_link import Link
from tests.support import postgres

_COLUMNS = """
    SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
"""
_RULES = """
    SELECT conrelid::regclass::text AS table_name, conname, pg_get_constraintdef(oid) AS rule
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
"""
_INDEXES = """
    SELECT indrelid::regclass::text AS table_name, indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisunique
    FROM pg_index JOIN pg_class ON pg_class.oid = indrelid WHERE relnamespace = 'public'::regnamespace
"""

Rows = dict[tuple[str, str], tuple[Any, ...]]
"""(table, name) -> what it is (Any: of any column)."""


def steps() -> list[tuple[str, str]]:
    """Return each version with the next one."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    versions = list(reversed(found))
    return list(pairwise(versions))


async def brought_to(dsn_file: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Rows, Rows, Rows]:
    """Migrate up to a version; return columns, constraints and indexes."""
    monkeypatch.setattr(migrate, "SCHEMA_VERSION", version)
    monkeypatch.setattr(postgres_migrate, "SCHEMA_VERSION", version)
    link = Link(dsn_file, statement_s=10.0, lock_s=5.0)
    assert await postgres_migrate.migrate_postgres(link)
    raw = await link.connect()
    try:
        columns, rules, indexes = [
            {(row[0], row[1]): tuple(row[2:]) for row in await raw.fetch(query)}
            for query in (_COLUMNS, _RULES, _INDEXES)
        ]
    finally:
        await raw.close()
    return columns, rules, indexes


def _is_served_by_another(index: tuple[Any, ...], others: Rows) -> bool:
    """Whether an index that only makes reading quick has a successor that begins with the same columns."""
    definition, is_unique = index
    _, _, use = definition.partition(" ON ")
    return not is_unique and any(other.partition(" ON ")[2].startswith(use[:-1] + ",") for other, _ in others.values())


@pytest.mark.parametrize(("before", "after"), steps())
async def test_migration_only_adds(before: str, after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there stays as it was; what is new may be left out by who does not know it, and forbids nothing."""
    with postgres.database(is_migrated=False) as dsn_file:
        old_columns, old_rules, old_indexes = await brought_to(dsn_file, before, monkeypatch)
        columns, rules, indexes = await brought_to(dsn_file, after, monkeypatch)
    assert old_columns.items() <= columns.items()
    assert old_rules.items() <= rules.items()
    missing = [name for name, index in old_indexes.items() if indexes.get(name) != index]
    assert [name for name in missing if not _is_served_by_another(old_indexes[name], indexes)] == []
    old_tables = {table for table, _ in old_columns}
    needed = [
        name
        for name, (_, _, is_nullable, default) in columns.items()
        if name[0] in old_tables and name not in old_columns and is_nullable == "NO" and default is None
    ]
    assert needed == [], "an old version would write rows without them"
    forbidding = [name for name in rules if name[0] in old_tables and name not in old_rules]
    assert forbidding == [], "an old version does not know these rules"
    unique = [name for name in indexes if name[0] in old_tables and name not in old_indexes and indexes[name][1]]
    assert unique == [], "an old version would write rows that they refuse"
