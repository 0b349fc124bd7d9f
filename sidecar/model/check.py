"""What was found out by asking: one named check, its outcome, and what stands in the way."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from sidecar.errors import SidecarError
from sidecar.model.problem import Problem


class CheckOutcome(enum.StrEnum):
    """How a check ended."""

    PASSED = "passed"
    WARNING = "warning"
    """Works, but not as well as it should, or nobody can tell yet."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not asked: an earlier check failed, or there was nothing to ask about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check found.

    Attributes:
        check_id: stable and dotted, such as `token.acquire`; what callers and runbooks know a check by.
        message: one English sentence: what was seen.
        problem: cause, action and who must act; of a warning and a failure, None otherwise.
        because: of a skipped check, the id of the one that failed before; "" when there was nothing to ask about.
        facts: values behind the sentence; never a secret, a subject or a body.
        error: what was met, for code that has to act on it; of a failure that an error caused.
    """

    check_id: str
    outcome: CheckOutcome
    message: str
    problem: Problem | None = None
    because: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    error: SidecarError | None = field(default=None, compare=False, repr=False)

    @property
    def is_failed(self) -> bool:
        """Whether what depends on this check makes no sense."""
        return self.outcome is CheckOutcome.FAILED
