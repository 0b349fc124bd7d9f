"""Traces: what a piece of work was part of, how long its parts took, and how they ended.

Only a share of all work is traced, and that is decided before a span is made: what is not traced costs a look at one context
variable. A trace goes on in another process by its context, 55 characters in W3C's form, which lies in the store beside the
work or the change that it caused (`carried`). Spans leave the process, so they hold nothing but what ATTRIBUTES names: no
subject, person, address, URL or secret. How they leave it is `otlp.py`'s business.
"""

from __future__ import annotations

import contextvars
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from random import Random
from types import TracebackType
from typing import Protocol, Self

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from sidecar.errors import SidecarError

ATTRIBUTES = {
    "rpc.system": "Always grpc.",
    "rpc.grpc.status_code": "gRPC's number of how a call ended.",
    "http.request.method": "Method of a request, to us or to Graph.",
    "http.response.status_code": "HTTP status of the answer.",
    "http.request.resend_count": "How often a request to Graph had been sent before, without success.",
    "url.template": "What kind of path was asked for at Graph; every id and address in it is replaced by {}.",
    "error.type": "Why it failed: a reason of the API's, or the name of an exception.",
    "exchange.client_request_id": "Id that a request to Graph carried; Microsoft's support asks for it.",
    "exchange.graph_request_id": "Id that Graph gave its answer.",
    "exchange.wait_s": "Seconds that a request waited for its turn.",
    "exchange.notifications_count": "Notifications in a batch.",
    "exchange.marked_count": "Notifications of a batch that marked a room.",
    "exchange.intent": "Kind of background work.",
    "exchange.attempt": "How often this work had failed in a row before.",
    "exchange.tenant_uid": "Our own id of a tenant.",
    "exchange.room_uid": "Our own id of a room.",
    "exchange.changes_count": "Changes that a transaction wrote to the log.",
    "exchange.revision": "Place of a change in its tenant's log.",
}
"""All attributes of spans, and their meaning. None holds what people wrote, or what names a person or a mailbox."""

CONTEXT_CHARS = 55
CONTEXTS_MAX = 8
"""Contexts that are kept with one piece of work; what more notifications caused is not linked."""
_TEXT_CHARS_MAX = 100
_TRACEPARENT = re.compile("([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.{0,200})?")
"""W3C Trace Context, level 1; versions to come may append to it."""

_CURRENT: contextvars.ContextVar[Traced | None] = contextvars.ContextVar("traced", default=None)


class Allowance(Protocol):
    """Bounds how often callers are traced because they wish it; `aio.budget.Budget` is one."""

    def take(self) -> float:
        """Spend one; 0 when it was there."""


class Part:
    """A part of some work that is not traced. To be entered once, by the task that does the work."""

    __slots__ = ()

    is_traced = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def begin(self) -> Self:
        """Make it the current one for the rest of the task, instead of entering it; `end` ends it."""
        return self

    def end(self) -> None:
        """End what was begun with `begin`."""

    def note(self, name: str, value: str | float) -> None:
        """Say something about it; `name` is one of ATTRIBUTES."""

    def fail(self, reason: str) -> None:
        """Say that it failed, and why."""


class Traced(Part):
    """A part of some work that is traced: a span, which is the current one while it is entered."""

    __slots__ = ("_token", "span", "tracer")

    is_traced = True

    def __init__(self, span: Span, tracer: Tracer) -> None:
        self.span = span
        self.tracer = tracer
        self._token: contextvars.Token[Traced | None] | None = None

    def __enter__(self) -> Self:
        self._token = _CURRENT.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._token is not None, "entered before"
        _CURRENT.reset(self._token)
        if error is not None:
            # Never its text: that may quote what came from outside.
            self.fail(error.reason if isinstance(error, SidecarError) else type(error).__name__)
        self.span.end()

    def begin(self) -> Self:
        """See `Part.begin`."""
        _CURRENT.set(self)
        return self

    def end(self) -> None:
        """See `Part.end`."""
        _CURRENT.set(None)
        self.span.end()

    def note(self, name: str, value: str | float) -> None:
        """See `Part.note`."""
        assert name in ATTRIBUTES, "what leaves the process is said in one table"
        self.span.set_attribute(name, value[:_TEXT_CHARS_MAX] if isinstance(value, str) else value)

    def fail(self, reason: str) -> None:
        """See `Part.fail`."""
        self.note("error.type", reason)
        self.span.set_status(Status(StatusCode.ERROR))


UNTRACED = Part()
Attributes = Mapping[str, str | float]


def carried() -> str | None:
    """Return the context of the work under way, to be kept with what it causes; None: it is not traced."""
    current = _CURRENT.get()
    return None if current is None else format_context(current.span.get_span_context())


def current_ids() -> tuple[str, str] | None:
    """Return the ids of the trace and the span under way, as hexadecimal digits; None: there is none."""
    current = _CURRENT.get()
    if current is None:
        return None
    context = current.span.get_span_context()
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def child(name: str, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None) -> Part:
    """Return a part of the work under way; one that is not traced if that is not."""
    current = _CURRENT.get()
    if current is None:
        return UNTRACED
    return _begin(current.tracer, name, kind, attributes, set_span_in_context(current.span, Context()))


class Tracing:
    """Begins traces."""

    def __init__(self, tracer: Tracer | None, *, ratio: float, rng: Random, asked: Allowance) -> None:
        """Make it.

        Args:
            tracer: makes the spans; None: nothing is traced.
            ratio: share of the work that is traced, 0 to 1.
            asked: how often callers are traced because they wish it; beyond that the ratio decides for them, too.
        """
        self._tracer = tracer
        self._ratio = ratio
        self._rng = rng
        self._asked = asked

    @property
    def is_on(self) -> bool:
        """Whether anything is ever traced."""
        return self._tracer is not None

    def root(self, name: str, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None) -> Part:
        """Begin a trace, if chance has it."""
        if self._tracer is None or not self._is_drawn():
            return UNTRACED
        return _begin(self._tracer, name, kind, attributes, Context())

    def called(self, name: str, traceparent: str | None, *, attributes: Attributes | None = None) -> Part:
        """Begin the part of a call's trace that is ours; a caller that traces decides whether it is traced.

        Args:
            traceparent: what came with the call, not checked. What is no context of W3C's form counts as none.
        """
        if self._tracer is None:
            return UNTRACED
        parent = None if traceparent is None else parse_context(traceparent)
        if parent is not None and not parent.trace_flags.sampled:
            return UNTRACED
        if (parent is None or self._asked.take()) and not self._is_drawn():
            return UNTRACED
        return _begin(self._tracer, name, SpanKind.SERVER, attributes, _under(parent))

    def joined(
        self, name: str, contexts: str, *, kind: SpanKind = SpanKind.CONSUMER, attributes: Attributes | None = None
    ) -> Part:
        """Go on with the trace that some work was caused by; not traced when what caused it was not.

        Args:
            contexts: as they were kept with the work, separated by spaces. It becomes a part of the first one's trace, and is
                linked to all of them.
        """
        found = self._kept(contexts)
        if self._tracer is None or not found:
            return UNTRACED
        return _begin(self._tracer, name, kind, attributes, _under(found[0]), links=[Link(each) for each in found])

    def tell(
        self, name: str, context: str, *, began_at: datetime, ended_at: datetime, attributes: Attributes | None = None
    ) -> None:
        """Add to a trace something that is over."""
        found = self._kept(context)
        if self._tracer is None or not found:
            return
        span = self._tracer.start_span(
            name,
            context=_under(found[0]),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[Link(found[0])],
            start_time=_to_nanos(began_at),
        )
        span.end(_to_nanos(max(began_at, ended_at)))

    def _kept(self, contexts: str) -> Sequence[SpanContext]:
        if self._tracer is None or not contexts:
            return ()
        found = map(parse_context, contexts.split(" ")[:CONTEXTS_MAX])
        return [each for each in found if each is not None]

    def _is_drawn(self) -> bool:
        return self._ratio >= 1.0 or (self._ratio > 0.0 and self._rng.random() < self._ratio)


class _Never:
    def take(self) -> float:
        return 1.0


OFF = Tracing(None, ratio=0.0, rng=Random(0), asked=_Never())
"""Traces nothing."""


class SeededIds(IdGenerator):
    """Draws ids from a given source of chance, so that a run can be repeated."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def generate_span_id(self) -> int:
        """Return 64 bits that are not all 0."""
        return self._rng.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        """Return 128 bits that are not all 0."""
        return self._rng.getrandbits(128) or 1


def format_context(context: SpanContext) -> str | None:
    """Write a context in W3C's form; None for one that is not traced."""
    if not context.is_valid or not context.trace_flags.sampled:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def parse_context(text: str) -> SpanContext | None:
    """Read a context in W3C's form; None when it is something else. The state that may come beside it is not taken on."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None or found[1] == "ff" or (found[1] == "00" and len(text) != CONTEXT_CHARS):
        return None
    flags = TraceFlags(int(found[4], 16) & TraceFlags.SAMPLED)
    context = SpanContext(int(found[2], 16), int(found[3], 16), is_remote=True, trace_flags=flags)
    return context if context.is_valid else None


def _under(parent: SpanContext | None) -> Context:
    return Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())


def _begin(
    tracer: Tracer,
    name: str,
    kind: SpanKind,
    attributes: Attributes | None,
    context: Context,
    *,
    links: Sequence[Link] | None = None,
) -> Traced:
    assert attributes is None or attributes.keys() <= ATTRIBUTES.keys(), "what leaves the process is said in one table"
    return Traced(tracer.start_span(name, context=context, kind=kind, attributes=attributes, links=links), tracer)


def _to_nanos(instant: datetime) -> int:
    return int(instant.timestamp() * 1_000_000) * 1_000
