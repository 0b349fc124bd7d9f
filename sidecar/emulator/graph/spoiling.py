"""What scripted faults and outages do to an answer."""

import math
from datetime import timedelta
from email.utils import format_datetime

from sidecar.emulator.asgi import Reply, Request
from sidecar.emulator.entra.login import Login
from sidecar.emulator.entra.refusals import LoginError
from sidecar.emulator.entra.tokens import unauthorized
from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.world import World
from sidecar.emulator.faults import FaultEffect, Outage
from sidecar.emulator.graph.envelope import Envelope

_BODILESS = (204, 304)  # whatever follows their headers would be read as the next answer


class Spoiler:
    """Spoils answers of login and Graph alike."""

    def __init__(self, *, world: World, login: Login, envelope: Envelope) -> None:
        self._world = world
        self._login = login
        self._envelope = envelope

    def spoil(self, request: Request, effect: FaultEffect, reply: Reply) -> Reply:
        """Do to an answer what a fault asks for."""
        if effect.aadsts is not None:
            reply = self._login.refuse(request, LoginError(effect.aadsts, error=effect.code))
        elif effect.status is not None:
            code = effect.code or "UnknownError"
            error = GraphError(effect.status, code, effect.message)
            if effect.status == 401:
                error = unauthorized(code, effect.message)
            reply = self._envelope.error(request, error)
        if effect.body is not None:
            reply.body, reply.headers["content-type"] = effect.body.encode(), "text/html"
        if reply.status in _BODILESS:
            reply.body = b""
        if effect.retry_after_s is not None:
            reply.headers["retry-after"] = self._retry_after(effect)
        reply.headers.update({name.lower(): value for name, value in effect.headers.items()})
        if effect.drop or effect.half_body:
            reply.broken = "drop" if effect.drop else "half"
        reply.stall_s = effect.stall_s
        return reply

    def outage(self, request: Request, outage: Outage) -> Reply:
        """Give the answer of a service that is down."""
        if outage.status is None:
            return Reply(status=0, broken="drop")
        reply = self._envelope.error(
            request, GraphError(outage.status, "ServiceUnavailable", "The service is unavailable.")
        )
        if outage.body is not None:
            reply.body, reply.headers["content-type"] = outage.body.encode(), "text/html"
        return reply

    def _retry_after(self, effect: FaultEffect) -> str:
        assert effect.retry_after_s is not None
        wait_s = math.ceil(effect.retry_after_s)
        at = self._world.now().replace(microsecond=0) + timedelta(seconds=wait_s)
        return format_datetime(at, usegmt=True) if effect.retry_after_as_date else str(wait_s)
