"""The file that says who may call: tokens by their SHA-256, certificates by their names, and what each may do.

It holds no secret that opens anything, and still nothing of it is ever quoted, because a token may stand in the wrong place.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import Meta

from sidecar.aio.followed import read_bytes, unusable
from sidecar.errors import CallerRejected
from sidecar.model.access import Grant, Scope
from sidecar.model.ids import TenantId

SETTING = "grpc.callers_file"
TOKEN_PREFIX = "exs_"  # noqa: S105  (of tokens, and none itself)
"""Lets scanners of secrets, and people, see what they have found."""
_TOKEN_BYTES = 32
_ENTRIES_MAX = 256
"""Each call is compared with all of them, which takes 50 us then."""
_FILE_BYTES_MAX = 1024 * 1024
_HINT_CHARS = 8
"""Of the hash, in the audit: tells which of two tokens of one caller is in use, and helps nobody to find it."""

_Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Tenant = Annotated[str, Meta(pattern="^[A-Za-z0-9._~-]{1,63}$")]


class _Entry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    id: _Id
    scopes: Annotated[list[str], Meta(min_length=1)]
    tenants: Literal["*"] | Annotated[list[_Tenant], Meta(min_length=1, max_length=1_000)]
    sha256: _Digest | None = None
    certificate: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    expire_at: Annotated[datetime, Meta(tz=True)] | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    callers: Annotated[list[_Entry], Meta(max_length=_ENTRIES_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a call brings to show who makes it.

    Attributes:
        token_digest: SHA-256 of its bearer token; None: it has none.
        certificate_names: names in its certificate, which TLS has proved.
    """

    token_digest: bytes | None
    certificate_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    digest: bytes | None
    certificate: str | None
    grant: Grant


class Callers:
    """Everybody that a file lets in."""

    def __init__(self, known: Collection[_Known]) -> None:
        self._known = tuple(known)

    @property
    def grants(self) -> Sequence[Grant]:
        """What each entry allows, in the order of the file."""
        return tuple(one.grant for one in self._known)

    def find(self, proof: Proof, *, now: datetime) -> Grant:
        """Return what whoever brings a proof may do.

        Raises:
            CallerRejected: nobody known brings it.
        """
        if proof.token_digest is None and not proof.certificate_names:
            raise CallerRejected("the call brings no bearer token", details={"cause": "MISSING"})
        found: _Known | None = None
        for one in self._known:  # to the end, so that time tells nothing of who is known
            if _is_it(one, proof) and found is None:
                found = one
        if found is None:
            raise CallerRejected("nobody is known by what the call brings", details={"cause": "UNKNOWN"})
        if found.grant.expire_at is not None and now >= found.grant.expire_at:
            raise CallerRejected("what the call brings has expired", details={"cause": "EXPIRED"})
        return found.grant


def _is_it(one: _Known, proof: Proof) -> bool:
    """Tell whether a proof is that of an entry. An entry with both a token and a certificate wants both."""
    if one.digest is not None:
        is_token = proof.token_digest is not None and hmac.compare_digest(one.digest, proof.token_digest)
        return is_token and (one.certificate is None or one.certificate in proof.certificate_names)
    # A token that is wrong is not made good by a certificate.
    return proof.token_digest is None and one.certificate in proof.certificate_names


def digest_of(token: str) -> bytes:
    """Return the SHA-256 of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def make_token() -> str:
    """Return a new random token of 256 bits."""
    return TOKEN_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_TOKEN_BYTES)).rstrip(b"=").decode()


def check_entry(entry: Mapping[str, object]) -> None:
    """Check an entry that somebody wants to add to a file.

    Raises:
        ValueError: it breaks the form; the sentence says where.
    """
    try:
        msgspec.convert(entry, _Entry)
    except msgspec.ValidationError as error:
        raise ValueError(f"the entry breaks the form at {_place(error)}") from None


def read_callers(path: Path) -> Callers:
    """Read the file, JSON or YAML: {"callers": [{"id", "sha256", "scopes", "tenants", ...}]}.

    Raises:
        SettingsInvalid: it cannot be read or breaks the form; nothing of it is quoted.
    """
    raw = read_bytes(path, SETTING, bytes_max=_FILE_BYTES_MAX)
    try:
        file = msgspec.convert(_tree(raw), _File)
    except msgspec.ValidationError as error:
        raise unusable(SETTING, path, f"breaks the form at {_place(error)}; see sidecar/security.md") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise unusable(SETTING, path, "is neither JSON nor YAML") from None
    known = [_known(path, at, entry) for at, entry in enumerate(file.callers)]
    digests = [one.digest for one in known if one.digest is not None]
    names = [one.certificate for one in known if one.digest is None]
    if len(set(digests)) < len(digests) or len(set(names)) < len(names):
        raise unusable(SETTING, path, "names a token or a certificate twice")
    return Callers(known)


def _tree(raw: bytes) -> object:
    """Read JSON, or else YAML, which takes a hundred times as long: the largest file would hold up all calls for 1.5 s."""
    try:
        found: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return yaml.safe_load(raw)
    return found


def _place(error: msgspec.ValidationError) -> str:
    """Return where a form is broken; the rest of the sentence may quote."""
    return str(error).rpartition(" - at ")[2] if " - at " in str(error) else "`$`"


def _known(path: Path, at: int, entry: _Entry) -> _Known:
    if entry.sha256 is None and entry.certificate is None:
        raise unusable(SETTING, path, f"has neither sha256 nor certificate at `$.callers[{at}]`")
    unknown = set(entry.scopes) - set(Scope)
    if unknown:
        raise unusable(SETTING, path, f"has scopes at `$.callers[{at}]` that are none of {', '.join(Scope)}")
    proved = (
        f"certificate:{entry.certificate}" if entry.sha256 is None else f"token:{entry.id}/{entry.sha256[:_HINT_CHARS]}"
    )
    grant = Grant(
        caller=entry.id,
        identity=proved,
        scopes=frozenset(map(Scope, entry.scopes)),
        tenants=None if entry.tenants == "*" else frozenset(map(TenantId, entry.tenants)),
        expire_at=entry.expire_at,
    )
    return _Known(None if entry.sha256 is None else bytes.fromhex(entry.sha256), entry.certificate, grant)
