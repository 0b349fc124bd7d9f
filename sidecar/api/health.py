"""gRPC's health service, which anybody who reaches a listener may ask, with a limit on watching it."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health

_WATCHES_MAX = 128
"""Load balancers hold one each. Nobody has to be known for one, so without a limit strangers could hold any number."""


class LimitedHealth(health.aio.HealthServicer):  # type: ignore[misc]  # the library has no types
    """Tells whether the services are up."""

    def __init__(self) -> None:
        super().__init__()
        self._watches_count = 0

    async def Watch(self, request: Any, context: Any) -> None:
        """Tell each change, to so many at once."""
        if self._watches_count >= _WATCHES_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch the health of this server")
        self._watches_count += 1
        try:
            await super().Watch(request, context)
        finally:
            self._watches_count -= 1
