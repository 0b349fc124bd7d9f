"""The ASGI app that plays login and Graph: what happens to every request before and after its handler.

Order: token, outage, script of faults, limits, latency, login paths or the refusal of token or limit, random refusals, handler,
headers, record. No handler knows of any of these. The items of a batch go the same way, each by itself.

Source: Graph "Microsoft Graph error responses and resource types" page; that callers without any role are refused in more than
one way is what users have reported.
"""

import re
from contextlib import nullcontext
from inspect import isawaitable

from sidecar.emulator.asgi import (
    BodyTooLarge,
    CallerGone,
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    answer_lifespan,
    read_request,
    write_reply,
)
from sidecar.emulator.clock import sleep
from sidecar.emulator.entra.clouds import cloud_at_graph
from sidecar.emulator.entra.login import Login
from sidecar.emulator.entra.tokens import Tokens, unauthorized
from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.exchange.access import Caller, reads_basically
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.world import World
from sidecar.emulator.faults import FaultEffect, FaultScript
from sidecar.emulator.graph.basic import check_basic, reduce_to_basic
from sidecar.emulator.graph.batch import is_batch, parse_batch, render_batch, run_batch
from sidecar.emulator.graph.call import CONTENT_TYPE, Call
from sidecar.emulator.graph.envelope import Envelope
from sidecar.emulator.graph.routes import Routes
from sidecar.emulator.graph.spoiling import Spoiler
from sidecar.emulator.graph.throttle import Throttle, mailbox_of, throttled
from sidecar.emulator.wire.members import check_content_type, check_nesting
from sidecar.emulator.wire.options import check_given_once, parse_prefer
from sidecar.emulator.zones import format_instant

# What workloads have been seen to say to a caller without any role, besides the usual 403.
_ROLELESS_CODES = ("AuthenticationError", "UnauthorizedError", "unauthenticated")
# What belongs into a body or a header, and is not kept where a caller has put it into the query by mistake.
_SECRETS = re.compile(r"((?:^|&)(?:client_secret|client_assertion|access_token|password)=)[^&]*", re.IGNORECASE)


class GraphApp:
    """One ASGI app for both of Microsoft's hosts."""

    def __init__(self, *, world: World, login: Login, tokens: Tokens, script: FaultScript, routes: Routes) -> None:
        self._world = world
        self._login = login
        self._tokens = tokens
        self._script = script
        self._routes = routes
        self._throttle = Throttle(world=world)
        self._envelope = Envelope(world=world)
        self._spoiler = Spoiler(world=world, login=login, envelope=self._envelope)

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
            effect, reply = None, self._spoiler.outage(request, outage)
        else:
            effect = self._script.meet(request, tenant.tenant_id if tenant else None)
            counted = caller is not None and not is_batch(request)  # a batch's items count, itself it does not
            with self._throttle.entered(request, caller) if counted and caller else nullcontext() as reached:
                await self._linger(effect, tenant, is_graph=is_graph and not is_batch(request))
                reply = await self._outcome(request, caller, refusal or reached, effect)
        self._envelope.finish(request, reply, is_graph=is_graph)
        if not is_item:
            self._envelope.compress(request, reply, tenant)
        if tenant is not None:
            self._record(tenant, request, reply, faulty=effect is not None, is_item=is_item)
        return reply

    def _identify(self, request: Request) -> tuple[Caller | None, GraphError | None]:
        """Find who calls Graph, or why not; neither for a request to the login server."""
        if request.segments[0].lower() not in ("v1.0", "beta"):
            return None, None
        try:
            cloud = cloud_at_graph(request.base_url)
            return self._tokens.read(request.header("authorization"), self._world.directory, cloud=cloud), None
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
            return self._spoiler.spoil(request, effect, Reply(status=0))
        if caller is None and refusal is None:
            reply = self._login.answer(request)
            if reply is None:
                reply = self._envelope.error(request, NotEmulated(f"{request.method} {request.path}"))
        else:
            reply = await self._graph_reply(request, caller, refusal)
        return reply if effect is None else self._spoiler.spoil(request, effect, reply)

    async def _graph_reply(self, request: Request, caller: Caller | None, refusal: GraphError | None) -> Reply:
        try:
            if refusal is not None:
                raise refusal
            assert caller is not None
            if request.segments[0].lower() == "beta":
                raise NotEmulated("the beta endpoint")
            check_given_once(request.query_string)
            check_content_type(request.body, request.header("content-type"))
            check_nesting(request.body)
            if is_batch(request):
                return await self._batch_reply(request, caller)
            return await self._handled(request, caller)
        except GraphError as error:
            return self._envelope.error(request, self._varied(error, caller))

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

    def _oversized_reply(self, request: Request) -> Reply:
        """Refuse a body that nobody has read to its end, which is why no fault and no handler gets to see it."""
        caller, refusal = self._identify(request)
        too_large = GraphError(413, "RequestEntityTooLarge", "The request is larger than this service takes.")
        reply = self._envelope.error(request, refusal or too_large)
        tenant = caller.tenant if caller else None if refusal else self._login.tenant_of(request)
        self._envelope.finish(request, reply, is_graph=caller is not None or refusal is not None)
        if tenant is not None:
            self._record(tenant, request, reply, faulty=False, is_item=False)
        return reply

    async def _pause(self, seconds: float) -> None:
        await sleep(self._world.clock, seconds)

    def _record(self, tenant: Tenant, request: Request, reply: Reply, *, faulty: bool, is_item: bool) -> None:
        tenant.note_request(
            {
                "at": format_instant(self._world.now()),
                "method": request.method,
                "path": request.path,
                "query": _SECRETS.sub(r"\1...", request.query_string),
                "status": reply.status,
                "request_id": reply.headers.get("request-id"),
                "client_request_id": request.header("client-request-id") or None,
                "fault": faulty,
                "broken": reply.broken,
                "in_batch": is_item,
            }
        )
