"""Where watched tenants stand: the small whole of their state, found out once for all who watch.

State, not a log: a look that finds nothing new is told to nobody, and what came and went between two looks is never told. A
tenant is looked at again when its log or its row has changed, in whatever process, at most once a second; and now and then
without a cause, because time alone changes states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from sidecar.aio.clock import Clock
from sidecar.aio.wakeup import Broadcast, Wakeup
from sidecar.feed.steps import NextStep, next_step
from sidecar.model.ids import TenantUid
from sidecar.model.propagation import Propagation
from sidecar.model.room import FreshnessLimits, RoomState, SyncState
from sidecar.model.tenant import Tenant
from sidecar.model.tenant_problems import expiry_step
from sidecar.store.census import TenantCensus
from sidecar.store.store import Store

_APART_S = 1.0
"""However much happens, nobody is told more often than this."""
IDLE_S = 15.0
"""As long as the usual heartbeat: what time alone has changed is known as soon as on a watch of rooms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantStanding:
    """A tenant, how many of its rooms are in which state (states without rooms are left out), and what happens next.

    `propagation` is how far access that was granted has reached, None when nothing is awaited. `expiry_step` is the last
    warning about the credential that is due. `seen_at` is when somebody looked; two looks that differ in nothing else found
    nothing new.
    """

    tenant: Tenant
    rooms_count: int
    states: Mapping[RoomState, int]
    sync_states: Mapping[SyncState, int]
    next_step: NextStep | None
    propagation: Propagation | None
    expiry_step: int | None
    seen_at: datetime = field(compare=False)


def standing_of(
    census: TenantCensus, propagation: Propagation | None, *, now: datetime, limits: FreshnessLimits
) -> TenantStanding:
    """Work out where a tenant stands from counts of its rooms."""
    tenant = census.tenant
    states: Counter[RoomState] = Counter()
    sync_states: Counter[SyncState] = Counter()
    for group in census.groups:
        states[group.state] += group.count
        sync_states[group.sync_state(now=now, limits=limits)] += group.count
    looks = [census.verify_at, None if propagation is None else propagation.next_look_at]
    verify_at = min((at for at in looks if at is not None), default=None)
    return TenantStanding(
        tenant=tenant,
        rooms_count=states.total(),
        states=states,
        sync_states=sync_states,
        next_step=next_step(tenant, importing_count=states[RoomState.IMPORTING], verify_at=verify_at),
        propagation=propagation,
        expiry_step=expiry_step(tenant.credential, now=now),
        seen_at=now,
    )


class _Look:
    """What is known of one watched tenant. `standing` None: it is gone, or nobody has looked yet."""

    def __init__(self) -> None:
        self.standing: TenantStanding | None = None
        self.bell = Broadcast()
        self.looked_s: float | None = None
        self.is_dirty = False
        self.watchers_count = 0

    def due_s(self) -> float:
        """Return when to look again."""
        if self.looked_s is None:
            return 0.0
        return self.looked_s + (_APART_S if self.is_dirty else IDLE_S)


class TenantWatches:
    """The tenants that are watched now."""

    def __init__(self, *, store: Store, limits: FreshnessLimits, clock: Clock) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        self._looks: dict[TenantUid, _Look] = {}
        self._wakeup = Wakeup()

    def note(self, tenant_uid: TenantUid) -> None:
        """Take note that a tenant has changed (empty: perhaps any); call it after the commit."""
        for look in self._looks.values() if not tenant_uid else filter(None, [self._looks.get(tenant_uid)]):
            look.is_dirty = True
            self._wakeup.ring()

    def ring_all(self) -> None:
        """Wake every watcher."""
        for look in self._looks.values():
            look.bell.ring()

    async def run(self) -> None:
        """Look at watched tenants when it is time, for ever."""
        stops = [self._store.on_changes(self.note), self._store.on_tenants(self.note)]
        try:
            while True:
                now_s = self._clock.monotonic()
                for tenant_uid, look in list(self._looks.items()):
                    if look.due_s() <= now_s:
                        await self._refresh(tenant_uid, look)
                next_s = min((look.due_s() for look in self._looks.values()), default=None)
                await self._wakeup.wait(None if next_s is None else max(0.0, next_s - self._clock.monotonic()))
        finally:
            for stop in stops:
                stop()

    async def _refresh(self, tenant_uid: TenantUid, look: _Look) -> None:
        look.is_dirty = False  # before the look: what changes while it goes on is not seen by it
        try:
            census = await self._store.census.tenant(tenant_uid, self._limits)
            awaited = await self._store.propagations.progress([tenant_uid])
        except BaseException:
            look.is_dirty = True
            raise
        is_first, look.looked_s = look.looked_s is None, self._clock.monotonic()
        standing = (
            None
            if census is None
            else standing_of(census, awaited.get(tenant_uid), now=self._clock.now(), limits=self._limits)
        )
        if is_first or standing != look.standing:
            look.standing = standing
            look.bell.ring()

    @contextmanager
    def watching(self, tenant_uid: TenantUid) -> Iterator[TenantWatch]:
        """Keep a tenant looked at while a watcher is there."""
        look = self._looks.setdefault(tenant_uid, _Look())
        look.watchers_count += 1
        self._wakeup.ring()
        try:
            yield TenantWatch(look)
        finally:
            look.watchers_count -= 1
            if look.watchers_count == 0:
                del self._looks[tenant_uid]


class TenantWatch:
    """One watcher's view of a tenant."""

    def __init__(self, look: _Look) -> None:
        self._look = look

    @property
    def version(self) -> int:
        """A number that differs once there is something new."""
        return self._look.bell.version

    @property
    def looked_s(self) -> float | None:
        """When somebody looked last, by the clock's monotonic time; None: nobody has yet."""
        return self._look.looked_s

    @property
    def standing(self) -> TenantStanding | None:
        """Where the tenant stands; None when it is gone."""
        return self._look.standing

    async def wait(self, seen_version: int, timeout_s: float) -> bool:
        """Wait for something newer than `seen_version`; say whether it came before the time was over."""
        return await self._look.bell.wait(seen_version, timeout_s)
