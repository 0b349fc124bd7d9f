"""Calls our own webhook from outside, as Microsoft does when it makes a subscription.

It goes to the address that is configured and nowhere else: no redirect is followed, and nothing is taken from the answer but
whether it is right. Source: Microsoft Learn "Receive change notifications through webhooks", read 2026-11.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
from dataclasses import dataclass

import certifi
import httpx

from sidecar.settings import GraphSettings

_PATIENCE_S = 10.0
"""Microsoft waits as long."""
_ANSWER_BYTES_MAX = 4_096
"""A right answer is the token; more than this is something else."""


class Shaken(enum.StrEnum):
    """How a handshake ended."""

    RIGHT = "right"
    TIMED_OUT = "timed_out"
    TLS = "tls"
    UNREACHABLE = "unreachable"
    STATUS = "status"
    WRONG_BODY = "wrong_body"
    WRONG_TYPE = "wrong_type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """An answer to a handshake. `status` is 0 when there was none; `proof` what the header of that name holds, "" for nothing.

    `cause` is the kind of what went wrong below HTTP, and for TLS the reason that the library names.
    """

    outcome: Shaken
    status: int = 0
    proof: str = ""
    cause: str = ""


class WebhookCaller:
    """Shakes hands with our own webhook."""

    def __init__(self, settings: GraphSettings, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Prepare; `transport` is for tests."""
        self._ca_file = settings.ca_file
        self._connect_s = settings.connect_s
        self._transport = transport
        self._trusted: ssl.SSLContext | None = None

    async def shake(self, url: str, token: str, *, proof_header: str) -> Handshake:
        """Send a validation token to one of our paths and look at the answer."""
        limits = httpx.Timeout(_PATIENCE_S, connect=self._connect_s)
        try:
            async with (
                asyncio.timeout(_PATIENCE_S),
                httpx.AsyncClient(
                    verify=self._trust(),
                    trust_env=False,
                    follow_redirects=False,
                    timeout=limits,
                    transport=self._transport,
                ) as http,
                http.stream(
                    "POST",
                    url,
                    params={"validationToken": token},
                    headers={"content-type": "text/plain; charset=utf-8"},
                ) as reply,
            ):
                return _judge(reply, await _read(reply), token, proof_header)
        except (TimeoutError, httpx.TimeoutException):
            return Handshake(outcome=Shaken.TIMED_OUT)
        except httpx.HTTPError as error:
            tls = _tls_cause(error)
            if tls is not None:
                return Handshake(outcome=Shaken.TLS, cause=tls)
            return Handshake(outcome=Shaken.UNREACHABLE, cause=type(error).__name__)

    def _trust(self) -> ssl.SSLContext:
        """Return what Microsoft would trust: public authorities, not this machine's own; and TLS 1.2, which it speaks."""
        if self._trusted is None:  # reading all authorities takes tens of milliseconds
            self._trusted = ssl.create_default_context(cafile=str(self._ca_file or certifi.where()))
            self._trusted.maximum_version = ssl.TLSVersion.TLSv1_2
        return self._trusted


async def _read(reply: httpx.Response) -> bytes:
    body = b""
    async for chunk in reply.aiter_bytes():
        body += chunk
        if len(body) > _ANSWER_BYTES_MAX:
            break
    return body


def _judge(reply: httpx.Response, body: bytes, token: str, proof_header: str) -> Handshake:
    status, proof = reply.status_code, reply.headers.get(proof_header, "")[:128]
    if status != 200:
        return Handshake(outcome=Shaken.STATUS, status=status, proof=proof)
    if body != token.encode():
        return Handshake(outcome=Shaken.WRONG_BODY, status=status, proof=proof)
    if reply.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/plain":
        return Handshake(outcome=Shaken.WRONG_TYPE, status=status, proof=proof)
    return Handshake(outcome=Shaken.RIGHT, status=status, proof=proof)


def _tls_cause(error: BaseException) -> str | None:
    """Return why TLS failed; None when it was something else."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message or "certificate"
        if isinstance(cause, ssl.SSLError):
            return getattr(cause, "reason", None) or "handshake"  # one that Python itself raises has none
        cause = cause.__cause__ or cause.__context__
    return None
