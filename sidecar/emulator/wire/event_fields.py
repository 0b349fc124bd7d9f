"""What `$filter` and `$orderby` may say about events.

Source: Graph "event resource type", "Filter by open extension" and "singleValueLegacyExtendedProperty: get" pages, and the
v1.0 metadata for types and members.
"""

import html
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.exchange.event import Event
from sidecar.emulator.wire.event_input import CHOICES
from sidecar.emulator.wire.extended import extension_key, property_id
from sidecar.emulator.wire.filter_rules import build_question
from sidecar.emulator.wire.filter_vocabulary import Field, FieldKind, Many, Vocabulary
from sidecar.emulator.wire.properties import EVENT_PROPERTIES, NAVIGATION
from sidecar.emulator.wire.rendering import original_start_at, plain_body

_RESPONSES = ("none", "organizer", "tentativelyAccepted", "accepted", "declined", "notResponded")
_NAMES = frozenset(name.lower() for name in EVENT_PROPERTIES | NAVIGATION)
_TYPES = ("singleInstance", "occurrence", "exception", "seriesMaster")


def _text(read: Callable[[Any], str | None]) -> Field:  # Any: an event or an element of one of its collections
    return Field(kind=FieldKind.TEXT, read=read)


def _flag(read: Callable[[Event], bool]) -> Field:
    return Field(kind=FieldKind.FLAG, read=read)


def _instant(read: Callable[[Any], object]) -> Field:  # Any: as above
    return Field(kind=FieldKind.INSTANT, read=read)


def _choice(read: Callable[[Any], str], members: Iterable[str]) -> Field:  # Any: as above
    return Field(kind=FieldKind.ENUM, read=read, members=tuple(members))


def _place(name: str) -> Field:
    return _text(lambda event: event.content.location.get(name))


def _member(name: str) -> Field:
    return _text(lambda one: one.get(name))


def _body(event: Event) -> str:
    content = event.content
    return content.body if content.body_type == "html" else html.escape(content.body, quote=False)


_ATTENDEE = {
    "type": _choice(lambda one: one.kind, ("required", "optional", "resource")),
    "status/response": _choice(lambda one: one.response, _RESPONSES),
    "status/time": _instant(lambda one: one.responded_at),
    "emailaddress/address": _text(lambda one: one.person.address),
    "emailaddress/name": _text(lambda one: one.person.name),
}
_PROPERTY_KEY = Field(kind=FieldKind.KEY, read=lambda pair: pair[0], convert=property_id)
_EXTENSION_KEY = Field(kind=FieldKind.KEY, read=lambda one: extension_key(one["extensionName"]), convert=extension_key)
EVENT_VOCABULARY = Vocabulary(
    type_name="microsoft.graph.event",
    fields={
        "subject": _text(lambda event: event.content.subject),
        "bodypreview": _text(lambda event: plain_body(event.content)[:255]),
        "body/content": _text(_body),
        "icaluid": _text(lambda event: event.ical_uid),
        "changekey": _text(lambda event: event.change_key),
        "transactionid": _text(lambda event: event.transaction_id),
        "organizer/emailaddress/address": _text(lambda event: event.organizer.address),
        "organizer/emailaddress/name": _text(lambda event: event.organizer.name),
        "location/displayname": _place("displayName"),
        "location/locationuri": _place("locationUri"),
        "location/locationemailaddress": _place("locationEmailAddress"),
        "location/uniqueid": _place("uniqueId"),
        "start/datetime": Field(kind=FieldKind.WALL_TIME, read=lambda event: event.times.start_at),
        "end/datetime": Field(kind=FieldKind.WALL_TIME, read=lambda event: event.times.end_at),
        "createddatetime": _instant(lambda event: event.created_at),
        "lastmodifieddatetime": _instant(lambda event: event.modified_at),
        "originalstart": _instant(original_start_at),
        "responsestatus/time": _instant(lambda event: event.responded_at),
        "reminderminutesbeforestart": Field(kind=FieldKind.NUMBER, read=lambda event: event.content.reminder_minutes),
        "isallday": _flag(lambda event: event.times.is_all_day),
        "iscancelled": _flag(lambda event: event.is_cancelled),
        "isorganizer": _flag(lambda event: event.is_organizer),
        "isreminderon": _flag(lambda event: event.content.is_reminder_on),
        "isonlinemeeting": _flag(lambda event: bool(event.content.join_url)),
        "isdraft": _flag(lambda event: False),
        "hasattachments": _flag(lambda event: False),
        "responserequested": _flag(lambda event: event.content.response_requested),
        "allownewtimeproposals": _flag(lambda event: event.content.allow_new_time_proposals),
        "hideattendees": _flag(lambda event: event.content.hide_attendees),
        "showas": _choice(lambda event: event.content.show_as, CHOICES["showAs"]),
        "sensitivity": _choice(lambda event: event.content.sensitivity, CHOICES["sensitivity"]),
        "importance": _choice(lambda event: event.content.importance, CHOICES["importance"]),
        "type": _choice(lambda event: event.kind.value, _TYPES),
        "responsestatus/response": _choice(lambda event: event.response, _RESPONSES),
    },
    many={
        "attendees": Many(read=lambda event: event.content.attendees, fields=_ATTENDEE),
        "categories": Many(read=lambda event: event.content.categories, fields={"": _text(lambda name: name)}),
        "locations": Many(
            read=lambda event: event.content.locations,
            fields={
                name.lower(): _member(name)
                for name in ("displayName", "locationUri", "locationEmailAddress", "uniqueId")
            },
        ),
        "singlevalueextendedproperties": Many(
            read=lambda event: event.extras.single_values,
            fields={"id": _PROPERTY_KEY, "value": _text(lambda pair: pair[1])},
        ),
        "multivalueextendedproperties": Many(
            read=lambda event: event.extras.multi_values, fields={"id": _PROPERTY_KEY}
        ),
        "extensions": Many(
            read=lambda event: event.extras.extensions,
            fields={"id": _EXTENSION_KEY, "extensionname": _text(lambda one: one["extensionName"])},
        ),
    },
    others=_NAMES,
)
_SORTABLE: dict[str, Callable[[Event], Any]] = {  # Any: whatever sorts
    "start/datetime": lambda event: event.times.start_at,
    "end/datetime": lambda event: event.times.end_at,
    "subject": lambda event: event.content.subject.casefold(),
    "createddatetime": lambda event: event.created_at,
    "lastmodifieddatetime": lambda event: event.modified_at,
}


@lru_cache(maxsize=512)
def event_question(text: str) -> Callable[[Event], bool]:
    """Build the question a `$filter` on events asks.

    Raises:
        GraphError: 400 or 501, as `build_question`.
    """
    return build_question(text, EVENT_VOCABULARY)


def sort_events(events: list[Event], order: str) -> list[Event]:
    """Sort as `$orderby` says; what is equal keeps its order.

    Raises:
        GraphError: 400 for a property or direction that does not exist, 501 for one that cannot be sorted by.
    """
    found, seen = list(events), set[str]()
    for term in reversed(order.split(",")):
        name, *direction = term.split() or [""]
        if name.lower() in seen:
            raise GraphError(400, "BadRequest", f"Duplicate property named '{name}' is not supported in '$orderby'.")
        seen.add(name.lower())
        if len(direction) > 1 or (direction and direction[0].lower() not in ("asc", "desc")):
            raise GraphError(400, "BadRequest", f"Invalid orderby clause: Syntax error in '{order}'.")
        key = _SORTABLE.get(name.lower())
        if key is None:
            if name.split("/")[0].lower() in _NAMES:
                raise NotEmulated(f"$orderby on the property {name!r}")
            message = f"Could not find a property named '{name}' on type 'microsoft.graph.event'."
            raise GraphError(400, "RequestBroker--ParseUri", message)
        found.sort(key=key, reverse=bool(direction) and direction[0].lower() == "desc")
    return found
