"""What a subscription is. Making, renewing and ending them is in `subscribing.py`, sending in `deliveries.py`."""

from dataclasses import dataclass, field
from datetime import datetime

from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.object_graph import NOT_DUMPED
from sidecar.emulator.zones import format_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """The subscriber's certificate, whose key encrypts resource data."""

    certificate: str
    """Base64 of the certificate's DER."""
    certificate_id: str
    """The subscriber's own name for it."""


@dataclass(slots=True, kw_only=True, eq=False)
class Authorization:
    """What entitles a subscription to notifications, and when that is looked at next."""

    until: datetime
    """When the token of the call that made, changed or reauthorized the subscription expires."""
    check_at: datetime
    """When it is checked next that the app may still read the mailbox."""
    ask_at: datetime | None = None
    """When the next `reauthorizationRequired` is due; None once it is too late for one."""
    look_at: datetime | None = field(default=None, metadata=NOT_DUMPED)
    """The moment a timer is set for."""
    denied_since: datetime | None = None
    """Since which check the app may not read the mailbox."""
    renewed_at: datetime
    """When `until` was last set."""
    patched_at: datetime | None = None
    reauthorized_at: datetime | None = None
    is_inconsistent: bool = False
    """The last two of PATCH and reauthorize came within ten minutes of each other."""


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
    authorization: Authorization
    tls_version: str = "v1_2"
    include_resource_data: bool | None = None
    select: frozenset[str] = frozenset()
    """The event's properties that notifications carry, if they carry resource data."""
    encryption: Encryption | None = None
    missed: bool = False
    """A `missed` lifecycle notification is already on its way."""


def render_subscription(subscription: Subscription, *, with_state: bool) -> JsonObject:
    """Write a subscription as Graph does; lists leave the client state out."""
    encryption = subscription.encryption
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
        "includeResourceData": subscription.include_resource_data,
        "latestSupportedTlsVersion": subscription.tls_version,
        "encryptionCertificate": encryption.certificate if encryption else None,
        "encryptionCertificateId": encryption.certificate_id if encryption else None,
        "notificationUrlAppId": None,
    }
