"""The little HTTP that both servers need, straight on ASGI: reading a request, writing a reply, breaking one off.

A web framework would cost a third of the requests per second and would hide the connection, which faults must be able to cut.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx

Scope = MutableMapping[str, Any]  # Any: ASGI's own shape
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]  # Any: as above
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]  # Any: as above
Pause = Callable[[float], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

ABORT_KEY = "emulator.abort"  # where the server's HTTP protocol puts a way to cut the connection
BODY_BYTES_MAX = 4 * 1024 * 1024  # Graph refuses larger events, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; header names are lower case, path segments decoded."""

    method: str
    path: str
    segments: tuple[str, ...]
    query_string: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    base_url: str

    def header(self, name: str, default: str = "") -> str:
        """Give a header's value."""
        return self.headers.get(name, default)


@dataclass(slots=True, kw_only=True)
class Reply:
    """One answer; `broken` says how it is to go wrong on the wire, `stall_s` for how long it stops half-way."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    broken: str | None = None
    stall_s: float = 0.0


class BodyTooLarge(Exception):
    """The request's body is beyond what anybody may send; `request` is the rest of it."""

    def __init__(self, request: Request) -> None:
        super().__init__("the body is too large")
        self.request = request


class CallerGone(Exception):
    """The caller went away before the request was whole."""


async def read_request(scope: Scope, receive: Receive, *, body_bytes_max: int = BODY_BYTES_MAX) -> Request:
    """Read a whole request.

    Raises:
        BodyTooLarge: the body is larger than `body_bytes_max`.
        CallerGone: there is nobody to answer; half a request must not be carried out.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    raw_path = (scope.get("raw_path") or scope["path"].encode()).decode("ascii", "replace").split("?")[0]
    query_string = scope["query_string"].decode("ascii", "replace")
    request = Request(
        method=scope["method"],
        path=raw_path,
        segments=tuple(unquote(part) for part in raw_path.strip("/").split("/")),
        query_string=query_string,
        query=dict(parse_qsl(query_string, keep_blank_values=True)) if query_string else {},
        headers=headers,
        body=b"",
        base_url=f"{scope.get('scheme', 'https')}://{headers.get('host', 'graph.microsoft.com')}",
    )
    if request.method not in ("POST", "PATCH", "PUT") and headers.get("content-length", "0") == "0":
        return request
    body = await _read_body(receive, body_bytes_max)
    if body is None:
        raise BodyTooLarge(request)
    return replace(request, body=body)


async def answer_lifespan(receive: Receive, send: Send) -> None:
    """Answer ASGI's lifespan messages; the emulator's own start and stop are its owner's business."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _read_body(receive: Receive, bytes_max: int) -> bytes | None:
    """Read a body; None if it is too large, of which the rest is left unread."""
    parts: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        parts.append(message.get("body", b""))
        size_bytes += len(parts[-1])
        if size_bytes > bytes_max:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


async def write_reply(scope: Scope, receive: Receive, send: Send, reply: Reply, *, pause: Pause | None = None) -> None:
    """Write an answer, or break it off as `reply.broken` says: "drop" before the first byte, "half" in the body.

    Args:
        pause: how to wait for `reply.stall_s`; without it no answer stalls.
    """
    if reply.broken == "drop":
        await _cut(scope, receive, httpx.RemoteProtocolError("Server disconnected without sending a response."))
        return
    headers = {"content-length": str(len(reply.body)), **reply.headers}
    if reply.status in (202, 204, 304) and not reply.body:
        headers.pop("content-type", None)
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    body = reply.body
    if reply.broken == "half" or (pause is not None and reply.stall_s > 0):
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        body = body[len(body) // 2 :]
    if pause is not None and reply.stall_s > 0:
        await pause(reply.stall_s)
    if reply.broken == "half":
        await _cut(
            scope, receive, httpx.RemoteProtocolError("peer closed connection without sending complete message body")
        )
        return
    await send({"type": "http.response.body", "body": body})


async def _cut(scope: Scope, receive: Receive, otherwise: Exception) -> None:
    """Cut the connection; where there is none, as under httpx's ASGI transport, raise what its client would see."""
    abort = scope.get(ABORT_KEY)
    if abort is None:
        raise otherwise
    abort()
    while (await receive())["type"] != "http.disconnect":  # the server must know before we return, or it answers 500
        pass


def json_reply(status: int, value: object, *, headers: Mapping[str, str] | None = None) -> Reply:
    """Build a plain JSON answer."""
    body = json.dumps(value).encode()
    return Reply(status=status, body=body, headers={"content-type": "application/json", **(headers or {})})
