"""What happens around a handler: tried again in its place, and, when that is of no use, put aside where people find it.

A change that fails keeps those behind it waiting, because they belong to the same rooms: order is the promise. So it is tried a
few times, and then it goes into the queue of dead changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from celery.exceptions import Reject, TaskPredicate

from exchange_client.celery.publisher import BrokerLost
from exchange_client.celery.shape import Change

log = logging.getLogger("exchange_client.celery")

Handle = Callable[[Change], object]
"""A handler; what it returns does not matter."""

ATTEMPTS_MAX = 20
"""With the longest pauses this is eight minutes for one change: RabbitMQ takes it away from a worker after half an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a handler is tried, and how long is waited in between.

    Attributes:
        attempts_max: tries of one change, 1 to ATTEMPTS_MAX.
        pause_s: before the second try; doubled before each later one.
        pause_max_s: the longest pause.
    """

    attempts_max: int = 5
    pause_s: float = 1.0
    pause_max_s: float = 30.0

    def __post_init__(self) -> None:
        if not 1 <= self.attempts_max <= ATTEMPTS_MAX:
            raise ValueError(f"a change is tried 1 to {ATTEMPTS_MAX} times, not {self.attempts_max}")

    def pause_before(self, attempt: int) -> float:
        """Give the pause before a try, the second being 2."""
        return min(self.pause_max_s, self.pause_s * 2.0 ** (attempt - 2))


def carry_out(
    handle: Handle,
    change: Change,
    *,
    patience: Patience,
    wait: Callable[[float], object],
    bury: Callable[[Change], None],
) -> None:
    """Hand a change to its handler until it takes it, or bury it.

    Args:
        wait: blocks for so many seconds.
        bury: puts a change durably into the queue of dead ones, or raises BrokerLost.
    Raises:
        Reject: it could not even be buried; the broker is to give it again.
        TaskPredicate: the handler's own `Ignore` or `Reject`.
    """
    for attempt in range(1, patience.attempts_max + 1):
        if attempt > 1:
            wait(patience.pause_before(attempt))
        try:
            handle(change)
            return
        except TaskPredicate:
            raise
        except Exception as error:  # whatever the application's own code may raise
            cause = type(error).__name__
            fields = (change["id"], change["room"], attempt, patience.attempts_max)
            log.warning("change.failed id=%s room=%s attempt=%d attempts_max=%d", *fields, exc_info=True)
    try:
        # The error's name only: its text may hold what does not belong into a queue. The log above has it.
        bury({**change, "dead": {"error": cause, "attempts_count": patience.attempts_max}})
    except BrokerLost as error:
        raise Reject(error, requeue=True) from error
    log.error("change.dead id=%s room=%s kind=%s cause=%s", change["id"], change["room"], change["kind"], cause)
