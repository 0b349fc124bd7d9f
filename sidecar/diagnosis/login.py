"""Checks of a tenant's login: does Microsoft give a token, is it the right one, and what does it permit?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from sidecar.diagnosis.reading import Reading
from sidecar.diagnosis.results import failed, passed, skipped, warned
from sidecar.errors import ConsentMissing, GraphUnavailable, MailboxDenied, SidecarError
from sidecar.graph.clouds import TenantRef, audiences_of
from sidecar.graph.logins import TokenClaims
from sidecar.model.check import CheckResult
from sidecar.model.problem import Actor

TOKEN_ACQUIRE = "token.acquire"  # noqa: S105  (the name of a check)
TOKEN_CLAIMS = "token.claims"  # noqa: S105  (the name of a check)
CONSENT_CALENDARS = "consent.calendars"

_WRITING_ROLE = "Calendars.ReadWrite"
_CALENDAR_ROLES = frozenset({"Calendars.Read", _WRITING_ROLE})


class Tokens(Protocol):
    """Getting tokens; `graph.auth.TokenSource` is one."""

    async def fetch_token(self, tenant: TenantRef) -> str:
        """Return a token for Graph."""


async def acquire_token(
    tokens: Tokens, tenant: TenantRef, *, budget_s: float | None = None, now: datetime
) -> tuple[CheckResult, str]:
    """Check that Microsoft accepts the credential; return the token, too, "" when there is none.

    A token alone proves little: Microsoft issues one even to an application that was granted nothing.
    """
    try:
        async with asyncio.timeout(budget_s):
            token = await tokens.fetch_token(tenant)
    except SidecarError as error:
        return failed(TOKEN_ACQUIRE, error, now=now), ""
    except TimeoutError:
        late = GraphUnavailable("the login service took longer than the caller waits", details={"subject": "login"})
        return failed(TOKEN_ACQUIRE, late, now=now), ""
    return passed(TOKEN_ACQUIRE, "Microsoft accepts the credential."), token


def judge_claims(tenant: TenantRef, claims: TokenClaims | None, *, now: datetime) -> CheckResult:
    """Check what a token says of itself. Never a failure: Microsoft calls its tokens opaque.

    Args:
        claims: None when the token cannot be read.
    """
    if claims is None:
        return passed(TOKEN_CLAIMS, "The token is of a kind that only Microsoft can read.")
    facts = {
        "roles": " ".join(claims.roles) or "none",
        "application_id": claims.application_id,
        "service_principal_id": claims.service_principal_id,
    }
    facts = {name: value for name, value in facts.items() if value}
    wrong = _mismatch(tenant, claims)
    if wrong is not None:
        name, seen = wrong
        return warned(
            TOKEN_CLAIMS,
            f"The token names another {name} than it was asked for.",
            reason="TOKEN_MISMATCH",
            action="Compare the directory (tenant) id and the cloud with the overview page of the app registration.",
            actor=Actor.CUSTOMER,
            now=now,
            facts={**facts, name: seen},
        )
    if claims.roles and _WRITING_ROLE not in claims.roles and _CALENDAR_ROLES & set(claims.roles):
        return warned(
            TOKEN_CLAIMS,
            "The app may read calendars, but not write them.",
            reason="CALENDARS_READ_ONLY",
            action="If bookings are to be made, add the application permission Calendars.ReadWrite and grant admin consent.",
            actor=Actor.CUSTOMER,
            now=now,
            facts=facts,
        )
    return passed(TOKEN_CLAIMS, "The token is for this directory and for Graph.", facts=facts)


def judge_consent(claims: TokenClaims | None, reading: Reading, *, now: datetime) -> CheckResult:
    """Check that somebody granted the app the calendars: by what the token names and by what could be read.

    No permission in the token is no refusal, because Exchange's RBAC for applications leaves no trace there; only when
    no room can be read either, none was granted. Source: Microsoft Learn "Role based access control for applications".
    """
    roles = _roles_of(claims, reading)
    if roles is not None and _CALENDAR_ROLES & set(roles):
        granted = " ".join(sorted(_CALENDAR_ROLES & set(roles)))
        return passed(CONSENT_CALENDARS, f"The app was granted {granted} in Microsoft Entra.", facts={"grant": "ENTRA"})
    if reading.readable_count:
        return passed(
            CONSENT_CALENDARS, "Rooms can be read through Exchange's RBAC for applications.", facts={"grant": "RBAC"}
        )
    if isinstance(reading.refusal, MailboxDenied) and roles is not None:
        error = ConsentMissing("the application has no calendar permission, and no room can be read")
        return failed(CONSENT_CALENDARS, error, now=now)
    if reading.result.is_failed:
        return skipped(CONSENT_CALENDARS, because=reading.result)
    if reading.was_asked_before:
        return passed(CONSENT_CALENDARS, "Calendars are being read, so access was granted.")
    return warned(
        CONSENT_CALENDARS,
        "The token names no calendar permission, and no room is mapped to try whether Exchange grants it.",
        reason="CONSENT_UNPROVEN",
        action="Map a room, or grant the app Calendars.ReadWrite; with Exchange's RBAC for applications nothing is missing.",
        actor=Actor.OPERATOR,
        now=now,
    )


def _roles_of(claims: TokenClaims | None, reading: Reading) -> Sequence[str] | None:
    """Return what the token permits that was used last: the one that was asked for may have been refused, and replaced."""
    refused = None if reading.refusal is None else reading.refusal.details.get("token_roles")
    if refused is not None:
        return refused.split()
    return None if claims is None else claims.roles


def _mismatch(tenant: TenantRef, claims: TokenClaims) -> tuple[str, str] | None:
    """Return what a token names that is not what it should be, and what it names."""
    is_named_by_id = "." not in tenant.directory_id  # otherwise by a domain, which no token repeats
    if claims.directory_id and is_named_by_id and claims.directory_id.lower() != tenant.directory_id.lower():
        return "directory", claims.directory_id
    if claims.audience and claims.audience.rstrip("/") not in audiences_of(tenant.cloud):
        return "audience", claims.audience
    return None
