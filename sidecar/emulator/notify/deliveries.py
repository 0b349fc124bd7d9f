"""Notifications on their way: batching, delay, duplicates, retries, and the record of all that.

Source: Graph "Receive change notifications through webhooks" page (3 s answer rule, retries with exponential backoff for up
to 4 hours, 10 s for each) and "Lifecycle notifications" page.
"""

import asyncio
import heapq
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from sidecar.emulator.exchange.directory import DeliveryMode, Tenant
from sidecar.emulator.exchange.event import Event, JsonObject, etag, event_id
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.subscription import Subscription
from sidecar.emulator.exchange.world import World
from sidecar.emulator.notify.sender import Sender, SendFailed
from sidecar.emulator.zones import format_instant

_BATCH_MAX = 100  # notifications in one POST
_FIRST_TIMEOUT_S = 3.0
_RETRY_TIMEOUT_S = 10.0
_HEADERS = {"content-type": "application/json; charset=utf-8"}


@dataclass(slots=True, kw_only=True, eq=False)
class _Notice:
    """One notification for one subscription."""

    tenant: Tenant
    subscription: Subscription
    url: str
    kind: str
    item: JsonObject
    noted_at: datetime


@dataclass(slots=True, kw_only=True, eq=False)
class _Lane:
    """What waits for one URL, by the moment it is due."""

    url: str
    waiting: list[tuple[datetime, int, _Notice]] = field(default_factory=list)
    sending: bool = False


class Deliveries:
    """Tells subscribers what changed, the way Graph does: late, perhaps twice, perhaps out of order."""

    def __init__(self, *, world: World, sender: Sender) -> None:
        self._world = world
        self._sender = sender
        self._lanes: dict[str, _Lane] = {}
        self._held: list[_Notice] = []
        self._count = 0

    def note_change(
        self, tenant: Tenant, mailbox: Mailbox, change: str, event: Event, *, immutable: bool | None = None
    ) -> None:
        """Notify every live subscription on the mailbox, or those of one id format.

        Args:
            change: created, updated or deleted.
        """
        now = self._world.now()
        for subscription in tenant.watching(mailbox, now):
            if change in subscription.change_types and immutable in (None, subscription.immutable):
                self._send_later(tenant, subscription, self._change_item(tenant, mailbox, subscription, change, event))
                if self._world.chance(self._world.moods.notify_duplicate_share):
                    item = self._change_item(tenant, mailbox, subscription, change, event)
                    self._send_later(tenant, subscription, item)

    def note_lifecycle(self, tenant: Tenant, subscription: Subscription, lifecycle_event: str) -> None:
        """Send a lifecycle notification; without a lifecycle URL nobody hears of it."""
        if subscription.lifecycle_url is None:
            return
        item = {
            "subscriptionId": subscription.subscription_id,
            "subscriptionExpirationDateTime": format_instant(subscription.expires_at),
            "tenantId": tenant.tenant_id,
            "clientState": subscription.client_state,
            "lifecycleEvent": lifecycle_event,
        }
        self._queue(self._notice(tenant, subscription, subscription.lifecycle_url, "lifecycle", item))

    def release(self, tenant: Tenant) -> None:
        """Send what was held while the tenant's deliveries were paused."""
        mine = [notice for notice in self._held if notice.tenant is tenant]
        self._held = [notice for notice in self._held if notice.tenant is not tenant]
        for notice in mine:
            self._queue(notice)

    def held_count(self, tenant: Tenant) -> int:
        """Count what is held for a tenant."""
        return sum(notice.tenant is tenant for notice in self._held)

    def _change_item(
        self, tenant: Tenant, mailbox: Mailbox, subscription: Subscription, change: str, event: Event
    ) -> JsonObject:
        item_id = event_id(event, immutable=subscription.immutable)
        resource = f"Users/{mailbox.object_id}/Events/{item_id}"
        return {
            "subscriptionId": subscription.subscription_id,
            "subscriptionExpirationDateTime": format_instant(subscription.expires_at).replace("Z", "+00:00"),
            "changeType": change,
            "resource": resource,
            "resourceData": {
                "@odata.type": "#Microsoft.Graph.Event",
                "@odata.id": resource,
                "@odata.etag": etag(event),
                "id": item_id,
            },
            "clientState": subscription.client_state,
            "tenantId": tenant.tenant_id,
        }

    def _send_later(self, tenant: Tenant, subscription: Subscription, item: JsonObject) -> None:
        self._queue(self._notice(tenant, subscription, subscription.notification_url, "notification", item))

    def _notice(self, tenant: Tenant, subscription: Subscription, url: str, kind: str, item: JsonObject) -> _Notice:
        return _Notice(
            tenant=tenant, subscription=subscription, url=url, kind=kind, item=item, noted_at=self._world.now()
        )

    def _queue(self, notice: _Notice) -> None:
        if notice.tenant.delivery_mode is DeliveryMode.LOSE:
            self._record([notice], "lost by control", None, 0)
            return
        if notice.tenant.delivery_mode is DeliveryMode.HOLD:
            self._held.append(notice)
            return
        moods = self._world.moods
        due_at = self._world.after(self._world.between(moods.notify_delay_min_s, moods.notify_delay_max_s))
        lane = self._lanes.setdefault(notice.url, _Lane(url=notice.url))
        self._count += 1
        heapq.heappush(lane.waiting, (due_at, self._count, notice))
        notice.tenant.deliveries_pending_count += 1

        async def flush() -> None:
            await self._flush(lane, due_at)

        self._world.background.spawn(f"deliver {self._count}", flush)

    async def _flush(self, lane: _Lane, due_at: datetime) -> None:
        await self._world.clock.sleep_until(due_at)
        orderly = self._world.moods.notify_shuffle_share == 0
        if orderly and lane.sending:
            return  # whoever is sending takes these too, in order
        lane.sending = True
        try:
            while batch := self._take_due(lane):
                await self._send_first(lane.url, batch)
        finally:
            lane.sending = False

    def _take_due(self, lane: _Lane) -> list[_Notice]:
        now, batch = self._world.now(), list[_Notice]()
        while lane.waiting and lane.waiting[0][0] <= now and len(batch) < _BATCH_MAX:
            batch.append(heapq.heappop(lane.waiting)[2])
        if self._world.chance(self._world.moods.notify_shuffle_share):
            self._world.rng.shuffle(batch)
        return batch

    async def _send_first(self, url: str, batch: list[_Notice]) -> None:
        batch = self._still_wanted(batch)
        if batch and not await self._attempt(url, batch, 1, _FIRST_TIMEOUT_S):

            async def retry() -> None:
                await self._send_again(url, batch)

            self._world.background.spawn(f"retry {url}", retry)

    async def _send_again(self, url: str, batch: list[_Notice]) -> None:
        moods = self._world.moods
        wait_s, attempt = moods.retry_first_s, 2
        give_up_at = self._world.after(moods.retry_for_s)
        while batch:
            next_at = self._world.after(wait_s)
            if next_at > give_up_at:
                self._give_up(batch)
                return
            await self._world.clock.sleep_until(next_at)
            batch = self._still_wanted(batch)
            if not batch or await self._attempt(url, batch, attempt, _RETRY_TIMEOUT_S):
                return
            wait_s, attempt = min(wait_s * 2, moods.retry_max_s), attempt + 1

    async def _attempt(self, url: str, batch: list[_Notice], attempt: int, timeout_s: float) -> bool:
        status: int | None = None
        try:
            async with asyncio.timeout(timeout_s):
                body = msgspec.json.encode({"value": [notice.item for notice in batch]})
                status = (await self._sender.post(url, headers=_HEADERS, body=body)).status
            outcome = "accepted" if 200 <= status < 300 else "refused"
        except TimeoutError:
            outcome = "timeout"
        except SendFailed as error:
            outcome = f"failed: {error}"
        self._record(batch, outcome, status, attempt)
        if outcome == "accepted":
            self._settle(batch)
        return outcome == "accepted"

    def _still_wanted(self, batch: list[_Notice]) -> list[_Notice]:
        """Put aside what the tenant's mode or the subscription's end took from the batch."""
        now, wanted = self._world.now(), list[_Notice]()
        for notice in batch:
            alive = notice.tenant.subscriptions.get(notice.subscription.subscription_id) is notice.subscription
            if notice.tenant.delivery_mode is DeliveryMode.HOLD:
                self._held.append(notice)
                self._settle([notice])
            elif notice.tenant.delivery_mode is DeliveryMode.LOSE:
                self._record([notice], "lost by control", None, 0)
                self._settle([notice])
            elif notice.kind == "notification" and not (alive and notice.subscription.expires_at > now):
                self._record([notice], "subscription ended", None, 0)
                self._settle([notice])
            else:
                wanted.append(notice)
        return wanted

    def _give_up(self, batch: list[_Notice]) -> None:
        self._record(batch, "given up", None, 0)
        self._settle(batch)
        for notice in batch:
            if notice.kind == "notification" and not notice.subscription.missed:
                notice.subscription.missed = True
                self.note_lifecycle(notice.tenant, notice.subscription, "missed")

    def _settle(self, batch: list[_Notice]) -> None:
        for notice in batch:
            notice.tenant.deliveries_pending_count -= 1
            if notice.kind == "lifecycle":
                notice.subscription.missed = False

    def _record(self, batch: list[_Notice], outcome: str, status: int | None, attempt: int) -> None:
        tenants = {id(notice.tenant): notice.tenant for notice in batch}
        for tenant in tenants.values():
            mine = [notice for notice in batch if notice.tenant is tenant]
            tenant.note_delivery(
                {
                    "at": format_instant(self._world.now()),
                    "kind": mine[0].kind,
                    "url": mine[0].url,
                    "attempt": attempt,
                    "outcome": outcome,
                    "status": status,
                    "items": [_summary(notice) for notice in mine],
                }
            )


def _summary(notice: _Notice) -> JsonObject:
    names = ("subscriptionId", "changeType", "resource", "lifecycleEvent")
    found = {name: notice.item[name] for name in names if name in notice.item}
    return {**found, "noted_at": format_instant(notice.noted_at)}
