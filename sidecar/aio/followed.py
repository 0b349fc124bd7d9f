"""A value read from files that may be replaced while it is in use: the last good one holds until there is a better.

Kubernetes replaces mounted secrets under a running process, and people edit files by hand. A file that cannot be used
changes nothing but the log and a gauge; it never opens a door that was locked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from sidecar.errors import SettingsInvalid

log = structlog.get_logger(__name__)

T = TypeVar("T")


class FollowedFiles(Generic[T]):
    """A value that follows its files, looked at from any thread."""

    def __init__(self, name: str, paths: tuple[Path, ...], read: Callable[[], T]) -> None:
        """Read it for the first time.

        Args:
            name: what the log calls it.
            read: reads the files and raises SettingsInvalid, which quotes nothing of them, when they are unusable.
        Raises:
            SettingsInvalid: they are unusable; there is no good value to go on with.
        """
        self._name = name
        self._paths = paths
        self._read = read
        self._guard = threading.Lock()
        self._seen = self._look()  # before reading: what changes in between is read once more
        self._value = read()
        self._is_usable = True

    @property
    def current(self) -> T:
        """The value of the files as they are now; while they are unusable, of the last ones that were not.

        Costs a look at their times, some microseconds, unless they have changed.
        """
        seen = self._look()
        if seen == self._seen:
            return self._value
        with self._guard:
            if seen != self._seen:
                self._seen = seen
                try:
                    self._value = self._read()
                except SettingsInvalid as error:
                    # Perhaps half written: the rest changes the file again.
                    self._is_usable = False
                    log.error("file.unusable", file=self._name, **error.details)
                else:
                    self._is_usable = True
                    log.info("file.loaded", file=self._name)
        return self._value

    @property
    def is_usable(self) -> bool:
        """Whether the value is that of the files as they are now."""
        _ = self.current
        return self._is_usable

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(signature_of(path) for path in self._paths)


def read_bytes(path: Path, setting: str, *, bytes_max: int) -> bytes:
    """Read a file that a setting names.

    Raises:
        SettingsInvalid: it is missing, unreadable, or larger than `bytes_max`.
    """
    try:
        with path.open("rb") as file:
            text = file.read(bytes_max + 1)
    except OSError as error:
        raise unusable(setting, path, f"cannot be read ({error.strerror})") from None
    if len(text) > bytes_max:
        raise unusable(setting, path, f"has more than {bytes_max} bytes")
    return text


def unusable(setting: str, path: Path, sentence: str) -> SettingsInvalid:
    """Return what to raise about a file; the sentence goes on after its path."""
    return SettingsInvalid("a file cannot be used", details={setting: f"{path} {sentence}"})


def signature_of(path: Path) -> tuple[int, int, int]:
    """Return what is another one when a file was changed or replaced; zeros when there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_ino, found.st_size
