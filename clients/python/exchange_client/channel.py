"""How a channel to the service is set up: target, TLS, bearer token, keepalive. Shared by both clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import grpc

ChannelOptions = Sequence[tuple[str, str | int]]
"""Channel arguments of gRPC core, such as `("grpc.keepalive_time_ms", 20000)`."""

BearerToken = str | Callable[[], str] | None
"""A bearer token, or a function that gives the current one; it is called for each call and must not block."""

ASKING_TIMEOUT_S = 60.0
"""Deadline of calls that make the service ask Microsoft: it answers within 45 seconds."""

DEFAULT_TIMEOUT_S = 10.0
"""Deadline of a call unless told otherwise: the service answers from its own store, so this is long already."""

_DEFAULT_OPTIONS: Mapping[str, str | int] = {
    # A frozen peer is never noticed by default. Keepalive alone takes 70 s, with the ping time-out as well 15 s.
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.http2.ping_timeout_ms": 5_000,
    "grpc.http2.max_pings_without_data": 0,
    # Watches have their own, jittered pause between attempts; the channel's should never add minutes to it.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.min_reconnect_backoff_ms": 2_000,
    "grpc.max_reconnect_backoff_ms": 5_000,
    # A page of 1000 bookings with many attendees passes gRPC's usual 4 MiB.
    "grpc.max_receive_message_length": 64 * 1024 * 1024,
    # The service is beside the caller or in the same network: a proxy for the Internet has no business in between.
    "grpc.enable_http_proxy": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What the connection is secured with; `Tls()` trusts the system's certificate authorities.

    Attributes:
        ca_pem: PEM text of the authorities to trust instead of the system's.
        cert_pem: PEM text of the caller's own certificate; goes with `key_pem`.
        key_pem: PEM text of its private key.
        server_name: name to expect in the server's certificate, if it is not the one in the target.
    """

    ca_pem: bytes | None = None
    cert_pem: bytes | None = None
    key_pem: bytes | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.cert_pem is None) != (self.key_pem is None):
            raise ValueError("a client certificate and its private key go together")

    @classmethod
    def from_files(
        cls,
        *,
        ca: str | PathLike[str] | None = None,
        cert: str | PathLike[str] | None = None,
        key: str | PathLike[str] | None = None,
        server_name: str = "",
    ) -> Tls:
        """Read the PEM files; OSError when one cannot be read."""
        ca_pem, cert_pem, key_pem = (Path(path).read_bytes() if path is not None else None for path in (ca, cert, key))
        return cls(ca_pem=ca_pem, cert_pem=cert_pem, key_pem=key_pem, server_name=server_name)

    def credentials(self) -> grpc.ChannelCredentials:
        """Make the credentials gRPC wants."""
        return grpc.ssl_channel_credentials(self.ca_pem, self.key_pem, self.cert_pem)


def checked_target(target: str) -> str:
    """Give a target back as gRPC wants it.

    Args:
        target: `unix:///absolute/path.sock`, `host:port`, or any URI that gRPC resolves (`dns:///host:port`).
    Raises:
        ValueError: neither; gRPC itself would only fail later, and with a riddle.
    """
    if target.startswith(("http://", "https://")):
        raise ValueError(f"the target is host:port without a scheme, got {target!r}")
    host, _, port = target.rpartition(":")
    if "/" not in target and not (host and port.isdecimal()):
        raise ValueError(f"the target is unix:///path or host:port, got {target!r}")
    return target


def channel_options(tls: Tls | None, options: ChannelOptions) -> list[tuple[str, str | int]]:
    """Merge the defaults with the caller's channel arguments; the caller's win."""
    merged = dict(_DEFAULT_OPTIONS)
    if tls is not None and tls.server_name:
        merged["grpc.ssl_target_name_override"] = tls.server_name
    return list((merged | dict(options)).items())


def call_metadata(token: BearerToken) -> tuple[tuple[str, str], ...]:
    """Give the metadata that authenticates one call."""
    value = token() if callable(token) else token
    return (("authorization", f"Bearer {value}"),) if value else ()
