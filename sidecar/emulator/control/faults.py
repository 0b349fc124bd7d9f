"""Control calls about scripted faults and outages."""

from typing import Annotated, Any

import msgspec

from sidecar.emulator.bounds import Seconds
from sidecar.emulator.control.app import ControlCall, ControlError, ControlRoute, control_route
from sidecar.emulator.control.finding import find_tenant
from sidecar.emulator.entra.refusals import REFUSALS
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.world import World
from sidecar.emulator.faults import Fault, FaultEffect, FaultMatch, FaultScript, Outage, Service, mistake_in
from sidecar.emulator.zones import format_instant


class OutageBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A time in which a service refuses everything, or with a `for_s` of 0, its end."""

    status: Annotated[int, msgspec.Meta(ge=400, le=599)] | None = 503
    """null cuts every connection."""
    for_s: Seconds
    service: Service = Service.ALL
    tenant: str | None = None
    """Whose requests; null is everybody's."""
    body: str | None = None
    """Replaces Graph's error JSON."""


class FaultBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault to script; see `FaultMatch` and `FaultEffect`."""

    match: FaultMatch = FaultMatch()
    effect: FaultEffect = FaultEffect()


class FaultControl:
    """Handlers for faults and outages."""

    def __init__(self, world: World, script: FaultScript) -> None:
        self._world = world
        self._script = script

    def begin_outage(self, call: ControlCall[OutageBody]) -> JsonObject:
        """Begin an outage, or end one."""
        body, ends_at = call.body, self._world.after(call.body.for_s)
        tenant_id = None if body.tenant is None else find_tenant(self._world.directory, body.tenant).tenant_id
        outage = Outage(service=body.service, status=body.status, body=body.body, ends_at=ends_at)
        self._script.outages[tenant_id] = outage
        return {"ends_at": format_instant(ends_at)}

    def add(self, call: ControlCall[FaultBody]) -> Fault:
        """Script a fault."""
        number = call.body.effect.aadsts
        if number is not None and number not in REFUSALS:
            known = ", ".join(str(one) for one in sorted(REFUSALS))
            raise ControlError(f"The emulator does not play AADSTS{number}; it knows {known}.")
        mistake = mistake_in(call.body.match, call.body.effect)
        if mistake is not None:
            raise ControlError(mistake)
        match = call.body.match
        if match.tenant is not None:
            match = msgspec.structs.replace(match, tenant=find_tenant(self._world.directory, match.tenant).tenant_id)
        fault = Fault(id=self._world.ids.guid(), match=match, effect=call.body.effect)
        self._script.faults.append(fault)
        return fault

    def tell(self, _: ControlCall[None]) -> JsonObject:
        """Tell how far the faults have got."""
        faults = self._script.faults
        return {
            "faults": faults,
            "unconsumed_count": sum(fault.consumed < max(1, fault.match.count) for fault in faults),
        }

    def clear(self, _: ControlCall[None]) -> JsonObject:
        """Forget every fault."""
        count = len(self._script.faults)
        self._script.faults.clear()
        return {"cleared_count": count}


def fault_routes(on: FaultControl) -> list[ControlRoute[Any]]:  # Any: each route has its own body type
    """Build the routes about faults and outages."""
    none: Any = type(None)  # Any: one name for routes of several types
    return [
        control_route("POST", "/control/outage", "Begin an outage, or end it.", on.begin_outage, OutageBody),
        control_route("POST", "/control/faults", "Script a fault.", on.add, FaultBody, Fault, status=201),
        control_route("GET", "/control/faults", "Tell which faults have been consumed.", on.tell, none),
        control_route("DELETE", "/control/faults", "Forget every fault.", on.clear, none),
    ]
