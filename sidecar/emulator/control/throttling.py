"""Control calls about limits: changing them, and reading what has been counted against them."""

from collections.abc import Iterator

from sidecar.emulator.control.app import ControlCall, ControlError
from sidecar.emulator.control.tenants import TenantControl
from sidecar.emulator.control.types import CountAnswer, LimitAnswer, ThrottleBody
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.metering import LIMITS, Scope
from sidecar.emulator.exchange.world import World
from sidecar.emulator.zones import format_instant

_CONCURRENCY = "mailbox_concurrency"  # a mood, told beside the windows


class ThrottleControl:
    """Handlers for the limits."""

    def __init__(self, world: World, tenants: TenantControl) -> None:
        self._world = world
        self._tenants = tenants

    def limits(self, _: ControlCall[None]) -> dict[str, list[LimitAnswer]]:
        """Tell what is allowed."""
        return self._told()

    def change(self, call: ControlCall[ThrottleBody]) -> dict[str, list[LimitAnswer]]:
        """Change what is allowed; windows that are open stay open."""
        metering, body = self._world.metering, call.body
        unknown = set(body.limits) - set(LIMITS)
        if unknown:
            raise ControlError(f"There is no limit {', '.join(sorted(unknown))}; the limits are {', '.join(LIMITS)}.")
        for name, amount_max in body.limits.items():
            metering.maxima.pop(name, None)
            if amount_max is not None:
                metering.maxima[name] = amount_max
        return self._told()

    def counts(self, call: ControlCall[None]) -> dict[str, list[CountAnswer]]:
        """Tell what a tenant's apps have used."""
        return {"counts": list(self._counts(self._tenants.find(call)))}

    def _told(self) -> dict[str, list[LimitAnswer]]:
        rows = [
            LimitAnswer(
                limit=name,
                per=limit.scope.value,
                max=self._max(name),
                documented_max=limit.amount_max,
                window_s=limit.span.total_seconds(),
            )
            for name, limit in LIMITS.items()
        ]
        return {"limits": rows}

    def _max(self, name: str) -> int | None:
        return self._world.metering.amount_max(name, documented=self._world.moods.documented_limits)

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
                        max=self._world.moods.mailbox_concurrency_max or None,
                        refused_count=metering.crowded_counts[key],
                        window_ends_at=None,
                    )
            for name, limit in LIMITS.items():
                for key, mailbox in _keys(app.client_id, tenant, limit.scope):
                    window = metering.windows[name].get(key)
                    if window is None:
                        continue
                    is_open = window.ends_at > now
                    yield CountAnswer(
                        limit=name,
                        client_id=app.client_id,
                        mailbox=mailbox,
                        count=window.count if is_open else 0,
                        max=self._max(name),
                        refused_count=window.refused_count,
                        window_ends_at=format_instant(window.ends_at) if is_open else None,
                    )


def _keys(client_id: str, tenant: Tenant, scope: Scope) -> Iterator[tuple[str, str | None]]:
    """Give the keys an app's counts are kept by, and the mailbox each is about."""
    if scope is Scope.APP:
        yield client_id, None
    elif scope is Scope.TENANT:
        yield f"{client_id}/{tenant.tenant_id}", None
    else:
        for mailbox in tenant.mailboxes.values():
            yield f"{client_id}/{mailbox.object_id}", mailbox.address
