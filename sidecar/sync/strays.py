"""Compares a tenant's subscriptions with those at Microsoft, once a day: what nobody here knows is deleted, what is missing is
asked about. Everything else finds out one room at a time; this finds what belongs to no room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import GraphUnavailable
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.graph.wire_subscriptions import GraphSubscription, SubscriptionPage
from sidecar.model.subscription import Subscription
from sidecar.model.tenant import Tenant
from sidecar.settings import NOTIFICATIONS_PATH
from sidecar.store.store import Store
from sidecar.sync.pace import SubscriptionPace
from sidecar.sync.subscriptions import NotYet
from sidecar.telemetry.metrics import Telemetry

log = structlog.get_logger(__name__)

_PAGE_SPACING_S = 1.0
"""Between two pages: 20 in 20 seconds, where Microsoft allows 25, and 40 for an application in all tenants together."""
_PAGES_MAX = 1_000
"""More is an endless list: with pages of a hundred this would be 100,000 rooms."""
_STRAYS_MAX = 200
"""Deleted in one run; the next one follows at once, and other work of the tenant has its turn between."""
_BUSY_S = 30.0
"""One audit at a time in a process; others come back after this long."""
_TOLERANCE = timedelta(minutes=5)
"""Expiries may be told in different precision."""


class SubscriptionLister(Protocol):
    """Looking at subscriptions at Microsoft; `graph.client.GraphClient` is one. Errors are those it names."""

    async def fetch_subscription_page(self, tenant: TenantRef, link: str | None) -> SubscriptionPage:
        """Read some of the application's subscriptions, client states withheld."""

    async def fetch_subscription(self, tenant: TenantRef, graph_id: str) -> GraphSubscription | None:
        """Read a subscription, client state included; None when it does not exist."""

    async def delete_subscription(self, tenant: TenantRef, graph_id: str) -> None:
        """Make sure that a subscription does not exist."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What an audit found: subscriptions that call us and are unknown, and our own that Microsoft has not, or not for long."""

    strays: tuple[GraphSubscription, ...]
    doubtful: tuple[Subscription, ...]


@dataclass(frozen=True, slots=True)
class Audited:
    """An audit came to its end, or there is more to delete than one run does."""

    is_complete: bool


def plan_audit(
    listed: Iterable[GraphSubscription],
    *,
    before: Sequence[Subscription],
    after: Sequence[Subscription],
    urls: frozenset[str],
) -> Findings:
    """Decide what is wrong between Microsoft and the store.

    Args:
        before: what the store held before the list was read: what was live then must be in it.
        after: what it held afterwards: what was made meanwhile is known by then.
        urls: all addresses that are or were ours; what calls anything else belongs to somebody else.
    """
    at_microsoft = {one.id: one for one in listed}
    known = {one.graph_id for one in after}
    calls = {url + NOTIFICATIONS_PATH for url in urls}
    strays = [one for one in at_microsoft.values() if one.id not in known and one.notification_url in calls]
    doubtful = []
    for one in before:
        if one.room_uid is None or one.graph_id not in known or one.expires_at is None:
            continue
        told = at_microsoft.get(one.graph_id or "")
        if told is None or told.expires_at < one.expires_at - _TOLERANCE:
            doubtful.append(one)
    return Findings(tuple(strays), tuple(doubtful))


class SubscriptionAudit:
    """Audits tenants, one at a time."""

    def __init__(
        self,
        *,
        store: Store,
        lister: SubscriptionLister,
        pace: SubscriptionPace,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._lister = lister
        self._pace = pace
        self._clock = clock
        self._telemetry = telemetry
        self._is_busy = False

    async def run(self, tenant: Tenant) -> Audited | NotYet:
        """Audit a tenant.

        Raises:
            Whatever listing or deleting raises; what was done is done, and the rest is found again.
        """
        if self._is_busy:
            return NotYet(self._clock.now() + timedelta(seconds=_BUSY_S))
        self._is_busy = True
        try:
            return await self._run(tenant)
        finally:
            self._is_busy = False

    async def _run(self, tenant: Tenant) -> Audited:
        before = await self._store.subscriptions.load_for_tenant(tenant.uid)
        listed = await self._list(tenant)
        after = await self._store.subscriptions.load_for_tenant(tenant.uid)
        urls = await self._store.subscriptions.load_urls()
        findings = plan_audit(listed, before=before, after=after, urls=urls)
        for subscription in findings.doubtful:
            assert subscription.room_uid is not None, "planned so"
            await self._store.subscriptions.doubt(subscription.room_uid, tenant.uid)
        pending = {one.key for one in after if one.is_pending}
        deleted_count = 0
        for stray in findings.strays[:_STRAYS_MAX]:
            deleted_count += await self._delete(stray.id, tenant, pending)
        self._telemetry.count("subscriptions_stray", deleted_count)
        log.info(
            "subscription_audit.done",
            listed_count=len(listed),
            strays_count=deleted_count,
            doubtful_count=len(findings.doubtful),
        )
        return Audited(is_complete=len(findings.strays) <= _STRAYS_MAX)

    async def _list(self, tenant: Tenant) -> list[GraphSubscription]:
        listed: list[GraphSubscription] = []
        link: str | None = None
        for _ in range(_PAGES_MAX):
            page = await self._lister.fetch_subscription_page(ref_of(tenant), link)
            listed += page.subscriptions
            link = page.next_link
            if link is None:
                return listed
            await self._clock.sleep(_PAGE_SPACING_S)
        raise GraphUnavailable("Exchange's list of subscriptions has no end")

    async def _delete(self, graph_id: str, tenant: Tenant, pending: set[str]) -> bool:
        """Delete a stray; False when it is gone already, or is one whose creation has not been answered yet."""
        found = await self._lister.fetch_subscription(ref_of(tenant), graph_id)
        if found is None or (found.client_state or "").partition(".")[0] in pending:
            return False
        self._pace.note_write(tenant.uid)
        await self._lister.delete_subscription(ref_of(tenant), graph_id)
        return True
