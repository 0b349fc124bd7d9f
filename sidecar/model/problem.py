"""What stands in the way of a tenant or a room: a cause, an action, and who must act."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from datetime import datetime


class Actor(enum.StrEnum):
    """Who has to act before a problem can go away."""

    CUSTOMER = "customer"
    OPERATOR = "operator"
    MICROSOFT = "microsoft"
    NOBODY = "nobody"


PASSING_REASONS = frozenset({"EXCHANGE_UNAVAILABLE", "EXCHANGE_THROTTLED"})
"""Causes that say nothing about the one who met them, and pass by themselves, with the first answer. At a tenant they keep
Exchange's word from reaching us, whatever it has promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One cause. `reason` is an ErrorReason of the API without its prefix; message and action are English sentences."""

    reason: str
    message: str
    action: str
    actor: Actor
    first_seen_at: datetime
    last_seen_at: datetime
    next_check_at: datetime | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    def since(self, before: Problem | None) -> Problem:
        """Return this problem, first seen when the same cause was first seen before."""
        if before is None or before.reason != self.reason:
            return self
        return replace(self, first_seen_at=before.first_seen_at)
