"""Sends one request to Graph: token, slot, time-out, retry, and the name of what went wrong.

Everything above deals in whole answers and our own errors; httpx ends here. Nothing is logged for a call that fails: the
error carries what is needed, and whoever handles it says so once. A call that succeeded after failures is a line.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from random import Random
from typing import Protocol
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import structlog
from opentelemetry.trace import SpanKind

from sidecar.aio.backoff import backoff_s
from sidecar.aio.clock import Clock
from sidecar.errors import (
    ConsentMissing,
    CredentialRejected,
    GraphUnavailable,
    SidecarError,
    TenantPaused,
    Throttled,
    Unavailable,
)
from sidecar.graph.breaker import Breaker, Passage
from sidecar.graph.clouds import TenantRef, endpoints_of
from sidecar.graph.logins import build_tls, token_roles
from sidecar.graph.refusals import parse_claims_challenge, to_error
from sidecar.graph.routes import route_of
from sidecar.graph.skew import SkewWatch
from sidecar.graph.throttle import SUBSCRIPTIONS, Throttle
from sidecar.graph.wire import PREFER, USER_AGENT, Call
from sidecar.model.ids import TenantUid
from sidecar.settings import GraphSettings
from sidecar.telemetry.metrics import Telemetry
from sidecar.telemetry.tracing import Part, child

log = structlog.get_logger(__name__)

_BODY_BYTES_MAX = 64 * 1024 * 1024
"""A page of 1,000 events with 500 attendees each stays below; more is not an answer to our questions."""
_BACKOFF_BASE_S = 0.5
_REQUEST_ID = re.compile("[0-9a-fA-F-]{36}")
_IDLE_CONNECTION_S = 30.0
"""Shorter than any load balancer's patience in front of Graph, so that we rarely write into a closed connection."""


class Tokens(Protocol):
    """Opens the door."""

    async def fetch_token(self, tenant: TenantRef, *, claims: str | None = None) -> str:
        """Return a token for Graph."""

    def forget(self, tenant_uid: TenantUid, *, token: str | None = None) -> None:
        """Drop a token that was refused."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx.Headers
    body: bytes


class _Failure(Exception):
    """A try that failed. `may_be_done` is False when Exchange certainly did nothing: when nothing was sent, for one."""

    def __init__(self, error: SidecarError, *, may_be_done: bool, token: str = "", claims: str | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.may_be_done = may_be_done
        self.token = token
        self.claims = claims


class Transport:
    """Sends calls."""

    def __init__(
        self,
        *,
        http: httpx.AsyncClient,
        tokens: Tokens,
        throttle: Throttle,
        breaker: Breaker,
        skew: SkewWatch,
        clock: Clock,
        rng: Random,
        settings: GraphSettings,
        telemetry: Telemetry,
    ) -> None:
        self._http = http
        self._tokens = tokens
        self._throttle = throttle
        self._breaker = breaker
        self._skew = skew
        self._clock = clock
        self._rng = rng
        self._settings = settings
        self._telemetry = telemetry

    async def send(self, tenant: TenantRef, lane: str, call: Call) -> bytes:
        """Send a call, again where that helps and is safe, and return the body of the answer.

        Args:
            lane: whose slots it takes: a mailbox, or `throttle.SUBSCRIPTIONS`.
            call: its path is relative to the version root, or a whole URL that Graph gave, which must lead to Graph.
        Raises:
            SidecarError: one of those that `refusals.to_error` and the tokens raise; TimeoutError never.
        """
        url = self._url(tenant, call.path)
        failures = 0
        patience_s = self._settings.wait_in_place_s
        claims: str | None = None
        was_refused = may_be_done = False
        while True:
            try:
                body = await self._try(tenant, lane, call, url, claims, failures)
            except _Failure as failure:
                error, claims = failure.error, failure.claims
                may_be_done = may_be_done or failure.may_be_done
                if error.details.get("status") == "401" and failure.token and not was_refused:
                    was_refused = True
                    self._tokens.forget(tenant.tenant_uid, token=failure.token)
                    continue
                failures += 1
                wait_s = self._wait_s(error, failures, patience_s)
                if self._breaker.outage(tenant.tenant_uid) is not None:
                    wait_s = None  # nobody gains by trying on; a probe will tell when it is over
                if wait_s is None or (failure.may_be_done and not call.is_repeatable):
                    told = _diagnosed(error, failure.token)
                    told.may_be_done = may_be_done
                    raise told from failure.__cause__
                patience_s -= wait_s
                await self._clock.sleep(wait_s)
            except Unavailable as closed:  # no slot, or the breaker is open: this try was not sent
                self._telemetry.count("graph_put_off", 1, _why_put_off(closed))
                closed.may_be_done = may_be_done
                raise
            else:
                if failures:
                    log.warning(
                        "graph_call.recovered", subject=call.subject.value, method=call.method, failures_count=failures
                    )
                return body

    async def _try(
        self, tenant: TenantRef, lane: str, call: Call, url: str, claims: str | None, failures: int
    ) -> bytes:
        with self._breaker.passing(tenant.tenant_uid) as passage:
            token = await self._fetch_token(tenant, claims, passage)
            came_s = self._clock.monotonic()
            async with self._throttle.slot(tenant.tenant_uid, lane):
                wait_s = self._clock.monotonic() - came_s
                self._telemetry.measure("graph_line_duration", wait_s)
                passage.proceed()
                asked_at = self._clock.now()
                try:
                    with child(f"graph {call.method}", kind=SpanKind.CLIENT) as part:
                        if part.is_traced:
                            _describe(part, call, failures, wait_s=wait_s)
                        answer = await self._exchange(call, url, token, part)
                except _Failure as failure:
                    if isinstance(failure.error, Unavailable):
                        # Without a connection it cannot be one mailbox's trouble.
                        passage.failed(failure.error, mailbox=lane if failure.may_be_done else None)
                    raise
            self._skew.note(answer.headers.get("date", ""), asked_at=asked_at, answered_at=self._clock.now())
            is_about_calendars = lane != SUBSCRIPTIONS
            if 200 <= answer.status < 300:
                passage.answered(is_about_calendars=is_about_calendars)
                return answer.body
            error = to_error(answer.status, answer.body, answer.headers, about=call.subject, now=self._clock.now())
            if isinstance(error, Unavailable):
                passage.failed(error, mailbox=lane)
                if error.retry_after_s:
                    self._throttle.hold(tenant.tenant_uid, lane, error.retry_after_s)
            else:
                passage.answered(is_good=False, is_about_calendars=is_about_calendars)
        raise _Failure(
            error,
            may_be_done=answer.status >= 500 or answer.status == 408,
            token=token,
            claims=parse_claims_challenge(answer.headers) if answer.status == 401 else None,
        )

    async def _fetch_token(self, tenant: TenantRef, claims: str | None, passage: Passage) -> str:
        try:
            return await self._tokens.fetch_token(tenant, claims=claims)
        except Unavailable as closed:
            if isinstance(closed, Throttled) and closed.retry_after_s:
                self._throttle.hold(tenant.tenant_uid, None, closed.retry_after_s)
            passage.failed(closed, mailbox=None)
            raise _Failure(closed, may_be_done=False) from closed.__cause__

    async def _exchange(self, call: Call, url: str, token: str, part: Part) -> _Answer:
        request_id = str(UUID(int=self._rng.getrandbits(128)))
        part.note("exchange.client_request_id", request_id)
        headers = {
            "authorization": f"Bearer {token}",
            "prefer": f"{PREFER}, {call.prefer}" if call.prefer else PREFER,
            "client-request-id": request_id,
        }
        if call.content:
            headers["content-type"] = "application/json"
        if call.if_match:
            headers["if-match"] = call.if_match
        began_s = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._settings.request_s):
                async with self._http.stream(call.method, url, headers=headers, content=call.content or None) as reply:
                    if part.is_traced:
                        _note_answer(part, reply)
                    answer = _Answer(reply.status_code, reply.headers, await _read(reply))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            self._note_end(call, "unreachable")
            raise _Failure(_unreachable(error, call), may_be_done=False) from error
        except (httpx.HTTPError, TimeoutError) as error:
            is_late = isinstance(error, httpx.TimeoutException | TimeoutError)
            self._note_end(call, "timeout" if is_late else "unreachable")
            raise _Failure(_unreachable(error, call), may_be_done=True) from error
        except httpx.InvalidURL as error:
            raise GraphUnavailable("Exchange named an address that is none") from error
        self._note_end(call, _class_of(answer.status))
        self._telemetry.measure("graph_request_duration", self._clock.monotonic() - began_s)
        return answer

    def _note_end(self, call: Call, outcome: str) -> None:
        self._telemetry.count("graph_requests", 1, call.subject.value, outcome)

    def _wait_s(self, error: SidecarError, failures: int, patience_s: float) -> float | None:
        """Return how long to wait before the next try; None when there is none.

        All waits of a call together take no longer than is waited in place: whoever is told to wait again and again makes
        way for others, too.
        """
        if not isinstance(error, Unavailable) or failures >= self._settings.attempts_max:
            return None
        wait_s = error.retry_after_s
        if wait_s is None:
            cap_s = self._settings.wait_in_place_s
            wait_s = backoff_s(failures, base_s=_BACKOFF_BASE_S, cap_s=cap_s, rng=self._rng)
        return wait_s if wait_s <= patience_s else None

    def _url(self, tenant: TenantRef, path: str) -> str:
        base = endpoints_of(tenant.cloud, self._settings).graph_url
        if path.startswith("/"):
            return base + path
        # A link from a page. Our token must not follow it to another host.
        try:
            link, graph = urlsplit(path), urlsplit(base)
            is_graph = (link.scheme, link.hostname, link.port) == (graph.scheme, graph.hostname, graph.port)
        except ValueError:
            is_graph = False
        if not is_graph:
            raise GraphUnavailable("Exchange named a next page that is not at Exchange; it was not followed")
        return path


def _describe(part: Part, call: Call, failures: int, *, wait_s: float) -> None:
    part.note("http.request.method", call.method)
    part.note("url.template", route_of(call.path))
    part.note("http.request.resend_count", failures)
    part.note("exchange.wait_s", round(wait_s, 4))


def _note_answer(part: Part, reply: httpx.Response) -> None:
    part.note("http.response.status_code", reply.status_code)
    if reply.status_code >= 400:
        part.fail(f"HTTP_{reply.status_code}")
    request_id = reply.headers.get("request-id", "")
    if _REQUEST_ID.fullmatch(request_id):  # another server's words are none of ours
        part.note("exchange.graph_request_id", request_id)


def build_http(settings: GraphSettings, *, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Build the client that all calls to Graph share. `transport` is for tests.

    HTTP/1.1, because Graph's gateways answer it and httpx is fastest with it. Connections are bounded by the slots, so the
    pool itself is not; `trust_env` is off, because a container's proxy and certificate variables are somebody else's.
    """
    return httpx.AsyncClient(
        verify=build_tls(settings),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(settings.request_s, connect=settings.connect_s),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=_IDLE_CONNECTION_S),
        headers={"user-agent": USER_AGENT, "accept": "application/json"},
        transport=transport,
    )


async def _read(reply: httpx.Response) -> bytes:
    """Read a body up to the limit; decoded bytes count, so a small bomb does not grow."""
    chunks: list[bytes] = []
    size_bytes = 0
    async for chunk in reply.aiter_bytes():
        size_bytes += len(chunk)
        if size_bytes > _BODY_BYTES_MAX:
            raise httpx.DecodingError("the answer is larger than any answer to our questions")
        chunks.append(chunk)
    return b"".join(chunks)


def _class_of(status: int) -> str:
    """Return the class of a status that answers are counted by; being told to slow down is one of its own."""
    if status == 429:
        return "429"
    return {2: "2xx", 4: "4xx", 5: "5xx"}.get(status // 100, "other")


def _why_put_off(error: Unavailable) -> str:
    """Return what kept a call from being sent, as it is counted."""
    if isinstance(error, TenantPaused):
        return "paused"
    return "line" if error.details.get("cause") == "LINE" else "named"


def _unreachable(error: Exception, call: Call) -> GraphUnavailable:
    """Name a failure below HTTP. The cause's text may hold addresses; only its kind is told."""
    details = {"subject": call.subject.value, "cause": type(error).__name__}
    return GraphUnavailable("Exchange cannot be reached, or broke off", details=details)


def _diagnosed(error: SidecarError, token: str) -> SidecarError:
    """Add which permissions the refused token names: the difference between "never granted" and "not for this room"."""
    if error.details.get("status") not in {"401", "403"}:
        return error
    roles = token_roles(token)
    if roles is None:
        return error
    error.details["token_roles"] = " ".join(roles) or "none"
    if isinstance(error, CredentialRejected) and not roles:
        return ConsentMissing("the application has no permission in this directory", details=error.details)
    return error
