"""Checks of the credentials that callers hand over. A complaint never quotes what it complains about.

The usual mistakes at this point cost a customer's administrator a day, so each has a sentence that says what to do.
"""

from __future__ import annotations

import re
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import Certificate, InvalidVersion, load_pem_x509_certificates

from sidecar.api.validate import is_guid

_SECRET_CHARS_MAX = 512
_PEM_BYTES_MAX = 32 * 1024
_RSA_BITS_MIN = 2048
_KEY_BEGINS = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")
_PRIVATE_KEY = re.compile(rb"-----BEGIN ((?:[A-Z]+ )*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)


def complain_about_secret(secret: str) -> str | None:
    """Return what is wrong with a client secret, None when nothing is."""
    if not secret:
        return "must not be empty"
    if len(secret) > _SECRET_CHARS_MAX:
        return f"must have {_SECRET_CHARS_MAX} characters at most"
    if is_guid(secret):
        return "is a GUID: paste the client secret's Value, not its Secret ID; the portal shows the Value once, when it is made"
    if secret != secret.strip() or not secret.isprintable():
        return "must not begin or end with white space or hold control characters; copy it again"
    return None


def complain_about_certificate(pem: bytes, *, now: datetime) -> str | None:
    """Return what is wrong with a certificate and its private key, None when nothing is.

    The certificate that counts is the first one; others may follow as its chain.
    """
    if not pem:
        return "must not be empty"
    if len(pem) > _PEM_BYTES_MAX:
        return f"must have {_PEM_BYTES_MAX // 1024} KiB at most"
    keys_count = len(_KEY_BEGINS.findall(pem))
    key = _PRIVATE_KEY.search(pem) if keys_count == 1 else None
    if key is None:
        return f"must hold exactly one whole private key beside its certificate, in PEM form; it holds {keys_count}"
    if b"ENCRYPTED" in key[0]:
        return "must hold its private key unencrypted; it is sealed at rest"
    try:
        certificate = load_pem_x509_certificates(pem)[0]
        expires_at = certificate.not_valid_after_utc
    except (ValueError, InvalidVersion):
        return "must hold a certificate in PEM form (-----BEGIN CERTIFICATE-----) that can be read"
    if expires_at <= now:
        return "holds a certificate that has expired"
    return _complain_about_key(key[0], certificate)


def _complain_about_key(pem: bytes, certificate: Certificate) -> str | None:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "holds a private key that cannot be read"
    if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey):
        return "must hold an RSA or EC key"
    if isinstance(key, RSAPrivateKey) and key.key_size < _RSA_BITS_MIN:
        return f"must hold an RSA key of {_RSA_BITS_MIN} bits or more"
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        certified = certificate.public_key().public_bytes(*form)
    except (ValueError, UnsupportedAlgorithm):
        return "holds a certificate whose key cannot be read"
    if key.public_key().public_bytes(*form) != certified:
        return "holds a private key that does not belong to its first certificate"
    return None
