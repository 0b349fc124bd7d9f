"""Credentials on their way in: checked at the door, turned into what is kept, and the two calls that only concern them."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

from sidecar.aio.clock import Clock
from sidecar.api.boundary import answering_s
from sidecar.api.convert import problem_to_proto
from sidecar.api.pfx_opener import PfxOpener
from sidecar.api.proofs import complain_about_certificate, complain_about_secret
from sidecar.api.shown import TenantDisplay
from sidecar.api.validate import Check
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.model.tenant import CredentialKind
from sidecar.model.token_path import token_path
from sidecar.settings import CredentialSettings
from sidecar.store.credentials import Credentials, NewCredential
from sidecar.store.tenants import Tenants
from sidecar.tenants.register import CredentialValues, credential_of, recognise
from sidecar.tenants.rotation import Rotation, RotationOutcome, await_rotation

_REQUEST_ID_CHARS_MAX = 64
_FINGERPRINT_CHARS_MAX = 128
_OUTCOMES = {
    RotationOutcome.DONE: pb.RotateTenantCredentialResponse.OUTCOME_DONE,
    RotationOutcome.PENDING: pb.RotateTenantCredentialResponse.OUTCOME_PENDING,
    RotationOutcome.REFUSED: pb.RotateTenantCredentialResponse.OUTCOME_REFUSED,
    RotationOutcome.SUPERSEDED: pb.RotateTenantCredentialResponse.OUTCOME_SUPERSEDED,
}


class CredentialCalls:
    """What TenantService does about credentials."""

    def __init__(
        self,
        *,
        tenants: Tenants,
        credentials: Credentials,
        display: TenantDisplay,
        settings: CredentialSettings,
        clock: Clock,
    ) -> None:
        self._tenants = tenants
        self._display = display
        self._credentials = credentials
        self._settings = settings
        self._clock = clock
        self._opener = PfxOpener()

    async def read(self, check: Check, credential: pb.Credential) -> CredentialValues:
        """Check a credential and return what is kept of it; a passphrase is not."""
        now, folder = self._clock.now(), self._settings.token_files_folder
        kind, proof = await _read_proof(check, credential, now=now, folder=folder, opener=self._opener)
        expires_at = None
        if credential.HasField("expire_time"):
            expires_at = check.instant("credential.expire_time", credential.expire_time)
        return CredentialValues(
            application_id=check.guid("credential.application_id", credential.application_id),
            kind=kind,
            proof=proof,
            expires_at=expires_at,
        )

    async def rotate(self, request: pb.RotateTenantCredentialRequest) -> pb.RotateTenantCredentialResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("name", request.name)
        values = await self.read(check, request.credential)
        request_id = check.text("request_id", request.request_id, _REQUEST_ID_CHARS_MAX)
        check.finish()
        fingerprint, expires_at = recognise(values)
        new = NewCredential(
            credential=credential_of(values), fingerprint=fingerprint, expires_at=expires_at, request_id=request_id
        )
        tenant = await self._credentials.put_next(tenant_id, new)
        wait_s = min(self._settings.rotate_wait_s, answering_s(self._clock) or math.inf)
        if tenant.is_at_rest:
            wait_s = 0.0  # it is proven when the tenant is resumed
        rotation = await await_rotation(self._tenants, tenant, new.identity, clock=self._clock, wait_s=wait_s)
        return await self._answer(rotation)

    async def _answer(self, rotation: Rotation) -> pb.RotateTenantCredentialResponse:
        tenant = await self._display.show(rotation.tenant)
        response = pb.RotateTenantCredentialResponse(outcome=_OUTCOMES[rotation.outcome], tenant=tenant)
        if rotation.problem is not None:
            response.problem.CopyFrom(problem_to_proto(rotation.problem))
        if rotation.outcome is RotationOutcome.DONE:
            response.read_room = tenant.credentials[0].read_room
        return response

    async def set_expiry(self, request: pb.SetCredentialExpiryRequest) -> pb.SetCredentialExpiryResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("name", request.name)
        expires_at = check.instant("expire_time", request.expire_time) if request.HasField("expire_time") else None
        fingerprint = check.text("fingerprint", request.fingerprint, _FINGERPRINT_CHARS_MAX)
        check.finish()
        tenant = await self._credentials.set_expiry(tenant_id, fingerprint=fingerprint, expires_at=expires_at)
        return pb.SetCredentialExpiryResponse(tenant=await self._display.show(tenant))


async def _read_proof(
    check: Check, credential: pb.Credential, *, now: datetime, folder: Path | None, opener: PfxOpener
) -> tuple[CredentialKind, bytes]:
    match credential.WhichOneof("proof"):
        case "client_secret":
            complaint = complain_about_secret(credential.client_secret)
            if complaint is not None:
                check.refuse("credential.client_secret", complaint)
            return CredentialKind.CLIENT_SECRET, credential.client_secret.encode()
        case "certificate_pem":
            complaint = complain_about_certificate(credential.certificate_pem, now=now)
            if complaint is not None:
                check.refuse("credential.certificate_pem", complaint)
            return CredentialKind.CERTIFICATE, credential.certificate_pem
        case "certificate_pfx":
            pfx = credential.certificate_pfx
            opened = await opener.open(pfx.content, pfx.passphrase)
            complaint = opened if isinstance(opened, str) else complain_about_certificate(opened, now=now)
            if complaint is not None:
                check.refuse("credential.certificate_pfx", complaint)
            return CredentialKind.CERTIFICATE, opened if isinstance(opened, bytes) else b""
        case "federated":
            return CredentialKind.FEDERATED, _read_token_file(check, credential.federated.token_file, folder)
    check.refuse(
        "credential", "must have a client_secret, a certificate_pem, a certificate_pfx or a federated token file"
    )
    return CredentialKind.CLIENT_SECRET, b""


def _read_token_file(check: Check, given: str, folder: Path | None) -> bytes:
    field = "credential.federated.token_file"
    if folder is None:
        check.refuse(field, "is not taken: this sidecar's settings name no credentials.token_files_folder")
        return b""
    path = token_path(folder, given)
    if path is None:
        check.refuse(field, "must be the path of a file inside the folder that credentials.token_files_folder names")
        return b""
    return str(path).encode()
