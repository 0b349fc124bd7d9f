"""A real tenant as a subject, if the environment names one.

GRAPH_CONTRACT_TENANT, GRAPH_CONTRACT_CLIENT, GRAPH_CONTRACT_SECRET and GRAPH_CONTRACT_MAILBOX are needed. The mailbox must be
one made for this: events are written to it and deleted again. More cases are opened by GRAPH_CONTRACT_ROOM (a room with
Exchange's default settings), GRAPH_CONTRACT_ORGANIZER (a person's mailbox) and GRAPH_CONTRACT_WEBHOOK_URL (something public
that shakes hands).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.contract.graph.subject import GRAPH_SCOPE, IMMUTABLE, Subject, claims_of
from tests.support.csdl_bodies import judged, tolerant_checker

_VARIABLES = ("GRAPH_CONTRACT_TENANT", "GRAPH_CONTRACT_CLIENT", "GRAPH_CONTRACT_SECRET", "GRAPH_CONTRACT_MAILBOX")
_OPTIONAL = {
    "room": "GRAPH_CONTRACT_ROOM",
    "organizer": "GRAPH_CONTRACT_ORGANIZER",
    "webhook": "GRAPH_CONTRACT_WEBHOOK_URL",
}
_ROLES = {"places": "Place.Read.All", "users": "User.Read.All", "settings": "MailboxSettings.Read"}
_TRANSIENT = (429, 503, 504)
_TRIES_MAX = 5
_PATIENCE_S = 180.0  # Microsoft: calendar notifications take three minutes at most


def tenant_is_named() -> bool:
    """Tell whether the environment has everything a real tenant needs."""
    return all(os.environ.get(name) for name in _VARIABLES)


@asynccontextmanager
async def real_tenant() -> AsyncIterator[Subject]:
    """Sign in to the tenant of the environment."""
    tenant, client, secret, mailbox = (os.environ[name] for name in _VARIABLES)
    given = {need: os.environ.get(name, "") for need, name in _OPTIONAL.items()}
    form = {"client_id": client, "client_secret": secret, "grant_type": "client_credentials", "scope": GRAPH_SCOPE}
    async with (
        httpx.AsyncClient(base_url="https://login.microsoftonline.com", timeout=30) as login,
        httpx.AsyncClient(
            base_url="https://graph.microsoft.com/v1.0",
            transport=judged(_Patient(httpx.AsyncHTTPTransport()), tolerant_checker()),
            timeout=60,
        ) as graph,
    ):
        answer = await login.post(f"/{tenant}/oauth2/v2.0/token", data=form)
        answer.raise_for_status()
        token = str(answer.json()["access_token"])
        graph.headers.update({"authorization": f"Bearer {token}", "prefer": IMMUTABLE})
        roles = claims_of(token).get("roles", ())
        able = {need for need, value in given.items() if value} | {
            need for need, role in _ROLES.items() if role in roles
        }
        yield Subject(
            name="tenant",
            graph=graph,
            login=login,
            tenant=tenant,
            client_id=client,
            secret=secret,
            mailbox=mailbox,
            token=token,
            able=frozenset(able),
            room=given["room"],
            organizer=given["organizer"],
            webhook_url=given["webhook"],
            patience_s=_PATIENCE_S,
        )


class _Patient(httpx.AsyncBaseTransport):
    """Waits where the service asks for it; what cases ask is not how busy it is."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for attempt in range(1, _TRIES_MAX + 1):
            answer = await self._inner.handle_async_request(request)
            if answer.status_code not in _TRANSIENT or attempt == _TRIES_MAX:
                break
            await answer.aclose()
            await asyncio.sleep(float(answer.headers.get("retry-after", 2**attempt)))
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()
