"""Seals secrets before they reach SQL, and opens them again.

AES-256-GCM under the primary key of a key ring. The tenant's uid and the role are bound in as associated data, so that a
sealed record copied to another tenant does not open. A sealed record names its key, so that older keys still open what
they sealed.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sidecar.errors import SecretUnreadable
from sidecar.model.ids import TenantUid
from sidecar.store.key_ring import KeyRing, KeyRingFile

_FORMAT = 1
_NONCE_BYTES = 12
HEAD_BYTES_MAX = 66
"""So much of a sealed record names its key, whatever its id."""


class Vault:
    """A key ring in use, from any thread."""

    def __init__(self, *, primary: str, keys: dict[str, bytes], file: KeyRingFile | None = None) -> None:
        """Use a ring.

        Args:
            file: where the ring is read from, and read again whenever it changes; None: it never changes.
        """
        self._file = file
        self._opened = _open(KeyRing(primary=primary, keys=keys))  # in one: threads see a ring with its own ciphers

    @property
    def follows_file(self) -> bool:
        """Whether the ring may change while it is in use."""
        return self._file is not None

    @property
    def primary(self) -> str:
        """The id of the key that seals now."""
        return self._look()[0].primary

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of the keys that open now."""
        return frozenset(self._look()[0].keys)

    def seal(self, proof: bytes, *, tenant_uid: TenantUid, role: str) -> bytes:
        """Return the sealed form: format, length of the key id, key id, nonce, ciphertext with tag."""
        ring, ciphers = self._look()
        key_id = ring.primary.encode()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = ciphers[ring.primary].encrypt(nonce, proof, _bind(tenant_uid, role))
        return bytes([_FORMAT, len(key_id)]) + key_id + nonce + sealed

    def unseal(self, sealed: bytes, *, tenant_uid: TenantUid, role: str) -> bytes:
        """Open what `seal` made for the same tenant and role.

        Raises:
            SecretUnreadable: its key is not in the ring, or it is not what was sealed.
        """
        key_id = key_id_of(sealed)
        if key_id is None:
            raise SecretUnreadable("the sealed credential has an unknown form")
        cipher = self._look()[1].get(key_id)
        if cipher is None:
            raise SecretUnreadable("the key ring lacks the key of a sealed credential", details={"key_id": key_id})
        end = 2 + sealed[1]
        nonce, body = sealed[end : end + _NONCE_BYTES], sealed[end + _NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, body, _bind(tenant_uid, role))
        except (InvalidTag, ValueError) as error:
            raise SecretUnreadable("a sealed credential was changed or belongs elsewhere") from error

    def _look(self) -> tuple[KeyRing, dict[str, AESGCM]]:
        """Return the ring as its file has it now. Two threads may both open a new one, to the same effect."""
        if self._file is not None and (found := self._file.current) is not self._opened[0]:
            self._opened = _open(found)
        return self._opened


def key_id_of(sealed: bytes) -> str | None:
    """Return the id of the key that sealed a record, of which the beginning is enough; None when it has an unknown form."""
    if len(sealed) < 2 or sealed[0] != _FORMAT:
        return None
    return sealed[2 : 2 + sealed[1]].decode(errors="replace")


def load_vault(key_ring_file: Path) -> Vault:
    """Open the vault of a key ring file, and follow the file from now on.

    Raises:
        SettingsInvalid: the file is missing or breaks the form; what it holds is never quoted.
    """
    file = KeyRingFile(key_ring_file)
    ring = file.current
    return Vault(primary=ring.primary, keys=ring.keys, file=file)


def _open(ring: KeyRing) -> tuple[KeyRing, dict[str, AESGCM]]:
    return ring, {key_id: AESGCM(key) for key_id, key in ring.keys.items()}


def _bind(tenant_uid: TenantUid, role: str) -> bytes:
    return f"exchange-sidecar credential\n{tenant_uid}\n{role}".encode()
