"""Puts a backup in the place of a SQLite database that nobody is using.

The restored database is complete, of today's schema and in new epochs before it gets the database's name, in one step: a
power cut leaves the former one or the restored one, never anything between. The former one is kept beside it.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sidecar.errors import StoreUnavailable
from sidecar.store.epochs import Renewal, renew_all
from sidecar.store.migrate import migrate_sqlite
from sidecar.store.sqlite import commits_count, run_alone
from sidecar.store.sqlite_backup import BackupRefused, Contents, copy_database, staged
from sidecar.store.sqlite_files import HighWaterMark, is_behind, lock_database, next_count, sync_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was restored. `former` is where the database is that was there before, None when there was none."""

    contents: Contents
    """Of the backup; its schema is brought up to date on the way."""
    renewal: Renewal
    former: Path | None


def restore(source: Path, database: Path, *, now: datetime) -> Restored:
    """Put a copy of `source` in the place of `database`.

    Raises:
        BackupRefused: the source is no whole backup of ours, or of a newer version; the database is as it was.
        StoreUnavailable: somebody is using the database, or the disk does not take it; the database is as it was.
    """
    if not source.is_file():
        raise BackupRefused(f"there is no file {source}")
    if database.exists() and source.samefile(database):
        raise BackupRefused(f"{source} is the database itself; `exchange-sidecar epoch renew` gives it new epochs")
    lock = lock_database(database)
    try:
        with staged(database) as copy:
            contents = copy_database(source, copy)
            migrate_sqlite(copy)
            mark = HighWaterMark(database)
            try:
                count, renewal = _renew(copy, mark.load(), now)
                former = _set_aside(database, now)
                os.replace(copy, database)
                sync_folder(database.parent)
                mark.note(count)  # last: a database ahead of its mark is one that a power cut interrupted
            finally:
                mark.close()
    finally:
        os.close(lock)
    return Restored(contents=contents, renewal=renewal, former=former)


def _renew(copy: Path, mark: int | None, now: datetime) -> tuple[int, Renewal]:
    """Give every log of the copy a new epoch, and the copy a number of commits beyond that of the former database.

    A start then sees nothing to find out any more.
    """
    try:
        with closing(sqlite3.connect(copy, isolation_level=None)) as raw:
            raw.execute("PRAGMA foreign_keys=ON")
            raw.execute("PRAGMA secure_delete=ON")  # as the engine has it
            count = commits_count(raw)
            count = next_count(mark if mark is not None and is_behind(count, mark) else count)
            return count, run_alone(raw, renew_all, now=now, count=count)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"cannot renew the epochs of the copy: {error}") from error


def _set_aside(database: Path, now: datetime) -> Path | None:
    """Give the former database a second name, and see that nothing of it is left beside the first."""
    if not database.exists():
        return None
    former = database.with_name(f"{database.name}.replaced-{now:%Y%m%dT%H%M%SZ}")
    _fold_log(database, former)
    os.link(database, former)
    return former


def _fold_log(database: Path, former: Path) -> None:
    """Bring what stands in the former database's write-ahead log into its file.

    A log that stayed would be played back over the restored file. Leaving its mode also needs the file for itself: it
    finds out programs that hold it open without our lock.
    """
    try:
        with closing(sqlite3.connect(database, timeout=1.0, isolation_level=None)) as raw:
            (mode,) = raw.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(
            f"cannot close the database {database}; is another program using it? ({error})"
        ) from error
    except sqlite3.DatabaseError:
        mode = "damaged"  # perhaps why somebody restores; its log goes with it
        for suffix in ("-wal", "-journal"):
            with suppress(FileNotFoundError):
                os.rename(f"{database}{suffix}", f"{former}{suffix}")
        with suppress(FileNotFoundError):
            os.unlink(f"{database}-shm")
    if mode == "wal":
        raise StoreUnavailable(f"cannot close the database {database}; is another program using it?")
