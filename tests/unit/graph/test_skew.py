"""Our clock against the dates of Microsoft's answers."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest

from sidecar.graph.skew import SkewWatch
from tests.support.builders import NOW


def note(watch: SkewWatch, ahead_s: float, *, took_s: float = 0.1) -> None:
    """Note an answer by a clock that ours is ahead of."""
    date = format_datetime(NOW - timedelta(seconds=ahead_s), usegmt=True)
    watch.note(date, asked_at=NOW - timedelta(seconds=took_s), answered_at=NOW)


@pytest.mark.parametrize(
    ("answers", "too_far_s", "is_doubtful"),
    [
        ([], None, False),
        ([600.0], None, True),
        ([0.0, 600.0], None, True),
        ([600.0, 900.0], 600.0, False),
        ([-900.0, -600.0], -600.0, False),
        ([600.0, -600.0], None, True),
        ([600.0, 600.0, 0.0], None, False),
        ([299.0, 299.0], None, False),
        ([301.0, 301.0], 301.0, False),
    ],
)
def test_two_answers_in_a_row_have_to_agree(answers: list[float], too_far_s: float | None, is_doubtful: bool) -> None:
    """One server's clock may be wrong, and Microsoft allows five minutes."""
    watch = SkewWatch()
    for ahead_s in answers:
        note(watch, ahead_s)
    assert (watch.too_far_s, watch.is_doubtful) == (too_far_s, is_doubtful)


@pytest.mark.parametrize("date", ["", "nonsense", "Mon, 99 Foo 2026 99:99:99 GMT", "x" * 100])
def test_date_that_cannot_be_read_says_nothing(date: str) -> None:
    watch = SkewWatch()
    for _ in range(3):
        watch.note(date, asked_at=NOW, answered_at=NOW)
    assert watch.too_far_s is None


def test_slow_answer_says_nothing() -> None:
    """It was dated at any time meanwhile."""
    watch = SkewWatch()
    for _ in range(3):
        note(watch, 600.0, took_s=31.0)
    assert watch.too_far_s is None
