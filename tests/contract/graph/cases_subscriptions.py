"""Section 2: making, renewing and ending subscriptions, and the two handshakes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from sidecar.emulator.notify.sender import WebhookAnswer
from tests.contract.graph.case import Table
from tests.contract.graph.emulated import Emulated
from tests.contract.graph.subject import Subject, assert_refused, error_of, instant

TABLE = Table()
_HOOK = {"webhook"}
_PROPERTIES = {
    "id",
    "resource",
    "applicationId",
    "changeType",
    "clientState",
    "notificationUrl",
    "notificationQueryOptions",
    "lifecycleNotificationUrl",
    "expirationDateTime",
    "creatorId",
    "includeResourceData",
    "latestSupportedTlsVersion",
    "encryptionCertificate",
    "encryptionCertificateId",
    "notificationUrlAppId",
}


def _expiry(subscription: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(subscription["expirationDateTime"])


@TABLE.case("2.2", "the answer is the whole subscription", needs=_HOOK)
async def create(s: Subject) -> None:
    made = await s.subscribed(lifecycleNotificationUrl=s.webhook_url)
    assert set(made) >= _PROPERTIES
    asked = s.subscription(lifecycleNotificationUrl=s.webhook_url)
    for name in ("resource", "changeType", "clientState", "notificationUrl", "lifecycleNotificationUrl"):
        assert made[name] == asked[name]
    assert (made["applicationId"], made["creatorId"]) == (s.claims["appid"], s.claims["oid"])
    assert made["@odata.context"].endswith("$metadata#subscriptions/$entity")
    assert abs(_expiry(made) - s.now() - timedelta(hours=2)) < timedelta(minutes=1)


@TABLE.case(
    "2.3",
    "a mailbox's events are subscribed to by id or address, with or without a slash, and told back as written",
    needs=_HOOK,
    rows={
        "slash": ("/users/{}/events",),
        "no-slash": ("users/{}/events",),
        "default-calendar": ("/users/{}/calendar/events",),
    },
)
async def resource(s: Subject, pattern: str) -> None:
    asked = pattern.format(s.mailbox)
    assert (await s.subscribed(resource=asked))["resource"] == asked


@TABLE.case(
    "2.3",
    "not everything that can be read can be subscribed to",
    needs=_HOOK,
    rows={
        "view": ("/users/{}/calendarView",),
        "delta": ("/users/{}/calendarView/delta",),
        "places": ("/places/microsoft.graph.room",),
        "nonsense": ("/no/such/thing",),
    },
)
async def no_such_resource(s: Subject, pattern: str) -> None:
    assert_refused(await s.subscribe(resource=pattern.format(s.mailbox)), (400, 404))


@TABLE.case("2.8", "an unknown user is not found", needs=_HOOK)
async def unknown_user(s: Subject) -> None:
    answer = await s.subscribe(resource=f"/users/{uuid4()}/events")
    assert_refused(answer, 404, "ErrorInvalidUser", "ResourceNotFound", "Request_ResourceNotFound", "ExtensionError")


@TABLE.case("2.4", "more than 10,080 minutes are too many", needs=_HOOK)
async def too_long(s: Subject) -> None:
    answer = await s.subscribe(expirationDateTime=instant(s.now() + timedelta(minutes=10_090)))
    assert "expiration" in assert_refused(answer, 400, "ExtensionError", "InvalidRequest")["message"].lower()


@TABLE.case("2.4", "10,060 minutes are accepted", needs=_HOOK)
async def longest(s: Subject) -> None:
    wanted = s.now() + timedelta(minutes=10_060)
    made = await s.subscribed(expirationDateTime=instant(wanted))
    assert abs(_expiry(made) - wanted) < timedelta(minutes=1)


@TABLE.case("2.4", "less than 45 minutes are raised to 45 without a word", needs=_HOOK)
async def shortest(s: Subject) -> None:
    made = await s.subscribed(expirationDateTime=instant(s.now() + timedelta(minutes=5)))
    assert timedelta(minutes=44) < _expiry(made) - s.now() < timedelta(minutes=46)


@TABLE.case("2.4", "an end in the past is refused", needs=_HOOK)
async def past(s: Subject) -> None:
    assert_refused(await s.subscribe(expirationDateTime=instant(s.now() - timedelta(hours=1))), 400)


@TABLE.case("2.5", "a second one for the same resource and changes is 409 and names the first", needs=_HOOK)
async def duplicate(s: Subject) -> None:
    made = await s.subscribed()
    assert made["id"] in assert_refused(await s.subscribe(), 409)["message"]
    assert (await s.subscribe(changeType="deleted")).status_code == 201


@TABLE.case(
    "2.1",
    "a body that cannot be is refused",
    needs=_HOOK,
    rows={
        "no-resource": ({"resource": None},),
        "no-url": ({"notificationUrl": None},),
        "no-change-type": ({"changeType": None},),
        "no-expiry": ({"expirationDateTime": None},),
        "odd-change-type": ({"changeType": "created,renamed"},),
        "odd-expiry": ({"expirationDateTime": "next week"},),
        "plain-http": ({"notificationUrl": "http://hooks.example.org/graph"},),
        "relative-url": ({"notificationUrl": "/graph"},),
        "long-state": ({"clientState": "x" * 129},),
    },
)
async def bad_body(s: Subject, changes: dict[str, Any]) -> None:
    assert_refused(await s.subscribe(**changes), 400)


@TABLE.case("2.1", "a client state of 128 characters is accepted", needs=_HOOK)
async def long_state(s: Subject) -> None:
    assert (await s.subscribed(clientState="x" * 128))["clientState"] == "x" * 128


@TABLE.case("2.1", "the TLS version is v1_2 unless said otherwise", needs=_HOOK)
async def tls_version(s: Subject) -> None:
    assert (await s.subscribed())["latestSupportedTlsVersion"] == "v1_2"


@TABLE.case("2.7", "reading one shows the client state, listing hides it", needs=_HOOK)
async def client_state(s: Subject) -> None:
    made = await s.subscribed()
    one = (await s.graph.get(f"/subscriptions/{made['id']}")).json()
    assert (one["clientState"], one["resource"]) == ("s3cret", made["resource"])
    listed = [item for item in await s.pages("/subscriptions") if item["id"] == made["id"]]
    assert [item["clientState"] for item in listed] == [None]


@TABLE.case("2.7", "the end can be moved, and is told back", needs=_HOOK)
async def renew(s: Subject) -> None:
    made = await s.subscribed()
    wanted = instant(s.now() + timedelta(days=3))
    answer = await s.graph.patch(f"/subscriptions/{made['id']}", json={"expirationDateTime": wanted})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["id"], answer.json()["resource"]) == (made["id"], made["resource"])
    assert abs(_expiry(answer.json()) - s.now() - timedelta(days=3)) < timedelta(minutes=1)


@TABLE.case("2.7", "renewing meets the same limit as making", needs=_HOOK)
async def renew_too_long(s: Subject) -> None:
    made = await s.subscribed()
    wanted = instant(s.now() + timedelta(minutes=10_090))
    assert_refused(await s.graph.patch(f"/subscriptions/{made['id']}", json={"expirationDateTime": wanted}), 400)


@TABLE.case(
    "2.1",
    "what a subscription is for cannot be changed",
    needs=_HOOK,
    rows={
        "resource": ({"resource": "/users/other/events"},),
        "change-type": ({"changeType": "created"},),
        "lifecycle-url": ({"lifecycleNotificationUrl": "https://hooks.example.org/graph/l"},),
    },
)
async def fixed(s: Subject, change: dict[str, str]) -> None:
    made = await s.subscribed()
    await s.graph.patch(f"/subscriptions/{made['id']}", json=change)  # refused or ignored, Microsoft does not say which
    after = (await s.graph.get(f"/subscriptions/{made['id']}")).json()
    for name in change:
        assert after[name] == made[name]


@TABLE.case("2.7", "reauthorize is answered with nothing and leaves the end alone", needs=_HOOK)
async def reauthorize(s: Subject) -> None:
    made = await s.subscribed()
    answer = await s.graph.post(f"/subscriptions/{made['id']}/reauthorize")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await s.graph.get(f"/subscriptions/{made['id']}")).json()["expirationDateTime"] == made[
        "expirationDateTime"
    ]


@TABLE.case("2.7", "a deleted one is gone", needs=_HOOK)
async def delete(s: Subject) -> None:
    made = await s.subscribed()
    assert (await s.graph.delete(f"/subscriptions/{made['id']}")).status_code == 204
    assert_refused(await s.graph.get(f"/subscriptions/{made['id']}"), 404, "ResourceNotFound")
    assert (await s.subscribe()).status_code == 201


@TABLE.case(
    "2.7",
    "an unknown one is not found, whatever is asked of it",
    rows={
        "get": ("GET", ""),
        "patch": ("PATCH", ""),
        "delete": ("DELETE", ""),
        "reauthorize": ("POST", "/reauthorize"),
    },
)
async def unknown(s: Subject, method: str, path: str) -> None:
    body = {"expirationDateTime": instant(s.now() + timedelta(hours=2))} if method == "PATCH" else None
    answer = await s.graph.request(method, f"/subscriptions/{uuid4()}{path}", json=body)
    assert_refused(answer, 404, "ResourceNotFound")


@TABLE.case("2.7", "one that has run out is gone without a word", emulator_only="the clock is moved")
async def run_out(s: Emulated) -> None:
    made = await s.subscribed()
    await s.advance(2 * 3600 + 1)
    await s.sign_in()
    assert_refused(await s.graph.get(f"/subscriptions/{made['id']}"), 404, "ResourceNotFound")
    assert await s.pages("/subscriptions") == []
    assert s.webhook.posts == []


@TABLE.case("2.6", "each URL gets a handshake of its own, even if they are equal", needs={"webhook", "deliveries"})
async def two_handshakes(s: Emulated) -> None:
    await s.subscribed(lifecycleNotificationUrl=s.webhook_url)
    assert len(s.webhook.handshakes) == 2
    queries = [parse_qs(urlsplit(url).query) for url in s.webhook.handshakes]
    assert [query["k"] for query in queries] == [["7"], ["7"]]
    tokens = [query["validationToken"][0] for query in queries]
    assert len(set(tokens)) == 2
    assert all(token.startswith("Validation: Testing client application reachability") for token in tokens)


@TABLE.case("2.6", "moving the end shakes no hands; a new URL does", needs={"webhook", "deliveries"})
async def handshake_of_a_new_url(s: Emulated) -> None:
    made = await s.subscribed()
    await s.graph.patch(
        f"/subscriptions/{made['id']}", json={"expirationDateTime": instant(s.now() + timedelta(days=1))}
    )
    assert len(s.webhook.handshakes) == 1
    url = f"{s.webhook_url}&moved=1"
    answer = await s.graph.patch(f"/subscriptions/{made['id']}", json={"notificationUrl": url})
    assert (answer.status_code, answer.json()["notificationUrl"]) == (200, url)
    assert len(s.webhook.handshakes) == 2


def _answering(status: int, body: str, content_type: str = "text/plain") -> WebhookAnswer:
    return WebhookAnswer(status=status, content_type=content_type, body=body)


@TABLE.case(
    "2.6",
    "an endpoint that does not give the token back gets no subscription",
    emulator_only="the webhook misbehaves",
    rows={
        "wrong-body": (_answering(200, "hello"), "Response must exactly match validationToken query parameter."),
        "html": (_answering(200, "<p>hello</p>", "text/html"), "must exactly match"),
        "empty": (_answering(200, ""), "must exactly match"),
        "accepted": (_answering(202, ""), "must respond with 200 OK"),
        "forbidden": (_answering(403, ""), "HTTP status code is 'Forbidden'"),
        "error": (_answering(500, ""), "must respond with 200 OK"),
    },
)
async def failed_handshake(s: Emulated, given: WebhookAnswer, text: str) -> None:
    s.webhook.answer = lambda url: given
    error = assert_refused(await s.subscribe(), 400, "ValidationError", "InvalidRequest")
    assert text in error["message"]
    assert await s.pages("/subscriptions") == []


@TABLE.case("2.6", "an endpoint has ten seconds", emulator_only="the webhook misbehaves")
async def slow_handshake(s: Emulated) -> None:
    s.webhook.delay_s = 9.5
    assert (await s.subscribe()).status_code == 201
    s.webhook.delay_s = 10.5
    error = assert_refused(await s.subscribe(changeType="deleted"), 400, "ValidationError", "InvalidRequest")
    assert error["message"] == "Subscription validation request timed out."


@TABLE.case("2.6", "an endpoint that cannot be reached times out", emulator_only="the webhook misbehaves")
async def unreachable(s: Emulated) -> None:
    s.webhook.down = True
    assert "Subscription validation request" in error_of(await s.subscribe())["message"]


@TABLE.case("2.6", "a lifecycle URL that fails its handshake undoes the whole", emulator_only="the webhook misbehaves")
async def failed_lifecycle_handshake(s: Emulated) -> None:
    s.webhook.answer = lambda url: _answering(404, "") if "/l" in url else None
    assert_refused(await s.subscribe(lifecycleNotificationUrl="https://hooks.example.org/l"), 400)
    assert await s.pages("/subscriptions") == []


@TABLE.case("2.8", "a mailbox a policy shuts is forbidden", emulator_only="an admin's decision is the cause")
async def shut_by_policy(s: Emulated) -> None:
    await s.change_app(access_policy=[s.room])
    assert_refused(await s.subscribe(), 403, "ExtensionError", "ErrorAccessDenied")


@TABLE.case("2.8", "a mailbox on premises has no subscriptions", emulator_only="an admin's decision is the cause")
async def on_premises(s: Emulated) -> None:
    await s.change_mailbox(s.mailbox, kind="onPremises")
    assert_refused(await s.subscribe(), 404, "ExtensionError", "MailboxNotEnabledForRESTAPI")


@TABLE.case("2.8", "a token without roles makes no subscription", emulator_only="an admin's decision is the cause")
async def no_roles(s: Emulated) -> None:
    await s.change_app(roles=[])
    await s.sign_in()
    assert_refused(await s.subscribe(), (401, 403), "ExtensionError", "ErrorAccessDenied")
