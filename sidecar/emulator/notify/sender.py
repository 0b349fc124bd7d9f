"""Calling somebody's webhook. Which calls are made, and what their answers mean, is decided elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import httpx


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookAnswer:
    """What a webhook answered."""

    status: int
    content_type: str
    body: str


class SendFailed(Exception):
    """The webhook could not be reached, or broke off."""


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
        try:
            answer = await self._client.post(url, headers=dict(headers), content=body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise SendFailed(f"{type(error).__name__}: {error}") from error
        return WebhookAnswer(
            status=answer.status_code, content_type=answer.headers.get("content-type", ""), body=answer.text
        )
