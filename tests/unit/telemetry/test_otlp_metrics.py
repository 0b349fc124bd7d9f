"""Sending metrics to a collector: everything, under the names of the catalog, and without harm when it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.resources import Resource
from structlog.testing import LogCapture

from sidecar.telemetry import otlp_metrics
from sidecar.telemetry.metrics import Telemetry
from sidecar.telemetry.otlp_metrics import MetricSender
from tests.support.takers import AWAY, FakeTaker


class Rounds:
    """Lets a sender send, once for each time it is asked to."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(0)
        self._waiting = asyncio.Semaphore(0)
        self.looks_count = 0

    async def sleep(self, duration_s: float) -> None:
        self._waiting.release()
        await self._turns.acquire()

    async def look(self) -> None:
        self.looks_count += 1

    async def round(self) -> None:
        """Have it send, and wait until it rests again."""
        self._turns.release()
        await self._waiting.acquire()


@asynccontextmanager
async def sending(taker: FakeTaker) -> AsyncIterator[tuple[Telemetry, Rounds]]:
    """Give counters and a sender that is at rest."""
    sender, rounds = MetricSender(taker, interval_s=60.0), Rounds()
    telemetry = Telemetry(also=(sender.reader,), resource=Resource({"service.name": "rooms"}))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(sender.run(look=rounds.look, sleep=rounds.sleep))
        await rounds._waiting.acquire()
        yield telemetry, rounds
        running.cancel()
    telemetry.close()


async def test_all_metrics_are_sent_with_whose_they_are() -> None:
    taker = FakeTaker()
    async with sending(taker) as (telemetry, rounds):
        telemetry.count("changes", 3)
        telemetry.measure("rpc_duration", 0.5)
        await rounds.round()
        assert rounds.looks_count == 1
    ((path, body),) = taker.taken
    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    metrics = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
    assert path == "/v1/metrics"
    assert metrics["exchange.changes"].sum.data_points[0].as_int == 3
    assert metrics["exchange.rpc_duration"].histogram.data_points[0].count == 1
    assert [each.value.string_value for each in resource.resource.attributes] == ["rooms"]
    assert taker.is_closed


async def test_collector_that_was_away_is_sent_the_newer_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line when it begins, one when it is over; counts go on from the start, so that nothing is missing."""
    logged = LogCapture()
    monkeypatch.setattr(otlp_metrics, "log", structlog.wrap_logger(None, processors=[logged]))
    taker = FakeTaker([AWAY, AWAY])
    async with sending(taker) as (telemetry, rounds):
        for _ in range(4):
            telemetry.count("changes", 1)
            await rounds.round()
    assert [entry["event"] for entry in logged.entries] == ["metrics.not_taken", "metrics.taken_again"]
    assert len(taker.taken) == 2
