"""The line in front of Microsoft: who may send next when not everybody may. It knows no time and sends nothing.

Three limits hold at once: for a mailbox, for a tenant, and for all tenants together. Whoever fits under all three goes at once.
Where several wait for what is free:

1. Among tenants the one with the fewest requests under way goes first, so that all who wait end up with equal shares, and a
   tenant that asks for little is served at once. Between equals the more urgent request goes first, then the tenant whose
   turn is longest ago.
2. Within a tenant the more urgent goes first, and of the same urgency the one that came first.
3. No waiter is passed over for ever: a tenant's oldest waiter that was passed over `PASSED_OVER_MAX` times in a row goes.

A waiter whose mailbox is full is stepped around and takes nothing from others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from sidecar.graph.urgency import Urgency
from sidecar.model.ids import TenantUid

PASSED_OVER_MAX = 7
"""So at least one slot in eight goes to whoever of the tenant has waited longest, however many hints there are."""


class LineFull(Exception):
    """So many wait already that waiting makes no sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose slot is asked for.

    Attributes:
        mailbox: folded; or another thing that counts requests for itself.
        mailbox_max: requests under way on it before a request of this urgency has to wait.
    """

    tenant_uid: TenantUid
    mailbox: str
    mailbox_max: int
    urgency: Urgency


@dataclass(eq=False, slots=True)
class _Waiter:
    place: Place
    admitted: asyncio.Future[None]


class _Tenant:
    __slots__ = ("last_turn", "mailboxes", "passed_over_count", "under_way_count", "waiting")

    def __init__(self) -> None:
        self.under_way_count = 0
        self.mailboxes: dict[str, int] = {}
        self.waiting: dict[_Waiter, None] = {}  # for its order: the oldest first, in every run alike
        self.passed_over_count = 0
        self.last_turn = 0

    def fitting(self) -> Iterator[_Waiter]:
        """Yield those whose mailbox has room, the oldest first."""
        for waiter in self.waiting:
            place = waiter.place
            # One that is cancelled is done before its task has run to take itself out.
            if not waiter.admitted.done() and self.mailboxes.get(place.mailbox, 0) < place.mailbox_max:
                yield waiter

    def choose(self) -> _Waiter | None:
        """Return who goes next here."""
        fitting = list(self.fitting())
        if not fitting:
            return None
        oldest, most_urgent = fitting[0], min(fitting, key=lambda waiter: waiter.place.urgency)
        return oldest if self.passed_over_count >= PASSED_OVER_MAX else most_urgent

    def note(self, chosen: _Waiter) -> None:
        """Count how often the oldest was passed over."""
        self.passed_over_count = 0 if chosen is next(self.fitting()) else self.passed_over_count + 1


class Line:
    """Slots, and those who wait for one. Not more than it was made for are ever given out."""

    def __init__(self, *, requests_max: int, per_tenant_max: int, waiting_max: int) -> None:
        self._requests_max = requests_max
        self._per_tenant_max = per_tenant_max
        self._waiting_max = waiting_max
        self._tenants: dict[TenantUid, _Tenant] = {}
        self._crowded: dict[TenantUid, _Tenant] = {}  # those of them in which somebody waits
        self._turns = count(1)
        self.under_way_count = 0
        self.waiting_count = 0

    async def enter(self, place: Place) -> None:
        """Take a slot, when it is one's turn. To be given back with `leave`.

        Cancelling is safe at any moment: then no slot is taken.

        Raises:
            LineFull: at once.
        """
        tenant = self._tenants.setdefault(place.tenant_uid, _Tenant())
        # Whoever waits does not fit, so one that fits passes nobody.
        if self._has_room(tenant) and tenant.mailboxes.get(place.mailbox, 0) < place.mailbox_max:
            self._take(tenant, place)
            return
        if self.waiting_count >= self._waiting_max:
            self._forget_if_idle(place.tenant_uid, tenant)
            raise LineFull
        waiter = _Waiter(place, asyncio.get_running_loop().create_future())
        tenant.waiting[waiter] = None
        self._crowded[place.tenant_uid] = tenant
        self.waiting_count += 1
        try:
            await waiter.admitted
        except asyncio.CancelledError:
            if waiter in tenant.waiting:
                self._take_out(tenant, waiter)
            else:  # admitted and cancelled in the same moment
                self.leave(place)
            raise

    def leave(self, place: Place) -> None:
        """Give a slot back; whoever waits for it goes."""
        tenant = self._tenants[place.tenant_uid]
        self.under_way_count -= 1
        tenant.under_way_count -= 1
        tenant.mailboxes[place.mailbox] -= 1
        if not tenant.mailboxes[place.mailbox]:
            del tenant.mailboxes[place.mailbox]
        self._forget_if_idle(place.tenant_uid, tenant)
        while self._crowded and (waiter := self._next()) is not None:
            waiting = self._tenants[waiter.place.tenant_uid]
            waiting.note(waiter)
            self._take_out(waiting, waiter)
            self._take(waiting, waiter.place)
            waiter.admitted.set_result(None)

    def _next(self) -> _Waiter | None:
        """Return who goes next of all that fit; see the rules above."""
        best: tuple[tuple[int, Urgency, int], _Waiter] | None = None
        for tenant in self._crowded.values():
            waiter = tenant.choose() if self._has_room(tenant) else None
            if waiter is not None:
                rank = (tenant.under_way_count, waiter.place.urgency, tenant.last_turn)
                if best is None or rank < best[0]:
                    best = (rank, waiter)
        return None if best is None else best[1]

    def _has_room(self, tenant: _Tenant) -> bool:
        return self.under_way_count < self._requests_max and tenant.under_way_count < self._per_tenant_max

    def _take(self, tenant: _Tenant, place: Place) -> None:
        self._tenants[place.tenant_uid] = tenant
        self.under_way_count += 1
        tenant.under_way_count += 1
        tenant.mailboxes[place.mailbox] = tenant.mailboxes.get(place.mailbox, 0) + 1
        tenant.last_turn = next(self._turns)

    def _take_out(self, tenant: _Tenant, waiter: _Waiter) -> None:
        del tenant.waiting[waiter]
        self.waiting_count -= 1
        if not tenant.waiting:
            tenant.passed_over_count = 0
            self._crowded.pop(waiter.place.tenant_uid, None)
            self._forget_if_idle(waiter.place.tenant_uid, tenant)

    def _forget_if_idle(self, tenant_uid: TenantUid, tenant: _Tenant) -> None:
        if not tenant.under_way_count and not tenant.waiting:
            self._tenants.pop(tenant_uid, None)
