"""One watch of a tenant: its standing at once, when it changes, and at every heartbeat."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sidecar.errors import StoreUnavailable
from sidecar.feed.events import Closing, ClosingReason
from sidecar.feed.source import LogSource
from sidecar.feed.tenants import IDLE_S, TenantStanding, TenantWatch

_DRAIN_RETRY_S = 1.0
_AGE_MAX_S = 3 * IDLE_S
"""No message vouches for what is older, nor is the first one waited for any longer: two looks may fail."""


async def watch_standing(
    source: LogSource, watch: TenantWatch, *, heartbeat_s: float
) -> AsyncIterator[TenantStanding | Closing]:
    """Yield where a tenant stands, for ever or until a `Closing`.

    Raises:
        StoreUnavailable: nobody has been able to look at it for so long that nothing can be said.
    """
    clock = source.clock
    began_s = told_s = clock.monotonic()
    told: TenantStanding | None = None
    while True:
        seen_version = watch.version
        if source.is_draining:
            yield Closing(ClosingReason.DRAINING, _DRAIN_RETRY_S * (1 + source.rng.random()), None)
            return
        if clock.monotonic() - began_s > source.settings.max_age_s:
            yield Closing(ClosingReason.MAX_AGE, 0.0, None)
            return
        wake_s = began_s + _AGE_MAX_S
        if watch.looked_s is None:
            if clock.monotonic() >= wake_s:
                raise _blind()
        else:
            standing = watch.standing
            if standing is None:
                yield Closing(ClosingReason.SCOPE_GONE, 0.0, None)
                return
            if clock.monotonic() > watch.looked_s + _AGE_MAX_S:
                raise _blind()
            if standing is not told or clock.monotonic() >= told_s + heartbeat_s:
                told, told_s = standing, clock.monotonic()
                yield standing
            wake_s = told_s + heartbeat_s
        await watch.wait(seen_version, max(0.0, wake_s - clock.monotonic()))


def _blind() -> StoreUnavailable:
    return StoreUnavailable("nobody has been able to look at the tenant for a while")
