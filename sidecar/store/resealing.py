"""Follows the key ring while the service runs: whatever another key than the primary one has sealed is sealed anew."""

from __future__ import annotations

from collections import Counter

import structlog

from sidecar.aio.clock import Clock
from sidecar.store.sealed import SealedRecords

log = structlog.get_logger(__name__)

_LOOK_S = 5.0
"""Between looks at the file; Kubernetes itself takes a minute or two to bring a changed secret."""
_SCAN_S = 300.0
"""Between looks at all records without such a change: another process may have sealed with the former key meanwhile."""


class KeyRingKeeper:
    """Keeps sealed records under the primary key. Several processes may do it side by side."""

    def __init__(self, *, sealed: SealedRecords, clock: Clock) -> None:
        self._sealed = sealed
        self._clock = clock

    async def run(self) -> None:
        """Look again and again, until cancelled.

        Raises:
            StoreUnavailable: whoever keeps this running begins it again.
        """
        told: Counter[str] = Counter()
        while True:
            primary = self._sealed.primary
            resealing = await self._sealed.reseal()
            if resealing.done_count:
                log.info("key_ring.resealed", primary=primary, records_count=resealing.done_count)
            for key_id, count in resealing.unreadable.items():
                if told[key_id] != count:  # their tenants say so all the time
                    log.error("key_ring.key_missing", key_id=key_id, records_count=count)
            told = resealing.unreadable
            ends_s = self._clock.monotonic() + _SCAN_S
            while self._sealed.primary == primary and self._clock.monotonic() < ends_s:
                await self._clock.sleep(_LOOK_S)
