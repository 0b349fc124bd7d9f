"""Where a watch keeps its resume token between runs.

A watch saves a token only after its consumer has come back for the next message. What a consumer did with a message may
therefore be done again after a crash, but is never skipped. If the effects of messages go into a database, keep the token
there too, in the same transaction, and give it to the watch as `resume_token`; a store of its own is for consumers whose
effects are safe to repeat. `RoomMirror` keeps rows and token together by itself.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from pathlib import Path
from typing import Protocol


class TokenStore(Protocol):
    """Keeps one token for each name of a watch.

    The async client calls both methods in a worker thread, so an implementation may block and must be safe to call from
    any thread. An error raised here ends the watch and reaches its consumer.
    """

    def load(self, name: str) -> str | None:
        """Give the last token saved for `name`; None when there is none."""
        ...

    def save(self, name: str, token: str) -> None:
        """Keep `token` for `name`; durable when this returns."""
        ...


class MemoryTokenStore:
    """Keeps tokens as long as the process lives."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    def load(self, name: str) -> str | None:
        """See `TokenStore`."""
        with self._lock:
            return self._tokens.get(name)

    def save(self, name: str, token: str) -> None:
        """See `TokenStore`."""
        with self._lock:
            self._tokens[name] = token


class FileTokenStore:
    """Keeps each token in a file of its own in one directory, which is made if need be.

    A save replaces the file in one step and is on the disk when it returns: a crash leaves the old token or the new one.
    One process may use a directory at a time.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory)

    def load(self, name: str) -> str | None:
        """See `TokenStore`. Raises OSError when the file is there but cannot be read."""
        try:
            return self._path(name).read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def save(self, name: str, token: str) -> None:
        """See `TokenStore`. Raises OSError when the disk refuses."""
        self._directory.mkdir(parents=True, exist_ok=True)
        replace_file(self._path(name), token.encode())

    def _path(self, name: str) -> Path:
        # Names hold slashes and may differ in case only: a hash is a file name everywhere, and the readable part is for people.
        readable = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in name)[:80]
        return self._directory / f"{readable}.{hashlib.sha256(name.encode()).hexdigest()[:16]}.token"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves either the old content or the new, never a mixture.

    Raises:
        OSError: the disk refuses; the old content is still there.
    """
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    if os.name == "posix":
        # The new name is an entry of the directory, which has to reach the disk as well.
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
