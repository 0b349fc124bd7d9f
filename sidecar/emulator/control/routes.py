"""The control API's route table, and the handlers that touch time, faults and what is on its way."""

from typing import Any

import msgspec

from sidecar.emulator.control.app import TENANT, ControlCall, ControlError, ControlRoute, control_route
from sidecar.emulator.control.moods import MoodControl, mood_routes
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
    TenantThrottleAnswer,
    ThrottleBody,
    UsersBody,
)
from sidecar.emulator.entra.refusals import REFUSALS
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.faults import Fault, Outage, mistake_in
from sidecar.emulator.parts import Parts
from sidecar.emulator.zones import format_instant

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

    def advance(self, call: ControlCall[ClockBody]) -> JsonObject:
        try:
            self._world.clock.advance(call.body.advance_s)
        except ValueError as error:
            raise ControlError(f"The clock cannot move that far: {error}.") from None
        return {"now": format_instant(self._world.now())}

    def begin_outage(self, call: ControlCall[OutageBody]) -> JsonObject:
        body, ends_at = call.body, self._world.after(call.body.for_s)
        tenant_id = None if body.tenant is None else self._tenants.named(body.tenant).tenant_id
        outage = Outage(service=body.service, status=body.status, body=body.body, ends_at=ends_at)
        self._parts.script.outages[tenant_id] = outage
        return {"ends_at": format_instant(ends_at)}

    def add_fault(self, call: ControlCall[FaultBody]) -> Fault:
        number = call.body.effect.aadsts
        if number is not None and number not in REFUSALS:
            known = ", ".join(str(one) for one in sorted(REFUSALS))
            raise ControlError(f"The emulator does not play AADSTS{number}; it knows {known}.")
        mistake = mistake_in(call.body.match, call.body.effect)
        if mistake is not None:
            raise ControlError(mistake)
        match = call.body.match
        if match.tenant is not None:
            match = msgspec.structs.replace(match, tenant=self._tenants.named(match.tenant).tenant_id)
        fault = Fault(id=self._world.ids.guid(), match=match, effect=call.body.effect)
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
    moods = MoodControl(parts.world, tenants)
    outlook = Outlook(world=parts.world, mailroom=parts.mailroom, meetings=parts.meetings)
    reading = Reading(tenants=tenants, mailroom=parts.mailroom)
    throttle = ThrottleControl(parts.world, tenants)
    return [
        *_working_routes(workings),
        *mood_routes(moods),
        *_throttle_routes(throttle),
        *_tenant_routes(tenants),
        *_outlook_routes(tenants, outlook),
        *notify_routes(NotifyControl(parts, tenants)),
        *_reading_routes(reading),
    ]


def _working_routes(on: _Workings) -> Routes:
    none: Any = type(None)  # Any: one name for routes of several types
    return [
        control_route("GET", "/control/health", "Tell that the emulator is up.", on.health, none),
        control_route("GET", "/control/state", "Dump the whole state.", on.snapshots.dump, none),
        control_route("PUT", "/control/state", "Restore a dumped state.", on.snapshots.restore, JsonObject),
        control_route("POST", "/control/clock", "Move the present forward.", on.advance, ClockBody),
        control_route("POST", "/control/outage", "Begin an outage, or end it.", on.begin_outage, OutageBody),
        control_route("POST", "/control/faults", "Script a fault.", on.add_fault, FaultBody, Fault, status=201),
        control_route("GET", "/control/faults", "Tell which faults have been consumed.", on.faults, none),
        control_route("DELETE", "/control/faults", "Forget every fault.", on.clear_faults, none),
        control_route(
            "GET", f"{TENANT}/requests", "Tell what was asked of Graph.", on.requests, none, query=("after",)
        ),
        control_route(
            "GET", f"{TENANT}/pending", "Count what has still to happen; zeros mean at rest.", on.pending, none
        ),
    ]


def _throttle_routes(on: ThrottleControl) -> Routes:
    none: Any = type(None)  # Any: one name for routes of several types
    limits, mine = dict[str, list[LimitAnswer]], TenantThrottleAnswer
    return [
        control_route("GET", "/control/throttle", "Tell the limits.", on.tell, none, limits),
        control_route(
            "PUT", "/control/throttle", "Change limits; what is left out stays.", on.change, ThrottleBody, limits
        ),
        control_route("GET", f"{TENANT}/throttle", "Tell a tenant's limits and counts.", on.tell_tenant, none, mine),
        control_route(
            "PUT",
            f"{TENANT}/throttle",
            "Change limits for one tenant; null takes the emulator's again.",
            on.change_tenant,
            ThrottleBody,
            mine,
        ),
    ]


def _tenant_routes(on: TenantControl) -> Routes:
    none: Any = type(None)  # Any: one name for routes of several types
    rooms, users, items = dict[str, list[MailboxAnswer]], dict[str, list[MailboxAnswer]], dict[str, list[ItemAnswer]]
    return [
        control_route("POST", "/control/tenants", "Make a tenant.", on.create, TenantBody, TenantAnswer, status=201),
        control_route(
            "PATCH", f"{TENANT}/app", "Change the tenant's app registration.", on.change_app, AppBody, TenantAnswer
        ),
        control_route("POST", f"{TENANT}/rooms", "Make rooms.", on.create_rooms, RoomsBody, rooms, status=201),
        control_route("POST", f"{TENANT}/users", "Make users.", on.create_users, UsersBody, users, status=201),
        control_route(
            "PATCH",
            f"{TENANT}/mailboxes/{{address}}",
            "Change a mailbox.",
            on.change_mailbox,
            MailboxChange,
            MailboxAnswer,
        ),
        control_route(
            "POST",
            f"{TENANT}/room_lists",
            "Make a room list.",
            on.create_room_list,
            RoomListBody,
            RoomListAnswer,
            status=201,
        ),
        control_route("POST", f"{TENANT}/seed", "Make rooms full of bookings.", on.seed, SeedBody, rooms, status=201),
        control_route(
            "GET", f"{TENANT}/calendars/{{address}}", "Tell the truth.", on.truth, none, items, query=("start", "end")
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

    base = f"{TENANT}/outlook"
    return [
        control_route("POST", f"{base}/book", "A person books rooms.", book, BookBody, MeetingAnswer, status=201),
        control_route("POST", f"{base}/move", "The organizer moves a meeting.", move, MoveBody, MeetingAnswer),
        control_route("POST", f"{base}/edit", "The organizer edits a meeting.", edit, EditBody, MeetingAnswer),
        control_route("POST", f"{base}/cancel", "The organizer cancels a meeting.", cancel, CancelBody, MeetingAnswer),
        control_route("POST", f"{base}/respond", "Somebody invited answers.", respond, RespondBody, MeetingAnswer),
        control_route("POST", f"{base}/decide", "A room's delegate decides.", decide, DecideBody, MeetingAnswer),
        control_route(
            "POST", f"{base}/delete_copy", "Somebody deletes their copy.", delete_copy, DeleteCopyBody, MeetingAnswer
        ),
        control_route("POST", f"{base}/forward", "Somebody forwards a meeting.", forward, ForwardBody, MeetingAnswer),
        control_route("POST", f"{base}/delete_from_room", "An item vanishes from a room.", delete, DeleteFromRoomBody),
    ]


def _reading_routes(on: Reading) -> Routes:
    calendar = f"{TENANT}/calendars/{{address}}"
    return [
        control_route("POST", f"{calendar}/expire_delta", "Expire delta links.", on.expire_delta, ExpireDeltaBody),
        control_route("POST", f"{calendar}/endless_delta", "Let delta never end.", on.endless_delta, EndlessDeltaBody),
        control_route("POST", f"{TENANT}/outlook/refile", "Change a mutable id.", on.refile, RefileBody, RefileAnswer),
    ]
