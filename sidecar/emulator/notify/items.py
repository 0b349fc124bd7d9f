"""The JSON of single notifications, in the spellings that have been seen.

Source: Graph "changeNotification resource type" page; "Receive change notifications through webhooks" page for the `id`, the
short form of the expiry and the lower-case resource, "Change notifications for Outlook resources" page for the others.
"""

from datetime import datetime

from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import Event, JsonObject, etag, event_id
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.subscription import Subscription
from sidecar.emulator.exchange.world import World
from sidecar.emulator.notify.rich import encrypt
from sidecar.emulator.wire.options import Shape
from sidecar.emulator.wire.rendering import render_event
from sidecar.emulator.zones import format_instant


def change_item(
    world: World, tenant: Tenant, mailbox: Mailbox, subscription: Subscription, change: str, event: Event
) -> JsonObject:
    """Build the notification of a change, with the event's present properties if the subscription wants them.

    A `deleted` notification carries no resource data: there is no resource left to read.
    """
    share = world.moods_of(tenant).notify_spelling_share
    item_id = event_id(event, immutable=subscription.immutable)
    path = f"Users/{mailbox.object_id}/Events/{item_id}"
    item: JsonObject = {"id": world.ids.guid()} if world.chance(share) else {}
    item |= {
        "subscriptionId": subscription.subscription_id,
        "subscriptionExpirationDateTime": _expiry(subscription.expires_at, is_short=world.chance(share)),
        "changeType": change,
        "resource": f"users/{mailbox.object_id}/events/{item_id}" if world.chance(share) else path,
        "resourceData": {
            "@odata.type": "#Microsoft.Graph.Event",
            "@odata.id": path,
            "@odata.etag": etag(event),
            "id": item_id,
        },
        "clientState": subscription.client_state,
        "tenantId": tenant.tenant_id,
    }
    if subscription.encryption is not None and subscription.include_resource_data and change != "deleted":
        shape = Shape(immutable=subscription.immutable, select=subscription.select)
        item["encryptedContent"] = encrypt(render_event(event, shape), subscription.encryption, world.rng)
    return item


def lifecycle_item(tenant: Tenant, subscription: Subscription, lifecycle_event: str) -> JsonObject:
    """Build a lifecycle notification."""
    return {
        "subscriptionId": subscription.subscription_id,
        "subscriptionExpirationDateTime": format_instant(subscription.expires_at),
        "tenantId": tenant.tenant_id,
        "clientState": subscription.client_state,
        "lifecycleEvent": lifecycle_event,
    }


def _expiry(at: datetime, *, is_short: bool) -> str:
    if is_short:
        return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
    return format_instant(at).replace("Z", "+00:00")
