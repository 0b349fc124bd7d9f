"""How many requests may be under way, and who must be left alone for a while.

Exchange counts per mailbox and application: a fifth request at the same time is refused, and a refusal names a time to
stay away. Both are kept here for the whole process, so that one caller's refusal saves the next one's request. Who goes
first where there is not room for all is `line`'s to say.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidecar.aio.clock import INSTANT_S, Clock
from sidecar.errors import Throttled
from sidecar.graph.line import Line, LineFull, Place
from sidecar.graph.urgency import Urgency, current_urgency
from sidecar.model.ids import TenantUid
from sidecar.settings import GraphSettings

SUBSCRIPTIONS = "/subscriptions"
"""In place of a mailbox: the subscription service, which counts per tenant. No mailbox is spelled with a slash."""
PLACES = "/places"
"""The directory of places; as many requests at once as for one mailbox."""
_SUBSCRIPTION_CALLS_MAX = 16
"""Creating one takes Exchange a second or more, and two calls to our webhook; this is about ten a second."""
MAILBOX_REQUESTS_MAX = 4
"""What Exchange allows one application on one mailbox. Source: Graph "service-specific throttling limits" page."""
_KEPT_FOR_WRITES = 1
"""Slots of a mailbox that only somebody who waits for a write gets: a read of many pages must not keep a person waiting."""
_WAITING_MAX = 2_000
"""Requests that wait for a slot; far above what all lanes and all calls of the API together can ask for at once."""
_LINE_S = 30.0
"""A request that got no slot for this long is put off: what it was to read may be known by now."""
_LINE_RETRY_S = 10.0
_HOLDS_MAX = 20_000
"""Times to stay away that are remembered; beyond that the oldest is forgotten, which costs one refused request."""

_Key = tuple[TenantUid, str]
_WHOLE_TENANT = ""


class Throttle:
    """Slots for requests, and the memory of refusals. A mailbox is compared case-folded."""

    def __init__(self, *, settings: GraphSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._line = Line(
            requests_max=settings.concurrency,
            per_tenant_max=settings.concurrency_per_tenant,
            waiting_max=_WAITING_MAX,
        )
        self._holds: OrderedDict[_Key, float] = OrderedDict()

    @property
    def under_way_count(self) -> int:
        """How many slots are taken now."""
        return self._line.under_way_count

    @property
    def waiting_count(self) -> int:
        """How many requests wait for a slot now."""
        return self._line.waiting_count

    @asynccontextmanager
    async def slot(self, tenant_uid: TenantUid, mailbox: str) -> AsyncIterator[None]:
        """Wait for a free slot of the mailbox, of the tenant and of all, and hold them.

        How urgent it is says `urgency.current_urgency`. Nobody holds a slot who only waits for a refusal to end.

        Raises:
            Throttled: when the mailbox or the tenant must be left alone for longer than is waited in place, or when
                the line is too long.
        """
        place = self._place(tenant_uid, mailbox)
        await self._enter(place)
        try:
            yield
        finally:
            self._line.leave(place)

    def hold(self, tenant_uid: TenantUid, mailbox: str | None, duration_s: float) -> None:
        """Leave a mailbox, or with None the whole tenant, alone for a while. A longer hold in force stays."""
        key = (tenant_uid, _WHOLE_TENANT if mailbox is None else mailbox.casefold())
        until_s = max(self._clock.monotonic() + duration_s, self._holds.get(key, 0.0))
        self._holds[key] = until_s
        self._holds.move_to_end(key)
        if len(self._holds) > _HOLDS_MAX:
            self._holds.popitem(last=False)

    def _place(self, tenant_uid: TenantUid, mailbox: str) -> Place:
        urgency = current_urgency()
        if mailbox == SUBSCRIPTIONS:
            requests_max = _SUBSCRIPTION_CALLS_MAX
        else:
            kept = _KEPT_FOR_WRITES if urgency is Urgency.WRITE else 0
            requests_max = min(MAILBOX_REQUESTS_MAX, self._settings.concurrency_per_mailbox + kept)
        return Place(tenant_uid=tenant_uid, mailbox=mailbox.casefold(), mailbox_max=requests_max, urgency=urgency)

    async def _enter(self, place: Place) -> None:
        patience_s = self._settings.wait_in_place_s
        while True:
            wait_s = self._held_s(place)
            if wait_s > patience_s:
                raise Throttled("Exchange asked us to slow down; the time it named is not over", retry_after_s=wait_s)
            if wait_s > 0.0:
                patience_s -= wait_s
                await self._clock.sleep(wait_s)
                continue
            try:
                async with asyncio.timeout(_LINE_S):
                    await self._line.enter(place)
            except (LineFull, TimeoutError):
                raise Throttled(
                    "too many requests of ours wait already", retry_after_s=_LINE_RETRY_S, details={"cause": "LINE"}
                ) from None
            # Again, because others may have been refused while this one stood in line.
            if self._held_s(place) <= 0.0:
                return
            self._line.leave(place)

    def _held_s(self, place: Place) -> float:
        return max(self._left_s((place.tenant_uid, place.mailbox)), self._left_s((place.tenant_uid, _WHOLE_TENANT)))

    def _left_s(self, key: _Key) -> float:
        until_s = self._holds.get(key)
        if until_s is None:
            return 0.0
        wait_s = until_s - self._clock.monotonic()
        if wait_s <= INSTANT_S:
            del self._holds[key]
            return 0.0
        return wait_s
