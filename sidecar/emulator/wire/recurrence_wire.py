"""Graph's recurrence JSON, in and out. The rules of expansion are in `recurrence.py`.

Source: Graph "patternedRecurrence resource type" page and the v1.0 metadata.
"""

from datetime import date
from typing import Any

from sidecar.emulator.bounds import check_year
from sidecar.emulator.exchange.recurrence import INDEXES, WEEKDAYS, PatternKind, RangeKind, Recurrence
from sidecar.emulator.zones import UnknownZone, resolve_zone

_OCCURRENCES_MAX = 999  # what Exchange accepts in a numbered range
_PATTERN_FIELDS = frozenset({"type", "interval", "daysOfWeek", "dayOfMonth", "month", "index", "firstDayOfWeek"})
_RANGE_FIELDS = frozenset({"type", "startDate", "endDate", "numberOfOccurrences", "recurrenceTimeZone"})


class InvalidRecurrence(ValueError):
    """A recurrence that Graph would refuse; the text says why."""


def parse_recurrence(wire: Any, *, default_zone: str) -> Recurrence:  # Any: JSON from the wire
    """Read Graph's recurrence.

    Args:
        wire: the `recurrence` value of an event.
        default_zone: the zone of the event's start, used when the range names none.
    Raises:
        InvalidRecurrence: a part is missing, unknown or out of bounds.
    """
    if (
        not isinstance(wire, dict)
        or not isinstance(wire.get("pattern"), dict)
        or not isinstance(wire.get("range"), dict)
    ):
        raise InvalidRecurrence("A recurrence needs a pattern and a range.")
    pattern, reach = wire["pattern"], wire["range"]
    unknown = (set(pattern) - _PATTERN_FIELDS) | (set(reach) - _RANGE_FIELDS)
    if unknown:
        raise InvalidRecurrence(f"Unknown recurrence properties: {', '.join(sorted(unknown))}.")
    try:
        recurrence = _build(pattern, reach, default_zone)
        check_year(recurrence.start)
        resolve_zone(recurrence.zone)
    except UnknownZone as error:
        raise InvalidRecurrence(f"The following TimeZone value is not supported: {error}.") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidRecurrence(f"The recurrence is not valid: {error}.") from None
    _check(recurrence)
    return recurrence


def _build(pattern: dict[str, Any], reach: dict[str, Any], default_zone: str) -> Recurrence:  # Any: JSON from the wire
    range_kind = RangeKind(reach["type"])
    return Recurrence(
        kind=PatternKind(pattern["type"]),
        interval=int(pattern.get("interval", 1)),
        days=tuple(sorted({WEEKDAYS.index(name.lower()) for name in pattern.get("daysOfWeek") or ()})),
        day_of_month=int(pattern.get("dayOfMonth") or 0),
        month=int(pattern.get("month") or 0),
        index=INDEXES.index(pattern.get("index") or "first"),
        first_day=WEEKDAYS.index((pattern.get("firstDayOfWeek") or "sunday").lower()),
        range_kind=range_kind,
        start=date.fromisoformat(reach["startDate"]),
        end=date.fromisoformat(reach["endDate"]) if range_kind is RangeKind.END_DATE else None,
        count=int(reach.get("numberOfOccurrences") or 0) if range_kind is RangeKind.NUMBERED else 0,
        zone=reach.get("recurrenceTimeZone") or default_zone,
    )


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
