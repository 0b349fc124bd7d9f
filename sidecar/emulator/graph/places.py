"""Graph's paths about places: rooms and room lists of the tenant, as the directory of places has heard of them.

Source: Graph "List places", "Get place", "room resource type" and "roomList resource type" pages and the v1.0 metadata.
"""

import msgspec

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.exchange.access import check_directory_role
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.places import PlaceDetails, PlaceVersion, RoomList, place_entity_id, version_at
from sidecar.emulator.exchange.world import World
from sidecar.emulator.graph.call import Call
from sidecar.emulator.graph.entities import count_reply, entity_fields, entity_reply, filtered, page_reply
from sidecar.emulator.graph.paging import next_link
from sidecar.emulator.wire.filter_tree import COMPARISONS
from sidecar.emulator.wire.filter_vocabulary import FieldKind, Vocabulary
from sidecar.emulator.wire.options import check_options, parse_count, parse_skip, parse_top

_PAGE_SIZE = 100
_ROLES = frozenset({"Place.Read.All"})
_LIST_OPTIONS = ("$top", "$skip", "$select", "$filter", "$count")
_OPERATORS = frozenset({*COMPARISONS, "startswith"})
_PLACE_FIELDS = {
    **entity_fields(FieldKind.TEXT, "id placeId displayName emailAddress label phone parentId"),
    **entity_fields(FieldKind.FLAG, "isWheelChairAccessible"),
}
_PLACE_OTHERS = frozenset({"address", "geocoordinates", "tags", "checkins"})
_ROOM_LISTS = Vocabulary(
    type_name="microsoft.graph.roomList",
    fields=_PLACE_FIELDS,
    others=_PLACE_OTHERS | {"rooms", "workspaces"},
    operators=_OPERATORS,
)
_ROOMS = Vocabulary(
    type_name="microsoft.graph.room",
    fields={
        **_PLACE_FIELDS,
        **entity_fields(
            FieldKind.TEXT, "nickname building floorLabel audioDeviceName videoDeviceName displayDeviceName"
        ),
        **entity_fields(FieldKind.NUMBER, "capacity floorNumber"),
        **entity_fields(FieldKind.ENUM, "bookingType", members=("unknown", "standard", "reserved")),
    },
    others=_PLACE_OTHERS | {"teamsenabledstate"},
    operators=_OPERATORS,
)


class PlaceRoutes:
    """Handlers of everything below `/places`."""

    def __init__(self, *, world: World) -> None:
        self._world = world

    def list_rooms(self, call: Call) -> Reply:
        """Answer GET /places/microsoft.graph.room."""
        return self._page(call, "places/microsoft.graph.room", self._rooms(call.caller.tenant), _ROOMS)

    def count_rooms(self, call: Call) -> Reply:
        """Answer GET /places/microsoft.graph.room/$count."""
        return self._count(call, self._rooms(call.caller.tenant), _ROOMS)

    def list_room_lists(self, call: Call) -> Reply:
        """Answer GET /places/microsoft.graph.roomList."""
        return self._page(call, "places/microsoft.graph.roomList", self._room_lists(call.caller.tenant), _ROOM_LISTS)

    def count_room_lists(self, call: Call) -> Reply:
        """Answer GET /places/microsoft.graph.roomList/$count."""
        return self._count(call, self._room_lists(call.caller.tenant), _ROOM_LISTS)

    def list_rooms_of_list(self, call: Call) -> Reply:
        """Answer GET /places/{room list}/microsoft.graph.roomlist/rooms."""
        check_directory_role(call.caller, _ROLES)
        key, tenant = call.values[0], call.caller.tenant
        found = next((one for one in tenant.room_lists.values() if _is_named(_room_list(one), key)), None)
        if found is None or found.listed_at > self._world.now():
            raise _unknown_place()
        rooms = [tenant.mailboxes[one] for one in found.room_ids if one in tenant.mailboxes]
        listed = [place for room in rooms if (place := self._room(room)) is not None]
        return self._page(call, f"places('{key}')/microsoft.graph.roomList/rooms", listed, _ROOMS)

    def get(self, call: Call) -> Reply:
        """Answer GET /places/{id}: by `id`, `placeId` or address, a room or a room list."""
        check_options(call.query, ("$select",))
        check_directory_role(call.caller, _ROLES)
        key, tenant = call.values[0], call.caller.tenant
        if key.lower().startswith("microsoft.graph."):
            raise NotEmulated(f"the places of type {key}")
        for kind, places in (("room", self._rooms(tenant)), ("roomList", self._room_lists(tenant))):
            for one in places:
                if _is_named(one, key):
                    context = f"{call.metadata_url}#places/microsoft.graph.{kind}/$entity"
                    return entity_reply(context, call, {"@odata.type": f"#microsoft.graph.{kind}", **one})
        raise _unknown_place()

    def _page(self, call: Call, path: str, places: list[JsonObject], vocabulary: Vocabulary) -> Reply:
        check_options(call.query, _LIST_OPTIONS)
        check_directory_role(call.caller, _ROLES)
        found = filtered(call, places, vocabulary)
        top, skip = parse_top(call.query, call.preferences, default=_PAGE_SIZE), parse_skip(call.query)
        link = next_link(call, {"$skip": str(skip + top)}) if skip + top < len(found) else None
        count = len(found) if parse_count(call.query) else None
        return page_reply(f"{call.metadata_url}#{path}", call, found[skip : skip + top], next_link=link, count=count)

    def _count(self, call: Call, places: list[JsonObject], vocabulary: Vocabulary) -> Reply:
        check_options(call.query, ("$filter",))
        check_directory_role(call.caller, _ROLES)
        return count_reply(len(filtered(call, places, vocabulary)))

    def _rooms(self, tenant: Tenant) -> list[JsonObject]:
        return [place for room in tenant.mailboxes.values() if (place := self._room(room)) is not None]

    def _room(self, room: Mailbox) -> JsonObject | None:
        version = version_at(room.place_versions, self._world.now())
        return None if version is None else _room(room.place_id, version)

    def _room_lists(self, tenant: Tenant) -> list[JsonObject]:
        now = self._world.now()
        return [_room_list(one) for one in tenant.room_lists.values() if one.listed_at <= now]


def _room(place_id: str, version: PlaceVersion) -> JsonObject:
    details = version.details
    return {
        **_place(place_id, version.address, version.display_name, details),
        "nickname": details.nickname or version.display_name,
        "capacity": details.capacity,
        "building": details.building,
        "floorNumber": details.floor_number,
        "floorLabel": details.floor_label,
        "bookingType": version.booking_type,
        "audioDeviceName": details.audio_device_name,
        "videoDeviceName": details.video_device_name,
        "displayDeviceName": details.display_device_name,
        "teamsEnabledState": details.teams_enabled_state,
    }


def _room_list(found: RoomList) -> JsonObject:
    return _place(found.place_id, found.address, found.display_name, found.details)


def _place(place_id: str, address: str, display_name: str, details: PlaceDetails) -> JsonObject:
    return {
        "id": place_entity_id(place_id, address),
        "placeId": place_id,
        "displayName": display_name,
        "emailAddress": address,
        "label": details.label,
        "phone": details.phone,
        "address": msgspec.to_builtins(details.address),
        "geoCoordinates": msgspec.to_builtins(details.geo_coordinates),
        "isWheelChairAccessible": details.is_wheel_chair_accessible,
        "tags": list(details.tags),
        "parentId": details.parent_id,
    }


def _is_named(place: JsonObject, key: str) -> bool:
    return key.lower() in {str(place[name]).lower() for name in ("id", "placeId", "emailAddress")}


def _unknown_place() -> GraphError:
    return GraphError(404, "ResourceNotFound", "Resource could not be discovered.")
