"""Following a rotation from the call that began it: the proving itself is background work (`tenants.credentials`)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from sidecar.aio.clock import Clock
from sidecar.model.ids import TenantUid
from sidecar.model.problem import Problem
from sidecar.model.tenant import Tenant

_LOOK_FIRST_S, _LOOK_GROWTH, _LOOK_MAX_S = 0.1, 1.5, 1.0
"""A proof takes some tenths of a second when all is well. A look reads one row; no other process has to announce anything."""


class RotationOutcome(enum.Enum):
    """How far a rotation came."""

    DONE = enum.auto()
    PENDING = enum.auto()
    REFUSED = enum.auto()
    SUPERSEDED = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A rotation as it stands. `problem` is what its proof met last."""

    tenant: Tenant
    outcome: RotationOutcome
    problem: Problem | None


class TenantLoader(Protocol):
    """Where tenants are kept."""

    async def load_by_uid(self, uid: TenantUid) -> Tenant:
        """Return a tenant as it is now."""


async def await_rotation(
    tenants: TenantLoader, tenant: Tenant, identity: str, *, clock: Clock, wait_s: float
) -> Rotation:
    """Return once the credential of an identity is in use, refused or replaced, or after `wait_s`.

    Raises:
        TenantNotFound: the tenant was erased meanwhile.
    """
    ends_s = clock.monotonic() + wait_s
    look_s = _LOOK_FIRST_S
    while True:
        rotation = judge_rotation(tenant, identity)
        left_s = ends_s - clock.monotonic()
        if rotation.outcome is not RotationOutcome.PENDING or left_s <= 0.0:
            return rotation
        await clock.sleep(min(look_s, left_s))
        look_s = min(_LOOK_MAX_S, look_s * _LOOK_GROWTH)
        tenant = await tenants.load_by_uid(tenant.uid)


def judge_rotation(tenant: Tenant, identity: str) -> Rotation:
    """Return how far the rotation to a credential came."""
    following = tenant.next_credential
    if tenant.credential.identity == identity:
        return Rotation(tenant=tenant, outcome=RotationOutcome.DONE, problem=None)
    if following is None or following.identity != identity:
        return Rotation(tenant=tenant, outcome=RotationOutcome.SUPERSEDED, problem=None)
    outcome = RotationOutcome.PENDING if following.refused_at is None else RotationOutcome.REFUSED
    return Rotation(tenant=tenant, outcome=outcome, problem=following.problem)
