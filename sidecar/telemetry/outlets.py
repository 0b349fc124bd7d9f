"""What leaves the process by which way: numbers for Prometheus always, traces and numbers for a collector where one is set."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from sidecar.settings import TelemetrySettings
from sidecar.telemetry.metrics import Telemetry
from sidecar.telemetry.tracing import OFF, Allowance, Tracing

if TYPE_CHECKING:
    from sidecar.telemetry.otlp_metrics import MetricSender


@dataclass(frozen=True, slots=True)
class Outlets:
    """What the service counts, measures and traces with. `metric_sender` is to be kept running."""

    telemetry: Telemetry
    tracing: Tracing = OFF
    metric_sender: MetricSender | None = None


@asynccontextmanager
async def outlets_opened(
    settings: TelemetrySettings,
    *,
    roles: Sequence[str],
    trusting: Callable[[Path | None], ssl.SSLContext],
    asked: Allowance,
    rng: Random,
) -> AsyncIterator[Outlets]:
    """Open what is set, and send what waits when it is left.

    Args:
        trusting: makes what a collector is known by, from a file of authorities if there is one.
        asked: how often callers are traced because they wish it.
    Raises:
        SettingsInvalid: the file with the collector's headers or that with its authority cannot be used.
    """
    if settings.otlp_endpoint is None:
        telemetry = Telemetry()
        try:
            yield Outlets(telemetry)
        finally:
            telemetry.close()
        return
    # Imported here: who has no collector does without what encodes for one.
    from sidecar.telemetry.collector import open_collector
    from sidecar.telemetry.otlp import TraceSender, build_resource
    from sidecar.telemetry.otlp_metrics import MetricSender

    resource = build_resource(settings, roles=roles)
    metric_sender = None
    if settings.otlp_metrics_s is not None:
        metric_sender = MetricSender(open_collector(settings, trusting=trusting), interval_s=settings.otlp_metrics_s)
    telemetry = Telemetry(also=() if metric_sender is None else (metric_sender.reader,), resource=resource)
    sender = TraceSender(
        open_collector(settings, trusting=trusting),
        resource=resource,
        rng=Random(rng.getrandbits(64)),
        count=telemetry.count,
    )
    tracing = Tracing(sender.tracer, ratio=settings.trace_ratio, rng=Random(rng.getrandbits(64)), asked=asked)
    try:
        yield Outlets(telemetry, tracing, metric_sender)
    finally:
        await sender.close()
        telemetry.close()
