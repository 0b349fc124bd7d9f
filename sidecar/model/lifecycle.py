"""What an operator does with a tenant as a whole: suspended, deleted with a time of grace; and how people are told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sidecar.model.problem import Actor, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """Since when nothing is asked of Exchange for a tenant because an operator wants it so, and the operator's words."""

    since_at: datetime
    reason: str


def suspended(suspension: Suspension) -> Problem:
    """Tell people why a tenant, or one of its rooms, is not kept up to date."""
    return Problem(
        reason="TENANT_SUSPENDED",
        message="The tenant is suspended: nothing is read from Exchange, and the copy gets older.",
        action="Resume the tenant when its rooms are to be kept up to date again; each is then read in full.",
        actor=Actor.OPERATOR,
        first_seen_at=suspension.since_at,
        last_seen_at=suspension.since_at,
        metadata={"reason": suspension.reason} if suspension.reason else {},
    )
