"""The way from Microsoft to our webhook, tried from outside."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import timedelta
from random import Random
from urllib.parse import parse_qs

import httpx
import pytest

from sidecar.diagnosis.webhook import judge_heard, shake_hands
from sidecar.graph.webhook_call import WebhookCaller
from sidecar.model.check import CheckOutcome, CheckResult
from sidecar.model.handshake import PROOF_HEADER, prove
from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.subscription import Subscription
from sidecar.settings import GraphSettings
from tests.support.builders import NOW

URL = "https://hooks.example.com"
STORE = "store-1"
Answer = Callable[[httpx.Request], httpx.Response]


def token_of(request: httpx.Request) -> str:
    return parse_qs(request.url.query.decode())["validationToken"][0]


def right(request: httpx.Request) -> httpx.Response:
    token = token_of(request)
    return httpx.Response(200, text=token, headers={PROOF_HEADER: prove(STORE, token)})


async def shake(answer: Answer, url: str | None = URL) -> CheckResult:
    caller = WebhookCaller(GraphSettings(), transport=httpx.MockTransport(answer))
    return await shake_hands(caller, url, store_id=STORE, rng=Random(1), now=NOW)


async def test_both_paths_are_shaken_as_microsoft_does() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return right(request)

    result = await shake(answer)
    assert result.outcome is CheckOutcome.PASSED
    assert [(one.method, one.url.host, one.url.path, one.content) for one in asked] == [
        ("POST", "hooks.example.com", "/graph/notifications", b""),
        ("POST", "hooks.example.com", "/graph/lifecycle", b""),
    ]


async def test_without_an_address_there_is_nothing_to_shake() -> None:
    assert (await shake(right, url=None)).outcome is CheckOutcome.SKIPPED


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (lambda request: httpx.Response(403, text="no bots"), "STATUS"),
        (lambda request: httpx.Response(302, headers={"location": "https://elsewhere.example"}), "STATUS"),
        (lambda request: httpx.Response(200, text=f'"{token_of(request)}"'), "WRONG_BODY"),
        (lambda request: httpx.Response(200, text="x" * 1_000_000), "WRONG_BODY"),
        (lambda request: httpx.Response(200, html=token_of(request)), "WRONG_TYPE"),
    ],
)
async def test_what_something_in_front_of_us_does_is_named(answer: Answer, cause: str) -> None:
    result = await shake(answer)
    assert result.outcome is CheckOutcome.FAILED
    assert result.problem is not None
    assert (result.problem.reason, result.facts["cause"]) == ("WEBHOOK_UNREACHABLE", cause)


def raising(error: Exception) -> Answer:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answer


def tls_error() -> httpx.ConnectError:
    error = httpx.ConnectError("no")
    error.__cause__ = ssl.SSLError(1, "[SSL: TLSV1_ALERT_PROTOCOL_VERSION] no")
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (httpx.ConnectError("refused"), "UNREACHABLE"),
        (httpx.ReadTimeout("slow"), "TIMED_OUT"),
        (tls_error(), "TLS"),
    ],
)
async def test_what_happens_below_http_is_named(error: Exception, cause: str) -> None:
    assert (await shake(raising(error))).facts["cause"] == cause


async def test_right_answer_of_somebody_else_is_a_warning() -> None:
    """A former deployment, or another one behind the same name, echoes as well as ours does."""

    def other(request: httpx.Request) -> httpx.Response:
        token = token_of(request)
        return httpx.Response(200, text=token, headers={PROOF_HEADER: prove("another store", token)})

    result = await shake(other)
    assert result.outcome is CheckOutcome.WARNING
    assert result.problem is not None
    assert result.problem.reason == "WEBHOOK_UNPROVEN"


async def test_only_public_authorities_and_tls_1_2_are_good_enough() -> None:
    trust = WebhookCaller(GraphSettings())._trust()
    assert trust.maximum_version is ssl.TLSVersion.TLSv1_2
    assert trust.verify_mode is ssl.CERT_REQUIRED
    assert trust.check_hostname


def subscription(**changes: object) -> Subscription:
    fields: dict[str, object] = {
        "key": "s1",
        "room_uid": RoomUid("r1"),
        "beside_room_uid": None,
        "tenant_uid": TenantUid("t1"),
        "directory_id": "d",
        "secret_hash": b"",
        "graph_id": "g1",
        "expires_at": None,
        "renew_at": None,
        "url": URL,
        "mailbox": None,
        "is_pending": False,
        "created_at": NOW,
    }
    return Subscription(**{**fields, **changes})  # type: ignore[arg-type]  # fields of a subscription


def test_last_calls_of_several_rooms_are_the_latest_of_each_kind() -> None:
    later = NOW + timedelta(hours=1)
    result = judge_heard([subscription(notified_at=NOW), subscription(notified_at=later, lifecycle_at=NOW)], now=later)
    assert result.facts == {
        "handshake_time": "2026-03-02 08:00Z",
        "notification_time": "2026-03-02 09:00Z",
        "lifecycle_time": "2026-03-02 08:00Z",
    }


def test_silence_is_said_and_is_no_fault() -> None:
    assert "has not announced a change yet" in judge_heard([subscription()], now=NOW).message
    assert judge_heard([subscription(graph_id=None)], now=NOW).outcome is CheckOutcome.SKIPPED
