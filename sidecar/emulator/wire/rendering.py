"""Events as Graph writes them.

An event is written once for a shape (zone, id format, body format, properties) and the bytes are kept on it until it
changes or newer ones need the room; benchmarks read the same calendars over and over.

Source: Graph "event resource type" page and the v1.0 metadata for names; order and texts as clients have recorded them.
"""

import html
import re
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from sidecar.emulator.exchange.event import Attendee, Content, Event, EventKind, JsonObject, Person, etag, event_id
from sidecar.emulator.exchange.series import times_on
from sidecar.emulator.wire.expand import Expansion
from sidecar.emulator.wire.extended import extension_key, render_extension
from sidecar.emulator.wire.options import Shape
from sidecar.emulator.wire.recurrence_wire import render_recurrence
from sidecar.emulator.zones import UNSET_TIME, format_instant, format_local, format_seconds

_PREVIEW_CHARS = 255
_KEPT_BYTES_MAX = 128 * 1024 * 1024  # some 60,000 events
_TAG = re.compile(r"<[^<>]+>")
_NO_CHARACTER = re.compile("&#[0-9]{8,};?")  # a number that no character has, and that would take long to read
_REDUCED = frozenset({"id", "type", "seriesMasterId", "start", "end"})


def render_event(event: Event, shape: Shape) -> bytes:
    """Write an event as JSON, from the cache if its last reader asked the same way."""
    if event.rendered_for is not shape and event.rendered_for != shape:
        _KEPT.keep(event, msgspec.json.encode(event_json(event, shape)), shape)
    return event.rendered


class _Kept:
    """Which events keep their bytes; the oldest give theirs up when all of them together take too much."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._bytes_count = 0

    def keep(self, event: Event, rendered: bytes, shape: Shape) -> None:
        self._bytes_count += len(rendered) - len(event.rendered)
        event.rendered, event.rendered_for = rendered, shape
        self._events.append(event)
        while self._bytes_count > _KEPT_BYTES_MAX:
            oldest = self._events.popleft()
            self._bytes_count -= len(oldest.rendered)
            oldest.rendered, oldest.rendered_for = b"", None


_KEPT = _Kept()  # one for the process: what it bounds is the process's memory


def event_json(event: Event, shape: Shape) -> JsonObject:
    """Build an event's JSON; `id` and the etag are there whatever was selected."""
    full: JsonObject = {"@odata.etag": etag(event), "id": event_id(event, immutable=shape.immutable)}
    full.update(_head(event, shape))
    full.update(_body(event, shape))
    full.update(_places_and_people(event, shape))
    full["start"] = _moment(event, event.times.start_at, shape)
    full["end"] = _moment(event, event.times.end_at, shape)
    if shape.select is not None:
        full = _selected(event, shape, full, shape.select)
    for expansion in shape.expand:
        full.update(_expanded(event, shape, expansion))
    return full


def _selected(event: Event, shape: Shape, full: JsonObject, select: frozenset[str]) -> JsonObject:
    if "cancelledOccurrences" in select:
        full["cancelledOccurrences"] = _cancelled_occurrences(event, shape)
    if "isOnlineMeeting" not in select:  # users have seen the one come only with the other
        select -= {"onlineMeeting"}
    return {name: value for name, value in full.items() if name in select or name == "id" or name[0] == "@"}


def _expanded(event: Event, shape: Shape, expansion: Expansion) -> JsonObject:
    """Give an expanded property; extended properties that match nothing leave no trace."""
    extras, wants = event.extras, expansion.wants or (lambda _: True)
    found: list[Any]  # Any: JSON
    match expansion.name:
        case "singleValueExtendedProperties":
            found = [{"id": key, "value": value} for key, value in extras.single_values if wants(key)]
        case "multiValueExtendedProperties":
            found = [{"id": key, "value": list(values)} for key, values in extras.multi_values if wants(key)]
        case "extensions":
            found = [render_extension(one) for one in extras.extensions if wants(extension_key(one["extensionName"]))]
            return {expansion.name: found}
        case _:
            exceptions = [] if event.series is None else [one for _, one in sorted(event.series.exceptions.items())]
            inner = replace(shape, select=expansion.select, expand=())
            return {expansion.name: [event_json(one, inner) for one in exceptions]}
    return {expansion.name: found} if found else {}


def reduced_json(event: Event, shape: Shape) -> JsonObject:
    """Build what a delta answer tells of an occurrence: identity and times, nothing else."""
    full = event_json(event, shape)
    return {"@odata.type": "#microsoft.graph.event"} | {
        name: value for name, value in full.items() if name in _REDUCED or name == "@odata.etag"
    }


def _head(event: Event, shape: Shape) -> JsonObject:
    content, times = event.content, event.times
    master_id = None if event.master is None else event_id(event.master, immutable=shape.immutable)
    head: JsonObject = {
        "createdDateTime": format_instant(event.created_at),
        "lastModifiedDateTime": format_instant(event.modified_at),
        "changeKey": event.change_key,
        "categories": content.categories,
        "transactionId": event.transaction_id,
        "originalStartTimeZone": times.start_zone,
        "originalEndTimeZone": times.end_zone,
        "iCalUId": event.ical_uid,
        "reminderMinutesBeforeStart": content.reminder_minutes,
        "isReminderOn": content.is_reminder_on,
        "hasAttachments": False,
        "subject": content.subject,
        "importance": content.importance,
        "sensitivity": content.sensitivity,
        "isAllDay": times.is_all_day,
        "isCancelled": event.is_cancelled,
        "isOrganizer": event.is_organizer,
        "responseRequested": content.response_requested,
        "seriesMasterId": master_id,
        "showAs": content.show_as,
        "type": event.kind.value,
        "webLink": f"https://outlook.office365.com/owa/?itemid={quote(event_id(event, immutable=shape.immutable))}"
        "&exvsurl=1&path=/calendar/item",
        "onlineMeetingUrl": None,
        "isOnlineMeeting": bool(content.join_url),
        "onlineMeetingProvider": "teamsForBusiness" if content.join_url else "unknown",
        "allowNewTimeProposals": content.allow_new_time_proposals,
        "isDraft": False,
        "hideAttendees": content.hide_attendees,
        "onlineMeeting": {"joinUrl": content.join_url} if content.join_url else None,
        "recurrence": None if event.series is None else render_recurrence(event.series.recurrence),
        "responseStatus": _status(event.response, event.responded_at),
    }
    original_at = original_start_at(event)
    if original_at is not None:
        head["originalStart"] = format_seconds(original_at)
    return head


def _body(event: Event, shape: Shape) -> JsonObject:
    content, plain = event.content, plain_body(event.content)
    shown = plain
    if not shape.text_body:
        shown = content.body if content.body_type == "html" else html.escape(plain, quote=False)
    return {
        "bodyPreview": plain[:_PREVIEW_CHARS],
        "body": {"contentType": "text" if shape.text_body else "html", "content": shown},
    }


def plain_body(content: Content) -> str:
    """Give an item's body as plain text."""
    if content.body_type == "text":
        return content.body
    return html.unescape(_NO_CHARACTER.sub("\ufffd", _TAG.sub("", content.body))).strip()


def _places_and_people(event: Event, shape: Shape) -> JsonObject:
    return {
        "location": {"address": {}, "coordinates": {}, **event.content.location},
        "locations": event.content.locations,
        "attendees": [_attendee(one, shape) for one in _shown_attendees(event)],
        "organizer": _person(event.organizer),
    }


def _moment(event: Event, at: datetime, shape: Shape) -> dict[str, str]:
    zone = UTC if event.times.is_all_day else shape.tz  # all-day items float: the same date in every zone
    return {"dateTime": format_local(at, zone), "timeZone": shape.zone}


def original_start_at(event: Event) -> datetime | None:
    """Give when an occurrence was before anybody moved it; None for single items and masters."""
    if event.master is None or event.day is None:
        return None
    return times_on(event.master, event.day).start_at


def _shown_attendees(event: Event) -> tuple[Attendee, ...]:
    """Give the attendees whom the owner of this copy may see."""
    attendees, owner = event.content.attendees, (event.master or event).owner.lower()
    if event.is_organizer or not event.content.hide_attendees or not owner:
        return attendees
    return tuple(one for one in attendees if one.person.address.lower() == owner)


def _cancelled_occurrences(event: Event, shape: Shape) -> list[str]:
    if event.kind is not EventKind.MASTER or event.series is None:
        return []
    master_id = event_id(event, immutable=shape.immutable)
    return [f"OID.{master_id}.{day.isoformat()}" for day in sorted(event.series.removed)]


def _attendee(attendee: Attendee, shape: Shape) -> JsonObject:
    status = _status(attendee.response, attendee.responded_at)
    written: JsonObject = {"type": attendee.kind, "status": status, **_person(attendee.person)}
    if attendee.proposed is not None:
        sides = (("start", attendee.proposed.start_at), ("end", attendee.proposed.end_at))
        written["proposedNewTime"] = {
            name: {"dateTime": format_local(at, shape.tz), "timeZone": shape.zone} for name, at in sides
        }
    return written


def _person(person: Person) -> dict[str, Any]:  # Any: nested JSON
    return {"emailAddress": {"name": person.name, "address": person.address}}


def _status(response: str, at: datetime | None) -> dict[str, str]:
    return {"response": response, "time": UNSET_TIME if at is None else format_instant(at)}
