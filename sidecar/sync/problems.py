"""What a failure means to people: the cause in a sentence, what to do, and who must. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from sidecar.errors import SidecarError
from sidecar.model.problem import Problem
from sidecar.model.tenant import CredentialInfo, CredentialKind
from sidecar.sync.problem_texts import text_of

_KEY_UNKNOWN = "CERTIFICATE_UNKNOWN"


def hold_of(count: int, *, now: datetime, next_check_at: datetime) -> Problem:
    """Tell people that so many bookings are held back, which no error says: the read went well, and is not believed."""
    return _problem("DELETION_HELD", {"bookings_count": str(count)}, now=now, next_check_at=next_check_at)


def problem_named(reason: str, details: Mapping[str, str], *, now: datetime) -> Problem:
    """Tell people about something that no error says, by its reason."""
    return _problem(reason, details, now=now, next_check_at=None)


def problem_of(error: SidecarError, *, now: datetime, next_check_at: datetime | None) -> Problem:
    """Tell people about a failure."""
    return _problem(error.reason, error.details, now=now, next_check_at=next_check_at)


def tenant_problem_of(
    error: SidecarError, credential: CredentialInfo, *, now: datetime, next_check_at: datetime | None
) -> Problem:
    """Tell people about a failure of a tenant as a whole, with what its registration adds: since when a credential is expired.

    Microsoft tells of an expired secret, and calls the key of an expired certificate an unknown one.
    """
    ran_out_at = credential.expires_at if credential.expires_at is not None and credential.expires_at <= now else None
    reason, details = error.reason, dict(error.details)
    if reason == "CREDENTIAL_REJECTED" and details.get("cause") == _KEY_UNKNOWN and ran_out_at is not None:
        reason = "CREDENTIAL_EXPIRED"
    if reason != "CREDENTIAL_EXPIRED":
        return _problem(reason, details, now=now, next_check_at=next_check_at)
    if credential.kind is CredentialKind.CERTIFICATE:
        details["cause"] = "CERTIFICATE"
    problem = _problem(reason, details, now=now, next_check_at=next_check_at)
    if ran_out_at is None:
        return problem
    message = f"{problem.message.removesuffix('.')}, on {ran_out_at:%Y-%m-%d at %H:%M} UTC."
    return replace(problem, message=message, metadata={**details, "expire_time": f"{ran_out_at:%Y-%m-%dT%H:%M:%SZ}"})


def _problem(reason: str, details: Mapping[str, str], *, now: datetime, next_check_at: datetime | None) -> Problem:
    text = text_of(reason, _cause(details))
    return Problem(
        reason=reason,
        message=text.message,
        action=text.action,
        actor=text.actor,
        first_seen_at=now,
        last_seen_at=now,
        next_check_at=next_check_at,
        metadata=dict(details),
    )


def _cause(details: Mapping[str, str]) -> str:
    if details.get("subject") == "login" and "aadsts" not in details:
        return "LOGIN"
    return details.get("cause", "")
