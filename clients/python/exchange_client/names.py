"""Resource names: built from ids and taken apart again, so that nobody formats or splits them by hand.

    names.tenant("acme")                      "tenants/acme"
    names.room("acme", "r1")                  "tenants/acme/rooms/r1"
    names.booking("acme", "r1", "b9")         "tenants/acme/rooms/r1/bookings/b9"
    names.all_rooms("acme")                   "tenants/acme/rooms/-", the parent of a listing over all rooms
    names.parse_room("tenants/acme/rooms/r1") RoomName(tenant="acme", room="r1")

Pure; a name that breaks the rules raises ValueError before anything is sent.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ID = re.compile(r"[A-Za-z0-9._~-]{1,63}")
_WILDCARD = "-"


class RoomName(NamedTuple):
    """The ids in the name of a room."""

    tenant: str
    room: str


class BookingName(NamedTuple):
    """The ids in the name of a booking."""

    tenant: str
    room: str
    booking: str


def tenant(tenant_id: str) -> str:
    """Build the name of a tenant."""
    return f"tenants/{_checked('tenant', tenant_id)}"


def room(tenant_id: str, room_id: str) -> str:
    """Build the name of a room."""
    return f"{tenant(tenant_id)}/rooms/{_checked('room', room_id)}"


def booking(tenant_id: str, room_id: str, booking_id: str) -> str:
    """Build the name of a booking; the id is one the service gave out."""
    return f"{room(tenant_id, room_id)}/bookings/{_checked('booking', booking_id)}"


def all_rooms(tenant_id: str) -> str:
    """Build the parent that stands for all rooms of a tenant in `list_bookings`."""
    return f"{tenant(tenant_id)}/rooms/{_WILDCARD}"


def parse_tenant(name: str) -> str:
    """Take the tenant's id out of the name of a tenant."""
    (tenant_id,) = _parsed(name, "tenants/{tenant}")
    return tenant_id


def parse_room(name: str) -> RoomName:
    """Take the ids out of the name of a room."""
    return RoomName(*_parsed(name, "tenants/{tenant}/rooms/{room}"))


def parse_booking(name: str) -> BookingName:
    """Take the ids out of the name of a booking."""
    return BookingName(*_parsed(name, "tenants/{tenant}/rooms/{room}/bookings/{booking}"))


def room_of(booking_name: str) -> str:
    """Give the name of the room that a booking is in."""
    name, found, booking_id = booking_name.rpartition("/bookings/")
    if not found or not name or not booking_id:
        raise ValueError(f"not the name of a booking: {booking_name!r}")
    return name


def tenant_of(name: str) -> str:
    """Give the name of the tenant that a room or booking belongs to; a tenant's own name stays as it is."""
    parts = name.split("/", 2)
    if len(parts) < 2 or parts[0] != "tenants":
        raise ValueError(f"not the name of anything in a tenant: {name!r}")
    return tenant(parts[1])


def _checked(kind: str, value: str) -> str:
    # "-" would match the pattern, but stands for "all" where a room's id is expected.
    if value == _WILDCARD or not _ID.fullmatch(value):
        raise ValueError(f"{kind} id must be 1 to 63 of A-Z a-z 0-9 . _ ~ - and not '-' alone, got {value!r}")
    return value


def _parsed(name: str, pattern: str) -> list[str]:
    wanted, given = pattern.split("/"), name.split("/")
    if len(wanted) != len(given):
        raise ValueError(f"expected {pattern}, got {name!r}")
    ids = []
    for want, have in zip(wanted, given, strict=True):
        if want.startswith("{"):
            ids.append(_checked(want.strip("{}"), have))
        elif want != have:
            raise ValueError(f"expected {pattern}, got {name!r}")
    return ids
