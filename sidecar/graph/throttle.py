"""How many requests may be under way, and who must be left alone for a while.

Exchange counts per mailbox and application: a fifth request at the same time is refused, and a refusal names a time to
stay away. Both are kept here for the whole process, so that one caller's refusal saves the next one's request.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidecar.aio.clock import Clock
from sidecar.errors import Throttled
from sidecar.model.ids import TenantUid
from sidecar.settings import GraphSettings

SUBSCRIPTIONS = "/subscriptions"
"""In place of a mailbox: the subscription service, which counts per tenant. No mailbox is spelled with a slash."""
_SUBSCRIPTION_CALLS_MAX = 16
"""Creating one takes Exchange a second or more, and two calls to our webhook; this is about ten a second."""
_HOLDS_MAX = 20_000
"""Times to stay away that are remembered; beyond that the oldest is forgotten, which costs one refused request."""

_Key = tuple[TenantUid, str]
_WHOLE_TENANT = ""


class _Lane:
    __slots__ = ("semaphore", "users_count")

    def __init__(self, requests_max: int) -> None:
        self.semaphore = asyncio.Semaphore(requests_max)
        self.users_count = 0


class Throttle:
    """Slots for requests, and the memory of refusals. A mailbox is compared case-folded."""

    def __init__(self, *, settings: GraphSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lanes: dict[_Key, _Lane] = {}
        self._holds: OrderedDict[_Key, float] = OrderedDict()

    @asynccontextmanager
    async def slot(self, tenant_uid: TenantUid, mailbox: str) -> AsyncIterator[None]:
        """Wait for a free slot of the mailbox, then of the tenant, and hold both.

        In this order, so that those who wait for a busy mailbox take nothing from the tenant's other rooms.

        Raises:
            Throttled: at once, when the mailbox or the tenant must be left alone for longer than is waited in place.
        """
        key = (tenant_uid, mailbox.casefold())
        whole_tenant = (tenant_uid, _WHOLE_TENANT)
        requests_max = _SUBSCRIPTION_CALLS_MAX if mailbox == SUBSCRIPTIONS else self._settings.concurrency_per_mailbox
        self._refuse_if_held(key, whole_tenant)
        async with (
            self._lane(key, requests_max),
            self._lane(whole_tenant, self._settings.concurrency_per_tenant),
        ):
            # Again, because others may have been refused while this one stood in line.
            wait_s = self._refuse_if_held(key, whole_tenant)
            if wait_s > 0.0:
                await self._clock.sleep(wait_s)
            yield

    def hold(self, tenant_uid: TenantUid, mailbox: str | None, duration_s: float) -> None:
        """Leave a mailbox, or with None the whole tenant, alone for a while. A longer hold in force stays."""
        key = (tenant_uid, _WHOLE_TENANT if mailbox is None else mailbox.casefold())
        until_s = max(self._clock.monotonic() + duration_s, self._holds.get(key, 0.0))
        self._holds[key] = until_s
        self._holds.move_to_end(key)
        if len(self._holds) > _HOLDS_MAX:
            self._holds.popitem(last=False)

    def _refuse_if_held(self, *keys: _Key) -> float:
        wait_s = max(self._held_s(key) for key in keys)
        if wait_s > self._settings.wait_in_place_s:
            raise Throttled("Exchange asked us to slow down; the time it named is not over", retry_after_s=wait_s)
        return wait_s

    def _held_s(self, key: _Key) -> float:
        until_s = self._holds.get(key)
        if until_s is None:
            return 0.0
        wait_s = until_s - self._clock.monotonic()
        if wait_s <= 0.0:
            del self._holds[key]
            return 0.0
        return wait_s

    @asynccontextmanager
    async def _lane(self, key: _Key, requests_max: int) -> AsyncIterator[None]:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(requests_max)
        lane.users_count += 1
        try:
            async with lane.semaphore:
                yield
        finally:
            lane.users_count -= 1
            if lane.users_count == 0:
                del self._lanes[key]
