"""What people are told about a tenant: the problem that is stored, and those that follow from facts and the clock. Pure.

Nothing here is stored, so nothing can be out of date. `next_change_at` says when the clock alone changes what is told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from sidecar.model.problem import Actor, Problem
from sidecar.model.tenant import CredentialInfo, CredentialKind, Tenant, TenantState

WARNING_DAYS = (60, 30, 14, 7, 1)
"""Days before a credential runs out at which people are told, and told again. A customer's change may take two months."""

_EXPIRES_SOON = "CREDENTIAL_EXPIRES_SOON"
_KINDS = {
    CredentialKind.CLIENT_SECRET: ("client secret", "Make a new client secret in the app registration"),
    CredentialKind.CERTIFICATE: ("certificate", "Make a new certificate and add it to the app registration"),
    CredentialKind.FEDERATED: ("federated credential", "Renew the federated credential in the app registration"),
}


def tenant_problems(tenant: Tenant, *, now: datetime) -> tuple[Problem, ...]:
    """Return all that stands, or will soon stand, in the way of a tenant; what blocks it first."""
    if tenant.deleted_at is not None:
        return tuple(tenant.problems)
    expiry = expiry_problem(tenant.credential, now=now)
    if tenant.problem is not None and tenant.problem.reason == "CREDENTIAL_EXPIRED":
        expiry = None  # Microsoft says so itself
    found = (*tenant.problems, _refusal_of(tenant.next_credential), expiry)
    return tuple(problem for problem in found if problem is not None)


def told_state(tenant: Tenant, problems: Sequence[Problem]) -> TenantState:
    """Return where people are told that a tenant stands: not simply in use while its credential is about to run out.

    Its rooms are not concerned: what only lies ahead stands in no room's way. A next credential that is refused is no
    matter of the state: the one in use stays, and whoever handed over the other was told.

    Args:
        problems: all that is told of it at the same moment.
    """
    is_ending = any(problem.reason == _EXPIRES_SOON for problem in problems)
    return TenantState.DEGRADED if is_ending and tenant.state is TenantState.ACTIVE else tenant.state


def next_change_at(tenant: Tenant, *, now: datetime) -> datetime | None:
    """Return the next moment at which the clock alone changes what is told about a tenant; None: it never does.

    Count of days left apart: who is told again at each step need not be told each day.
    """
    if tenant.deleted_at is not None:
        return None
    return next_expiry_step_at(tenant.credential, now=now)


def next_expiry_step_at(credential: CredentialInfo, *, now: datetime) -> datetime | None:
    """Return when the next warning about a credential is due, its end being the last one."""
    return min((at for at in _steps_of(credential) if at > now), default=None)


def expiry_step(credential: CredentialInfo, *, now: datetime) -> int | None:
    """Return the last warning that is due, in days before the end; 0: it has run out; None: none is due, or none is known."""
    if credential.expires_at is None:
        return None
    left = credential.expires_at - now
    return min((days for days in (*WARNING_DAYS, 0) if left <= timedelta(days=days)), default=None)


def expiry_problem(credential: CredentialInfo, *, now: datetime) -> Problem | None:
    """Tell that a credential runs out soon, or should have by now: whether it has, only Microsoft's refusal can tell."""
    step = expiry_step(credential, now=now)
    if step is None or credential.expires_at is None:
        return None
    thing, action = _KINDS[credential.kind]
    left_s = (credential.expires_at - now).total_seconds()
    days = max(0, math.ceil(left_s / 86_400))
    date = credential.expires_at.date().isoformat()
    message = f"The {thing} runs out in {_days(days)}, on {date}."
    if step == 0:
        message = f"The {thing} should have run out on {date}, as far as is known."
    return Problem(
        reason=_EXPIRES_SOON,
        message=message,
        action=f"{action}, and hand it over with RotateTenantCredential (`exchange-sidecar tenant rotate`).",
        actor=Actor.CUSTOMER,
        first_seen_at=max(at for at in _steps_of(credential) if at <= now) if step == 0 else _steps_of(credential)[0],
        last_seen_at=now,
        next_check_at=next_expiry_step_at(credential, now=now),
        metadata={
            "days": str(days),
            "step_days": str(step),
            "expire_time": credential.expires_at.isoformat(timespec="seconds"),
            "application_id": credential.application_id,
            "fingerprint": credential.fingerprint,
        },
    )


def _steps_of(credential: CredentialInfo) -> list[datetime]:
    if credential.expires_at is None:
        return []
    return [credential.expires_at - timedelta(days=days) for days in (*WARNING_DAYS, 0)]


def _refusal_of(following: CredentialInfo | None) -> Problem | None:
    """A new credential that may only not be known everywhere yet is no problem."""
    return None if following is None or following.refused_at is None else following.problem


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"
