"""What happens next to a tenant, by itself and in time. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from sidecar.model.tenant import Tenant


class StepKind(enum.StrEnum):
    """What happens."""

    VERIFY = "verify"
    IMPORT = "import"
    PURGE = "purge"


@dataclass(frozen=True, slots=True)
class NextStep:
    """What happens, and when; `at` None: it is under way."""

    kind: StepKind
    at: datetime | None


def next_step(tenant: Tenant, *, importing_count: int, verify_at: datetime | None) -> NextStep | None:
    """Say what happens next to a tenant; None: nothing does, before a person acts.

    Args:
        importing_count: rooms that wait for their first read, or are being read.
        verify_at: when Microsoft is asked again about the tenant as a whole.
    """
    if tenant.deleted_at is not None:
        return NextStep(StepKind.PURGE, tenant.purge_at)
    if tenant.suspension is not None:
        return None
    if tenant.problem is not None and tenant.problem.next_check_at is not None:
        return NextStep(StepKind.VERIFY, tenant.problem.next_check_at)
    if importing_count:
        return NextStep(StepKind.IMPORT, None)
    return None if verify_at is None else NextStep(StepKind.VERIFY, verify_at)
