"""A bearer token that lies in a file and may be replaced there while the client is in use."""

from __future__ import annotations

import re
from contextlib import suppress
from os import PathLike
from pathlib import Path

_TOKEN = re.compile("[!-~]{1,4096}")


class TokenFile:
    """Gives the token of a file as it is at each call; hand it to `connect` as `token`.

    Kubernetes replaces mounted secrets under a running process. The file is read anew when it has changed, which costs a look
    at its times otherwise.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        """Read the file; OSError when it cannot be read, ValueError when it does not hold one token and nothing else."""
        self._path = Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._token = ""
        self._load()

    def __call__(self) -> str:
        """Give the token; while the file is missing or broken, as in the midst of a replacement, the last one."""
        with suppress(OSError, ValueError):
            self._load()
        return self._token

    def _load(self) -> None:
        found = self._path.stat()
        seen = (found.st_mtime_ns, found.st_ino, found.st_size)
        if seen != self._seen:
            token = self._path.read_text().strip()
            if _TOKEN.fullmatch(token) is None:
                raise ValueError(f"{self._path} does not hold one token and nothing else")
            self._token, self._seen = token, seen
