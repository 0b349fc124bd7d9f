"""What happened in a run, in order, and the digest by which two runs of one seed are told to be the same."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, deque
from pathlib import Path
from typing import TextIO

_LAST_MAX = 200


class Trace:
    """Lines with virtual times. Nothing random that does not follow from the seed may stand in one (tokens, for instance)."""

    def __init__(self, file: Path | None = None) -> None:
        self._digest = hashlib.blake2b(digest_size=12)
        self._file: TextIO | None = None if file is None else file.open("w")
        self.last: deque[str] = deque(maxlen=_LAST_MAX)
        self.counts: Counter[str] = Counter()
        """How often each kind of thing happened."""

    def note(self, kind: str, text: str = "") -> None:
        """Write down that something happened now."""
        line = f"{asyncio.get_running_loop().time():14.6f} {kind} {text}"
        self.counts[kind] += 1
        self._digest.update(line.encode())
        self.last.append(line)
        if self._file is not None:
            print(line, file=self._file)

    @property
    def digest(self) -> str:
        """The digest of all lines so far."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()
