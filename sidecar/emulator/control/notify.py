"""Control calls about subscriptions and notifications: what is on its way, what was sent, and what is to go wrong."""

from typing import Any

import msgspec

from sidecar.emulator.bounds import Seconds
from sidecar.emulator.control.app import TENANT, ControlCall, ControlError, ControlRoute, control_route
from sidecar.emulator.control.tenant_types import Count
from sidecar.emulator.control.tenants import TenantControl
from sidecar.emulator.exchange.directory import DeliveryMode, Tenant
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.subscription import Subscription, render_subscription
from sidecar.emulator.notify.authorization import is_paused
from sidecar.emulator.notify.state import Disturbance, DisturbanceKind, Endpoint
from sidecar.emulator.parts import Parts
from sidecar.emulator.wire.options import whole_number
from sidecar.emulator.zones import format_instant

_LIFECYCLE_EVENTS = ("reauthorizationRequired", "subscriptionRemoved", "missed")


class LifecycleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A lifecycle notification: reauthorizationRequired, subscriptionRemoved (removes it) or missed."""

    subscription_id: str
    event: str


class DisturbBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to a subscription's next notifications of changes, in this order: so many are lost, late, doubled."""

    lose_count: Count = 0
    delay_count: Count = 0
    delay_s: Seconds = 60.0
    """How late the late ones are."""
    duplicate_count: Count = 0


class DisturbanceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One disturbance and how far it has got."""

    id: str
    tenant_id: str
    subscription_id: str
    kind: str
    count: int
    consumed: int
    delay_s: float


class DisturbancesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Disturbances; `unconsumed_count` must be 0 when a test ends."""

    disturbances: list[DisturbanceAnswer]
    unconsumed_count: int


class EndpointAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A host that takes notifications; the counts are of its present window of ten minutes."""

    host: str
    state: str
    """good, slow (new notifications come ten minutes later) or drop (notifications are lost)."""
    until: str | None
    """When the present penalty is over."""
    probing: bool
    """The penalty of a drop is over and the next answer decides."""
    window_started_at: str
    responses: int
    over_3_s: int
    over_10_s: int
    in_flight: int
    dropped: int
    """Notifications dropped ever."""


class NotifyControl:
    """Handlers for subscriptions and notifications."""

    def __init__(self, parts: Parts, tenants: TenantControl) -> None:
        self._parts = parts
        self._world = parts.world
        self._deliveries = parts.deliveries
        self._tenants = tenants

    def set_delivery(self, call: ControlCall[None]) -> JsonObject:
        """Hold, send or lose a tenant's notifications."""
        tenant = self._tenants.find(call)
        try:
            tenant.delivery_mode = DeliveryMode(call.values["mode"])
        except ValueError:
            raise ControlError("Deliveries can be told to pause, resume or drop.", status=404) from None
        if tenant.delivery_mode is DeliveryMode.SEND:
            self._deliveries.release(tenant)
        return {"mode": tenant.delivery_mode.value}

    def deliveries(self, call: ControlCall[None]) -> JsonObject:
        """Tell what was sent, with `bodies=true` the bodies too."""
        tenant, after = self._tenants.find(call), read_after(call)
        if call.query.get("bodies", "false") not in ("true", "false"):
            raise ControlError("`bodies` must be true or false.")
        found = [one for one in tenant.deliveries if one["number"] > after]
        if call.query.get("bodies") == "true":
            bodies = dict(tenant.delivery_bodies)
            found = [{**one, "body": bodies.get(one["number"])} for one in found]
        return {"deliveries": found}

    def subscriptions(self, call: ControlCall[None]) -> JsonObject:
        """Tell the live subscriptions, and how they stand."""
        tenant = self._tenants.find(call)
        self._parts.subscribing.purge(tenant)
        return {"subscriptions": [self._shown(tenant, one) for one in tenant.subscriptions.values()]}

    def lifecycle(self, call: ControlCall[LifecycleBody]) -> JsonObject:
        """Send a lifecycle notification by hand."""
        tenant, body = self._tenants.find(call), call.body
        subscription = self._subscription(tenant, body.subscription_id)
        if body.event not in _LIFECYCLE_EVENTS:
            raise ControlError(f"A lifecycle event is one of {', '.join(_LIFECYCLE_EVENTS)}, not {body.event}.")
        if body.event == "subscriptionRemoved":
            tenant.remove_subscription(subscription)
        self._deliveries.note_lifecycle(tenant, subscription, body.event)
        return {"sent": subscription.lifecycle_url is not None}

    def remove(self, call: ControlCall[None]) -> JsonObject:
        """Remove a subscription; its owner is not told."""
        tenant = self._tenants.find(call)
        tenant.remove_subscription(self._subscription(tenant, call.values["id"]))
        return {"removed": True}

    def expire(self, call: ControlCall[None]) -> JsonObject:
        """Let a subscription expire at once; its owner is not told, as always with expiry."""
        tenant = self._tenants.find(call)
        subscription = self._subscription(tenant, call.values["id"])
        subscription.expires_at = self._world.now()
        self._parts.subscribing.purge(tenant)
        return {"expired_at": format_instant(subscription.expires_at)}

    def disturb(self, call: ControlCall[DisturbBody]) -> DisturbancesAnswer:
        """Script what happens to a subscription's next notifications."""
        tenant, body = self._tenants.find(call), call.body
        subscription = self._subscription(tenant, call.values["id"])
        wanted = (
            (DisturbanceKind.LOSE, body.lose_count, 0.0),
            (DisturbanceKind.DELAY, body.delay_count, body.delay_s),
            (DisturbanceKind.DUPLICATE, body.duplicate_count, 0.0),
        )
        made = [
            Disturbance(
                disturbance_id=self._world.ids.guid(),
                tenant_id=tenant.tenant_id,
                subscription_id=subscription.subscription_id,
                kind=kind,
                count=count,
                delay_s=delay_s,
            )
            for kind, count, delay_s in wanted
            if count
        ]
        self._deliveries.state.disturbances += made
        return _disturbances_answer(made)

    def disturbances(self, call: ControlCall[None]) -> DisturbancesAnswer:
        """Tell how far a tenant's disturbances have got."""
        tenant = self._tenants.find(call)
        mine = [one for one in self._deliveries.state.disturbances if one.tenant_id == tenant.tenant_id]
        return _disturbances_answer(mine)

    def clear_disturbances(self, call: ControlCall[None]) -> JsonObject:
        """Forget a tenant's disturbances."""
        tenant, state = self._tenants.find(call), self._deliveries.state
        left = [one for one in state.disturbances if one.tenant_id != tenant.tenant_id]
        cleared_count = len(state.disturbances) - len(left)
        state.disturbances = left
        return {"cleared_count": cleared_count}

    def endpoints(self, _: ControlCall[None]) -> dict[str, list[EndpointAnswer]]:
        """Tell how the hosts that take notifications are treated."""
        return {"endpoints": [_endpoint_answer(one) for one in self._deliveries.state.endpoints.values()]}

    def _subscription(self, tenant: Tenant, subscription_id: str) -> Subscription:
        found = tenant.subscriptions.get(subscription_id.lower())
        if found is None:
            raise ControlError(f"There is no subscription {subscription_id} in this tenant.", status=404)
        return found

    def _shown(self, tenant: Tenant, subscription: Subscription) -> JsonObject:
        authorization, now = subscription.authorization, self._world.now()
        denied_since, ask_at = authorization.denied_since, authorization.ask_at
        return {
            **render_subscription(subscription, with_state=True),
            "mailbox": subscription.mailbox.address,
            "immutable_ids": subscription.immutable,
            "authorized_until": format_instant(authorization.until),
            "reauthorization_asked_at": format_instant(ask_at) if ask_at else None,
            "denied_since": format_instant(denied_since) if denied_since else None,
            "paused": is_paused(subscription, now, grace_s=self._world.moods_of(tenant).authorization_grace_s),
            "inconsistent": authorization.is_inconsistent,
        }


def notify_routes(on: NotifyControl) -> list[ControlRoute[Any]]:  # Any: each route has its own body type
    """Build the routes about subscriptions and notifications."""
    none: Any = type(None)  # Any: one name for routes of several types
    one = f"{TENANT}/subscriptions/{{id}}"
    hosts, disturbances = dict[str, list[EndpointAnswer]], DisturbancesAnswer
    return [
        control_route(
            "POST", f"{TENANT}/deliveries/{{mode}}", "Notifications: pause, resume or drop.", on.set_delivery, none
        ),
        control_route(
            "GET",
            f"{TENANT}/deliveries",
            "Tell what was sent to webhooks.",
            on.deliveries,
            none,
            query=("after", "bodies"),
        ),
        control_route("GET", f"{TENANT}/subscriptions", "Tell the live subscriptions.", on.subscriptions, none),
        control_route("DELETE", one, "Remove a subscription and tell nobody.", on.remove, none),
        control_route("POST", f"{one}/expire", "Let a subscription expire at once.", on.expire, none),
        control_route(
            "POST", f"{one}/disturb", "Lose, delay or double notifications.", on.disturb, DisturbBody, disturbances
        ),
        control_route("GET", f"{TENANT}/disturbances", "Tell which have met.", on.disturbances, none, disturbances),
        control_route("DELETE", f"{TENANT}/disturbances", "Forget every disturbance.", on.clear_disturbances, none),
        control_route("POST", f"{TENANT}/lifecycle", "Send a lifecycle notification.", on.lifecycle, LifecycleBody),
        control_route(
            "GET", "/control/endpoints", "Tell which endpoints are slow or dropped.", on.endpoints, none, hosts
        ),
    ]


def read_after(call: ControlCall[None]) -> int:
    """Read the number after which records are wanted."""
    after = whole_number(call.query.get("after", "0"))
    if after is None:
        raise ControlError("`after` must be a number.")
    return after


def _disturbances_answer(found: list[Disturbance]) -> DisturbancesAnswer:
    shown = [
        DisturbanceAnswer(
            id=one.disturbance_id,
            tenant_id=one.tenant_id,
            subscription_id=one.subscription_id,
            kind=one.kind.value,
            count=one.count,
            consumed=one.consumed,
            delay_s=one.delay_s,
        )
        for one in found
    ]
    return DisturbancesAnswer(disturbances=shown, unconsumed_count=sum(not one.is_spent for one in found))


def _endpoint_answer(endpoint: Endpoint) -> EndpointAnswer:
    return EndpointAnswer(
        host=endpoint.host,
        state=endpoint.state.value,
        until=format_instant(endpoint.until) if endpoint.until else None,
        probing=endpoint.is_probing,
        window_started_at=format_instant(endpoint.window_started_at),
        responses=endpoint.responses_count,
        over_3_s=endpoint.over_3_s_count,
        over_10_s=endpoint.over_10_s_count,
        in_flight=endpoint.in_flight_count,
        dropped=endpoint.dropped_count,
    )
