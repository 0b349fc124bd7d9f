"""The control API's route table, and the handlers that touch moods, time, faults and what is on its way."""

from typing import Any

import msgspec

from sidecar.emulator.control.app import ControlCall, ControlError, ControlRoute
from sidecar.emulator.control.notify import NotifyControl, notify_routes, read_after
from sidecar.emulator.control.outlook import Outlook
from sidecar.emulator.control.reading import Reading
from sidecar.emulator.control.snapshot import Snapshots
from sidecar.emulator.control.tenants import TenantControl
from sidecar.emulator.control.throttling import ThrottleControl
from sidecar.emulator.control.types import (
    AppBody,
    BookBody,
    CancelBody,
    ClockBody,
    CountAnswer,
    DecideBody,
    DeleteCopyBody,
    DeleteFromRoomBody,
    EditBody,
    EndlessDeltaBody,
    ExpireDeltaBody,
    FaultBody,
    ForwardBody,
    ItemAnswer,
    LimitAnswer,
    MailboxAnswer,
    MailboxChange,
    MeetingAnswer,
    MoveBody,
    OutageBody,
    RefileAnswer,
    RefileBody,
    RespondBody,
    RoomListAnswer,
    RoomListBody,
    RoomsBody,
    SeedBody,
    TenantAnswer,
    TenantBody,
    ThrottleBody,
    UsersBody,
)
from sidecar.emulator.entra.refusals import REFUSALS
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.faults import Fault, Outage, mistake_in
from sidecar.emulator.moods import Moods
from sidecar.emulator.parts import Parts
from sidecar.emulator.zones import format_instant

_TENANT = "/control/tenants/{tenant}"
Routes = list[ControlRoute[Any]]  # Any: each route has its own body type


class _Workings:
    """Handlers for the emulator's workings."""

    def __init__(self, parts: Parts, tenants: TenantControl) -> None:
        self._parts = parts
        self._world = parts.world
        self._tenants = tenants
        self.snapshots = Snapshots(parts)

    def health(self, _: ControlCall[None]) -> JsonObject:
        return {"status": "ok", "now": format_instant(self._world.now()), "seed": self._parts.seed}

    def moods(self, _: ControlCall[None]) -> Moods:
        return self._world.moods

    def change_moods(self, call: ControlCall[JsonObject]) -> Moods:
        try:
            moods = msgspec.convert({**msgspec.to_builtins(self._world.moods), **call.body}, Moods)
        except msgspec.ValidationError as error:
            raise ControlError(f"These are not moods: {error}.") from None
        self._world.moods = moods
        return moods

    def advance(self, call: ControlCall[ClockBody]) -> JsonObject:
        try:
            self._world.clock.advance(call.body.advance_s)
        except ValueError as error:
            raise ControlError(f"The clock cannot move that far: {error}.") from None
        return {"now": format_instant(self._world.now())}

    def begin_outage(self, call: ControlCall[OutageBody]) -> JsonObject:
        body, ends_at = call.body, self._world.after(call.body.for_s)
        self._parts.script.outage = Outage(service=body.service, status=body.status, body=body.body, ends_at=ends_at)
        return {"ends_at": format_instant(ends_at)}

    def add_fault(self, call: ControlCall[FaultBody]) -> Fault:
        number = call.body.effect.aadsts
        if number is not None and number not in REFUSALS:
            known = ", ".join(str(one) for one in sorted(REFUSALS))
            raise ControlError(f"The emulator does not play AADSTS{number}; it knows {known}.")
        mistake = mistake_in(call.body.match, call.body.effect)
        if mistake is not None:
            raise ControlError(mistake)
        fault = Fault(id=self._world.ids.guid(), match=call.body.match, effect=call.body.effect)
        self._parts.script.faults.append(fault)
        return fault

    def faults(self, _: ControlCall[None]) -> JsonObject:
        faults = self._parts.script.faults
        return {
            "faults": faults,
            "unconsumed_count": sum(fault.consumed < max(1, fault.match.count) for fault in faults),
        }

    def clear_faults(self, _: ControlCall[None]) -> JsonObject:
        count = len(self._parts.script.faults)
        self._parts.script.faults.clear()
        return {"cleared_count": count}

    def requests(self, call: ControlCall[None]) -> JsonObject:
        tenant, after = self._tenants.find(call), read_after(call)
        return {"requests": [one for one in tenant.requests if one["number"] > after]}

    def pending(self, call: ControlCall[None]) -> JsonObject:
        tenant = self._tenants.find(call)
        return {
            "room_processing": tenant.room_processing_count,
            "deliveries": tenant.deliveries_pending_count,
            "held": self._parts.deliveries.held_count(tenant),
        }


def control_routes(parts: Parts, tenants: TenantControl) -> Routes:
    """Build the whole route table of the control API."""
    workings = _Workings(parts, tenants)
    outlook = Outlook(world=parts.world, mailroom=parts.mailroom, meetings=parts.meetings)
    reading = Reading(tenants=tenants, mailroom=parts.mailroom)
    throttle = ThrottleControl(parts.world, tenants)
    return [
        *_working_routes(workings),
        *_throttle_routes(throttle),
        *_tenant_routes(tenants),
        *_outlook_routes(tenants, outlook),
        *notify_routes(NotifyControl(parts, tenants)),
        *_reading_routes(reading),
    ]


def _working_routes(on: _Workings) -> Routes:
    none: Any = type(None)  # Any: one name for routes of several types
    return [
        _route("GET", "/control/health", "Tell that the emulator is up.", on.health, none),
        _route("GET", "/control/moods", "Tell how unkind the emulator is.", on.moods, none, Moods),
        _route("PUT", "/control/moods", "Change moods; what is left out stays.", on.change_moods, JsonObject, Moods),
        _route("GET", "/control/state", "Dump the whole state.", on.snapshots.dump, none),
        _route("PUT", "/control/state", "Restore a dumped state.", on.snapshots.restore, JsonObject),
        _route("POST", "/control/clock", "Move the present forward.", on.advance, ClockBody),
        _route("POST", "/control/outage", "Begin an outage, or end it.", on.begin_outage, OutageBody),
        _route("POST", "/control/faults", "Script a fault.", on.add_fault, FaultBody, Fault, status=201),
        _route("GET", "/control/faults", "Tell which faults have been consumed.", on.faults, none),
        _route("DELETE", "/control/faults", "Forget every fault.", on.clear_faults, none),
        _route("GET", f"{_TENANT}/requests", "Tell what was asked of Graph.", on.requests, none, query=("after",)),
        _route("GET", f"{_TENANT}/pending", "Count what has still to happen; zeros mean at rest.", on.pending, none),
    ]


def _throttle_routes(on: ThrottleControl) -> Routes:
    none: Any = type(None)  # Any: one name for routes of several types
    limits, counts = dict[str, list[LimitAnswer]], dict[str, list[CountAnswer]]
    return [
        _route("GET", "/control/throttle", "Tell the limits.", on.limits, none, limits),
        _route("PUT", "/control/throttle", "Change limits; what is left out stays.", on.change, ThrottleBody, limits),
        _route("GET", f"{_TENANT}/throttle", "Tell what has been counted against the limits.", on.counts, none, counts),
    ]


def _tenant_routes(on: TenantControl) -> Routes:
    none: Any = type(None)  # Any: one name for routes of several types
    rooms, users, items = dict[str, list[MailboxAnswer]], dict[str, list[MailboxAnswer]], dict[str, list[ItemAnswer]]
    return [
        _route("POST", "/control/tenants", "Make a tenant.", on.create, TenantBody, TenantAnswer, status=201),
        _route(
            "PATCH", f"{_TENANT}/app", "Change the tenant's app registration.", on.change_app, AppBody, TenantAnswer
        ),
        _route("POST", f"{_TENANT}/rooms", "Make rooms.", on.create_rooms, RoomsBody, rooms, status=201),
        _route("POST", f"{_TENANT}/users", "Make users.", on.create_users, UsersBody, users, status=201),
        _route(
            "PATCH",
            f"{_TENANT}/mailboxes/{{address}}",
            "Change a mailbox.",
            on.change_mailbox,
            MailboxChange,
            MailboxAnswer,
        ),
        _route(
            "POST",
            f"{_TENANT}/room_lists",
            "Make a room list.",
            on.create_room_list,
            RoomListBody,
            RoomListAnswer,
            status=201,
        ),
        _route("POST", f"{_TENANT}/seed", "Make rooms full of bookings.", on.seed, SeedBody, rooms, status=201),
        _route(
            "GET", f"{_TENANT}/calendars/{{address}}", "Tell the truth.", on.truth, none, items, query=("start", "end")
        ),
    ]


def _outlook_routes(tenants: TenantControl, outlook: Outlook) -> Routes:
    def book(call: ControlCall[BookBody]) -> MeetingAnswer:
        return outlook.book(tenants.find(call), call.body)

    def move(call: ControlCall[MoveBody]) -> MeetingAnswer:
        return outlook.move(tenants.find(call), call.body)

    def edit(call: ControlCall[EditBody]) -> MeetingAnswer:
        return outlook.edit(tenants.find(call), call.body)

    def cancel(call: ControlCall[CancelBody]) -> MeetingAnswer:
        return outlook.cancel(tenants.find(call), call.body)

    def respond(call: ControlCall[RespondBody]) -> MeetingAnswer:
        return outlook.respond(tenants.find(call), call.body)

    def decide(call: ControlCall[DecideBody]) -> MeetingAnswer:
        return outlook.decide(tenants.find(call), call.body)

    def delete_copy(call: ControlCall[DeleteCopyBody]) -> MeetingAnswer:
        return outlook.delete_copy(tenants.find(call), call.body)

    def forward(call: ControlCall[ForwardBody]) -> MeetingAnswer:
        return outlook.forward(tenants.find(call), call.body)

    def delete(call: ControlCall[DeleteFromRoomBody]) -> dict[str, bool]:
        return outlook.delete_from_room(tenants.find(call), call.body)

    base = f"{_TENANT}/outlook"
    return [
        _route("POST", f"{base}/book", "A person books rooms.", book, BookBody, MeetingAnswer, status=201),
        _route("POST", f"{base}/move", "The organizer moves a meeting.", move, MoveBody, MeetingAnswer),
        _route("POST", f"{base}/edit", "The organizer edits a meeting.", edit, EditBody, MeetingAnswer),
        _route("POST", f"{base}/cancel", "The organizer cancels a meeting.", cancel, CancelBody, MeetingAnswer),
        _route("POST", f"{base}/respond", "Somebody invited answers.", respond, RespondBody, MeetingAnswer),
        _route("POST", f"{base}/decide", "A room's delegate decides.", decide, DecideBody, MeetingAnswer),
        _route(
            "POST", f"{base}/delete_copy", "Somebody deletes their copy.", delete_copy, DeleteCopyBody, MeetingAnswer
        ),
        _route("POST", f"{base}/forward", "Somebody forwards a meeting.", forward, ForwardBody, MeetingAnswer),
        _route("POST", f"{base}/delete_from_room", "An item vanishes from a room.", delete, DeleteFromRoomBody),
    ]


def _reading_routes(on: Reading) -> Routes:
    calendar = f"{_TENANT}/calendars/{{address}}"
    return [
        _route("POST", f"{calendar}/expire_delta", "Expire delta links.", on.expire_delta, ExpireDeltaBody),
        _route("POST", f"{calendar}/endless_delta", "Let delta never end.", on.endless_delta, EndlessDeltaBody),
        _route("POST", f"{_TENANT}/outlook/refile", "Change a mutable id.", on.refile, RefileBody, RefileAnswer),
    ]


def _route(
    method: str,
    path: str,
    summary: str,
    handler: Any,  # Any: handlers take their own body type, which the table checks by `body`
    body: Any,  # Any: a type
    answer: Any = JsonObject,  # Any: a type
    *,
    query: tuple[str, ...] = (),
    status: int = 200,
) -> ControlRoute[Any]:  # Any: as above
    return ControlRoute(
        method=method, path=path, summary=summary, handler=handler, body=body, answer=answer, query=query, status=status
    )
