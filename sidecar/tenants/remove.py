"""Erase a deleted tenant: its subscriptions at Microsoft first, then every row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import GraphRefused, RoomBlocked, SecretUnreadable, SubscriptionProblem, TenantBlocked
from sidecar.graph.clouds import TenantRef
from sidecar.model.audit import OURSELVES, Act
from sidecar.model.ids import TenantUid
from sidecar.model.subscription import Subscription
from sidecar.model.tenant import Tenant
from sidecar.store.audit import Acting, acting
from sidecar.store.store import Store

log = structlog.get_logger(__name__)

_METHOD = "Sidecar/EraseTenant"

_LIFE_MAX = timedelta(days=7)
"""No subscription to calendars lives longer without a renewal: 10,080 minutes at most (Graph, "subscription" resource)."""


class Unsubscriber(Protocol):
    """Deleting subscriptions at Microsoft; `graph.client.GraphClient` is one."""

    async def delete_subscription(self, tenant: TenantRef, graph_id: str) -> None:
        """Make sure that a subscription does not exist."""


class Forgetter(Protocol):
    """Dropping what is kept in memory for a tenant; `graph.auth.TokenSource` is one."""

    def forget(self, tenant_uid: TenantUid) -> None:
        """Drop it."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of a tenant's subscriptions at Microsoft: deleted, and left to run out within seven days."""

    deleted_count: int
    left_count: int


class TenantRemover:
    """Removes tenants."""

    def __init__(self, *, store: Store, unsubscriber: Unsubscriber, tokens: Forgetter, clock: Clock) -> None:
        self._store = store
        self._unsubscriber = unsubscriber
        self._tokens = tokens
        self._clock = clock

    async def remove(self, tenant: Tenant, *, is_last_try: bool) -> Removed:
        """Delete the tenant's subscriptions at Microsoft, as far as it lets us, and erase the tenant.

        Args:
            is_last_try: erase even if Microsoft cannot be reached; the subscriptions then run out by themselves within
                seven days, and their notifications are dropped.
        Raises:
            Unavailable: Microsoft cannot be reached now.
        """
        removed = await self._unsubscribe(tenant, is_last_try=is_last_try)
        self._tokens.forget(tenant.uid)
        counts = {"subscriptions_deleted": removed.deleted_count, "subscriptions_left": removed.left_count}
        values = {name: str(count) for name, count in counts.items()}
        with acting(Acting(Act(method=_METHOD, resource=tenant.name, caller=OURSELVES, values=values))):
            await self._store.tenants.erase(tenant.uid)
        log.info(
            "tenant.erased",
            tenant_uid=tenant.uid,
            subscriptions_deleted_count=removed.deleted_count,
            subscriptions_left_count=removed.left_count,
        )
        return removed

    async def _unsubscribe(self, tenant: Tenant, *, is_last_try: bool) -> Removed:
        """Delete the subscriptions that Microsoft may still have; after a time of grace there are none."""
        ref = TenantRef(  # `ref_of` makes none for a tenant that is deleted
            tenant_uid=tenant.uid,
            directory_id=tenant.directory_id,
            cloud=tenant.cloud,
            credential=tenant.credential.identity,
        )
        deleted_count = left_count = 0
        for subscription in await self._store.subscriptions.load_for_tenant(tenant.uid):
            if not _may_live(subscription, self._clock.now()):
                continue
            if is_last_try or subscription.graph_id is None:  # what was asked for and not answered has no id
                left_count += 1
                continue
            try:
                await self._unsubscriber.delete_subscription(ref, subscription.graph_id)
            except (TenantBlocked, RoomBlocked, SubscriptionProblem, GraphRefused, SecretUnreadable) as error:
                left_count += 1
                log.warning("tenant_remove.subscription_left", tenant_uid=tenant.uid, reason=error.reason)
            else:
                deleted_count += 1
        return Removed(deleted_count, left_count)


def _may_live(subscription: Subscription, now: datetime) -> bool:
    """Tell whether Microsoft may still have a subscription. What we count as run out may live on there for its whole life."""
    if subscription.graph_id is None:
        return subscription.is_pending and now - subscription.created_at < _LIFE_MAX
    told_at = subscription.expires_at or now
    return now - max(subscription.created_at, told_at) < _LIFE_MAX
