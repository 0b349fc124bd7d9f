"""The one place where calls come in and errors go out.

Each handler is wrapped once, here: the door is asked, bytes become a request, limits are kept, and whatever is raised becomes
a status, a count and at most one line of the log. Handlers below know neither gRPC contexts nor codes. This and
`aio/supervise.py` are the only places that catch `Exception`; cancellation passes through.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Protocol, cast

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from sidecar.aio.budget import Budget
from sidecar.aio.clock import INSTANT_S, Clock
from sidecar.api.access import Path, tenants_named
from sidecar.api.arrivals import traceparent
from sidecar.api.audited import Auditor
from sidecar.api.door import Door, Visitor, refusal_of, seeing, tenants_of
from sidecar.api.limits import CallerLimits
from sidecar.api.status import DETAILS_KEY, Failure, build_failure, describe
from sidecar.errors import (
    CallerLimit,
    CallerRejected,
    CallLimit,
    FieldViolation,
    InvalidArgument,
    ServerDraining,
    SidecarError,
    TenantNotFound,
    TenantNotGranted,
    WatcherLimit,
)
from sidecar.store.audit import Acting, acting
from sidecar.telemetry.tracing import OFF, UNTRACED, Part, Tracing

log = structlog.get_logger(__name__)

_ABORT_S = 5.0
"""A status is not waited for longer than this: behind a reader that stalls it never goes out."""
_DRAIN_RETRY_S = 1.0
_ANSWER_SHARE = 0.9
"""Of the time that is left; the rest is for writing the answer and its way back."""
_LEAST_S = 0.05
_LOOK_S = 0.1
"""Time between looks whether callers have become quiet: it happens once in the life of a process."""
_TENANT_CHARS_MAX = 63
_TASKS = "tasks/"
"""What begins like this names a chore or a run, and no tenant."""
_LOGGED_FIELDS_MAX = 5
_LINES_BURST, _LINES_PER_S = 20, 1.0
"""Lines of the log about callers that are not known, or over their limits; the rest is counted."""
_OUTSIDE = (TenantNotFound, TenantNotGranted)
"""How a caller is refused that names a tenant which does not exist for it."""

_GRPC = {"rpc.system": "grpc"}

_ENDS_S: contextvars.ContextVar[float | None] = contextvars.ContextVar("ends_s", default=None)

Context = grpc.aio.ServicerContext[bytes, bytes]
Send = Callable[[bytes], Awaitable[None]]
"""Hands one encoded message to the transport; returns when there is room for the next."""
Unary = Callable[[Message], Awaitable[Message | bytes]]
Streaming = Callable[[Message, Send], Awaitable[None]]


class Metrics(Protocol):
    """Counts calls (`rpc_calls`), those that failed (`rpc_errors`), and how long unary ones took (`rpc_duration`)."""

    def count(self, name: str, amount: int, *values: str) -> None:
        """Add to a counter; `values` are those of its labels."""

    def measure(self, name: str, duration_s: float) -> None:
        """Record a duration."""


def answering_s(clock: Clock) -> float | None:
    """Return in how many seconds the call under way is to be answered, a little before its caller gives up; None: not told."""
    ends_s = _ENDS_S.get()
    return None if ends_s is None else max(_LEAST_S, (ends_s - clock.monotonic()) * _ANSWER_SHARE)


class Pool(enum.Enum):
    """Which limit a call counts against."""

    CALLS = "calls"
    """Answers at once."""
    WAITING = "waiting"
    """May wait for changes, as a watch does, or for Microsoft; must not take the places of calls that answer at once."""
    WATCHES = "watches"
    """Streams; the feed has their limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """A method.

    Attributes:
        named_by: paths of the request's fields that say for the log what tenant it is about.
        naming: ways to all of the request's texts that may hold the name of something of a tenant.
    """

    method: str
    request_type: type[Message]
    named_by: tuple[str, ...]
    naming: tuple[Path, ...]
    pool: Pool


class Boundary:
    """Wraps handlers."""

    def __init__(
        self,
        *,
        door: Door,
        caller_limits: CallerLimits,
        calls_max: int,
        waiting_max: int,
        auditor: Auditor,
        clock: Clock,
        metrics: Metrics,
        tracing: Tracing = OFF,
    ) -> None:
        self._tracing = tracing
        self._door = door
        self._caller_limits = caller_limits
        self._lines = Budget(most=_LINES_BURST, per_s=_LINES_PER_S, clock=clock)
        self._unlogged_count = 0
        self._limits = {Pool.CALLS: calls_max, Pool.WAITING: waiting_max}
        self._counts = dict.fromkeys(Pool, 0)
        self._total = 0
        self._auditor = auditor
        self._clock = clock
        self._metrics = metrics
        self._is_refusing = False
        self._called_at_s = -math.inf
        self._idle = asyncio.Event()
        self._idle.set()

    def refuse_calls(self) -> None:
        """Refuse what comes from now on; calls under way go on."""
        self._is_refusing = True

    async def wait_quiet(self, quiet_s: float, timeout_s: float) -> bool:
        """Wait until no call with one answer has been under way for `quiet_s`; say whether that came within `timeout_s`."""
        ends_s = self._clock.monotonic() + timeout_s
        while True:
            now_s = self._clock.monotonic()
            is_busy = self._total > self._counts[Pool.WATCHES]
            left_s = quiet_s if is_busy else self._called_at_s + quiet_s - now_s
            if left_s < INSTANT_S:
                return True
            if ends_s - now_s < INSTANT_S:
                return False
            await self._clock.sleep(min(left_s, ends_s - now_s, _LOOK_S))

    async def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no call is under way; say whether that came before the time was over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def unary(self, rpc: Rpc, handler: Unary) -> Callable[[bytes, Context], Awaitable[bytes]]:
        """Wrap a handler with one answer."""

        async def call(raw: bytes, context: Context) -> bytes:
            began_s = self._clock.monotonic()
            self._metrics.count("rpc_calls", 1)
            left_s = cast("float | None", context.time_remaining())  # None without a deadline; the stubs do not know
            _ENDS_S.set(None if left_s is None else began_s + left_s)  # each call runs in a task of its own
            act: Acting | None = None
            part = UNTRACED
            try:
                visitor = self._door.identify(context)  # first: who is not known takes nobody's place
                part = self._traced(rpc)
                with self._entered(rpc, visitor):
                    request = _parse(rpc, raw, visitor)
                    tenants = tenants_of(visitor.grant, request, rpc.naming)
                    refusal = refusal_of(visitor.grant, rpc.method, tenants)
                    act = self._auditor.begin(
                        rpc.method, request, visitor.caller, is_outside=isinstance(refusal, _OUTSIDE)
                    )
                    if refusal is not None:
                        raise refusal
                    with acting(act), seeing(visitor.grant):
                        response = await handler(request)
                    await self._auditor.end(act)
                part.note("rpc.grpc.status_code", 0)
                return response if isinstance(response, bytes) else response.SerializeToString()
            except Exception as error:
                failure = self._fail(error, began_s)
                _note_failure(part, failure)
                await self._auditor.end(act, outcome=failure.reason)
            finally:
                part.end()
                self._metrics.measure("rpc_duration", self._clock.monotonic() - began_s)
            await _abort(context, failure)
            return b""

        return call

    def streaming(self, rpc: Rpc, handler: Streaming) -> Callable[[bytes, Context], Awaitable[None]]:
        """Wrap a handler that sends a stream."""

        async def call(raw: bytes, context: Context) -> None:
            began_s = self._clock.monotonic()
            self._metrics.count("rpc_calls", 1)
            part = UNTRACED
            try:
                visitor = self._door.identify(context)
                part = self._traced(rpc)
                with self._entered(rpc, visitor):
                    request = _parse(rpc, raw, visitor)
                    tenants = tenants_of(visitor.grant, request, rpc.naming)
                    refusal = refusal_of(visitor.grant, rpc.method, tenants)
                    if refusal is not None:
                        raise refusal

                    check = self._door.recheck(visitor, rpc.method, partial(tenants_named, request, rpc.naming))

                    async def send(message: bytes) -> None:
                        check()
                        await context.write(message)

                    with seeing(visitor.grant):
                        await handler(request, send)
                return
            except Exception as error:
                if context.cancelled():  # the peer is gone, and with it whoever would want to know
                    return
                failure = self._fail(error, began_s)
                _note_failure(part, failure)
            finally:
                part.end()
            await _abort(context, failure)

        return call

    async def refuse_unknown(self, _: object, context: Context) -> None:
        """Answer a call of a method that this server does not have."""
        message = "the method is not part of this server"
        await _abort(context, build_failure(grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN", message, {}, []))

    def _traced(self, rpc: Rpc) -> Part:
        """Begin the part of a call's trace that is ours; the call's task ends with it, so it stays the current one.

        Only for callers that were let in: a stranger has nothing traced.
        """
        if not self._tracing.is_on:
            return UNTRACED
        return self._tracing.called(rpc.method, traceparent(), attributes=_GRPC).begin()

    @contextmanager
    def _entered(self, rpc: Rpc, visitor: Visitor) -> Iterator[None]:
        """Count a call while inside, for its caller and for the server.

        Raises:
            CallerLimit, ServerDraining, CallLimit, WatcherLimit: it is not counted.
        """
        with self._caller_limits.counted(visitor.grant.caller, is_waiting=rpc.pool is not Pool.CALLS):
            self._admit(rpc.pool)
            try:
                yield
            finally:
                self._leave(rpc.pool)

    def _admit(self, pool: Pool) -> None:
        """Count a call in.

        Raises:
            ServerDraining, CallLimit, WatcherLimit: it is not counted.
        """
        if self._is_refusing:
            raise ServerDraining("the server is shutting down", retry_after_s=_DRAIN_RETRY_S)
        limit = self._limits.get(pool)
        if limit is not None and self._counts[pool] >= limit:
            if pool is Pool.WAITING:
                raise WatcherLimit(
                    "too many calls wait for changes or for Exchange", details={"watches_max": str(limit)}
                )
            raise CallLimit("too many calls are under way", details={"calls_max": str(limit)})
        self._counts[pool] += 1
        self._total += 1
        self._idle.clear()

    def _leave(self, pool: Pool) -> None:
        if pool is not Pool.WATCHES:
            self._called_at_s = self._clock.monotonic()
        self._counts[pool] -= 1
        self._total -= 1
        if self._total == 0:
            self._idle.set()

    def _fail(self, error: Exception, began_s: float) -> Failure:
        """Count a failed call, write the one line about it, and return how it is told."""
        failure = describe(error)
        self._metrics.count("rpc_errors", 1, failure.code.name)
        duration_s = round(self._clock.monotonic() - began_s, 4)
        fields: dict[str, object] = {"code": failure.code.name, "reason": failure.reason, "duration_s": duration_s}
        if failure.incident_id is not None:
            log.error("rpc.failed", incident_id=failure.incident_id, exc_info=error, **fields)
            return failure
        if isinstance(error, InvalidArgument):
            fields["fields"] = [violation.field for violation in error.violations[:_LOGGED_FIELDS_MAX]]
        elif isinstance(error, SidecarError):
            fields["error"] = error.message
        if isinstance(error, CallerRejected | CallerLimit):
            self._metrics.count("rpc_rejected" if isinstance(error, CallerRejected) else "rpc_limited", 1)
            # Whoever reaches the port can have these as often as he likes; his log would be everybody's.
            if self._lines.take():
                self._unlogged_count += 1
                return failure
            fields["unlogged_count"], self._unlogged_count = self._unlogged_count, 0
        is_callers = failure.code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
        (log.info if is_callers else log.warning)("rpc.failed", **fields)
        return failure


def _note_failure(part: Part, failure: Failure) -> None:
    number: int = failure.code.value[0]
    part.note("rpc.grpc.status_code", number)
    part.fail(failure.reason)


def _parse(rpc: Rpc, raw: bytes, visitor: Visitor) -> Message:
    """Read a request, and bind what it is about to the log lines of this call.

    Raises:
        InvalidArgument: the bytes are no such message.
    """
    try:
        request = rpc.request_type.FromString(raw)
    except DecodeError:
        sentence = f"the request is not a valid {rpc.request_type.DESCRIPTOR.name}"
        raise InvalidArgument([FieldViolation("", sentence)]) from None
    # Each call runs in a task of its own, so this ends with it.
    structlog.contextvars.bind_contextvars(method=rpc.method, tenant=_tenant_of(rpc, request))
    if visitor.grant.caller:
        structlog.contextvars.bind_contextvars(caller=visitor.grant.caller)
    return request


def _tenant_of(rpc: Rpc, request: Message) -> str:
    """Return the id of the tenant that a request names, not yet checked, so cut to the length of an id."""
    for path in rpc.named_by:
        name: str = attrgetter(path)(request)
        if name and not name.startswith(_TASKS):
            return name.removeprefix("tenants/").partition("/")[0][:_TENANT_CHARS_MAX]
    return ""


async def _abort(context: Context, failure: Failure) -> None:
    """End a call with a status; give up behind a reader that takes nothing."""
    try:
        async with asyncio.timeout(_ABORT_S):
            await context.abort(failure.code, failure.message, trailing_metadata=((DETAILS_KEY, failure.details),))
    except TimeoutError:
        log.debug("rpc.status_not_taken", code=failure.code.name)
