"""What the client promises: complete reads, safe repeats, and the right name for what went wrong."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import timedelta

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from sidecar.errors import (
    ConsentMissing,
    CredentialRejected,
    GraphRefused,
    GraphUnavailable,
    MailboxDenied,
    MailboxNotFound,
    SidecarError,
    SubscriptionExists,
    SubscriptionGone,
    SubscriptionRefused,
    Throttled,
)
from sidecar.graph import transport
from sidecar.graph.transport import build_http
from sidecar.graph.wire_subscriptions import GraphSubscription
from tests.unit.graph.kit import CANARY, MAILBOX, NOW, TENANT, WINDOW, Answer, Stage, bad, event_json, ok

BASE = "https://graph.microsoft.com/v1.0"


def page(*ids: str, link: str | None = None, subject: str = "x") -> httpx.Response:
    body: dict[str, object] = {"value": [event_json(id=id_, subject=subject) for id_ in ids]}
    return ok(body | ({"@odata.nextLink": link} if link else {}))


def subscription(id_: str = "a4d7", **more: str) -> httpx.Response:
    told = {"id": id_, "expirationDateTime": "2026-11-28T09:00:00Z", "resource": "/users/x/events", **more}
    return ok(told, 201)


async def create(stage: Stage) -> GraphSubscription:
    return await stage.client.create_subscription(
        TENANT,
        MAILBOX,
        notification_url="https://hooks.example/graph/notifications",
        lifecycle_url="https://hooks.example/graph/lifecycle",
        client_state=f"k.{CANARY}",
        expires_at=NOW + timedelta(days=6),
    )


async def test_every_request_asks_for_utc_and_immutable_ids() -> None:
    stage = Stage(page("a", link=f"{BASE}/users/x/calendarView?$skip=1"), page("b"), ok(event_json()), subscription())
    await stage.client.fetch_view(TENANT, MAILBOX, WINDOW)
    await stage.client.fetch_event(TENANT, MAILBOX, "AAk=")
    await create(stage)

    assert len(stage.graph.requests) == 4
    for request in stage.graph.requests:
        assert request.headers["prefer"] == 'outlook.timezone="UTC", IdType="ImmutableId"'
        assert request.headers["user-agent"].startswith("exchange-sidecar/")
        assert request.headers["authorization"] == f"Bearer {CANARY}-1"
    assert len({request.headers["client-request-id"] for request in stage.graph.requests}) == 4


async def test_pages_are_followed_verbatim_to_the_end() -> None:
    link = f"{BASE}/users/x/calendarView?$skiptoken=a%2Bb&x=%27"
    stage = Stage(page("a", "b", link=link), page("c"))
    events = await stage.client.fetch_view(TENANT, MAILBOX, WINDOW)

    assert [event.id for event in events] == ["a", "b", "c"]
    assert str(stage.graph.requests[1].url) == link


async def test_last_word_on_an_id_wins() -> None:
    stage = Stage(page("a", "b", link=f"{BASE}/next", subject="old"), page("b", "c", subject="new"))
    events = await stage.client.fetch_view(TENANT, MAILBOX, WINDOW)

    assert {event.id: event.subject for event in events} == {"a": "old", "b": "new", "c": "new"}


async def test_repeated_link_fails_the_read() -> None:
    stage = Stage(page("a", link=f"{BASE}/1"), page("b", link=f"{BASE}/2"), page("c", link=f"{BASE}/1"))

    with pytest.raises(GraphUnavailable):
        await stage.client.fetch_view(TENANT, MAILBOX, WINDOW)


async def test_endless_pages_fail_the_read() -> None:
    stage = Stage(*(page("a", link=f"{BASE}/{number}") for number in range(5)), pages_max=3)

    with pytest.raises(GraphUnavailable):
        await stage.client.fetch_view(TENANT, MAILBOX, WINDOW)
    assert len(stage.graph.requests) == 3


async def test_as_many_pages_as_allowed_are_read() -> None:
    stage = Stage(page("a", link=f"{BASE}/1"), page("b", link=f"{BASE}/2"), page("c"), pages_max=3)

    assert len(await stage.client.fetch_view(TENANT, MAILBOX, WINDOW)) == 3


@pytest.mark.parametrize(
    "link",
    [
        "https://graph.microsoft.com.evil.example/v1.0/x",
        "https://evil.example/v1.0/x",
        "http://graph.microsoft.com/v1.0/x",
        "https://graph.microsoft.com:8443/v1.0/x",
        "https://user@evil.example/",
        "https://[/",
        "x",
    ],
)
async def test_token_does_not_follow_a_link_to_another_host(link: str) -> None:
    stage = Stage(page("a", link=link))

    with pytest.raises(GraphUnavailable):
        await stage.client.fetch_view(TENANT, MAILBOX, WINDOW)
    assert len(stage.graph.requests) == 1


async def test_gone_event_is_none() -> None:
    stage = Stage(bad(404, "ErrorItemNotFound"), bad(404, "ErrorItemNotFound"))

    assert await stage.client.fetch_event(TENANT, MAILBOX, "AAk=") is None
    assert await stage.client.fetch_instances(TENANT, MAILBOX, "AAk=", WINDOW) is None


async def test_gone_mailbox_is_not_a_gone_event() -> None:
    stage = Stage(bad(404, "ErrorInvalidUser"), bad(404, "ErrorItemNotFound"))

    with pytest.raises(MailboxNotFound):
        await stage.client.fetch_event(TENANT, MAILBOX, "AAk=")
    with pytest.raises(MailboxNotFound):
        await stage.client.fetch_view(TENANT, MAILBOX, WINDOW)


async def test_instances_are_read_over_all_pages() -> None:
    stage = Stage(page("a", link=f"{BASE}/1"), page("b"))
    events = await stage.client.fetch_instances(TENANT, MAILBOX, "M/1=", WINDOW)

    assert events is not None
    assert [event.id for event in events] == ["a", "b"]
    assert "/events/M%2F1%3D/instances?" in str(stage.graph.requests[0].url)


@pytest.mark.parametrize(
    "failure",
    [
        bad(500, "ErrorInternalServerError"),
        bad(503),
        bad(504, "UnknownError"),
        bad(429, "TooManyRequests"),
        bad(408, "RequestTimeout"),
        bad(400),
        httpx.ReadTimeout("slow"),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("cut"),
    ],
)
async def test_read_is_tried_again_after_a_passing_fault(failure: httpx.Response | Exception) -> None:
    stage = Stage(failure, failure, ok({"id": "c"}))
    with capture_logs() as logs:
        await stage.client.probe(TENANT, MAILBOX)

    assert len(stage.clock.sleeps) == 2
    assert all(0 < wait_s <= stage.settings.wait_in_place_s for wait_s in stage.clock.sleeps)
    assert [entry["event"] for entry in logs] == ["graph_call.recovered"]


async def test_attempts_are_limited_and_a_failed_call_logs_nothing() -> None:
    stage = Stage(*[bad(503, "ErrorServerBusy", request_id="0a1b")] * 4, attempts_max=4)
    with capture_logs() as logs, pytest.raises(GraphUnavailable) as caught:
        await stage.client.probe(TENANT, MAILBOX)

    assert stage.graph.answers == []
    assert caught.value.details["request_id"] == "0a1b"
    assert logs == []


async def test_short_retry_after_is_waited_for() -> None:
    stage = Stage(bad(429, "ApplicationThrottled", retry_after="3"), ok({"id": "c"}))
    await stage.client.probe(TENANT, MAILBOX)

    assert stage.clock.passed_s == pytest.approx(3.0)


@pytest.mark.parametrize(("status", "expected"), [(429, Throttled), (503, GraphUnavailable)])
async def test_long_retry_after_puts_the_task_off_and_spares_the_mailbox(
    status: int, expected: type[SidecarError]
) -> None:
    stage = Stage(bad(status, "X", retry_after="60"), ok({"id": "other"}), ok({"id": "same"}))
    with pytest.raises(expected) as caught:
        await stage.client.probe(TENANT, MAILBOX)
    assert getattr(caught.value, "retry_after_s", None) == 60.0

    with pytest.raises(Throttled) as held:
        await stage.client.probe(TENANT, MAILBOX.upper())
    assert held.value.retry_after_s == pytest.approx(60.0)
    assert len(stage.graph.requests) == 1

    await stage.client.probe(TENANT, "other@contoso.example")
    stage.clock.passed_s += 61
    await stage.client.probe(TENANT, MAILBOX)


async def test_waits_in_place_are_bounded_together() -> None:
    """Who is told to wait a little, again and again, is put off."""
    stage = Stage(*(bad(429, "X", retry_after="2") for _ in range(4)))
    with pytest.raises(Throttled) as caught:
        await stage.client.probe(TENANT, MAILBOX)

    assert caught.value.retry_after_s == 2.0
    assert len(stage.graph.requests) == 3
    assert sum(stage.clock.sleeps) <= stage.settings.wait_in_place_s


async def test_refused_token_is_replaced_once() -> None:
    stage = Stage(bad(401, "InvalidAuthenticationToken"), ok({"id": "c"}))
    await stage.client.probe(TENANT, MAILBOX)

    used = [request.headers["authorization"] for request in stage.graph.requests]
    assert used == [f"Bearer {CANARY}-1", f"Bearer {CANARY}-2"]
    assert stage.clock.sleeps == []


@pytest.mark.parametrize(
    ("code", "expected"), [("InvalidAuthenticationToken", CredentialRejected), ("UnauthorizedError", ConsentMissing)]
)
async def test_second_refusal_blocks_the_tenant(code: str, expected: type[SidecarError]) -> None:
    stage = Stage(bad(401, code), bad(401, code))

    with pytest.raises(expected):
        await stage.client.probe(TENANT, MAILBOX)
    assert len(stage.graph.requests) == 2


async def test_claims_challenge_reaches_the_login_once() -> None:
    packed = base64.b64encode(b'{"access_token":{}}').decode()
    stage = Stage(bad(401, "X", www_authenticate=f'Bearer claims="{packed}"'), bad(503), ok({"id": "c"}))
    await stage.client.probe(TENANT, MAILBOX)

    assert stage.tokens.claims == [None, '{"access_token":{}}', None]


async def test_denial_tells_which_permissions_the_token_names() -> None:
    class RoleTokens:
        def __init__(self, claims: dict[str, object]) -> None:
            payload = base64.urlsafe_b64encode(msgspec.json.encode(claims)).decode().rstrip("=")
            self.token = f"h.{payload}.s"

        async def fetch_token(self, tenant: object, *, claims: str | None = None) -> str:
            return self.token

        def forget(self, tenant_uid: object, *, token: str | None = None) -> None:
            return

    cases: list[tuple[dict[str, object], str]] = [({"roles": ["Calendars.Read"]}, "Calendars.Read"), ({}, "none")]
    for claims, told in cases:
        stage = Stage(bad(403, "ErrorAccessDenied"), bad(401, "X"), bad(401, "X"))
        stage.client._transport._tokens = RoleTokens(claims)
        with pytest.raises(MailboxDenied) as denied:
            await stage.client.probe(TENANT, MAILBOX)
        assert denied.value.details["token_roles"] == told
        with pytest.raises(ConsentMissing if told == "none" else CredentialRejected):
            await stage.client.probe(TENANT, MAILBOX)


async def test_failing_login_is_tried_again() -> None:
    stage = Stage()
    stage.tokens.error = GraphUnavailable("login down")

    with pytest.raises(GraphUnavailable):
        await stage.client.probe(TENANT, MAILBOX)
    assert len(stage.tokens.claims) == stage.settings.attempts_max


async def test_throttled_login_spares_the_whole_tenant() -> None:
    stage = Stage(ok({"id": "c"}))
    stage.tokens.error = Throttled("login", retry_after_s=120.0)
    with pytest.raises(Throttled):
        await stage.client.probe(TENANT, MAILBOX)
    stage.tokens.error = None

    with pytest.raises(Throttled):
        await stage.client.probe(TENANT, "other@contoso.example")
    assert stage.graph.requests == []


async def test_rejected_credential_is_not_tried_again() -> None:
    stage = Stage()
    stage.tokens.error = CredentialRejected("no", details={"status": "401"})

    with pytest.raises(CredentialRejected):
        await stage.client.probe(TENANT, MAILBOX)
    assert len(stage.tokens.claims) == 1


async def test_subscription_is_created() -> None:
    stage = Stage(subscription())
    created = await create(stage)

    assert (created.id, created.expires_at.day) == ("a4d7", 28)
    assert stage.graph.requests[0].headers["content-type"] == "application/json"


async def test_every_creation_asks_for_lifecycle_notices_and_immutable_ids() -> None:
    """Neither can be had later: a subscription without would be deaf to its own end, or name events by ids that change."""
    stage = Stage(bad(429, "TooManyRequests"), subscription(), subscription())
    await create(stage)
    await create(stage)

    assert len(stage.graph.requests) == 3
    for request in stage.graph.requests:
        assert (request.method, request.url.path) == ("POST", "/v1.0/subscriptions")
        assert json.loads(request.content)["lifecycleNotificationUrl"] == "https://hooks.example/graph/lifecycle"
        assert 'IdType="ImmutableId"' in request.headers["prefer"]


async def test_repointing_changes_the_address_and_nothing_else() -> None:
    """Its end stays what it was, so nothing has to be noted."""
    stage = Stage(subscription())
    await stage.client.repoint_subscription(TENANT, "a4d7", notification_url="https://new.example/graph/notifications")

    (request,) = stage.graph.requests
    assert (request.method, request.url.path) == ("PATCH", "/v1.0/subscriptions/a4d7")
    assert json.loads(request.content) == {"notificationUrl": "https://new.example/graph/notifications"}


async def test_calling_names_the_same_address_in_a_way_that_is_new() -> None:
    """Microsoft calls only what changes; whoever reads the subscription afterwards finds the address that was asked for."""
    url = "https://hooks.example/graph/notifications"
    stage = Stage(subscription(), subscription(notificationUrl=f"{url}?call=1f"))
    await stage.client.call_webhook(TENANT, "a4d7", notification_url=url, ending="1f")
    found = await stage.client.fetch_subscription(TENANT, "a4d7")

    assert json.loads(stage.graph.requests[0].content) == {"notificationUrl": f"{url}?call=1f"}
    assert found is not None
    assert found.notification_url == url


@pytest.mark.parametrize("failure", [httpx.ReadTimeout("slow"), httpx.ReadError("cut"), bad(500), bad(504), bad(503)])
async def test_creation_with_unknown_outcome_is_not_repeated(failure: httpx.Response | Exception) -> None:
    stage = Stage(failure)

    with pytest.raises(GraphUnavailable):
        await create(stage)
    assert len(stage.graph.requests) == 1


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), bad(429, "TooManyRequests"), bad(400)])
async def test_creation_that_certainly_failed_is_repeated(failure: httpx.Response | Exception) -> None:
    stage = Stage(failure, subscription())

    assert (await create(stage)).id == "a4d7"


async def test_equal_subscription_is_named() -> None:
    guid = "a4d7c1de-6b0f-4c35-8f6d-2f4f9e1b7a01"
    stage = Stage(bad(409, "ObjectIdentifierInUse", f"Subscription Id {guid} already exists"))

    with pytest.raises(SubscriptionExists) as caught:
        await create(stage)
    assert caught.value.subscription_id == guid


async def test_refused_subscription_does_not_block_the_tenant() -> None:
    message = "Operation: Create; Exception: [Status Code: Unauthorized; Reason: ]"
    stage = Stage(bad(401, "ExtensionError", message), bad(401, "ExtensionError", message))

    with pytest.raises(SubscriptionRefused):
        await create(stage)


async def test_renewal_and_deletion_are_repeated_and_a_lost_subscription_is_told() -> None:
    stage = Stage(httpx.ReadTimeout("slow"), subscription(), bad(404, "ResourceNotFound"))

    assert (await stage.client.renew_subscription(TENANT, "a4d7", expires_at=NOW)).id == "a4d7"
    with pytest.raises(SubscriptionGone):
        await stage.client.renew_subscription(TENANT, "a4d7", expires_at=NOW)


async def test_deleting_what_is_gone_is_fine() -> None:
    stage = Stage(httpx.ReadError("cut"), bad(404, "ResourceNotFound"), httpx.Response(204), bad(404))
    await stage.client.delete_subscription(TENANT, "a4d7")
    await stage.client.delete_subscription(TENANT, "a4d7")

    assert await stage.client.fetch_subscription(TENANT, "a4d7") is None


async def test_mailbox_is_described_as_far_as_allowed() -> None:
    stage = Stage(
        ok({"id": "0f7a"}), ok({"timeZone": "W. Europe Standard Time"}),
        bad(403, "Authorization_RequestDenied"), bad(403, "ErrorAccessDenied"),
        bad(404, "Request_ResourceNotFound"), ok({"timeZone": "tzone://Microsoft/Custom"}),
    )  # fmt: skip

    assert await stage.client.fetch_mailbox(TENANT, MAILBOX) == ("0f7a", "Europe/Berlin")
    assert await stage.client.fetch_mailbox(TENANT, MAILBOX) == (None, None)
    assert await stage.client.fetch_mailbox(TENANT, MAILBOX) == (None, None)


async def test_describing_a_mailbox_does_not_hide_an_outage() -> None:
    stage = Stage(*[bad(503)] * 4)

    with pytest.raises(GraphUnavailable):
        await stage.client.fetch_mailbox(TENANT, MAILBOX)


@pytest.mark.parametrize("body", [b"<html>sign in to the hotel network</html>", b"", b"[]"])
async def test_answer_of_somebody_else_is_unavailable(body: bytes) -> None:
    stage = Stage(*[httpx.Response(200, content=body)] * 2)

    with pytest.raises(GraphUnavailable):
        await stage.client.fetch_view(TENANT, MAILBOX, WINDOW)
    with pytest.raises(GraphUnavailable):
        await stage.client.fetch_event(TENANT, MAILBOX, "AAk=")


async def test_redirect_is_not_followed() -> None:
    stage = Stage(*[httpx.Response(302, headers={"location": "https://evil.example/"})] * 4)

    with pytest.raises(GraphUnavailable):
        await stage.client.probe(TENANT, MAILBOX)
    assert {request.url.host for request in stage.graph.requests} == {"graph.microsoft.com"}


async def test_refusal_without_a_name_is_told_with_its_code() -> None:
    stage = Stage(bad(400, "ErrorInvalidRequest", "about a subject"))

    with pytest.raises(GraphRefused) as caught:
        await stage.client.fetch_view(TENANT, MAILBOX, WINDOW)
    assert caught.value.details == {"status": "400", "code": "ErrorInvalidRequest", "subject": "mailbox"}


async def test_no_secret_reaches_an_error_or_a_log() -> None:
    failures: list[Answer] = [bad(status, "X", f"said {CANARY}") for status in (400, 403, 404, 409, 429, 500)]
    failures += [httpx.ReadTimeout(f"for {CANARY}"), httpx.ConnectError(f"for {CANARY}")]
    with capture_logs() as logs:
        for failure in failures:
            stage = Stage(*[failure] * 4)
            with pytest.raises(SidecarError) as caught:
                await create(stage)
            assert CANARY not in f"{caught.value}{caught.value!r}{caught.value.details}"
    assert CANARY not in str(logs)


@pytest.mark.parametrize("attempts_max", [1, 2])
async def test_silence_ends_in_a_named_error(attempts_max: int) -> None:
    """The only test that waits: a millisecond for each try."""

    async def never(request: httpx.Request) -> httpx.Response:
        tries.append(request)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    tries: list[httpx.Request] = []
    stage = Stage(request_s=0.001, attempts_max=attempts_max)
    stage.client._transport._http = build_http(stage.settings, transport=httpx.MockTransport(never))

    with pytest.raises(GraphUnavailable) as caught:
        await stage.client.probe(TENANT, MAILBOX)
    assert len(tries) == attempts_max
    assert caught.value.details == {"subject": "mailbox", "cause": "TimeoutError"}


async def test_whole_call_has_a_limit_even_when_it_stands_in_line() -> None:
    stage = Stage(request_s=0.001, wait_in_place_s=0.001, attempts_max=1, concurrency_per_mailbox=1)
    async with stage.throttle.slot(TENANT.tenant_uid, MAILBOX):
        with pytest.raises(GraphUnavailable):
            await stage.client.probe(TENANT, MAILBOX)
        with pytest.raises(GraphUnavailable):
            await stage.client.fetch_view(TENANT, MAILBOX, WINDOW)
    assert stage.graph.requests == []


async def test_endless_body_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_BODY_BYTES_MAX", 1_000)
    stage = Stage(httpx.Response(200, content=b"x" * 1_001), attempts_max=1)

    with pytest.raises(GraphUnavailable):
        await stage.client.probe(TENANT, MAILBOX)
