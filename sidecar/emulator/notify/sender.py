"""Calling somebody's webhook. Which calls are made, and what their answers mean, is decided elsewhere.

A webhook is a stranger: redirects are not followed, cookies are not kept, an answer's body is read up to a limit, and
connections are made with TLS 1.2 at most, as Microsoft's are: an endpoint that speaks only TLS 1.3 cannot be reached.

Source: that such an endpoint fails the handshake is what users have reported.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Protocol

import httpx

_ANSWER_BYTES_MAX = 16_384  # a validation token is far shorter
_KEPT_CONNECTIONS_MAX = 64
# Besides httpx's own: a host name that no resolver takes is a ValueError or a UnicodeError, and uvloop answers a write to a
# connection that has just been closed with a RuntimeError.
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RuntimeError)
_SEND_TIMEOUT_S = 30.0  # never reached: whoever sends sets a shorter one


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookAnswer:
    """What a webhook answered; of a long body only the beginning."""

    status: int
    content_type: str
    body: str


class SendFailed(Exception):
    """The webhook could not be reached, or broke off; `is_tls` if the two could not agree on an encrypted connection."""

    def __init__(self, message: str, *, is_tls: bool = False) -> None:
        super().__init__(message)
        self.is_tls = is_tls


class Sender(Protocol):
    """Sends one POST; the caller sets the time-out."""

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> WebhookAnswer:
        """Send and return the answer.

        Raises:
            SendFailed: no HTTP answer came.
        """


class HttpxSender:
    """Sends through httpx; a simulation hands in a client whose transport is the service's ASGI app."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> WebhookAnswer:
        """Send and return the answer.

        Raises:
            SendFailed: no HTTP answer came.
        """
        wanted = {"accept-encoding": "identity", **headers}
        try:
            async with self._client.stream("POST", url, headers=wanted, content=body, follow_redirects=False) as answer:
                read = await _read_beginning(answer)
        except _FAILURES as error:
            raise SendFailed(f"{type(error).__name__}: {error}", is_tls=_is_tls(error)) from error
        return WebhookAnswer(
            status=answer.status_code,
            content_type=answer.headers.get("content-type", ""),
            body=read[:_ANSWER_BYTES_MAX].decode(errors="replace"),
        )


def webhook_client(
    ca_file: Path | None = None, *, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """Build the client that calls webhooks.

    Args:
        ca_file: authority that their certificates are checked against; None is the usual public ones.
        transport: what to call them by instead of the network.
    """
    context = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return httpx.AsyncClient(
        timeout=_SEND_TIMEOUT_S,
        trust_env=False,
        verify=context,
        transport=transport,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS_MAX),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        event_hooks={"response": [_forget_location]},
    )


async def _forget_location(answer: httpx.Response) -> None:
    """Keep httpx from reading where a redirect leads: an address that is none would hide the answer."""
    answer.headers.pop("location", None)


async def _read_beginning(answer: httpx.Response) -> bytes:
    """Read a body up to the limit; one that is not encoded as it says is as good as none."""
    read = b""
    try:
        async for part in answer.aiter_bytes():
            read += part
            if len(read) >= _ANSWER_BYTES_MAX:
                break
    except httpx.DecodingError:
        return b""
    return read


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
