"""An engine that says how long its transactions take, and how many the database did not do."""

from __future__ import annotations

from time import perf_counter

from sidecar.errors import StoreUnavailable
from sidecar.store.engine import Engine, EngineAround, T, Transaction
from sidecar.telemetry.metrics import Telemetry

_MEASURED_EACH = 8
"""Recording a duration takes 5 us, a tenth of what a short read takes; so not each one's is."""


class TimedEngine(EngineAround):
    """An engine around another."""

    def __init__(self, inner: Engine, *, telemetry: Telemetry) -> None:
        super().__init__(inner)
        self._telemetry = telemetry
        self._reads_count = 0

    async def write(self, transaction: Transaction[T]) -> T:
        """See `Engine.write`. Each one is measured: beside a commit that costs nothing."""
        began_s = perf_counter()
        try:
            result = await self._inner.write(transaction)
        except StoreUnavailable:
            self._telemetry.count("store_errors", 1, "write")
            raise
        self._telemetry.measure("store_write_duration", perf_counter() - began_s)
        return result

    async def read(self, transaction: Transaction[T]) -> T:
        """See `Engine.read`."""
        began_s = perf_counter()
        try:
            result = await self._inner.read(transaction)
        except StoreUnavailable:
            self._telemetry.count("store_errors", 1, "read")
            raise
        if self._reads_count % _MEASURED_EACH == 0:
            self._telemetry.measure("store_read_duration", perf_counter() - began_s)
        self._reads_count += 1
        return result
