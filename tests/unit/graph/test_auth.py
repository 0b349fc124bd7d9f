"""Tokens: one request at a time, good ones outlive a failing login service, and nothing secret is ever told."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import parse_qs

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from sidecar.errors import (
    ApplicationDisabled,
    ApplicationNotFound,
    CloudMismatch,
    ConsentMissing,
    CredentialExpired,
    CredentialRejected,
    DirectoryNotFound,
    GraphUnavailable,
    SidecarError,
    SignInBlocked,
    Throttled,
)
from sidecar.graph import auth
from sidecar.graph.auth import TokenSource
from sidecar.graph.clouds import TenantRef, endpoints_of
from sidecar.graph.logins import build_login_http, login_error, token_roles
from sidecar.model.ids import TenantUid
from sidecar.model.tenant import Cloud, Credential, CredentialKind
from sidecar.settings import GraphSettings
from sidecar.telemetry.metrics import Telemetry
from tests.unit.graph.kit import CANARY, NOW, TENANT, FakeClock

APPLICATION = "6f1c2b1a-0000-4000-8000-0000000000aa"
SECRET = Credential(application_id=APPLICATION, kind=CredentialKind.CLIENT_SECRET, proof=CANARY.encode())

Reply = httpx.Response | Exception


class FakeLogin:
    """The login service: a discovery document, and tokens with numbers unless told otherwise."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.discovery: Reply | None = None
        self.forms: list[dict[str, list[str]]] = []
        self.hosts: set[str] = set()
        self.expires_in = 3_600
        self.extra: dict[str, object] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.hosts.add(request.url.host)
        if request.method == "GET":
            base = str(request.url).removesuffix("/v2.0/.well-known/openid-configuration")
            document = {
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "issuer": f"{base}/v2.0",
            }
            return _give(self.discovery or httpx.Response(200, json=document))
        self.forms.append(parse_qs(request.content.decode()))
        if self.replies:
            return _give(self.replies.pop(0))
        token = {
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "access_token": f"{CANARY}-token-{len(self.forms)}",
        }
        return httpx.Response(200, json=token | self.extra)


def _give(reply: Reply) -> httpx.Response:
    if isinstance(reply, Exception):
        raise reply
    return reply


def refusal(status: int, *codes: int, error: str = "invalid_client", **headers: str) -> httpx.Response:
    body = {
        "error": error,
        "error_description": f"AADSTS{codes[0] if codes else 0}: about {CANARY}",
        "error_codes": list(codes),
        "correlation_id": "5a7e0000-1111-4222-8333-944455556666",
    }
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})


class Stage:
    """A token source over a fake login service."""

    def __init__(self, credential: Credential = SECRET) -> None:
        self.login = FakeLogin()
        self.clock = FakeClock()
        self.telemetry = Telemetry()
        self.credential = credential
        self.loads_count = 0
        settings = GraphSettings()
        self.tokens = TokenSource(
            credentials=self,
            settings=settings,
            clock=self.clock,
            telemetry=self.telemetry,
            http=build_login_http(settings, transport=httpx.MockTransport(self.login)),
        )

    async def load_credential(self, tenant_uid: TenantUid, identity: str) -> Credential:
        self.loads_count += 1
        return self.credential

    async def fetch(self, **changes: str) -> str:
        return await self.tokens.fetch_token(TENANT, **changes)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.tokens.close()


async def test_token_is_remembered_until_it_nears_its_end(stage: Stage) -> None:
    first = await stage.fetch()
    stage.clock.passed_s = 3_200.0

    assert await stage.fetch() == first
    assert len(stage.login.forms) == 1
    assert stage.login.hosts == {"login.microsoftonline.com"}
    assert stage.login.forms[0]["scope"] == ["https://graph.microsoft.com/.default"]
    assert stage.login.forms[0]["client_secret"] == [CANARY]


async def test_many_callers_make_one_request(stage: Stage) -> None:
    async with asyncio.TaskGroup() as group:
        fetched = [group.create_task(stage.fetch()) for _ in range(20)]

    assert len({task.result() for task in fetched}) == 1
    assert len(stage.login.forms) == 1
    assert stage.loads_count == 1


async def test_tenants_do_not_share_a_token(stage: Stage) -> None:
    other = TenantRef(tenant_uid=TenantUid("t2"), directory_id="contoso.example", cloud=Cloud.US_GOVERNMENT)

    assert await stage.fetch() != await stage.tokens.fetch_token(other)
    assert "login.microsoftonline.us" in stage.login.hosts
    assert stage.login.forms[1]["scope"] == ["https://graph.microsoft.us/.default"]


async def test_forgetting_asks_anew_even_after_a_refusal_msal_remembers(stage: Stage) -> None:
    stage.login.replies = [refusal(400, 700016, error="unauthorized_client")]
    with pytest.raises(CredentialRejected):
        await stage.fetch()
    with pytest.raises(CredentialRejected):
        await stage.fetch()
    assert len(stage.login.forms) == 1

    stage.tokens.forget(TENANT.tenant_uid)
    assert await stage.fetch()
    assert stage.loads_count == 2


async def test_calls_refused_together_cost_one_new_token(stage: Stage) -> None:
    refused = await stage.fetch()
    stage.tokens.forget(TENANT.tenant_uid, token=refused)
    fresh = await stage.fetch()
    stage.tokens.forget(TENANT.tenant_uid, token=refused)

    assert fresh != refused
    assert await stage.fetch() == fresh


async def test_claims_make_a_new_token(stage: Stage) -> None:
    first = await stage.fetch()
    claims = '{"access_token":{"nbf":{"essential":true}}}'

    assert await stage.fetch(claims=claims) != first
    assert json.loads(stage.login.forms[1]["claims"][0]) == json.loads(claims)


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(500, text="<html>"),
        httpx.Response(503, json={}),
        httpx.ConnectTimeout("slow"),
        refusal(429, 90055, error="x"),
    ],
)
async def test_good_token_outlives_a_failing_login_service(stage: Stage, failure: Reply) -> None:
    stage.login.expires_in = 299
    first = await stage.fetch()
    stage.login.replies = [failure] * 3
    with capture_logs() as logs:
        assert await stage.fetch() == first
        assert await stage.fetch() == first

    assert [entry["event"] for entry in logs] == ["token.kept"]
    assert CANARY not in str(logs)
    stage.clock.passed_s = 280.0
    with pytest.raises((GraphUnavailable, Throttled)):
        await stage.fetch()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (refusal(401, 7000215), CredentialRejected),
        (refusal(401, 7000222), CredentialExpired),
        (refusal(401, 700027), CredentialRejected),
        (refusal(401, 700024), CredentialRejected),
        (refusal(400, 700016, error="unauthorized_client"), ApplicationNotFound),
        (refusal(400, 53003, error="access_denied"), SignInBlocked),
        (refusal(400, 7000112, error="unauthorized_client"), ApplicationDisabled),
        (refusal(400, 65001, error="invalid_grant"), ConsentMissing),
        (refusal(400, 90002, error="invalid_request"), DirectoryNotFound),
        (refusal(400, 900023, error="invalid_request"), DirectoryNotFound),
        (refusal(400, 90038, error="invalid_request"), CloudMismatch),
        (refusal(400, 500011, error="invalid_resource"), CloudMismatch),
        (refusal(400, 50196, error="invalid_grant"), Throttled),
        (refusal(429, 90055, error="x"), Throttled),
        (refusal(429), Throttled),
        (httpx.Response(429, text="<html>"), Throttled),
        (refusal(400, 90033, error="temporarily_unavailable"), GraphUnavailable),
        (refusal(400, error="temporarily_unavailable"), GraphUnavailable),
        (refusal(500, 50000, error="server_error"), GraphUnavailable),
        (httpx.Response(502, text="<html>"), GraphUnavailable),
        (httpx.Response(200, text='{"access_token": "' + CANARY), GraphUnavailable),
        (httpx.Response(200, json={}), GraphUnavailable),
        (httpx.Response(200, json={"access_token": 7}), GraphUnavailable),
        (httpx.Response(403, text="<html>proxy</html>"), GraphUnavailable),
        (httpx.Response(503, json={"error": {"code": "ServiceUnavailable"}}), GraphUnavailable),
        (httpx.Response(403, json={"error": {"code": "Blocked"}}), GraphUnavailable),
        (httpx.ReadTimeout("slow"), GraphUnavailable),
        (httpx.ConnectError("refused"), GraphUnavailable),
        (refusal(418, 12345, error="teapot"), CredentialRejected),
    ],
)
async def test_refusals_are_named_and_nothing_secret_is_told(
    stage: Stage, reply: Reply, expected: type[SidecarError], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stage.login.replies = [reply]
    with capture_logs() as logs, pytest.raises(SidecarError) as caught:
        await stage.fetch()

    error = caught.value
    assert type(error) is expected
    assert CANARY not in f"{error}{error!r}{error.details}{logs}{caplog.text}"


async def test_wrong_secret_is_told_with_its_number_and_its_usual_cause(stage: Stage) -> None:
    stage.login.replies = [refusal(401, 7000215)]
    with pytest.raises(CredentialRejected) as caught:
        await stage.fetch()

    assert caught.value.details["aadsts"] == "AADSTS7000215"
    assert caught.value.details["correlation_id"].startswith("5a7e")
    assert caught.value.details["cause"] == "SECRET_WRONG"


async def test_retry_after_of_the_login_service_is_told(stage: Stage) -> None:
    stage.login.replies = [refusal(429, 90055, retry_after="42")]
    with pytest.raises(Throttled) as caught:
        await stage.fetch()
    assert caught.value.retry_after_s == 42.0


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (refusal(400, 90002, error="invalid_tenant"), DirectoryNotFound),
        (httpx.Response(404), DirectoryNotFound),
        (httpx.Response(429, headers={"retry-after": "9"}), Throttled),
        (httpx.Response(403, text="<html>proxy</html>"), GraphUnavailable),
        (httpx.Response(503), GraphUnavailable),
        (httpx.Response(200, text="<html>"), GraphUnavailable),
        (httpx.Response(200, json={"x": 1}), GraphUnavailable),
        (httpx.ConnectError("refused"), GraphUnavailable),
    ],
)
async def test_unknown_directory_is_told_from_an_outage(
    stage: Stage, reply: Reply, expected: type[SidecarError]
) -> None:
    stage.login.discovery = reply
    with pytest.raises(SidecarError) as caught:
        await stage.fetch()
    assert type(caught.value) is expected

    stage.login.discovery = None
    assert await stage.fetch()


@pytest.mark.parametrize("directory_id", ["", "../x", "a/b", "a?b", "a b", "x" * 300])
async def test_directory_that_is_none_is_not_asked_for(stage: Stage, directory_id: str) -> None:
    tenant = TenantRef(tenant_uid=TenantUid("t1"), directory_id=directory_id, cloud=Cloud.GLOBAL)
    with pytest.raises(DirectoryNotFound):
        await stage.tokens.fetch_token(tenant)
    assert stage.login.hosts == set()


def _certificate() -> tuple[bytes, bytes, rsa.RSAPrivateKey]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sidecar")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=30))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate, private, key


@pytest.fixture(scope="module")
def certificate() -> tuple[bytes, bytes]:
    public, private, _ = _certificate()
    return public, private


async def test_certificate_is_named_by_sha256_and_its_key_loaded_once(
    certificate: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[bytes] = []
    load = serialization.load_pem_private_key

    def counted(pem: bytes, password: None) -> object:
        loads.append(pem)
        return load(pem, password=password)

    monkeypatch.setattr(auth, "load_pem_private_key", counted)
    public, private = certificate
    proof = private + b"\n" + public
    stage = Stage(Credential(application_id=APPLICATION, kind=CredentialKind.CERTIFICATE, proof=proof))
    await stage.fetch()
    stage.tokens.forget(TENANT.tenant_uid)
    await stage.fetch()
    stage.tokens.close()

    assert len(loads) == 1
    head, _, _ = stage.login.forms[0]["client_assertion"][0].split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    assert header["alg"] == "PS256"
    assert "x5t#S256" in header
    assert "client_secret" not in stage.login.forms[0]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda public, private: public,
        lambda public, private: private,
        lambda public, private: b"",
        lambda public, private: b"\xff\xfe",
        lambda public, private: private + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        lambda public, private: public + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    ],
)
async def test_unusable_certificate_is_rejected_without_asking(
    certificate: tuple[bytes, bytes], spoil: Callable[[bytes, bytes], bytes]
) -> None:
    proof = spoil(*certificate)
    stage = Stage(Credential(application_id=APPLICATION, kind=CredentialKind.CERTIFICATE, proof=proof))
    with pytest.raises(CredentialRejected):
        await stage.fetch()
    stage.tokens.close()
    assert stage.login.hosts == set()


async def test_secret_that_is_not_text_is_rejected() -> None:
    proof = b"\xff" + CANARY.encode()
    stage = Stage(Credential(application_id=APPLICATION, kind=CredentialKind.CLIENT_SECRET, proof=proof))
    with pytest.raises(CredentialRejected) as caught:
        await stage.fetch()
    stage.tokens.close()
    assert CANARY not in f"{caught.value!r}{caught.value.__cause__!r}"


async def test_refresh_is_made_when_the_login_service_advises_it(stage: Stage) -> None:
    stage.login.expires_in = 86_000
    stage.login.extra = {"refresh_in": 1}
    first = await stage.fetch()
    assert await stage.fetch() == first
    stage.clock.passed_s = 10.0
    await stage.fetch()
    assert stage.loads_count == 1


@pytest.mark.parametrize(
    ("token", "roles"),
    [
        ("opaque", None),
        ("a.b.c", None),
        ("a.!!.c", None),
        ("h." + base64.urlsafe_b64encode(b'{"roles":["A","B"]}').decode().rstrip("=") + ".s", ("A", "B")),
        ("h." + base64.urlsafe_b64encode(b"{}").decode().rstrip("=") + ".s", ()),
        ("h." + base64.urlsafe_b64encode(b'{"roles":7}').decode().rstrip("=") + ".s", ()),
    ],
)
def test_roles_are_read_for_diagnosis(token: str, roles: tuple[str, ...] | None) -> None:
    assert token_roles(token) == roles


def test_number_is_found_in_the_sentence_when_the_list_is_missing() -> None:
    error = login_error({"error_description": "AADSTS7000222: expired"}, status=401, retry_after_s=None)

    assert error.details["aadsts"] == "AADSTS7000222"


@pytest.mark.parametrize(
    ("graph_url", "expected"),
    [
        (None, "https://graph.microsoft.com/v1.0"),
        ("https://localhost:8443/", "https://localhost:8443/v1.0"),
        ("https://localhost:8443/v1.0", "https://localhost:8443/v1.0"),
    ],
)
def test_addresses_may_be_replaced_but_not_the_scope(graph_url: str | None, expected: str) -> None:
    found = endpoints_of(Cloud.GLOBAL, GraphSettings(graph_url=graph_url, login_url="https://localhost:8444/"))

    assert found.graph_url == expected
    assert found.login_url == "https://localhost:8444"
    assert found.scope == "https://graph.microsoft.com/.default"
