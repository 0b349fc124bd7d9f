"""Check of this machine's clock against Microsoft's."""

from __future__ import annotations

from datetime import datetime

from sidecar.diagnosis.results import judged, passed, skipped, warned
from sidecar.model.check import CheckOutcome, CheckResult
from sidecar.model.problem import Actor

CLOCK = "clock"

_WARN_S = 30.0
"""Microsoft's header has whole seconds, and takes its way."""
_FAIL_S = 240.0
"""Microsoft refuses assertions that are five minutes off."""


def judge_clock(told_at: datetime | None, *, now: datetime) -> CheckResult:
    """Compare the clock with the Date header of an answer of Microsoft's.

    Args:
        told_at: what the header says; None when there was no answer.
        now: this machine's time when it came.
    """
    if told_at is None:
        return skipped(CLOCK, message="Microsoft did not tell the time")
    skew_s = (now - told_at).total_seconds()
    facts = {"skew_s": f"{skew_s:.0f}"}
    if abs(skew_s) < _WARN_S:
        return passed(CLOCK, "This machine's clock agrees with Microsoft's.", facts=facts)
    told = f"This machine's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} Microsoft's."
    action = "Have the machine's clock set by a time server."
    if abs(skew_s) < _FAIL_S:
        return warned(CLOCK, told, reason="CLOCK_SKEWED", action=action, actor=Actor.OPERATOR, now=now, facts=facts)
    return judged(
        CLOCK,
        CheckOutcome.FAILED,
        told,
        reason="CLOCK_SKEWED",
        action=action,
        actor=Actor.OPERATOR,
        now=now,
        facts=facts,
    )
