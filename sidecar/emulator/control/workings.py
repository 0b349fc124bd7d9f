"""Control calls about the emulator's workings: whether it is up, what time it is, what was asked, what has still to happen."""

from typing import Any

import msgspec

from sidecar.emulator.bounds import Seconds
from sidecar.emulator.control.app import TENANT, ControlCall, ControlError, ControlRoute, control_route
from sidecar.emulator.control.notify import read_after
from sidecar.emulator.control.snapshot import Snapshots
from sidecar.emulator.control.tenants import TenantControl
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.parts import Parts
from sidecar.emulator.zones import format_instant


class ClockBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far the present moves forward."""

    advance_s: Seconds


class Workings:
    """Handlers for the emulator's workings."""

    def __init__(self, parts: Parts, tenants: TenantControl) -> None:
        self._parts = parts
        self._world = parts.world
        self._tenants = tenants
        self.snapshots = Snapshots(parts)

    def health(self, _: ControlCall[None]) -> JsonObject:
        """Tell that the emulator is up."""
        return {"status": "ok", "now": format_instant(self._world.now()), "seed": self._parts.seed}

    def advance(self, call: ControlCall[ClockBody]) -> JsonObject:
        """Move the present forward."""
        try:
            self._world.clock.advance(call.body.advance_s)
        except ValueError as error:
            raise ControlError(f"The clock cannot move that far: {error}.") from None
        return {"now": format_instant(self._world.now())}

    def requests(self, call: ControlCall[None]) -> JsonObject:
        """Tell what was asked of Graph and login."""
        tenant, after = self._tenants.find(call), read_after(call)
        return {"requests": [one for one in tenant.requests if one["number"] > after]}

    def pending(self, call: ControlCall[None]) -> JsonObject:
        """Count what has still to happen to a tenant."""
        tenant = self._tenants.find(call)
        return {
            "room_processing": tenant.room_processing_count,
            "deliveries": tenant.deliveries_pending_count,
            "held": self._parts.deliveries.held_count(tenant),
        }


def working_routes(on: Workings) -> list[ControlRoute[Any]]:  # Any: each route has its own body type
    """Build the routes about the workings."""
    none: Any = type(None)  # Any: one name for routes of several types
    return [
        control_route("GET", "/control/health", "Tell that the emulator is up.", on.health, none),
        control_route("GET", "/control/state", "Dump the whole state.", on.snapshots.dump, none),
        control_route("PUT", "/control/state", "Restore a dumped state.", on.snapshots.restore, JsonObject),
        control_route("POST", "/control/clock", "Move the present forward.", on.advance, ClockBody),
        control_route(
            "GET", f"{TENANT}/requests", "Tell what was asked of Graph.", on.requests, none, query=("after",)
        ),
        control_route(
            "GET", f"{TENANT}/pending", "Count what has still to happen; zeros mean at rest.", on.pending, none
        ),
    ]
