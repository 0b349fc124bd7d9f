"""Bodies of subscription calls, read strictly. Whether the mailbox may be watched is decided in `subscribing.py`.

Source: Graph "subscription resource type", "Create subscription", "Update subscription" and "Set up notifications for changes
in resource data" pages; the cap of 10,070 minutes and its text are what users have reported.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import unquote, urlsplit

from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.subscription import Encryption
from sidecar.emulator.notify.rich import parse_encryption, parse_resource_query
from sidecar.emulator.zones import parse_local

_LIFETIME_MAX_MINUTES = 10_070
_RICH_LIFETIME_MAX_MINUTES = 1_440
_LIFETIME_MIN_MINUTES = 45
_CLIENT_STATE_CHARS_MAX = 128
_CHANGE_TYPES = ("created", "updated", "deleted")
_TLS_VERSIONS = ("v1_0", "v1_1", "v1_2", "v1_3")
_REQUIRED = ("changeType", "notificationUrl", "resource", "expirationDateTime")
_CHANGEABLE = ("expirationDateTime", "notificationUrl", "encryptionCertificate", "encryptionCertificateId")
_TEXTS = (*_REQUIRED, "lifecycleNotificationUrl", "clientState", "latestSupportedTlsVersion", *_CHANGEABLE[2:])
_READ_ONLY = frozenset({"id", "applicationId", "creatorId"})
_KNOWN = {*_TEXTS, "includeResourceData"}
_KEY = r"(?:/([^/?]+)|\('([^/?]+)'\))"  # a key as a segment, or in OData's parentheses
_RESOURCE = re.compile(rf"/?users{_KEY}(?:/calendar|/calendars{_KEY})?/events/?(?:\?(.*))?", re.IGNORECASE)
# What Graph notifies of besides calendars: below its root, and below a user.
_OTHER_ROOTS = frozenset(
    """appcatalogs chats communications copilot drives groups print security sites solutions storage teams""".split()  # noqa: SIM905  (a list of names is easier to read)
)
_OTHERS_OF_USER = frozenset(
    """chats contactfolders contacts drive mailfolders messages onlinemeetings presence todo""".split()  # noqa: SIM905  (as above)
)
_ME = re.compile(r"/?me(?:/|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSubscription:
    """What a POST asks for."""

    change_types: tuple[str, ...]
    notification_url: str
    lifecycle_url: str | None
    resource: str
    user: str
    """The mailbox as the resource names it."""
    calendar_id: str | None
    """The calendar, if the resource names one by id."""
    expires_at: datetime
    client_state: str | None
    tls_version: str
    include_resource_data: bool | None
    select: frozenset[str]
    encryption: Encryption | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionChange:
    """What a PATCH asks for; None stays."""

    expires_at: datetime | None
    notification_url: str | None
    encryption: Encryption | None


def parse_wanted(wire: JsonObject, now: datetime) -> WantedSubscription:
    """Read the body of a POST.

    Raises:
        GraphError: 400 for a mistake, 501 for what the emulator does not play.
    """
    given = _given(wire)
    _check_names(given)
    for name in _REQUIRED:
        if not given.get(name):
            raise _invalid(f"The value of {name} is required and must be a string.")
    if len(given.get("clientState", "")) > _CLIENT_STATE_CHARS_MAX:
        raise _invalid(f"clientState must be at most {_CLIENT_STATE_CHARS_MAX} characters.")
    tls_version = given.get("latestSupportedTlsVersion", "v1_2")
    if tls_version not in _TLS_VERSIONS:
        raise _invalid(f"The value of latestSupportedTlsVersion must be one of {', '.join(_TLS_VERSIONS)}.")
    for name in ("notificationUrl", "lifecycleNotificationUrl"):
        if name in given:
            _check_url(given[name])
    is_rich = bool(given.get("includeResourceData"))
    user, calendar_id, query = _parse_resource(given["resource"])
    certificate = given.get("encryptionCertificate"), given.get("encryptionCertificateId")
    return WantedSubscription(
        change_types=_parse_change_types(given["changeType"]),
        notification_url=given["notificationUrl"],
        lifecycle_url=given.get("lifecycleNotificationUrl"),
        resource=given["resource"],
        user=user,
        calendar_id=calendar_id,
        expires_at=_parse_expiry(given["expirationDateTime"], now, is_rich=is_rich),
        client_state=given.get("clientState"),
        tls_version=tls_version,
        include_resource_data=given.get("includeResourceData"),
        select=parse_resource_query(query, is_rich=is_rich),
        encryption=parse_encryption(*certificate) if is_rich or any(certificate) else None,
    )


def parse_change(wire: JsonObject, now: datetime, *, is_rich: bool) -> SubscriptionChange:
    """Read the body of a PATCH.

    Raises:
        GraphError: 400 for a mistake or a property that cannot be changed.
    """
    given = _given(wire)
    fixed = sorted(set(given) - set(_CHANGEABLE))
    if fixed:
        raise _invalid(f"These properties cannot be updated: {', '.join(fixed)}.")
    if "notificationUrl" in given:
        _check_url(given["notificationUrl"])
    expiry, certificate = given.get("expirationDateTime"), [given.get(name) for name in _CHANGEABLE[2:]]
    return SubscriptionChange(
        expires_at=None if expiry is None else _parse_expiry(expiry, now, is_rich=is_rich),
        notification_url=given.get("notificationUrl"),
        encryption=parse_encryption(*certificate) if any(certificate) else None,
    )


def _given(wire: JsonObject) -> JsonObject:
    """Give what is set in a body; null means the same as leaving out."""
    given = {name: value for name, value in wire.items() if value is not None and not name.startswith("@")}
    for name in _TEXTS:
        if not isinstance(given.get(name, ""), str):
            raise _invalid(f"The value of {name} must be a string.")
    if not isinstance(given.get("includeResourceData", False), bool):
        raise _invalid("The value of includeResourceData must be true or false.")
    return given


def _check_names(given: JsonObject) -> None:
    unknown = sorted(set(given) - _KNOWN)
    web_push = [name for name in unknown if name == "vapidPublicKey" or name.startswith("webPush")]
    if web_push:
        raise _invalid(f"These properties are for web push notifications only: {', '.join(web_push)}.")
    read_only = [name for name in unknown if name in _READ_ONLY]
    if read_only:
        raise _invalid(f"These properties are read-only: {', '.join(read_only)}.")
    if unknown:
        raise NotEmulated(f"the subscription properties {', '.join(unknown)}")


def _parse_change_types(text: str) -> tuple[str, ...]:
    found = {part.strip().lower() for part in text.split(",")}
    if not found <= set(_CHANGE_TYPES):
        raise _invalid(f"The value of changeType is not valid: {text}.")
    return tuple(kind for kind in _CHANGE_TYPES if kind in found)


def _parse_resource(text: str) -> tuple[str, str | None, str]:
    """Read a resource: the user's key, the calendar's id if one is named, and the query."""
    if _ME.match(text):
        raise GraphError(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
    match = _RESOURCE.fullmatch(text)
    if match is None:
        if _is_other(text):
            raise NotEmulated(f"notifications of {text}")
        raise invalid_resource()
    return _key(match[1], match[2]) or "", _key(match[3], match[4]), match[5] or ""


def _is_other(text: str) -> bool:
    """Tell whether Graph notifies of a resource that is no calendar."""
    root, *rest = text.lower().partition("?")[0].strip("/").split("/")
    name, key_begins, _ = root.partition("(")
    if name == "users":
        named = rest if key_begins else rest[1:]
        return not named or named[0].partition("(")[0] in _OTHERS_OF_USER
    return name in _OTHER_ROOTS


def _key(segment: str | None, quoted: str | None) -> str | None:
    return unquote(quoted).replace("''", "'") if quoted else unquote(segment) if segment else None


def _parse_expiry(text: str, now: datetime, *, is_rich: bool) -> datetime:
    try:
        at = parse_local(text)
    except ValueError:
        raise _invalid("The value of expirationDateTime is not a date and time.") from None
    if at.tzinfo is None:
        raise _invalid("The value of expirationDateTime must have an offset or end in Z.")
    if at <= now:
        raise _invalid("Subscription expiration date must be in the future.")
    minutes_max = _RICH_LIFETIME_MAX_MINUTES if is_rich else _LIFETIME_MAX_MINUTES
    if at > now + timedelta(minutes=minutes_max):
        message = f"Subscription expiration can only be {minutes_max} minutes in the future."
        raise GraphError(400, "ExtensionError", message)
    return max(at.astimezone(now.tzinfo), now + timedelta(minutes=_LIFETIME_MIN_MINUTES))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # the port is read because a wrong one raises
    except ValueError:
        raise _invalid("The notification endpoint is not a URL.") from None
    if parts.scheme.lower() in ("eventhub", "eventgrid"):
        raise NotEmulated(f"notifications to {parts.scheme}")
    is_local = parts.scheme == "http" and host in ("127.0.0.1", "localhost", "::1")
    if not host or not (parts.scheme == "https" or is_local):
        raise _invalid("The notification endpoint must be an absolute https URL.")


def _invalid(message: str) -> GraphError:
    return GraphError(400, "InvalidRequest", message)


def invalid_resource() -> GraphError:
    """Build the refusal for a resource that cannot be subscribed to."""
    return extension_error(400, "Create", "BadRequest", "The value of parameter 'Resource' is invalid.")


def extension_error(status: int, operation: str, name: str, reason: str) -> GraphError:
    """Build a refusal of Outlook's, as the subscription service wraps it."""
    message = f"Operation: {operation}; Exception: [Status Code: {name}; Reason: {reason}]"
    return GraphError(status, "ExtensionError", message)
