"""Making, renewing and ending subscriptions: who may, for which mailbox, and after which handshakes.

Source: Graph "Create subscription", "Update subscription", "subscription: reauthorize" and "Receive change notifications
through webhooks" pages; the 409 code and the texts of Outlook's refusals are what users have reported.
"""

from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.access import Caller, check_subscriber
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.mailbox import Mailbox, MailboxState
from sidecar.emulator.exchange.subscription import Authorization, Subscription
from sidecar.emulator.exchange.world import World
from sidecar.emulator.notify.authorization import next_ask
from sidecar.emulator.notify.deliveries import Deliveries
from sidecar.emulator.notify.handshake import LIFECYCLE_VALIDATION, VALIDATION, shake_hands
from sidecar.emulator.notify.sender import Sender
from sidecar.emulator.notify.subscription_input import (
    WantedSubscription,
    extension_error,
    invalid_resource,
    parse_change,
    parse_wanted,
)

_PER_MAILBOX_MAX = 1000  # of all apps together
_STATUS_NAMES = {403: "Forbidden", 404: "NotFound", 503: "ServiceUnavailable"}


class Subscribing:
    """The subscription service of one emulator."""

    def __init__(self, *, world: World, sender: Sender, deliveries: Deliveries) -> None:
        self._world = world
        self._sender = sender
        self._deliveries = deliveries

    async def create(self, caller: Caller, wire: JsonObject, *, immutable: bool) -> Subscription:
        """Make a subscription after shaking hands with both URLs.

        Raises:
            GraphError: as Graph refuses; nothing is kept then.
        """
        wanted = parse_wanted(wire, self._world.now())
        mailbox = self._mailbox(caller, wanted)
        self._check_free(caller, mailbox, wanted)
        for kind, url in ((VALIDATION, wanted.notification_url), (LIFECYCLE_VALIDATION, wanted.lifecycle_url)):
            if url is not None:
                await shake_hands(self._world, self._sender, caller.tenant, kind=kind, url=url)
        self._check_free(caller, mailbox, wanted)  # another call may have won meanwhile
        subscription = self._build(caller, mailbox, wanted, immutable=immutable)
        caller.tenant.add_subscription(subscription)
        self._deliveries.watch(caller.tenant, subscription)
        return subscription

    async def renew(self, caller: Caller, subscription_id: str, wire: JsonObject) -> Subscription:
        """Change the expiry, the notification URL (after a handshake) or the certificate; the caller's token authorizes anew.

        Raises:
            GraphError: as Graph refuses; nothing changes then.
        """
        subscription = self.find(caller, subscription_id)
        change = parse_change(wire, self._world.now(), is_rich=bool(subscription.include_resource_data))
        self._check_allowed(caller, subscription.mailbox, "Update")
        url = change.notification_url or subscription.notification_url
        handshake_share = self._world.moods_of(caller.tenant).renewal_handshake_share
        if url != subscription.notification_url or self._world.chance(handshake_share):
            await shake_hands(self._world, self._sender, caller.tenant, kind=VALIDATION, url=url)
            subscription = self.find(caller, subscription_id)  # it may have ended meanwhile
        subscription.notification_url = url
        subscription.expires_at = change.expires_at or subscription.expires_at
        subscription.encryption = change.encryption or subscription.encryption
        self._deliveries.renew(caller.tenant, subscription, until=caller.expires_at, by_patch=True)
        return subscription

    def reauthorize(self, caller: Caller, subscription_id: str) -> None:
        """Take the caller's token as the subscription's new authorization.

        Raises:
            GraphError: as Graph refuses.
        """
        subscription = self.find(caller, subscription_id)
        self._check_allowed(caller, subscription.mailbox, "Update")
        self._deliveries.renew(caller.tenant, subscription, until=caller.expires_at, by_patch=False)

    def find(self, caller: Caller, subscription_id: str) -> Subscription:
        """Find a live subscription of the caller's app.

        Raises:
            GraphError: 404 for one that is unknown, expired, or somebody else's.
        """
        found = caller.tenant.subscriptions.get(subscription_id.lower())
        if found is not None and found.expires_at <= self._world.now():
            caller.tenant.remove_subscription(found)
            found = None
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

    def _build(self, caller: Caller, mailbox: Mailbox, wanted: WantedSubscription, *, immutable: bool) -> Subscription:
        now, moods = self._world.now(), self._world.moods_of(caller.tenant)
        authorization = Authorization(
            until=caller.expires_at,
            renewed_at=now,
            check_at=self._world.after(moods.access_check_s),
            ask_at=next_ask(now, min(caller.expires_at, wanted.expires_at)),
        )
        return Subscription(
            subscription_id=self._world.ids.guid(),
            client_id=caller.app.client_id,
            principal_id=caller.app.principal_id,
            mailbox=mailbox,
            resource=wanted.resource,
            change_types=wanted.change_types,
            notification_url=wanted.notification_url,
            lifecycle_url=wanted.lifecycle_url,
            expires_at=wanted.expires_at,
            client_state=wanted.client_state,
            immutable=immutable,
            authorization=authorization,
            tls_version=wanted.tls_version,
            include_resource_data=wanted.include_resource_data,
            select=wanted.select,
            encryption=wanted.encryption,
        )

    def _mailbox(self, caller: Caller, wanted: WantedSubscription) -> Mailbox:
        mailbox = caller.tenant.mailbox(wanted.user)
        if mailbox is None or mailbox.state is MailboxState.GONE:
            raise GraphError(404, "ErrorInvalidUser", f"The requested user '{wanted.user}' is invalid.")
        self._check_allowed(caller, mailbox, "Create")
        if wanted.calendar_id not in (None, mailbox.calendar_id):
            raise invalid_resource()
        return mailbox

    def _check_allowed(self, caller: Caller, mailbox: Mailbox, operation: str) -> None:
        try:
            check_subscriber(caller, mailbox)
        except GraphError as error:
            status, reason = error.status, "Access is denied. Check credentials and try again."
            if status == 404:
                reason = "REST API is not yet supported for this mailbox."
            if status == 503:
                database = f"EURPR01DG{mailbox.object_id[:3].upper()}-db{mailbox.object_id[4:7]}"
                reason = (
                    f"Target resource '{mailbox.object_id}' hosted on database '{database}' is currently on "
                    "backend 'Unknown'"
                )
            raise extension_error(status, operation, _STATUS_NAMES[status], reason) from None
        if mailbox.state is MailboxState.GONE:
            reason = (
                "The specified object was not found in the store., The process failed to get the correct properties."
            )
            raise extension_error(404, operation, "NotFound", reason)

    def _check_free(self, caller: Caller, mailbox: Mailbox, wanted: WantedSubscription) -> None:
        mine = caller.tenant.watching(mailbox, self._world.now())
        for one in mine:
            same = _spelled(one.resource) == _spelled(wanted.resource) and one.change_types == wanted.change_types
            if same and one.client_id == caller.app.client_id:
                message = f"Subscription Id {one.subscription_id} already exists for the requested combination"
                raise GraphError(409, "ObjectIdentifierInUse", message)
        if len(mine) >= _PER_MAILBOX_MAX:
            raise GraphError(
                403, "Forbidden", f"The mailbox has reached its limit of {_PER_MAILBOX_MAX} subscriptions."
            )


def _spelled(resource: str) -> str:
    """Give a resource as duplicates are recognized: case and outer slashes do not matter."""
    return resource.strip("/").lower()
