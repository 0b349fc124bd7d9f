"""Who calls, as far as the server can tell: the one place that knows.

Over the Unix socket nothing more is known than that its permissions let the caller in: gRPC does not tell the peer's
credentials. Over TCP it is the peer's address, and the name in its certificate where TLS proved one.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import unquote

from sidecar.model.audit import Caller, CallerKind

_PROVED_BY = ("x509_subject_alternative_name", "x509_common_name")
_IDENTITY_CHARS_MAX = 200


def caller_of(peer: str, proved: dict[str, list[bytes]]) -> Caller:
    """Return who is behind a call.

    Args:
        peer: as gRPC spells it: unix:..., ipv4:1.2.3.4:5, ipv6:%5B::1%5D:5.
        proved: what the transport has proved, by gRPC's names for it.
    """
    scheme, _, place = peer.partition(":")
    if scheme == "unix":
        return Caller(kind=CallerKind.UNIX_SOCKET)
    address = unquote(place).rpartition(":")[0].strip("[]")
    kind = CallerKind.LOOPBACK if _is_loopback(address) else CallerKind.NETWORK
    names = certificate_names(proved)
    # Marked as what it is: a certificate must not pass itself off as a token by the name that it bears.
    identity = f"certificate:{names[0][:_IDENTITY_CHARS_MAX]}" if names else ""
    return Caller(kind=kind, address=address, identity=identity)


def certificate_names(proved: dict[str, list[bytes]]) -> tuple[str, ...]:
    """Return the names that the caller's certificate bears: its alternative names, or else its common name."""
    found = next((proved[key] for key in _PROVED_BY if proved.get(key)), [])
    return tuple(name.decode(errors="replace") for name in found)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
