"""Makes sure that Exchange calls us about a room: first time, renewal and repair are the same code."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
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
from sidecar.sync.pace import SubscriptionPace
from sidecar.sync.reading import address_of, ref_of
from sidecar.sync.renewals import is_renewal_due, plan_renewal
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


@dataclass(frozen=True, slots=True)
class Kept:
    """All is as it should be. `next_at`: when to look again; None: there is nothing to do any more."""

    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NotYet:
    """There is something to do, but others are first; nothing was done."""

    until: datetime


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
        self.pace = SubscriptionPace(clock=clock)

    async def ensure(self, room: Room, tenant: Tenant) -> Kept | NotYet:
        """Create, renew or replace a room's subscription as needed, when it is its turn.

        Raises:
            SubscriptionRefused, WebhookUnreachable, or whatever else calling Microsoft raises.
        """
        if self._public_url is None:
            return Kept()
        existing = await self._store.subscriptions.load_for_room(room.uid)
        is_in_doubt = room.subscription_problem is not None or room.resyncs > 0
        if existing is not None and self._is_in_order(existing) and not is_in_doubt:
            return Kept(existing.renew_at)
        wait_s = self.pace.wait_s(tenant.uid, room.uid)
        if wait_s > 0.0:
            return NotYet(self._clock.now() + timedelta(seconds=wait_s))
        with self.pace.calling(tenant.uid):
            return Kept(await self._mend(existing, room, tenant, self._public_url))

    def _is_in_order(self, existing: Subscription) -> bool:
        is_live = existing.graph_id is not None and existing.url == self._public_url
        return is_live and not is_renewal_due(existing, now=self._clock.now(), life=self._life)

    async def _mend(
        self, existing: Subscription | None, room: Room, tenant: Tenant, public_url: str
    ) -> datetime | None:
        if existing is not None and existing.graph_id is not None:
            if existing.url == public_url:
                next_at = await self._renew(existing, existing.graph_id, tenant)
                if next_at is not None:
                    return next_at
            else:
                await self._delete(tenant, existing.graph_id)
            await self._store.subscriptions.lose(existing.key)
        return await self._create(room, tenant, public_url)

    async def _renew(self, existing: Subscription, graph_id: str, tenant: Tenant) -> datetime | None:
        """Prolong a subscription; None when Exchange no longer has it."""
        expires_at = self._clock.now() + self._life
        self.pace.note_write(tenant.uid)
        try:
            renewed = await self._subscriber.renew_subscription(ref_of(tenant), graph_id, expires_at=expires_at)
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

    async def _delete(self, tenant: Tenant, graph_id: str) -> None:
        self.pace.note_write(tenant.uid)
        await self._subscriber.delete_subscription(ref_of(tenant), graph_id)

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
            await self._delete(tenant, made.id)  # the room was unmapped meanwhile
            return None
        log.info("subscription.created", room_uid=room.uid, expires_at=made.expires_at.isoformat())
        return renew_at

    async def _ask(self, room: Room, tenant: Tenant, public_url: str, client_state: str) -> GraphSubscription:
        """Create at Exchange; one left over from a call whose answer was lost is replaced, for its secret is lost, too."""
        for is_last_try in (False, True):
            self.pace.note_write(tenant.uid)
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
                await self._delete(tenant, error.subscription_id)
        raise AssertionError("the loop returns or raises")

    def _renew_at(self, expires_at: datetime) -> datetime:
        return plan_renewal(expires_at, now=self._clock.now(), chance=self._rng.random())

    async def remove(self, key: str, tenant: Tenant) -> Kept | NotYet:
        """Delete a subscription that no room uses any more, at Exchange and here, when it is its turn."""
        subscription = await self._store.subscriptions.load(key)
        if subscription is None or subscription.room_uid is not None:
            return Kept()
        if subscription.graph_id is not None:
            wait_s = self.pace.wait_s(tenant.uid, key)
            if wait_s > 0.0:
                return NotYet(self._clock.now() + timedelta(seconds=wait_s))
            with self.pace.calling(tenant.uid):
                await self._delete(tenant, subscription.graph_id)
        await self._store.subscriptions.forget(key)
        return Kept()
