"""The whole state as one JSON document, and back: to look at, to keep, to begin a test from.

A dump holds what later answers depend on: tenants with everything in them, what rooms and notifications wait for, faults,
limits, moods, the present, the randomness and the key that tokens are signed with. Connections that are open and requests
that are being answered are not part of it. A restored emulator goes on as the dumped one would have.
"""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from datetime import datetime
from types import ModuleType
from typing import Any

import msgspec

from sidecar.emulator import faults, moods
from sidecar.emulator.control.app import ControlCall, ControlError
from sidecar.emulator.exchange import (
    app,
    calendar_index,
    directory,
    event,
    mailbox,
    metering,
    pending,
    people,
    places,
    recurrence,
    room_settings,
    subscription,
    sync_state,
)
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.field_types import check_content
from sidecar.emulator.exchange.object_graph import StateInvalid, Types
from sidecar.emulator.notify import state
from sidecar.emulator.parts import Parts

FORMAT = "exchange-emulator-state/1"
_ROOT: dict[str, Any] = {  # Any: annotations
    "now": datetime,
    "randomness": tuple[int, tuple[int, ...], float | None],
    "change_count": int,
    "item_count": int,
    "signing_key": dict[str, str],
    "moods": moods.Moods,
    "metering": metering.Metering,
    "faults": list[faults.Fault],
    "outages": dict[str | None, faults.Outage],
    "tenants": list[directory.Tenant],
    "deliveries": state.DeliveryState,
}
_MODULES = (
    *(app, calendar_index, directory, event, faults, mailbox, metering, moods, pending, people, places, recurrence),
    *(room_settings, state, subscription, sync_state),
)


class Snapshots:
    """Writes and reads the state of one emulator."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def dump(self, _: ControlCall[None]) -> JsonObject:
        """Answer GET /control/state."""
        return {"format": FORMAT, **_TYPES.dump(self._root())}

    def restore(self, call: ControlCall[JsonObject]) -> JsonObject:
        """Answer PUT /control/state: everything there was before is gone."""
        self.load(call.body)
        tenants = self._parts.world.directory.tenants
        return {"now": self._parts.world.now().isoformat(), "tenants": sorted(tenants)}

    def load(self, dump: JsonObject) -> None:
        """Take over a dumped state; when it cannot be read, nothing has changed.

        Raises:
            ControlError: it is no dump, of another format, or not whole.
        """
        if dump.get("format") != FORMAT:
            raise ControlError(f"This is no state: `format` must be {FORMAT}, not {dump.get('format')!r}.")
        try:
            root = _TYPES.load(dump)
        except StateInvalid as error:
            raise ControlError(f"This is no state: {error}.") from None
        missing = set(_ROOT) - set(root)
        if missing:
            raise ControlError(f"This is no state: it lacks {', '.join(sorted(missing))}.")
        before = self._root()
        try:
            check_content(root, _ROOT)
            self._take(root)
        except (TypeError, ValueError, AttributeError, KeyError, OverflowError, msgspec.ValidationError) as error:
            self._take(before)
            raise ControlError(f"This is no state: {type(error).__name__}: {error}.") from None

    def _root(self) -> dict[str, Any]:  # Any: values of many types
        parts, world = self._parts, self._parts.world
        return {
            "now": world.now(),
            "randomness": world.rng.getstate(),
            "change_count": world.ids.change_count,
            "item_count": parts.mailroom.item_count,
            "signing_key": parts.tokens.key_state,
            "moods": world.moods,
            "metering": world.metering,
            "faults": parts.script.faults,
            "outages": parts.script.outages,
            "tenants": list(world.directory.tenants.values()),
            "deliveries": parts.deliveries.state,
        }

    def _take(self, root: dict[str, Any]) -> None:  # Any: as above
        parts, world = self._parts, self._parts.world
        now, tenants = root["now"], root["tenants"]
        for tenant in tenants:
            moods.with_moods(root["moods"], tenant.own_moods)
        world.rng.setstate(root["randomness"])
        world.background.cancel_all()
        parts.tokens.key_state = root["signing_key"]
        world.ids.change_count, parts.mailroom.item_count = root["change_count"], root["item_count"]
        world.clock.advance((now - world.now()).total_seconds())
        world.moods = root["moods"]
        in_flight = world.metering.in_flight  # of requests that are being answered now; they will count themselves out
        world.metering = root["metering"]
        world.metering.in_flight = in_flight
        parts.script.faults, parts.script.outages = root["faults"], root["outages"]
        world.directory.replace(tenants)
        parts.meetings.resume()
        parts.deliveries.resume(root["deliveries"])


def _types_of(modules: Iterable[ModuleType]) -> Iterator[type]:
    """Give the modules' own types that a state may hold."""
    for module in modules:
        for one in vars(module).values():
            if isinstance(one, type) and one.__module__ == module.__name__ and _is_state(one):
                yield one


def _is_state(kind: type) -> bool:
    return is_dataclass(kind) or issubclass(kind, msgspec.Struct | enum.Enum) or hasattr(kind, "load_state")


_TYPES = Types(_types_of(_MODULES))
