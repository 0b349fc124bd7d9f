"""How the result of a check is written down. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from sidecar.errors import SidecarError
from sidecar.model.check import CheckOutcome, CheckResult
from sidecar.model.problem import Actor, Problem
from sidecar.sync.problems import problem_of

_NOTHING: Mapping[str, str] = MappingProxyType({})


def passed(check_id: str, message: str, *, facts: Mapping[str, str] = _NOTHING) -> CheckResult:
    """Write down that all is well."""
    return CheckResult(check_id=check_id, outcome=CheckOutcome.PASSED, message=message, facts=dict(facts))


def warned(
    check_id: str,
    message: str,
    *,
    reason: str,
    action: str,
    actor: Actor,
    now: datetime,
    facts: Mapping[str, str] = _NOTHING,
) -> CheckResult:
    """Write down something that works, but not as it should."""
    outcome = CheckOutcome.WARNING
    return judged(check_id, outcome, message, reason=reason, action=action, actor=actor, now=now, facts=facts)


def judged(
    check_id: str,
    outcome: CheckOutcome,
    message: str,
    *,
    reason: str,
    action: str,
    actor: Actor,
    now: datetime,
    error: SidecarError | None = None,
    facts: Mapping[str, str] = _NOTHING,
) -> CheckResult:
    """Write down a warning or a failure in words of its own. `reason` is an ErrorReason without its prefix."""
    problem = Problem(
        reason=reason,
        message=message,
        action=action,
        actor=actor,
        first_seen_at=now,
        last_seen_at=now,
        metadata=dict(facts),
    )
    return CheckResult(
        check_id=check_id, outcome=outcome, message=message, problem=problem, facts=dict(facts), error=error
    )


def failed(
    check_id: str, error: SidecarError, *, now: datetime, message: str = "", facts: Mapping[str, str] = _NOTHING
) -> CheckResult:
    """Write down what was met. Without a `message` the cause's own sentence is the message."""
    problem = problem_of(error, now=now, next_check_at=None)
    return CheckResult(
        check_id=check_id,
        outcome=CheckOutcome.FAILED,
        message=message or problem.message,
        problem=problem,
        facts={**error.details, **facts},
        error=error,
    )


def skipped(check_id: str, *, because: CheckResult | None = None, message: str = "") -> CheckResult:
    """Write down that something was not asked: another check failed, or, as `message` says, there was nothing to ask."""
    if because is not None:
        message = f"not asked, because {because.check_id} failed"
    return CheckResult(
        check_id=check_id,
        outcome=CheckOutcome.SKIPPED,
        message=message,
        because="" if because is None else because.check_id,
    )
