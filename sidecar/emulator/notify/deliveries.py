"""What becomes of a change between a mailbox and its subscribers: who is told, how late, how often, and whether at all.

The queues themselves are in `lanes.py`, the life of a subscription in `lifecycle.py`. All that waits is in `state`.

Source: Graph "Receive change notifications through webhooks" page (notifications of a subscription whose authorization has
expired are held for up to 4 hours) and "Reduce missing subscriptions and change notifications" page (changes during a pause
are lost; `missed` tells that notifications could not be delivered).
"""

from bisect import bisect_right, insort
from datetime import datetime, timedelta

from sidecar.emulator.exchange.directory import DeliveryMode, Tenant
from sidecar.emulator.exchange.event import Event, JsonObject
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.subscription import Subscription
from sidecar.emulator.exchange.timetable import Timetable
from sidecar.emulator.exchange.world import World
from sidecar.emulator.notify.authorization import is_paused, note_renewal
from sidecar.emulator.notify.errands import Errand, ErrandKind
from sidecar.emulator.notify.items import change_item, lifecycle_item
from sidecar.emulator.notify.lanes import Lanes
from sidecar.emulator.notify.lifecycle import Lifecycle
from sidecar.emulator.notify.posting import Attempt, MintValidation, note_attempt
from sidecar.emulator.notify.sender import Sender
from sidecar.emulator.notify.state import (
    LIFECYCLE,
    NOTIFICATION,
    DeliveryState,
    Disturbance,
    DisturbanceKind,
    Notice,
)


class Deliveries:
    """Tells subscribers what changed, the way Graph does: late, perhaps twice, perhaps out of order."""

    def __init__(self, *, world: World, sender: Sender, mint_validation: MintValidation) -> None:
        self.state = DeliveryState()
        self._world = world
        self._timetable = Timetable[Errand](world=world, name="notify", act=self._act)
        self._lanes = Lanes(
            world=world,
            state=self.state,
            timetable=self._timetable,
            sender=sender,
            mint_validation=mint_validation,
            sift=self._sift,
            end=self._end,
            tell_missed=self._tell_missed,
        )
        self._lifecycle = Lifecycle(
            world=world, timetable=self._timetable, note=self._note_lifecycle, healed=self._release_unauthorized
        )

    def resume(self, state: DeliveryState) -> None:
        """Take up a state that has been restored, after the directory it speaks of: every timer is set again."""
        self.state = state
        self._timetable.clear()
        self._lanes.resume(state)
        for tenant in self._world.directory.tenants.values():
            for subscription in tenant.subscriptions.values():
                subscription.authorization.look_at = None
                self._lifecycle.watch(tenant, subscription)
        for subscription_id, notices in self.state.unauthorized.items():
            self._timetable.add(_give_up_at(notices[0]), Errand(ErrandKind.UNAUTHORIZED, subscription_id))

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
                self._note_change(tenant, mailbox, subscription, change, event)

    def note_lifecycle(self, tenant: Tenant, subscription: Subscription, lifecycle_event: str) -> None:
        """Send a lifecycle notification whatever becomes of the subscription; without a lifecycle URL nobody hears of it."""
        self._queue_lifecycle(tenant, subscription, lifecycle_event, is_by_hand=True)

    def watch(self, tenant: Tenant, subscription: Subscription) -> None:
        """Begin to look after a new subscription."""
        self._lifecycle.watch(tenant, subscription)

    def renew(self, tenant: Tenant, subscription: Subscription, *, until: datetime, by_patch: bool) -> None:
        """Let a subscription be authorized until a token's expiry; what was held for want of that is sent."""
        note_renewal(subscription, self._world.now(), until=until, by_patch=by_patch)
        self._lifecycle.watch(tenant, subscription)
        if not self._is_paused(tenant, subscription):
            self._release_unauthorized(subscription)

    def release(self, tenant: Tenant) -> None:
        """Send what was held while the tenant's deliveries were paused."""
        mine = [notice for notice in self.state.held if notice.tenant_id == tenant.tenant_id]
        self.state.held = [notice for notice in self.state.held if notice.tenant_id != tenant.tenant_id]
        for notice in mine:
            self._queue(tenant, notice)

    def held_count(self, tenant: Tenant) -> int:
        """Count what is held for a tenant, by control or for want of authorization."""
        unauthorized = sum(len(self.state.unauthorized.get(key, ())) for key in tenant.subscriptions)
        return unauthorized + sum(notice.tenant_id == tenant.tenant_id for notice in self.state.held)

    def _act(self, errand: Errand) -> None:
        match errand.kind:
            case ErrandKind.LANE:
                self._lanes.look(errand.key)
            case ErrandKind.ENDPOINT:
                self._lanes.end_penalty(errand.key)
            case ErrandKind.SUBSCRIPTION:
                self._lifecycle.look(errand.key)
            case ErrandKind.UNAUTHORIZED:
                self._give_up_unauthorized(errand.key)

    def _note_change(
        self, tenant: Tenant, mailbox: Mailbox, subscription: Subscription, change: str, event: Event
    ) -> None:
        moods, chance = self._world.moods_of(tenant), self._world.chance
        disturbance = self._disturbance(tenant, subscription)
        kind = disturbance.kind if disturbance else None
        copies_count = 2 if kind is DisturbanceKind.DUPLICATE or chance(moods.notify_duplicate_share) else 1
        for _ in range(copies_count):
            item = change_item(self._world, tenant, mailbox, subscription, change, event)
            notice = self._notice(tenant, subscription, NOTIFICATION, subscription.notification_url, item)
            if kind is DisturbanceKind.LOSE:
                self._record([notice], "lost by control")
            elif subscription.authorization.is_inconsistent and chance(moods.inconsistent_loss_share):
                self._record([notice], "lost: inconsistent")
            elif self._is_paused(tenant, subscription) and chance(moods.pause_loss_share):
                self._record([notice], "lost: not authorized")
            else:
                self._queue(tenant, notice, more_s=disturbance.delay_s if disturbance else 0.0)

    def _disturbance(self, tenant: Tenant, subscription: Subscription) -> Disturbance | None:
        """Give and consume what control has scripted for a subscription's next notification."""
        for one in self.state.disturbances:
            mine = (one.tenant_id, one.subscription_id) == (tenant.tenant_id, subscription.subscription_id)
            if mine and not one.is_spent:
                one.consumed += 1
                return one
        return None

    def _notice(self, tenant: Tenant, subscription: Subscription, kind: str, url: str, item: JsonObject) -> Notice:
        return Notice(
            tenant_id=tenant.tenant_id,
            subscription_id=subscription.subscription_id,
            client_id=subscription.client_id,
            kind=kind,
            url=url,
            item=item,
            noted_at=self._world.now(),
            is_rich=kind == NOTIFICATION and bool(subscription.include_resource_data),
        )

    def _queue(self, tenant: Tenant, notice: Notice, *, more_s: float = 0.0) -> None:
        if not self._sift(notice):
            return
        moods = self._world.moods_of(tenant)
        delay_s = self._world.between(moods.notify_delay_min_s, moods.notify_delay_max_s) + more_s
        if notice.kind == NOTIFICATION and self._world.chance(moods.notify_late_share):
            delay_s += self._world.between(0.0, moods.notify_late_max_s)
        self._lanes.put(notice, delay_s=delay_s)

    def _sift(self, notice: Notice) -> bool:
        """Tell whether a notification is to be sent now; put aside what is held, and record what is not wanted any more."""
        tenant = self._world.directory.find(notice.tenant_id)
        if tenant is None:
            return False
        if tenant.delivery_mode is DeliveryMode.HOLD:
            self.state.held.append(notice)
            return False
        if tenant.delivery_mode is DeliveryMode.LOSE:
            self._record([notice], "lost by control")
            if notice.kind == LIFECYCLE:
                self._end(notice, is_taken=False)
            return False
        subscription = tenant.subscriptions.get(notice.subscription_id)
        now = self._world.now()
        if notice.kind == LIFECYCLE:
            if notice.is_by_hand or not _is_pointless(notice, subscription, now):
                return True
            self._record([notice], "no longer needed")
        elif subscription is None or subscription.expires_at <= now:
            self._record([notice], "subscription ended")
        elif self._is_paused(tenant, subscription):
            self._hold_unauthorized(tenant, notice)
        else:
            return True
        return False

    def _is_paused(self, tenant: Tenant, subscription: Subscription) -> bool:
        grace_s = self._world.moods_of(tenant).authorization_grace_s
        return is_paused(subscription, self._world.now(), grace_s=grace_s)

    def _hold_unauthorized(self, tenant: Tenant, notice: Notice) -> None:
        notice.give_up_at = notice.noted_at + timedelta(seconds=self._world.moods_of(tenant).retry_for_s)
        notices = self.state.unauthorized.setdefault(notice.subscription_id, [])
        insort(notices, notice, key=_give_up_at)
        if notices[0] is notice:
            self._timetable.add(notice.give_up_at, Errand(ErrandKind.UNAUTHORIZED, notice.subscription_id))

    def _give_up_unauthorized(self, subscription_id: str) -> None:
        now = self._world.now()
        notices = self.state.unauthorized.pop(subscription_id, [])
        lost_count = bisect_right(notices, now, key=_give_up_at)
        lost, left = notices[:lost_count], notices[lost_count:]
        if left:
            self.state.unauthorized[subscription_id] = left
        if left and lost:
            self._timetable.add(_give_up_at(left[0]), Errand(ErrandKind.UNAUTHORIZED, subscription_id))
        if lost:
            self._record(lost, "given up")
        for notice in lost:
            self._end(notice, is_taken=False)

    def _release_unauthorized(self, subscription: Subscription) -> None:
        for notice in self.state.unauthorized.pop(subscription.subscription_id, []):
            tenant = self._world.directory.find(notice.tenant_id)
            if tenant is not None:
                self._queue(tenant, notice)

    def _end(self, notice: Notice, *, is_taken: bool) -> None:
        """Take note that a notification has left for good; of a change that nobody took, the subscriber hears `missed`."""
        if notice.kind == NOTIFICATION and not is_taken:
            self._tell_missed(notice.tenant_id, notice.subscription_id)
        elif notice.kind == LIFECYCLE:
            subscription = self._subscription(notice.tenant_id, notice.subscription_id)
            if subscription is not None and notice.item["lifecycleEvent"] == "missed":
                subscription.missed = False

    def _tell_missed(self, tenant_id: str, subscription_id: str) -> None:
        tenant = self._world.directory.find(tenant_id)
        subscription = self._subscription(tenant_id, subscription_id)
        if tenant is not None and subscription is not None and not subscription.missed:
            subscription.missed = subscription.lifecycle_url is not None
            self._queue_lifecycle(tenant, subscription, "missed")

    def _subscription(self, tenant_id: str, subscription_id: str) -> Subscription | None:
        tenant = self._world.directory.find(tenant_id)
        return tenant.subscriptions.get(subscription_id) if tenant else None

    def _note_lifecycle(
        self, tenant: Tenant, subscription: Subscription, lifecycle_event: str, void_at: datetime | None
    ) -> None:
        self._queue_lifecycle(tenant, subscription, lifecycle_event, void_at=void_at)

    def _queue_lifecycle(
        self,
        tenant: Tenant,
        subscription: Subscription,
        lifecycle_event: str,
        *,
        void_at: datetime | None = None,
        is_by_hand: bool = False,
    ) -> None:
        if subscription.lifecycle_url is None:
            return
        item = lifecycle_item(tenant, subscription, lifecycle_event)
        notice = self._notice(tenant, subscription, LIFECYCLE, subscription.lifecycle_url, item)
        notice.void_at, notice.is_by_hand = void_at, is_by_hand
        self._queue(tenant, notice)

    def _record(self, notices: list[Notice], outcome: str) -> None:
        note_attempt(self._world.directory, notices, Attempt(outcome=outcome), self._world.now())


def _give_up_at(notice: Notice) -> datetime:
    assert notice.give_up_at is not None, "set by whoever held it"
    return notice.give_up_at


def _is_pointless(notice: Notice, subscription: Subscription | None, now: datetime) -> bool:
    """Tell whether a question for a new authorization has been answered, or comes too late for an answer."""
    if notice.item["lifecycleEvent"] != "reauthorizationRequired":
        return False
    if subscription is None or subscription.authorization.renewed_at > notice.noted_at:
        return True
    return notice.void_at is not None and now >= notice.void_at
