"""The form of requests that write events, and of what they carry. Pure.

Source: Microsoft Learn "Create event", "Update event", "event: cancel", "event: decline" and "Outlook extended properties
overview" pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import msgspec

from sidecar.graph.wire import ANNOTATIONS_ID, EVENT_FIELDS, MARK_ID, WRITE_ID, Call, Subject, segment
from sidecar.model.event import EventContent, Invited
from sidecar.model.ids import EventId
from sidecar.model.recurrence import LAST_INDEX, Recurrence

WRITABLE = frozenset(
    {"time", "subject", "attendees", "is_private", "body_text", "is_online_meeting", "annotations", "recurrence"}
)
"""Parts of an event that a change may name."""

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
INDEXES = {1: "first", 2: "second", 3: "third", 4: "fourth", LAST_INDEX: "last"}
_Json = dict[str, Any]  # Any: JSON


def create_event_call(mailbox: str, event: _Json, *, transaction_id: str) -> Call:
    """Ask for an event to be made. Sending it twice makes one: Exchange knows the transaction again."""
    properties = [*event.get("singleValueExtendedProperties", ()), {"id": WRITE_ID, "value": transaction_id}]
    told = {**event, "singleValueExtendedProperties": properties, "transactionId": transaction_id}
    content = msgspec.json.encode(told)
    return Call(method="POST", path=f"/users/{segment(mailbox)}/events", subject=Subject.EVENT, content=content)


def find_event_call(mailbox: str, *, transaction_id: str) -> Call:
    """Ask for the event that a transaction made, if any."""
    condition = f"singleValueExtendedProperties/Any(ep: ep/id eq '{WRITE_ID}' and ep/value eq '{transaction_id}')"
    path = f"/users/{segment(mailbox)}/events?$filter={quote(condition)}&$select={EVENT_FIELDS}"
    return Call(method="GET", path=path, subject=Subject.MAILBOX)


def update_event_call(mailbox: str, event_id: EventId, changes: _Json, *, change_key: str = "") -> Call:
    """Ask for an event to be changed; what `changes` does not name stays.

    Args:
        change_key: of the version that is to be changed; Exchange refuses when it has another by now.
    """
    return Call(
        method="PATCH",
        path=_event_path(mailbox, event_id),
        subject=Subject.EVENT,
        if_match=f'W/"{change_key}"' if change_key else "",
        content=msgspec.json.encode(changes),
    )


def delete_event_call(mailbox: str, event_id: EventId) -> Call:
    """Ask for an event to be removed; those who were invited are told that it is cancelled."""
    return Call(method="DELETE", path=_event_path(mailbox, event_id), subject=Subject.EVENT)


def cancel_event_call(mailbox: str, event_id: EventId, *, comment: str) -> Call:
    """Ask for a meeting to be cancelled; only its organizer may. Whoever was invited gets the comment."""
    return Call(
        method="POST",
        path=f"{_event_path(mailbox, event_id)}/cancel",
        subject=Subject.EVENT,
        content=msgspec.json.encode({"Comment": comment}),
    )


def decline_event_call(mailbox: str, event_id: EventId, *, comment: str, is_told: bool) -> Call:
    """Ask for an invitation to be declined, which takes it out of the mailbox's calendar.

    Args:
        is_told: the organizer is told.
    """
    return Call(
        method="POST",
        path=f"{_event_path(mailbox, event_id)}/decline",
        subject=Subject.EVENT,
        content=msgspec.json.encode({"Comment": comment, "SendResponse": is_told}),
    )


def _event_path(mailbox: str, event_id: EventId) -> str:
    return f"/users/{segment(mailbox)}/events/{segment(event_id)}"


def event_json(
    content: EventContent, *, parts: Iterable[str] = WRITABLE, room: Mapping[str, str] | None = None
) -> _Json:
    """Write an event, or the parts of it that change.

    Args:
        parts: some of WRITABLE.
        room: address and name of the room to invite, for an event in somebody else's calendar. It is an attendee, so it goes
            with every change of the attendees.
    """
    wanted = frozenset(parts)
    told: _Json = {}
    if "time" in wanted:
        told |= _times(content)
    if "recurrence" in wanted and content.recurrence is not None:
        told["recurrence"] = recurrence_json(content.recurrence, content)
    if "subject" in wanted:
        told["subject"] = content.subject
    if "attendees" in wanted:
        told["attendees"] = [_attendee(invited) for invited in content.attendees]
        if room is not None:
            told["attendees"].append({"type": "resource", "emailAddress": dict(room)})
            told["location"] = {"displayName": room.get("name", ""), "locationUri": room["address"]}
    if "is_private" in wanted:
        told["sensitivity"] = "private" if content.is_private else "normal"
    if "body_text" in wanted:
        told["body"] = {"contentType": "text", "content": content.body_text}
    if "is_online_meeting" in wanted and content.is_online_meeting:
        told |= {"isOnlineMeeting": True, "onlineMeetingProvider": "teamsForBusiness"}
    if "annotations" in wanted:
        told["singleValueExtendedProperties"] = [{"id": ANNOTATIONS_ID, "value": annotations_text(content.annotations)}]
    return told


def mark_json(mark: str) -> _Json:
    """Write which write changes an event, beside what it changes."""
    return {"id": MARK_ID, "value": mark}


def annotations_text(annotations: Mapping[str, str]) -> str:
    """Write annotations as they stand beside an event: JSON with sorted keys."""
    return msgspec.json.encode(dict(sorted(annotations.items()))).decode()


def recurrence_json(recurrence: Recurrence, content: EventContent) -> _Json:
    """Write a recurrence; it begins on the day of the event's first occurrence, in the zone of the event."""
    pattern = recurrence.pattern
    told: _Json = {"type": pattern.kind.value, "interval": pattern.interval}
    if pattern.weekdays:
        told["daysOfWeek"] = [WEEKDAYS[day] for day in pattern.weekdays]
        told["firstDayOfWeek"] = WEEKDAYS[pattern.first_weekday]
    if pattern.index:
        told["index"] = INDEXES[pattern.index]
    if pattern.day_of_month:
        told["dayOfMonth"] = pattern.day_of_month
    if pattern.month:
        told["month"] = pattern.month
    starts_on = content.window.start_at.astimezone(ZoneInfo(content.time_zone)).date()
    reach: _Json = {"startDate": starts_on.isoformat(), "recurrenceTimeZone": content.time_zone}
    if recurrence.count is not None:
        reach |= {"type": "numbered", "numberOfOccurrences": recurrence.count}
    elif recurrence.until is not None:
        reach |= {"type": "endDate", "endDate": recurrence.until.isoformat()}
    else:
        reach["type"] = "noEnd"
    return {"pattern": told, "range": reach}


def _times(content: EventContent) -> _Json:
    window, zone = content.window, content.time_zone
    return {
        "start": _moment(window.start_at, zone),
        "end": _moment(window.end_at, zone),
        "isAllDay": content.is_all_day,
    }


def _moment(instant: datetime, zone_name: str) -> dict[str, str]:
    """Write an instant as the clock of a zone shows it; in UTC where the clock shows that time twice and means the other."""
    local = instant.astimezone(ZoneInfo(zone_name))
    if local.fold:
        local, zone_name = instant.astimezone(UTC), "UTC"
    return {"dateTime": local.strftime("%Y-%m-%dT%H:%M:%S.%f"), "timeZone": zone_name}


def _attendee(invited: Invited) -> _Json:
    address = {"address": invited.person.email}
    if invited.person.display_name:
        address["name"] = invited.person.display_name
    return {"type": "optional" if invited.is_optional else "required", "emailAddress": address}
