"""What a caller hands over: what a credential is recognised by, when it runs out, and the rows that make its check due.

Nothing here asks Microsoft: whether the values are accepted is found out by the tenant's verification, first time,
renewal and repair alike. The values were checked at the API; what cannot be read here is a caller's mistake all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate, InvalidVersion, load_pem_x509_certificates

from sidecar.errors import FieldViolation, InvalidArgument
from sidecar.model.ids import TenantId
from sidecar.model.tenant import Cloud, Credential, CredentialKind, Tenant
from sidecar.model.tenant_settings import TenantSettings
from sidecar.store.tenants import Registration, secret_fingerprint


class TenantRegistry(Protocol):
    """Where tenants are kept."""

    async def register(self, registration: Registration) -> Tenant:
        """Add a tenant, or give an existing one of the same directory its new values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialValues:
    """A credential as a caller hands it over.

    Attributes:
        proof: the secret's value; the PEM text of certificate and key; the path of a token file.
        expires_at: the caller's own word; a certificate tells by itself.
    """

    application_id: str
    kind: CredentialKind
    proof: bytes = field(repr=False)
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantValues:
    """What the caller hands over. `settings` None: those of a tenant that is registered already stay."""

    tenant_id: TenantId
    display_name: str
    directory_id: str
    cloud: Cloud
    credential: CredentialValues
    settings: TenantSettings | None = None


async def register_tenant(registry: TenantRegistry, values: TenantValues) -> Tenant:
    """Register a tenant, or replace the values of one of the same directory.

    Raises:
        InvalidArgument: the certificate cannot be read.
        TenantExists: the id is in use for another directory, or the tenant is being deleted.
    """
    fingerprint, expires_at = recognise(values.credential)
    registration = Registration(
        tenant_id=values.tenant_id,
        display_name=values.display_name,
        directory_id=values.directory_id,
        cloud=values.cloud,
        credential=credential_of(values.credential),
        fingerprint=fingerprint,
        expires_at=expires_at,
        settings=values.settings,
    )
    return await registry.register(registration)


def credential_of(values: CredentialValues) -> Credential:
    """Return a credential in the open."""
    return Credential(application_id=values.application_id, kind=values.kind, proof=values.proof)


def recognise(values: CredentialValues) -> tuple[str, datetime | None]:
    """Return the fingerprint of a credential and when it runs out, None when nobody knows.

    Raises:
        InvalidArgument: the certificate cannot be read.
    """
    if values.kind is not CredentialKind.CERTIFICATE:
        return secret_fingerprint(values.proof.decode()), values.expires_at
    certificate = _first_certificate(values.proof)
    return certificate.fingerprint(SHA256()).hex(), certificate.not_valid_after_utc


def _first_certificate(pem: bytes) -> Certificate:
    """Return the certificate that is presented to Microsoft: the first one; others are its chain."""
    try:
        return load_pem_x509_certificates(pem)[0]
    except (ValueError, InvalidVersion):
        violation = FieldViolation("credential.certificate_pem", "does not hold a certificate that can be read")
        raise InvalidArgument([violation]) from None  # the cause could quote what it could not read
