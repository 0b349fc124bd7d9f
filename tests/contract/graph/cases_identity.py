"""Section 1: tokens and their refusals, claims, assertions, discovery."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.contract.graph.case import Table
from tests.contract.graph.emulated import Emulated
from tests.contract.graph.subject import Subject, assert_refused, claims_of

TABLE = Table()
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_NOBODY = "6f1c2b1a-0000-4000-8000-0000000000aa"
_STATE = "an admin's decision is the cause"


def _refused(answer: httpx.Response, status: int, error: str, *numbers: int) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["error"]) == (status, error), answer.text
    assert body["error_codes"][0] in numbers, answer.text
    return body


@TABLE.case("1.1", "a token comes with its lifetime, and never with a refresh token")
async def token_answer(s: Subject) -> None:
    answer = await s.ask_token()
    assert answer.status_code == 200
    body = answer.json()
    assert body["token_type"] == "Bearer"
    assert 3599 <= body["expires_in"] <= 86_400
    assert body["ext_expires_in"] >= body["expires_in"]
    assert "refresh_token" not in body


@TABLE.case("1.1", "the secret may travel as HTTP Basic")
async def basic_secret(s: Subject) -> None:
    pair = f"{s.client_id}:{quote(s.secret, safe='')}".encode()
    answer = await s.login.post(
        f"/{s.tenant}/oauth2/v2.0/token",
        data={"grant_type": "client_credentials", "scope": "https://graph.microsoft.com/.default"},
        headers={"authorization": f"Basic {base64.b64encode(pair).decode()}"},
    )
    assert answer.status_code == 200, answer.text


@TABLE.case("1.1", "the token endpoint takes POST only")
async def get_is_refused(s: Subject) -> None:
    answer = await s.login.get(f"/{s.tenant}/oauth2/v2.0/token")
    assert answer.status_code >= 400
    assert 900561 in answer.json()["error_codes"]


@TABLE.case("1.1", "`common` is no tenant for an app on its own")
async def common_is_refused(s: Subject) -> None:
    answer = await s.ask_token(tenant="common")
    assert 400 <= answer.status_code < 500
    assert "access_token" not in answer.json()


@TABLE.case(
    "1.3",
    "each fault of the form has its AADSTS number, OAuth error and status",
    rows={
        "wrong-secret": ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        "no-secret": ({"client_secret": None}, 401, "invalid_client", 7000216, 7000218),
        "unknown-app": ({"client_id": _NOBODY}, 400, "unauthorized_client", 700016),
        "no-grant-type": ({"grant_type": None}, 400, "invalid_request", 900144),
        "no-scope": ({"scope": None}, 400, "invalid_request", 900144),
        "no-client-id": ({"client_id": None}, 400, "invalid_request", 900144),
        "delegated-scope": ({"scope": "https://graph.microsoft.com/User.Read"}, 400, "invalid_scope", 1002012, 70011),
        "two-resources": (
            {"scope": "https://graph.microsoft.com/.default https://outlook.office365.com/.default"},
            400,
            "invalid_scope",
            70011,
            700022,
        ),
    },
)
async def refusal(s: Subject, changes: dict[str, str | None], status: int, error: str, *numbers: int) -> None:
    _refused(await s.ask_token(**changes), status, error, *numbers)


@TABLE.case("1.3", "a refusal carries its number in words and figures, and ids for support")
async def refusal_body(s: Subject) -> None:
    correlation = str(uuid4())
    answer = await s.login.post(
        f"/{s.tenant}/oauth2/v2.0/token",
        data={
            "client_id": s.client_id,
            "client_secret": "wrong",
            "grant_type": "client_credentials",
            "scope": "https://graph.microsoft.com/.default",
        },
        headers={"client-request-id": correlation},
    )
    body = answer.json()
    assert body["error_description"].startswith("AADSTS7000215: ")
    for label in ("Trace ID:", "Correlation ID:", "Timestamp:"):
        assert label in body["error_description"]
    assert body["correlation_id"] == correlation
    assert set(body) >= {"error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id"}


@TABLE.case("1.3", "an unknown tenant is 90002 on both paths, with different OAuth errors")
async def unknown_tenant(s: Subject) -> None:
    _refused(await s.ask_token(tenant=_NOBODY), 400, "invalid_request", 90002)
    discovery = await s.login.get(f"/{_NOBODY}/v2.0/.well-known/openid-configuration")
    _refused(discovery, 400, "invalid_tenant", 90002)


@TABLE.case("1.3", "an expired secret is 7000222", emulator_only=_STATE)
async def expired_secret(s: Emulated) -> None:
    await s.change_app(secret_expires_at="2026-01-01T00:00:00Z")
    _refused(await s.ask_token(), 401, "invalid_client", 7000222)


@TABLE.case("1.3", "a disabled service principal is 7000112", emulator_only=_STATE)
async def disabled_app(s: Emulated) -> None:
    await s.change_app(disabled=True)
    _refused(await s.ask_token(), 400, "unauthorized_client", 7000112)


@TABLE.case("1.3", "a new secret works beside the old one until that is removed", emulator_only=_STATE)
async def rotated_secret(s: Emulated) -> None:
    new = (await s.control("PATCH", "/app", {"generate_secret": True}))["client_secret"]
    assert (await s.ask_token(client_secret=new)).status_code == 200
    assert (await s.ask_token()).status_code == 200
    await s.change_app(remove_client_secret=s.secret)
    _refused(await s.ask_token(), 401, "invalid_client", 7000215)


@TABLE.case("1.4", "an app-only token for Graph has the claims of version 1.0")
async def claims(s: Subject) -> None:
    found = s.claims
    assert found["aud"] in ("https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000")
    assert found["iss"] == f"https://sts.windows.net/{found['tid']}/"
    assert (found["appid"], found["ver"], found["appidacr"]) == (s.client_id, "1.0", "1")
    assert found["oid"] == found["sub"] != found["appid"]
    assert found["nbf"] <= found["iat"] < found["exp"]
    assert found.get("idtyp", "app") == "app"
    assert "scp" not in found


@TABLE.case("1.4", "the token tells the tenant's id, however the tenant was named")
async def tenant_id(s: Subject) -> None:
    answer = await s.ask_token(tenant=s.claims["tid"])
    assert claims_of(answer.json()["access_token"])["tid"] == s.claims["tid"]


@TABLE.case("1.1", "a token is issued without any consent, has no roles, and opens nothing", emulator_only=_STATE)
async def no_consent(s: Emulated) -> None:
    await s.change_app(roles=[])
    await s.sign_in()
    assert "roles" not in s.claims
    answer = await s.graph.get(f"/users/{s.mailbox}/events")
    assert_refused(answer, (401, 403), "ErrorAccessDenied", "UnauthorizedError")


@TABLE.case("1.1", "consent takes effect only in a new token", emulator_only=_STATE)
async def consent_needs_a_new_token(s: Emulated) -> None:
    await s.change_app(roles=[])
    assert (await s.graph.get(f"/users/{s.mailbox}/events")).status_code == 200
    await s.sign_in()
    assert (await s.graph.get(f"/users/{s.mailbox}/events")).status_code == 403
    await s.change_app(roles=["Calendars.ReadWrite"])
    assert (await s.graph.get(f"/users/{s.mailbox}/events")).status_code == 403
    await s.sign_in()
    assert (await s.graph.get(f"/users/{s.mailbox}/events")).status_code == 200


@TABLE.case("1.4", "a token without the write role reads and does not write", emulator_only=_STATE)
async def read_role(s: Emulated) -> None:
    await s.change_app(roles=["Calendars.Read"])
    await s.sign_in()
    assert (await s.graph.get(f"/users/{s.mailbox}/events")).status_code == 200
    assert_refused(await s.graph.post(f"/users/{s.mailbox}/events", json=s.body()), 403, "ErrorAccessDenied")


@TABLE.case(
    "1.5",
    "a client assertion must be signed by a registered certificate, in time, for this endpoint",
    emulator_only="a certificate is registered",
    rows={
        "good": ("PS256", "x5t#S256", None, None),
        "older-algorithm": ("RS256", "x5t", None, None),
        "padded-thumbprint": ("PS256", "x5t#S256", "padded", None),
        "unregistered": ("PS256", "x5t#S256", "unregistered", 700027),
        "other-key": ("PS256", "x5t#S256", "other key", 700027),
        "late": ("PS256", "x5t#S256", "late", 700024),
        "early": ("PS256", "x5t#S256", "early", 700024),
    },
)
async def assertion(s: Emulated, algorithm: str, header: str, flaw: str | None, number: int | None) -> None:
    key, other = _keys()
    certificate = _self_signed(key, s.now())
    if flaw != "unregistered":
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        await s.change_app(certificate_pem=pem)
    shift_h = {"late": -1, "early": 1}.get(flaw or "", 0)
    answer = await s.ask_token(
        client_secret=None,
        client_assertion_type=_ASSERTION,
        client_assertion=_signed(
            s,
            other if flaw == "other key" else key,
            s.now() + timedelta(hours=shift_h),
            algorithm,
            {header: _thumbprint(certificate, header, is_padded=flaw == "padded")},
        ),
    )
    if number is None:
        assert answer.status_code == 200, answer.text
        assert claims_of(answer.json()["access_token"])["appidacr"] == "2"
    else:
        _refused(answer, 401, "invalid_client", number)


@TABLE.case("1.9", "the discovery document names the endpoints and the issuer of this tenant")
async def discovery(s: Subject) -> None:
    body = (await s.login.get(f"/{s.tenant}/v2.0/.well-known/openid-configuration")).json()
    assert body["issuer"].endswith(f"/{s.claims['tid']}/v2.0")
    assert body["token_endpoint"].endswith("/oauth2/v2.0/token")
    assert body["authorization_endpoint"].endswith("/oauth2/v2.0/authorize")
    assert {"client_secret_post", "private_key_jwt"} <= set(body["token_endpoint_auth_methods_supported"])
    assert body["msgraph_host"] == "graph.microsoft.com"
    keys = (await s.login.get(httpx.URL(body["jwks_uri"]).path)).json()["keys"]
    assert all({"kty", "use", "kid", "n", "e"} <= set(one) for one in keys)


@TABLE.case("1.9", "the key that signed a token is published")
async def published_key(s: Subject) -> None:
    keys = (await s.login.get("/common/discovery/keys")).json()["keys"]
    assert jwt.get_unverified_header(s.token)["kid"] in [one["kid"] for one in keys]


@TABLE.case("1.9", "instance discovery gives the tenant's discovery document")
async def instance_discovery(s: Subject) -> None:
    authorize = f"https://login.microsoftonline.com/{s.tenant}/oauth2/v2.0/authorize"
    params = {"api-version": "1.1", "authorization_endpoint": authorize}
    body = (await s.login.get("/common/discovery/instance", params=params)).json()
    assert body["tenant_discovery_endpoint"].endswith("/v2.0/.well-known/openid-configuration")
    assert any("login.microsoftonline.com" in one["aliases"] for one in body["metadata"])


@TABLE.case("1.10", "an answer of the token endpoint is not to be stored, and names itself")
async def token_headers(s: Subject) -> None:
    for answer in (await s.ask_token(), await s.ask_token(client_secret="wrong")):
        assert "no-store" in answer.headers["cache-control"]
        assert answer.headers["pragma"] == "no-cache"
        assert answer.headers["x-ms-request-id"]
        assert answer.headers["content-type"].startswith("application/json")


_BAD_TOKENS: dict[str, tuple[Callable[[Subject], str]]] = {
    "none": (lambda s: "",),
    "no-scheme": (lambda s: s.token,),
    "garbage": (lambda s: "Bearer rubbish",),
    "forged": (lambda s: f"Bearer {s.token[:-8]}AAAAAAAA",),
}


@TABLE.case("10", "a call without a good token is 401 with a challenge", rows=_BAD_TOKENS)
async def bad_token(s: Subject, header: Callable[[Subject], str]) -> None:
    answer = await s.graph.get(f"/users/{s.mailbox}/events", headers={"authorization": header(s)})
    assert_refused(answer, 401, "InvalidAuthenticationToken")
    assert answer.headers["www-authenticate"].startswith("Bearer ")


@TABLE.case("10", "a token for another resource is of the wrong audience")
async def other_audience(s: Subject) -> None:
    token = (await s.ask_token(scope="https://outlook.office365.com/.default")).json()["access_token"]
    answer = await s.graph.get(f"/users/{s.mailbox}/events", headers={"authorization": f"Bearer {token}"})
    error = assert_refused(answer, 401, "InvalidAuthenticationToken")
    assert "audience" in error["message"].lower()


@TABLE.case("10", "an expired token says so", emulator_only="the clock is moved")
async def expired_token(s: Emulated) -> None:
    await s.advance(5400)
    answer = await s.graph.get(f"/users/{s.mailbox}/events")
    assert "expired" in assert_refused(answer, 401, "InvalidAuthenticationToken")["message"]


@lru_cache(maxsize=1)
def _keys() -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    """Make the keys once; making one takes longer than a case."""
    first, second = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    return first, second


def _self_signed(key: rsa.RSAPrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "connector")])
    build = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    build = build.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=9))
    return build.sign(key, hashes.SHA256())


def _thumbprint(certificate: x509.Certificate, header: str, *, is_padded: bool) -> str:
    digest = certificate.fingerprint(hashes.SHA256() if header == "x5t#S256" else hashes.SHA1())
    thumbprint = base64.urlsafe_b64encode(digest).decode()
    return thumbprint if is_padded else thumbprint.rstrip("=")


def _signed(s: Subject, key: rsa.RSAPrivateKey, now: datetime, algorithm: str, headers: dict[str, str]) -> str:
    claims = {
        "aud": f"https://login.microsoftonline.com/{s.tenant}/oauth2/v2.0/token",
        "iss": s.client_id,
        "sub": s.client_id,
        "jti": str(uuid4()),
        "nbf": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=10)).timestamp()),
    }
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)
