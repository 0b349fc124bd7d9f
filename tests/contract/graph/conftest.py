"""What Graph promises, asked of a subject: the emulator always, a real tenant if the environment names one.

A real tenant is used when GRAPH_CONTRACT_TENANT, GRAPH_CONTRACT_CLIENT, GRAPH_CONTRACT_SECRET and GRAPH_CONTRACT_MAILBOX are
set. The mailbox must be one made for this: events are written to it and deleted again.
"""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import pytest

from sidecar.emulator.core import Emulator

_VARIABLES = ("GRAPH_CONTRACT_TENANT", "GRAPH_CONTRACT_CLIENT", "GRAPH_CONTRACT_SECRET", "GRAPH_CONTRACT_MAILBOX")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Somebody who claims to be Graph, and a mailbox there that may be written to."""

    graph: httpx.AsyncClient
    mailbox: str
    day: datetime
    """A day with nothing on it."""

    def at(self, hour: int) -> dict[str, str]:
        """Give an hour of the day as a dateTimeTimeZone."""
        return {"dateTime": (self.day + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%S"), "timeZone": "UTC"}

    def url(self, event_id: str) -> str:
        """Give an event's path."""
        return f"/users/{self.mailbox}/events/{quote(event_id, safe='')}"


@pytest.fixture(params=["emulator", "tenant"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "emulator":
        async for one in _emulated():
            yield one
        return
    if not all(os.environ.get(name) for name in _VARIABLES):
        pytest.skip("no real tenant in the environment")
    tenant, client, secret, mailbox = (os.environ[name] for name in _VARIABLES)
    async with httpx.AsyncClient(base_url="https://login.microsoftonline.com", timeout=30) as login:
        token = await _token(login, tenant, client, secret)
    day = datetime(2035, 3, 5, tzinfo=UTC)
    headers = {"authorization": f"Bearer {token}", "prefer": 'IdType="ImmutableId"'}
    async with httpx.AsyncClient(base_url="https://graph.microsoft.com/v1.0", headers=headers, timeout=60) as graph:
        yield Subject(graph=graph, mailbox=mailbox, day=day)


async def _emulated() -> AsyncIterator[Subject]:
    emulator = Emulator(calm=True)
    transport = httpx.ASGITransport(app=emulator.graph_app)
    control = httpx.AsyncClient(transport=httpx.ASGITransport(app=emulator.control_app), base_url="http://control")
    async with emulator.running(), control:
        tenant = (await control.post("/control/tenants", json={})).json()
        path = f"/control/tenants/{tenant['tenant_id']}/rooms"
        mailbox = (await control.post(path, json={"count": 1})).json()["rooms"][0]["address"]
        async with httpx.AsyncClient(transport=transport, base_url="https://login.microsoftonline.com") as login:
            token = await _token(login, tenant["tenant_id"], tenant["client_id"], tenant["client_secret"])
        headers = {"authorization": f"Bearer {token}", "prefer": 'IdType="ImmutableId"'}
        async with httpx.AsyncClient(
            transport=transport, base_url="https://graph.microsoft.com/v1.0", headers=headers
        ) as graph:
            yield Subject(graph=graph, mailbox=mailbox, day=datetime(2035, 3, 5, tzinfo=UTC))


async def _token(login: httpx.AsyncClient, tenant: str, client: str, secret: str) -> str:
    form = {
        "client_id": client,
        "client_secret": secret,
        "grant_type": "client_credentials",
        "scope": "https://graph.microsoft.com/.default",
    }
    answer = await login.post(f"/{tenant}/oauth2/v2.0/token", data=form)
    answer.raise_for_status()
    return str(answer.json()["access_token"])
