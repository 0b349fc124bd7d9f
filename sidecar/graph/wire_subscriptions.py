"""The form of requests about subscriptions, and of their answers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from sidecar.graph.wire import MALFORMED, Call, Malformed, Subject, WireStruct, format_instant, segment


class _Subscription(WireStruct, frozen=True):
    id: str
    expiration_date_time: datetime
    resource: str = ""
    notification_url: str | None = None
    lifecycle_notification_url: str | None = None
    client_state: str | None = None


class _RawSubscriptionPage(WireStruct, frozen=True):
    value: list[_Subscription]
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSubscription:
    """A subscription as Graph tells it; only the expiry told here counts, not the one asked for.

    `notification_url` is without what `call_webhook_call` has added to it.
    """

    id: str
    expires_at: datetime
    resource: str
    notification_url: str | None
    lifecycle_url: str | None
    client_state: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    """Some of the application's subscriptions; client states are withheld. `next_link` None: these were the last ones."""

    subscriptions: tuple[GraphSubscription, ...]
    next_link: str | None


_ENDING = "?call="
_SUBSCRIPTION = msgspec.json.Decoder(_Subscription)
_SUBSCRIPTION_PAGE = msgspec.json.Decoder(_RawSubscriptionPage)


def create_subscription_call(
    mailbox: str, *, notification_url: str, lifecycle_url: str, client_state: str, expires_at: datetime
) -> Call:
    """Ask to be told of a mailbox's changes.

    Not repeatable: a try whose answer was lost may have made one. The next ordinary try finds it, by a 409 naming it.
    """
    body = {
        "changeType": "created,updated,deleted",
        "notificationUrl": notification_url,
        "lifecycleNotificationUrl": lifecycle_url,
        "resource": f"/users/{segment(mailbox)}/events",
        "expirationDateTime": format_instant(expires_at),
        "clientState": client_state,
        "latestSupportedTlsVersion": "v1_2",
    }
    return Call(
        method="POST",
        path="/subscriptions",
        subject=Subject.SUBSCRIPTION_CREATE,
        is_repeatable=False,
        content=msgspec.json.encode(body),
    )


def renew_subscription_call(graph_id: str, *, expires_at: datetime) -> Call:
    """Ask for a longer life; this also renews Graph's own permission to tell us."""
    content = msgspec.json.encode({"expirationDateTime": format_instant(expires_at)})
    return Call(
        method="PATCH", path=f"/subscriptions/{segment(graph_id)}", subject=Subject.SUBSCRIPTION, content=content
    )


def repoint_subscription_call(graph_id: str, *, notification_url: str) -> Call:
    """Ask to be told of changes somewhere else; Graph tries the new address first. The lifecycle address stays as it is."""
    content = msgspec.json.encode({"notificationUrl": notification_url})
    return Call(
        method="PATCH", path=f"/subscriptions/{segment(graph_id)}", subject=Subject.SUBSCRIPTION, content=content
    )


def call_webhook_call(graph_id: str, *, notification_url: str, ending: str) -> Call:
    """Ask to be told of changes at the same place under another name: Graph tries only what is new to it.

    Graph keeps the query of an address in whatever it sends there, and our listener goes by the path.
    """
    return repoint_subscription_call(graph_id, notification_url=f"{notification_url}{_ENDING}{ending}")


def read_subscription_call(graph_id: str) -> Call:
    """Ask for a subscription. Only a read by id tells the client state; the list withholds it."""
    return Call(method="GET", path=f"/subscriptions/{segment(graph_id)}", subject=Subject.SUBSCRIPTION)


def list_subscriptions_call(link: str | None) -> Call:
    """Ask for the application's subscriptions in the tenant, or with a link for those that follow."""
    return Call(method="GET", path=link or "/subscriptions", subject=Subject.SUBSCRIPTION)


def delete_subscription_call(graph_id: str) -> Call:
    """Ask not to be told any more."""
    return Call(method="DELETE", path=f"/subscriptions/{segment(graph_id)}", subject=Subject.SUBSCRIPTION)


def parse_subscription(body: bytes) -> GraphSubscription:
    """Read a subscription.

    Raises:
        Malformed: it has no id or no expiry.
    """
    try:
        told = _SUBSCRIPTION.decode(body)
    except MALFORMED as error:
        raise Malformed("not a subscription") from error
    return _subscription(told)


def parse_subscription_page(body: bytes) -> SubscriptionPage:
    """Read a page of subscriptions.

    Raises:
        Malformed: it is no such page. One that is left out would be taken for lost, so a page is read whole or not at all.
    """
    try:
        page = _SUBSCRIPTION_PAGE.decode(body)
    except MALFORMED as error:
        raise Malformed("not a page of subscriptions") from error
    return SubscriptionPage(tuple(_subscription(told) for told in page.value), page.next_link or None)


def _subscription(told: _Subscription) -> GraphSubscription:
    expires_at = told.expiration_date_time
    return GraphSubscription(
        id=told.id,
        expires_at=expires_at.astimezone(UTC) if expires_at.tzinfo else expires_at.replace(tzinfo=UTC),
        resource=told.resource,
        notification_url=told.notification_url and told.notification_url.partition(_ENDING)[0],
        lifecycle_url=told.lifecycle_notification_url,
        client_state=told.client_state,
    )
