"""The ASGI app that plays login and Graph: what happens to every request before and after its handler.

Order: script of faults, login paths, token, throttle, random refusals, handler, headers, record. No handler knows of any of
these.

Source: Graph "Throttling limits" page (four concurrent requests per app and mailbox) and "error responses" page.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from inspect import isawaitable

import msgspec

from sidecar.emulator.asgi import BodyTooLarge, Receive, Reply, Request, Scope, Send, read_request, write_reply
from sidecar.emulator.clock import sleep
from sidecar.emulator.entra.login import Login
from sidecar.emulator.entra.tokens import Tokens
from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.exchange.access import Caller
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.world import World
from sidecar.emulator.faults import FaultEffect, FaultScript
from sidecar.emulator.graph.call import CONTENT_TYPE, Call
from sidecar.emulator.wire.options import parse_prefer
from sidecar.emulator.zones import format_instant

Handler = Callable[[Call], Reply | Awaitable[Reply]]
_SERVER = '"DataCenter":"West Europe","Slice":"E","Ring":"5","ScaleUnit":"002","RoleInstance":"AM2PEPF00000000"'
_DIAGNOSTIC = f'{{"ServerInfo":{{{_SERVER}}}}}'


class Routes:
    """Path patterns below `/v1.0` and their handlers; a part in braces matches anything."""

    def __init__(self, routes: Iterable[tuple[str, str, Handler]]) -> None:
        self._by_length: dict[int, list[tuple[str, tuple[str | None, ...], Handler]]] = {}
        for method, pattern, handler in routes:
            parts = tuple(None if part.startswith("{") else part.lower() for part in pattern.strip("/").split("/"))
            self._by_length.setdefault(len(parts), []).append((method, parts, handler))

    def find(self, method: str, segments: tuple[str, ...]) -> tuple[Handler, tuple[str, ...]]:
        """Find a request's handler and the values of its placeholders.

        Raises:
            NotEmulated: no such path, or not with this method.
        """
        lower = [segment.lower() for segment in segments]
        for route_method, parts, handler in self._by_length.get(len(segments), ()):
            if route_method == method and all(
                want is None or want == have for want, have in zip(parts, lower, strict=True)
            ):
                return handler, tuple(segments[at] for at, want in enumerate(parts) if want is None)
        raise NotEmulated(f"{method} /{'/'.join(segments)}")


class GraphApp:
    """One ASGI app for both of Microsoft's hosts."""

    def __init__(self, *, world: World, login: Login, tokens: Tokens, script: FaultScript, routes: Routes) -> None:
        self._world = world
        self._login = login
        self._tokens = tokens
        self._script = script
        self._routes = routes
        self._in_flight: Counter[tuple[str, str]] = Counter()
        self._date = (0, "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever it is."""
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            request = await read_request(scope, receive)
        except BodyTooLarge:
            await write_reply(scope, receive, send, Reply(status=413, body=b""))
            return
        await write_reply(scope, receive, send, await self._answer(request))

    async def _answer(self, request: Request) -> Reply:
        caller, refusal = self._identify(request)
        is_graph = caller is not None or refusal is not None
        tenant = caller.tenant if caller else None if is_graph else self._login.tenant_of(request)
        effect = self._script.meet(request, tenant.tenant_id if tenant else None)
        with self._entered(request, caller) as allowed:
            await self._linger(effect, is_graph=is_graph)
            if not allowed:
                refusal = refusal or _throttled("Application is over its MailboxConcurrency limit.", "10")
            reply = await self._outcome(request, caller, refusal, effect)
        self._finish(request, reply, is_graph=is_graph)
        if tenant is not None:
            self._record(tenant, request, reply, faulty=effect is not None)
        return reply

    def _identify(self, request: Request) -> tuple[Caller | None, GraphError | None]:
        """Find who calls Graph, or why not; neither for a request to the login server."""
        if request.segments[0].lower() not in ("v1.0", "beta"):
            return None, None
        try:
            return self._tokens.read(request.header("authorization"), self._world.directory), None
        except GraphError as error:
            return None, error

    @contextmanager
    def _entered(self, request: Request, caller: Caller | None) -> Iterator[bool]:
        """Count a request against its mailbox while the body runs; yields whether it was within the limit."""
        limit = self._world.moods.mailbox_concurrency_max
        if caller is None or len(request.segments) < 3 or request.segments[1].lower() != "users":
            yield True
            return
        mailbox = caller.tenant.mailbox(request.segments[2])
        lane = (caller.app.client_id, mailbox.object_id if mailbox else request.segments[2].lower())
        self._in_flight[lane] += 1
        try:
            yield limit <= 0 or self._in_flight[lane] <= limit
        finally:
            self._in_flight[lane] -= 1
            if not self._in_flight[lane]:
                del self._in_flight[lane]

    async def _linger(self, effect: FaultEffect | None, *, is_graph: bool) -> None:
        moods = self._world.moods
        wait_s = effect.delay_s if effect is not None else 0.0
        if is_graph and moods.latency_max_s > 0:
            wait_s += self._world.between(moods.latency_min_s, moods.latency_max_s)
        if wait_s > 0:
            await sleep(self._world.clock, wait_s)

    async def _outcome(
        self, request: Request, caller: Caller | None, refusal: GraphError | None, effect: FaultEffect | None
    ) -> Reply:
        if effect is not None and not effect.after and (effect.drop or effect.status is not None):
            return self._spoil(request, effect, Reply(status=0))
        if caller is None and refusal is None:
            reply = self._login.answer(request)
            if reply is None:
                reply = self._error_reply(request, NotEmulated(f"{request.method} {request.path}"))
        else:
            reply = await self._graph_reply(request, caller, refusal)
        return reply if effect is None else self._spoil(request, effect, reply)

    async def _graph_reply(self, request: Request, caller: Caller | None, refusal: GraphError | None) -> Reply:
        try:
            if refusal is not None:
                raise refusal
            assert caller is not None
            if request.segments[0].lower() == "beta":
                raise NotEmulated("the beta endpoint")
            handler, values = self._routes.find(request.method, request.segments[1:])
            self._refuse_at_random(request)
            preferences = parse_prefer(request.header("prefer"))
            answer = handler(Call(request=request, caller=caller, values=values, preferences=preferences))
            reply = await answer if isawaitable(answer) else answer
            if preferences.applied:
                reply.headers["preference-applied"] = preferences.applied
            return reply
        except GraphError as error:
            return self._error_reply(request, error)

    def _refuse_at_random(self, request: Request) -> None:
        moods = self._world.moods
        if request.method != "GET":
            return
        if self._world.chance(moods.throttle_share):
            raise _throttled("Application is over its request limit.", "1")
        if self._world.chance(moods.unavailable_share):
            raise GraphError(503, "ErrorServerBusy", "The server is busy. Please try again later.")

    def _spoil(self, request: Request, effect: FaultEffect, reply: Reply) -> Reply:
        """Do to an answer what a fault asks for."""
        if effect.status is not None:
            reply = self._error_reply(request, GraphError(effect.status, effect.code, effect.message))
        if effect.body is not None:
            reply.body, reply.headers["content-type"] = effect.body.encode(), "text/html"
        reply.headers.update({name.lower(): value for name, value in effect.headers.items()})
        if effect.drop or effect.half_body:
            reply.broken = "drop" if effect.drop else "half"
        return reply

    def _error_reply(self, request: Request, error: GraphError) -> Reply:
        request_id = self._world.ids.guid()
        inner = {
            "date": self._world.now().strftime("%Y-%m-%dT%H:%M:%S"),
            "request-id": request_id,
            "client-request-id": request.header("client-request-id") or request_id,
        }
        body = {"error": {"code": error.code, "message": error.message, **error.extra, "innerError": inner}}
        headers = {"content-type": CONTENT_TYPE, "request-id": request_id, **error.headers}
        return Reply(status=error.status, body=msgspec.json.encode(body), headers=headers)

    def _finish(self, request: Request, reply: Reply, *, is_graph: bool) -> None:
        headers = reply.headers
        headers["date"] = self._http_date()
        if is_graph:
            request_id = headers.setdefault("request-id", self._world.ids.guid())
            headers["client-request-id"] = request.header("client-request-id") or request_id
            headers.setdefault("strict-transport-security", "max-age=31536000")
            headers.setdefault("x-ms-ags-diagnostic", _DIAGNOSTIC)
            headers.setdefault("odata-version", "4.0")

    def _http_date(self) -> str:
        now = self._world.now()
        second = int(now.timestamp())
        if self._date[0] != second:
            self._date = (second, format_datetime(now.replace(microsecond=0), usegmt=True))
        return self._date[1]

    def _record(self, tenant: Tenant, request: Request, reply: Reply, *, faulty: bool) -> None:
        tenant.note_request(
            {
                "at": format_instant(self._world.now()),
                "method": request.method,
                "path": request.path,
                "query": request.query_string,
                "status": reply.status,
                "request_id": reply.headers.get("request-id"),
                "client_request_id": request.header("client-request-id") or None,
                "fault": faulty,
                "broken": reply.broken,
            }
        )


def _throttled(message: str, retry_after: str) -> GraphError:
    return GraphError(429, "ApplicationThrottled", message, headers={"retry-after": retry_after})


async def answer_lifespan(receive: Receive, send: Send) -> None:
    """Answer ASGI's lifespan messages; the emulator's own start and stop are its owner's business."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
