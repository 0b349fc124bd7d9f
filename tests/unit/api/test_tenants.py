"""TenantService over the wire."""

from __future__ import annotations

import io
import json
import traceback
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from tests.support.builders import CANARY, DIRECTORY, after
from tests.unit.api.credentials import make_certificate, make_pem
from tests.unit.api.rig import Rig, failing, time_of

APP = "0f8fad5b-d9cb-469f-a165-70867728950e"


def registration(tenant_id: str = "acme", **credential: Any) -> pb.RegisterTenantRequest:  # any field of a credential
    proof = credential or {"client_secret": f"{CANARY}-secret"}
    return pb.RegisterTenantRequest(
        tenant_id=tenant_id,
        tenant=pb.Tenant(directory_id=DIRECTORY.upper(), display_name="Acme"),
        credential=pb.Credential(application_id=APP, **proof),
    )


async def test_registered_tenant_is_shown_without_its_secret(rig: Rig) -> None:
    made = (await rig.tenants.RegisterTenant(registration())).tenant
    assert (made.name, made.directory_id, made.display_name) == ("tenants/acme", DIRECTORY, "Acme")
    assert made.state == pb.Tenant.STATE_VERIFYING
    assert made.cloud == pb.CLOUD_GLOBAL
    shown = await rig.tenants.GetTenant(pb.GetTenantRequest(name="tenants/acme"))
    assert shown.tenant == made
    assert CANARY.encode() not in shown.SerializeToString()


async def test_same_registration_again_gives_the_same_tenant_and_a_new_secret_replaces_the_old(rig: Rig) -> None:
    first = (await rig.tenants.RegisterTenant(registration())).tenant
    again = (await rig.tenants.RegisterTenant(registration())).tenant
    renewed = (await rig.tenants.RegisterTenant(registration(client_secret="other~secret"))).tenant
    assert again == first
    assert renewed.uid == first.uid
    assert renewed.credentials[0].fingerprint != first.credentials[0].fingerprint


async def test_certificate_tells_its_own_end(rig: Rig) -> None:
    request = registration(certificate_pem=make_pem(), expire_time=time_of(after(days=1)))
    (credential,) = (await rig.tenants.RegisterTenant(request)).tenant.credentials
    assert credential.kind == pb.CredentialInfo.KIND_CERTIFICATE
    assert credential.expire_time == time_of(make_certificate().not_valid_after_utc)


async def test_id_of_another_directory_is_taken(rig: Rig) -> None:
    await rig.tenants.RegisterTenant(registration())
    request = registration()
    request.tenant.directory_id = APP
    told = await failing(rig.tenants.RegisterTenant(request))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "TENANT_EXISTS")


async def test_every_broken_field_of_a_registration_is_named(rig: Rig) -> None:
    request = pb.RegisterTenantRequest(
        tenant_id="a/b",
        tenant=pb.Tenant(directory_id="x", display_name="x" * 201, cloud=77),  # type: ignore[arg-type]  # on purpose
        credential=pb.Credential(application_id="x", client_secret=APP, expire_time=time_of(after(days=1))),
    )
    request.credential.expire_time.nanos = -1
    told = await failing(rig.tenants.RegisterTenant(request))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert set(told.violations) == {
        "tenant_id",
        "tenant.directory_id",
        "tenant.display_name",
        "tenant.cloud",
        "credential.application_id",
        "credential.client_secret",
        "credential.expire_time",
    }
    assert "Value, not its Secret ID" in told.violations["credential.client_secret"]


async def test_empty_registration_names_what_is_required(rig: Rig) -> None:
    told = await failing(rig.tenants.RegisterTenant(pb.RegisterTenantRequest()))
    assert set(told.violations) == {
        "tenant_id",
        "tenant.directory_id",
        "credential",
        "credential.application_id",
    }


async def test_list_goes_through_all_tenants_by_name(rig: Rig) -> None:
    for name in ("c", "a", "e", "b", "d"):
        await rig.tenants.RegisterTenant(registration(name))
    seen: list[str] = []
    token = ""
    while True:
        page = await rig.tenants.ListTenants(pb.ListTenantsRequest(page_size=2, page_token=token))
        assert len(page.tenants) <= 2
        seen += [tenant.name for tenant in page.tenants]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"tenants/{name}" for name in "abcde"]


async def test_deleted_tenant_is_shown_as_such_and_its_deletion_is_safe_to_repeat(rig: Rig) -> None:
    await rig.tenants.RegisterTenant(registration())
    told = await failing(rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name="tenants/acme", etag="9")))
    assert (told.code, told.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    for _ in range(2):
        gone = await rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name="tenants/acme"))
        assert gone.tenant.state == pb.Tenant.STATE_DELETED
    told = await failing(rig.tenants.RegisterTenant(registration()))
    assert told.reason == "TENANT_EXISTS"


async def test_missing_tenant_is_told_unless_missing_is_allowed(rig: Rig) -> None:
    for call in (
        rig.tenants.GetTenant(pb.GetTenantRequest(name="tenants/acme")),
        rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name="tenants/acme")),
    ):
        told = await failing(call)
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")
    allowed = await rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name="tenants/acme", allow_missing=True))
    assert not allowed.HasField("tenant")


def _everything_logged(lines: list[Any]) -> str:
    """Return log lines as a careless renderer would write them, stacks with them (Any: structlog's event dicts)."""
    out = io.StringIO()
    for line in lines:
        error = line.get("exc_info")
        if isinstance(error, BaseException):
            traceback.print_exception(error, file=out)
        out.write(json.dumps(line, default=repr))
    return out.getvalue()


@pytest.mark.parametrize("is_failing", [False, True], ids=["refused or taken", "store fails"])
async def test_secrets_never_reach_an_error_a_log_line_or_an_answer(rig: Rig, is_failing: bool) -> None:
    secrets: list[dict[str, Any]] = [
        {"client_secret": f"{CANARY}-secret"},
        {"client_secret": f" {CANARY}"},
        {"client_secret": CANARY * 100},
        {"certificate_pem": CANARY.encode()},
        {"certificate_pem": make_pem() + CANARY.encode()},
    ]
    if is_failing:

        async def fail(_: object) -> None:
            raise RuntimeError("the store is broken")

        rig.db.engine.write = fail  # type: ignore[method-assign, assignment]
    seen = b""
    with structlog.testing.capture_logs() as lines:
        for secret in secrets:
            try:
                seen += (await rig.tenants.RegisterTenant(registration(**secret))).SerializeToString()
            except grpc.aio.AioRpcError as error:
                seen += repr(error).encode() + repr(error.trailing_metadata()).encode()
    assert lines
    assert CANARY.encode() not in seen
    assert CANARY not in _everything_logged(list(lines))


async def test_unknown_fault_tells_the_incident_that_stands_in_the_log(rig: Rig) -> None:
    async def fail(_: object) -> None:
        raise RuntimeError(f"SELECT {CANARY}")

    rig.db.store.tenants.load = fail  # type: ignore[method-assign, assignment]
    with structlog.testing.capture_logs() as lines:
        told = await failing(rig.tenants.GetTenant(pb.GetTenantRequest(name="tenants/acme")))
    assert (told.code, told.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert CANARY.encode() not in told.raw
    (line,) = [line for line in lines if line["event"] == "rpc.failed"]
    assert line["incident_id"] == told.metadata["incident_id"]
    assert (line["log_level"], type(line["exc_info"])) == ("error", RuntimeError)


async def test_every_broken_field_of_a_rotation_is_named_and_no_value_quoted(rig: Rig) -> None:
    await rig.tenants.RegisterTenant(registration())
    broken = [
        (pb.Credential(application_id="x", client_secret=APP), {"application_id", "client_secret"}),
        (pb.Credential(application_id=APP), {""}),
        (pb.Credential(application_id=APP, certificate_pfx=pb.PfxCertificate(content=b"")), {"certificate_pfx"}),
        (
            pb.Credential(application_id=APP, certificate_pfx=pb.PfxCertificate(content=CANARY.encode())),
            {"certificate_pfx"},
        ),
        (
            pb.Credential(application_id=APP, certificate_pfx=pb.PfxCertificate(content=b"x" * 40_000)),
            {"certificate_pfx"},
        ),
        (
            pb.Credential(application_id=APP, certificate_pfx=pb.PfxCertificate(content=b"x", passphrase=CANARY * 50)),
            {"certificate_pfx"},
        ),
        (
            pb.Credential(application_id=APP, federated=pb.FederatedToken(token_file="/etc/passwd")),
            {"federated.token_file"},
        ),
    ]
    for credential, fields in broken:
        request = pb.RotateTenantCredentialRequest(name="acme", credential=credential, request_id="x" * 65)
        told = await failing(rig.tenants.RotateTenantCredential(request))
        wanted = {"name", "request_id", *(f"credential.{field}".rstrip(".") for field in fields)}
        assert set(told.violations) == wanted
        assert CANARY not in str(told)
    told = await failing(
        rig.tenants.SetCredentialExpiry(
            pb.SetCredentialExpiryRequest(name="acme", expire_time=Timestamp(nanos=-1), fingerprint="x" * 129)
        )
    )
    assert set(told.violations) == {"name", "expire_time", "fingerprint"}


async def test_rotation_of_nobody_is_refused(rig: Rig) -> None:
    credential = pb.Credential(application_id=APP, client_secret=f"{CANARY}~x")
    request = pb.RotateTenantCredentialRequest(name="tenants/nobody", credential=credential)
    assert (await failing(rig.tenants.RotateTenantCredential(request))).reason == "TENANT_NOT_FOUND"
    expiry = pb.SetCredentialExpiryRequest(name="tenants/nobody")
    assert (await failing(rig.tenants.SetCredentialExpiry(expiry))).reason == "TENANT_NOT_FOUND"


async def test_end_of_a_certificate_cannot_be_told(rig: Rig) -> None:
    await rig.tenants.RegisterTenant(registration(certificate_pem=make_pem()))
    told = await failing(rig.tenants.SetCredentialExpiry(pb.SetCredentialExpiryRequest(name="tenants/acme")))
    assert set(told.violations) == {"expire_time"}
