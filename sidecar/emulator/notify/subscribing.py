"""Making, renewing and ending subscriptions, with the two handshakes.

Source: Graph "Create subscription", "Update subscription", "subscription: reauthorize" and "Receive change notifications
through webhooks" pages; the cap of 10,070 minutes, the 409 code and the failure texts are what users have reported.
"""

import asyncio
import re
from datetime import datetime, timedelta
from http import HTTPStatus
from urllib.parse import quote_plus, urlsplit

from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.exchange.access import READ_ROLES, Caller, check_mailbox
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.subscription import Subscription
from sidecar.emulator.exchange.world import World
from sidecar.emulator.notify.sender import Sender, SendFailed
from sidecar.emulator.zones import format_instant, parse_instant

_LIFETIME_MAX_MINUTES = 10_070
_LIFETIME_MIN_MINUTES = 45
_CLIENT_STATE_CHARS_MAX = 128
_PER_MAILBOX_MAX = 1000
_HANDSHAKE_TIMEOUT_S = 10.0
_RESOURCE = re.compile(r"/?users/([^/]+)/(?:calendar/)?events/?", re.IGNORECASE)
_CHANGE_TYPES = ("created", "updated", "deleted")
_CREATE_FIELDS = frozenset(
    """changeType notificationUrl lifecycleNotificationUrl resource expirationDateTime clientState
    latestSupportedTlsVersion includeResourceData""".split()  # noqa: SIM905  (a list of names is easier to read)
)


class Subscribing:
    """The subscription service of one emulator."""

    def __init__(self, *, world: World, sender: Sender) -> None:
        self._world = world
        self._sender = sender

    async def create(self, caller: Caller, wire: JsonObject, *, immutable: bool) -> Subscription:
        """Make a subscription after shaking hands with both URLs.

        Raises:
            GraphError: as Graph refuses; nothing is kept then.
        """
        self._check_fields(wire)
        change_types = _parse_change_types(wire["changeType"])
        expires_at = self._expiry(wire["expirationDateTime"])
        mailbox = self._mailbox(caller, wire["resource"])
        self._check_free(caller, mailbox, wire["resource"], change_types)
        lifecycle_url = wire.get("lifecycleNotificationUrl")
        for url in (wire["notificationUrl"], lifecycle_url):
            if url is not None:
                _check_url(url)
        for kind, url in (("validation", wire["notificationUrl"]), ("lifecycle validation", lifecycle_url)):
            if url is not None:
                await self._shake_hands(caller.tenant, kind, url)
        self._check_free(caller, mailbox, wire["resource"], change_types)  # another call may have won meanwhile
        subscription = Subscription(
            subscription_id=self._world.ids.guid(),
            client_id=caller.app.client_id,
            principal_id=caller.app.principal_id,
            mailbox=mailbox,
            resource=wire["resource"],
            change_types=change_types,
            notification_url=wire["notificationUrl"],
            lifecycle_url=lifecycle_url,
            expires_at=expires_at,
            client_state=wire.get("clientState"),
            immutable=immutable,
            tls_version=wire.get("latestSupportedTlsVersion") or "v1_2",
        )
        caller.tenant.add_subscription(subscription)
        return subscription

    async def renew(self, caller: Caller, subscription_id: str, wire: JsonObject) -> Subscription:
        """Change the expiry, the notification URL (after a handshake), or both.

        Raises:
            GraphError: as Graph refuses.
        """
        subscription = self.find(caller, subscription_id)
        unknown = set(wire) - {"expirationDateTime", "notificationUrl"}
        if unknown:
            raise GraphError(
                400, "InvalidRequest", f"These properties cannot be updated: {', '.join(sorted(unknown))}."
            )
        self._check_still_allowed(caller, subscription.mailbox, "Update")
        expires_at = subscription.expires_at
        if "expirationDateTime" in wire:
            expires_at = self._expiry(wire["expirationDateTime"])
        url = wire.get("notificationUrl")
        if url is not None and url != subscription.notification_url:
            _check_url(url)
            await self._shake_hands(caller.tenant, "validation", url)
            subscription.notification_url = url
        subscription.expires_at = expires_at
        return subscription

    def reauthorize(self, caller: Caller, subscription_id: str) -> None:
        """Take the caller's token as the subscription's new authorisation."""
        self._check_still_allowed(caller, self.find(caller, subscription_id).mailbox, "Update")

    def find(self, caller: Caller, subscription_id: str) -> Subscription:
        """Find a live subscription of the caller's app.

        Raises:
            GraphError: 404 for one that is unknown, expired, or somebody else's.
        """
        self.purge(caller.tenant)
        found = caller.tenant.subscriptions.get(subscription_id.lower())
        if found is None or found.client_id != caller.app.client_id:
            raise GraphError(404, "ResourceNotFound", "The object was not found.")
        return found

    def list(self, caller: Caller) -> list[Subscription]:
        """Give the live subscriptions of the caller's app, oldest first."""
        self.purge(caller.tenant)
        return [one for one in caller.tenant.subscriptions.values() if one.client_id == caller.app.client_id]

    def purge(self, tenant: Tenant) -> None:
        """Forget what has expired; nobody is told, as with Microsoft."""
        now = self._world.now()
        for subscription in [one for one in tenant.subscriptions.values() if one.expires_at <= now]:
            tenant.remove_subscription(subscription)

    def _check_fields(self, wire: JsonObject) -> None:
        given = {name for name, value in wire.items() if value is not None and not name.startswith("@")}
        unknown = given - _CREATE_FIELDS
        if unknown:
            raise NotEmulated(f"the subscription properties {', '.join(sorted(unknown))}")
        if wire.get("includeResourceData"):
            raise NotEmulated("notifications with resource data")
        for name in ("changeType", "notificationUrl", "resource", "expirationDateTime"):
            if not isinstance(wire.get(name), str) or not wire[name]:
                raise GraphError(400, "InvalidRequest", f"The value of {name} is required and must be a string.")
        if len(wire.get("clientState") or "") > _CLIENT_STATE_CHARS_MAX:
            raise GraphError(
                400, "InvalidRequest", f"clientState must be at most {_CLIENT_STATE_CHARS_MAX} characters."
            )

    def _expiry(self, text: str) -> datetime:
        now = self._world.now()
        try:
            at = parse_instant(text)
        except ValueError:
            raise GraphError(400, "InvalidRequest", "The value of expirationDateTime is not a date and time.") from None
        if at <= now:
            raise GraphError(400, "InvalidRequest", "Subscription expiration date must be in the future.")
        if at > now + timedelta(minutes=_LIFETIME_MAX_MINUTES):
            message = f"Subscription expiration can only be {_LIFETIME_MAX_MINUTES} minutes in the future."
            raise GraphError(400, "ExtensionError", message)
        return max(at, now + timedelta(minutes=_LIFETIME_MIN_MINUTES))

    def _mailbox(self, caller: Caller, resource: str) -> Mailbox:
        match = _RESOURCE.fullmatch(resource)
        if match is None:
            raise _extension_error(400, "Create", "BadRequest", "The value of parameter 'Resource' is invalid.")
        mailbox = caller.tenant.mailbox(match[1])
        if mailbox is None:
            raise GraphError(404, "ErrorInvalidUser", f"The requested user '{match[1]}' is invalid.")
        self._check_still_allowed(caller, mailbox, "Create")
        return mailbox

    def _check_still_allowed(self, caller: Caller, mailbox: Mailbox, operation: str) -> None:
        try:
            check_mailbox(caller, mailbox, READ_ROLES)
        except GraphError as error:
            status, reason = error.status, "Access is denied. Check credentials and try again."
            name = {403: "Forbidden", 404: "NotFound", 503: "ServiceUnavailable"}[status]
            if status == 404:
                reason = "REST API is not yet supported for this mailbox."
            if status == 503:
                reason = f"Target resource '{mailbox.object_id}' is currently on backend 'Unknown'"
            raise _extension_error(status, operation, name, reason) from None

    def _check_free(self, caller: Caller, mailbox: Mailbox, resource: str, change_types: tuple[str, ...]) -> None:
        mine = caller.tenant.watching(mailbox, self._world.now())
        for one in mine:
            same = one.resource.strip("/").lower() == resource.strip("/").lower() and one.change_types == change_types
            if same and one.client_id == caller.app.client_id:
                message = f"Subscription Id {one.subscription_id} already exists for the requested combination"
                raise GraphError(409, "ObjectIdentifierInUse", message)
        if len(mine) >= _PER_MAILBOX_MAX:
            raise GraphError(
                403, "Forbidden", f"The mailbox has reached its limit of {_PER_MAILBOX_MAX} subscriptions."
            )

    async def _shake_hands(self, tenant: Tenant, kind: str, url: str) -> None:
        token = (
            f"Validation: Testing client application reachability for subscription Request-Id: {self._world.ids.guid()}"
        )
        target = f"{url}{'&' if urlsplit(url).query else '?'}validationToken={quote_plus(token)}"
        headers = {"content-type": "text/plain; charset=utf-8"}
        failure: str | None = None
        try:
            async with asyncio.timeout(_HANDSHAKE_TIMEOUT_S):
                answer = await self._sender.post(target, headers=headers, body=b"")
            if answer.status != 200:
                failure = (
                    f"Subscription validation request failed. HTTP status code is '{_status_name(answer.status)}'. "
                    "Notification endpoint must respond with 200 OK to validation request."
                )
            elif answer.body != token or not answer.content_type.lower().startswith("text/plain"):
                failure = "Subscription validation request failed. Response must exactly match validationToken query parameter."
        except (TimeoutError, SendFailed):
            failure = "Subscription validation request timed out."
        at = format_instant(self._world.now())
        tenant.note_delivery(
            {
                "at": at,
                "kind": kind,
                "url": url,
                "attempt": 1,
                "outcome": failure or "accepted",
                "status": None,
                "items": [],
            }
        )
        if failure is not None:
            raise GraphError(400, "ValidationError", failure)


def _parse_change_types(text: str) -> tuple[str, ...]:
    found = {part.strip().lower() for part in text.split(",")}
    if not found <= set(_CHANGE_TYPES):
        raise GraphError(400, "InvalidRequest", f"The value of changeType is not valid: {text}.")
    return tuple(kind for kind in _CHANGE_TYPES if kind in found)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not parts.hostname or not (parts.scheme == "https" or local):
        raise GraphError(400, "InvalidRequest", "The notification endpoint must be an absolute https URL.")


def _status_name(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.replace(" ", "")
    except ValueError:
        return str(status)


def _extension_error(status: int, operation: str, name: str, reason: str) -> GraphError:
    message = f"Operation: {operation}; Exception: [Status Code: {name}; Reason: {reason}]"
    return GraphError(status, "ExtensionError", message)
