"""Notifications with resource data, read as a subscriber has to: verify the token, unwrap the key, check, decrypt."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from sidecar.emulator.clock import sleep
from tests.unit.emulator.rig import Rig, rig, wire_event

pytestmark = pytest.mark.looptime
SELECTED = "id,Subject,start,showAs"
CHANGE_TRACKING = "0bf30f3b-4a52-48df-9a82-234910c4a086"


@cache
def rsa_key(bits: int = 2048, number: int = 0) -> rsa.RSAPrivateKey:
    """Give a key; `number` tells several of one size apart."""
    del number
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def certificate(key: Any) -> bytes:
    """Give a self-signed certificate of a private key, DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rooms")])
    starts_at = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(starts_at).not_valid_after(starts_at + timedelta(days=900))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def wanted(r: Rig, **changes: Any) -> dict[str, Any]:
    return {
        "resource": f"/users/{r.room}/events?$select={SELECTED}",
        "includeResourceData": True,
        "encryptionCertificate": base64.b64encode(certificate(rsa_key())).decode(),
        "encryptionCertificateId": "rooms-2026a",
        "expirationDateTime": (r.clock.now() + timedelta(minutes=1439)).isoformat(),
        **changes,
    }


def decrypt(content: dict[str, str], key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """Read encrypted content step by step as Microsoft's page tells."""
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)
    data_key = key.decrypt(base64.b64decode(content["dataKey"]), oaep)
    sealed = base64.b64decode(content["data"])
    assert base64.b64encode(hmac.digest(data_key, sealed, "sha256")).decode() == content["dataSignature"]
    cipher = Cipher(algorithms.AES256(data_key), modes.CBC(data_key[:16])).decryptor()
    unpadder = PKCS7(128).unpadder()
    padded = cipher.update(sealed) + cipher.finalize()
    return dict(json.loads(unpadder.update(padded) + unpadder.finalize()))


async def bodies(r: Rig) -> list[dict[str, Any]]:
    answer = await r.control.get(r.path("/deliveries?bodies=true"))
    return [json.loads(one["body"]) for one in answer.json()["deliveries"] if one.get("body")]


async def create(r: Rig, **changes: Any) -> str:
    answer = await r.graph.post(
        f"/users/{r.room}/events", json=wire_event(**changes), headers={"prefer": 'IdType="ImmutableId"'}
    )
    return str(answer.json()["id"])


async def test_resource_data_decrypts_to_the_selected_properties() -> None:
    async with rig() as r:
        assert (await r.subscribe(**wanted(r))).status_code == 201
        made = await create(r)
        await r.rest()
        (item,) = r.webhook.items
        event = decrypt(item["encryptedContent"], rsa_key())
        assert {name for name in event if not name.startswith("@")} == {"id", "subject", "start", "showAs"}
        assert (event["id"], event["subject"], event["showAs"]) == (made, "Review", "busy")
        assert item["resourceData"]["id"] == made


async def test_certificate_is_named_by_its_id_and_its_thumbprint() -> None:
    async with rig() as r:
        await r.subscribe(**wanted(r))
        await create(r)
        await r.rest()
        content = r.webhook.items[0]["encryptedContent"]
        assert content["encryptionCertificateId"] == "rooms-2026a"
        thumbprint = hashlib.sha1(certificate(rsa_key())).hexdigest().upper()
        assert content["encryptionCertificateThumbprint"] == thumbprint


async def test_every_notification_has_a_data_key_of_its_own() -> None:
    async with rig() as r:
        await r.subscribe(**wanted(r))
        await create(r)
        await create(r)
        await r.rest()
        first, second = (item["encryptedContent"]["data"] for item in r.webhook.items)
        assert first[:24] != second[:24]


async def test_data_is_that_of_the_moment_of_the_change() -> None:
    async with rig() as r:
        await r.subscribe(**wanted(r))
        await r.told("POST", r.path("/deliveries/pause"))
        made = await create(r)
        await r.graph.patch(r.event_url(made), json={"subject": "Later"})
        await r.told("POST", r.path("/deliveries/resume"))
        await r.rest()
        read = [decrypt(item["encryptedContent"], rsa_key())["subject"] for item in r.webhook.items]
        assert read == ["Review", "Later"]


async def test_validation_token_verifies_against_the_published_keys() -> None:
    async with rig() as r:
        await r.subscribe(**wanted(r))
        await create(r)
        await create(r)
        await r.rest()
        (body,) = await bodies(r)
        (token,) = body["validationTokens"]
        keys = (await r.login.get("/common/discovery/v2.0/keys")).json()
        key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
        now_s = r.clock.now().timestamp()
        claims = jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            audience=r.tenant["client_id"],
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
        assert claims["iss"] == f"https://sts.windows.net/{r.tenant['tenant_id']}/"
        assert (claims["appid"], claims["nbf"] <= now_s < claims["exp"]) == (CHANGE_TRACKING, True)


async def test_validation_token_opens_no_mailbox() -> None:
    async with rig() as r:
        await r.subscribe(**wanted(r))
        await create(r)
        await r.rest()
        token = (await bodies(r))[0]["validationTokens"][0]
        answer = await r.graph.get(f"/users/{r.room}/events", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 401


async def test_plain_notifications_carry_no_validation_tokens() -> None:
    async with rig() as r:
        await r.subscribe()
        await create(r)
        await r.rest()
        (body,) = await bodies(r)
        assert "validationTokens" not in body
        assert "encryptedContent" not in body["value"][0]


async def test_deleted_item_has_no_data_left_to_tell() -> None:
    async with rig() as r:
        await r.subscribe(**wanted(r, changeType="deleted"))
        await r.graph.delete(r.event_url(await create(r)))
        await r.rest()
        (item,) = r.webhook.items
        assert (item["changeType"], "encryptedContent" in item) == ("deleted", False)


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
async def test_key_of_any_allowed_size_is_taken(bits: int) -> None:
    async with rig() as r:
        key = rsa_key(bits)
        await r.subscribe(**wanted(r, encryptionCertificate=base64.b64encode(certificate(key)).decode()))
        await create(r)
        await r.rest()
        assert decrypt(r.webhook.items[0]["encryptedContent"], key)["subject"] == "Review"


def armoured() -> str:
    return x509.load_der_x509_certificate(certificate(rsa_key())).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encryptionCertificate": None}, "required when includeResourceData"),
        ({"encryptionCertificateId": None}, "required when includeResourceData"),
        ({"encryptionCertificateId": "x" * 129}, "128"),
        ({"encryptionCertificate": "not base64!"}, "base64-encoded X.509"),
        ({"encryptionCertificate": base64.b64encode(b"nothing").decode()}, "base64-encoded X.509"),
        ({"encryptionCertificate": armoured()}, "base64-encoded X.509"),
        ({"encryptionCertificate": base64.b64encode(certificate(rsa_key(1024))).decode()}, "2048 to 4096"),
        (
            {"encryptionCertificate": base64.b64encode(certificate(ec.generate_private_key(ec.SECP256R1()))).decode()},
            "RSA",
        ),
    ],
)
async def test_unsuitable_certificate_is_refused(changes: dict[str, Any], words: str) -> None:
    async with rig() as r:
        answer = await r.subscribe(**wanted(r, **changes))
        assert (answer.status_code, words in answer.json()["error"]["message"]) == (400, True), answer.text
        assert r.webhook.handshakes == []


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 400, "$select"),
        ("?$select=", 400, "$select"),
        ("?$select=id,Body", 400, "Body"),
        ("?$select=uniqueBody", 400, "uniqueBody"),
        ("?$select=id,colour", 400, "colour"),
        ("?$select=id&$top=5", 400, "$top"),
        ("?$select=id&$skip=5", 400, "$skip"),
        ("?$select=id&$orderby=subject", 400, "$orderby"),
        ("?$select=id&$expand=attachments", 400, "$expand"),
        ("?$select=id&$expand=singleValueExtendedProperties($filter=id eq 'x')", 501, "$expand"),
        ("?$select=id&$filter=isCancelled eq true", 501, "$filter"),
    ],
)
async def test_resource_that_cannot_be_told_is_refused(query: str, status: int, words: str) -> None:
    async with rig() as r:
        answer = await r.subscribe(**wanted(r, resource=f"/users/{r.room}/events{query}"))
        assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True), answer.text


async def test_lifetime_is_a_day_at_most() -> None:
    async with rig() as r:
        over = (r.clock.now() + timedelta(minutes=1441)).isoformat()
        answer = await r.subscribe(**wanted(r, expirationDateTime=over))
        assert answer.status_code == 400
        assert answer.json()["error"]["message"] == "Subscription expiration can only be 1440 minutes in the future."
        made = (await r.subscribe(**wanted(r))).json()["id"]
        assert (await r.graph.patch(f"/subscriptions/{made}", json={"expirationDateTime": over})).status_code == 400


async def test_subscription_shows_its_certificate() -> None:
    async with rig() as r:
        asked = wanted(r)
        made = (await r.subscribe(**asked)).json()
        for name in ("includeResourceData", "encryptionCertificate", "encryptionCertificateId", "resource"):
            assert made[name] == asked[name]


async def test_new_certificate_encrypts_from_then_on() -> None:
    async with rig() as r:
        made = (await r.subscribe(**wanted(r))).json()["id"]
        await r.told("POST", r.path("/deliveries/pause"))
        await create(r)
        other = rsa_key(2048, number=1)
        change = {
            "encryptionCertificate": base64.b64encode(certificate(other)).decode(),
            "encryptionCertificateId": "rooms-2026b",
        }
        assert (await r.graph.patch(f"/subscriptions/{made}", json=change)).status_code == 200
        await create(r)
        await r.told("POST", r.path("/deliveries/resume"))
        await r.rest()
        old, new = (item["encryptedContent"] for item in r.webhook.items)
        assert (old["encryptionCertificateId"], new["encryptionCertificateId"]) == ("rooms-2026a", "rooms-2026b")
        assert decrypt(old, rsa_key())["subject"] == decrypt(new, other)["subject"] == "Review"


async def test_certificate_without_its_id_cannot_be_patched_in() -> None:
    async with rig() as r:
        made = (await r.subscribe(**wanted(r))).json()["id"]
        change = {"encryptionCertificate": base64.b64encode(certificate(rsa_key())).decode()}
        assert (await r.graph.patch(f"/subscriptions/{made}", json=change)).status_code == 400


async def test_batch_of_two_tenants_has_a_token_for_each() -> None:
    async with rig() as r:
        await r.subscribe(**wanted(r))
        first, rooms = dict(r.tenant), list(r.rooms)
        first_token = r.graph.headers["authorization"]
        await r.set_up()
        await r.subscribe(**wanted(r))
        await create(r)
        r.graph.headers["authorization"] = first_token
        await r.graph.post(f"/users/{rooms[0]['address']}/events", json=wire_event())
        await sleep(r.clock, 1)
        (body,) = await bodies(r)
        told = {jwt.decode(token, options={"verify_signature": False})["tid"] for token in body["validationTokens"]}
        assert told == {first["tenant_id"], r.tenant["tenant_id"]}
        assert len(body["value"]) == 2
