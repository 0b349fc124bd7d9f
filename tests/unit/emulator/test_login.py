"""The login server: discovery, tokens, and each refusal by the state that causes it."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.unit.emulator.rig import START, Rig, rig

pytestmark = pytest.mark.looptime
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


async def test_token_is_signed_by_a_published_key_and_tells_the_roles() -> None:
    async with rig(roles=["Calendars.ReadWrite", "Place.Read.All"]) as r:
        body = (await r.ask_token()).json()
        assert 3599 <= body["expires_in"] <= 5399
        keys = (await r.login.get(f"/{r.tenant['tenant_id']}/discovery/v2.0/keys")).json()
        kid = jwt.get_unverified_header(body["access_token"])["kid"]
        key = next(one for one in jwt.PyJWKSet.from_dict(keys).keys if one.key_id == kid)
        claims = jwt.decode(
            body["access_token"],
            key,
            algorithms=["RS256"],
            audience="https://graph.microsoft.com",
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
        assert claims["roles"] == ["Calendars.ReadWrite", "Place.Read.All"]
        assert (claims["tid"], claims["appid"], claims["idtyp"]) == (
            r.tenant["tenant_id"],
            r.tenant["client_id"],
            "app",
        )
        assert claims["oid"] == claims["sub"]


async def test_token_without_consent_has_no_roles_and_opens_nothing() -> None:
    async with rig(roles=[]) as r:
        assert "roles" not in claims_of((await r.ask_token()).json()["access_token"])
        answer = await r.graph.get(f"/users/{r.room}/events")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ErrorAccessDenied")


async def test_consent_shows_only_in_a_new_token() -> None:
    async with rig(roles=[]) as r:
        await r.told("PATCH", r.path("/app"), {"roles": ["Calendars.Read"]})
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 403
        await r.sign_in()
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200
        assert (await r.graph.post(f"/users/{r.room}/events", json={})).status_code == 403


@pytest.mark.parametrize(
    ("form", "app", "number", "error", "status"),
    [
        ({"client_secret": "wrong"}, {}, 7000215, "invalid_client", 401),
        ({}, {"secret_expires_at": "2026-11-01T00:00:00Z"}, 7000222, "invalid_client", 401),
        ({"client_id": "6f1c2b1a-0000-4000-8000-0000000000aa"}, {}, 700016, "unauthorized_client", 400),
        ({}, {"disabled": True}, 7000112, "unauthorized_client", 400),
        ({"scope": "https://graph.microsoft.com/User.Read"}, {}, 1002012, "invalid_scope", 400),
        ({"scope": "https://graph.microsoft.com/.default https://x.example/.default"}, {}, 70011, "invalid_scope", 400),
        ({"grant_type": ""}, {}, 900144, "invalid_request", 400),
    ],
)
async def test_token_is_refused(
    form: dict[str, str], app: dict[str, Any], number: int, error: str, status: int
) -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), app)
        answer = await r.ask_token(**form)
        body = answer.json()
        assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [number])
        assert body["error_description"].startswith(f"AADSTS{number}: ")
        assert f"Trace ID: {body['trace_id']}" in body["error_description"]


async def test_unknown_tenant_is_told_apart_on_discovery_and_token() -> None:
    async with rig() as r:
        discovery = await r.login.get("/11111111-2222-4333-8444-555555555555/v2.0/.well-known/openid-configuration")
        token = await r.login.post("/nosuch.example/oauth2/v2.0/token", data={"client_id": "x"})
        assert [one.status_code for one in (discovery, token)] == [400, 400]
        assert (discovery.json()["error"], token.json()["error"]) == ("invalid_tenant", "invalid_request")
        assert discovery.json()["error_codes"] == token.json()["error_codes"] == [90002]


async def test_discovery_answers_by_domain_and_names_the_token_endpoint() -> None:
    async with rig() as r:
        body = (await r.login.get(f"/{r.tenant['domain']}/v2.0/.well-known/openid-configuration")).json()
        assert body["token_endpoint"].endswith(f"/{r.tenant['tenant_id']}/oauth2/v2.0/token")
        instance = (await r.login.get("/common/discovery/instance")).json()
        assert instance["metadata"][0]["aliases"] == ["login.microsoftonline.com"]


async def test_secret_may_travel_as_basic() -> None:
    async with rig() as r:
        pair = f"{r.tenant['client_id']}:{r.tenant['client_secret'].replace('~', '%7E')}"
        answer = await r.login.post(
            f"/{r.tenant['tenant_id']}/oauth2/v2.0/token",
            data={"grant_type": "client_credentials", "scope": "https://graph.microsoft.com/.default"},
            headers={"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"},
        )
        assert answer.status_code == 200, answer.text


async def test_new_secret_works_beside_the_old_one() -> None:
    async with rig() as r:
        new = (await r.told("PATCH", r.path("/app"), {"generate_secret": True}))["client_secret"]
        assert (await r.ask_token(client_secret=new)).status_code == 200
        assert (await r.ask_token()).status_code == 200
        await r.told("PATCH", r.path("/app"), {"remove_client_secret": r.tenant["client_secret"]})
        assert (await r.ask_token()).json()["error_codes"] == [7000215]


@pytest.mark.parametrize("case", ["good", "unregistered", "late", "audience"])
async def test_certificate_assertion_is_checked(case: str) -> None:
    async with rig() as r:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        certificate = _self_signed(key)
        if case != "unregistered":
            pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
            await r.told("PATCH", r.path("/app"), {"certificate_pem": pem})
        answer = await r.login.post(
            f"/{r.tenant['tenant_id']}/oauth2/v2.0/token",
            data={
                "client_id": r.tenant["client_id"],
                "grant_type": "client_credentials",
                "scope": "https://graph.microsoft.com/.default",
                "client_assertion_type": ASSERTION,
                "client_assertion": _assertion(r, key, certificate, case),
            },
        )
        number = {"good": None, "unregistered": 700027, "late": 700024, "audience": 7000219}[case]
        if number is None:
            assert claims_of(answer.json()["access_token"])["appidacr"] == "2"
        else:
            assert answer.json()["error_codes"] == [number]


def _self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "connector")])
    build = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    build = build.serial_number(1).not_valid_before(START).not_valid_after(START + timedelta(days=9))
    return build.sign(key, hashes.SHA256())


def _assertion(r: Rig, key: rsa.RSAPrivateKey, certificate: x509.Certificate, case: str) -> str:
    now = START - timedelta(hours=1) if case == "late" else START
    endpoint = f"https://login.microsoftonline.com/{r.tenant['tenant_id']}/oauth2/v2.0/token"
    claims = {
        "aud": "https://elsewhere.example" if case == "audience" else endpoint,
        "iss": r.tenant["client_id"],
        "sub": r.tenant["client_id"],
        "jti": "1",
        "nbf": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=10)).timestamp()),
    }
    thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).decode().rstrip("=")
    return jwt.encode(claims, key, algorithm="PS256", headers={"x5t#S256": thumbprint})


async def test_token_expires_with_the_emulated_clock() -> None:
    async with rig() as r:
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200
        await r.told("POST", "/control/clock", {"advance_s": 5400})
        answer = await r.graph.get(f"/users/{r.room}/events")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (401, "InvalidAuthenticationToken")
        assert error["message"] == "Lifetime validation failed, the token is expired."
        assert datetime.fromisoformat(error["innerError"]["date"]).replace(tzinfo=UTC) > START


@pytest.mark.parametrize("case", ["empty", "garbage", "audience", "forged"])
async def test_bad_token_is_refused_in_graphs_words(case: str) -> None:
    async with rig() as r:
        header = {
            "empty": "",
            "garbage": "Bearer rubbish",
            "audience": f"Bearer {(await r.ask_token(scope='https://outlook.office365.com/.default')).json()['access_token']}",
            "forged": f"Bearer {jwt.encode({'aud': 'x'}, rsa.generate_private_key(65537, 2048), algorithm='RS256')}",
        }[case]
        answer = await r.graph.get(f"/users/{r.room}/events", headers={"authorization": header})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (401, "InvalidAuthenticationToken")
        assert {"empty": "empty", "garbage": "parsing", "audience": "audience", "forged": "signature"}[case] in error[
            "message"
        ]
        assert answer.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("https://[", "login.microsoftonline.com"),
        ("https://x]", "login.microsoftonline.com"),
        ("https://a.example/", "["),
    ],
)
async def test_instance_that_is_no_url_is_unknown(endpoint: str, host: str) -> None:
    async with rig() as r:
        answer = await r.login.get(
            "/common/discovery/instance", params={"authorization_endpoint": endpoint}, headers={"host": host}
        )
        assert (answer.status_code, answer.json()["error_codes"]) == (400, [50049])
