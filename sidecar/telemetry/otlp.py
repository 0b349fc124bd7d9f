"""Sends traces to an OpenTelemetry collector: OTLP over HTTP, from a thread of its own.

Nothing here may harm the service. Spans wait in a queue with an end; what does not fit is dropped and counted, and so is what
the collector does not take in spite of new tries. A collector that is dead, slow, wrong or refuses costs one line of the log
when that begins and one when it is over. The SDK's own exporter is not used: it takes addresses, secrets and certificates
from the environment, and says on each failure what it was sending to.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Protocol
from urllib.parse import urlsplit

import structlog
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer

from sidecar.errors import SettingsInvalid
from sidecar.settings import TelemetrySettings
from sidecar.telemetry.tracing import CONTEXTS_MAX, SeededIds

log = structlog.get_logger(__name__)

_WAITING_MAX = 4_096
"""Spans that wait for the collector, about 4 KiB each."""
_BATCH_MAX = 256
"""Encoding a span takes 13 us of everybody's Python: a batch holds the others up for some 3 ms."""
_BATCH_MS = 2_000
_REQUEST_S = 5.0
_TRY_AGAIN_S = (0.5, 1.0, 2.0, 4.0)
_CLOSE_S = 0.9
"""How long stopping waits for the last spans to go out."""
_ANSWER_BYTES_MAX = 64 * 1024
_HEADERS_BYTES_MAX = 16 * 1024
_HEADERS_MAX = 16
_PASSING = frozenset({408, 429, 502, 503, 504})
"""Answers after which OTLP wants the same to be sent again."""
_ATTRIBUTES_MAX = 16


class NotTaken(Exception):
    """A collector did not take something. `cause` is a kind, never a text of its; `is_passing`: it may the next time."""

    def __init__(self, cause: str, *, is_passing: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.is_passing = is_passing


class Taker(Protocol):
    """Takes what is sent; `Collector` is one."""

    def post(self, path: str, body: bytes) -> None:
        """Send one request; blocks. Raises NotTaken."""

    def close(self) -> None:
        """Let go of what is held."""


class Collector:
    """An address that takes OTLP over HTTP. Used from one thread at a time; blocks whoever uses it.

    The environment's proxies and certificates are somebody else's and not looked at; redirects are not followed.
    """

    def __init__(
        self, url: str, *, tls: ssl.SSLContext | None, headers_file: Path | None, request_s: float = _REQUEST_S
    ) -> None:
        """Make it; nothing is connected.

        Args:
            tls: what is trusted; None for a http URL.
        """
        parts = urlsplit(url)
        assert parts.hostname is not None, "checked with the settings"
        self._host, self._path, self._tls = parts.hostname, parts.path, tls
        self._port = parts.port
        self._request_s = request_s
        self._headers_file = headers_file
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes) -> None:
        """Send one request.

        Raises:
            NotTaken.
        """
        headers = {"content-type": "application/x-protobuf"}
        try:
            if self._headers_file is not None:
                headers |= read_headers(self._headers_file)
            status = self._exchange(path, body, headers)
        except SettingsInvalid:
            raise NotTaken("HEADERS_FILE_UNUSABLE", is_passing=True) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise NotTaken(type(error).__name__, is_passing=True) from None
        if not 200 <= status < 300:
            raise NotTaken(f"HTTP_{status}", is_passing=status in _PASSING)

    def _exchange(self, path: str, body: bytes, headers: Mapping[str, str]) -> int:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect()
        connection.request("POST", self._path + path, body, dict(headers))
        answer = connection.getresponse()
        answer.read(_ANSWER_BYTES_MAX)
        if not answer.isclosed() or answer.will_close:  # more than any answer to this, or the last on this connection
            self.close()
        return answer.status

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._request_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._request_s, context=self._tls)

    def close(self) -> None:
        """Drop the connection; the next request makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def read_headers(path: Path) -> dict[str, str]:
    """Read the headers that a collector asks for, one `name: value` a line.

    Raises:
        SettingsInvalid: the file cannot be read or breaks the form; nothing of it is quoted.
    """
    try:
        with path.open(encoding="ascii") as file:
            text = file.read(_HEADERS_BYTES_MAX)
    except (OSError, UnicodeDecodeError):
        raise _unusable(path, "cannot be read as text") from None
    headers: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, value = line.partition(":")
        if not colon or not name.strip().replace("-", "").replace("_", "").isalnum() or not value.strip().isprintable():
            raise _unusable(path, "must hold lines of the form name: value")
        headers[name.strip().lower()] = value.strip()
    if not 1 <= len(headers) <= _HEADERS_MAX:
        raise _unusable(path, f"must hold 1 to {_HEADERS_MAX} headers")
    return headers


def _unusable(path: Path, sentence: str) -> SettingsInvalid:
    return SettingsInvalid("a file cannot be used", details={"telemetry.otlp_headers_file": f"{path} {sentence}"})


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
        try:
            self._send(encode_spans(spans).SerializeToString())
        except NotTaken as failure:
            self._counts.note_lost(len(spans))
            if not self._is_failing:
                self._is_failing = True
                log.warning("traces.not_taken", cause=failure.cause, spans_count=len(spans))
            return SpanExportResult.FAILURE
        if self._is_failing:
            self._is_failing = False
            log.info("traces.taken_again", lost_count=self._counts.lost - self._lost_before)
        self._lost_before = self._counts.lost
        self._counts.note_sent(len(spans))
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


def open_collector(settings: TelemetrySettings, *, trusting: Callable[[Path | None], ssl.SSLContext]) -> Collector:
    """Return the collector that is set; nothing is connected.

    Args:
        trusting: makes what a collector is known by, from a file of authorities if there is one.
    Raises:
        SettingsInvalid: a file cannot be used.
    """
    url = settings.otlp_endpoint
    assert url is not None, "asked for only where there is one"
    if settings.otlp_headers_file is not None:
        read_headers(settings.otlp_headers_file)
    try:
        tls = trusting(settings.otlp_ca_file) if url.startswith("https:") else None
    except OSError:  # of which ssl's errors are
        path = settings.otlp_ca_file
        raise SettingsInvalid(
            "a file cannot be used", details={"telemetry.otlp_ca_file": f"{path} is no PEM"}
        ) from None
    return Collector(url, tls=tls, headers_file=settings.otlp_headers_file)


def build_resource(settings: TelemetrySettings, *, roles: Sequence[str]) -> Resource:
    """Say whose traces and metrics these are; OTEL_RESOURCE_ATTRIBUTES may add to it."""
    return Resource.create(
        {
            "service.name": settings.service_name,
            "service.version": version("exchange-sidecar"),
            "service.instance.id": f"{os.uname().nodename}:{os.getpid()}",
            "exchange.roles": list(roles),
        }
    )
