"""Control calls about moods: the emulator's, and those in which one tenant differs from it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from sidecar.emulator.control.app import TENANT, ControlCall, ControlError, ControlRoute, control_route
from sidecar.emulator.control.tenants import TenantControl
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.world import World
from sidecar.emulator.moods import Moods, calm_moods, with_moods

Changes = Mapping[str, Any]  # Any: moods by name, not yet checked


class TenantMoodsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant meets."""

    moods: Moods
    own: JsonObject
    """In which of them it differs from the emulator."""


class MoodControl:
    """Handlers for moods; with `calm=true` a change begins with every calm mood."""

    def __init__(self, world: World, tenants: TenantControl) -> None:
        self._world = world
        self._tenants = tenants

    def tell(self, _: ControlCall[None]) -> Moods:
        """Tell the emulator's moods."""
        return self._world.moods

    def change(self, call: ControlCall[JsonObject]) -> Moods:
        """Change the emulator's moods; tenants keep their own."""
        base = calm_moods() if _wants_calm(call) else self._world.moods
        self._world.moods = _with(base, call.body)
        return self._world.moods

    def tell_tenant(self, call: ControlCall[None]) -> TenantMoodsAnswer:
        """Tell the moods a tenant meets."""
        return self._told(self._tenants.find(call))

    def change_tenant(self, call: ControlCall[JsonObject]) -> TenantMoodsAnswer:
        """Change the moods of one tenant; null takes the emulator's again."""
        tenant = self._tenants.find(call)
        base = msgspec.to_builtins(calm_moods()) if _wants_calm(call) else tenant.own_moods
        unknown = set(call.body) - set(Moods.__struct_fields__)
        if unknown:
            raise ControlError(f"These are not moods: {', '.join(sorted(unknown))}.")
        own = {name: value for name, value in {**base, **call.body}.items() if value is not None}
        _with(self._world.moods, own)
        tenant.own_moods = own
        return self._told(tenant)

    def _told(self, tenant: Tenant) -> TenantMoodsAnswer:
        return TenantMoodsAnswer(moods=self._world.moods_of(tenant), own=tenant.own_moods)


def mood_routes(on: MoodControl) -> list[ControlRoute[Any]]:  # Any: each route has its own body type
    """Build the routes about moods."""
    none: Any = type(None)  # Any: one name for routes of several types
    path, answer = f"{TENANT}/moods", TenantMoodsAnswer
    return [
        control_route("GET", "/control/moods", "Tell how unkind the emulator is.", on.tell, none, Moods),
        control_route(
            "PUT",
            "/control/moods",
            "Change moods; what is left out stays.",
            on.change,
            JsonObject,
            Moods,
            query=("calm",),
        ),
        control_route("GET", path, "Tell how unkind a tenant finds the emulator.", on.tell_tenant, none, answer),
        control_route(
            "PUT",
            path,
            "Change moods for one tenant; null takes the emulator's again.",
            on.change_tenant,
            JsonObject,
            answer,
            query=("calm",),
        ),
    ]


def _wants_calm(call: ControlCall[JsonObject]) -> bool:
    text = call.query.get("calm", "false")
    if text not in ("true", "false"):
        raise ControlError("`calm` must be true or false.")
    return text == "true"


def _with(base: Moods, changes: Changes) -> Moods:
    try:
        return with_moods(base, changes)
    except msgspec.ValidationError as error:
        raise ControlError(f"These are not moods: {error}.") from None
