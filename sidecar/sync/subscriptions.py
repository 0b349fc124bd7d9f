"""Makes sure that Exchange calls us about a room: first time, renewal and repair are the same code."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from random import Random
from typing import Protocol

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import SubscriptionExists, SubscriptionGone
from sidecar.graph.clouds import TenantRef
from sidecar.graph.wire import GraphSubscription
from sidecar.model.room import Room
from sidecar.model.subscription import Subscription
from sidecar.model.tenant import Tenant
from sidecar.settings import LIFECYCLE_PATH, NOTIFICATIONS_PATH, SyncSettings
from sidecar.store.store import Store
from sidecar.sync.rooms import address_of, ref_of
from sidecar.telemetry import Telemetry

log = structlog.get_logger(__name__)


class Subscriber(Protocol):
    """Keeping subscriptions at Microsoft; `graph.client.GraphClient` is one. Errors are those it names."""

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
        """Have Exchange call us about a mailbox."""

    async def renew_subscription(self, tenant: TenantRef, graph_id: str, *, expires_at: datetime) -> GraphSubscription:
        """Prolong a subscription."""

    async def delete_subscription(self, tenant: TenantRef, graph_id: str) -> None:
        """Make sure that a subscription does not exist."""


class SubscriptionKeeper:
    """Keeps one live subscription for each room."""

    def __init__(
        self,
        *,
        store: Store,
        subscriber: Subscriber,
        public_url: str | None,
        clock: Clock,
        rng: Random,
        settings: SyncSettings,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._subscriber = subscriber
        self._public_url = public_url
        self._clock = clock
        self._rng = rng
        self._life = timedelta(minutes=settings.subscription_minutes)
        self._telemetry = telemetry

    async def ensure(self, room: Room, tenant: Tenant) -> datetime | None:
        """Create, renew or replace a room's subscription as needed.

        Returns:
            When to look again; None when there is no webhook address and so nothing to do.
        Raises:
            SubscriptionRefused, WebhookUnreachable, or whatever else calling Microsoft raises.
        """
        if self._public_url is None:
            return None
        existing = await self._store.subscriptions.load_for_room(room.uid)
        if existing is not None and existing.graph_id is not None:
            if existing.url == self._public_url:
                is_in_doubt = room.subscription_problem is not None or room.resyncs > 0
                next_at = await self._keep(existing, existing.graph_id, tenant, is_in_doubt=is_in_doubt)
                if next_at is not None:
                    return next_at
            else:
                await self._subscriber.delete_subscription(ref_of(tenant), existing.graph_id)
            await self._store.subscriptions.lose(existing.key)
        return await self._create(room, tenant, self._public_url)

    async def _keep(
        self, existing: Subscription, graph_id: str, tenant: Tenant, *, is_in_doubt: bool
    ) -> datetime | None:
        """Renew a subscription if it is time, or if it is in doubt; None when Exchange no longer has it."""
        now = self._clock.now()
        is_in_order = existing.renew_at is not None and existing.renew_at > now
        if is_in_order and not is_in_doubt:
            return existing.renew_at
        try:
            renewed = await self._subscriber.renew_subscription(ref_of(tenant), graph_id, expires_at=now + self._life)
        except SubscriptionGone:
            log.warning("subscription.gone", room_uid=existing.room_uid)
            self._telemetry.count("subscriptions_lost", 1)
            return None
        renew_at = self._renew_at(renewed.expires_at)
        await self._store.subscriptions.confirm(
            existing.key, graph_id=graph_id, expires_at=renewed.expires_at, renew_at=renew_at
        )
        log.info("subscription.renewed", room_uid=existing.room_uid, expires_at=renewed.expires_at.isoformat())
        return renew_at

    async def _create(self, room: Room, tenant: Tenant, public_url: str) -> datetime | None:
        """Ask for a subscription. Its key is in the store before Exchange hears of it: the first call may come at once."""
        key, secret = secrets.token_urlsafe(12), secrets.token_urlsafe(32)
        await self._store.subscriptions.prepare(
            room.uid,
            tenant.uid,
            key=key,
            secret_hash=hashlib.sha256(secret.encode()).digest(),
            directory_id=tenant.directory_id,
            url=public_url,
        )
        made = await self._ask(room, tenant, public_url, f"{key}.{secret}")
        renew_at = self._renew_at(made.expires_at)
        if not await self._store.subscriptions.confirm(
            key, graph_id=made.id, expires_at=made.expires_at, renew_at=renew_at
        ):
            await self._subscriber.delete_subscription(ref_of(tenant), made.id)  # the room was unmapped meanwhile
            return None
        log.info("subscription.created", room_uid=room.uid, expires_at=made.expires_at.isoformat())
        return renew_at

    async def _ask(self, room: Room, tenant: Tenant, public_url: str, client_state: str) -> GraphSubscription:
        """Create at Exchange; one left over from a call whose answer was lost is replaced, for its secret is lost, too."""
        for is_last_try in (False, True):
            try:
                return await self._subscriber.create_subscription(
                    ref_of(tenant),
                    address_of(room),
                    notification_url=public_url + NOTIFICATIONS_PATH,
                    lifecycle_url=public_url + LIFECYCLE_PATH,
                    client_state=client_state,
                    expires_at=self._clock.now() + self._life,
                )
            except SubscriptionExists as error:
                if is_last_try or error.subscription_id is None:
                    raise
                await self._subscriber.delete_subscription(ref_of(tenant), error.subscription_id)
        raise AssertionError("the loop returns or raises")

    def _renew_at(self, expires_at: datetime) -> datetime:
        """Return the middle of what is left, moved by up to a tenth, so that renewals spread out."""
        now = self._clock.now()
        return now + (expires_at - now) * (0.45 + self._rng.random() / 10)

    async def remove(self, key: str, tenant: Tenant) -> None:
        """Delete a subscription that no room uses any more, at Exchange and here."""
        subscription = await self._store.subscriptions.load(key)
        if subscription is None or subscription.room_uid is not None:
            return
        if subscription.graph_id is not None:
            await self._subscriber.delete_subscription(ref_of(tenant), subscription.graph_id)
        await self._store.subscriptions.forget(key)
