"""The ASGI app that plays login and Graph: what happens to every request before and after its handler.

Order: outage, script of faults, login paths, token, throttle, random refusals, handler, headers, record. No handler knows of
any of these. The items of a batch go the same way, each by itself.

Source: Graph "error responses" page; headers as clients have recorded them.
"""

import gzip
import math
from contextlib import nullcontext
from datetime import timedelta
from email.utils import format_datetime
from inspect import isawaitable

import msgspec

from sidecar.emulator.asgi import (
    BodyTooLarge,
    CallerGone,
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    read_request,
    write_reply,
)
from sidecar.emulator.clock import sleep
from sidecar.emulator.entra.login import Login
from sidecar.emulator.entra.refusals import LoginError
from sidecar.emulator.entra.tokens import Tokens, unauthorized
from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.exchange.access import Caller, reads_basically
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.world import World
from sidecar.emulator.faults import FaultEffect, FaultScript, Outage
from sidecar.emulator.graph.basic import check_basic, reduce_to_basic
from sidecar.emulator.graph.batch import is_batch, parse_batch, render_batch, run_batch
from sidecar.emulator.graph.call import CONTENT_TYPE, Call
from sidecar.emulator.graph.routes import Routes
from sidecar.emulator.graph.throttle import Throttle, mailbox_of, throttled
from sidecar.emulator.wire.members import check_nesting
from sidecar.emulator.wire.options import check_given_once, parse_prefer
from sidecar.emulator.zones import format_instant

_SERVER = '"DataCenter":"West Europe","Slice":"E","Ring":"5","ScaleUnit":"002","RoleInstance":"AM2PEPF00000000"'
_DIAGNOSTIC = f'{{"ServerInfo":{{{_SERVER}}}}}'
_GZIP_LEVEL = 1
_BODILESS = (204, 304)  # whatever follows their headers would be read as the next answer
# What workloads have been seen to say to a caller without any role, besides the usual 403.
_ROLELESS_CODES = ("AuthenticationError", "UnauthorizedError", "unauthenticated")


class GraphApp:
    """One ASGI app for both of Microsoft's hosts."""

    def __init__(self, *, world: World, login: Login, tokens: Tokens, script: FaultScript, routes: Routes) -> None:
        self._world = world
        self._login = login
        self._tokens = tokens
        self._script = script
        self._routes = routes
        self._throttle = Throttle(world=world)
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
            reply = await self._answer(request)
        except CallerGone:
            return
        except BodyTooLarge as error:
            request = error.request
            reply = self._oversized_reply(request)
        await write_reply(scope, receive, send, reply, pause=self._pause)

    async def _answer(self, request: Request, *, is_item: bool = False) -> Reply:
        caller, refusal = self._identify(request)
        is_graph = caller is not None or refusal is not None
        tenant = caller.tenant if caller else None if is_graph else self._login.tenant_of(request)
        outage = self._script.outage_at(self._world.now(), tenant.tenant_id if tenant else None, is_graph=is_graph)
        if outage is not None:
            effect, reply = None, self._outage_reply(request, outage)
        else:
            effect = self._script.meet(request, tenant.tenant_id if tenant else None)
            counted = caller is not None and not is_batch(request)  # a batch's items count, itself it does not
            with self._throttle.entered(request, caller) if counted and caller else nullcontext() as reached:
                await self._linger(effect, tenant, is_graph=is_graph and not is_batch(request))
                reply = await self._outcome(request, caller, refusal or reached, effect)
        self._finish(request, reply, is_graph=is_graph)
        if not is_item:
            self._compress(request, reply, tenant)
        if tenant is not None:
            self._record(tenant, request, reply, faulty=effect is not None, is_item=is_item)
        return reply

    def _identify(self, request: Request) -> tuple[Caller | None, GraphError | None]:
        """Find who calls Graph, or why not; neither for a request to the login server."""
        if request.segments[0].lower() not in ("v1.0", "beta"):
            return None, None
        try:
            return self._tokens.read(request.header("authorization"), self._world.directory), None
        except GraphError as error:
            return None, error

    async def _linger(self, effect: FaultEffect | None, tenant: Tenant | None, *, is_graph: bool) -> None:
        moods = self._world.moods_of(tenant)
        wait_s = effect.delay_s if effect is not None else 0.0
        if is_graph and moods.latency_max_s > 0:
            wait_s += self._world.between(moods.latency_min_s, moods.latency_max_s)
        if wait_s > 0:
            await self._pause(wait_s)

    async def _outcome(
        self, request: Request, caller: Caller | None, refusal: GraphError | None, effect: FaultEffect | None
    ) -> Reply:
        spoils = effect is not None and (effect.drop or effect.status is not None or effect.aadsts is not None)
        if effect is not None and spoils and not effect.after:
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
            check_given_once(request.query_string)
            check_nesting(request.body)
            if is_batch(request):
                return await self._batch_reply(request, caller)
            return await self._handled(request, caller)
        except GraphError as error:
            return self._error_reply(request, self._varied(error, caller))

    async def _handled(self, request: Request, caller: Caller) -> Reply:
        handler, values = self._routes.find(request.method, request.segments[1:])
        self._refuse_at_random(request, caller)
        mailbox = mailbox_of(request, caller)
        basically = mailbox is not None and reads_basically(caller, mailbox)
        if basically:
            check_basic(request)
        preferences = parse_prefer(request.header("prefer"))
        answer = handler(Call(request=request, caller=caller, values=values, preferences=preferences))
        reply = await answer if isawaitable(answer) else answer
        if preferences.applied:
            reply.headers["preference-applied"] = preferences.applied
        return reduce_to_basic(reply) if basically else reply

    async def _batch_reply(self, request: Request, caller: Caller) -> Reply:
        if request.method != "POST":
            raise NotEmulated(f"{request.method} /$batch; it plays POST on this path")

        async def answer(item: Request) -> Reply:
            return await self._answer(item, is_item=True)

        answered = await run_batch(parse_batch(request), answer)
        share = self._world.moods_of(caller.tenant).batch_shuffle_share
        shuffle = self._world.rng if self._world.chance(share) else None
        broken = next((reply.broken for _, reply in answered if reply is not None and reply.broken), None)
        stall_s = max((reply.stall_s for _, reply in answered if reply is not None), default=0.0)
        body = render_batch(answered, shuffle)
        # All items share the connection: one that is to go wrong on the wire takes the others along.
        return Reply(status=200, body=body, headers={"content-type": CONTENT_TYPE}, broken=broken, stall_s=stall_s)

    def _refuse_at_random(self, request: Request, caller: Caller) -> None:
        if request.method != "GET":
            return
        moods = self._world.moods_of(caller.tenant)
        if self._world.chance(moods.throttle_share):
            hint_s = None if self._world.chance(moods.retry_after_missing_share) else 1.0
            raise throttled("ApplicationThrottled", "Application is over its request limit.", hint_s)
        if self._world.chance(moods.unavailable_share):
            raise GraphError(503, "ErrorServerBusy", "The server is busy. Please try again later.")
        if self._world.chance(moods.flaky_token_share):
            raise unauthorized("InvalidAuthenticationToken", "Access token validation failure.")

    def _varied(self, error: GraphError, caller: Caller | None) -> GraphError:
        """Say now and then with 401 what mostly is said with 403: that the caller has no role at all."""
        if caller is None or caller.roles or error.status != 403:
            return error
        if not self._world.chance(self._world.moods_of(caller.tenant).roleless_unauthorized_share):
            return error
        return unauthorized(self._world.rng.choice(_ROLELESS_CODES), "The caller is not authorized.")

    def _spoil(self, request: Request, effect: FaultEffect, reply: Reply) -> Reply:
        """Do to an answer what a fault asks for."""
        if effect.aadsts is not None:
            reply = self._login.refuse(request, LoginError(effect.aadsts, error=effect.code))
        elif effect.status is not None:
            code = effect.code or "UnknownError"
            error = GraphError(effect.status, code, effect.message)
            if effect.status == 401:
                error = unauthorized(code, effect.message)
            reply = self._error_reply(request, error)
        if effect.body is not None:
            reply.body, reply.headers["content-type"] = effect.body.encode(), "text/html"
        if reply.status in _BODILESS:
            reply.body = b""
        if effect.retry_after_s is not None:
            reply.headers["retry-after"] = self._retry_after(effect)
        reply.headers.update({name.lower(): value for name, value in effect.headers.items()})
        if effect.drop or effect.half_body:
            reply.broken = "drop" if effect.drop else "half"
        reply.stall_s = effect.stall_s
        return reply

    def _retry_after(self, effect: FaultEffect) -> str:
        assert effect.retry_after_s is not None
        wait_s = math.ceil(effect.retry_after_s)
        at = self._world.now().replace(microsecond=0) + timedelta(seconds=wait_s)
        return format_datetime(at, usegmt=True) if effect.retry_after_as_date else str(wait_s)

    def _outage_reply(self, request: Request, outage: Outage) -> Reply:
        if outage.status is None:
            return Reply(status=0, broken="drop")
        reply = self._error_reply(
            request, GraphError(outage.status, "ServiceUnavailable", "The service is unavailable.")
        )
        if outage.body is not None:
            reply.body, reply.headers["content-type"] = outage.body.encode(), "text/html"
        return reply

    def _oversized_reply(self, request: Request) -> Reply:
        """Refuse a body that nobody has read to its end, which is why no fault and no handler gets to see it."""
        caller, refusal = self._identify(request)
        too_large = GraphError(413, "RequestEntityTooLarge", "The request is larger than this service takes.")
        reply = self._error_reply(request, refusal or too_large)
        tenant = caller.tenant if caller else None if refusal else self._login.tenant_of(request)
        self._finish(request, reply, is_graph=caller is not None or refusal is not None)
        if tenant is not None:
            self._record(tenant, request, reply, faulty=False, is_item=False)
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

    def _compress(self, request: Request, reply: Reply, tenant: Tenant | None) -> None:
        bytes_min = self._world.moods_of(tenant).gzip_bytes_min
        if not 0 < bytes_min <= len(reply.body):
            return
        reply.headers["vary"] = "Accept-Encoding"
        if _accepts_gzip(request.header("accept-encoding")):
            reply.body = gzip.compress(reply.body, compresslevel=_GZIP_LEVEL, mtime=0)
            reply.headers["content-encoding"] = "gzip"

    async def _pause(self, seconds: float) -> None:
        await sleep(self._world.clock, seconds)

    def _http_date(self) -> str:
        now = self._world.now()
        second = int(now.timestamp())
        if self._date[0] != second:
            self._date = (second, format_datetime(now.replace(microsecond=0), usegmt=True))
        return self._date[1]

    def _record(self, tenant: Tenant, request: Request, reply: Reply, *, faulty: bool, is_item: bool) -> None:
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
                "in_batch": is_item,
            }
        )


def _accepts_gzip(header: str) -> bool:
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def answer_lifespan(receive: Receive, send: Send) -> None:
    """Answer ASGI's lifespan messages; the emulator's own start and stop are its owner's business."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
