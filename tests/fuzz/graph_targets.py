"""What Microsoft sends: notifications, pages, refusals, logins. Microsoft is trusted; what stands between may not be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import msgspec

from sidecar.errors import DeltaUnusable, NotificationBodyInvalid, SidecarError
from sidecar.graph import wire, wire_directory, wire_schedules, wire_series, wire_subscriptions
from sidecar.graph.auth import TokenSource
from sidecar.graph.clouds import TenantRef
from sidecar.graph.delta import Round
from sidecar.graph.events import is_part_of_series, is_series, to_booking
from sidecar.graph.logins import token_claims
from sidecar.graph.notifications import parse_notifications
from sidecar.graph.refusals import RETRY_AFTER_S_MAX, parse_claims_challenge, parse_retry_after, to_error
from sidecar.model.ids import TenantUid
from sidecar.model.tenant import Cloud, Credential, CredentialKind
from sidecar.settings import GraphSettings
from sidecar.telemetry.metrics import Telemetry
from tests.fuzz.target import CANARY, Target
from tests.unit.graph.kit import FakeClock, error_json, event_json, make_room

ROOMS = (make_room(), make_room(time_zone="America/Sao_Paulo"), make_room(time_zone="Pacific/Apia"))
"""At the ends of the calendar one of them has no such day."""
NOW = datetime(2026, 11, 23, tzinfo=UTC)
DIRECTORY = "7c1f0d0e-2a55-4f0b-9a11-0d2e6f3a4b5c"


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def notifications(data: bytes) -> None:
    """Read the body of a webhook request."""
    parsed = parse_notifications(data, items_max=50)
    assert len(parsed.notifications) + parsed.dropped_count <= 50
    for found in parsed.notifications:
        assert len(found.secret_hash) == 32
        assert len(found.directory_id) <= 64


def events(data: bytes) -> None:
    """Read pages of events and of changes, and what their events mean."""
    for event in wire.parse_page(data).value:
        is_part_of_series(event)
        for room in ROOMS:
            found = to_booking(event, room=room, hash_key=b"k" * 32)
            assert found is None or found.start_at <= found.end_at


def deltas(data: bytes) -> None:
    """Read a page of changes, again and again: no round is endless."""
    page = wire.parse_delta_page(data)
    for item in page.value:
        is_series(item)
    following = Round(pages_max=5)
    for _ in range(6):
        if not isinstance(following.take(page), str):
            return
    raise AssertionError("the round has no end")


def others(data: bytes) -> None:
    """Read every other kind of answer; each is refused by itself."""
    readers: tuple[Callable[[bytes], object], ...] = (
        wire.parse_event,
        wire_subscriptions.parse_subscription,
        wire_subscriptions.parse_subscription_page,
        wire_directory.parse_places,
        wire_schedules.parse_schedules,
        wire_series.parse_contents,
        lambda body: [wire_series.to_series(wire_series.parse_series(body), room=room) for room in ROOMS],
    )
    for read in readers:
        try:
            read(data)
        except wire.Malformed:
            continue
    wire_directory.parse_identity(data)
    wire_directory.parse_zone(data)


def refusals(data: bytes) -> None:
    """Read a refusal: a status, two headers that hold times and demands, and a body."""
    head, _, body = data.partition(b"\n\n")
    status, retry_after, challenge, *_ = [*head.decode("latin-1").split("\n"), "", "", ""]
    code = int(status) % 500 + 100 if status.isdecimal() and status.isascii() and len(status) < 4 else 400
    headers = {"retry-after": retry_after, "www-authenticate": challenge, "request-id": retry_after}
    for about in wire.Subject:
        error = to_error(code, body, headers, about=about, now=NOW)
        assert all(len(value) <= 400 for value in error.details.values())
    wait_s = parse_retry_after(headers, now=NOW)
    assert wait_s is None or 0.0 <= wait_s <= RETRY_AFTER_S_MAX
    claims = parse_claims_challenge(headers)
    assert claims is None or isinstance(msgspec.json.decode(claims), dict)


_TELEMETRY = Telemetry()
"""Making one takes longer than a hundred logins."""


class _Secret:
    async def load_credential(self, _: TenantUid, __: str) -> Credential:
        """Return a client secret."""
        return Credential(application_id=DIRECTORY, kind=CredentialKind.CLIENT_SECRET, proof=CANARY.encode())


@contextmanager
def _tokens(document: bytes, answer: bytes, status: int) -> Iterator[TokenSource]:
    def reply(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, content=document)
        return httpx.Response(status, content=answer)

    settings = GraphSettings(login_url="https://login.example")
    http = httpx.Client(transport=httpx.MockTransport(reply))  # our own would load the machine's authorities each time
    source = TokenSource(credentials=_Secret(), settings=settings, clock=FakeClock(), telemetry=_TELEMETRY, http=http)
    try:
        yield source
    finally:
        source.close()


_DISCOVERY = _json(
    {
        "authorization_endpoint": f"https://login.example/{DIRECTORY}/oauth2/v2.0/authorize",
        "token_endpoint": f"https://login.example/{DIRECTORY}/oauth2/v2.0/token",
        "issuer": f"https://login.example/{DIRECTORY}/v2.0",
    }
)


def logins(data: bytes) -> None:
    """Log in: the first byte says with which status the rest is answered, and whether it is the discovery document."""
    kind, body = data[0] if data else 0, data[1:]
    document, answer = (body, b"{}") if kind & 1 else (_DISCOVERY, body)
    status = (200, 400, 401, 429, 500)[kind // 2 % 5]
    tenant = TenantRef(tenant_uid=TenantUid("t1"), directory_id=DIRECTORY, cloud=Cloud.GLOBAL)
    with _tokens(document, answer, status) as source:
        token = asyncio.run(source.fetch_token(tenant))
    assert token


def claims(data: bytes) -> None:
    """Read what a token says of itself."""
    token_claims(data.decode("latin-1"))


_NOTIFICATION = {
    "clientState": f"abcdefghij0123456789.{CANARY}",
    "tenantId": DIRECTORY,
    "resource": "Users/x/Events/AAk=",
    "resourceData": {"id": "AAk="},
    "subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07",
}
_REMOVED = {"id": "AAk=", "@removed": {"reason": "deleted"}}
_TOKEN = {"token_type": "Bearer", "expires_in": 3600, "refresh_in": 1800, "access_token": f"a.{CANARY}.c"}
_REFUSAL = {"error": "invalid_client", "error_description": f"AADSTS7000215: {CANARY}", "error_codes": [7000215]}
_SERIES = event_json(
    type="seriesMaster",
    originalStartTimeZone="Pacific Standard Time",
    recurrence={
        "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": ["monday"], "firstDayOfWeek": "sunday"},
        "range": {"type": "numbered", "startDate": "2026-10-06", "endDate": "2026-12-06", "numberOfOccurrences": 4},
    },
    exceptionOccurrences=[event_json(type="exception", originalStart="2026-10-13T09:00:00Z")],
    cancelledOccurrences=["OID.AAkALgAAAAAAHYQ=.2026-10-20"],
)

TARGETS = (
    Target(
        name="notifications",
        run=notifications,
        errors=(NotificationBodyInvalid,),
        seeds=(_json({"value": [_NOTIFICATION, _NOTIFICATION | {"lifecycleEvent": "missed"}]}),),
    ),
    Target(
        name="events",
        run=events,
        errors=(wire.Malformed,),
        seeds=(_json({"value": [event_json(), _SERIES], "@odata.nextLink": "https://graph.example/next"}),),
        examples_count=300,
    ),
    Target(
        name="deltas",
        run=deltas,
        errors=(wire.Malformed, DeltaUnusable),
        seeds=(
            _json({"value": [event_json(), _REMOVED], "@odata.deltaLink": "https://graph.example/delta"}),
            _json({"value": [_REMOVED], "@odata.nextLink": "https://graph.example/next"}),
        ),
    ),
    Target(
        name="others",
        run=others,
        errors=(),
        seeds=(
            _json(_SERIES),
            _json({"id": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07", "expirationDateTime": "2026-11-30T00:00:00Z"}),
            _json({"value": [{"id": "x", "emailAddress": "room@contoso.example", "capacity": 8}]}),
            _json({"value": [{"scheduleId": "room@contoso.example", "scheduleItems": [], "availabilityView": "00"}]}),
            _json({"value": "W. Europe Standard Time"}),
        ),
        examples_count=250,
    ),
    Target(
        name="refusals",
        run=refusals,
        errors=(),
        seeds=(
            b"429\nMon, 23 Nov 2026 00:01:00 GMT\n\n" + error_json("ApplicationThrottled", CANARY),
            b'401\n17\nBearer error="insufficient_claims", claims="eyJhIjoxfQ=="\n\n' + error_json("InvalidToken"),
            b"400\n\n\n\n" + error_json("ValidationError", "Subscription validation request timed out."),
        ),
    ),
    Target(
        name="logins",
        run=logins,
        errors=(SidecarError,),
        seeds=(b"\x00" + _json(_TOKEN), b"\x02" + _json(_REFUSAL), b"\x01" + _DISCOVERY),
        examples_count=25,
    ),
    Target(
        name="claims",
        run=claims,
        errors=(),
        seeds=(b"e30.eyJ0aWQiOiJ4Iiwicm9sZXMiOlsiYSJdfQ.c", b"e30.e30.", b"e30.W10.c"),
    ),
)
