"""How long to wait before the next try."""

from __future__ import annotations

from random import Random


def backoff_s(attempt: int, *, base_s: float, cap_s: float, rng: Random) -> float:
    """Return the wait before try `attempt` + 1, growing twofold, with jitter over its upper half.

    Half of the wait is fixed, so that a loop never spins; the other half is random, so that many that failed together do
    not come back together.

    Args:
        attempt: failures so far, 1 or more.
        base_s: the first wait at most.
        cap_s: no wait is longer.
    """
    ceiling_s = min(cap_s, base_s * 2.0 ** min(attempt - 1, 30))
    return ceiling_s * (0.5 + rng.random() / 2)
