"""The webhook: what is answered, and that nothing is promised before it is durable."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
import pytest
from starlette.types import Message
from structlog.testing import capture_logs

from sidecar.errors import SettingsInvalid, StoreUnavailable
from sidecar.intake import http
from sidecar.intake.http import PathWords, build_intake
from sidecar.intake.path_secrets import follow_path_secrets, read_path_secrets
from sidecar.model.handshake import OWN_TOKEN_PREFIX, PROOF_HEADER, prove
from sidecar.model.subscription import Lifecycle, Notification
from sidecar.settings import LIFECYCLE_PATH, NOTIFICATIONS_PATH, WebhookSettings
from sidecar.telemetry.tracing import OFF, Tracing, carried
from tests.support.stores import ManualClock
from tests.support.traces import Traces, attributes_of, context_text

CANARY = "CANARY-5f2b9e"
STORE = "store-1"


@dataclass
class Outcome:
    marked_count: int
    unknown_count: int
    unwanted_count: int = 0


@dataclass
class FakeSink:
    """Knows one key."""

    known_key: str = "abcdefghij0123456789"
    marked: list[Notification] = field(default_factory=list)
    error: Exception | None = None

    async def mark(self, notifications: Sequence[Notification]) -> Outcome:
        if self.error is not None:
            raise self.error
        known = [notification for notification in notifications if notification.key == self.known_key]
        self.marked += known
        return Outcome(len(known), len(notifications) - len(known))


@dataclass
class FakeWords:
    """Words of the path, as they are now."""

    current: Sequence[str]


class Stage:
    """The webhook behind a client."""

    def __init__(
        self, *path_secrets: str, words: PathWords | None = None, tracing: Tracing = OFF, **settings: int
    ) -> None:
        self.sink = FakeSink()
        self.counts: Counter[str] = Counter()
        self.clock = ManualClock()
        self.app = build_intake(
            sink=self.sink,
            counters=self,
            settings=WebhookSettings.model_validate(settings),
            store_id=STORE,
            clock=self.clock,
            path_secrets=words or (FakeWords(path_secrets) if path_secrets else None),
            tracing=tracing,
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="https://hooks.example")

    def count(self, name: str, amount: int) -> None:
        self.counts[name] += amount


def item(key: str = "abcdefghij0123456789", **changes: object) -> dict[str, object]:
    return {
        "resource": "Users/0f7a/Events/AAk=",
        "clientState": f"{key}.{CANARY}",
        "tenantId": "7c1f0d0e-2a55-4f0b-9a11-0d2e6f3a4b5c",
    } | changes


def body(*items: object) -> bytes:
    return msgspec.json.encode({"value": items})


@pytest.mark.parametrize("path", [NOTIFICATIONS_PATH, LIFECYCLE_PATH])
async def test_handshake_is_echoed_as_plain_text(path: str) -> None:
    stage = Stage()
    token = "Validation: Testing <b>+ &% Request-Id: 2c0f"
    reply = await stage.client.post(path, params={"validationToken": token})

    assert (reply.status_code, reply.text) == (200, token)
    assert reply.headers["content-type"].startswith("text/plain")
    assert stage.sink.marked == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", f"{NOTIFICATIONS_PATH}?validationToken=x", 200),
        ("POST", NOTIFICATIONS_PATH, 400),
        ("GET", NOTIFICATIONS_PATH, 405),
        ("PUT", LIFECYCLE_PATH, 405),
        ("POST", f"{NOTIFICATIONS_PATH}/", 404),
        ("POST", f"{NOTIFICATIONS_PATH}/x", 404),
        ("GET", "/", 404),
        ("GET", "/metrics", 404),
        ("GET", "/readyz", 404),
        ("GET", "/docs", 404),
    ],
)
async def test_only_the_two_paths_answer_and_no_answer_is_kept_or_guessed_at(
    method: str, path: str, status: int
) -> None:
    reply = await Stage().client.request(method, path)
    assert reply.status_code == status
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["content-security-policy"] == "default-src 'none'"
    assert "server" not in reply.headers


async def test_address_with_a_word_takes_any_of_its_words_and_nothing_else() -> None:
    """The former word is still taken while subscriptions move to the new one."""
    new, former = "new-word-of-the-path", "former-word-of-the-path"
    stage = Stage(new, former)
    for word in (new, former):
        assert (await stage.client.post(f"/{word}{NOTIFICATIONS_PATH}", content=body(item()))).status_code == 202
    unknown = await stage.client.post("/nothing")
    for path in (
        NOTIFICATIONS_PATH,
        f"/{'x' * len(new)}{NOTIFICATIONS_PATH}",
        f"/{new[:-1]}{LIFECYCLE_PATH}",
        f"/%ff{LIFECYCLE_PATH}",
    ):
        refused = await stage.client.post(path, params={"validationToken": "x"})
        assert (refused.status_code, refused.text) == (404, unknown.text)
        assert refused.headers == unknown.headers
    assert stage.counts["handshakes.answered"] == 0
    assert stage.counts["requests.misdirected"] == 3  # the path without a word is no path at all


@pytest.mark.parametrize(
    "text", ["", "short", "a word with spaces in it", "word-enough-for-a-path\n" * 5, f"{CANARY}/{CANARY}"]
)
def test_words_that_cannot_stand_in_a_path_are_refused_without_being_quoted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "words"
    path.write_text(text)
    with pytest.raises(SettingsInvalid) as caught:
        read_path_secrets(path)
    assert CANARY not in str(caught.value.details)


def test_words_are_read_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text("new-word-of-the-path\nformer-word-of-the-path\n")
    assert read_path_secrets(path) == ("new-word-of-the-path", "former-word-of-the-path")


async def test_word_that_is_replaced_counts_from_the_next_request(tmp_path: Path) -> None:
    """A file that is half written lets the former words in, and nothing else."""
    path = tmp_path / "words"
    path.write_text("former-word-of-the-path\n")
    words = follow_path_secrets(path)
    assert words is not None
    stage = Stage(words=words)
    for text, answers in (
        ("former-word-of-the-path\n", (202, 404)),
        ("new-word-of-the-path\nformer-word-of-the-path\n", (202, 202)),
        ("new\n", (202, 202)),
        ("new-word-of-the-path\n", (404, 202)),
    ):
        path.write_text(text)
        for word, status in zip(("former-word-of-the-path", "new-word-of-the-path"), answers, strict=True):
            answer = await stage.client.post(f"/{word}{NOTIFICATIONS_PATH}", content=body(item()))
            assert answer.status_code == status, (text, word)


async def test_requests_faster_than_the_rate_are_put_off_and_not_lost() -> None:
    stage = Stage(requests_per_s=2)
    replies = [await stage.client.post(NOTIFICATIONS_PATH, content=body(item())) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [202, 202, 503]
    assert replies[2].headers["retry-after"] == "1"
    assert stage.counts["requests.too_fast"] == 1
    stage.clock.advance(1.0)
    assert (await stage.client.post(NOTIFICATIONS_PATH, content=body(item()))).status_code == 202


async def test_own_handshake_is_answered_with_a_proof_that_only_this_store_can_give() -> None:
    stage = Stage()
    token = f"{OWN_TOKEN_PREFIX}2c0f: +/="
    reply = await stage.client.post(NOTIFICATIONS_PATH, params={"validationToken": token})
    assert (reply.status_code, reply.text) == (200, token)
    assert reply.headers[PROOF_HEADER] == prove(STORE, token)
    assert prove("another store", token) != prove(STORE, token)
    assert stage.counts["handshakes.answered"] == 0  # these count Microsoft's
    assert stage.sink.marked == []


async def test_microsofts_handshake_is_answered_without_a_proof() -> None:
    reply = await Stage().client.post(NOTIFICATIONS_PATH, params={"validationToken": "Validation: 1"})
    assert PROOF_HEADER not in reply.headers


@pytest.mark.parametrize("token", ["", "x" * 2_049])
async def test_unlikely_handshake_is_refused(token: str) -> None:
    reply = await Stage().client.post(NOTIFICATIONS_PATH, params={"validationToken": token})

    assert (reply.status_code, reply.content) == (400, b"")


async def test_notification_is_durable_before_the_answer() -> None:
    stage = Stage()
    reply = await stage.client.post(NOTIFICATIONS_PATH, content=body(item()))

    assert (reply.status_code, reply.content) == (202, b"")
    assert [found.event_id for found in stage.sink.marked] == ["AAk="]
    assert stage.counts["notifications.marked"] == 1


@pytest.mark.parametrize("path", [NOTIFICATIONS_PATH, LIFECYCLE_PATH])
async def test_both_paths_take_both_kinds(path: str) -> None:
    stage = Stage()
    await stage.client.post(path, content=body(item(), item(lifecycleEvent="missed")))

    assert [found.lifecycle for found in stage.sink.marked] == [None, Lifecycle.MISSED]


async def test_lifecycle_notice_of_an_unknown_kind_is_taken_and_counted() -> None:
    """Microsoft would only send it again; an operator sees that this version has got old."""
    stage = Stage()
    reply = await stage.client.post(LIFECYCLE_PATH, content=body(item(lifecycleEvent="somethingNew")))

    assert reply.status_code == 202
    assert [found.lifecycle for found in stage.sink.marked] == [Lifecycle.OTHER]
    assert stage.counts["notifications.lifecycle_other"] == 1


async def test_unknown_and_unusable_ones_are_counted_and_taken() -> None:
    stage = Stage()
    reply = await stage.client.post(NOTIFICATIONS_PATH, content=body(item(key="k" * 20), item(clientState="x"), item()))

    assert reply.status_code == 202
    counted = {"notifications.marked": 1, "notifications.unknown": 1, "notifications.dropped": 1, "requests.taken": 1}
    assert +stage.counts == Counter(counted)


async def test_nothing_usable_does_not_reach_the_sink() -> None:
    stage = Stage()
    stage.sink.error = AssertionError("asked")

    assert (await stage.client.post(NOTIFICATIONS_PATH, content=body(item(clientState="x")))).status_code == 202


async def test_store_that_is_down_has_graph_send_again() -> None:
    stage = Stage()
    stage.sink.error = StoreUnavailable("disk full")
    with capture_logs() as logs:
        reply = await stage.client.post(NOTIFICATIONS_PATH, content=body(item()))

    assert reply.status_code == 503
    assert [entry["event"] for entry in logs] == ["intake.not_stored"]
    assert CANARY not in str(logs)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", body(*[item()] * 3), b'{"value":[' + CANARY.encode()])
async def test_malformed_body_is_refused_and_not_logged(content: bytes) -> None:
    stage = Stage(items_max=2)
    with capture_logs() as logs:
        reply = await stage.client.post(NOTIFICATIONS_PATH, content=content)

    assert reply.status_code == 400
    assert stage.sink.marked == []
    assert CANARY not in str(logs)


@pytest.mark.parametrize("told", [True, False])
async def test_large_body_is_refused_with_and_without_its_length(told: bool) -> None:
    stage = Stage(body_bytes_max=1024)
    large = body(item(extra="x" * 2_000))

    async def pieces() -> AsyncIterator[bytes]:
        yield large[:900]
        yield large[900:]

    reply = await stage.client.post(NOTIFICATIONS_PATH, content=large if told else pieces())
    assert reply.status_code == 413
    assert stage.sink.marked == []


async def test_slow_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_BODY_S", 0.0)
    stage = Stage()

    assert await _post_raw(stage, _receive_then_wait) == 408


async def test_broken_off_body_marks_nothing() -> None:
    stage = Stage()

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    assert await _post_raw(stage, gone) == 400
    assert stage.sink.marked == []


@pytest.mark.parametrize("path", ["/", "/graph", "/graph/notifications/", "/graph/other", "/metrics"])
async def test_other_paths_are_not_there(path: str) -> None:
    assert (await Stage().client.post(path, content=body(item()))).status_code == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_not_allowed(method: str) -> None:
    reply = await Stage().client.request(method, NOTIFICATIONS_PATH, params={"validationToken": "x"})

    assert reply.status_code == 405
    assert reply.text != "x"


async def test_handshake_does_not_stand_in_the_line_of_bodies() -> None:
    stage = Stage(requests_max=1)
    let_go = asyncio.Event()

    async def mark(notifications: Sequence[Notification]) -> Outcome:
        await let_go.wait()
        return Outcome(len(notifications), 0)

    stage.sink.mark = mark  # type: ignore[method-assign]  # a sink that hangs
    async with asyncio.TaskGroup() as group:
        posts = [group.create_task(stage.client.post(NOTIFICATIONS_PATH, content=body(item()))) for _ in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        reply = await stage.client.post(NOTIFICATIONS_PATH, params={"validationToken": "x"})
        assert reply.text == "x"
        let_go.set()
    assert [post.result().status_code for post in posts] == [202, 202, 202]


@pytest.mark.bench
async def test_answer_costs_little() -> None:
    """Prints what parsing and answering cost, without a server and a store."""
    stage = Stage()
    content = body(*[item()] * 10)
    began = time.perf_counter()
    for _ in range(500):
        await _post_raw(stage, _receive_of(content))
    print(f"{(time.perf_counter() - began) / 500 * 1e6:.0f} us a request of 10 notifications")


async def _receive_then_wait() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def _receive_of(content: bytes) -> object:
    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    return receive


async def _post_raw(stage: Stage, receive: object) -> int:
    """Post below the level of a client, and return the status."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": NOTIFICATIONS_PATH,
        "raw_path": NOTIFICATIONS_PATH.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "https",
        "server": ("hooks.example", 443),
        "client": ("192.0.2.1", 1),
    }
    await stage.app(scope, receive, send)  # type: ignore[arg-type]  # a bare callable
    return int(sent[0]["status"])


async def test_batch_begins_a_trace_that_its_marks_carry_whatever_its_sender_says() -> None:
    """Anybody may call, so nobody has a trace of his own gone on with here."""
    traces = Traces(ratio=1.0)
    stage = Stage(tracing=traces.tracing)
    carrying: list[str | None] = []
    mark = stage.sink.mark

    async def note(notifications: Sequence[Notification]) -> Outcome:
        carrying.append(carried())
        return await mark(notifications)

    stage.sink.mark = note  # type: ignore[method-assign]  # a sink that looks
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    reply = await stage.client.post(
        NOTIFICATIONS_PATH, content=body(item(), item(key="zyxwvutsrq9876543210")), headers={"traceparent": given}
    )
    span = traces.one("notifications")
    assert reply.status_code == 202
    assert span.parent is None
    assert carrying == [context_text(span)]
    assert attributes_of(span) == {
        "http.request.method": "POST",
        "http.response.status_code": 202,
        "exchange.notifications_count": 2,
        "exchange.marked_count": 1,
    }


async def test_handshake_and_what_is_too_large_begin_no_trace() -> None:
    traces = Traces(ratio=1.0)
    stage = Stage(tracing=traces.tracing, body_bytes_max=1024)
    await stage.client.post(NOTIFICATIONS_PATH, params={"validationToken": "t"})
    await stage.client.post(NOTIFICATIONS_PATH, content=b"x" * 2000)
    assert traces.spans == []
