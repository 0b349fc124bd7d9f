"""Section 4: notifications that carry what changed, encrypted."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.contract.graph.case import Table
from tests.contract.graph.emulated import Emulated
from tests.contract.graph.subject import Json, Subject, assert_refused, instant

TABLE = Table()
_CHANGE_TRACKING = "0bf30f3b-4a52-48df-9a82-234910c4a086"
_HOOK = {"webhook"}
_SEEN = frozenset({"webhook", "deliveries"})


@lru_cache(maxsize=1)
def _key() -> rsa.RSAPrivateKey:
    """Make the key once; making one takes longer than a case."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@lru_cache(maxsize=1)
def _certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rooms")])
    build = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(_key().public_key())
    start = datetime(2026, 1, 1, tzinfo=UTC)
    build = build.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=3650))
    return build.sign(_key(), hashes.SHA256()).public_bytes(Encoding.DER)


def _wanted(s: Subject, **changes: Any) -> Json:  # Any: JSON for the wire
    return {
        "resource": f"/users/{s.mailbox}/events?$select=id,subject,start,showAs",
        "includeResourceData": True,
        "encryptionCertificate": base64.b64encode(_certificate()).decode(),
        "encryptionCertificateId": "rooms-2026a",
        **changes,
    }


def _opened(content: Json) -> Json:
    """Read encrypted content, step by step as Microsoft's page tells."""
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)
    data_key = _key().decrypt(base64.b64decode(content["dataKey"]), oaep)
    sealed = base64.b64decode(content["data"])
    signature = base64.b64encode(hmac.digest(data_key, sealed, "sha256")).decode()
    assert signature == content["dataSignature"]
    cipher = Cipher(algorithms.AES256(data_key), modes.CBC(data_key[:16])).decryptor()
    unpadder = PKCS7(128).unpadder()
    padded = cipher.update(sealed) + cipher.finalize()
    return dict(json.loads(unpadder.update(padded) + unpadder.finalize()))


@TABLE.case("4.1", "a subscription with resource data says so, and keeps its certificate's id", needs=_HOOK)
async def create(s: Subject) -> None:
    made = await s.subscribed(**_wanted(s))
    assert (made["includeResourceData"], made["encryptionCertificateId"]) == (True, "rooms-2026a")


@TABLE.case(
    "4.1",
    "what such a subscription needs, and what it cannot have",
    needs=_HOOK,
    rows={
        "no-select": ({"resource": "/users/{}/events"},),
        "body-selected": ({"resource": "/users/{}/events?$select=id,body"},),
        "top": ({"resource": "/users/{}/events?$select=id&$top=5"},),
        "no-certificate": ({"encryptionCertificate": None},),
        "no-certificate-id": ({"encryptionCertificateId": None},),
        "no-real-certificate": ({"encryptionCertificate": "bm9uc2Vuc2U="},),
        "long-certificate-id": ({"encryptionCertificateId": "x" * 129},),
    },
)
async def refused(s: Subject, changes: Json) -> None:
    if "resource" in changes:
        changes = {"resource": changes["resource"].format(s.mailbox)}
    assert_refused(await s.subscribe(**_wanted(s, **changes)), 400)


@TABLE.case("2.4", "a subscription with resource data lives a day at most", needs=_HOOK)
async def lifetime(s: Subject) -> None:
    too_long = instant(s.now() + timedelta(minutes=1500))
    assert_refused(await s.subscribe(**_wanted(s, expirationDateTime=too_long)), 400)
    made = await s.subscribe(**_wanted(s, expirationDateTime=instant(s.now() + timedelta(minutes=1430))))
    assert made.status_code == 201, made.text


@TABLE.case("4.3", "the content opens with the private key and holds the selected properties", needs=_SEEN)
async def content(s: Emulated) -> None:
    await s.subscribed(**_wanted(s))
    made = await s.create()
    await s.rest()
    (item,) = s.webhook.items
    event = _opened(item["encryptedContent"])
    assert {name for name in event if not name.startswith("@")} == {"id", "subject", "start", "showAs"}
    assert (event["id"], event["subject"]) == (made["id"], "Contract")
    assert item["encryptedContent"]["encryptionCertificateId"] == "rooms-2026a"
    assert item["resourceData"]["id"] == made["id"]


@TABLE.case(
    "4.4", "the batch is vouched for by a token of Microsoft's for this app", emulator_only="the raw body is looked at"
)
async def validation_token(s: Emulated) -> None:
    await s.subscribed(**_wanted(s))
    await s.create()
    await s.rest()
    records = (await s.control("GET", "/deliveries?bodies=true"))["deliveries"]
    (body,) = [json.loads(one["body"]) for one in records if one.get("body")]
    (token,) = body["validationTokens"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == s.claims["appid"]
    assert _CHANGE_TRACKING in (claims.get("appid"), claims.get("azp"))
    assert claims["tid"] == s.claims["tid"]
    keys = (await s.login.get("/common/discovery/keys")).json()["keys"]
    assert jwt.get_unverified_header(token)["kid"] in [one["kid"] for one in keys]
