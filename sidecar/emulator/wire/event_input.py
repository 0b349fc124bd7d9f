"""What a caller writes into an event: reading the bodies of POST and PATCH.

A PATCH merges at the top level and replaces complex values whole, as Graph does. Properties Graph has and the emulator does
not play are refused with 501; properties Graph does not have, with 400.

Source: Graph "Create event" and "Update event" pages.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from typing import Any

import msgspec

from sidecar.emulator.bounds import ITEM_DAYS_MAX, is_too_long
from sidecar.emulator.errors import GraphError, NotEmulated, invalid_request, zone_not_supported
from sidecar.emulator.exchange.event import Attendee, Content, Extras, JsonObject, Person, Times, TimeSlot
from sidecar.emulator.exchange.recurrence import Recurrence
from sidecar.emulator.wire.extended import merge_extras
from sidecar.emulator.wire.location_input import parse_location
from sidecar.emulator.wire.members import (
    read_choice,
    read_flag,
    read_list,
    read_members,
    read_object,
    read_text,
    read_whole_number,
    wrong_type,
)
from sidecar.emulator.wire.recurrence_wire import InvalidRecurrence, parse_recurrence
from sidecar.emulator.zones import UnknownZone, as_instant, parse_local, resolve_zone

_ATTENDEES_MAX = 500
CHOICES = {
    "showAs": ("free", "tentative", "busy", "oof", "workingElsewhere", "unknown"),
    "sensitivity": ("normal", "personal", "private", "confidential"),
    "importance": ("low", "normal", "high"),
    "onlineMeetingProvider": ("unknown", "skypeForBusiness", "skypeForConsumer", "teamsForBusiness"),
}
_ATTENDEE_KINDS = ("required", "optional", "resource")
_BODY_TYPES = ("text", "html")
_NOT_PLAYED = frozenset({"attachments", "calendar", "exceptionOccurrences", "instances"})
_EXTRAS = frozenset({"singleValueExtendedProperties", "multiValueExtendedProperties", "extensions"})
_READ_ONLY = frozenset(
    """id changeKey createdDateTime lastModifiedDateTime iCalUId bodyPreview hasAttachments isCancelled isOrganizer isDraft
    organizer originalStart responseStatus seriesMasterId type webLink onlineMeetingUrl onlineMeeting cancelledOccurrences
    originalStartTimeZone originalEndTimeZone""".split()  # noqa: SIM905  (a list of names is easier to read)
)
_ELSEWHERE = frozenset(  # read by functions of their own
    {"start", "end", "isAllDay", "recurrence", "transactionId", "isOnlineMeeting", "onlineMeetingProvider"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInput:
    """What one body asks for, over what was there before."""

    content: Content
    times: Times | None
    recurrence: Recurrence | None
    transaction_id: str | None
    extras: Extras
    wants_online_meeting: bool
    given: frozenset[str]
    """The properties the body named."""


def parse_json(body: bytes) -> JsonObject:
    """Read a JSON object.

    Raises:
        GraphError: 400 for anything else.
    """
    try:
        found = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # RecursionError: nested too deeply
        found = None
    if not isinstance(found, dict):
        raise GraphError(
            400, "BadRequest", "Unable to read JSON request payload. Please ensure Content-Type header is set."
        )
    return found


def parse_event(
    wire: JsonObject,
    *,
    base: Content,
    base_times: Times | None,
    lookup: Callable[[str], Person | None],
    base_extras: Extras | None = None,
) -> EventInput:
    """Read the body of a POST (no `base_times`) or a PATCH.

    Args:
        wire: the JSON object.
        base: what the event holds now; new ones start from an empty one.
        base_times: when the event is now; None demands start and end in the body.
        lookup: finds who an address belongs or belonged to, for attendees given without a name.
        base_extras: what is kept beside the event now; None for a new one.
    Raises:
        GraphError: 400 for what Graph refuses, 501 for what the emulator does not play.
    """
    given = {name for name in wire if not name.startswith("@")}
    times = _parse_times(wire, base_times)
    recurrence = None
    if wire.get("recurrence") is not None:
        recurrence = _parse_recurrence(wire["recurrence"], times)
    if base_extras is not None and wire.get("extensions") is not None:
        raise NotEmulated("extensions in the body of a change; they have paths of their own")
    content = _parse_content(wire, given - _READ_ONLY, base, lookup)
    read_flag(wire, "isAllDay")
    read_choice(wire, "onlineMeetingProvider", CHOICES["onlineMeetingProvider"])
    return EventInput(
        content=content,
        times=times,
        recurrence=recurrence,
        transaction_id=read_text(wire, "transactionId"),
        extras=merge_extras(wire, base_extras or Extras()),
        wants_online_meeting=read_flag(wire, "isOnlineMeeting")
        and wire.get("onlineMeetingProvider") in (None, "unknown", "teamsForBusiness"),
        given=frozenset(given),
    )


def _parse_content(wire: JsonObject, names: set[str], base: Content, lookup: Callable[[str], Person | None]) -> Content:
    changes: dict[str, Any] = {}  # Any: field values of several types
    for name in sorted(names - _ELSEWHERE - _EXTRAS):
        value = wire[name]
        if name in _SIMPLE:
            changes[_SIMPLE[name]] = _checked(wire, name)
        elif name == "body":
            changes["body"], changes["body_type"] = _body(value)
        elif name == "location" and "locations" not in names:
            changes["locations"] = () if value is None or value == {} else (parse_location(value),)
        elif name == "locations":
            changes["locations"] = tuple(parse_location(one) for one in read_list(wire, name))
        elif name == "attendees":
            changes["attendees"] = _attendees(read_list(wire, name), base, lookup)
        elif name in _NOT_PLAYED and value:
            raise NotEmulated(f"the event property {name!r}")
        elif name not in ("location", *_NOT_PLAYED):
            message = f"The property '{name}' does not exist on type 'microsoft.graph.event'."
            raise GraphError(400, "RequestBodyRead", message)
    return replace(base, **changes)


_SIMPLE = {
    "subject": "subject",
    "showAs": "show_as",
    "sensitivity": "sensitivity",
    "importance": "importance",
    "categories": "categories",
    "reminderMinutesBeforeStart": "reminder_minutes",
    "isReminderOn": "is_reminder_on",
    "responseRequested": "response_requested",
    "allowNewTimeProposals": "allow_new_time_proposals",
    "hideAttendees": "hide_attendees",
}


def _body(wire: Any) -> tuple[str, str]:  # Any: JSON from the wire
    if wire is None:
        return Content().body, Content().body_type
    body = read_members(wire, "itemBody", ("content", "contentType"))
    return read_text(body, "content") or "", read_choice(body, "contentType", _BODY_TYPES) or "text"


def _checked(wire: JsonObject, name: str) -> object:
    default = getattr(Content(), _SIMPLE[name])
    if name in CHOICES:
        return read_choice(wire, name, CHOICES[name]) or default
    if isinstance(default, bool):
        return default if wire[name] is None else read_flag(wire, name)
    if name == "categories":
        found = read_list(wire, name)
        if not all(isinstance(one, str) for one in found):
            raise wrong_type(name)
        return tuple(dict.fromkeys(found))
    if name == "reminderMinutesBeforeStart":
        return default if wire[name] is None else read_whole_number(wire, name)
    return read_text(wire, name) or ""


def _attendees(
    wire: list[Any],  # Any: JSON from the wire
    base: Content,
    lookup: Callable[[str], Person | None],
) -> tuple[Attendee, ...]:
    if len(wire) > _ATTENDEES_MAX:
        raise GraphError(400, "ErrorInvalidAttendees", f"An event can have at most {_ATTENDEES_MAX} attendees.")

    def key(address: str) -> str:
        known = lookup(address)  # under a former address it is still the same attendee
        return (known.address if known else address).lower()

    before = {key(one.person.address): one for one in base.attendees}
    found = []
    for one in wire:
        members = read_members(one, "attendee", ("emailAddress", "type", "status", "proposedNewTime"))
        email = read_object(members, "emailAddress", "emailAddress", ("address", "name"))
        address = read_text(email, "address") or ""
        if "@" not in address:
            raise GraphError(400, "ErrorInvalidRecipients", "At least one recipient is not valid.")
        known, old = lookup(address), before.get(key(address))
        person = Person(
            name=read_text(email, "name") or (known.name if known else address),
            address=known.address if known and known.address.lower() == address.lower() else address,
        )
        kind = read_choice(members, "type", _ATTENDEE_KINDS) or "required"
        found.append(replace(old, person=person, kind=kind) if old else Attendee(person=person, kind=kind))
    return tuple(found)


def _parse_times(wire: JsonObject, base: Times | None) -> Times | None:
    if base is None and (wire.get("start") is None or wire.get("end") is None):
        raise GraphError(400, "ErrorPropertyValidationFailure", "The event needs a start and an end.")
    is_all_day = (
        read_flag(wire, "isAllDay") if wire.get("isAllDay") is not None else base is not None and base.is_all_day
    )
    if not ({"start", "end", "isAllDay"} & set(wire)):
        return base
    start_at, start_zone = (base.start_at, base.start_zone) if base else (None, "UTC")
    end_at, end_zone = (base.end_at, base.end_zone) if base else (None, "UTC")
    if wire.get("start") is not None:
        start_at, start_zone = parse_moment(wire["start"], is_all_day=is_all_day)
    if wire.get("end") is not None:
        end_at, end_zone = parse_moment(wire["end"], is_all_day=is_all_day)
    if start_at is None or end_at is None:
        raise invalid_request("The event needs a start and an end.")
    if end_at < start_at:
        raise GraphError(
            400, "ErrorCalendarEndDateIsEarlierThanStartDate", "End Date should be later than or equal to Start Date."
        )
    check_length(start_at, end_at)
    if is_all_day:
        _check_all_day((start_at, start_zone), (end_at, end_zone))
    return Times(start_at=start_at, end_at=end_at, start_zone=start_zone, end_zone=end_zone, is_all_day=is_all_day)


def _check_all_day(start: tuple[datetime, str], end: tuple[datetime, str]) -> None:
    midnight = time()
    if start[0] == end[0] or (start[0].time(), end[0].time()) != (midnight, midnight):
        raise invalid_request(
            "The Event.Start property for an all-day event needs to be set to midnight; its duration must be full days."
        )
    if start[1].lower() != end[1].lower():
        raise invalid_request("The start and the end of an all-day event must be in the same time zone.")


def parse_moment(wire: Any, *, is_all_day: bool) -> tuple[datetime, str]:  # Any: JSON from the wire
    """Read a dateTimeTimeZone: the instant in UTC and the zone's name. An all-day moment keeps its date, in UTC.

    Raises:
        GraphError: 400 for a text that is no time, a time that no calendar holds, or a zone nobody knows.
    """
    members = read_members({} if wire is None else wire, "dateTimeTimeZone", ("dateTime", "timeZone"))
    zone_name = read_text(members, "timeZone") or "UTC"
    try:
        local = parse_local(read_text(members, "dateTime") or "")
        zone = resolve_zone(zone_name)
        return as_instant(local.replace(tzinfo=UTC) if is_all_day else local, zone), zone_name
    except UnknownZone:
        raise zone_not_supported(zone_name) from None
    except ValueError:
        raise GraphError(400, "ErrorPropertyValidationFailure", "A date or time is not valid.") from None


def check_length(start_at: datetime, end_at: datetime) -> None:
    """Check that an item does not last longer than a calendar takes.

    Raises:
        GraphError: 400.
    """
    if is_too_long(start_at, end_at):
        message = f"The duration of a calendar item can be at most {ITEM_DAYS_MAX} days."
        raise GraphError(400, "ErrorCalendarDurationIsTooLong", message)


def parse_slot(wire: Any) -> TimeSlot:  # Any: JSON from the wire
    """Read a timeSlot.

    Raises:
        GraphError: 400 for a missing or odd part, or an end before the start.
    """
    slot = read_members(wire, "timeSlot", ("start", "end"))
    start_at, start_zone = parse_moment(slot.get("start"), is_all_day=False)
    end_at, end_zone = parse_moment(slot.get("end"), is_all_day=False)
    if end_at < start_at:
        raise GraphError(400, "ErrorInvalidParameter", "The proposed end is before the proposed start.")
    return TimeSlot(start_at=start_at, end_at=end_at, start_zone=start_zone, end_zone=end_zone)


def _parse_recurrence(wire: Any, times: Times | None) -> Recurrence:  # Any: JSON from the wire
    assert times is not None
    try:
        recurrence = parse_recurrence(wire, default_zone=times.start_zone)
    except InvalidRecurrence as error:
        raise GraphError(400, "ErrorPropertyValidationFailure", str(error)) from None
    zone = UTC if times.is_all_day else resolve_zone(recurrence.zone)
    if times.start_at.astimezone(zone).date() != recurrence.start:
        raise GraphError(
            400, "ErrorPropertyValidationFailure", "The recurrence's startDate must be the date of the event's start."
        )
    return recurrence
