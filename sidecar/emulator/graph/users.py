"""Graph's paths about mailboxes themselves: users, settings, rooms of the directory.

Source: Graph "Get a user", "Get user mailbox settings" and "List places" pages.
"""

from collections.abc import Mapping

import msgspec

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.access import SETTINGS_ROLES, check_directory_role, open_mailbox
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.mailbox import Mailbox, MailboxState
from sidecar.emulator.graph.call import Call, graph_reply, page_body, raw_reply
from sidecar.emulator.graph.paging import next_link
from sidecar.emulator.wire.options import check_options, parse_skip, parse_top

_PLACES_PAGE_SIZE = 100
_USER_ROLES = frozenset({"User.Read.All"})
_PLACE_ROLES = frozenset({"Place.Read.All"})


def get_user(call: Call) -> Reply:
    """Answer GET /users/{id} with the four properties the emulator knows."""
    check_options(call.query, ("$select",))
    check_directory_role(call.caller, _USER_ROLES)
    key = call.values[0]
    mailbox = call.caller.tenant.mailbox(key)
    if mailbox is None or mailbox.state is MailboxState.GONE:
        message = f"Resource '{key}' does not exist or one of its queried reference-property objects are not present."
        raise GraphError(404, "Request_ResourceNotFound", message)
    user = {
        "id": mailbox.object_id,
        "displayName": mailbox.display_name,
        "mail": mailbox.address,
        "userPrincipalName": mailbox.address,
    }
    return _entity(call, f"{call.metadata_url}#users/$entity", user)


def get_mailbox_settings(call: Call) -> Reply:
    """Answer GET /users/{id}/mailboxSettings."""
    check_options(call.query, ("$select",))
    mailbox = open_mailbox(call.caller, call.values[0], SETTINGS_ROLES)
    settings = {"timeZone": mailbox.time_zone, "userPurpose": "room" if mailbox.is_room else "user"}
    return _entity(call, f"{call.metadata_url}#users('{mailbox.object_id}')/mailboxSettings", settings)


def list_rooms(call: Call) -> Reply:
    """Answer GET /places/microsoft.graph.room."""
    check_options(call.query, ("$top", "$skip", "$select"))
    check_directory_role(call.caller, _PLACE_ROLES)
    rooms = [one for one in call.caller.tenant.mailboxes.values() if one.is_room and one.state is not MailboxState.GONE]
    top, skip = parse_top(call.query, call.preferences, default=_PLACES_PAGE_SIZE), parse_skip(call.query)
    items = [msgspec.json.encode(selected(call, _place(one))) for one in rooms[skip : skip + top]]
    more = next_link(call, {"$skip": str(skip + top)}) if skip + top < len(rooms) else None
    return raw_reply(200, page_body(f"{call.metadata_url}#places/microsoft.graph.room", items, more))


def _place(room: Mailbox) -> JsonObject:
    return {
        "id": room.place_id.upper(),
        "placeId": room.place_id,
        "displayName": room.display_name,
        "emailAddress": room.address,
        "nickname": room.display_name,
        "label": "",
        "phone": "",
        "address": None,
        "geoCoordinates": None,
        "capacity": None,
        "building": None,
        "floorNumber": None,
        "floorLabel": None,
        "isWheelChairAccessible": False,
        "bookingType": "standard",
        "tags": [],
        "audioDeviceName": None,
        "videoDeviceName": None,
        "displayDeviceName": None,
    }


def _entity(call: Call, context: str, entity: JsonObject) -> Reply:
    return graph_reply(200, {"@odata.context": context, **selected(call, entity)})


def selected(call: Call, entity: Mapping[str, object]) -> JsonObject:
    """Give the part of an entity that `$select` asks for; 501 for properties the emulator does not know."""
    text = call.query.get("$select")
    if not text:
        return dict(entity)
    names = {name.strip() for name in text.split(",") if name.strip()}
    unknown = names - set(entity)
    if unknown:
        raise GraphError(
            501,
            "notImplementedByEmulator",
            f"The emulator does not play this: the properties {', '.join(sorted(unknown))}.",
        )
    return {name: value for name, value in entity.items() if name in names}
