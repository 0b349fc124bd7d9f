"""Builders and fakes for the tests of `sidecar.graph`: a clock that never waits, tokens, and a Graph of canned answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import msgspec

from sidecar.graph.breaker import Breaker
from sidecar.graph.client import GraphClient
from sidecar.graph.clouds import TenantRef
from sidecar.graph.skew import SkewWatch
from sidecar.graph.throttle import Throttle
from sidecar.graph.transport import Transport, build_http
from sidecar.graph.wire import GraphEvent, parse_event
from sidecar.model.ids import Mailbox, RoomId, RoomUid, TenantId, TenantUid
from sidecar.model.room import Room
from sidecar.model.tenant import Cloud
from sidecar.model.window import Window
from sidecar.settings import GraphSettings
from sidecar.telemetry.metrics import Telemetry

NOW = datetime(2026, 10, 6, 8, 0, tzinfo=UTC)
WINDOW = Window(NOW, NOW + timedelta(days=30))
TENANT = TenantRef(tenant_uid=TenantUid("t1"), directory_id="7c1f0d0e-2a55-4f0b-9a11-0d2e6f3a4b5c", cloud=Cloud.GLOBAL)
MAILBOX = "room412@contoso.example"
CANARY = "CANARY-5f2b9e"
"""Part of every secret in these tests; it may never turn up in an error or a log."""

_ROOM = Room(
    uid=RoomUid("r1"),
    tenant_uid=TENANT.tenant_uid,
    tenant_id=TenantId("acme"),
    room_id=RoomId("room-412"),
    mailbox=Mailbox(MAILBOX),
    object_id=None,
    display_name="Room 4.12",
    time_zone="Europe/Berlin",
    capacity=8,
    annotations={},
    tenant_problem=None,
    problem=None,
    subscription_problem=None,
    horizon=None,
    fresh_as_of_at=None,
    is_subscribed=False,
    drift_count=0,
    resyncs=0,
    version=1,
    created_at=NOW,
    updated_at=NOW,
)


def make_room(**changes: Any) -> Room:  # any field of a room
    """Build a room in Berlin."""
    return replace(_ROOM, **changes)


def event_json(**changes: object) -> dict[str, object]:
    """Build an event as Graph sends it: accepted, an hour long, organized by Ada."""
    event: dict[str, object] = {
        "@odata.etag": 'W/"B3kPaQx0=="',
        "id": "AAkALgAAAAAAHYQ=",
        "iCalUId": "040000008200E000",
        "changeKey": "B3kPaQx0==",
        "type": "singleInstance",
        "seriesMasterId": None,
        "start": {"dateTime": "2026-10-06T09:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-10-06T10:00:00.0000000", "timeZone": "UTC"},
        "originalStartTimeZone": "W. Europe Standard Time",
        "isAllDay": False,
        "isCancelled": False,
        "isOrganizer": False,
        "responseStatus": {"response": "accepted", "time": "2026-10-05T08:00:06.5512345Z"},
        "sensitivity": "normal",
        "subject": "Design review",
        "organizer": {"emailAddress": {"name": "Ada Lovelace", "address": "ada@contoso.example"}},
        "attendees": [
            {
                "type": "required",
                "status": {"response": "none", "time": "0001-01-01T00:00:00Z"},
                "emailAddress": {"name": "Grace Hopper", "address": "grace@contoso.example"},
            },
            {
                "type": "resource",
                "status": {"response": "accepted", "time": "2026-10-05T08:00:06.5512345Z"},
                "emailAddress": {"name": "Room 4.12", "address": MAILBOX},
            },
        ],
        "onlineMeeting": {"joinUrl": "https://teams.example/join/1"},
        "createdDateTime": "2026-10-05T08:00:01.1230452Z",
        "lastModifiedDateTime": "2026-10-05T08:00:07.8817734Z",
    }
    return event | changes


def make_event(**changes: object) -> GraphEvent:
    """Build an event through the wire."""
    return parse_event(msgspec.json.encode(event_json(**changes)))


def error_json(code: str, message: str = "", **inner: object) -> bytes:
    """Build Graph's error envelope."""
    return msgspec.json.encode(
        {"error": {"code": code, "message": message, "innerError": {"request-id": "q", **inner}}}
    )


class FakeClock:
    """Time that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return 1_000.0 + self.passed_s

    async def sleep(self, duration_s: float) -> None:
        self.sleeps.append(duration_s)
        self.passed_s += duration_s
        await asyncio.sleep(0)


class FakeTokens:
    """Tokens numbered one after the other; a forgotten one is followed by the next."""

    def __init__(self) -> None:
        self.number = 1
        self.claims: list[str | None] = []
        self.error: Exception | None = None

    async def fetch_token(self, tenant: TenantRef, *, claims: str | None = None) -> str:
        self.claims.append(claims)
        if self.error is not None:
            raise self.error
        return f"{CANARY}-{self.number}"

    def forget(self, tenant_uid: TenantUid, *, token: str | None = None) -> None:
        if token in {None, f"{CANARY}-{self.number}"}:
            self.number += 1


Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class FakeGraph:
    """Answers requests from a script, in order, and remembers them. An unasked-for request is a failure of the test."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)


class Stage:
    """A client over a fake Graph."""

    def __init__(self, *answers: Answer, **settings: Any) -> None:  # any setting
        self.graph = FakeGraph(*answers)
        self.clock = FakeClock()
        self.tokens = FakeTokens()
        self.settings = GraphSettings(**settings)
        self.throttle = Throttle(settings=self.settings, clock=self.clock)
        self.breaker = Breaker(clock=self.clock, rng=Random(1))
        self.telemetry = Telemetry()
        self.transport = Transport(
            http=build_http(self.settings, transport=httpx.MockTransport(self.graph)),
            tokens=self.tokens,
            throttle=self.throttle,
            breaker=self.breaker,
            skew=SkewWatch(),
            clock=self.clock,
            rng=Random(1),
            settings=self.settings,
            telemetry=self.telemetry,
        )
        self.client = GraphClient(transport=self.transport, settings=self.settings)


def ok(body: object, status: int = 200) -> httpx.Response:
    """Build a good answer."""
    return httpx.Response(status, content=msgspec.json.encode(body))


def bad(status: int, code: str = "", message: str = "", **headers: str) -> httpx.Response:
    """Build an error answer; header names have underscores."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=error_json(code, message) if code else b"", headers=names)
