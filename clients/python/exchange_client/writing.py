"""What a client decides about a write that may be sent again, without sending it: no socket, clock or task in here.

The same request with the same id is one wish, and is answered alike however often it is sent. So a client sends it again until
it is answered or the caller's time is over, and says at the end what is known.
"""

from __future__ import annotations

import random
import uuid

from exchange_client.errors import ExchangeError, OutcomeUnknown
from exchange_client.watching import Backoff

WRITE_TIMEOUT_S = 30.0
"""Deadline of a write unless told otherwise: the service waits up to 20 s for Exchange and the room."""

WAIT_MARGIN_S = 10.0
"""What a write may take beside the wait for the room's answer."""

_NOT_DONE = frozenset({"EXCHANGE_UNAVAILABLE", "EXCHANGE_THROTTLED"})
"""Said by a service that has looked for the write; one that is full or shuts down has not, and knows of no try before."""

_LEAST_S = 0.05
"""With less time left than this nothing is sent any more."""


def request_id_or_new(request_id: str) -> str:
    """Return the caller's name for a write, or a new one."""
    return request_id or str(uuid.uuid4())


class Repeats:
    """One write, over all times that it is sent."""

    def __init__(self, request_id: str, *, limit_s: float, now_s: float, backoff: Backoff, rng: random.Random) -> None:
        self._request_id = request_id
        self._ends_s = now_s + limit_s
        self._backoff = backoff
        self._rng = rng
        self._failures = 0
        self._doubt: ExchangeError | None = None

    def left_s(self, now_s: float) -> float:
        """Return how long there is to wait for an answer."""
        return max(0.0, self._ends_s - now_s)

    def pause_s(self, error: ExchangeError, now_s: float) -> float:
        """Return how long to pause before the write is sent again.

        Raises:
            ExchangeError: it is not sent again. OutcomeUnknown when nobody knows whether it was done.
        """
        if not error.retryable:
            raise error from self._doubt
        if error.reason in ("", "OUTCOME_UNKNOWN"):
            # Without a reason it was not the service that answered; it may have done the write all the same.
            self._doubt = error
        elif error.reason in _NOT_DONE:
            self._doubt = None
        pause_s = self._backoff.delay_s(self._failures, self._rng) + (error.retry_after_s or 0.0)
        self._failures += 1
        if now_s + pause_s + _LEAST_S < self._ends_s:
            return pause_s
        if self._doubt is None:
            raise error
        raise self._unknown(self._doubt) from error

    def _unknown(self, doubt: ExchangeError) -> OutcomeUnknown:
        return OutcomeUnknown(
            "whether it was done is not known; the same call with the same request_id tells",
            doubt.code,
            doubt.reason,
            {**doubt.metadata, "request_id": self._request_id},
            doubt.retry_after_s,
        )
