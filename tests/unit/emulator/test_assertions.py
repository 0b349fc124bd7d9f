"""Client assertions: certificates in each form the login server takes, and assertions of other identity providers."""

import base64
from datetime import timedelta
from functools import cache
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
ISSUER = "https://cluster.example/issuer"
SUBJECT = "system:serviceaccount:rooms:connector"
AUDIENCE = "api://AzureADTokenExchange"


@cache
def key_of(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate_of(name: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    build = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key_of(name).public_key())
    build = build.serial_number(1).not_valid_before(START).not_valid_after(START + timedelta(days=9))
    return build.sign(key_of(name), hashes.SHA256())


def pem_of(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def thumbprint(certificate: x509.Certificate, kind: hashes.HashAlgorithm) -> str:
    return base64.urlsafe_b64encode(certificate.fingerprint(kind)).decode().rstrip("=")


def times(start_s: float = 0, end_s: float = 600) -> dict[str, int]:
    return {"nbf": int(START.timestamp() + start_s), "exp": int(START.timestamp() + end_s)}


def own_claims(r: Rig, **changes: Any) -> dict[str, Any]:
    endpoint = f"https://login.microsoftonline.com/{r.tenant['tenant_id']}/oauth2/v2.0/token"
    return {"aud": endpoint, "iss": r.tenant["client_id"], "sub": r.tenant["client_id"], **times(), **changes}


async def present(r: Rig, assertion: str) -> list[int]:
    """Ask for a token; gives the refusal's numbers, or none."""
    answer = await r.login.post(
        f"/{r.tenant['tenant_id']}/oauth2/v2.0/token",
        data={
            "client_id": r.tenant["client_id"],
            "grant_type": "client_credentials",
            "scope": "https://graph.microsoft.com/.default",
            "client_assertion_type": ASSERTION,
            "client_assertion": assertion,
        },
    )
    codes: list[int] = answer.json().get("error_codes", [])
    assert answer.status_code == (401 if codes else 200)
    return codes


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
@pytest.mark.parametrize("header", ["x5t", "x5t#S256"])
async def test_registered_certificate_signs_in(algorithm: str, header: str) -> None:
    async with rig() as r:
        certificate = certificate_of("connector")
        await r.told("PATCH", r.path("/app"), {"certificate_pem": pem_of(certificate)})
        kind = hashes.SHA1() if header == "x5t" else hashes.SHA256()
        made = jwt.encode(
            own_claims(r), key_of("connector"), algorithm=algorithm, headers={header: thumbprint(certificate, kind)}
        )
        assert await present(r, made) == []


@pytest.mark.parametrize(
    ("signer", "changes", "number"),
    [
        ("other", {}, 700027),
        ("connector", times(-3600, -301), 700024),
        ("connector", times(301, 900), 700024),
        ("connector", times(299, 900), None),
        ("connector", times(-900, -299), None),
        ("connector", {"exp": "soon"}, 700024),
        ("connector", {"iss": "somebody"}, 7000219),
        ("connector", {"sub": "somebody"}, 7000219),
        ("connector", {"aud": "https://login.microsoftonline.com/common/oauth2/v2.0/token"}, 7000219),
    ],
)
async def test_certificate_assertion_is_held_to_its_claims(
    signer: str, changes: dict[str, Any], number: int | None
) -> None:
    async with rig() as r:
        certificate = certificate_of("connector")
        await r.told("PATCH", r.path("/app"), {"certificate_pem": pem_of(certificate)})
        headers = {"x5t#S256": thumbprint(certificate, hashes.SHA256())}
        made = jwt.encode(own_claims(r, **changes), key_of(signer), algorithm="PS256", headers=headers)
        assert await present(r, made) == ([] if number is None else [number])


@pytest.mark.parametrize(("subject", "codes"), [("connector", []), ("somebody", [700030]), (None, [700027])])
async def test_certificate_that_comes_along_is_trusted_by_its_subject(subject: str | None, codes: list[int]) -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"certificate_subject": subject})
        der = certificate_of("connector").public_bytes(serialization.Encoding.DER)
        headers = {"x5c": [base64.b64encode(der).decode()]}
        made = jwt.encode(own_claims(r), key_of("connector"), algorithm="PS256", headers=headers)
        assert await present(r, made) == codes


async def test_what_is_no_jwt_is_refused() -> None:
    async with rig() as r:
        assert await present(r, "rubbish") == [700027]


def public_pem(name: str) -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return key_of(name).public_key().public_bytes(serialization.Encoding.PEM, kind).decode()


def jwks(name: str, key_id: str) -> dict[str, Any]:
    key = dict(jwt.algorithms.RSAAlgorithm.to_jwk(key_of(name).public_key(), as_dict=True))
    return {"keys": [{**key, "kid": key_id}]}


def federated(**changes: Any) -> dict[str, Any]:
    given = {"issuer": ISSUER, "subject": SUBJECT, **changes}
    return given if "jwks" in given else {"public_key_pem": public_pem("issuer"), **given}


def outside(signer: str = "issuer", key_id: str | None = None, **changes: Any) -> str:
    claims = {"iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE, **times(), **changes}
    return jwt.encode(claims, key_of(signer), algorithm="RS256", headers={"kid": key_id} if key_id else {})


async def register(r: Rig, *credentials: dict[str, Any]) -> None:
    await r.told("PATCH", r.path("/app"), {"federated_credentials": list(credentials)})


@pytest.mark.parametrize(
    ("assertion", "codes"),
    [
        ({}, []),
        ({"aud": [AUDIENCE, "other"]}, []),
        ({"iss": "https://elsewhere.example"}, [700211]),
        ({"aud": "api://other"}, [700212]),
        ({"sub": "system:serviceaccount:rooms:other"}, [700213]),
        ({"signer": "other"}, [700027]),
        ({"key_id": "unknown"}, []),
        (times(-900, -301), [700024]),
    ],
)
async def test_federated_assertion_must_match_its_registration(assertion: dict[str, Any], codes: list[int]) -> None:
    async with rig() as r:
        await register(r, federated())
        assert await present(r, outside(**assertion)) == codes


async def test_federated_assertion_shows_in_the_token_and_ends_with_its_registration() -> None:
    async with rig() as r:
        await register(r, federated(subject="first"), federated())
        assert await present(r, outside()) == []
        await register(r, federated(subject="first"))
        assert await present(r, outside()) == [700213]


@pytest.mark.parametrize(("key_id", "codes"), [("k1", []), (None, []), ("k2", [700027])])
async def test_key_set_is_searched_by_key_id(key_id: str | None, codes: list[int]) -> None:
    async with rig() as r:
        await register(r, federated(jwks=jwks("issuer", "k1")))
        assert await present(r, outside(key_id=key_id)) == codes


@pytest.mark.parametrize(("kind", "codes"), [("app", []), ("user", [700229])])
async def test_own_directorys_tokens_must_be_app_only(kind: str, codes: list[int]) -> None:
    async with rig() as r:
        issuer = f"https://login.microsoftonline.com/{r.tenant['tenant_id']}/v2.0"
        await register(r, federated(issuer=issuer))
        assert await present(r, outside(iss=issuer, idtyp=kind)) == codes


async def test_app_has_at_most_twenty_federated_credentials() -> None:
    async with rig() as r:
        body = {"federated_credentials": [federated(subject=str(number)) for number in range(21)]}
        assert (await r.control.patch(r.path("/app"), json=body)).status_code == 400
        await register(r, *body["federated_credentials"][:20])
        assert await present(r, outside(sub="19")) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"public_key_pem": "rubbish"},
        {"public_key_pem": None},
        {"jwks": {"keys": []}},
        {"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}, "public_key_pem": "both"},
    ],
)
async def test_unusable_key_is_refused_at_once(wrong: dict[str, Any]) -> None:
    async with rig() as r:
        body = {"federated_credentials": [federated(**wrong)]}
        answer = await r.control.patch(r.path("/app"), json=body)
        assert answer.status_code == 400
        assert "key" in answer.json()["error"]


@pytest.mark.parametrize("audience", [[["api"]], [{"a": 1}], [None], {"a": 1}, 7])
async def test_audience_of_another_type_is_not_the_expected_one(audience: Any) -> None:
    async with rig() as r:
        pem = key_of("issuer").public_key()
        text = pem.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        credential = {"issuer": ISSUER, "subject": SUBJECT, "public_key_pem": text}
        await r.told("PATCH", r.path("/app"), {"federated_credentials": [credential]})
        claims = {"iss": ISSUER, "sub": SUBJECT, "aud": audience, **times()}
        assert await present(r, jwt.encode(claims, key_of("issuer"), algorithm="RS256")) == [700212]


async def test_expiry_beyond_measure_is_out_of_range() -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"certificate_pem": pem_of(certificate_of("one"))})
        header = {"x5t#S256": thumbprint(certificate_of("one"), hashes.SHA256())}
        claims = own_claims(r, exp=10**400)
        assert await present(r, jwt.encode(claims, key_of("one"), algorithm="PS256", headers=header)) == [700024]
