"""Makes sure that Exchange calls us about a room: first time, renewal, repair and replacement are the same code."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Protocol, assert_never

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import (
    GraphRefused,
    RoomBlocked,
    SecretUnreadable,
    SubscriptionExists,
    SubscriptionGone,
    SubscriptionProblem,
    TenantBlocked,
)
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.graph.wire_subscriptions import GraphSubscription
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.room import Room
from sidecar.model.subscription import Pending, Subscription, Upkeep
from sidecar.model.tenant import Tenant
from sidecar.settings import LIFECYCLE_PATH, NOTIFICATIONS_PATH, SyncSettings
from sidecar.store.store import Store
from sidecar.sync.pace import SubscriptionPace
from sidecar.sync.renewals import Step, plan_renewal, plan_upkeep
from sidecar.telemetry.metrics import Telemetry

log = structlog.get_logger(__name__)

_LIFE_MAX = timedelta(days=7)
"""No subscription to a calendar lives longer. The expiry that is kept may be earlier than Microsoft's, but not by more."""
_TRIES_MAX = 3
"""Creations in one run. Two things can stand in the way, a former one and a leftover; more is somebody else at work."""


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

    async def repoint_subscription(self, tenant: TenantRef, graph_id: str, *, notification_url: str) -> None:
        """Have changes announced somewhere else, where somebody answers."""

    async def fetch_subscription(self, tenant: TenantRef, graph_id: str) -> GraphSubscription | None:
        """Read a subscription, client state included; None when it does not exist."""

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
        clock: Clock,
        rng: Random,
        settings: SyncSettings,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._subscriber = subscriber
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
        upkeep = await self._store.subscriptions.load_upkeep(room.uid)
        is_in_doubt = room.subscription_problem is not None or room.resyncs > 0
        step = plan_upkeep(upkeep, now=self._clock.now(), life=self._life, is_in_doubt=is_in_doubt)
        if step is Step.NOTHING:
            return Kept()
        if step is Step.REST:
            return Kept(None if upkeep.current is None else upkeep.current.renew_at)
        wait_s = self.pace.wait_s(tenant.uid, room.uid)
        if wait_s > 0.0:
            return NotYet(self._clock.now() + timedelta(seconds=wait_s))
        with self.pace.calling(tenant.uid):
            if step is Step.RENEW:
                return Kept(await self._renew(upkeep, room, tenant))
            if step is Step.MAKE:
                return Kept(await self._make(upkeep, room, tenant))
        assert_never(step)

    async def _renew(self, upkeep: Upkeep, room: Room, tenant: Tenant) -> datetime | None:
        """Prolong the current subscription, or make another one if Exchange no longer has it."""
        current = upkeep.current
        assert current is not None, "planned so"
        assert current.graph_id is not None, "planned so"
        expires_at = self._clock.now() + self._life
        self.pace.note_write(tenant.uid)
        try:
            renewed = await self._subscriber.renew_subscription(ref_of(tenant), current.graph_id, expires_at=expires_at)
        except SubscriptionGone:
            log.warning("subscription.gone", room_uid=room.uid)
            self._telemetry.count("subscriptions_lost", 1)
            await self._store.subscriptions.lose(current.key)
            return await self._make(await self._store.subscriptions.load_upkeep(room.uid), room, tenant)
        renew_at = self._renew_at(renewed)
        await self._store.subscriptions.confirm(
            current.key, graph_id=current.graph_id, expires_at=renewed.expires_at, renew_at=renew_at
        )
        log.info("subscription.renewed", room_uid=room.uid, expires_at=renewed.expires_at.isoformat())
        return renew_at

    async def _make(self, upkeep: Upkeep, room: Room, tenant: Tenant) -> datetime | None:
        """Ask for a subscription. Its key is in the store before Exchange hears of it: the first call may come at once.

        The current one, if there is any, goes on announcing until this one is confirmed, and is deleted only then.
        """
        pending = upkeep.pending
        if pending is None or pending.subscription.url != upkeep.url:
            pending = await self._prepare(upkeep, room, tenant)
            if pending is None:
                return None  # the room was unmapped, or tied to another mailbox, meanwhile
        made = await self._ask(upkeep, pending, room, tenant)
        renew_at = self._renew_at(made)
        if not await self._store.subscriptions.confirm(
            pending.subscription.key, graph_id=made.id, expires_at=made.expires_at, renew_at=renew_at
        ):
            await self._delete(tenant, made.id)  # the room was unmapped meanwhile
            return None
        await self._store.webhook_reach.note_heard(upkeep.url)  # Microsoft has just shaken hands there
        log.info("subscription.created", room_uid=room.uid, expires_at=made.expires_at.isoformat())
        return renew_at

    async def _prepare(self, upkeep: Upkeep, room: Room, tenant: Tenant) -> Pending | None:
        key, secret = secrets.token_urlsafe(12), secrets.token_urlsafe(32)
        await self._store.subscriptions.prepare(
            room.uid,
            tenant.uid,
            key=key,
            secret_hash=hashlib.sha256(secret.encode()).digest(),
            directory_id=tenant.directory_id,
            url=upkeep.url,
            mailbox=_spelling(upkeep, room),
            client_state=f"{key}.{secret}",
            calendar_no=room.calendar_no,
        )
        return (await self._store.subscriptions.load_upkeep(room.uid)).pending

    async def _ask(self, upkeep: Upkeep, pending: Pending, room: Room, tenant: Tenant) -> GraphSubscription:
        """Create at Exchange, or find what an earlier call has created whose answer was lost."""
        tries_count = 0
        while True:
            tries_count += 1
            self.pace.note_write(tenant.uid)
            try:
                return await self._subscriber.create_subscription(
                    ref_of(tenant),
                    pending.subscription.mailbox or room.address,
                    notification_url=upkeep.url + NOTIFICATIONS_PATH,
                    lifecycle_url=upkeep.url + LIFECYCLE_PATH,
                    client_state=pending.client_state,
                    expires_at=self._clock.now() + self._life,
                )
            except SubscriptionExists as error:
                if tries_count == _TRIES_MAX or error.subscription_id is None:
                    raise
                found = await self._clear_way(error, error.subscription_id, upkeep, pending, tenant)
                if found is not None:
                    log.info("subscription.adopted", room_uid=room.uid)
                    return found

    async def _clear_way(
        self, error: SubscriptionExists, graph_id: str, upkeep: Upkeep, pending: Pending, tenant: Tenant
    ) -> GraphSubscription | None:
        """Return what stands in the way if it is the very one that was asked for; else take it away if it is ours."""
        current = upkeep.current
        if current is not None and (current.graph_id or "").casefold() == graph_id.casefold():
            await self._give_up(current, graph_id, upkeep, tenant)
            return None
        found = await self._subscriber.fetch_subscription(ref_of(tenant), graph_id)
        if found is None:
            return None
        if _is_asked_for(found, pending, upkeep.url):
            return found
        if found.notification_url not in {url + NOTIFICATIONS_PATH for url in upkeep.urls}:
            raise error  # it calls somebody else: another installation with the same application
        log.info("subscription.leftover_deleted", graph_id=graph_id)
        await self._delete(tenant, graph_id)
        return None

    async def _give_up(self, current: Subscription, graph_id: str, upkeep: Upkeep, tenant: Tenant) -> None:
        """Delete the current subscription before there is another one, because Exchange does not allow two.

        First it is pointed to the new address: if nobody answers there, we keep what we have. From the moment that it counts
        as run out it is certain that the room will be compared once its successor is confirmed.
        """
        try:
            if current.url != upkeep.url:
                self.pace.note_write(tenant.uid)
                await self._subscriber.repoint_subscription(
                    ref_of(tenant), graph_id, notification_url=upkeep.url + NOTIFICATIONS_PATH
                )
        except SubscriptionGone:
            pass
        await self._store.subscriptions.lapse(current.key)
        await self._delete(tenant, graph_id)

    async def _delete(self, tenant: Tenant, graph_id: str) -> None:
        self.pace.note_write(tenant.uid)
        await self._subscriber.delete_subscription(ref_of(tenant), graph_id)

    def _renew_at(self, made: GraphSubscription) -> datetime:
        return plan_renewal(made.expires_at, now=self._clock.now(), chance=self._rng.random())

    async def _delete_unless_run_out(self, subscription: Subscription, graph_id: str, tenant: Tenant) -> None:
        """Delete a subscription; where Microsoft does not let us, it runs out by itself, and nobody asks for ever."""
        try:
            await self._delete(tenant, graph_id)
        except (TenantBlocked, RoomBlocked, SubscriptionProblem, GraphRefused, SecretUnreadable):
            expires_at = subscription.expires_at
            if expires_at is None or self._clock.now() < expires_at + _LIFE_MAX:
                raise
            log.info("subscription.ran_out", graph_id=graph_id)

    async def remove(self, key: str, tenant: Tenant) -> Kept | NotYet:
        """Delete a subscription that is no room's current one, at Exchange and here, when it is its turn."""
        subscription = await self._store.subscriptions.load(key)
        if subscription is None or subscription.room_uid is not None:
            return Kept()
        if subscription.graph_id is not None:
            wait_s = self.pace.wait_s(tenant.uid, key)
            if wait_s > 0.0:
                return NotYet(self._clock.now() + timedelta(seconds=wait_s))
            with self.pace.calling(tenant.uid):
                await self._delete_unless_run_out(subscription, subscription.graph_id, tenant)
        elif subscription.is_pending:
            # Exchange may have made it, and only a list can tell. Not a failure: nobody is called about it any more.
            kind = IntentKind.SUBSCRIPTION_AUDIT
            await self._store.intents.mark(kind, tenant.uid, tenant.uid, priority=Priority.COMPARE)
        await self._store.subscriptions.forget(key)
        return Kept()


def _spelling(upkeep: Upkeep, room: Room) -> str:
    """Choose how to spell the mailbox: differently from the current subscription, if there are two ways.

    Exchange refuses a second subscription for what it takes for the same resource, and it compares the spelling.
    """
    usual = room.address
    current = upkeep.current
    if current is None or current.graph_id is None or (current.mailbox or usual) != usual:
        return usual
    return room.mailbox


def _is_asked_for(found: GraphSubscription, pending: Pending, url: str) -> bool:
    """Tell whether a subscription at Exchange is the one that was asked for, in every respect that matters."""
    state = found.client_state or ""
    is_state_right = hmac.compare_digest(state.encode(), pending.client_state.encode())
    return (
        is_state_right
        and found.notification_url == url + NOTIFICATIONS_PATH
        and found.lifecycle_url == url + LIFECYCLE_PATH
    )
