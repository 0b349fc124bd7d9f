"""What a subscription is. Making, renewing and ending them is in `subscribing.py`, sending in `deliveries.py`."""

from dataclasses import dataclass
from datetime import datetime

from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.zones import format_seconds


@dataclass(slots=True, kw_only=True, eq=False)
class Subscription:
    """A promise to call somebody when a mailbox's events change.

    Source: Graph "subscription resource type" page.
    """

    subscription_id: str
    client_id: str
    principal_id: str
    mailbox: Mailbox
    resource: str
    """As the caller wrote it."""
    change_types: tuple[str, ...]
    notification_url: str
    lifecycle_url: str | None
    expires_at: datetime
    client_state: str | None
    immutable: bool
    """The id format of all its notifications, decided by the creating call."""
    tls_version: str = "v1_2"
    missed: bool = False
    """A `missed` lifecycle notification is already on its way."""


def render_subscription(subscription: Subscription, *, with_state: bool) -> JsonObject:
    """Write a subscription as Graph does; lists leave the client state out."""
    return {
        "id": subscription.subscription_id,
        "resource": subscription.resource,
        "applicationId": subscription.client_id,
        "changeType": ",".join(subscription.change_types),
        "clientState": subscription.client_state if with_state else None,
        "notificationUrl": subscription.notification_url,
        "notificationQueryOptions": None,
        "lifecycleNotificationUrl": subscription.lifecycle_url,
        "expirationDateTime": format_seconds(subscription.expires_at),
        "creatorId": subscription.principal_id,
        "includeResourceData": None,
        "latestSupportedTlsVersion": subscription.tls_version,
        "encryptionCertificate": None,
        "encryptionCertificateId": None,
        "notificationUrlAppId": None,
    }
