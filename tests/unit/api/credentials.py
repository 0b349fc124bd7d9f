"""Certificates and keys for tests."""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from tests.support.builders import CANARY, NOW


@functools.cache
def make_key(kind: str = "ec") -> Any:  # any private key
    """Return a key, the same one each time: RSA keys are slow to make."""
    match kind:
        case "ec" | "ec2":
            return ec.generate_private_key(ec.SECP256R1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case bits:
            return rsa.generate_private_key(65_537, int(bits))


def make_certificate(key: Any = None, *, expires_at: datetime = NOW + timedelta(days=90)) -> x509.Certificate:
    """Return a self-signed certificate (Any: any private key)."""
    key = key or make_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sidecar")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(expires_at - timedelta(days=365))
        .not_valid_after(expires_at)
    )
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256())


def key_pem(key: Any = None, *, is_encrypted: bool = False) -> bytes:
    """Return a private key as PEM text (Any: any private key)."""
    how: KeySerializationEncryption = BestAvailableEncryption(CANARY.encode()) if is_encrypted else NoEncryption()
    pem: bytes = (key or make_key()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)
    return pem


def make_pem(key: Any = None, *, expires_at: datetime = NOW + timedelta(days=90)) -> bytes:
    """Return a certificate and its key as PEM text (Any: any private key)."""
    key = key or make_key()
    return make_certificate(key, expires_at=expires_at).public_bytes(Encoding.PEM) + key_pem(key)
