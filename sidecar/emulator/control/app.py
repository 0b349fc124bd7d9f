"""The control API's server side: one route table, from which both answering and the OpenAPI description come."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Generic, TypeVar

import msgspec

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
from sidecar.emulator.errors import GraphError

TENANT = "/control/tenants/{tenant}"  # below which are the calls about one tenant, named by id or domain
BodyT = TypeVar("BodyT")
_BODY_BYTES_MAX = 1024 * 1024 * 1024  # a dumped state of a million bookings


class ControlError(Exception):
    """A control call that cannot be carried out; the text says why, as a sentence."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlCall(Generic[BodyT]):
    """A routed control call: the values of the path's placeholders, the query, the body."""

    values: Mapping[str, str]
    query: Mapping[str, str]
    body: BodyT


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRoute(Generic[BodyT]):
    """One operation of the control API."""

    method: str
    path: str
    summary: str
    handler: Callable[[ControlCall[BodyT]], object | Awaitable[object]]
    body: type[BodyT]
    """`NoneType` for an operation without a body."""
    answer: Any = dict[str, Any]  # Any: a type, for the description only
    query: tuple[str, ...] = ()
    status: int = 200


def control_route(
    method: str,
    path: str,
    summary: str,
    handler: Any,  # Any: handlers take their own body type, which the table checks by `body`
    body: Any,  # Any: a type
    answer: Any = dict[str, Any],  # Any: a type
    *,
    query: tuple[str, ...] = (),
    status: int = 200,
) -> ControlRoute[Any]:  # Any: as above
    """Build a route of a table whose routes have several types."""
    return ControlRoute(
        method=method, path=path, summary=summary, handler=handler, body=body, answer=answer, query=query, status=status
    )


class ControlApp:
    """One ASGI app over a route table."""

    def __init__(self, routes: Sequence[ControlRoute[Any]]) -> None:  # Any: each route has its own body type
        self.routes = (*routes, _description_route(self))
        self._compiled = [
            (route, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path))) for route in self.routes
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one control call."""
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            request = await read_request(scope, receive, body_bytes_max=_BODY_BYTES_MAX)
            reply = await self._answer(request)
        except ControlError as error:
            reply = _json(error.status, {"error": str(error)})
        except GraphError as error:
            reply = _json(400 if error.status >= 500 else error.status, {"error": error.message})
        except CallerGone:
            return
        except BodyTooLarge:
            reply = _json(413, {"error": "The body is too large."})
        await write_reply(scope, receive, send, reply)

    async def _answer(self, request: Request) -> Reply:
        path = "/" + "/".join(request.segments)
        other_methods = []
        for route, pattern in self._compiled:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if route.method != request.method:
                other_methods.append(route.method)
                continue
            call = ControlCall(values=match.groupdict(), query=request.query, body=_read_body(route, request))
            unknown = set(request.query) - set(route.query)
            if unknown:
                raise ControlError(f"This call takes no query parameter {', '.join(sorted(unknown))}.")
            answer = route.handler(call)
            if isawaitable(answer):
                answer = await answer
            return _json(route.status, answer)
        if other_methods:
            raise ControlError(f"{path} takes {', '.join(other_methods)}, not {request.method}.", status=405)
        raise ControlError(
            f"There is no control call {request.method} {path}; see GET /control/openapi.json.", status=404
        )


def describe(routes: Sequence[ControlRoute[Any]]) -> dict[str, Any]:  # Any: JSON
    """Build the OpenAPI 3.1 description of a route table."""
    types = [
        kind for route in routes for kind in (route.body, route.answer) if kind not in (type(None), dict[str, Any])
    ]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema_of = {repr(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}  # Any: JSON
    for route in routes:
        names = re.findall(r"\{(\w+)\}", route.path)
        parameters: list[dict[str, Any]] = [  # Any: JSON
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
        parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in route.query]
        answer_schema = schema_of.get(repr(route.answer), {"type": "object"})
        operation: dict[str, Any] = {  # Any: JSON
            "summary": route.summary,
            "operationId": _operation_id(route),
            "responses": {
                str(route.status): {
                    "description": "Done.",
                    "content": {"application/json": {"schema": answer_schema}},
                },
                "4XX": {"description": "Refused; `error` says why, in a sentence."},
            },
        }
        if parameters:
            operation["parameters"] = parameters
        if route.body is not type(None):
            schema = schema_of.get(repr(route.body), {"type": "object"})
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    info = {"title": "Exchange emulator control", "version": "1", "summary": "Moves what the emulator plays."}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": components}}


def _description_route(app: ControlApp) -> ControlRoute[None]:
    def answer(_: ControlCall[None]) -> object:
        return describe(app.routes)

    return ControlRoute(
        method="GET", path="/control/openapi.json", summary="Describe this API.", handler=answer, body=type(None)
    )


def _operation_id(route: ControlRoute[Any]) -> str:  # Any: as above
    words = [word for word in re.split(r"[^A-Za-z]+", route.path.removeprefix("/control")) if word]
    return "_".join([route.method.lower(), *words])


def _read_body(route: ControlRoute[BodyT], request: Request) -> BodyT:
    if route.body is type(None):
        return None  # BodyT is None here
    try:
        return msgspec.json.decode(request.body or b"{}", type=route.body)
    except msgspec.ValidationError as error:
        raise ControlError(f"The body is not what this call takes: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ControlError(f"The body is not JSON: {error}.") from None


def _json(status: int, value: object) -> Reply:
    return Reply(status=status, body=msgspec.json.encode(value), headers={"content-type": "application/json"})
