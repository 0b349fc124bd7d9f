"""Series as Graph tells them: the master with what became of single days, and what a copy of an event needs. Pure.

Source: Microsoft Learn "Get event" (exceptionOccurrences, cancelledOccurrences), "recurrencePattern resource type" and
"recurrenceRange resource type" pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from sidecar.graph.events import iana_zone, window_of
from sidecar.graph.wire import (
    ANNOTATIONS_ID,
    EVENT_FIELDS,
    MALFORMED,
    Call,
    GraphEvent,
    Malformed,
    Subject,
    WireStruct,
    repair,
    segment,
)
from sidecar.graph.wire_writes import INDEXES, WEEKDAYS
from sidecar.model.ids import EventId
from sidecar.model.recurrence import COUNT_MAX, INTERVAL_MAX, Pattern, PatternKind, Recurrence
from sidecar.model.room import Room
from sidecar.model.series import Series, SeriesException, Timing

_COPIED = (
    "subject,body,importance,sensitivity,showAs,locations,attendees,categories,reminderMinutesBeforeStart,isReminderOn,"
    "allowNewTimeProposals,hideAttendees,responseRequested,isOnlineMeeting"
)
"""What an event says, apart from when: all of it that may be written."""
_ANNOTATIONS = "$expand=" + quote(f"singleValueExtendedProperties($filter=id eq '{ANNOTATIONS_ID}')", safe="$()=',")
_EXCEPTION_FIELDS = "id,type,originalStart,start,end,isAllDay,seriesMasterId"
_OCCURRENCE_PREFIX = "OID."
_DAY_CHARS = len("2026-10-06")


class GraphPattern(WireStruct, frozen=True):
    """On which days."""

    type: str
    interval: int = 1
    month: int = 0
    day_of_month: int = 0
    days_of_week: list[str] | None = None
    first_day_of_week: str | None = None
    index: str | None = None


class GraphRange(WireStruct, frozen=True):
    """For how long."""

    type: str
    start_date: str
    end_date: str | None = None
    recurrence_time_zone: str | None = None
    number_of_occurrences: int = 0


class GraphRecurrence(WireStruct, frozen=True):
    """A pattern and a range."""

    pattern: GraphPattern
    range: GraphRange


class _Extras(WireStruct, frozen=True):
    recurrence: GraphRecurrence | None = None
    exception_occurrences: list[GraphEvent] | None = None
    cancelled_occurrences: list[str] | None = None


class GraphSeries(msgspec.Struct, frozen=True):
    """A master. `cancelled` None: Graph does not tell the cancelled days here."""

    event: GraphEvent
    recurrence: GraphRecurrence | None
    exceptions: list[GraphEvent]
    cancelled: list[str] | None


_EXTRAS = msgspec.json.Decoder(_Extras)
_EVENT = msgspec.json.Decoder(GraphEvent)


def series_call(mailbox: str, master_id: str, *, tells_cancelled: bool) -> Call:
    """Ask for a series.

    Args:
        tells_cancelled: this cloud's Graph knows `cancelledOccurrences`.
    """
    fields = f"{EVENT_FIELDS},recurrence{',cancelledOccurrences' if tells_cancelled else ''}"
    path = f"/users/{segment(mailbox)}/events/{segment(master_id)}?$select={fields}"
    return Call(
        method="GET",
        path=f"{path}&$expand=exceptionOccurrences($select={_EXCEPTION_FIELDS})",
        subject=Subject.EVENT,
    )


def contents_call(mailbox: str, event_id: str) -> Call:
    """Ask for what an event says, to be said again elsewhere."""
    path = f"/users/{segment(mailbox)}/events/{segment(event_id)}?$select={_COPIED}&{_ANNOTATIONS}"
    return Call(method="GET", path=path, subject=Subject.EVENT)


def parse_series(body: bytes) -> GraphSeries:
    """Read a series.

    Raises:
        Malformed: it is none, or an exception of it has not even an id.
    """
    whole = repair(body)
    try:
        event, extras = _EVENT.decode(whole), _EXTRAS.decode(whole)
    except MALFORMED as error:
        raise Malformed("not a series") from error
    return GraphSeries(event, extras.recurrence, extras.exception_occurrences or [], extras.cancelled_occurrences)


def parse_contents(body: bytes) -> dict[str, Any]:  # Any: JSON
    """Read what an event says, in the form in which it can be written.

    Raises:
        Malformed: it is no event.
    """
    try:
        told = msgspec.json.decode(repair(body))
    except MALFORMED as error:
        raise Malformed("not an event") from error
    if not isinstance(told, dict):
        raise Malformed("not an event")
    contents = {name: told[name] for name in _COPIED.split(",") if told.get(name) is not None}
    contents["attendees"] = [_invited(one) for one in _items(told, "attendees")]
    if contents.pop("isOnlineMeeting", False):
        contents |= {"isOnlineMeeting": True, "onlineMeetingProvider": "teamsForBusiness"}
    annotations = [
        {"id": ANNOTATIONS_ID, "value": one["value"]}
        for one in _items(told, "singleValueExtendedProperties")
        if isinstance(one, dict) and isinstance(one.get("value"), str)
    ]
    if annotations:
        contents["singleValueExtendedProperties"] = annotations
    return contents


def differences(contents: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    """Return what one event says differently from another, or in addition."""
    return {name: value for name, value in contents.items() if base.get(name) != value}


def to_series(told: GraphSeries, *, room: Room) -> Series | None:
    """Tell what a master means; None when its pattern, its zone or its times cannot be understood.

    Whole days float: their series keeps the dates and takes them in the room's zone.
    """
    event, recurrence = told.event, told.recurrence
    window = window_of(event, room=room)
    if recurrence is None or window is None:
        return None
    is_all_day = event.is_all_day is True
    zone_name = room.time_zone or "UTC" if is_all_day else iana_zone(recurrence.range.recurrence_time_zone)
    zone_name = zone_name or iana_zone(event.original_start_time_zone)
    rule = _to_recurrence(recurrence)
    if not zone_name or rule is None:
        return None
    timing = Timing(recurrence=rule, first=window, time_zone=zone_name, is_all_day=is_all_day)
    exceptions = []
    for one in told.exceptions:
        found = _exception(one, timing, room)
        if found is None:
            return None
        exceptions.append(found)
    try:
        cancelled = frozenset(_cancelled_day(name) for name in told.cancelled or [])
    except ValueError:
        return None
    return Series(timing=timing, exceptions=tuple(sorted(exceptions, key=lambda one: one.day)), cancelled=cancelled)


def day_of(event: GraphEvent, timing: Timing) -> date | None:
    """Return the day on which a series' pattern put an occurrence; None when Graph does not tell."""
    if event.original_start is None:
        return None
    # Those of whole days are midnights in UTC of the date itself.
    zone = UTC if timing.is_all_day else timing.zone
    instant = event.original_start
    try:
        return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(zone).date()
    except OverflowError:  # at an end of the calendar, there is no such day in this zone
        return None


def _exception(event: GraphEvent, timing: Timing, room: Room) -> SeriesException | None:
    window, day = window_of(event, room=room), day_of(event, timing)
    if window is None or day is None:
        return None
    return SeriesException(day=day, window=window, is_all_day=event.is_all_day is True, event_id=EventId(event.id))


def _cancelled_day(name: str) -> date:
    """Read `OID.<id of the master>.<day>`."""
    if not name.startswith(_OCCURRENCE_PREFIX):
        raise ValueError("not the name of an occurrence")
    return datetime.strptime(name[-_DAY_CHARS:], "%Y-%m-%d").date()


def _to_recurrence(told: GraphRecurrence) -> Recurrence | None:
    pattern, reach = told.pattern, told.range
    try:
        kind = PatternKind(pattern.type)
        weekdays = tuple(sorted({WEEKDAYS.index(day.lower()) for day in pattern.days_of_week or []}))
        by_weekday = kind in {PatternKind.WEEKLY, PatternKind.RELATIVE_MONTHLY, PatternKind.RELATIVE_YEARLY}
        is_relative = kind in {PatternKind.RELATIVE_MONTHLY, PatternKind.RELATIVE_YEARLY}
        is_absolute = kind in {PatternKind.ABSOLUTE_MONTHLY, PatternKind.ABSOLUTE_YEARLY}
        is_yearly = kind in {PatternKind.ABSOLUTE_YEARLY, PatternKind.RELATIVE_YEARLY}
        index = {name: number for number, name in INDEXES.items()}[pattern.index or "first"] if is_relative else 0
        until = date.fromisoformat(reach.end_date or "") if reach.type == "endDate" else None
    except (ValueError, KeyError):
        return None
    count = reach.number_of_occurrences if reach.type == "numbered" else None
    is_usable = (
        1 <= pattern.interval <= INTERVAL_MAX
        and (not by_weekday or bool(weekdays))
        and (not is_absolute or 1 <= pattern.day_of_month <= 31)
        and (not is_yearly or 1 <= pattern.month <= 12)
        and (count is None or 1 <= count <= COUNT_MAX)
        and reach.type in {"endDate", "noEnd", "numbered"}
    )
    if not is_usable:
        return None
    return Recurrence(
        pattern=Pattern(
            kind=kind,
            interval=pattern.interval,
            weekdays=weekdays if by_weekday else (),
            index=index,
            day_of_month=pattern.day_of_month if is_absolute else 0,
            month=pattern.month if is_yearly else 0,
            first_weekday=_first_weekday(pattern) if kind is PatternKind.WEEKLY else 0,
        ),
        until=until,
        count=count,
    )


def _first_weekday(pattern: GraphPattern) -> int:
    name = (pattern.first_day_of_week or "").lower()
    return WEEKDAYS.index(name) if name in WEEKDAYS else WEEKDAYS.index("sunday")


def _items(told: Mapping[str, Any], name: str) -> list[Any]:  # Any: JSON
    """Return a list of an event's; nothing and null are an empty one."""
    found = told.get(name) or []
    if not isinstance(found, list):
        raise Malformed("not a list")
    return found


def _invited(told: Any) -> dict[str, Any]:  # Any: JSON
    """Write somebody invited without the answer: that is theirs to give again."""
    if not isinstance(told, dict):
        raise Malformed("not an attendee")
    return {name: told[name] for name in ("type", "emailAddress") if told.get(name) is not None}
