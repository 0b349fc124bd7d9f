"""Sending traces: what a collector that misbehaves costs, which is never more than the traces themselves."""

from __future__ import annotations

from random import Random

import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from structlog.testing import LogCapture

from sidecar.settings import TelemetrySettings
from sidecar.telemetry import otlp
from sidecar.telemetry.otlp import TraceSender, build_resource
from tests.support.takers import AWAY, REFUSED, FakeTaker


def names_taken(taker: FakeTaker) -> list[str]:
    """Return the names of the spans that a collector took."""
    requests = [ExportTraceServiceRequest.FromString(body) for _, body in taker.taken]
    scopes = [scope for request in requests for each in request.resource_spans for scope in each.scope_spans]
    return [span.name for scope in scopes for span in scope.spans]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> LogCapture:
    """Give what is logged, also from other threads."""
    capture = LogCapture()
    monkeypatch.setattr(otlp, "log", structlog.wrap_logger(None, processors=[capture]))
    return capture


def make_sender(taker: FakeTaker) -> TraceSender:
    """Make a sender whose new tries come at once."""
    return TraceSender(taker, resource=Resource({}), rng=Random(1), count=lambda _, __: None, try_again_s=(0.0, 0.0))


def make_spans(sender: TraceSender, count: int, *, name: str = "work") -> None:
    """Begin and end so many spans."""
    for _ in range(count):
        sender.tracer.start_span(name).end()


async def test_spans_that_wait_go_out_when_the_service_stops() -> None:
    taker = FakeTaker()
    sender = make_sender(taker)
    make_spans(sender, 3)
    await sender.close()
    assert names_taken(taker) == ["work"] * 3
    assert (sender.counts.sent, sender.counts.waiting) == (3, 0)
    assert taker.is_closed


async def test_collector_that_comes_back_within_the_tries_is_sent_everything(logged: LogCapture) -> None:
    taker = FakeTaker([AWAY, AWAY])
    sender = make_sender(taker)
    make_spans(sender, 1)
    sender.flush()
    assert names_taken(taker) == ["work"]
    assert logged.entries == []
    await sender.close()


async def test_collector_that_is_away_is_one_line_and_its_return_another(logged: LogCapture) -> None:
    taker = FakeTaker([AWAY] * 5)
    sender = make_sender(taker)
    for _ in range(4):
        make_spans(sender, 2)
        sender.flush()
    await sender.close()
    assert [(entry["event"], entry["log_level"]) for entry in logged.entries] == [
        ("traces.not_taken", "warning"),
        ("traces.taken_again", "info"),
    ]
    assert logged.entries[0]["cause"] == "ConnectionRefusedError"
    assert logged.entries[1]["lost_count"] == 6
    assert (sender.counts.lost, sender.counts.sent) == (6, 2)


async def test_batch_that_is_refused_is_not_sent_again() -> None:
    taker = FakeTaker([REFUSED])
    sender = make_sender(taker)
    make_spans(sender, 2)
    sender.flush()
    assert (taker.posts_count, sender.counts.lost) == (1, 2)
    await sender.close()


async def test_fault_of_ours_loses_a_batch_and_not_its_place_in_the_queue() -> None:
    """Places that nobody gives back would be missing for ever."""

    class Broken(FakeTaker):
        def post(self, path: str, body: bytes) -> None:
            raise RuntimeError("ours")

    sender = make_sender(Broken())
    make_spans(sender, 3)
    sender.flush()
    assert (sender.counts.waiting, sender.counts.lost) == (0, 3)
    await sender.close()


async def test_collector_that_hangs_fills_the_queue_and_no_more() -> None:
    """Spans beyond the queue are dropped and counted; whoever makes them does not wait."""
    taker = FakeTaker()
    taker.held.clear()
    sender = make_sender(taker)
    make_spans(sender, otlp._WAITING_MAX + 100)
    assert sender.counts.dropped == 100
    assert sender.counts.waiting == otlp._WAITING_MAX
    taker.held.set()
    await sender.close()


async def test_collector_that_hangs_does_not_hold_up_the_end(
    logged: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "_CLOSE_S", 0.02)
    taker = FakeTaker()
    taker.held.clear()
    sender = make_sender(taker)
    make_spans(sender, 5)
    await sender.close()
    assert logged.entries == [{"event": "traces.unsent", "spans_count": 5, "log_level": "warning"}]
    taker.held.set()


def test_resource_says_which_service_which_process_and_what_it_does() -> None:
    attributes = build_resource(TelemetrySettings(service_name="rooms"), roles=("api", "worker")).attributes
    assert attributes["service.name"] == "rooms"
    assert attributes["exchange.roles"] == ("api", "worker")
    assert attributes["service.version"]
    assert attributes["service.instance.id"]
