"""What administrators paste by mistake is refused with a sentence that says what to do, and never quoted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from sidecar.api.proofs import complain_about_certificate, complain_about_secret
from tests.support.builders import CANARY, DIRECTORY, NOW
from tests.unit.api.credentials import key_pem, make_certificate, make_key, make_pem


@pytest.mark.parametrize(
    ("secret", "sentence"),
    [
        ("", "must not be empty"),
        (DIRECTORY, "paste the client secret's Value, not its Secret ID"),
        (DIRECTORY.upper(), "paste the client secret's Value, not its Secret ID"),
        (f" {CANARY}", "white space"),
        (f"{CANARY}\n", "white space"),
        (f"{CANARY}\x00x", "control characters"),
        (CANARY + "x" * 512, "512 characters at most"),
    ],
    ids=["empty", "guid", "upper guid", "space before", "newline after", "control", "long"],
)
def test_wrong_client_secrets_are_refused(secret: str, sentence: str) -> None:
    complaint = complain_about_secret(secret)
    assert complaint is not None
    assert sentence in complaint
    assert CANARY not in complaint


def test_ordinary_client_secret_is_taken() -> None:
    assert complain_about_secret("abC8Q~x.Y_z-1234567890~aBcDeFgHiJkLmNoPq") is None


def _certificate(key: str = "ec") -> bytes:
    return make_certificate(make_key(key)).public_bytes(Encoding.PEM)


WRONG = {
    "empty": (b"", "must not be empty"),
    "large": (b"x" * 32_769, "32 KiB"),
    "garbage": (CANARY.encode(), "exactly one whole private key"),
    "no key": (_certificate(), "exactly one whole private key"),
    "two keys": (make_pem() + key_pem(make_key("ec2")), "it holds 2"),
    "encrypted": (_certificate() + key_pem(is_encrypted=True), "unencrypted"),
    "no certificate": (key_pem(), "must hold a certificate"),
    "broken certificate": (
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + key_pem(),
        "must hold a certificate",
    ),
    "broken key": (
        _certificate() + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "cannot be read",
    ),
    "expired": (make_pem(expires_at=NOW - timedelta(days=1)), "has expired"),
    "foreign key": (_certificate() + key_pem(make_key("ec2")), "does not belong"),
    "short rsa": (make_pem(make_key("1024")), "2048 bits"),
    "other kind": (make_pem(make_key("ed25519")), "RSA or EC"),
}


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_wrong_certificates_are_refused(case: str) -> None:
    pem, sentence = WRONG[case]
    complaint = complain_about_certificate(pem, now=NOW)
    assert complaint is not None
    assert sentence in complaint
    assert CANARY not in complaint


@pytest.mark.parametrize("kind", ["ec", "2048"])
def test_certificate_with_its_key_in_any_order_is_taken(kind: str) -> None:
    key = make_key(kind)
    certificate = make_certificate(key).public_bytes(Encoding.PEM)
    assert complain_about_certificate(certificate + key_pem(key), now=NOW) is None
    assert complain_about_certificate(key_pem(key) + certificate, now=NOW) is None


def test_chain_after_the_certificate_is_taken() -> None:
    assert complain_about_certificate(make_pem() + _certificate("ec2"), now=NOW) is None
