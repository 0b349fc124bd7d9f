"""The webhook that Microsoft Graph calls: hear, make durable, answer; nothing else, and quickly.

Exchange drops notifications for everybody behind an address whose answers are slow, so no network call and no reading of
calendars happens here. The address is public and the caller unproven until the sink has compared the client state.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.aio.budget import Budget
from sidecar.aio.clock import Clock
from sidecar.errors import NotificationBodyInvalid, StoreUnavailable
from sidecar.graph.notifications import parse_notifications
from sidecar.model.handshake import PROOF_HEADER, is_own_token, prove
from sidecar.model.subscription import Lifecycle, Notification
from sidecar.settings import LIFECYCLE_PATH, NOTIFICATIONS_PATH, WebhookSettings
from sidecar.telemetry.tracing import OFF, Part, Tracing

log = structlog.get_logger(__name__)

_BUFFERED_BYTES_MAX = 32 * 1024 * 1024
"""Bodies of all requests under way together."""
_TOKEN_CHARS_MAX = 2_048
"""Longest validation token that is echoed; Graph's have some hundred characters."""
_BODY_S = 8.0
"""A body that takes longer is no longer awaited: Graph gives up after ten seconds, and a slow one holds a place."""
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),  # what is echoed is a stranger's text
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'"),
)


_POST = {"http.request.method": "POST"}

Handler = Callable[[Request], Awaitable[Response]]


class MarkOutcome(Protocol):
    """What became of a batch of notifications."""

    @property
    def marked_count(self) -> int:
        """Notifications whose room is now marked."""

    @property
    def unknown_count(self) -> int:
        """Notifications of no subscription of ours, or with a wrong client state or directory."""

    @property
    def unwanted_count(self) -> int:
        """Notifications about tenants that nothing is read for now."""


class PathWords(Protocol):
    """Words of which one must stand in the path; `FollowedFiles` holds some."""

    @property
    def current(self) -> Sequence[str]:
        """The words as they are now."""


class NotificationSink(Protocol):
    """Makes notifications durable."""

    async def mark(self, notifications: Sequence[Notification]) -> MarkOutcome:
        """Compare the client states and mark the rooms; what was marked survives a crash once this returns.

        Raises:
            StoreUnavailable: nothing was marked.
        """


class Counters(Protocol):
    """Counts things."""

    def count(self, name: str, amount: int) -> None:
        """Add to a counter."""


def build_intake(
    *,
    sink: NotificationSink,
    counters: Counters,
    settings: WebhookSettings,
    store_id: str,
    clock: Clock,
    path_secrets: PathWords | None = None,
    tracing: Tracing = OFF,
) -> Starlette:
    """Build the application. Both paths take both kinds of notification: some set-ups have one address for both.

    Args:
        path_secrets: words of which one must stand before the paths, as they are at each request; None: the paths stand alone.
        store_id: what our own handshakes are answered with, so that whoever sent one knows who answered.
    """
    intake = _Intake(sink=sink, counters=counters, settings=settings, store_id=store_id, clock=clock, tracing=tracing)
    receive: Handler = intake.receive
    before = ""
    if path_secrets is not None:
        before, receive = "/{word}", _guarded(intake.receive, path_secrets, counters)
    app = Starlette(
        routes=[
            Route(before + NOTIFICATIONS_PATH, receive, methods=["POST"]),
            Route(before + LIFECYCLE_PATH, receive, methods=["POST"]),
        ],
        middleware=[Middleware(_Headers)],
    )
    app.router.redirect_slashes = False
    return app


def _guarded(receive: Handler, path_secrets: PathWords, counters: Counters) -> Handler:
    """Let through what names one of the words in its path; for the rest there is nothing."""

    async def receive_known(request: Request) -> Response:
        given = str(request.path_params["word"]).encode("utf-8", "surrogateescape")
        # All are compared, so that time tells nothing of any.
        if not sum([hmac.compare_digest(given, word.encode()) for word in path_secrets.current]):
            counters.count("requests.misdirected", 1)
            return PlainTextResponse("Not Found", status_code=404)  # as the router answers for unknown paths
        return await receive(request)

    return receive_known


class _Headers:
    """Puts on every answer what tells browsers and caches to make nothing of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_on)


class _TooLarge(Exception):
    pass


class _TooMuch(Exception):
    pass


class _Intake:
    def __init__(
        self,
        *,
        sink: NotificationSink,
        counters: Counters,
        settings: WebhookSettings,
        store_id: str,
        clock: Clock,
        tracing: Tracing,
    ) -> None:
        self._rate = Budget(most=settings.requests_per_s, per_s=settings.requests_per_s, clock=clock)
        self._sink = sink
        self._counters = counters
        self._tracing = tracing
        self._settings = settings
        self._store_id = store_id
        self._places = asyncio.Semaphore(settings.requests_max)
        self._buffered_bytes = 0

    async def receive(self, request: Request) -> Response:
        """Answer a handshake at once, and a batch when it is durable."""
        if self._rate.take():
            self._counters.count("requests.too_fast", 1)
            return Response(status_code=503, headers={"retry-after": "1"})  # Graph sends it again
        if "validationToken" in request.query_params:
            return self._echo(request.query_params["validationToken"])
        if _told_bytes(request) > self._settings.body_bytes_max:
            return self._refuse(413, "too_large")
        # The body is read before a place is taken, or a few slow senders would hold them all.
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(_BODY_S):
                await self._read(request, chunks)
            async with self._places:
                return await self._mark_traced(b"".join(chunks))
        except _TooLarge:
            return self._refuse(413, "too_large")
        except _TooMuch:
            self._counters.count("requests.too_much", 1)
            return Response(status_code=503)  # Graph sends it again
        except TimeoutError:
            return self._refuse(408, "too_slow")
        except ClientDisconnect:
            return self._refuse(400, "broken_off")
        finally:
            self._buffered_bytes -= sum(map(len, chunks))

    async def _mark_traced(self, body: bytes) -> Response:
        """Begin a trace with some of the batches. What the caller sends of a trace is not looked at: anybody may call."""
        with self._tracing.root("notifications", kind=SpanKind.SERVER, attributes=_POST) as part:
            response = await self._mark(body, part)
            part.note("http.response.status_code", response.status_code)
            return response

    async def _mark(self, body: bytes, part: Part) -> Response:
        try:
            parsed = parse_notifications(body, items_max=self._settings.items_max)
        except NotificationBodyInvalid as error:
            log.info("intake.body_invalid", body_bytes=len(body), **error.details)
            return self._refuse(400, "malformed")
        marked_count = unknown_count = unwanted_count = 0
        if parsed.notifications:
            try:
                outcome = await self._sink.mark(parsed.notifications)
            except StoreUnavailable as error:
                # Graph keeps what is answered like this and sends it again, for four hours.
                log.error("intake.not_stored", notifications_count=len(parsed.notifications), **error.details)
                self._counters.count("notifications.not_stored", len(parsed.notifications))
                return Response(status_code=503)
            marked_count, unknown_count = outcome.marked_count, outcome.unknown_count
            unwanted_count = outcome.unwanted_count
        part.note("exchange.notifications_count", len(parsed.notifications))
        part.note("exchange.marked_count", marked_count)
        other_count = sum(item.lifecycle is Lifecycle.OTHER for item in parsed.notifications)
        self._counters.count("notifications.lifecycle_other", other_count)
        self._counters.count("notifications.marked", marked_count)
        # Unknown ones get the same answer: any other would only make Graph, or whoever it is, send them again.
        self._counters.count("notifications.unknown", unknown_count)
        self._counters.count("notifications.unwanted", unwanted_count)
        self._counters.count("notifications.dropped", parsed.dropped_count)
        self._counters.count("requests.taken", 1)
        return Response(status_code=202)

    async def _read(self, request: Request, chunks: list[bytes]) -> None:
        """Collect a body within its own limit and that of all bodies together."""
        size_bytes = 0
        async for chunk in request.stream():
            size_bytes += len(chunk)
            chunks.append(chunk)
            self._buffered_bytes += len(chunk)
            if size_bytes > self._settings.body_bytes_max:
                raise _TooLarge
            if self._buffered_bytes > _BUFFERED_BYTES_MAX:
                raise _TooMuch

    def _echo(self, token: str) -> Response:
        if not token or len(token) > _TOKEN_CHARS_MAX:
            return self._refuse(400, "malformed")
        if is_own_token(token):
            return PlainTextResponse(token, headers={PROOF_HEADER: prove(self._store_id, token)})
        self._counters.count("handshakes.answered", 1)
        return PlainTextResponse(token)

    def _refuse(self, status: int, why: str) -> Response:
        self._counters.count(f"requests.{why}", 1)
        return Response(status_code=status)


def _told_bytes(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
