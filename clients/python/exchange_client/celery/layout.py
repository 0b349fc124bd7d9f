"""Which queue a room belongs to, and what the queues are called.

Pure. A room's changes all go to one queue, and a queue has one consumer with one slot: that is what keeps them in order.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

QUEUES_COUNT = 8
"""Queues unless told otherwise: as many rooms are worked on at once."""

QUEUES_COUNT_MAX = 256
"""Each queue wants a worker of its own, and its length is asked for every few seconds."""

PREFIX = "exchange.changes"
"""Names of the queues begin with this unless told otherwise."""

_PREFIX = re.compile(r"[A-Za-z0-9._:-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Names and number of the queues; the bridge and all workers must agree on it.

    Attributes:
        queues_count: how many, 1 to QUEUES_COUNT_MAX.
        prefix: what their names begin with.
    """

    queues_count: int = QUEUES_COUNT
    prefix: str = PREFIX

    def __post_init__(self) -> None:
        if not 1 <= self.queues_count <= QUEUES_COUNT_MAX:
            raise ValueError(f"there are 1 to {QUEUES_COUNT_MAX} queues, not {self.queues_count}")
        if _PREFIX.fullmatch(self.prefix) is None:
            raise ValueError(f"a prefix is 1 to 100 of A-Z a-z 0-9 . _ : -, got {self.prefix!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the queues, by number."""
        return tuple(f"{self.prefix}.{number}" for number in range(self.queues_count))

    @property
    def dead_name(self) -> str:
        """The name of the queue for changes that no handler could take."""
        return f"{self.prefix}.dead"


def queue_of(room: str, queues_count: int) -> int:
    """Give the number of a room's queue, the same in every process and version: Python's own hash is not."""
    return zlib.crc32(room.encode()) % queues_count
