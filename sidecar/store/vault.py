"""Seals credentials before they reach SQL, and opens them again.

AES-256-GCM under the primary key of a key ring. The tenant's uid and the role are bound in as associated data, so that a
sealed record copied to another tenant does not open. A sealed record names its key, so that older keys still open what
they sealed.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sidecar.errors import SecretUnreadable, SettingsInvalid
from sidecar.model.ids import TenantUid

_FORMAT = 1
_NONCE_BYTES = 12
_KEY_ID = re.compile(r"[!-~]{1,64}")  # its length has one byte in a sealed record


class Vault:
    """A key ring in use."""

    def __init__(self, *, primary: str, keys: dict[str, bytes]) -> None:
        self._primary = primary
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}

    def seal(self, proof: bytes, *, tenant_uid: TenantUid, role: str) -> bytes:
        """Return the sealed form: format, length of the key id, key id, nonce, ciphertext with tag."""
        key_id = self._primary.encode()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self._primary].encrypt(nonce, proof, _bind(tenant_uid, role))
        return bytes([_FORMAT, len(key_id)]) + key_id + nonce + sealed

    def unseal(self, sealed: bytes, *, tenant_uid: TenantUid, role: str) -> bytes:
        """Open what `seal` made for the same tenant and role.

        Raises:
            SecretUnreadable: its key is not in the ring, or it is not what was sealed.
        """
        if len(sealed) < 2 or sealed[0] != _FORMAT:
            raise SecretUnreadable("the sealed credential has an unknown form")
        end = 2 + sealed[1]
        key_id = sealed[2:end].decode(errors="replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SecretUnreadable("the key ring lacks the key of a sealed credential", details={"key_id": key_id})
        nonce, body = sealed[end : end + _NONCE_BYTES], sealed[end + _NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, body, _bind(tenant_uid, role))
        except (InvalidTag, ValueError) as error:
            raise SecretUnreadable("a sealed credential was changed or belongs elsewhere") from error


def _bind(tenant_uid: TenantUid, role: str) -> bytes:
    return f"exchange-sidecar credential\n{tenant_uid}\n{role}".encode()


def load_vault(key_ring_file: Path) -> Vault:
    """Read a key ring.

    Raises:
        SettingsInvalid: the file is missing or breaks the form; what it holds is never quoted.
    """

    def refuse(sentence: str) -> SettingsInvalid:
        return SettingsInvalid(
            "the key ring cannot be used", details={"vault.key_ring_file": f"{key_ring_file}: {sentence}"}
        )

    try:
        ring = json.loads(key_ring_file.read_text())
        keys = {str(key_id): base64.b64decode(key, validate=True) for key_id, key in ring["keys"].items()}
        primary = str(ring["primary"])
    except FileNotFoundError:
        raise refuse("there is no such file; `exchange-sidecar vault init` makes one") from None
    except OSError as error:
        raise refuse(f"cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise refuse('must be JSON {"primary": "<id>", "keys": {"<id>": "<base64 of 32 bytes>"}}') from None
    if primary not in keys:
        raise refuse("the primary key is not among the keys")
    if any(len(key) != 32 or not _KEY_ID.fullmatch(key_id) for key_id, key in keys.items()):
        raise refuse("each key is 32 bytes, each id 1 to 64 visible ASCII characters")
    return Vault(primary=primary, keys=keys)


def create_key_ring(key_ring_file: Path) -> None:
    """Write a new key ring with one random key, readable by its owner only; never over an existing file.

    Raises:
        SettingsInvalid: the file exists or cannot be written.
    """
    ring = {"primary": "k1", "keys": {"k1": base64.b64encode(secrets.token_bytes(32)).decode()}}
    try:
        with os.fdopen(os.open(key_ring_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(ring, file)
    except OSError as error:
        detail = f"{key_ring_file}: {error.strerror}"
        raise SettingsInvalid("cannot write the key ring", details={"vault.key_ring_file": detail}) from None
