"""Everything that a running service keeps: its database with all that lies beside it, a backup of it, and its log."""

from __future__ import annotations

from pathlib import Path

from tests.support import postgres
from tests.support.processes import Service, run_cli


def everything_kept(service: Service) -> bytes:
    """Return all that a service on either database has written down until now. Blocks: from async code use a thread.

    Of a PostgreSQL these are the rows of all tables, as a dump has them: what is dead in its files is its operator's.
    """
    log = service.log_file.read_bytes()
    dsn_file = service.env.get("EXCHANGE_STORE__DSN_FILE")
    if dsn_file is not None:
        return log + _dump(postgres.name_of(Path(dsn_file)))
    backup = service.folder / "privacy-backup.sqlite3"
    made = run_cli("backup", "--to", str(backup), "--overwrite", env=service.env)
    assert made.returncode == 0, made.stderr
    beside = sorted(service.database.parent.glob(f"{service.database.name}*"))
    assert any(file.name.endswith("-wal") for file in beside), "the write-ahead log is among the files"
    return log + backup.read_bytes() + b"".join(file.read_bytes() for file in beside)


def _dump(database: str) -> bytes:
    server = postgres.server()
    tables = server.query(
        "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
        database=database,
    )
    # Bytes are told as they are, so that a text in them is found.
    return b"\n".join(
        value if isinstance(value, bytes) else str(value).encode()
        for (table,) in tables
        for row in server.query(f"SELECT * FROM {table}", database=database)
        for value in row
    )
