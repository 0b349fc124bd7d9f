"""Tracing for tests without a collector: spans are kept in memory, ids come from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanContext

from sidecar.telemetry.tracing import SeededIds, Tracing


class FakeAllowance:
    """Lets callers have so many traces."""

    def __init__(self, count: int = 1_000) -> None:
        self.left = count

    def take(self) -> float:
        """Spend one; 0 when it was there."""
        self.left -= 1
        return 0.0 if self.left >= 0 else 1.0


class Traces:
    """Traces that were made. `tracing` makes them."""

    def __init__(self, *, ratio: float = 1.0, asked_max: int = 1_000) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False, id_generator=SeededIds(Random(7)))
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        tracer = provider.get_tracer("test")
        self.tracing = Tracing(tracer, ratio=ratio, rng=Random(7), asked=FakeAllowance(asked_max))

    @property
    def spans(self) -> list[ReadableSpan]:
        """Spans that have ended, in the order of their ends."""
        return list(self._exporter.get_finished_spans())

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [span.name for span in self.spans]

    def one(self, name: str) -> ReadableSpan:
        """Return the only span of a name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found


def attributes_of(span: ReadableSpan) -> Mapping[str, object]:
    """Return a span's attributes."""
    return dict(span.attributes or {})


def span_context(span: ReadableSpan) -> SpanContext:
    """Return a span's context."""
    context = span.get_span_context()
    assert context is not None, "it was made by the SDK"
    return context


def context_text(span: ReadableSpan) -> str:
    """Return a span's context in W3C's form."""
    context = span_context(span)
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
