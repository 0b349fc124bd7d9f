"""What a subscription goes through without anybody's call: it is asked to be reauthorized, it is removed, it expires.

`reauthorizationRequired` follows the token's expiry and the subscription's. Besides, it is checked every `access_check_s`
whether the app may still read the mailbox: if not, the owner is asked at each check, and after `access_removal_s` the
subscription is removed. One whose mailbox is gone or has left the cloud is removed by the first check.

Source: Graph "Reduce missing subscriptions and change notifications" page. How soon a subscription is removed is not
documented; the two times are moods.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.access import Caller, check_subscriber
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.mailbox import MailboxState
from sidecar.emulator.exchange.subscription import Subscription
from sidecar.emulator.exchange.timetable import Timetable
from sidecar.emulator.exchange.world import World
from sidecar.emulator.notify.authorization import lasts_until, next_ask
from sidecar.emulator.notify.errands import Errand, ErrandKind

NoteLifecycle = Callable[[Tenant, Subscription, str, datetime | None], None]
"""Sends a lifecycle notification, unless it is void by the given moment."""


class Lifecycle:
    """Watches over the subscriptions of one emulator."""

    def __init__(
        self, *, world: World, timetable: Timetable[Errand], note: NoteLifecycle, healed: Callable[[Subscription], None]
    ) -> None:
        """Build a watch; `healed` hears of subscriptions that may be notified again."""
        self._world = world
        self._timetable = timetable
        self._note = note
        self._healed = healed

    def watch(self, tenant: Tenant, subscription: Subscription) -> None:
        """Set the timer for a subscription that is new, changed or restored."""
        authorization = subscription.authorization
        moments = [authorization.check_at, authorization.ask_at, subscription.expires_at]
        at = min(moment for moment in moments if moment is not None)
        if authorization.look_at is not None and authorization.look_at <= at:
            return  # looked at early enough, and planned again then
        authorization.look_at = at
        self._timetable.add(at, Errand(ErrandKind.SUBSCRIPTION, f"{tenant.tenant_id} {subscription.subscription_id}"))

    def look(self, key: str) -> None:
        """Do what is due for a subscription."""
        tenant_id, _, subscription_id = key.partition(" ")
        tenant = self._world.directory.find(tenant_id)
        subscription = tenant.subscriptions.get(subscription_id) if tenant else None
        if tenant is None or subscription is None:
            return
        now, authorization = self._world.now(), subscription.authorization
        if authorization.look_at is None or authorization.look_at > now:
            return
        authorization.look_at = None
        if subscription.expires_at <= now:
            tenant.remove_subscription(subscription)  # nobody is told
            return
        if authorization.check_at <= now:
            authorization.check_at = self._world.after(self._world.moods_of(tenant).access_check_s)
            if self._is_to_be_removed(tenant, subscription, now):
                tenant.remove_subscription(subscription)
                self._note(tenant, subscription, "subscriptionRemoved", None)
                return
        if authorization.ask_at is not None and authorization.ask_at <= now:
            until = lasts_until(subscription)
            authorization.ask_at = next_ask(now, until)
            if now < until:
                self._ask(tenant, subscription, until)
        self.watch(tenant, subscription)

    def _is_to_be_removed(self, tenant: Tenant, subscription: Subscription, now: datetime) -> bool:
        authorization = subscription.authorization
        if subscription.mailbox.state in (MailboxState.GONE, MailboxState.ON_PREMISES):
            return True
        if _may_read(tenant, subscription, now):
            if authorization.denied_since is not None:
                authorization.denied_since = None
                self._healed(subscription)
            return False
        if authorization.denied_since is None:
            authorization.denied_since = now
        elif now - authorization.denied_since >= timedelta(seconds=self._world.moods_of(tenant).access_removal_s):
            return True
        self._ask(tenant, subscription, None)
        return False

    def _ask(self, tenant: Tenant, subscription: Subscription, void_at: datetime | None) -> None:
        if self._world.chance(self._world.moods_of(tenant).reauthorize_share):
            self._note(tenant, subscription, "reauthorizationRequired", void_at)


def _may_read(tenant: Tenant, subscription: Subscription, now: datetime) -> bool:
    """Tell whether the app could subscribe today; a mailbox that is being moved is no reason against it."""
    app = tenant.apps.get(subscription.client_id)
    if app is None or app.disabled:
        return False
    app.settle(now)
    caller = Caller(
        tenant=tenant, app=app, roles=app.roles, starts_at=now, expires_at=now, generation=app.revocations_count
    )
    try:
        check_subscriber(caller, subscription.mailbox)
    except GraphError as error:
        return error.status == 503
    return True
