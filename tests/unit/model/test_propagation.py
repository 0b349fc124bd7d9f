"""How long a grant is waited for, and when it is looked at."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from sidecar.model.propagation import PROPAGATION_MAX, may_be_pending, next_look_at
from tests.support.builders import NOW, after


def test_looks_come_soon_at_first_and_go_on_for_two_days() -> None:
    """After one, two, five and fifteen minutes, then every quarter of an hour, then every hour."""
    looks: list[float] = []
    at: datetime | None = NOW
    while at is not None:
        looks.append((at - NOW).total_seconds() / 60)
        at = next_look_at(NOW, now=at)
    assert looks[:7] == [0, 1, 2, 5, 15, 30, 45]
    assert looks[-1] == PROPAGATION_MAX.total_seconds() / 60
    gaps = [later - earlier for earlier, later in pairwise(looks)]
    assert max(gaps) == 60
    assert len(looks) < 70


@pytest.mark.parametrize(
    ("read_at", "age", "expected"),
    [
        (None, timedelta(0), True),
        (None, PROPAGATION_MAX - timedelta(seconds=1), True),
        (None, PROPAGATION_MAX, False),
        (after(seconds=-1), timedelta(hours=1), True),
        (NOW, timedelta(hours=1), False),
    ],
)
def test_refusal_is_waited_for_if_it_may_be_a_grant_on_its_way(
    read_at: datetime | None, age: timedelta, expected: bool
) -> None:
    """A room that was read since the grant is refused for another reason."""
    assert may_be_pending(NOW, read_at=read_at, now=NOW + age) is expected
