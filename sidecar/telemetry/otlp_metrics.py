"""Sends all metrics to an OpenTelemetry collector now and then, for those who have no Prometheus.

They are collected by the event loop, whose objects the gauges read, and sent by a thread that nothing waits for. What a
collector does not take is not kept: the next sending has the newer numbers.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import structlog
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from sidecar.telemetry.catalog import PREFIX
from sidecar.telemetry.collector import NotTaken, Taker

log = structlog.get_logger(__name__)


class MetricSender:
    """Sends what `reader` collects, whose meters it is given to."""

    def __init__(self, collector: Taker, *, interval_s: float) -> None:
        self.reader = InMemoryMetricReader()
        self._collector = collector
        self._interval_s = interval_s
        self._is_failing = False

    async def run(self, *, look: Callable[[], Awaitable[None]], sleep: Callable[[float], Awaitable[None]]) -> None:
        """Send for ever.

        Args:
            look: brings up to date what is measured only when it is asked for.
        """
        try:
            while True:
                await sleep(self._interval_s)
                await look()
                await self._send()
        finally:
            self._collector.close()

    async def _send(self) -> None:
        data = self.reader.get_metrics_data()
        if data is None:
            return
        request = encode_metrics(data)
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    metric.name = f"{PREFIX}.{metric.name}"
        failure = await _in_thread(lambda: self._collector.post("/v1/metrics", request.SerializeToString()))
        if failure is not None and not self._is_failing:
            log.warning("metrics.not_taken", cause=failure.cause)
        elif failure is None and self._is_failing:
            log.info("metrics.taken_again")
        self._is_failing = failure is not None


async def _in_thread(post: Callable[[], None]) -> NotTaken | None:
    """Post from a thread that the end of the process does not wait for, as it would for those of a pool."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[NotTaken | None] = loop.create_future()

    def tell(failure: NotTaken | None) -> None:
        if not done.done():
            done.set_result(failure)

    def work() -> None:
        failure = None
        try:
            post()
        except NotTaken as error:
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, failure)

    threading.Thread(target=work, name="metrics", daemon=True).start()
    return await done
