"""Control calls about limits: changing them, and reading what has been counted against them."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from sidecar.emulator.control.app import TENANT, ControlCall, ControlError, ControlRoute, control_route
from sidecar.emulator.control.tenants import TenantControl
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.metering import LIMITS, Scope
from sidecar.emulator.exchange.world import World
from sidecar.emulator.zones import format_instant

_CONCURRENCY = "mailbox_concurrency"  # a mood, told beside the windows


class ThrottleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes about the limits; what is left out stays."""

    limits: dict[str, Annotated[int, msgspec.Meta(ge=0)] | None]
    """Requests or bytes in a window by limit; 0 is no limit, null takes back what was set."""


class LimitAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A limit and what is allowed at present."""

    limit: str
    per: str
    max: int | None
    """null while nothing is refused."""
    documented_max: int
    window_s: float


class CountAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What has been counted against a limit."""

    limit: str
    client_id: str
    mailbox: str | None
    count: int
    """In the present window."""
    max: int | None
    """null while nothing is refused."""
    refused_count: int
    """Since the emulator began."""
    window_ends_at: str | None


class TenantThrottleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant's apps are allowed, and what they have used."""

    limits: list[LimitAnswer]
    own: dict[str, int]
    """In which limits the tenant differs from the emulator; 0 is no limit."""
    counts: list[CountAnswer]


class ThrottleControl:
    """Handlers for the limits."""

    def __init__(self, world: World, tenants: TenantControl) -> None:
        self._world = world
        self._tenants = tenants

    def tell(self, _: ControlCall[None]) -> dict[str, list[LimitAnswer]]:
        """Tell what is allowed."""
        return {"limits": self._limits(None)}

    def change(self, call: ControlCall[ThrottleBody]) -> dict[str, list[LimitAnswer]]:
        """Change what is allowed; windows that are open stay open."""
        _change(self._world.metering.maxima, call.body)
        return {"limits": self._limits(None)}

    def tell_tenant(self, call: ControlCall[None]) -> TenantThrottleAnswer:
        """Tell what a tenant's apps are allowed, and what they have used."""
        return self._told(self._tenants.find(call))

    def change_tenant(self, call: ControlCall[ThrottleBody]) -> TenantThrottleAnswer:
        """Change what a tenant's apps are allowed; windows that are open stay open."""
        tenant = self._tenants.find(call)
        _change(tenant.own_limits, call.body)
        return self._told(tenant)

    def _told(self, tenant: Tenant) -> TenantThrottleAnswer:
        return TenantThrottleAnswer(
            limits=self._limits(tenant), own=tenant.own_limits, counts=list(self._counts(tenant))
        )

    def _limits(self, tenant: Tenant | None) -> list[LimitAnswer]:
        return [
            LimitAnswer(
                limit=name,
                per=limit.scope.value,
                max=self._max(name, tenant),
                documented_max=limit.amount_max,
                window_s=limit.span.total_seconds(),
            )
            for name, limit in LIMITS.items()
        ]

    def _max(self, name: str, tenant: Tenant | None) -> int | None:
        documented = self._world.moods_of(tenant).documented_limits
        own = {} if tenant is None else tenant.own_limits
        return self._world.metering.amount_max(name, documented=documented, own=own)

    def _counts(self, tenant: Tenant) -> Iterator[CountAnswer]:
        metering, now = self._world.metering, self._world.now()
        for app in tenant.apps.values():
            for key, mailbox in _keys(app.client_id, tenant, Scope.MAILBOX):
                if metering.in_flight[key] or metering.crowded_counts[key]:
                    yield CountAnswer(
                        limit=_CONCURRENCY,
                        client_id=app.client_id,
                        mailbox=mailbox,
                        count=metering.in_flight[key],
                        max=self._world.moods_of(tenant).mailbox_concurrency_max or None,
                        refused_count=metering.crowded_counts[key],
                        window_ends_at=None,
                    )
            for name, limit in LIMITS.items():
                for key, mailbox in _keys(app.client_id, tenant, limit.scope):
                    window = metering.windows.get(name, {}).get(key)
                    if window is None:
                        continue
                    is_open = window.ends_at > now
                    yield CountAnswer(
                        limit=name,
                        client_id=app.client_id,
                        mailbox=mailbox,
                        count=window.count if is_open else 0,
                        max=self._max(name, tenant),
                        refused_count=window.refused_count,
                        window_ends_at=format_instant(window.ends_at) if is_open else None,
                    )


def throttle_routes(on: ThrottleControl) -> list[ControlRoute[Any]]:  # Any: each route has its own body type
    """Build the routes about limits."""
    none: Any = type(None)  # Any: one name for routes of several types
    limits, mine = dict[str, list[LimitAnswer]], TenantThrottleAnswer
    return [
        control_route("GET", "/control/throttle", "Tell the limits.", on.tell, none, limits),
        control_route(
            "PUT", "/control/throttle", "Change limits; what is left out stays.", on.change, ThrottleBody, limits
        ),
        control_route("GET", f"{TENANT}/throttle", "Tell a tenant's limits and counts.", on.tell_tenant, none, mine),
        control_route(
            "PUT",
            f"{TENANT}/throttle",
            "Change limits for one tenant; null takes the emulator's again.",
            on.change_tenant,
            ThrottleBody,
            mine,
        ),
    ]


def _change(maxima: dict[str, int], body: ThrottleBody) -> None:
    unknown = set(body.limits) - set(LIMITS)
    if unknown:
        raise ControlError(f"There is no limit {', '.join(sorted(unknown))}; the limits are {', '.join(LIMITS)}.")
    for name, amount_max in body.limits.items():
        maxima.pop(name, None)
        if amount_max is not None:
            maxima[name] = amount_max


def _keys(client_id: str, tenant: Tenant, scope: Scope) -> Iterator[tuple[str, str | None]]:
    """Give the keys an app's counts are kept by, and the mailbox each is about."""
    if scope is Scope.APP:
        yield client_id, None
    elif scope is Scope.TENANT:
        yield f"{client_id}/{tenant.tenant_id}", None
    else:
        for mailbox in tenant.mailboxes.values():
            yield f"{client_id}/{mailbox.object_id}", mailbox.address
