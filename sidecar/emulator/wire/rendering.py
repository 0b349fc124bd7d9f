"""Events as Graph writes them.

An event is written once for a shape (zone, id format, body format, properties) and the bytes are kept on it until it
changes; benchmarks read the same calendars over and over.

Source: Graph "event resource type" page and the v1.0 metadata for names; order and texts as clients have recorded them.
"""

import html
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from sidecar.emulator.exchange.event import Attendee, Event, EventKind, JsonObject, Person, etag, event_id, times_on
from sidecar.emulator.wire.options import Shape
from sidecar.emulator.wire.recurrence_wire import render_recurrence
from sidecar.emulator.zones import UNSET_TIME, format_instant, format_local, format_seconds

_PREVIEW_CHARS = 255
_TAG = re.compile(r"<[^>]+>")
EVENT_PROPERTIES = frozenset(
    """id createdDateTime lastModifiedDateTime changeKey categories transactionId originalStartTimeZone
    originalEndTimeZone iCalUId reminderMinutesBeforeStart isReminderOn hasAttachments subject bodyPreview importance
    sensitivity isAllDay isCancelled isOrganizer responseRequested seriesMasterId showAs type webLink onlineMeetingUrl
    isOnlineMeeting onlineMeetingProvider allowNewTimeProposals isDraft hideAttendees onlineMeeting recurrence
    responseStatus body start end location locations attendees organizer originalStart cancelledOccurrences""".split()  # noqa: SIM905  (a list of names is easier to read)
)
_REDUCED = frozenset({"id", "type", "seriesMasterId", "start", "end"})


def render_event(event: Event, shape: Shape) -> bytes:
    """Write an event as JSON, from the cache if its last reader asked the same way."""
    if event.rendered_for is not shape and event.rendered_for != shape:
        event.rendered = msgspec.json.encode(event_json(event, shape))
        event.rendered_for = shape
    return event.rendered


def event_json(event: Event, shape: Shape) -> JsonObject:
    """Build an event's JSON; `id` and the etag are there whatever was selected."""
    full: JsonObject = {"@odata.etag": etag(event), "id": event_id(event, immutable=shape.immutable)}
    full.update(_head(event, shape))
    full.update(_body(event, shape))
    full.update(_places_and_people(event))
    full["start"] = _moment(event, event.times.start_at, shape)
    full["end"] = _moment(event, event.times.end_at, shape)
    select = shape.select
    if select is None:
        return full
    if "cancelledOccurrences" in select:
        full["cancelledOccurrences"] = _cancelled_occurrences(event, shape)
    return {name: value for name, value in full.items() if name in select or name == "id" or name[0] == "@"}


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
        "webLink": f"https://outlook.office365.com/owa/?itemid={event_id(event, immutable=shape.immutable)}"
        "&exvsurl=1&path=/calendar/item",
        "onlineMeetingUrl": None,
        "isOnlineMeeting": False,
        "onlineMeetingProvider": "unknown",
        "allowNewTimeProposals": content.allow_new_time_proposals,
        "isDraft": False,
        "hideAttendees": content.hide_attendees,
        "onlineMeeting": None,
        "recurrence": None if event.series is None else render_recurrence(event.series.recurrence),
        "responseStatus": _status(event.response, event.responded_at),
    }
    if event.master is not None and event.day is not None:
        head["originalStart"] = _original_start(event)
    return head


def _body(event: Event, shape: Shape) -> JsonObject:
    content = event.content
    plain = content.body if content.body_type == "text" else html.unescape(_TAG.sub("", content.body)).strip()
    shown = plain
    if not shape.text_body:
        shown = content.body if content.body_type == "html" else html.escape(plain, quote=False)
    return {
        "bodyPreview": plain[:_PREVIEW_CHARS],
        "body": {"contentType": "text" if shape.text_body else "html", "content": shown},
    }


def _places_and_people(event: Event) -> JsonObject:
    locations = event.content.locations
    blank = {"displayName": "", "locationType": "default", "uniqueIdType": "unknown"}
    return {
        "location": {**(locations[0] if locations else blank), "address": {}, "coordinates": {}},
        "locations": locations,
        "attendees": [_attendee(one) for one in event.content.attendees],
        "organizer": _person(event.organizer),
    }


def _moment(event: Event, at: datetime, shape: Shape) -> dict[str, str]:
    zone = UTC if event.times.is_all_day else shape.tz  # all-day items float: the same date in every zone
    return {"dateTime": format_local(at, zone), "timeZone": shape.zone}


def _original_start(event: Event) -> str:
    assert event.master is not None
    assert event.day is not None
    return format_seconds(times_on(event.master, event.day).start_at)


def _cancelled_occurrences(event: Event, shape: Shape) -> list[str]:
    if event.kind is not EventKind.MASTER or event.series is None:
        return []
    master_id = event_id(event, immutable=shape.immutable)
    return [f"OID.{master_id}.{day.isoformat()}" for day in sorted(event.series.removed)]


def _attendee(attendee: Attendee) -> JsonObject:
    status = _status(attendee.response, attendee.responded_at)
    return {"type": attendee.kind, "status": status, **_person(attendee.person)}


def _person(person: Person) -> dict[str, Any]:  # Any: nested JSON
    return {"emailAddress": {"name": person.name, "address": person.address}}


def _status(response: str, at: datetime | None) -> dict[str, str]:
    return {"response": response, "time": UNSET_TIME if at is None else format_instant(at)}
