"""Calling somebody's webhook. Which calls are made, and what their answers mean, is decided elsewhere.

A webhook is a stranger: redirects are not followed, an answer's body is read up to a limit, and connections are made with
TLS 1.2 at most, as Microsoft's are: an endpoint that speaks only TLS 1.3 cannot be reached.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

_ANSWER_BYTES_MAX = 16_384  # a validation token is far shorter
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
        read = b""
        try:
            async with self._client.stream("POST", url, headers=wanted, content=body, follow_redirects=False) as answer:
                async for part in answer.aiter_bytes():
                    read += part
                    if len(read) >= _ANSWER_BYTES_MAX:
                        break
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise SendFailed(f"{type(error).__name__}: {error}", is_tls=_is_tls(error)) from error
        return WebhookAnswer(
            status=answer.status_code,
            content_type=answer.headers.get("content-type", ""),
            body=read[:_ANSWER_BYTES_MAX].decode(errors="replace"),
        )


def webhook_client(ca_file: Path | None = None) -> httpx.AsyncClient:
    """Build the client that calls webhooks, checking certificates against `ca_file` or the usual public authorities."""
    context = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return httpx.AsyncClient(timeout=_SEND_TIMEOUT_S, trust_env=False, verify=context)


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
