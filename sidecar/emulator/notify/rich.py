"""Notifications with resource data: what a subscription for them must hold, and the encryption of the data.

Source: Graph "Set up change notifications that include resource data" page (AES-256 in CBC mode, the key's first 16 bytes as
initialization vector, RSA-OAEP with SHA-1 for the key, HMAC-SHA256 over the encrypted data) and "Change notifications for
Outlook resources" page ($select is mandatory, without Body and UniqueBody; no $top, $skip, $orderby).
"""

import base64
import binascii
import hashlib
import hmac
import random
from functools import lru_cache
from urllib.parse import parse_qsl

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.x509 import load_der_x509_certificate

from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.exchange.app import App
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.subscription import Encryption
from sidecar.emulator.wire.properties import EVENT_PROPERTIES

CHANGE_TRACKING_APP_ID = "0bf30f3b-4a52-48df-9a82-234910c4a086"
_KEY_BITS_MIN, _KEY_BITS_MAX = 2048, 4096
_CERTIFICATE_ID_CHARS_MAX = 128
_DATA_KEY_BYTES = 32
_IV_BYTES = 16
_AES_BLOCK_BITS = 128
_PROPERTIES = {name.lower(): name for name in EVENT_PROPERTIES}
_NEVER_SELECTED = frozenset({"body", "uniquebody"})
_NEVER_ASKED = frozenset({"$top", "$skip", "$orderby"})
_EXPANDABLE = ("singlevalueextendedproperties", "multivalueextendedproperties")


def change_tracking_app() -> App:
    """Give Microsoft's own app that issues validation tokens, "Microsoft Graph Change Tracking"."""
    return App(
        client_id=CHANGE_TRACKING_APP_ID,
        principal_id=CHANGE_TRACKING_APP_ID,
        display_name="Microsoft Graph Change Tracking",
        roles=frozenset(),
        secrets={},
        secret_id="",
    )


def parse_resource_query(text: str, *, is_rich: bool) -> frozenset[str]:
    """Read the query of a subscription's resource: the properties that notifications are to carry.

    Raises:
        GraphError: 400 for what Outlook's notifications do not allow, 501 for what the emulator does not play.
    """
    options = {name.lower(): value for name, value in parse_qsl(text, keep_blank_values=True)}
    for name in sorted(set(options) & _NEVER_ASKED):
        raise _refused(f"The query option {name} is not allowed in the resource of a subscription.")
    expanded = options.pop("$expand", None)
    if expanded is not None and not expanded.lower().startswith(_EXPANDABLE):
        raise _refused(f"$expand={expanded} is not allowed in the resource of a subscription.")
    if expanded is not None:
        raise NotEmulated("$expand in the resource of a subscription")
    for name in sorted(set(options) - {"$select"}):
        raise NotEmulated(f"the query option {name} in the resource of a subscription")
    if not is_rich and options:
        raise NotEmulated("$select in the resource of a subscription without resource data")
    if is_rich and not options.get("$select", "").strip(", "):
        raise _refused(
            "A subscription with resource data must name the properties it wants, by $select in the resource."
        )
    return frozenset(_property(name.strip()) for name in options.get("$select", "").split(",") if name.strip())


def parse_encryption(certificate: str | None, certificate_id: str | None) -> Encryption:
    """Read the certificate that is to encrypt resource data.

    Raises:
        GraphError: 400 when it is missing, unreadable or unsuitable.
    """
    if not certificate or not certificate_id:
        raise _refused(
            "encryptionCertificate and encryptionCertificateId are required when includeResourceData is true."
        )
    if len(certificate_id) > _CERTIFICATE_ID_CHARS_MAX:
        raise _refused(f"encryptionCertificateId must be at most {_CERTIFICATE_ID_CHARS_MAX} characters.")
    try:
        _, key = _read_certificate(certificate)
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise _refused("The value of encryptionCertificate is not a base64-encoded X.509 certificate.") from None
    if not isinstance(key, rsa.RSAPublicKey) or not _KEY_BITS_MIN <= key.key_size <= _KEY_BITS_MAX:
        raise _refused(f"The encryptionCertificate must hold an RSA key of {_KEY_BITS_MIN} to {_KEY_BITS_MAX} bits.")
    return Encryption(certificate=certificate, certificate_id=certificate_id)


def encrypt(data: bytes, encryption: Encryption, rng: random.Random) -> JsonObject:
    """Build a notification's `encryptedContent` with a data key of its own."""
    thumbprint, key = _read_certificate(encryption.certificate)
    assert isinstance(key, rsa.RSAPublicKey)
    data_key = rng.randbytes(_DATA_KEY_BYTES)
    padder = PKCS7(_AES_BLOCK_BITS).padder()
    cipher = Cipher(algorithms.AES(data_key), modes.CBC(data_key[:_IV_BYTES])).encryptor()
    sealed = cipher.update(padder.update(data) + padder.finalize()) + cipher.finalize()
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303  (Microsoft's)
    return {
        "data": _b64(sealed),
        "dataKey": _b64(key.encrypt(data_key, oaep)),
        "dataSignature": _b64(hmac.digest(data_key, sealed, "sha256")),
        "encryptionCertificateId": encryption.certificate_id,
        "encryptionCertificateThumbprint": thumbprint,
    }


@lru_cache(maxsize=256)
def _read_certificate(text: str) -> tuple[str, object]:
    """Give a certificate's SHA-1 thumbprint in hexadecimal and its key."""
    der = base64.b64decode(text, validate=True)
    thumbprint = hashlib.sha1(der).hexdigest().upper()  # noqa: S324  (a thumbprint is SHA-1 by definition)
    return thumbprint, load_der_x509_certificate(der).public_key()


def _property(name: str) -> str:
    lower = name.lower()
    if lower in _NEVER_SELECTED:
        raise _refused(f"The property {name} cannot be selected in the resource of a subscription.")
    if lower not in _PROPERTIES:
        raise _refused(f"Could not find a property named '{name}' on type 'microsoft.graph.event'.")
    return _PROPERTIES[lower]


def _refused(message: str) -> GraphError:
    return GraphError(400, "InvalidRequest", message)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
