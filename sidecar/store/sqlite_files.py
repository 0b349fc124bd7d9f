"""The files beside a SQLite database: the lock that keeps others out, and the mark that tells when it went back.

Every commit counts up a number inside the database (`user_version`, so a copy has it, too) and then notes it in the mark. A
database whose number is behind its mark was replaced by an earlier copy, by whatever means. One that has been in use and has
no mark came from somewhere else, and counts as such a copy.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import structlog

from sidecar.errors import StoreUnavailable

log = structlog.get_logger(__name__)

_COUNTS = 2**32
"""`user_version` has 32 bits. Numbers are compared on a circle: at 500 commits/s half of it is 50 days."""


def lock_database(path: Path) -> int:
    """Keep other processes out of a database; return the descriptor that holds the lock until it is closed.

    Raises:
        StoreUnavailable: another process has it, or the lock file cannot be made.
    """
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"cannot lock the database {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise StoreUnavailable(f"another process has the database {path}; stop it first") from None
        raise StoreUnavailable(f"cannot lock the database {path}: {error.strerror}") from error
    return lock


def size_bytes(path: Path) -> int:
    """Return how much room a database takes, with its write-ahead log; 0 for what is not there."""
    total = 0
    for name in (path, f"{path}-wal"):
        with suppress(OSError):
            total += os.stat(name).st_size
    return total


def free_bytes(path: Path) -> int:
    """Return how much room is left to us on the disk that a database lies on; 0 when it does not answer."""
    with suppress(OSError):
        found = os.statvfs(path.parent)
        return found.f_bavail * found.f_frsize
    return 0


def sync_folder(folder: Path) -> None:
    """Make the names of files in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_behind(count: int, mark: int) -> bool:
    """Tell whether a number of commits is earlier than another one, on the circle of numbers."""
    return (count - mark) % _COUNTS >= _COUNTS // 2


def next_count(count: int) -> int:
    """Return the number after this one, as SQLite writes it: 32 bits with a sign."""
    return (count + 1 + _COUNTS // 2) % _COUNTS - _COUNTS // 2


class HighWaterMark:
    """The file that says how far a database had come."""

    def __init__(self, database: Path) -> None:
        """Open it, and make it when missing.

        Raises:
            StoreUnavailable: it can be neither read nor made.
        """
        try:
            self._file = os.open(f"{database}.highwater", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"cannot open {database}.highwater: {error.strerror}") from error
        self._is_failing = False

    def load(self) -> int | None:
        """Return the number noted last, None when there is none or it cannot be understood."""
        with suppress(ValueError, OSError):
            return int(os.pread(self._file, 32, 0))
        return None

    def note(self, count: int) -> None:
        """Note a number. It is written over the one before, which needs no space even on a full disk."""
        try:
            os.pwrite(self._file, b"%12d\n" % count, 0)
            self._is_failing = False
        except OSError as error:
            # The commit it is about has happened; what is lost is only that going back behind it would be noticed.
            if not self._is_failing:
                log.error("store.high_water_failed", error=error.strerror)
            self._is_failing = True

    def close(self) -> None:
        """Close the file, and make sure that it outlives a loss of power."""
        with suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)
