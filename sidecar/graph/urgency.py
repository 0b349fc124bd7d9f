"""How urgent a request is: who goes first where requests wait for each other.

It travels beside the call as a context value and not as an argument, because it says who waits for an answer and nothing
about what is asked: a read is the same for a notified room and for an import, and the code between a lane and the line has
no use for it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sidecar.model.intent import Priority


class Urgency(enum.IntEnum):
    """Lower goes first. All but WRITE are those of background work, by the same numbers."""

    WRITE = 0
    """Somebody waits for a booking to be made."""
    HINT = 10
    """A change was announced; watchers wait for it."""
    CHECK = 20
    """Proves that nothing was missed, and keeps announcements coming."""
    COMPARE = 30
    """A full read."""
    IMPORT = 40
    """A room's first read."""


_CURRENT: ContextVar[Urgency] = ContextVar("urgency", default=Urgency.HINT)
"""Who says nothing is somebody who waits: background work always says."""


def urgency_of(priority: Priority) -> Urgency:
    """Return how urgent the requests of background work are; a priority between two is taken for the higher."""
    return max(urgency for urgency in Urgency if urgency <= priority)


def current_urgency() -> Urgency:
    """Return how urgent what runs now is."""
    return _CURRENT.get()


@contextmanager
def acting_with(urgency: Urgency) -> Iterator[None]:
    """Make all requests inside, and of tasks that are started inside, this urgent."""
    token = _CURRENT.set(urgency)
    try:
        yield
    finally:
        _CURRENT.reset(token)
