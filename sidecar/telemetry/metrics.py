"""Counting and measuring: what the service tells of itself in numbers. Which numbers there are is `catalog`'s to say."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from sidecar.telemetry.catalog import COUNTERS, DURATIONS, GAUGES, LABELS, PREFIX, series_of

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Telemetry:
    """Counters, durations and gauges, read by Prometheus from `render`."""

    def __init__(self, *, also: Sequence[MetricReader] = (), resource: Resource | None = None) -> None:
        """Begin at 0.

        Args:
            also: who else reads the numbers.
            resource: whose numbers they are told to be.
        """
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        # Who makes these numbers is said by the scrape itself; the exporter would say it with each series once more.
        reader = PrometheusMetricReader(
            prefix=PREFIX, registry=self._registry, disable_target_info=True, scope_info_enabled=False
        )
        buckets = ExplicitBucketHistogramAggregation(_BUCKETS)
        views = [View(instrument_name=name, aggregation=buckets) for name in DURATIONS]
        with _switched_on():
            self._provider = MeterProvider(
                metric_readers=[reader, *also],
                resource=resource,
                exemplar_filter=AlwaysOffExemplarFilter(),
                views=views,
                shutdown_on_exit=False,
            )
        self._meter = self._provider.get_meter("exchange-sidecar")
        # Counted in plain numbers and read when asked: an SDK counter costs 6 us for each call of the API. All series are
        # there from the start, because a rate needs the 0 that a count began with.
        self._counts: dict[str, dict[tuple[str, ...], float]] = {
            name: dict.fromkeys(series_of(name), 0) for name in COUNTERS
        }
        for name, meaning in COUNTERS.items():
            self._meter.create_observable_counter(name, callbacks=[self._read_count(name)], description=meaning)
        self._histograms = {
            name: self._meter.create_histogram(name, unit="s", description=meaning)
            for name, meaning in DURATIONS.items()
        }

    def count(self, name: str, amount: int, *values: str) -> None:
        """Add to a counter of COUNTERS. Each from one thread only: nearly all from the event loop's.

        Args:
            values: of its labels, in their order.
        """
        self._counts[name][values] += amount

    def _read_count(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        labels = tuple(LABELS.get(name, ()))
        series = [(values, dict(zip(labels, values, strict=True))) for values in series_of(name)]
        counts = self._counts[name]
        return lambda _: [Observation(counts[values], attributes) for values, attributes in series]

    def measure(self, name: str, duration_s: float) -> None:
        """Record a duration of DURATIONS."""
        self._histograms[name].record(duration_s)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Record how long the block took, also when it fails."""
        began_s = perf_counter()
        try:
            yield
        finally:
            self.measure(name, perf_counter() - began_s)

    def observe(self, name: str, read: Callable[[], float]) -> None:
        """Let a gauge of GAUGES be read by calling `read`."""

        def callback(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(read())]

        self._meter.create_observable_gauge(name, callbacks=[callback], description=GAUGES[name])

    def observe_each(self, name: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Let a gauge of GAUGES be read by calling `read`, which gives a value for each value of its one label."""
        (label,) = LABELS[name]

        def callback(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, {label: key}) for key, value in read().items()]

        self._meter.create_observable_gauge(name, callbacks=[callback], description=GAUGES[name])

    def tell(self, name: str, *values: str) -> None:
        """Let a gauge of GAUGES be 1 for ever with these values of its labels, in their order."""
        labels = dict(zip(LABELS[name], values, strict=True))
        told = [Observation(1, labels)]
        self._meter.create_observable_gauge(name, callbacks=[lambda _: told], description=GAUGES[name])

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Release what the meters hold."""
        self._provider.shutdown()


@contextmanager
def _switched_on() -> Iterator[None]:
    """Hide the SDK's switch while inside: platforms set it against traces, and all alerts would be silent without a word."""
    switch = os.environ.pop(OTEL_SDK_DISABLED, None)
    try:
        yield
    finally:
        if switch is not None:
            os.environ[OTEL_SDK_DISABLED] = switch
