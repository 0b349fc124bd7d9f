"""The key ring in its file: read, followed while it changes, and edited by the operator's commands.

The file is a mounted secret. Kubernetes replaces it under a running process, so whoever uses it looks whether it is another one
by now. Nothing of it is ever quoted, not even when it is broken.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import secrets
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sidecar.errors import SettingsInvalid

log = structlog.get_logger(__name__)

_KEY_BYTES = 32
_KEY_ID = re.compile(r"[!-~]{1,64}")
"""Its length has one byte in a sealed record."""
_OUR_ID = re.compile(r"k([0-9]{1,9})")
_KEYS_MAX = 64
_FILE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """Keys by id; new secrets are sealed with the primary one."""

    primary: str
    keys: dict[str, bytes] = field(repr=False)


class KeyRingFile:
    """A key ring file that is looked at again and again, from any thread."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            SettingsInvalid: the file is missing or breaks the form.
        """
        self._path = path
        self._guard = threading.Lock()
        self._seen = _signature(path)  # before reading: what changes in between is read once more
        self._ring = read_key_ring(path)

    @property
    def current(self) -> KeyRing:
        """The ring as the file has it now; while the file cannot be used, as it had it last.

        Costs a look at the file's times, some microseconds, unless it has changed.
        """
        seen = _signature(self._path)
        if seen == self._seen:
            return self._ring
        with self._guard:
            if seen != self._seen:
                self._seen = seen
                try:
                    self._ring = read_key_ring(self._path)
                except SettingsInvalid as error:
                    # Perhaps half written: the rest changes the file again.
                    log.error("key_ring.unusable", **error.details)
                else:
                    log.info("key_ring.loaded", primary=self._ring.primary, keys_count=len(self._ring.keys))
        return self._ring


def read_key_ring(path: Path) -> KeyRing:
    """Read a key ring.

    Raises:
        SettingsInvalid: the file is missing or breaks the form; what it holds is never quoted.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_BYTES_MAX + 1)
        if len(text) > _FILE_BYTES_MAX:
            raise ValueError("too large")
        ring = json.loads(text)
        keys = {str(key_id): base64.b64decode(key, validate=True) for key_id, key in ring["keys"].items()}
        primary = str(ring["primary"])
    except FileNotFoundError:
        raise _refused(path, "there is no such file; `exchange-sidecar vault init` makes one") from None
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        raise _refused(path, 'must be JSON {"primary": "<id>", "keys": {"<id>": "<base64 of 32 bytes>"}}') from None
    if primary not in keys:
        raise _refused(path, "the primary key is not among the keys")
    if any(len(key) != _KEY_BYTES or not _KEY_ID.fullmatch(key_id) for key_id, key in keys.items()):
        raise _refused(path, "each key is 32 bytes, each id 1 to 64 visible ASCII characters")
    return KeyRing(primary=primary, keys=keys)


def create_key_ring(path: Path) -> None:
    """Write a new key ring with one random key, readable by its owner only; never over an existing file.

    Raises:
        SettingsInvalid: the file exists or cannot be written.
    """
    ring = KeyRing(primary="k1", keys={"k1": secrets.token_bytes(_KEY_BYTES)})
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(_text_of(ring))
    except OSError as error:
        raise _unwritable(path, error) from None


def add_key(path: Path) -> str:
    """Add a random key that seals nothing yet; return its id.

    Raises:
        SettingsInvalid: the file cannot be used or written.
    """
    ring = read_key_ring(path)
    if len(ring.keys) >= _KEYS_MAX:
        raise _refused(path, f"holds {_KEYS_MAX} keys; retire some first")
    # Behind all numbers there are: a backup may still name a key that was retired, and must not find another one.
    key_id = f"k{max((int(found[1]) for name in ring.keys if (found := _OUR_ID.fullmatch(name))), default=0) + 1}"
    _replace(path, KeyRing(primary=ring.primary, keys={**ring.keys, key_id: secrets.token_bytes(_KEY_BYTES)}))
    return key_id


def promote_key(path: Path, key_id: str) -> None:
    """Make a key of the ring the one that seals.

    Raises:
        SettingsInvalid: there is no such key, or the file cannot be used or written.
    """
    ring = read_key_ring(path)
    _check_known(path, ring, key_id)
    _replace(path, KeyRing(primary=key_id, keys=ring.keys))


def remove_key(path: Path, key_id: str) -> None:
    """Take a key out of the ring; whatever it sealed cannot be opened any more.

    Raises:
        SettingsInvalid: there is no such key, it is the primary one, or the file cannot be used or written.
    """
    ring = read_key_ring(path)
    _check_known(path, ring, key_id)
    if key_id == ring.primary:
        raise _refused(path, f"{key_id} is the primary key; promote another one first")
    _replace(path, KeyRing(primary=ring.primary, keys={name: key for name, key in ring.keys.items() if name != key_id}))


def _check_known(path: Path, ring: KeyRing, key_id: str) -> None:
    if key_id not in ring.keys:
        raise _refused(path, f"has no key of that id; it has {', '.join(sorted(ring.keys))}")


def _replace(path: Path, ring: KeyRing) -> None:
    """Put a ring in the place of a file in one step, with the owner and the permissions that the file has."""
    try:
        target = path.resolve(strict=True)
        before = target.stat()
        descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".partial", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(_text_of(ring))
                file.flush()
                os.fchmod(descriptor, before.st_mode & 0o777)
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fsync(descriptor)
            os.replace(name, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name)
            raise
    except OSError as error:
        raise _unwritable(path, error) from None


def _text_of(ring: KeyRing) -> str:
    keys = {key_id: base64.b64encode(key).decode() for key_id, key in ring.keys.items()}
    return json.dumps({"primary": ring.primary, "keys": keys})


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _refused(path: Path, sentence: str) -> SettingsInvalid:
    return SettingsInvalid("the key ring cannot be used", details={"vault.key_ring_file": f"{path}: {sentence}"})


def _unwritable(path: Path, error: OSError) -> SettingsInvalid:
    detail = f"{path}: {error.strerror}"
    return SettingsInvalid("cannot write the key ring", details={"vault.key_ring_file": detail})
