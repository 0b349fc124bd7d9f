"""When work that failed is tried again."""

from __future__ import annotations

from random import Random

import pytest

from sidecar.errors import GraphUnavailable, Throttled
from sidecar.tasks.retries import retry_wait_s


@pytest.mark.parametrize("attempts", [0, 3, 1_000])
def test_wait_is_never_shorter_than_exchange_asked_for(attempts: int) -> None:
    error = Throttled("slow down", retry_after_s=600.0)
    waits_s = [retry_wait_s(error, attempts=attempts, rng=Random(seed)) for seed in range(200)]
    assert min(waits_s) >= 600.0


def test_rooms_refused_together_come_back_spread() -> None:
    rng = Random(1)
    waits_s = [retry_wait_s(Throttled("slow down", retry_after_s=60.0), attempts=0, rng=rng) for _ in range(100)]
    assert max(waits_s) - min(waits_s) > 20.0
    assert max(sum(second <= wait_s < second + 1 for wait_s in waits_s) for second in range(60, 90)) < 15


def test_wait_grows_with_failures_up_to_a_limit() -> None:
    error = GraphUnavailable("away")
    waits_s = [retry_wait_s(error, attempts=attempts, rng=Random(1)) for attempts in (0, 2, 4, 1_000)]
    assert waits_s == sorted(waits_s)
    assert waits_s[-1] <= 300.0


def test_fault_of_ours_waits_like_any_failure() -> None:
    assert 0.5 <= retry_wait_s(ZeroDivisionError(), attempts=0, rng=Random(1)) <= 1.0
