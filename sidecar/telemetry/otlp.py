"""Sends traces to an OpenTelemetry collector: OTLP over HTTP, from a thread of its own.

Nothing here may harm the service. Spans wait in a queue with an end; what does not fit is dropped and counted, and so is what
the collector does not take in spite of new tries. A collector that is dead, slow, wrong or refuses costs one line of the log
when that begins and one when it is over.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from random import Random

import structlog
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer

from sidecar.build_facts import installed_version
from sidecar.settings import TelemetrySettings
from sidecar.telemetry.collector import NotTaken, Taker
from sidecar.telemetry.tracing import CONTEXTS_MAX, SeededIds

log = structlog.get_logger(__name__)

_WAITING_MAX = 4_096
"""Spans that wait for the collector, about 4 KiB each."""
_BATCH_MAX = 256
"""Encoding a span takes 13 us of everybody's Python: a batch holds the others up for some 3 ms."""
_BATCH_MS = 2_000
_TRY_AGAIN_S = (0.5, 1.0, 2.0, 4.0)
_CLOSE_S = 0.9
"""How long stopping waits for the last spans to go out."""
_ATTRIBUTES_MAX = 16


class SpanCounts:
    """What became of spans. Each number is written by one thread: that which makes spans, or that which sends them."""

    def __init__(self, count: Callable[[str, int], None]) -> None:
        """Begin at 0.

        Args:
            count: adds to a counter of `catalog.COUNTERS`.
        """
        self._count = count
        self.kept = self.dropped = self.sent = self.lost = 0

    @property
    def waiting(self) -> int:
        """How many are on their way now."""
        return self.kept - self.sent - self.lost

    def keep(self) -> bool:
        """Take note of a span that was made; say whether there is room for it."""
        if self.waiting >= _WAITING_MAX:
            self.dropped += 1
            self._count("spans_dropped", 1)
            return False
        self.kept += 1
        return True

    def note_sent(self, count: int) -> None:
        """Take note of spans that were taken."""
        self.sent += count
        self._count("spans_sent", count)

    def note_lost(self, count: int) -> None:
        """Take note of spans that were not taken."""
        self.lost += count
        self._count("spans_lost", count)


class _Exporter(SpanExporter):
    """Runs in the sending thread."""

    def __init__(self, collector: Taker, counts: SpanCounts, try_again_s: Sequence[float]) -> None:
        self._collector = collector
        self._try_again_s = try_again_s
        self._counts = counts
        self._is_failing = False
        self._lost_before = 0
        self.is_ending = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        is_taken = False
        try:
            self._send(encode_spans(spans).SerializeToString())
            is_taken = True
        except NotTaken as failure:
            if not self._is_failing:
                self._is_failing = True
                log.warning("traces.not_taken", cause=failure.cause, spans_count=len(spans))
            return SpanExportResult.FAILURE
        finally:  # whatever it was: what is not counted here would fill the queue for ever
            (self._counts.note_sent if is_taken else self._counts.note_lost)(len(spans))
        if self._is_failing:
            self._is_failing = False
            log.info("traces.taken_again", lost_count=self._counts.lost - self._lost_before)
        self._lost_before = self._counts.lost
        return SpanExportResult.SUCCESS

    def _send(self, body: bytes) -> None:
        for wait_s in self._try_again_s:
            try:
                return self._collector.post("/v1/traces", body)
            except NotTaken as failure:
                # Once it is known to be away, what waits meanwhile would only be dropped for the sake of this batch.
                if not failure.is_passing or self._is_failing or self.is_ending.wait(wait_s):
                    raise
        return self._collector.post("/v1/traces", body)

    def shutdown(self) -> None:
        self._collector.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class _Gate(SpanProcessor):
    """Lets spans into the queue while there is room, so that what is dropped is counted."""

    def __init__(self, queue: BatchSpanProcessor, counts: SpanCounts) -> None:
        self._queue = queue
        self._counts = counts

    def on_end(self, span: ReadableSpan) -> None:
        if self._counts.keep():
            self._queue.on_end(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._queue.force_flush(timeout_millis)

    def shutdown(self) -> None:
        self._queue.shutdown()  # type: ignore[no-untyped-call]  # the SDK tells no types here


class TraceSender:
    """The way of traces out of the process. `tracer` makes spans; they are sent until `close`."""

    def __init__(
        self,
        collector: Taker,
        *,
        resource: Resource,
        rng: Random,
        count: Callable[[str, int], None],
        try_again_s: Sequence[float] = _TRY_AGAIN_S,
    ) -> None:
        self.counts = SpanCounts(count)
        self._exporter = _Exporter(collector, self.counts, try_again_s)
        queue = BatchSpanProcessor(
            self._exporter,
            max_queue_size=_WAITING_MAX,
            schedule_delay_millis=_BATCH_MS,
            max_export_batch_size=_BATCH_MAX,
        )
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # what is traced is decided before a span is made
            resource=resource,
            shutdown_on_exit=False,
            id_generator=SeededIds(rng),
            span_limits=SpanLimits(max_attributes=_ATTRIBUTES_MAX, max_events=0, max_links=CONTEXTS_MAX),
        )
        self._provider.add_span_processor(_Gate(queue, self.counts))
        self.tracer: Tracer = self._provider.get_tracer("exchange-sidecar")

    def flush(self) -> None:
        """Send what waits; blocks."""
        self._provider.force_flush()

    async def close(self) -> None:
        """Send what waits, for as long as stopping may take."""
        self._exporter.is_ending.set()
        # A thread of its own, and left behind when time is over: the SDK would wait for half a minute.
        ending = threading.Thread(target=self._provider.shutdown, name="end of traces", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, _CLOSE_S)
        unsent_count = self.counts.waiting
        if unsent_count:
            log.warning("traces.unsent", spans_count=unsent_count)


def build_resource(settings: TelemetrySettings, *, roles: Sequence[str]) -> Resource:
    """Say whose traces and metrics these are; OTEL_RESOURCE_ATTRIBUTES may add to it."""
    return Resource.create(
        {
            "service.name": settings.service_name,
            "service.version": installed_version(),
            "service.instance.id": f"{os.uname().nodename}:{os.getpid()}",
            "exchange.roles": list(roles),
        }
    )
