"""One trace follows a change from Microsoft's call to the watcher, over three processes, and tells nobody's business."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from exchange_client.gen.ioffice.exchange.v1 import room_service_pb2 as pb
from exchange_client.gen.ioffice.exchange.v1 import room_service_pb2_grpc as stubs

from sidecar.emulator.fixture import RunningEmulator
from sidecar.graph.logins import trusting
from sidecar.telemetry.catalog import COUNTERS
from sidecar.telemetry.collector import Collector, NotTaken
from sidecar.telemetry.tracing import ATTRIBUTES
from tests.e2e.conftest import QUICK
from tests.support import postgres
from tests.support.cluster import Cluster, cluster_made
from tests.support.collector import FakeCollector, SpanSeen, collecting
from tests.support.processes import eventually, service_started
from tests.support.scene import Scene, scene_set, tomorrow

pytestmark = pytest.mark.e2e

ASKED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEADERS = "authorization: Bearer CANARYheader\n"


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    with collecting() as running:
        yield running


@asynccontextmanager
async def split(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, collector: FakeCollector
) -> AsyncIterator[tuple[Cluster, Scene]]:
    """Give a tenant of an api, an ingress and a worker that trace everything."""
    headers = tmp_path_factory.mktemp("h") / "headers"
    headers.write_text(HEADERS)
    settings = QUICK | {
        "TELEMETRY__OTLP_ENDPOINT": collector.url,
        "TELEMETRY__OTLP_HEADERS_FILE": str(headers),
        "TELEMETRY__TRACE_RATIO": "1",
        "TELEMETRY__OTLP_METRICS_S": "1",
    }
    with postgres.database(is_migrated=False) as dsn_file:
        async with cluster_made(tmp_path_factory.mktemp, dsn_file, emulator, **settings) as cluster:
            services = [cluster.add(role) for role in ("api", "ingress", "worker")]
            await cluster.start(*services)
            async with scene_set(services[0], emulator, rooms=1) as scene:
                yield cluster, scene


def of_role(role: str, spans: list[SpanSeen]) -> list[SpanSeen]:
    """Return the spans that the process with a role made."""
    return [span for span in spans if span.service["exchange.roles"] == [role]]


async def test_one_trace_leads_from_the_notification_to_the_watcher(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, collector: FakeCollector
) -> None:
    """Each step is a part of the same trace though each is another process's; nothing in it names anybody."""
    async with split(tmp_path_factory, emulator, collector) as (cluster, scene), scene.watching() as watcher:
        organizer, guest = (f"CANARY{name}@{scene.directory.domain}" for name in ("ada", "eve"))
        people = [{"address": each, "display_name": each.partition("@")[0]} for each in (organizer, guest)]
        await scene.directory.call("POST", "users", {"users": people})
        subject: dict[str, Any] = {"subject": "CANARYsubject"}  # Any: as the emulator takes it
        await scene.directory.book(scene.mailbox(), tomorrow(9), organizer=organizer, attendees=[guest], **subject)
        await scene.converged(watcher)
        await asked(scene)
        await scene.client.create_booking(
            scene.room(), tomorrow(11), tomorrow(12), attendees=[guest], body_text="CANARYtext", **subject
        )
        await eventually(lambda: of_role("api", collector.named("delivered")), "the end of a trace was sent")
        for service in cluster.services:
            assert await asyncio.to_thread(service.stop) == 0, "which sends the rest"
        spans = collector.spans

        announced = {span.trace_id for span in collector.named("notifications")}
        ends = of_role("api", collector.named("delivered"))
        delivered = next(span for span in ends if span.trace_id in announced)
        trace = {span.span_id: span for span in spans if span.trace_id == delivered.trace_id}
        commit = trace[delivered.parent_id]
        sync = trace[commit.parent_id]
        notified = trace[sync.parent_id]
        assert [commit.name, sync.name, notified.name] == ["commit", "room.sync", "notifications"]
        assert delivered.links == ((commit.trace_id, commit.span_id),)
        assert (notified.trace_id, notified.span_id) in sync.links
        assert of_role("ingress", [notified]) + of_role("worker", [sync, commit]) == [notified, sync, commit]
        assert notified.began_ns <= sync.began_ns <= commit.began_ns <= delivered.ended_ns
        requests = [span for span in trace.values() if span.parent_id == sync.span_id and span.name == "graph GET"]
        assert requests[0].attributes["url.template"] == "/users/{}/events/{}"
        assert requests[0].attributes["http.response.status_code"] == 200
        lines = [line for line in cluster.services[2].log_lines() if line["event"] == "room_sync.done"]
        assert (sync.trace_id, sync.span_id) in [(line.get("trace_id"), line.get("span_id")) for line in lines]

        (call,) = [span for span in spans if span.trace_id == ASKED[3:35]]
        assert (call.name, call.parent_id) == ("RoomService/GetRoom", ASKED[36:52])
        (write,) = collector.named("BookingService/CreateBooking")
        written = [span for span in spans if span.trace_id == write.trace_id and span.name == "graph POST"]
        assert [span.attributes["url.template"] for span in written] == ["/users/{}/events"]
        told = {name for span in spans for name in span.attributes}
        assert told <= ATTRIBUTES.keys()
        assert collector.metric_names >= {f"exchange.{name}" for name in COUNTERS}
        sent = b"".join(request.body for request in collector.requests).lower()
        mailbox = scene.mailbox()
        secrets = [scene.directory.secret, scene.directory.id, scene.tenant_id, mailbox.partition("@")[0]]
        for word in ("canary", scene.directory.domain, *secrets):
            assert word.lower().encode() not in sent, word
        assert {request.headers["authorization"] for request in collector.requests} == {"Bearer CANARYheader"}
        logs = b"".join(service.log_file.read_bytes() for service in cluster.services)
        assert b"CANARY" not in logs


async def asked(scene: Scene) -> None:
    """Make a call as a part of a trace of the caller's own."""
    async with grpc.aio.insecure_channel(scene.service.target) as channel:
        stub = stubs.RoomServiceStub(channel)
        await stub.GetRoom(pb.GetRoomRequest(name=scene.room()), metadata=(("traceparent", ASKED),))


async def test_collector_that_is_not_there_costs_the_service_nothing_but_the_traces(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    with collecting() as gone:
        url = gone.url
    settings = QUICK | {"TELEMETRY__OTLP_ENDPOINT": url, "TELEMETRY__TRACE_RATIO": "1"}
    with service_started(tmp_path_factory.mktemp("s"), emulator, **settings) as service:
        async with scene_set(service, emulator, rooms=1) as scene, scene.watching() as watcher:
            await scene.directory.book(scene.mailbox(), tomorrow(9))
            await scene.converged(watcher)
            await eventually(lambda: lines_about(service.log_lines()), "the log says so", service=service)
            assert await service.is_ready()
            assert await service.metric("spans_sent_total") == 0
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        assert await asyncio.to_thread(service.stop) == 0
        assert loop.time() - began_s < 5.0
        (line,) = lines_about(service.log_lines())
        assert line["cause"] == "ConnectionRefusedError"
        assert url not in service.log_file.read_text()


def lines_about(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return the lines about a collector that takes nothing."""
    return [line for line in lines if line["event"] == "traces.not_taken"]


@contextmanager
def sending(url: str, *, ca_file: Path | None = None, headers_file: Path | None = None) -> Iterator[Collector]:
    """Give our side of a collector; it waits for an answer for a moment only."""
    tls = trusting(ca_file) if url.startswith("https:") else None
    with closing(Collector(url, tls=tls, headers_file=headers_file, request_s=0.5)) as ours:
        yield ours


@pytest.mark.parametrize(("status", "is_passing"), [(500, False), (503, True), (429, True), (401, False), (302, False)])
def test_answer_that_is_no_yes_is_told_by_its_number(collector: FakeCollector, status: int, is_passing: bool) -> None:
    collector.status = status
    with sending(collector.url) as ours, pytest.raises(NotTaken) as refused:
        ours.post("/v1/traces", b"x")
    assert (refused.value.cause, refused.value.is_passing) == (f"HTTP_{status}", is_passing)


def test_collector_that_never_answers_is_waited_for_as_long_as_one_request_may_take(collector: FakeCollector) -> None:
    collector.is_silent = True
    with sending(collector.url) as ours, pytest.raises(NotTaken) as refused:
        ours.post("/v1/traces", b"x")
    assert refused.value.cause == "TimeoutError"


def test_connection_is_kept_and_made_anew_when_it_was_lost(collector: FakeCollector) -> None:
    with sending(collector.url) as ours:
        for body in (b"1", b"2"):
            ours.post("/v1/metrics", body)
        assert collector.connections_count == 1
        collector.hang_up()
        with pytest.raises(NotTaken) as lost:
            ours.post("/v1/metrics", b"3")
        assert lost.value.is_passing
        ours.post("/v1/metrics", b"3")
        assert [request.body for request in collector.requests] == [b"1", b"2", b"3"]


def test_certificate_of_an_unknown_authority_is_refused_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "OTEL_EXPORTER_OTLP_CERTIFICATE"):
        monkeypatch.setenv(name, str(ca_file))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with collecting(tls=tls) as collector:
        with sending(collector.url) as ours, pytest.raises(NotTaken) as refused:
            ours.post("/v1/traces", b"x")
        assert refused.value.cause == "SSLCertVerificationError"
        with sending(collector.url, ca_file=ca_file) as ours:
            ours.post("/v1/traces", b"x")
        assert len(collector.requests) == 1


def test_headers_that_were_replaced_are_sent_from_then_on(collector: FakeCollector, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    with sending(collector.url, headers_file=file) as ours:
        with pytest.raises(NotTaken) as refused:
            ours.post("/v1/traces", b"x")
        assert refused.value.cause == "HEADERS_FILE_UNUSABLE"
        for token in ("one", "two"):
            file.write_text(f"authorization: {token}\n")
            ours.post("/v1/traces", b"x")
    assert [request.headers["authorization"] for request in collector.requests] == ["one", "two"]
