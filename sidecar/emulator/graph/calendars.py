"""Graph's paths of calendars as containers: the default one, the list of them, and paths that name a calendar by its id.

Each mailbox has its default calendar and no other.

Source: Graph "Get calendar", "List calendars" and "calendar resource type" pages; that rooms may hold no online meetings is
what users have reported.
"""

from collections.abc import Awaitable
from dataclasses import replace

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import item_not_found
from sidecar.emulator.exchange.access import READ_ROLES, open_mailbox
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.graph.call import Call
from sidecar.emulator.graph.entities import entity_reply, page_reply
from sidecar.emulator.graph.routes import Handler
from sidecar.emulator.wire.options import check_options


def get_calendar(call: Call) -> Reply:
    """Answer GET /users/{id}/calendar, and by id."""
    check_options(call.query, ("$select",))
    mailbox = open_mailbox(call.caller, call.values[0], READ_ROLES)
    context = f"{call.metadata_url}#users('{mailbox.object_id}')/calendar/$entity"
    return entity_reply(context, call, _calendar(mailbox))


def list_calendars(call: Call) -> Reply:
    """Answer GET /users/{id}/calendars: the one there is."""
    check_options(call.query, ("$select", "$top"))
    mailbox = open_mailbox(call.caller, call.values[0], READ_ROLES)
    context = f"{call.metadata_url}#users('{mailbox.object_id}')/calendars"
    return page_reply(context, call, [_calendar(mailbox)])


def by_calendar_id(handler: Handler) -> Handler:
    """Let a handler of the default calendar answer on a path whose second placeholder is a calendar's id."""

    def answer(call: Call) -> Reply | Awaitable[Reply]:
        user, calendar, *rest = call.values
        mailbox = call.caller.tenant.mailbox(user)
        if mailbox is not None and calendar != mailbox.calendar_id:
            open_mailbox(call.caller, user, READ_ROLES)  # who may not look is not told what is there
            raise item_not_found()
        return handler(replace(call, values=(user, *rest)))

    return answer


def _calendar(mailbox: Mailbox) -> JsonObject:
    provider = "unknown" if mailbox.is_resource else "teamsForBusiness"
    return {
        "id": mailbox.calendar_id,
        "name": "Calendar",
        "color": "auto",
        "hexColor": "",
        "isDefaultCalendar": True,
        "changeKey": f"CK{mailbox.calendar.version:012d}",
        "canShare": True,
        "canViewPrivateItems": True,
        "canEdit": True,
        "allowedOnlineMeetingProviders": [] if mailbox.is_resource else [provider],
        "defaultOnlineMeetingProvider": provider,
        "isTallyingResponses": True,
        "isRemovable": False,
        "owner": {"name": mailbox.display_name, "address": mailbox.address},
    }
