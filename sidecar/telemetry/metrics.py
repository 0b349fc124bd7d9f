"""Every metric the service has, with its name and its fixed labels.

Ids are never labels, but for one gauge that has a series for each tenant of which something is known: a metric has as many
series as this file says, however many rooms there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from prometheus_client import CollectorRegistry, generate_latest

COUNTERS = {
    "changes": "Changes of bookings told to watchers.",
    "room_drift": "Differences older than 5 minutes that a full read found and nothing had named. 0 when nothing is lost.",
    "unannounced_changes": "Changes older than 5 minutes that a check or a full read found and no notification had announced.",
    "delta_checks": "Delta rounds that were read to their end and named what changed in a room.",
    "delta_resets": "Delta links given up, because Exchange had forgotten them or their rounds did not work.",
    "deletions_held": "Bookings that a full read lacked in large number, kept until a second one agrees.",
    "events_broken": "Events of Exchange without a usable start and end.",
    "subscriptions_lost": "Subscriptions that Exchange had dropped by itself.",
    "subscriptions_stray": "Subscriptions at Exchange that call us and that nothing here knew; deleted.",
    "intents_failed": "Pieces of background work that failed and are tried again.",
    "intents_done": "Pieces of background work done.",
    "notifications.marked": "Notifications that marked a room.",
    "notifications.unknown": "Notifications of no subscription of ours, or with a wrong client state; dropped.",
    "notifications.unwanted": "Notifications about tenants that are suspended or deleted; dropped.",
    "notifications.dropped": "Notifications without usable contents; dropped.",
    "notifications.lifecycle_other": "Lifecycle notifications of a kind that this version does not know.",
    "notifications.not_stored": "Notifications refused because the store failed; Graph sends them again.",
    "handshakes.answered": "Validation requests of Graph that were answered.",
    "requests.malformed": "Webhook requests that could not be read.",
    "requests.too_large": "Webhook requests with too large a body.",
    "requests.too_slow": "Webhook requests whose body took too long.",
    "requests.too_fast": "Webhook requests refused because too many came in one second; Graph sends its own again.",
    "requests.broken_off": "Webhook requests that ended before their body did.",
    "rpc_calls": "Calls of the API.",
    "rpc_errors": "Calls of the API that failed.",
    "rpc_rejected": "Calls of callers that are not known.",
    "rpc_limited": "Calls refused because one caller was over its own limits.",
}
"""Name and meaning. In Prometheus: exchange_<name with _ for .>_total."""

DURATIONS = {
    "mark_duration": "Seconds from the arrival of a webhook body to its marks being durable.",
    "hint_to_commit": "Seconds from when marked work was due to its end.",
    "commit_to_watcher": "Seconds from the commit of a change until a watcher that waited for it was sent it; sampled.",
    "rpc_duration": "Seconds a unary call of the API took.",
}

GAUGES = {
    "watches_open": "Watches open now.",
    "tenants_paused": "Tenants that Exchange does not answer; one request at a time finds out when it does.",
    "requests_under_way": "Requests to Exchange under way.",
    "requests_waiting": "Requests to Exchange that wait for their turn.",
    "rooms": "Rooms of the whole store by sync state (label state); counted when asked, at most every 15 seconds.",
    "access_files_unusable": "Files that say who may call (callers, TLS) that are broken now; what they said before holds.",
    "key_ring_keys": "Keys of the key ring as this process has read it; compare processes before a new key is promoted.",
    "credential_expires_seconds": "Seconds until a tenant's credential runs out (label tenant), where known.",
    "freshness_oldest_seconds": "Age of the oldest copy, of rooms that are not blocked; found with the rooms.",
}

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Telemetry:
    """Counters, durations and gauges, read by Prometheus from `render`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        reader = PrometheusMetricReader(prefix="exchange", registry=self._registry)
        buckets = View(instrument_name="*duration", aggregation=ExplicitBucketHistogramAggregation(_BUCKETS))
        ways = [
            View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(_BUCKETS))
            for name in ("hint_to_commit", "commit_to_watcher")
        ]
        self._provider = MeterProvider(metric_readers=[reader], views=[buckets, *ways], shutdown_on_exit=False)
        self._meter = self._provider.get_meter("exchange-sidecar")
        # Counted in plain integers and read when asked: an SDK counter costs 6 us for each call of the API.
        self._counts = dict.fromkeys(COUNTERS, 0)
        for name, meaning in COUNTERS.items():
            self._meter.create_observable_counter(name, callbacks=[self._read_count(name)], description=meaning)
        self._histograms = {
            name: self._meter.create_histogram(name, unit="s", description=meaning)
            for name, meaning in DURATIONS.items()
        }

    def count(self, name: str, amount: int) -> None:
        """Add to a counter of COUNTERS. From the event loop's thread only."""
        self._counts[name] += amount

    def _read_count(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(self._counts[name])]

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

    def observe_each(self, name: str, read: Callable[[], Mapping[str, float]], *, label: str = "state") -> None:
        """Let a gauge of GAUGES be read by calling `read`, which gives a value for each value of the label."""

        def callback(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, {label: key}) for key, value in read().items()]

        self._meter.create_observable_gauge(name, callbacks=[callback], description=GAUGES[name])

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Release what the meters hold."""
        self._provider.shutdown()
