"""Which limits a Graph request counts against, and the 429 of one that is reached.

Source: Graph "Microsoft Graph service-specific throttling limits" page.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from sidecar.emulator.asgi import Request
from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.access import Caller
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.metering import Charge
from sidecar.emulator.exchange.world import World

_UPLOADS = ("POST", "PATCH", "PUT")
_CROWDED_RETRY_AFTER_S = 10  # what callers have recorded; nobody can say when the other requests end


class Throttle:
    """Counts requests, and refuses those beyond a limit."""

    def __init__(self, *, world: World) -> None:
        self._world = world

    @contextmanager
    def entered(self, request: Request, caller: Caller) -> Iterator[GraphError | None]:
        """Count a request while the body runs; yields the refusal if it is one too many."""
        mailbox = mailbox_of(request, caller)
        metering = self._world.metering
        reached = self._world.admit(caller.tenant, _charges(request, caller, mailbox))
        refusal = None if reached is None else throttled(reached[0].code, reached[0].message, reached[1])
        if mailbox is None:
            yield refusal
            return
        lane = f"{caller.app.client_id}/{mailbox.object_id}"
        crowd_max = self._world.moods_of(caller.tenant).mailbox_concurrency_max
        metering.in_flight[lane] += 1
        try:
            if refusal is None and 0 < crowd_max < metering.in_flight[lane]:
                metering.crowded_counts[lane] += 1
                message = "Application is over its MailboxConcurrency limit."
                refusal = throttled("ApplicationThrottled", message, _CROWDED_RETRY_AFTER_S)
            yield refusal
        finally:
            metering.in_flight[lane] -= 1
            if not metering.in_flight[lane]:
                del metering.in_flight[lane]


def mailbox_of(request: Request, caller: Caller) -> Mailbox | None:
    """Find the mailbox a path is about."""
    segments = request.segments
    if len(segments) < 3 or segments[1].lower() != "users":
        return None
    return caller.tenant.mailbox(segments[2])


def throttled(code: str, message: str, wait_s: float | None) -> GraphError:
    """Build a 429; None says nothing about when to come back."""
    headers = {} if wait_s is None else {"retry-after": str(max(1, math.ceil(wait_s)))}
    return GraphError(429, code, message, headers=headers)


def _charges(request: Request, caller: Caller, mailbox: Mailbox | None) -> Iterator[Charge]:
    app, tenant = caller.app.client_id, f"{caller.app.client_id}/{caller.tenant.tenant_id}"
    yield Charge("app_requests", app)
    if mailbox is not None:
        lane = f"{app}/{mailbox.object_id}"
        yield Charge("mailbox_requests", lane)
        if request.body and request.method in _UPLOADS:
            yield Charge("mailbox_upload_bytes", lane, len(request.body))
        if any(segment.lower() == "extensions" for segment in request.segments[3:]):
            yield Charge("extension_requests", tenant)
        return
    kind = _subscription_limit(request)
    if kind is not None:
        yield Charge(kind, tenant)
        yield Charge(f"{kind}_app", app)


def _subscription_limit(request: Request) -> str | None:
    """Tell which limit of the subscription service a request belongs to."""
    segments = request.segments
    if len(segments) < 2 or segments[1].lower() != "subscriptions":
        return None
    if request.method == "GET":
        return "subscription_lists" if len(segments) == 2 else "subscription_reads"
    is_reauthorize = len(segments) == 4 and segments[3].lower() == "reauthorize"
    return "subscription_reauthorizations" if is_reauthorize else "subscription_writes"
