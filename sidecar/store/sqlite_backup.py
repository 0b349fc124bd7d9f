"""Copies of a SQLite database that are whole: made while others write to it, and proved before they get their name.

SQLite's own backup reads the pages of one state, in one step. A writer neither waits for it nor makes it begin again; the
write-ahead log merely grows until it is done. What arises is a single file without a log beside it.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from sidecar.errors import SidecarError, StoreUnavailable
from sidecar.model.window import from_micros
from sidecar.store.migrate import SCHEMA_VERSION, schema_version
from sidecar.store.sqlite_files import sync_folder

_BUSY_S = 5.0
_COUNTED = ("tenants", "rooms", "bookings", "changes", "subscriptions")


class BackupRefused(SidecarError):
    """A file cannot be written as a backup, or is none that can be restored, and why."""

    reason: ClassVar[str] = "BACKUP_REFUSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a database holds. `newest_change_at` is None when its logs are empty."""

    schema: str
    bytes_count: int
    tenants_count: int
    rooms_count: int
    bookings_count: int
    changes_count: int
    subscriptions_count: int
    newest_change_at: datetime | None


def back_up(database: Path, target: Path, *, overwrite: bool) -> Contents:
    """Copy a database, whether a service is using it or not, and return what the copy holds.

    The target has its name once the copy is proved and on disk, never earlier; only its owner can read it. Credentials in it
    are sealed; the key ring is not part of it.

    Raises:
        BackupRefused: there is no database, the target exists and `overwrite` was not given, or the copy is not whole.
        StoreUnavailable: the disk is full, or the like; nothing is left behind.
    """
    if _state_of(database) is None:
        raise BackupRefused(f"there is no database {database}")
    _check_target(database, target, overwrite=overwrite)
    with staged(target) as copy:
        contents = copy_database(database, copy)
        _check_target(database, target, overwrite=overwrite)  # again: the copying took its time
        os.replace(copy, target)
        sync_folder(target.parent)
    return contents


def _check_target(database: Path, target: Path, *, overwrite: bool) -> None:
    if target.is_dir() or not target.parent.is_dir():
        raise BackupRefused(f"{target} is not the name of a file in a folder that exists")
    if not target.exists():
        return
    if target.samefile(database):
        raise BackupRefused(f"{target} is the database itself")
    if not overwrite:
        raise BackupRefused(f"{target} exists; --overwrite replaces it")


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Give the name of an empty file beside a target, for its owner only, that is gone at the end unless it was renamed.

    Raises:
        StoreUnavailable: the folder does not take it.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".partial", dir=target.parent)
    except OSError as error:
        raise StoreUnavailable(f"cannot write to {target.parent}: {error.strerror}") from error
    os.close(descriptor)
    try:
        yield Path(name)
    except OSError as error:
        raise StoreUnavailable(f"cannot write {target}: {error.strerror}") from error
    finally:
        for file in (name, f"{name}-journal", f"{name}-wal", f"{name}-shm"):
            with suppress(FileNotFoundError):
                os.unlink(file)


def copy_database(source: Path, target: Path) -> Contents:
    """Copy one state of a database into an empty file, prove the copy, and return what it holds.

    Raises:
        BackupRefused: the source is no database of ours, or is damaged.
        StoreUnavailable: it could not be read or written.
    """
    try:
        with closing(_open_to_read(source)) as reader, closing(sqlite3.connect(target, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous=OFF")  # synced as a whole below
            reader.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # a single file, nothing beside it
            _prove(copy, source)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise StoreUnavailable(f"cannot copy {source}: {error}") from error
        raise BackupRefused(f"{source} is damaged, or no database: {error}") from error
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return _inspect(target, called=source)


def _prove(copy: sqlite3.Connection, source: Path) -> None:
    found = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if found != ("ok",):
        raise BackupRefused(f"{source} is damaged: {found[0]}")
    if copy.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise BackupRefused(f"{source} is damaged: rows refer to rows that do not exist")


def _inspect(path: Path, *, called: Path) -> Contents:
    schema = _state_of(path)
    if schema is None:
        raise BackupRefused(f"{called} is no database of this service")
    if schema > SCHEMA_VERSION:
        raise BackupRefused(f"{called} has schema {schema}, newer than {SCHEMA_VERSION} of this version")
    try:
        with closing(_open_to_read(path)) as raw:
            counts = {name: _count(raw, name) for name in _COUNTED}
            newest = raw.execute("SELECT MAX(recorded_at) FROM changes").fetchone()[0]
    except sqlite3.Error as error:
        raise BackupRefused(f"{called} is damaged, or no database: {error}") from error
    return Contents(
        schema=schema,
        bytes_count=path.stat().st_size,
        tenants_count=counts["tenants"],
        rooms_count=counts["rooms"],
        bookings_count=counts["bookings"],
        changes_count=counts["changes"],
        subscriptions_count=counts["subscriptions"],
        newest_change_at=None if newest is None else from_micros(newest),
    )


def _state_of(path: Path) -> str | None:
    try:
        return schema_version(path)
    except StoreUnavailable as error:
        raise BackupRefused(f"{path} is damaged, or no database: {error.message}") from error


def _count(raw: sqlite3.Connection, table: str) -> int:
    return int(raw.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])  # noqa: S608  (names of our own)


def _open_to_read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S, isolation_level=None)
