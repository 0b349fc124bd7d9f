"""What a credential is recognised by, and when it runs out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from sidecar.errors import InvalidArgument
from sidecar.model.ids import TenantId
from sidecar.model.tenant import Cloud, CredentialKind
from sidecar.store.tenants import secret_fingerprint
from sidecar.tenants.register import CredentialValues, TenantValues, register_tenant
from tests.support.builders import CANARY, DIRECTORY, NOW, after
from tests.support.stores import ManualClock, open_store
from tests.unit.api.credentials import make_certificate, make_pem

SECRET = TenantValues(
    tenant_id=TenantId("acme"),
    display_name="Acme",
    directory_id=DIRECTORY,
    cloud=Cloud.GLOBAL,
    credential=CredentialValues(
        application_id="app-1",
        kind=CredentialKind.CLIENT_SECRET,
        proof=f"{CANARY}-secret".encode(),
        expires_at=after(days=30),
    ),
)


def with_certificate(pem: bytes) -> TenantValues:
    """Return the values with a certificate."""
    return replace(SECRET, credential=replace(SECRET.credential, kind=CredentialKind.CERTIFICATE, proof=pem))


CERTIFICATE = with_certificate(make_pem())


async def test_client_secret_is_known_by_its_hash_and_runs_out_when_the_caller_says(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.sqlite3", clock=ManualClock()) as db:
        tenant = await register_tenant(db.store.tenants, SECRET)
        assert tenant.credential.fingerprint == secret_fingerprint(f"{CANARY}-secret")
        assert tenant.credential.expires_at == after(days=30)
        assert (await db.store.credentials.load_credential(tenant.uid)).proof == SECRET.credential.proof


async def test_certificate_is_known_by_its_thumbprint_and_tells_when_it_runs_out(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.sqlite3", clock=ManualClock()) as db:
        tenant = await register_tenant(db.store.tenants, CERTIFICATE)
        assert tenant.credential.expires_at == make_certificate().not_valid_after_utc
        assert len(tenant.credential.fingerprint) == 2 * SHA256.digest_size
        assert tenant.credential.fingerprint != secret_fingerprint(CERTIFICATE.credential.proof.decode())


async def test_same_values_again_give_the_same_tenant(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.sqlite3", clock=ManualClock()) as db:
        first = await register_tenant(db.store.tenants, CERTIFICATE)
        again = await register_tenant(db.store.tenants, CERTIFICATE)
        assert (again.uid, again.version) == (first.uid, first.version)
        assert first.created_at == NOW


async def test_unreadable_certificate_is_refused_and_not_quoted(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.sqlite3", clock=ManualClock()) as db:
        with pytest.raises(InvalidArgument) as caught:
            await register_tenant(db.store.tenants, with_certificate(CANARY.encode()))
        assert CANARY not in str(caught.value)


def test_values_do_not_show_their_proof() -> None:
    assert CANARY not in repr(SECRET)
