"""Which type a Graph call carries, and a transport that judges every accepted call by the CSDL file of the environment.

`EXCHANGE_GRAPH_CSDL` names the file; without it nothing is judged. A request body is judged only when it was accepted: what
is refused may be as wrong as a test likes.

Source: Graph v1.0 metadata for types; the paths are those of the API reference.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import httpx

from tests.support.csdl import read_schema
from tests.support.csdl_check import CsdlChecker

VARIABLE = "EXCHANGE_GRAPH_CSDL"
_NOVELTIES = frozenset({"emulatorNovelty"})
"""What an unkind emulator adds to an event, so that clients learn to pass over what they do not know."""
_USER = r"/users/[^/]+"
_EVENTS = rf"{_USER}(?:/calendars?(?:/[^/]+)?)?"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """What one kind of path carries."""

    path: re.Pattern[str]
    type_name: str
    is_page: bool = False
    action: str | None = None


def _route(path: str, type_name: str, *, is_page: bool = False, action: str | None = None) -> _Route:
    return _Route(path=re.compile(path, re.IGNORECASE), type_name=type_name, is_page=is_page, action=action)


_ROUTES = (
    _route(rf"{_EVENTS}/(?:events|calendarView|calendarView/delta|events/[^/]+/instances)", "event", is_page=True),
    _route(rf"{_EVENTS}/events/[^/]+", "event"),
    _route(rf"{_USER}/calendars", "calendar", is_page=True),
    _route(rf"{_USER}/(?:calendar|calendars/[^/]+)", "calendar"),
    _route(rf"{_EVENTS}/getSchedule", "scheduleInformation", is_page=True, action="getSchedule"),
    _route(rf"{_USER}/mailboxSettings", "mailboxSettings"),
    _route(r"/places/microsoft\.graph\.room", "room", is_page=True),
    _route(r"/places/microsoft\.graph\.roomList", "roomList", is_page=True),
    _route(r"/places/microsoft\.graph\.workspace", "workspace", is_page=True),
    _route(r"/places/[^/]+/microsoft\.graph\.roomList/rooms", "room", is_page=True),
    _route(r"/places/[^/]+", "place"),
    _route(r"/subscriptions", "subscription", is_page=True),
    _route(r"/subscriptions/[^/]+", "subscription"),
    *(
        _route(rf"{_EVENTS}/events/[^/]+/{action}", "", action=action)
        for action in ("accept", "cancel", "decline", "tentativelyAccept", "forward", "snoozeReminder")
    ),
)


@lru_cache(maxsize=1)
def given_checker() -> CsdlChecker | None:
    """Give a checker of the environment's file; None without the variable."""
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    return CsdlChecker(read_schema(Path(path)), closed=frozenset({"event"}), novelties=_NOVELTIES)


@lru_cache(maxsize=1)
def tolerant_checker() -> CsdlChecker | None:
    """Give a checker for the real service, which may add undeclared properties to what is open."""
    path = os.environ.get(VARIABLE)
    return CsdlChecker(read_schema(Path(path))) if path else None


def call_faults(checker: CsdlChecker, response: httpx.Response) -> list[str]:
    """Judge one answered call, its bodies already read."""
    path = response.request.url.raw_path.decode().partition("?")[0].removeprefix("/v1.0")
    if not response.is_success:
        return _envelope_faults(checker, response)
    route = next((one for one in _ROUTES if one.path.fullmatch(path)), None)
    if route is None:
        return []
    found = list[str]()
    sent = response.request.content
    if sent:
        wire = json.loads(sent)
        if route.action is not None:
            found += checker.for_requests().action_faults(wire, route.action)
        else:
            found += checker.for_requests().faults(wire, route.type_name)
    if response.content and route.type_name:
        body = response.json()
        if route.action is not None or (route.is_page and response.request.method != "POST"):
            found += checker.page_faults(body, route.type_name)
        else:
            found += checker.faults(body, route.type_name)
    return [f"{response.request.method} {path} {response.status_code} {fault}" for fault in found]


def notification_faults(checker: CsdlChecker, body: object) -> list[str]:
    """Judge what a webhook was sent; lifecycle notifications leave out properties the type demands, as Microsoft's do."""
    return checker.faults(body, "changeNotificationCollection")


def judged(transport: httpx.AsyncBaseTransport, checker: CsdlChecker | None) -> httpx.AsyncBaseTransport:
    """Give a transport through which a call that is not as described fails where it is made; as it is without a checker."""
    return transport if checker is None else _Judging(transport, checker)


class _Judging(httpx.AsyncBaseTransport):
    """Reads each answer to its end, judges it, and hands it on as it came."""

    def __init__(self, inner: httpx.AsyncBaseTransport, checker: CsdlChecker) -> None:
        self._inner = inner
        self._checker = checker

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        answer = await self._inner.handle_async_request(request)
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        raw = b"".join([part async for part in answer.stream])
        await answer.aclose()
        seen = httpx.Response(answer.status_code, headers=answer.headers, content=raw, request=request)
        faults = call_faults(self._checker, seen)
        assert not faults, "not as the CSDL has it:\n" + "\n".join(faults)
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=httpx.ByteStream(raw), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


def _envelope_faults(checker: CsdlChecker, response: httpx.Response) -> list[str]:
    """Judge an error's envelope; an answer that is no JSON is some proxy's, or a test's own."""
    if not response.headers.get("content-type", "").startswith("application/json"):
        return []
    error = dict(response.json().get("error") or {})
    error.pop("@event.existingEventId", None)  # an annotation of Exchange's own, declared nowhere
    return [f"{response.status_code} {fault}" for fault in checker.faults(error, "publicError")]
