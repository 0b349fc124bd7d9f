"""The control API's whole route table; calls about one area are beside their handlers, those about tenants and Outlook here."""

from typing import Any

from sidecar.emulator.control.app import TENANT, ControlCall, ControlRoute, control_route
from sidecar.emulator.control.faults import FaultControl, fault_routes
from sidecar.emulator.control.moods import MoodControl, mood_routes
from sidecar.emulator.control.notify import NotifyControl, notify_routes
from sidecar.emulator.control.outlook import Outlook
from sidecar.emulator.control.outlook_types import (
    BookBody,
    CancelBody,
    DecideBody,
    DeleteCopyBody,
    DeleteFromRoomBody,
    EditBody,
    ForwardBody,
    MeetingAnswer,
    MoveBody,
    RespondBody,
)
from sidecar.emulator.control.reading import Reading, reading_routes
from sidecar.emulator.control.tenant_types import (
    AppBody,
    ItemAnswer,
    MailboxAnswer,
    MailboxChange,
    RoomListAnswer,
    RoomListBody,
    RoomsBody,
    SeedBody,
    TenantAnswer,
    TenantBody,
    UsersBody,
)
from sidecar.emulator.control.tenants import TenantControl
from sidecar.emulator.control.throttling import ThrottleControl, throttle_routes
from sidecar.emulator.control.workings import Workings, working_routes
from sidecar.emulator.parts import Parts

Routes = list[ControlRoute[Any]]  # Any: each route has its own body type


def control_routes(parts: Parts, tenants: TenantControl) -> Routes:
    """Build the whole route table of the control API."""
    return [
        *working_routes(Workings(parts, tenants)),
        *mood_routes(MoodControl(parts.world, tenants)),
        *fault_routes(FaultControl(parts.world, parts.script)),
        *throttle_routes(ThrottleControl(parts.world, tenants)),
        *_tenant_routes(tenants),
        *_outlook_routes(tenants, Outlook(world=parts.world, mailroom=parts.mailroom, meetings=parts.meetings)),
        *notify_routes(NotifyControl(parts, tenants)),
        *reading_routes(Reading(tenants=tenants, mailroom=parts.mailroom)),
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
