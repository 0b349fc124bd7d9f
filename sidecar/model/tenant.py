"""A customer's organisation at Microsoft, and the credential it handed over."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from sidecar.model.ids import TenantId, TenantUid
from sidecar.model.lifecycle import Suspension, suspended
from sidecar.model.problem import Problem
from sidecar.model.tenant_settings import NO_SETTINGS, TenantSettings


class Cloud(enum.StrEnum):
    """Microsoft's separate clouds; a directory lives in exactly one."""

    GLOBAL = "global"
    US_GOVERNMENT = "us_government"
    US_GOVERNMENT_DOD = "us_government_dod"
    CHINA = "china"


class TenantState(enum.StrEnum):
    """Life cycle of a tenant."""

    VERIFYING = "verifying"
    ACTIVE = "active"
    DEGRADED = "degraded"
    CREDENTIAL_REJECTED = "credential_rejected"
    CONSENT_MISSING = "consent_missing"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class CredentialKind(enum.StrEnum):
    """Kind of proof."""

    CLIENT_SECRET = "client_secret"  # noqa: S105  (the name of a kind)
    CERTIFICATE = "certificate"
    FEDERATED = "federated"


class CredentialRole(enum.StrEnum):
    """What a credential of a tenant is for. A tenant always has a current one."""

    CURRENT = "current"
    NEXT = "next"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialInfo:
    """What may be shown of a credential.

    Attributes:
        added_at: of NEXT: when it was handed over.
        refused_at: of NEXT: since when its refusal counts as Microsoft's last word for now; before, it may only not be known
            everywhere yet.
        ends_at: of PREVIOUS: when it is erased.
        problem: of NEXT: what its last proof met.
        read_room: the room that a rotation read as proof; empty: none.
        request_id: the caller's name for the rotation that brought it.
    """

    application_id: str
    kind: CredentialKind
    fingerprint: str
    expires_at: datetime | None
    proven_at: datetime | None
    role: CredentialRole = CredentialRole.CURRENT
    added_at: datetime | None = None
    refused_at: datetime | None = None
    ends_at: datetime | None = None
    problem: Problem | None = None
    read_room: str = ""
    request_id: str = ""

    @property
    def identity(self) -> str:
        """What tells it from every other credential of its tenant; one certificate may serve two applications."""
        return f"{self.application_id}/{self.fingerprint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A credential in the open, on its way from the vault to the token endpoint. `repr` never shows the proof."""

    application_id: str
    kind: CredentialKind
    proof: bytes

    def __repr__(self) -> str:
        return f"Credential(application_id={self.application_id!r}, kind={self.kind.value!r}, proof=<withheld>)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant. `version` counts its own changes; `revision` is the number of the last entry of its log.

    `verified_at` is when Microsoft first accepted the credential, None before. `problem` concerns the tenant as a whole; what
    people are told besides follows from facts and the clock (`model.tenant_problems`). `credential` is the one in use.
    `purge_at` is when a deleted tenant is erased. `suspension` survives deletion: a tenant that comes back is as it was.
    `erasing_since_at` is since when what its settings do not let be kept any more is being erased; None: nothing is left.
    """

    uid: TenantUid
    tenant_id: TenantId
    display_name: str
    directory_id: str
    cloud: Cloud
    problem: Problem | None
    verified_at: datetime | None
    deleted_at: datetime | None
    credential: CredentialInfo
    version: int
    revision: int
    created_at: datetime
    updated_at: datetime
    suspension: Suspension | None = None
    purge_at: datetime | None = None
    settings: TenantSettings = NO_SETTINGS
    erasing_since_at: datetime | None = None
    next_credential: CredentialInfo | None = None
    previous_credential: CredentialInfo | None = None

    @property
    def credentials(self) -> tuple[CredentialInfo, ...]:
        """All credentials, the one in use first."""
        others = (self.next_credential, self.previous_credential)
        return (self.credential, *(other for other in others if other is not None))

    @property
    def name(self) -> str:
        """The name callers use."""
        return f"tenants/{self.tenant_id}"

    @property
    def state(self) -> TenantState:
        """Where the tenant stands; follows from the facts and is never stored."""
        if self.deleted_at is not None:
            return TenantState.DELETED
        if self.suspension is not None:
            return TenantState.SUSPENDED
        if self.problem is not None:
            return BLOCKING_REASONS.get(self.problem.reason, TenantState.DEGRADED)
        return TenantState.VERIFYING if self.verified_at is None else TenantState.ACTIVE

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing may be asked of Microsoft for this tenant."""
        return self.suspension is not None or self.deleted_at is not None

    @property
    def problems(self) -> list[Problem]:
        """Everything that stands in the way, what a person wants first."""
        wanted = [] if self.suspension is None else [suspended(self.suspension)]
        return wanted if self.problem is None else [*wanted, self.problem]


BLOCKING_REASONS = {
    "CREDENTIAL_REJECTED": TenantState.CREDENTIAL_REJECTED,
    "CREDENTIAL_EXPIRED": TenantState.CREDENTIAL_REJECTED,
    "APPLICATION_NOT_FOUND": TenantState.CREDENTIAL_REJECTED,
    "SIGN_IN_BLOCKED": TenantState.CREDENTIAL_REJECTED,
    "DIRECTORY_NOT_FOUND": TenantState.CREDENTIAL_REJECTED,
    "CLOUD_MISMATCH": TenantState.CREDENTIAL_REJECTED,
    "CONSENT_MISSING": TenantState.CONSENT_MISSING,
    "APPLICATION_DISABLED": TenantState.CONSENT_MISSING,
    "SECRET_UNREADABLE": TenantState.DEGRADED,
    "TOKEN_FILE_UNUSABLE": TenantState.DEGRADED,
}
"""Problems of a tenant that stop all reading of its rooms."""
