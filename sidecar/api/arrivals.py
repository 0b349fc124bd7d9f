"""The trace that a caller says its call is a part of, noted as the call arrives.

gRPC hands what came with a call to whoever looks for its handler, and makes it all up anew for a handler that asks later: that
would cost calls that are not traced more than everything else about traces.
"""

from __future__ import annotations

import contextvars
from typing import Any

import grpc

_HEADER = "traceparent"

_SENT: contextvars.ContextVar[str | None] = contextvars.ContextVar("traceparent", default=None)


class Arrivals(grpc.GenericRpcHandler):
    """Handles nothing. To be asked first; a call's handler is looked for in the task that runs it."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Note what came (Any: no handler is ever returned)."""
        for key, value in handler_call_details.invocation_metadata or ():
            if key == _HEADER and isinstance(value, str):
                _SENT.set(value)
                return None
        return None


def traceparent() -> str | None:
    """Return what came with the call under way, not checked; None: nothing did."""
    return _SENT.get()
