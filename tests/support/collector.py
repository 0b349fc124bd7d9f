"""An OpenTelemetry collector for tests: takes OTLP over HTTP on loopback, keeps what it was sent, and misbehaves when told."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Value = str | int | float | bool | list[str]


@dataclass(frozen=True, slots=True)
class SpanSeen:
    """A span as a collector sees it. Ids are hexadecimal digits; `parent_id` and `error` are empty where there is none.

    `links` are pairs of the ids of a trace and a span; `service` are the attributes of what made it.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    links: tuple[tuple[str, str], ...]
    attributes: Mapping[str, Value]
    is_failed: bool
    began_ns: int
    ended_ns: int
    service: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class FakeCollector:
    """Made by `collecting`. `status` is what it answers; `is_silent`: it answers nothing until it is ended."""

    def __init__(self, port: int, *, scheme: str) -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.status = 200
        self.is_silent = False
        self.requests: list[Request] = []
        self.ended = threading.Event()
        self._connections: list[socket.socket] = []

    @property
    def connections_count(self) -> int:
        """How many connections were made to it."""
        return len(self._connections)

    def note_connection(self, connection: socket.socket) -> None:
        """Remember a connection."""
        self._connections.append(connection)

    def hang_up(self) -> None:
        """End every connection."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def spans(self) -> list[SpanSeen]:
        """All spans that it was sent and took."""
        return [span for request in self.requests if request.path == "/v1/traces" for span in _spans(request.body)]

    @property
    def metric_names(self) -> set[str]:
        """Names of the metrics that it was sent and took."""
        names = set()
        for request in self.requests:
            if request.path == "/v1/metrics":
                message = ExportMetricsServiceRequest.FromString(request.body)
                scopes = [scope for each in message.resource_metrics for scope in each.scope_metrics]
                names |= {metric.name for scope in scopes for metric in scope.metrics}
        return names

    @property
    def names(self) -> list[str]:
        """Names of the spans that it was sent and took."""
        return [span.name for span in self.spans]

    def named(self, name: str) -> list[SpanSeen]:
        """Return the spans with a name."""
        return [span for span in self.spans if span.name == name]


@contextmanager
def collecting(*, tls: ssl.SSLContext | None = None) -> Iterator[FakeCollector]:
    """Run a collector in threads of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if collector.is_silent:
                collector.ended.wait(60.0)
                self.close_connection = True
                return
            if collector.status == 200:
                headers = {name.lower(): value for name, value in self.headers.items()}
                collector.requests.append(Request(self.path, headers, body))
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # waited for at the end, so that no connection outlives its test

        def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
            collector.note_connection(request)
            super().process_request(request, client_address)

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing: clients that refuse its certificate are part of tests."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    collector = FakeCollector(server.server_address[1], scheme="http" if tls is None else "https")
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    serving.start()
    try:
        yield collector
    finally:
        collector.ended.set()
        server.shutdown()
        serving.join()
        collector.hang_up()
        server.server_close()


def _spans(body: bytes) -> Iterator[SpanSeen]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield SpanSeen(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    kind=span.kind,
                    links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    attributes=_attributes(span.attributes),
                    is_failed=span.status.code == 2,
                    began_ns=span.start_time_unix_nano,
                    ended_ns=span.end_time_unix_nano,
                    service=service,
                )


def _attributes(pairs: object) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for pair in pairs:  # type: ignore[attr-defined]  # a repeated field of generated code without types
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [each.string_value for each in value.values] if kind == "array_value" else value
    return found
