"""How fresh the copies are, taken together: what an operator's dashboard asks again and again."""

from __future__ import annotations

from datetime import datetime

from sidecar.aio.clock import Clock
from sidecar.errors import StoreUnavailable
from sidecar.model.room import FreshnessLimits, SyncState
from sidecar.store.store import Store
from sidecar.sync.looks import Looks
from sidecar.telemetry.catalog import SERIES_MAX
from sidecar.telemetry.metrics import Telemetry


class FreshnessGauges:
    """Counts of the rooms by state, the age of the oldest copy, and when credentials run out, as of the last look."""

    def __init__(self, *, store: Store, limits: FreshnessLimits, clock: Clock, telemetry: Telemetry) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        self._counts: dict[SyncState, int] = {}
        self._expiries: dict[str, datetime] = {}
        self._oldest_s = 0.0
        self._looks = Looks(clock)
        telemetry.observe_each("rooms", lambda: {state.value: self._counts.get(state, 0) for state in SyncState})
        telemetry.observe_each("credential_expires_seconds", self._seconds_left)
        telemetry.observe("freshness_oldest_seconds", lambda: self._oldest_s)

    async def look(self) -> None:
        """Count again, unless that was just done. While the database does not answer the last counts stand."""
        if not self._looks.is_due():
            return
        limits = self._limits
        try:
            groups = await self._store.census.groups(limits)
            expiries = await self._store.credentials.expiries(count_max=SERIES_MAX["credential_expires_seconds"])
        except StoreUnavailable:
            return
        self._expiries = dict(expiries)
        now = self._clock.now()
        counts: dict[SyncState, int] = dict.fromkeys(SyncState, 0)
        oldest_s = 0.0
        for group in groups:
            state = group.sync_state(now=now, limits=limits)
            counts[state] += group.count
            # Blocked and paused rooms are old until a person acts; they must not hide the others.
            if state not in (SyncState.BLOCKED, SyncState.PAUSED) and group.fresh_as_of_at is not None:
                oldest_s = max(oldest_s, (now - group.fresh_as_of_at).total_seconds())
        self._counts, self._oldest_s = counts, oldest_s

    def _seconds_left(self) -> dict[str, float]:
        now = self._clock.now()
        return {tenant_id: (at - now).total_seconds() for tenant_id, at in self._expiries.items()}
