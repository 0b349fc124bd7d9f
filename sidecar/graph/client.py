"""Reads room calendars and keeps subscriptions at Graph, in the words of this service.

What the rest of the service calls. It knows which requests make up a read and when a set of pages is complete; how one
request is sent stands in `transport`, what its bytes mean in `wire`, `events` and `refusals`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sidecar.errors import (
    BookingNotFound,
    ConsentMissing,
    DeltaUnusable,
    GraphRefused,
    GraphUnavailable,
    MailboxNotFound,
    RoomBlocked,
    SubscriptionGone,
)
from sidecar.graph import wire, wire_directory, wire_series, wire_subscriptions
from sidecar.graph.answers import budget, understood
from sidecar.graph.clouds import TenantRef, endpoints_of
from sidecar.graph.delta import Round, is_forgotten
from sidecar.graph.events import iana_zone
from sidecar.graph.throttle import PLACES, SUBSCRIPTIONS
from sidecar.graph.transport import Transport
from sidecar.graph.wire import Call, DeltaRound, GraphEvent
from sidecar.graph.wire_directory import Identity, PlacesPage
from sidecar.graph.wire_series import GraphSeries
from sidecar.graph.wire_subscriptions import GraphSubscription, SubscriptionPage
from sidecar.model.tenant import Cloud
from sidecar.model.window import Window
from sidecar.settings import GraphSettings

_PAGED_READ_REQUESTS = 10
"""A read of many pages may last as long as this many requests at their slowest."""


class GraphClient:
    """Graph, as far as this service needs it.

    A mailbox is named by its address or, better, its object id. Every method may raise `CredentialRejected`,
    `ConsentMissing` or `DirectoryNotFound` (the tenant is refused), `MailboxDenied`, `MailboxNotFound` or
    `MailboxNotInCloud` (one room is), `Throttled` or `GraphUnavailable` (later), and `GraphRefused` (anything else that
    Exchange refuses). Details hold status, code and Graph's request id.
    """

    def __init__(self, *, transport: Transport, settings: GraphSettings) -> None:
        self._settings = settings
        self._transport = transport
        self._request_s = settings.attempts_max * (settings.request_s + settings.wait_in_place_s)
        self._read_s = _PAGED_READ_REQUESTS * settings.request_s

    async def fetch_view(self, tenant: TenantRef, mailbox: str, window: Window) -> list[GraphEvent]:
        """Read all events that touch a window, occurrences expanded, each id once.

        A day more is read at both ends, because whole-day events float; filtering it back is the caller's.
        """
        call = wire.view_call(mailbox, window, page_size=self._settings.page_size)
        return await self._fetch_pages(tenant, mailbox, call)

    async def fetch_delta(self, tenant: TenantRef, mailbox: str, window: Window, *, link: str | None) -> DeltaRound:
        """Read what changed since `link`; without one everything in a window, a day more at both ends.

        Args:
            link: what an earlier round of this mailbox and window ended with.
        Raises:
            DeltaUnusable: Exchange has forgotten the link, it leads elsewhere, or the pages have no end.
        """
        pages = Round(pages_max=self._settings.pages_max)
        base = endpoints_of(tenant.cloud, self._settings).graph_url
        call = wire.delta_call(mailbox, window)
        async with budget(self._read_s):
            while True:
                if link is not None:
                    if not link.startswith(f"{base}/"):
                        raise DeltaUnusable("a delta link leads to another place than Graph is at now")
                    call = wire.delta_link_call(link)
                try:
                    body = await self._transport.send(tenant, mailbox, call)
                except (GraphRefused, MailboxNotFound) as error:
                    if link is None or not is_forgotten(error):
                        raise
                    raise DeltaUnusable("Exchange has forgotten a delta link", details=error.details) from error
                with understood():
                    page = wire.parse_delta_page(body)
                taken = pages.take(page)
                if not isinstance(taken, str):
                    return taken
                link = taken

    async def fetch_instances(
        self, tenant: TenantRef, mailbox: str, master_id: str, window: Window
    ) -> list[GraphEvent] | None:
        """Read the occurrences of a series that touch a window, a day more at both ends; None when the series is gone."""
        call = wire.instances_call(mailbox, master_id, window, page_size=self._settings.page_size)
        try:
            return await self._fetch_pages(tenant, mailbox, call)
        except BookingNotFound:
            return None

    async def fetch_event(self, tenant: TenantRef, mailbox: str, event_id: str) -> GraphEvent | None:
        """Read one event; None when it is gone."""
        try:
            body = await self._send(tenant, mailbox, wire.event_call(mailbox, event_id))
        except BookingNotFound:
            return None
        with understood():
            return wire.parse_event(body)

    async def fetch_series(self, tenant: TenantRef, mailbox: str, master_id: str) -> GraphSeries | None:
        """Read a series with what became of single days; None when it is gone."""
        tells_cancelled = tenant.cloud is Cloud.GLOBAL  # others' Graph has no such property
        try:
            body = await self._send(
                tenant, mailbox, wire_series.series_call(mailbox, master_id, tells_cancelled=tells_cancelled)
            )
        except BookingNotFound:
            return None
        with understood():
            return wire_series.parse_series(body)

    async def fetch_contents(
        self, tenant: TenantRef, mailbox: str, event_id: str
    ) -> dict[str, Any] | None:  # Any: JSON
        """Read what an event says, in the form in which it can be written; None when it is gone."""
        try:
            body = await self._send(tenant, mailbox, wire_series.contents_call(mailbox, event_id))
        except BookingNotFound:
            return None
        with understood():
            return wire_series.parse_contents(body)

    async def fetch_mailbox(self, tenant: TenantRef, mailbox: str) -> tuple[str | None, str | None]:
        """Read a mailbox's object id and its IANA time zone; None for what the application may not know.

        Neither is needed for reading calendars, and both need permissions of their own, so a refusal is no error.
        """
        identity = await self.fetch_identity(tenant, mailbox)
        zone = await self._send_if_allowed(tenant, mailbox, wire_directory.zone_call(mailbox))
        zone_name = wire_directory.parse_zone(zone) if zone else None
        return None if identity is None else identity.id, iana_zone(zone_name) or None

    async def fetch_identity(self, tenant: TenantRef, mailbox: str) -> Identity | None:
        """Read what the directory says of a mailbox; None when it knows none, or the application may not ask."""
        body = await self._send_if_allowed(tenant, mailbox, wire_directory.identity_call(mailbox))
        return wire_directory.parse_identity(body) if body else None

    async def fetch_places(self, tenant: TenantRef, query: str | None, *, page_size: int) -> PlacesPage:
        """Read some of the organisation's rooms, beginning with the first ones (None) or after a page.

        Raises:
            PlacesDenied, PlacesMissing: there is nothing to be read.
        """
        body = await self._send(tenant, PLACES, wire_directory.places_call(query, page_size=page_size))
        with understood():
            return wire_directory.parse_places(body)

    async def probe(self, tenant: TenantRef, mailbox: str) -> None:
        """Return when the application may read the room's calendar; raise what stands in the way."""
        await self._send(tenant, mailbox, wire.probe_call(mailbox))

    async def create_subscription(
        self,
        tenant: TenantRef,
        mailbox: str,
        *,
        notification_url: str,
        lifecycle_url: str,
        client_state: str,
        expires_at: datetime,
    ) -> GraphSubscription:
        """Have Exchange call us about a mailbox. It calls both URLs before it answers.

        Raises:
            SubscriptionExists: there is one already, made by a call whose answer was lost.
            WebhookUnreachable, SubscriptionRefused: see `details["cause"]`.
        """
        call = wire_subscriptions.create_subscription_call(
            mailbox,
            notification_url=notification_url,
            lifecycle_url=lifecycle_url,
            client_state=client_state,
            expires_at=expires_at,
        )
        body = await self._send(tenant, SUBSCRIPTIONS, call)
        with understood():
            return wire_subscriptions.parse_subscription(body)

    async def renew_subscription(self, tenant: TenantRef, graph_id: str, *, expires_at: datetime) -> GraphSubscription:
        """Prolong a subscription; this also answers `reauthorizationRequired`.

        Raises:
            SubscriptionGone: it does not exist any more.
        """
        body = await self._send(
            tenant, SUBSCRIPTIONS, wire_subscriptions.renew_subscription_call(graph_id, expires_at=expires_at)
        )
        with understood():
            return wire_subscriptions.parse_subscription(body)

    async def repoint_subscription(self, tenant: TenantRef, graph_id: str, *, notification_url: str) -> None:
        """Have Exchange announce changes somewhere else. It calls the address before it answers.

        Raises:
            SubscriptionGone: it does not exist any more.
            WebhookUnreachable: nobody answers there; the subscription is as it was.
        """
        await self._send(
            tenant,
            SUBSCRIPTIONS,
            wire_subscriptions.repoint_subscription_call(graph_id, notification_url=notification_url),
        )

    async def call_webhook(self, tenant: TenantRef, graph_id: str, *, notification_url: str, ending: str) -> None:
        """Have Exchange call the address that a subscription has already, to see whether somebody answers there.

        Args:
            ending: what tells this call's address from the one before; Exchange calls only what is new to it.
        Raises:
            SubscriptionGone: it does not exist any more.
            WebhookUnreachable: nobody answers there; the subscription is as it was.
        """
        call = wire_subscriptions.call_webhook_call(graph_id, notification_url=notification_url, ending=ending)
        await self._send(tenant, SUBSCRIPTIONS, call)

    async def fetch_subscription(self, tenant: TenantRef, graph_id: str) -> GraphSubscription | None:
        """Read a subscription; None when it does not exist."""
        try:
            body = await self._send(tenant, SUBSCRIPTIONS, wire_subscriptions.read_subscription_call(graph_id))
        except SubscriptionGone:
            return None
        with understood():
            return wire_subscriptions.parse_subscription(body)

    async def fetch_subscription_page(self, tenant: TenantRef, link: str | None) -> SubscriptionPage:
        """Read some of the application's subscriptions, beginning with the first ones (None) or after a page.

        Exchange allows few of these: 25 in 20 seconds for each application and tenant.
        """
        body = await self._send(tenant, SUBSCRIPTIONS, wire_subscriptions.list_subscriptions_call(link))
        with understood():
            return wire_subscriptions.parse_subscription_page(body)

    async def delete_subscription(self, tenant: TenantRef, graph_id: str) -> None:
        """Make sure that a subscription does not exist."""
        try:
            await self._send(tenant, SUBSCRIPTIONS, wire_subscriptions.delete_subscription_call(graph_id))
        except SubscriptionGone:
            return

    async def _fetch_pages(self, tenant: TenantRef, mailbox: str, call: Call) -> list[GraphEvent]:
        """Follow the pages to the end. Changes while we read repeat items or shift them: the last word on an id wins."""
        events: dict[str, GraphEvent] = {}
        links: set[str] = set()
        async with budget(self._read_s):
            while True:
                body = await self._transport.send(tenant, mailbox, call)
                with understood():
                    page = wire.parse_page(body)
                events.update((event.id, event) for event in page.value)
                link = page.next_link
                if not link:
                    return list(events.values())
                # Only a complete set may take bookings away, so an endless one is a failure and not a result.
                if link in links or len(links) + 1 >= self._settings.pages_max:
                    raise GraphUnavailable(
                        "Exchange's pages have no end", details={"pages_count": str(len(links)), "subject": "mailbox"}
                    )
                links.add(link)
                call = replace(call, path=link)

    async def _send(self, tenant: TenantRef, lane: str, call: Call) -> bytes:
        async with budget(self._request_s):
            return await self._transport.send(tenant, lane, call)

    async def _send_if_allowed(self, tenant: TenantRef, mailbox: str, call: Call) -> bytes | None:
        try:
            return await self._send(tenant, mailbox, call)
        except (RoomBlocked, ConsentMissing, GraphRefused):
            return None
