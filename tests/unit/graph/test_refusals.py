"""Every row of the error table, and the ways an answer can be no error envelope."""

from __future__ import annotations

import base64
from datetime import timedelta
from email.utils import format_datetime

import pytest

from sidecar.errors import (
    BookingNotFound,
    ConsentMissing,
    CredentialRejected,
    GraphRefused,
    GraphUnavailable,
    MailboxDenied,
    MailboxNotFound,
    MailboxNotInCloud,
    PlacesDenied,
    PlacesMissing,
    SidecarError,
    SubscriptionExists,
    SubscriptionGone,
    SubscriptionRefused,
    Throttled,
    WebhookUnreachable,
)
from sidecar.graph.refusals import deepest_code, parse_claims_challenge, parse_retry_after, to_error
from sidecar.graph.wire import Subject
from tests.unit.graph.kit import CANARY, NOW, error_json

MAILBOX, EVENT, DIRECTORY = Subject.MAILBOX, Subject.EVENT, Subject.DIRECTORY
PLACES = Subject.PLACES
CREATE, SUBSCRIPTION = Subject.SUBSCRIPTION_CREATE, Subject.SUBSCRIPTION
RAOP = "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings."
EXTENSION = "Operation: Create; Exception: [Status Code: {}; Reason: {}]"

TABLE: list[tuple[int, str, str, Subject, type[SidecarError]]] = [
    (400, "ErrorInvalidRequest", "", MAILBOX, GraphRefused),
    (400, "ErrorInvalidParameter", "", EVENT, GraphRefused),
    (400, "ErrorInvalidPropertyValue", "", EVENT, GraphRefused),
    (400, "ErrorInvalidIdMalformed", "Id is malformed.", EVENT, BookingNotFound),
    (404, "ErrorInvalidIdMalformed", "Id is malformed.", EVENT, BookingNotFound),
    (400, "ErrorInvalidIdMalformed", "Id is malformed.", MAILBOX, GraphRefused),
    (400, "ErrorTimeIntervalTooBig", "", MAILBOX, GraphRefused),
    (400, "TimeZoneNotSupportedException", "", MAILBOX, GraphRefused),
    (400, "RequestBroker--ParseUri", "Resource not found for the segment", MAILBOX, GraphRefused),
    (400, "ErrorInvalidUser", "", MAILBOX, MailboxNotFound),
    (401, "InvalidAuthenticationToken", "Access token is empty.", MAILBOX, CredentialRejected),
    (401, "InvalidAuthenticationToken", "", CREATE, CredentialRejected),
    (401, "AuthenticationError", "", MAILBOX, ConsentMissing),
    (401, "UnauthorizedError", "", EVENT, ConsentMissing),
    (401, "unauthenticated", "", DIRECTORY, ConsentMissing),
    (403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.", MAILBOX, MailboxDenied),
    (403, "ErrorAccessDenied", RAOP, EVENT, MailboxDenied),
    (403, "Authorization_RequestDenied", "", PLACES, PlacesDenied),
    (403, "ErrorAccessDenied", "", PLACES, PlacesDenied),
    (400, "BadRequest", "Resource not found for the segment 'places'.", PLACES, PlacesMissing),
    (404, "UnknownError", "", PLACES, PlacesMissing),
    (501, "NotImplemented", "", PLACES, PlacesMissing),
    (503, "ServiceUnavailable", "", PLACES, GraphUnavailable),
    (429, "TooManyRequests", "", PLACES, Throttled),
    (403, "Authorization_RequestDenied", "Insufficient privileges", DIRECTORY, ConsentMissing),
    (403, "Forbidden", "the tenant's subscription has lapsed", MAILBOX, ConsentMissing),
    (403, "accessDenied", "", MAILBOX, MailboxDenied),
    (404, "ErrorItemNotFound", "The specified object was not found in the store.", EVENT, BookingNotFound),
    (404, "erroritemnotfound", "", EVENT, BookingNotFound),
    (404, "ErrorItemNotFound", "Default folder Calendar not found.", MAILBOX, MailboxNotFound),
    (404, "ErrorInvalidUser", "The requested user 'x' is invalid.", EVENT, MailboxNotFound),
    (404, "ResourceNotFound", "Resource could not be discovered.", MAILBOX, MailboxNotFound),
    (404, "Request_ResourceNotFound", "", DIRECTORY, MailboxNotFound),
    (404, "MailboxNotEnabledForRESTAPI", "", MAILBOX, MailboxNotInCloud),
    (404, "MAILBOXNOTENABLEDFORRESTAPI", "", EVENT, MailboxNotInCloud),
    (404, "Whatever", "REST API is not yet supported for this mailbox.", MAILBOX, MailboxNotInCloud),
    (404, "ErrorNonExistentMailbox", "", MAILBOX, MailboxNotFound),
    (404, "SomethingNew", "", EVENT, GraphRefused),
    (409, "ErrorFolderExists", "", EVENT, GraphRefused),
    (410, "SyncStateNotFound", "", MAILBOX, GraphRefused),
    (412, "ErrorIrresolvableConflict", "", EVENT, GraphRefused),
    (413, "RequestEntityTooLarge", "", EVENT, GraphRefused),
    (422, "UnprocessableEntity", "", EVENT, GraphRefused),
    (408, "RequestTimeout", "", MAILBOX, GraphUnavailable),
    (425, "TooEarly", "", MAILBOX, GraphUnavailable),
    (429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit.", MAILBOX, Throttled),
    (429, "TooManyRequests", "", CREATE, Throttled),
    (429, "activityLimitReached", "", EVENT, Throttled),
    (509, "", "", MAILBOX, Throttled),
    (500, "ErrorInternalServerError", "", MAILBOX, GraphUnavailable),
    (500, "ErrorInternalServerTransientError", "", EVENT, GraphUnavailable),
    (500, "generalException", "", CREATE, GraphUnavailable),
    (500, "ErrorCorruptData", "", EVENT, GraphRefused),
    (500, "ErrorCorruptData", "", MAILBOX, GraphUnavailable),
    (502, "", "", MAILBOX, GraphUnavailable),
    (503, "ErrorMailboxStoreUnavailable", "", MAILBOX, GraphUnavailable),
    (503, "ErrorServerBusy", "", EVENT, GraphUnavailable),
    (503, "ErrorMailboxMoveInProgress", "", MAILBOX, GraphUnavailable),
    (504, "UnknownError", "", MAILBOX, GraphUnavailable),
    (507, "ErrorQuotaExceeded", "", EVENT, GraphUnavailable),
    (599, "SomethingNew", "", MAILBOX, GraphUnavailable),
    (302, "", "", MAILBOX, GraphUnavailable),
    # Subscriptions wrap the calendar's error in a sentence.
    (403, "ExtensionError", EXTENSION.format("Forbidden", "Access is denied."), CREATE, SubscriptionRefused),
    (403, "extensionError", EXTENSION.format("Forbidden", "Forbidden"), SUBSCRIPTION, SubscriptionRefused),
    (401, "ExtensionError", EXTENSION.format("Unauthorized", ""), CREATE, SubscriptionRefused),
    (
        404,
        "ExtensionError",
        EXTENSION.format("NotFound", "REST API is not yet supported for this mailbox."),
        CREATE,
        MailboxNotInCloud,
    ),
    (404, "ResourceNotFound", "", CREATE, MailboxNotFound),
    (404, "ErrorInvalidUser", "", CREATE, MailboxNotFound),
    (400, "ExtensionError", "The specified object was not found in the store.", CREATE, SubscriptionRefused),
    (400, "ExtensionError", "Subscription expiration can only be 10070 minutes", CREATE, SubscriptionRefused),
    (
        503,
        "ExtensionError",
        "Target resource 'x' hosted on database 'y' is currently on backend 'Unknown'",
        CREATE,
        GraphUnavailable,
    ),
    (
        403,
        "ExtensionError",
        "Target resource 'x' hosted on database 'y' is currently on backend 'Unknown'",
        CREATE,
        GraphUnavailable,
    ),
    (400, "InvalidRequest", "expirationDateTime is wrong", CREATE, GraphRefused),
    (400, "InvalidRequest", "Subscription validation request timed out.", CREATE, WebhookUnreachable),
    (400, "ValidationError", "Subscription validation request timed out.", CREATE, WebhookUnreachable),
    (400, "ValidationError", "", SUBSCRIPTION, WebhookUnreachable),
    (409, "ObjectIdentifierInUse", "", CREATE, SubscriptionExists),
    (404, "ResourceNotFound", "The object was not found.", SUBSCRIPTION, SubscriptionGone),
    (404, "", "", SUBSCRIPTION, SubscriptionGone),
    (500, "", "", SUBSCRIPTION, GraphUnavailable),
]


@pytest.mark.parametrize(("status", "code", "message", "about", "expected"), TABLE)
def test_answer_is_named(status: int, code: str, message: str, about: Subject, expected: type[SidecarError]) -> None:
    body = error_json(code, message) if code else b""
    error = to_error(status, body, {"request-id": "0a1b"}, about=about)

    assert type(error) is expected
    if expected is not SubscriptionExists:
        assert error.details["status"] == str(status)
        assert error.details["request_id"] == "0a1b"
        assert error.details.get("code", "") == code


@pytest.mark.parametrize("about", list(Subject))
@pytest.mark.parametrize("status", [400, 403, 404, 409, 500, 503])
@pytest.mark.parametrize("body", [b"", b"<html>Service Unavailable</html>", b"[]", b'{"error":"x"}', b"\xff", b"null"])
def test_body_without_envelope_is_tolerated(status: int, body: bytes, about: Subject) -> None:
    error = to_error(status, body, {}, about=about)

    assert isinstance(error, SidecarError)
    if status >= 500:
        assert type(error) is GraphUnavailable


def test_strange_404_does_not_say_that_an_event_is_gone() -> None:
    """Somebody else's 404 page must not take a booking away."""
    for body in (b"", b"<html>404</html>", error_json("NotFound")):
        assert type(to_error(404, body, {}, about=Subject.EVENT)) is GraphRefused


def test_empty_400_counts_as_transient() -> None:
    assert type(to_error(400, b" ", {}, about=CREATE)) is GraphUnavailable


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("Subscription validation request timed out.", "TIMED_OUT"),
        (
            "Subscription validation request failed. HTTP status code is 'Forbidden'. Notification endpoint must "
            "respond with 200 OK to validation request.",
            "STATUS",
        ),
        ("Subscription validation request failed. Must respond with 200 OK to this request.", "STATUS"),
        (
            "Subscription validation request failed. Response must exactly match validationToken query parameter.",
            "WRONG_BODY",
        ),
        ("WebException: The request was aborted: Could not create SSL/TLS secure channel.", "TLS"),
        ("Subscription validation request failed.", "OTHER"),
    ],
)
def test_failed_handshake_tells_its_cause(message: str, cause: str) -> None:
    error = to_error(400, error_json("ValidationError", message), {}, about=CREATE)

    assert isinstance(error, WebhookUnreachable)
    assert error.details["cause"] == cause
    assert ("webhook_status" in error.details) == ("Forbidden" in message)


def test_duplicate_names_the_subscription_that_exists() -> None:
    guid = "A4D7C1DE-6b0f-4c35-8f6d-2f4f9e1b7a01"
    message = f"Subscription Id {guid} already exists for the requested combination"
    error = to_error(409, error_json("ObjectIdentifierInUse", message), {}, about=CREATE)

    assert isinstance(error, SubscriptionExists)
    assert error.subscription_id == guid.lower()


def test_access_policy_is_told_from_other_denials() -> None:
    causes = [
        to_error(403, error_json("ErrorAccessDenied", message), {}, about=MAILBOX).details["cause"]
        for message in (RAOP, "Access is denied.")
    ]

    assert causes == ["ACCESS_POLICY", "ACCESS_DENIED"]


def test_messages_are_never_passed_on() -> None:
    for status in (400, 401, 403, 404, 409, 429, 500):
        for about in Subject:
            error = to_error(status, error_json("X", f"for {CANARY}"), {}, about=about)
            assert CANARY not in f"{error}{error!r}{error.details}"


@pytest.mark.parametrize("name", ["innerError", "innererror"])
def test_deepest_code_wins(name: str) -> None:
    body = b'{"error":{"code":"outer","%s":{"code":"middle","%s":{"code":"deepest"}}}}' % (name.encode(), name.encode())

    assert deepest_code(body) == "deepest"
    assert deepest_code(b'{"error":{"code":"outer","innerError":{"date":"x"}}}') == "outer"
    assert deepest_code(b"<html>") == ""


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("10", 10.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("86400", 3600.0),
        ("-5", None),
        ("nan", None),
        ("inf", 3600.0),
        ("soon", None),
        ("", None),
        ("9" * 200, None),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW - timedelta(seconds=30), usegmt=True), 0.0),
        ("Tue, 99 Foo 2026 08:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, wait_s: float | None) -> None:
    assert parse_retry_after({"retry-after": text}, now=NOW) == wait_s


def test_retry_after_reaches_the_error() -> None:
    error = to_error(429, b"", {"retry-after": "17"}, about=MAILBOX)

    assert isinstance(error, Throttled)
    assert error.retry_after_s == 17.0


def test_claims_challenge_is_unpacked() -> None:
    claims = '{"access_token":{"nbf":{"essential":true}}}'
    packed = base64.b64encode(claims.encode()).decode()
    header = f'Bearer realm="", error="insufficient_claims", claims="{packed}"'

    assert parse_claims_challenge({"www-authenticate": header}) == claims
    assert parse_claims_challenge({"www-authenticate": 'Bearer claims="!!"'}) is None
    assert parse_claims_challenge({"www-authenticate": 'Bearer claims="AAAA"'}) is None
    assert parse_claims_challenge({}) is None
