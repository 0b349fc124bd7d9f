"""What an error answer of Graph means to us.

Pure. Branches on status and code, never on a message, except where Graph wraps another service's error in a sentence and
gives every cause the same code (subscriptions do). Messages are never passed on: they hold addresses and URLs.

Source: Microsoft Learn "Microsoft Graph error responses and resource types"; codes seen by others in their issue trackers.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

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
from sidecar.graph.wire import Subject

RETRY_AFTER_S_MAX = 3_600.0
"""A longer wish is cut to this: a garbled header must not silence a room for a day."""
_CODE_CHARS_MAX = 100
_DEPTH_MAX = 8
_GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_HTTP_STATUS_NAME = re.compile(r"HTTP status code is '(\w{1,40})'")
_THROTTLED = frozenset({429, 509})
_TRANSIENT_4XX = frozenset({408, 425})
_ITEM_GONE = frozenset({"erroritemnotfound", "errorinvalididmalformed", "errorinvalidmailboxitemid"})
"""The last says that the id is of another mailbox: in this one there is no such event."""
_NO_CONSENT = frozenset({"authenticationerror", "unauthorizederror", "unauthenticated"})
_NOT_IN_CLOUD = frozenset({"mailboxnotenabledforrestapi"})
_MOVING = frozenset({"errormailboxmoveinprogress"})
_STORE_AWAY = frozenset({"errormailboxstoreunavailable"})
_NO_MAILBOX = frozenset(
    {
        "errorinvaliduser",
        "resourcenotfound",
        "request_resourcenotfound",
        "errornonexistentmailbox",
        "errormailboxnotfound",
        "errornonexistentmailboxerror",
        "mailboxnotfound",
    }
)
_JSON = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    code: str
    message: str
    is_empty: bool
    retry_after_s: float | None
    details: dict[str, str]

    @property
    def folded(self) -> str:
        return self.code.casefold()


def to_error(
    status: int, body: bytes, headers: Mapping[str, str], *, about: Subject, now: datetime | None = None
) -> SidecarError:
    """Name what an error answer means.

    Args:
        headers: looked up in lower case, as httpx gives them.
        about: what the request was about.
        now: for a Retry-After that is a date; without it such a date is not understood.
    """
    code, message = _envelope(body)
    details = {"status": str(status), "code": code[:_CODE_CHARS_MAX], "subject": about.value}
    if headers.get("request-id"):
        details["request_id"] = headers["request-id"][:_CODE_CHARS_MAX]
    answer = _Answer(
        status=status,
        code=code,
        message=message,
        is_empty=not body.strip(),
        retry_after_s=parse_retry_after(headers, now=now),
        details={name: value for name, value in details.items() if value},
    )
    if about is Subject.SUBSCRIPTION_CREATE or about is Subject.SUBSCRIPTION:
        return _general(answer) or _subscription(answer, about)
    if about is Subject.PLACES:
        return _general(answer) or _places(answer)
    return _general(answer) or _mailbox(answer, about)


def deepest_code(body: bytes) -> str:
    """Return the most specific code of an error envelope, "" when there is none."""
    return _envelope(body)[0]


def parse_retry_after(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Read how long to wait, in seconds or as an HTTP date; None when it is absent or unreadable."""
    text = headers.get("retry-after", "").strip()
    if not text or len(text) > _CODE_CHARS_MAX:
        return None
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = _until(text, now)
    # `not >=` also catches NaN.
    return min(wait_s, RETRY_AFTER_S_MAX) if wait_s >= 0.0 else None


def parse_claims_challenge(headers: Mapping[str, str]) -> str | None:
    """Return what a 401 demands of the next token, as JSON; None when it demands nothing.

    Source: Microsoft Learn "Continuous access evaluation for workload identities".
    """
    found = re.search(r'claims="([A-Za-z0-9+/_=-]{1,4096})"', headers.get("www-authenticate", ""))
    if found is None:
        return None
    packed = found[1].replace("-", "+").replace("_", "/").rstrip("=")
    try:
        claims = base64.b64decode(packed + "=" * (-len(packed) % 4)).decode()
        return claims if isinstance(_JSON.decode(claims.encode()), dict) else None
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None


def _until(text: str, now: datetime | None) -> float:
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return float("nan")
    if now is None:
        return float("nan")
    return max(0.0, ((until if until.tzinfo else until.replace(tzinfo=UTC)) - now).total_seconds())


def _general(answer: _Answer) -> SidecarError | None:
    """Name what means the same for every request, but for the meanings that codes override."""
    status = answer.status
    if status in _THROTTLED:
        return Throttled("Exchange asks us to slow down", retry_after_s=answer.retry_after_s, details=answer.details)
    if answer.folded in _MOVING or "on backend 'unknown'" in answer.message.casefold():
        return _unavailable(answer, "Exchange is moving the mailbox", cause="MOVING")
    if status >= 500 and answer.folded in _STORE_AWAY:
        return _unavailable(answer, "the mailbox's database is away", cause="MAILBOX_STORE")
    if status in _TRANSIENT_4XX or (status == 400 and answer.is_empty):
        return _unavailable(answer, "Exchange could not answer just now")
    if status == 401 and answer.folded in _NO_CONSENT:
        return ConsentMissing("Exchange knows the application but grants it nothing", details=answer.details)
    if status == 401 and answer.folded != "extensionerror":
        details = {**answer.details, "cause": "TOKEN"}
        return CredentialRejected("Exchange refused a token that was just issued", details=details)
    return None


def _places(answer: _Answer) -> SidecarError:
    """Name what the directory of places means; a national cloud that has none answers like one that knows no such path."""
    if answer.status == 403:
        return PlacesDenied("the application may not read the list of rooms", details=answer.details)
    if answer.status >= 500 and answer.status != 501:
        return _unavailable(answer, "Exchange failed to answer")
    return PlacesMissing("there is no list of rooms here", details=answer.details)


def _mailbox(answer: _Answer, about: Subject) -> SidecarError:
    status, code, details = answer.status, answer.folded, answer.details
    if code in _NOT_IN_CLOUD or "rest api is not yet supported" in answer.message.casefold():
        return MailboxNotInCloud("the mailbox is on-premises, inactive or without a licence", details=details)
    if status == 403:
        return _forbidden(answer, about)
    if about is Subject.EVENT and (code in _ITEM_GONE and status in {400, 404}):
        return BookingNotFound("the event is not there any more", details=details)
    # A calendar that lacks its default folder answers "item not found", too; the room is unusable then.
    if status in {400, 404} and (code in _NO_MAILBOX or (code == "erroritemnotfound" and about is Subject.MAILBOX)):
        return MailboxNotFound("no mailbox has this address", details=details)
    if status >= 500 and not (code == "errorcorruptdata" and about is Subject.EVENT):
        return _unavailable(answer, "Exchange failed to answer")
    return _other(answer)


def _forbidden(answer: _Answer, about: Subject) -> SidecarError:
    text = answer.message.casefold()
    if answer.folded == "authorization_requestdenied" and about is Subject.DIRECTORY:
        return ConsentMissing("the application may not read the directory", details=answer.details)
    if answer.folded in {"accessdenied", "forbidden"} and "lapsed" in text:
        return ConsentMissing(
            "the customer's Microsoft 365 subscription has lapsed", details={**answer.details, "cause": "LAPSED"}
        )
    # Only a hint for people; the class is the same without it.
    by_policy = "[raop]" in text or "access to odata is disabled" in text
    cause = "ACCESS_POLICY" if by_policy else "ACCESS_DENIED"
    return MailboxDenied("the application may not read this mailbox", details={**answer.details, "cause": cause})


def _subscription(answer: _Answer, about: Subject) -> SidecarError:
    status, code, text = answer.status, answer.folded, answer.message.casefold()
    if status == 404 and about is Subject.SUBSCRIPTION:
        return SubscriptionGone("the subscription does not exist", details=answer.details)
    if status == 409:
        found = _GUID.search(answer.message)
        return SubscriptionExists("an equal subscription exists", subscription_id=found[0].lower() if found else None)
    if code in _NOT_IN_CLOUD or "rest api is not yet supported" in text:
        return MailboxNotInCloud("the mailbox is on-premises, inactive or without a licence", details=answer.details)
    if status in {400, 404} and code in _NO_MAILBOX:
        return MailboxNotFound("no mailbox has this address", details=answer.details)
    if status == 400 and (code == "validationerror" or "validation request" in text or "ssl/tls" in text):
        return _unreachable(answer, text)
    if status >= 500:
        return _unavailable(answer, "Exchange failed to answer")
    if status in {401, 403} or code == "extensionerror":
        return _refused_subscription(answer, text)
    return _other(answer)


def _refused_subscription(answer: _Answer, text: str) -> SidecarError:
    if "subscription expiration can only be" in text or "beyond allowed max" in text:
        cause, message = "EXPIRY_TOO_LATE", "Exchange does not allow subscriptions to live that long"
    elif answer.status == 403 and ("limit" in text or "quota" in text or "maximum" in text):
        cause, message = "TOO_MANY", "the mailbox has as many subscriptions as Exchange allows, of all applications"
    elif answer.status in {401, 403}:
        cause, message = "ACCESS_DENIED", "the application may not subscribe to this mailbox"
    else:
        cause, message = "OTHER", "Exchange refuses a subscription for this mailbox"
    return SubscriptionRefused(message, details={**answer.details, "cause": cause})


def _unreachable(answer: _Answer, text: str) -> SidecarError:
    named = _HTTP_STATUS_NAME.search(answer.message)
    if "timed out" in text:
        cause, message = "TIMED_OUT", "Exchange got no answer from our webhook within 10 seconds"
    elif "exactly match" in text:
        cause, message = "WRONG_BODY", "something in front of our webhook changed its answer"
    elif "ssl/tls" in text or "secure channel" in text:
        cause, message = "TLS", "Exchange could not make a TLS connection to our webhook; it needs TLS 1.2"
    elif named is not None or "200 ok" in text:
        cause, message = "STATUS", "something in front of our webhook answered instead of it"
    else:
        cause, message = "OTHER", "Exchange could not validate our webhook"
    details = {**answer.details, "cause": cause}
    return WebhookUnreachable(message, details={**details, "webhook_status": named[1]} if named else details)


def _unavailable(answer: _Answer, message: str, *, cause: str = "") -> GraphUnavailable:
    details = {**answer.details, "cause": cause} if cause else answer.details
    return GraphUnavailable(message, retry_after_s=answer.retry_after_s, details=details)


def _other(answer: _Answer) -> SidecarError:
    if 400 <= answer.status < 500 or answer.folded == "errorcorruptdata":
        return GraphRefused("Exchange refused the request", details=answer.details)
    return _unavailable(answer, "Exchange answered with something we do not understand")


def _envelope(body: bytes) -> tuple[str, str]:
    """Return the deepest code and the outer message; empty for bodies that are no error envelope (HTML, nothing)."""
    try:
        told = _JSON.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return "", ""
    level = told.get("error") if isinstance(told, dict) else None
    if not isinstance(level, dict):
        return "", ""
    message = level.get("message")
    code = ""
    for _ in range(_DEPTH_MAX):
        if isinstance(level.get("code"), str):
            code = level["code"] or code
        inner = level.get("innerError", level.get("innererror"))
        if not isinstance(inner, dict):
            break
        level = inner
    return code, message if isinstance(message, str) else ""
