"""Makes what Graph announces durable: marks in the store, timed."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.model.subscription import Notification
from sidecar.settings import SyncSettings
from sidecar.store.subscriptions import MarkOutcome, Subscriptions
from sidecar.telemetry.metrics import Telemetry


class MarkingSink:
    """A `NotificationSink` over the store."""

    def __init__(self, subscriptions: Subscriptions, *, settings: SyncSettings, telemetry: Telemetry) -> None:
        self._subscriptions = subscriptions
        self._settings = settings
        self._telemetry = telemetry

    async def mark(self, notifications: Sequence[Notification]) -> MarkOutcome:
        """See `NotificationSink.mark`."""
        with self._telemetry.timed("mark_duration"):
            return await self._subscriptions.mark(
                notifications, settle_s=self._settings.settle_s, settle_max_s=self._settings.settle_max_s
            )
