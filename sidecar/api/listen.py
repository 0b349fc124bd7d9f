"""The Unix socket: one process holds it, and its leftovers are cleared by the next one only.

gRPC takes a socket path over from a living server without a word, so a lock file beside it decides who may listen.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from sidecar.errors import SettingsInvalid

log = structlog.get_logger(__name__)

_FOLDER_MODE = 0o750
"""Of a folder that is made: who may reach the socket is the group, as its own permissions say."""
_PATH_BYTES_MAX = 107
"""What fits into sockaddr_un on Linux."""


class SocketLock:
    """The right to listen on a socket path, from `take` to `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock, and remove the socket that a dead process left.

        Raises:
            SettingsInvalid: another process holds it, or the path cannot be used.
        """
        if len(os.fsencode(self._path)) > _PATH_BYTES_MAX:
            raise _refuse(self._path, f"is longer than {_PATH_BYTES_MAX} bytes, which no Unix socket can be")
        self._prepare_folder()
        lock_path = self._path.with_name(self._path.name + ".lock")
        try:
            descriptor = os.open(lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _refuse(lock_path, f"cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise _refuse(self._path, "is in use by another process") from error
        self._descriptor = descriptor
        try:
            self._remove_leftover()
        except SettingsInvalid:
            self.release()
            raise

    def _prepare_folder(self) -> None:
        """Make the folder if it is missing; say so if anybody could put another socket into the place of ours."""
        folder = self._path.parent
        try:
            try:
                folder.mkdir(_FOLDER_MODE)
            except FileExistsError:
                found = folder.stat()
            else:
                # Whatever the umask was; and on a pod's volume the folder has inherited the bit by which the socket gets the
                # pod's group, which an app with another user is in.
                folder.chmod(_FOLDER_MODE | (folder.stat().st_mode & stat.S_ISGID))
                return
        except OSError as error:
            raise _refuse(folder, f"cannot be made or used: {error.strerror}") from error
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            log.warning("socket.folder_open", folder=str(folder), mode=f"{stat.S_IMODE(found.st_mode):04o}")
        elif found.st_uid not in (0, os.geteuid()):
            log.warning("socket.folder_foreign", folder=str(folder), owner_uid=found.st_uid)

    def _remove_leftover(self) -> None:
        try:
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise _refuse(self._path, "exists and is not a socket; it was left alone")
            self._path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _refuse(self._path, f"cannot be cleared: {error.strerror}") from error

    def release(self) -> None:
        """Let others listen. The lock file stays: removing it would let two processes hold two locks of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def only_for(mode: int) -> Iterator[None]:
    """Make sockets that are bound inside with at most these permissions, from their first moment on."""
    before = os.umask(~mode & 0o777)
    try:
        yield
    finally:
        os.umask(before)


def _refuse(path: Path, sentence: str) -> SettingsInvalid:
    return SettingsInvalid("cannot listen on the Unix socket", details={"grpc.socket": f"{path} {sentence}"})
