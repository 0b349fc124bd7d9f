"""What an operator watches beside the rooms, as of the last look: due work, tenants, subscriptions, the webhook's reach."""

from __future__ import annotations

from sidecar.aio.clock import Clock
from sidecar.errors import StoreUnavailable
from sidecar.model.tenant import TenantState
from sidecar.store.standing import NOTHING
from sidecar.store.store import Store
from sidecar.sync.looks import Looks
from sidecar.telemetry.metrics import Telemetry

_TOLD = tuple(state for state in TenantState if state is not TenantState.DELETED)


class StandingGauges:
    """Counts of the whole store."""

    def __init__(self, *, store: Store, clock: Clock, telemetry: Telemetry) -> None:
        self._store = store
        self._standing = NOTHING
        self._looks = Looks(clock)
        telemetry.observe_each(
            "tenants", lambda: {state.value: self._standing.tenants.get(state, 0) for state in _TOLD}
        )
        telemetry.observe_each("subscriptions", lambda: self._standing.subscriptions)
        telemetry.observe("webhook_unreachable", lambda: float(self._standing.is_webhook_unreachable))
        telemetry.observe("intents_due", lambda: self._standing.due_count)
        telemetry.observe("intents_oldest_due_seconds", lambda: self._standing.oldest_due_s)
        telemetry.observe("lanes_due", lambda: self._standing.lanes_due_count)

    async def look(self) -> None:
        """Count again, unless that was just done. While the database does not answer the last counts stand."""
        if not self._looks.is_due():
            return
        try:
            self._standing = await self._store.standing.load()
        except StoreUnavailable:
            return
