"""Sending traces: what a collector that misbehaves costs, which is never more than the traces themselves."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from structlog.testing import LogCapture

from sidecar.errors import SettingsInvalid
from sidecar.settings import TelemetrySettings
from sidecar.telemetry import otlp
from sidecar.telemetry.otlp import TraceSender, build_resource, open_collector, read_headers
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


def test_headers_are_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer a:b\n\nx-scope : team\n")
    assert read_headers(file) == {"authorization": "Bearer a:b", "x-scope": "team"}


MANY = "\n".join(f"a{number}: b" for number in range(17))


@pytest.mark.parametrize("text", ["", "no colon", ": canary", "a b: c", "name: va\x01lue", MANY])
def test_file_without_headers_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "headers"
    file.write_text(text)
    with pytest.raises(SettingsInvalid) as refused:
        read_headers(file)
    assert not text.strip() or text not in str(refused.value.details)


def test_file_of_authorities_that_is_none_is_said_when_the_service_starts(tmp_path: Path) -> None:
    from sidecar.graph.logins import trusting

    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    settings = TelemetrySettings(otlp_endpoint="https://collector.example", otlp_ca_file=file)
    with pytest.raises(SettingsInvalid) as refused:
        open_collector(settings, trusting=trusting)
    assert "telemetry.otlp_ca_file" in refused.value.details


def test_resource_says_which_service_which_process_and_what_it_does() -> None:
    attributes = build_resource(TelemetrySettings(service_name="rooms"), roles=("api", "worker")).attributes
    assert attributes["service.name"] == "rooms"
    assert attributes["exchange.roles"] == ("api", "worker")
    assert attributes["service.version"]
    assert attributes["service.instance.id"]
