"""What lies between the service, Microsoft and the watchers: it loses, doubles and delays, and it ends where a process is dead.

A request that has left goes on at the other side whatever becomes of its sender, so each side works in tasks of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from sidecar.emulator.notify.sender import HttpxSender, SendFailed, WebhookAnswer
from sidecar.errors import GraphUnavailable
from sidecar.graph.auth import TokenSource
from sidecar.graph.clouds import TenantRef, endpoints_of
from sidecar.graph.logins import login_error
from sidecar.graph.refusals import parse_retry_after
from sidecar.settings import GraphSettings
from tests.simulation.trace import Trace

T = TypeVar("T")


class PeerGone(ConnectionError):
    """The other side is gone."""


class Spawn(Protocol):
    """Runs something beside everything else, until it is done or its side is gone."""

    def __call__(self, work: Coroutine[Any, Any, None], /) -> asyncio.Task[None]:  # Any: nothing is sent or yielded
        """Start it.

        Raises:
            PeerGone: there is nobody to run it.
        """


async def elsewhere(spawn: Spawn, work: Callable[[], Awaitable[T]], *, hangs_up: bool = False) -> T:
    """Await what happens at the other side.

    Args:
        hangs_up: the other side stops when whoever awaits does; otherwise it goes on.
    Raises:
        PeerGone: the other side went before it was done. Or what the work raises.
    """
    done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        try:
            result = await work()
        except asyncio.CancelledError:
            if not done.done():
                done.set_exception(PeerGone("gone"))
            raise
        except Exception as error:
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(result)

    task = spawn(run())
    try:
        return await done
    finally:
        if hangs_up:
            task.cancel()


class GraphTransport(httpx.AsyncBaseTransport):
    """The service's way to Microsoft.

    Args of the constructor:
        is_alive: whether the process that sends is.
        passed: called after each exchange, with what was asked.
    """

    def __init__(
        self, app: Any, *, spawn: Spawn, is_alive: Callable[[], bool], passed: Callable[[str], None], trace: Trace
    ) -> None:  # Any: an ASGI app
        self._inner = httpx.ASGITransport(app=app)
        self._spawn = spawn
        self._is_alive = is_alive
        self._passed = passed
        self._trace = trace

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and bring the answer back if there is still somebody to bring it to."""
        if not self._is_alive():
            raise httpx.ConnectError("the process is dead")
        asked = f"{request.method} {request.url.raw_path.decode()[-120:]}"
        await request.aread()
        try:
            response = await elsewhere(self._spawn, lambda: self._inner.handle_async_request(request))
        except Exception as error:
            self._note(f"{asked} {type(error).__name__}")
            raise
        self._note(f"{asked} {response.status_code}")
        return response

    def _note(self, text: str) -> None:
        if self._is_alive():
            self._trace.note("graph", text)
            self._passed(text)


@dataclass(slots=True)
class Weather:
    """How badly webhook calls fare now; shares from 0 to 1."""

    lost_share: float = 0.0
    """Calls that never arrive."""
    unanswered_share: float = 0.0
    """Calls that arrive, and whose answer is lost."""
    doubled_share: float = 0.0
    """Calls that arrive twice."""
    late_share: float = 0.0
    """Calls that hang about for a while before they arrive."""
    late_s: float = 2.0


class WebhookWay:
    """Microsoft's way to the service: a `Sender` of the emulator."""

    def __init__(
        self,
        *,
        rng: Random,
        trace: Trace,
        intake: Callable[[], tuple[Any, Spawn] | None],
        answered: Callable[[], None],
    ) -> None:
        """Take over a way.

        Args:
            intake: returns the ASGI app that listens now, and how its process runs things; None while nobody listens.
            answered: called after each answer of the service.

        `accepted`, which can be set, is called with each body that the service has just accepted.
        """
        self.accepted: Callable[[bytes], None] = lambda _: None
        self.weather = Weather()
        self._rng = rng
        self._trace = trace
        self._intake = intake
        self._answered = answered

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> WebhookAnswer:
        """Carry a call, as well as the weather allows.

        Raises:
            SendFailed: no answer came.
        """
        weather, what = self.weather, f"{urlsplit(url).path} {len(body)} bytes"
        dice = [self._rng.random() for _ in range(4)]
        if dice[0] < weather.late_share:
            await asyncio.sleep(self._rng.random() * weather.late_s)
        if dice[1] < weather.lost_share:
            self._trace.note("webhook", f"{what} lost")
            raise SendFailed("lost")
        answer = await self._deliver(url, headers, body, what)
        if dice[2] < weather.doubled_share:
            answer = await self._deliver(url, headers, body, what + " again")
        if dice[3] < weather.unanswered_share:
            self._trace.note("webhook", f"{what} unanswered")
            raise SendFailed("the answer was lost")
        return answer

    async def _deliver(self, url: str, headers: Mapping[str, str], body: bytes, what: str) -> WebhookAnswer:
        intake = self._intake()
        if intake is None:
            self._trace.note("webhook", f"{what} refused")
            raise SendFailed("nobody listens")
        app, spawn = intake
        sender = HttpxSender(httpx.AsyncClient(transport=httpx.ASGITransport(app=app)))
        try:
            answer = await elsewhere(spawn, lambda: sender.post(url, headers=headers, body=body))
        except PeerGone:
            raise SendFailed("broken off") from None
        self._trace.note("webhook", f"{what} {answer.status}")
        if body and answer.status == 202:
            self.accepted(body)
        self._answered()
        return answer


class InProcessLogin(TokenSource):
    """The real source of tokens, with the one thread-bound part of it replaced: MSAL's exchange with the login service."""

    def __init__(self, *, transport: httpx.AsyncBaseTransport, settings: GraphSettings, **more: Any) -> None:
        # Any: the other arguments of the base class. Its own client would never be used, and costs 20 ms to make.
        super().__init__(settings=settings, http=httpx.Client(transport=httpx.MockTransport(_unused)), **more)
        self._async_http = httpx.AsyncClient(transport=transport)

    async def _renew(self, account: Any, tenant: TenantRef, claims: str | None) -> None:  # Any: the base class's own
        credential = await self._credentials.load_credential(tenant.tenant_uid, tenant.credential)
        endpoints = endpoints_of(tenant.cloud, self._settings)
        form = {
            "grant_type": "client_credentials",
            "client_id": credential.application_id,
            "client_secret": credential.proof.decode(),
            "scope": endpoints.scope,
        }
        asked_at_s = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._settings.request_s):
                reply = await self._async_http.post(
                    f"{endpoints.login_url}/{tenant.directory_id}/oauth2/v2.0/token", data=form
                )
                answer = msgspec.json.decode(reply.content)
        except (httpx.HTTPError, TimeoutError, msgspec.MsgspecError) as error:
            raise GraphUnavailable("the login service cannot be reached", details={"subject": "login"}) from error
        if "access_token" not in answer:
            raise login_error(answer, status=reply.status_code, retry_after_s=parse_retry_after(reply.headers))
        account.token = answer["access_token"]
        account.until_s = asked_at_s + answer["expires_in"] - 30.0
        account.refresh_at_s = asked_at_s + answer["expires_in"] - 300.0


def _unused(_: httpx.Request) -> httpx.Response:
    raise AssertionError("the login service is reached in this process")
