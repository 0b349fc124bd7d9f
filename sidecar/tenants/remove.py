"""Erase a deleted tenant: its subscriptions at Microsoft first, then every row."""

from __future__ import annotations

from typing import Protocol

import structlog

from sidecar.errors import GraphRefused, RoomBlocked, SecretUnreadable, SubscriptionProblem, TenantBlocked
from sidecar.graph.clouds import TenantRef
from sidecar.model.ids import TenantUid
from sidecar.model.tenant import Tenant
from sidecar.store.store import Store

log = structlog.get_logger(__name__)


class Unsubscriber(Protocol):
    """Deleting subscriptions at Microsoft; `graph.client.GraphClient` is one."""

    async def delete_subscription(self, tenant: TenantRef, graph_id: str) -> None:
        """Make sure that a subscription does not exist."""


class Forgetter(Protocol):
    """Dropping what is kept in memory for a tenant; `graph.auth.TokenSource` is one."""

    def forget(self, tenant_uid: TenantUid) -> None:
        """Drop it."""


class TenantRemover:
    """Removes tenants."""

    def __init__(self, *, store: Store, unsubscriber: Unsubscriber, tokens: Forgetter) -> None:
        self._store = store
        self._unsubscriber = unsubscriber
        self._tokens = tokens

    async def remove(self, tenant: Tenant, *, is_last_try: bool) -> None:
        """Delete the tenant's subscriptions at Microsoft, as far as it lets us, and erase the tenant.

        Args:
            is_last_try: erase even if Microsoft cannot be reached; the subscriptions then run out by themselves within
                seven days, and their notifications are dropped.
        Raises:
            Unavailable: Microsoft cannot be reached now.
        """
        ref = TenantRef(tenant_uid=tenant.uid, directory_id=tenant.directory_id, cloud=tenant.cloud)
        if not is_last_try:
            for subscription in await self._store.subscriptions.load_for_tenant(tenant.uid):
                if subscription.graph_id is None:
                    continue
                try:
                    await self._unsubscriber.delete_subscription(ref, subscription.graph_id)
                except (TenantBlocked, RoomBlocked, SubscriptionProblem, GraphRefused, SecretUnreadable) as error:
                    log.warning("tenant_remove.subscription_left", tenant_uid=tenant.uid, reason=error.reason)
        self._tokens.forget(tenant.uid)
        await self._store.tenants.erase(tenant.uid)
        log.info("tenant.erased", tenant_uid=tenant.uid)
