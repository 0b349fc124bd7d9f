"""When work that failed is tried again. Pure, but for the chance that is handed in."""

from __future__ import annotations

from random import Random

from sidecar.aio.backoff import backoff_s
from sidecar.errors import Unavailable

_BASE_S = 1.0
_CAP_S = 300.0
_SPREAD_MIN_S = 1.0
_SPREAD_CAP_S = 30.0


def retry_wait_s(error: Exception, *, attempts: int, rng: Random) -> float:
    """Return how long work that failed is left alone.

    Never shorter than Exchange asked for, and longer by a share of chance: what was refused together, all rooms of a tenant,
    say, does not come back in the same second, to be refused together again.

    Args:
        attempts: failures before this one.
    """
    wait_s = backoff_s(attempts + 1, base_s=_BASE_S, cap_s=_CAP_S, rng=rng)
    asked_s = error.retry_after_s if isinstance(error, Unavailable) else None
    if asked_s is None or asked_s <= 0.0:
        return wait_s
    return max(wait_s, asked_s) + rng.random() * min(_SPREAD_CAP_S, max(_SPREAD_MIN_S, asked_s / 2))
