"""Where the bridge is in the log: kept durably, and only after the broker has confirmed everything before it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from exchange_client.tokens import TokenStore


class CursorError(Exception):
    """The cursor cannot be used as it is; the message says why and what to do. Waiting does not mend it."""


class CursorTaken(CursorError):
    """Another bridge uses the cursor; once that has ended it is free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What is kept.

    Attributes:
        token: resume token of the watch; empty: begin with snapshots.
        epoch: what revisions after the token compare within.
    """

    token: str = ""
    epoch: str = ""


class Cursor:
    """A position in a `TokenStore`, together with the number of queues it was made for."""

    def __init__(self, store: TokenStore, name: str, *, queues_count: int) -> None:
        """Take the store; `name` is that of the watch."""
        self._store = store
        self._name = name
        self._queues_count = queues_count
        self.position = Position()

    def load(self, *, accept_queues: bool = False) -> None:
        """Read the position; blocks.

        Args:
            accept_queues: go on although the number of queues is another than before: the old ones have run empty.
        Raises:
            CursorError: another number of queues, or something that no bridge has written.
            OSError: the file cannot be read; other errors are the store's own.
        """
        text = self._store.load(self._name)
        if text is None:
            return
        try:
            kept = json.loads(text)
            position = Position(token=str(kept["token"]), epoch=str(kept["epoch"]))
            queues_count = int(kept["queues"])
        except (ValueError, KeyError, TypeError):
            raise CursorError(f"what is kept for {self._name} is not a bridge's cursor") from None
        if queues_count != self._queues_count and not accept_queues:
            raise CursorError(
                f"the cursor was kept with {queues_count} queues, and now there are {self._queues_count}: rooms would change "
                "their queues, and overtake what waits in the old ones. Let the workers run those empty, then start the bridge "
                "once with --accept-queues."
            )
        self.position = position

    def save(self, position: Position) -> None:
        """Keep a position; durable when this returns. Blocks. Does nothing if it is the one that is kept."""
        if position == self.position:
            return
        kept = {"token": position.token, "epoch": position.epoch, "queues": self._queues_count}
        self._store.save(self._name, json.dumps(kept))
        self.position = position


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of a cursor's folder while inside: two bridges on one cursor would take turns in setting it back.

    The lock ends with the process, however that ends. It holds on one machine; a network's file system may not keep it.

    Raises:
        CursorTaken: another bridge has it.
        OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CursorTaken(f"another bridge uses {folder}; one at a time may, and {name} needs one folder") from None
        yield
    finally:
        os.close(handle)
