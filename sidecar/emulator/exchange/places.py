"""What the directory of places says about rooms and room lists, and since when.

The directory is fed from the mailboxes and may lag behind them, so each room keeps the versions that are still to appear.

Source: Graph "place", "room" and "roomList" resource type pages and the v1.0 metadata; the lag of up to a day is documented
with Exchange's "Set-Place".
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

_NAMESPACE = uuid.UUID("3162f1e1-c4c0-604b-51d8-91da78989eb1")


class PhysicalAddress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A postal address."""

    street: str = ""
    city: str = ""
    state: str = ""
    postal_code: str = ""
    country_or_region: str = ""


class GeoCoordinates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Where on Earth a place is; degrees and metres."""

    latitude: float | None = None
    longitude: float | None = None
    accuracy: float | None = None
    altitude: float | None = None
    altitude_accuracy: float | None = None


class PlaceDetails(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What an administrator writes about a room with `Set-Place`."""

    nickname: str | None = None
    """None is the display name."""
    label: str = ""
    phone: str = ""
    address: PhysicalAddress | None = None
    geo_coordinates: GeoCoordinates | None = None
    capacity: int | None = None
    building: str | None = None
    floor_number: int | None = None
    floor_label: str | None = None
    is_wheel_chair_accessible: bool = False
    tags: tuple[str, ...] = ()
    audio_device_name: str | None = None
    video_device_name: str | None = None
    display_device_name: str | None = None
    parent_id: str | None = None
    teams_enabled_state: Literal["unknown", "enabled", "disabled"] = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceVersion:
    """What the directory of places says of one room from a moment on."""

    listed_at: datetime
    is_listed: bool
    address: str
    display_name: str
    booking_type: str
    details: PlaceDetails


def version_at(versions: Sequence[PlaceVersion], now: datetime) -> PlaceVersion | None:
    """Give what the directory says now; None if it does not know the room yet, or no longer."""
    seen = [one for one in versions if one.listed_at <= now]
    return seen[-1] if seen and seen[-1].is_listed else None


def place_entity_id(place_id: str, address: str) -> str:
    """Give a place's `id`, which unlike its `placeId` is not for ever: here it changes with the address."""
    return str(uuid.uuid5(_NAMESPACE, f"{place_id}:{address.lower()}")).upper()


@dataclass(slots=True, kw_only=True, eq=False)
class RoomList:
    """A distribution list of rooms, which people pick rooms from."""

    place_id: str
    address: str
    display_name: str
    listed_at: datetime
    details: PlaceDetails = field(default_factory=PlaceDetails)
    room_ids: list[str] = field(default_factory=list)
    """Object ids of its rooms' mailboxes."""
