"""Graph's recurrence JSON, in and out. The rules of expansion are in `recurrence.py`.

Source: Graph "patternedRecurrence resource type" page and the v1.0 metadata.
"""

from datetime import date
from typing import Any

from sidecar.emulator.bounds import FIRST_YEAR, LAST_YEAR
from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.recurrence import INDEXES, WEEKDAYS, PatternKind, RangeKind, Recurrence
from sidecar.emulator.wire.members import read_choice, read_list, read_members, read_text, read_whole_number
from sidecar.emulator.zones import UnknownZone, resolve_zone

_OCCURRENCES_MAX = 999  # what Exchange accepts in a numbered range
_PATTERN_FIELDS = ("type", "interval", "daysOfWeek", "dayOfMonth", "month", "index", "firstDayOfWeek")
_RANGE_FIELDS = ("type", "startDate", "endDate", "numberOfOccurrences", "recurrenceTimeZone")


class InvalidRecurrence(ValueError):
    """A recurrence that Graph would refuse; the text says why."""


def parse_recurrence(wire: Any, *, default_zone: str) -> Recurrence:  # Any: JSON from the wire
    """Read Graph's recurrence.

    Args:
        wire: the `recurrence` value of an event.
        default_zone: the zone of the event's start, used when the range names none.
    Raises:
        InvalidRecurrence: a part is missing, unknown, of another type or out of bounds.
    """
    try:
        members = read_members(wire, "patternedRecurrence", ("pattern", "range"))
        pattern = read_members(members.get("pattern"), "recurrencePattern", _PATTERN_FIELDS)
        reach = read_members(members.get("range"), "recurrenceRange", _RANGE_FIELDS)
        recurrence = _build(pattern, reach, default_zone)
        resolve_zone(recurrence.zone)
    except UnknownZone as error:
        raise InvalidRecurrence(f"The following TimeZone value is not supported: {error}.") from None
    except GraphError as error:
        raise InvalidRecurrence(error.message) from None
    _check(recurrence)
    return recurrence


def _build(pattern: JsonObject, reach: JsonObject, default_zone: str) -> Recurrence:
    kind = read_choice(pattern, "type", [one.value for one in PatternKind])
    range_kind = read_choice(reach, "type", [one.value for one in RangeKind])
    if kind is None or range_kind is None:
        raise InvalidRecurrence("A pattern and a range need a type.")
    is_numbered, is_ended = range_kind == RangeKind.NUMBERED.value, range_kind == RangeKind.END_DATE.value
    return Recurrence(
        kind=PatternKind(kind),
        interval=1 if pattern.get("interval") is None else read_whole_number(pattern, "interval"),
        days=_weekdays(pattern),
        day_of_month=_number(pattern, "dayOfMonth"),
        month=_number(pattern, "month"),
        index=INDEXES.index(read_choice(pattern, "index", INDEXES) or "first"),
        first_day=WEEKDAYS.index(read_choice(pattern, "firstDayOfWeek", WEEKDAYS) or "sunday"),
        range_kind=RangeKind(range_kind),
        start=_date(reach, "startDate"),
        end=_date(reach, "endDate") if is_ended else None,
        count=_number(reach, "numberOfOccurrences") if is_numbered else 0,
        zone=read_text(reach, "recurrenceTimeZone") or default_zone,
    )


def _weekdays(pattern: JsonObject) -> tuple[int, ...]:
    given = read_list(pattern, "daysOfWeek") if "daysOfWeek" in pattern else []
    names = [read_choice({"daysOfWeek": one}, "daysOfWeek", WEEKDAYS) for one in given]
    if None in names:
        raise InvalidRecurrence("daysOfWeek holds days of the week.")
    return tuple(sorted({WEEKDAYS.index(name) for name in names if name}))


def _number(wire: JsonObject, name: str) -> int:
    return 0 if wire.get(name) is None else read_whole_number(wire, name)


def _date(wire: JsonObject, name: str) -> date:
    text = read_text(wire, name) or ""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise InvalidRecurrence(f"{name} is not a date: '{text}'.") from None
    if found.year < FIRST_YEAR:
        raise InvalidRecurrence(f"{name} is out of range: '{text}'.")
    return found


def _check(recurrence: Recurrence) -> None:
    kind = recurrence.kind
    absolute = kind in (PatternKind.ABSOLUTE_MONTHLY, PatternKind.ABSOLUTE_YEARLY)
    yearly = kind in (PatternKind.ABSOLUTE_YEARLY, PatternKind.RELATIVE_YEARLY)
    by_weekday = kind in (PatternKind.WEEKLY, PatternKind.RELATIVE_MONTHLY, PatternKind.RELATIVE_YEARLY)
    if not 1 <= recurrence.interval <= 999:
        raise InvalidRecurrence("interval must be from 1 to 999.")
    if by_weekday and not recurrence.days:
        raise InvalidRecurrence("daysOfWeek is required by this pattern.")
    if absolute and not 1 <= recurrence.day_of_month <= 31:
        raise InvalidRecurrence("dayOfMonth must be from 1 to 31.")
    if yearly and not 1 <= recurrence.month <= 12:
        raise InvalidRecurrence("month must be from 1 to 12.")
    if recurrence.range_kind is RangeKind.NUMBERED and not 1 <= recurrence.count <= _OCCURRENCES_MAX:
        raise InvalidRecurrence(f"numberOfOccurrences must be from 1 to {_OCCURRENCES_MAX}.")
    if recurrence.start.year > LAST_YEAR:
        raise InvalidRecurrence(f"startDate is out of range: '{recurrence.start}'.")
    if recurrence.end is not None and recurrence.end < recurrence.start:
        raise InvalidRecurrence("endDate must not be before startDate.")
    if recurrence.first_date() is None:
        raise InvalidRecurrence("The recurrence has no occurrence.")


def render_recurrence(recurrence: Recurrence) -> dict[str, Any]:  # Any: JSON for the wire
    """Write a recurrence as Graph does; unused numbers are 0 and unused dates 0001-01-01."""
    return {
        "pattern": {
            "type": recurrence.kind.value,
            "interval": recurrence.interval,
            "month": recurrence.month,
            "dayOfMonth": recurrence.day_of_month,
            "daysOfWeek": [WEEKDAYS[day] for day in recurrence.days],
            "firstDayOfWeek": WEEKDAYS[recurrence.first_day],
            "index": INDEXES[recurrence.index],
        },
        "range": {
            "type": recurrence.range_kind.value,
            "startDate": recurrence.start.isoformat(),
            "endDate": recurrence.end.isoformat() if recurrence.end else "0001-01-01",
            "recurrenceTimeZone": recurrence.zone,
            "numberOfOccurrences": recurrence.count,
        },
    }
