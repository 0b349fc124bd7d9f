"""What every reader of the logs shares: the store, the tails, the rooms' states, and the word that it is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from random import Random

from cachetools import TTLCache

from sidecar.aio.clock import Clock
from sidecar.feed.tail import Tails
from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.room import FreshnessLimits, Room, SyncState, sync_state
from sidecar.settings import WatchSettings
from sidecar.store.store import Store

_VIEW_S = 1.0
_TENANTS_MAX = 1_000


class TenantView:
    """A tenant's rooms, and where its log stood when they were read."""

    def __init__(self, revision: int, rooms: Sequence[Room], *, state: Callable[[Room], SyncState]) -> None:
        self.revision = revision
        self.rooms = rooms
        self._state = state

    @cached_property
    def states(self) -> Mapping[RoomUid, SyncState]:
        """How far each room can be trusted, worked out once, for the first watch that asks: those of one room never do."""
        return {room.uid: self._state(room) for room in self.rooms}


class LogSource:
    """The logs and the copies that belong to them."""

    def __init__(
        self, *, store: Store, settings: WatchSettings, limits: FreshnessLimits, clock: Clock, rng: Random
    ) -> None:
        self.store = store
        self.settings = settings
        self.limits = limits
        self.clock = clock
        self.rng = rng
        self.tails = Tails(store.changes, store.epochs, count_max=settings.tail_count)
        self.is_draining = False
        self._views: TTLCache[TenantUid, TenantView] = TTLCache(_TENANTS_MAX, _VIEW_S, timer=clock.monotonic)

    def note(self, tenant_uid: TenantUid) -> None:
        """Take note that a log has grown (empty: perhaps any); call it after the commit."""
        if tenant_uid:
            self._views.pop(tenant_uid, None)
        else:
            self._views.clear()
        self.tails.note(tenant_uid)

    async def view(self, tenant_uid: TenantUid, *, at_least: int) -> TenantView:
        """Return a tenant's rooms, read when its log had come to `at_least`.

        Up to a second old otherwise, so that the heartbeats of many watches share one read.
        """
        view = self._views.get(tenant_uid)
        if view is None or view.revision < at_least:
            revision, rooms = await self.store.rooms.load_all(tenant_uid)
            view = self._views[tenant_uid] = TenantView(revision, rooms, state=self.state)
        return view

    def state(self, room: Room) -> SyncState:
        """Return how far a room's copy can be trusted now."""
        return sync_state(room, now=self.clock.now(), limits=self.limits)
