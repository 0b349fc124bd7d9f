"""Lanes as people and task runners outside see them: one for each tenant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sidecar.model.ids import TenantId

LEFT_OVER = TenantId("-")
"""Stands for lanes of tenants that are erased; no tenant can have this id."""
DUE_COUNT_MAX = 1_000
"""Due work is counted up to here: more is more, and counting it costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneView:
    """What is due for a tenant, as of one moment.

    Attributes:
        tenant_id: or LEFT_OVER.
        due_count: DUE_COUNT_MAX at most.
        oldest_due_at: None: nothing is due.
        next_due_at: when the next work becomes due that is not; None: none is planned.
        owner: who drains it; "" for nobody.
        held_until_at: until when that one has it, unless it says again that it is alive; None: nobody has.
        is_at_rest: the tenant is suspended or deleted; nothing is asked of Microsoft for it, however much is due.
    """

    tenant_id: TenantId
    due_count: int
    oldest_due_at: datetime | None
    next_due_at: datetime | None
    owner: str
    held_until_at: datetime | None
    is_at_rest: bool
