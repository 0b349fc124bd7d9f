"""What a control call says of a mailbox, checked; whatever is wrong is refused with a sentence."""

from datetime import time
from typing import Any, TypeVar

import msgspec

from sidecar.emulator.control.app import ControlError
from sidecar.emulator.control.tenant_types import HoursBody
from sidecar.emulator.exchange.mailbox import MailboxPurpose, MailboxState
from sidecar.emulator.exchange.people import UserProfile, WorkingHours
from sidecar.emulator.exchange.places import PlaceDetails
from sidecar.emulator.exchange.room_settings import INVISIBLE_SETTINGS, RoomSettings
from sidecar.emulator.zones import UnknownZone, resolve_zone

StructT = TypeVar("StructT", bound=msgspec.Struct)
Changes = dict[str, Any]  # Any: JSON, checked here
_RESOURCES = (MailboxPurpose.ROOM, MailboxPurpose.EQUIPMENT)


def parse_settings(changes: Changes, base: RoomSettings) -> RoomSettings:
    """Read room settings over those that were there."""
    unseen = sorted(INVISIBLE_SETTINGS & set(changes))
    if unseen:
        raise ControlError(f"The emulator does not play {', '.join(unseen)}: nothing in Graph's calendars shows them.")
    return _merged(changes, base, "room settings")


def parse_details(changes: Changes, base: PlaceDetails) -> PlaceDetails:
    """Read a place's properties over those that were there."""
    return _merged(changes, base, "properties of a place")


def parse_profile(changes: Changes, base: UserProfile) -> UserProfile:
    """Read a user's properties over those that were there."""
    return _merged(changes, base, "properties of a user")


def parse_state(name: str) -> MailboxState:
    """Read where a mailbox is."""
    try:
        return MailboxState(name)
    except ValueError:
        names = ", ".join(state.value for state in MailboxState)
        raise ControlError(f"A mailbox's kind is one of {names}, not {name}.") from None


def parse_purpose(name: str | None, *, is_resource: bool) -> MailboxPurpose:
    """Read what a mailbox is for; by default a room or a user."""
    if name is None:
        return MailboxPurpose.ROOM if is_resource else MailboxPurpose.USER
    known = [one for one in MailboxPurpose if (one in _RESOURCES) == is_resource]
    for one in known:
        if one.value == name:
            return one
    raise ControlError(f"The purpose is one of {', '.join(one.value for one in known)} here, not {name}.")


def parse_zone(name: str) -> str:
    """Read the name of a time zone."""
    try:
        resolve_zone(name)
    except UnknownZone:
        raise ControlError(f"There is no time zone {name}.") from None
    return name


def parse_hours(body: HoursBody) -> WorkingHours:
    """Read working hours."""
    try:
        start, end = time.fromisoformat(body.start), time.fromisoformat(body.end)
    except ValueError:
        raise ControlError("Working hours start and end with a time of day, as 08:00.") from None
    if start.tzinfo or end.tzinfo or end <= start:
        raise ControlError("Working hours must end after they start, and name no offset.")
    zone = None if body.time_zone is None else parse_zone(body.time_zone)
    return WorkingHours(days=tuple(body.days), start=start, end=end, zone=zone)


def _merged(changes: Changes, base: StructT, what: str) -> StructT:
    try:
        return msgspec.convert({**msgspec.to_builtins(base), **changes}, type(base))
    except msgspec.ValidationError as error:
        raise ControlError(f"These are not {what}: {error}.") from None
