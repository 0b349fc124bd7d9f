"""When a series takes place: the patterns that Exchange knows, as values.

Only what Exchange can express can be said here; what RFC 5545 can say beyond that is refused where a rule is read. Days that
a month lacks fall on its last day: that is Outlook's rule for its monthly and yearly patterns, and `rrule` writes it so.

Source: Microsoft Learn "recurrencePattern resource type" and "recurrenceRange resource type"; MS-OXOCAL 2.2.1.44.1.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date

WEEKDAYS_COUNT = 7
COUNT_MAX = 999
"""Occurrences that Exchange takes in a series with a number of them."""
INTERVAL_MAX = 999
LAST_INDEX = -1


class PatternKind(enum.Enum):
    """How a pattern finds its days."""

    DAILY = "daily"
    WEEKLY = "weekly"
    ABSOLUTE_MONTHLY = "absoluteMonthly"
    RELATIVE_MONTHLY = "relativeMonthly"
    ABSOLUTE_YEARLY = "absoluteYearly"
    RELATIVE_YEARLY = "relativeYearly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """On which days a series takes place.

    Attributes:
        interval: every so many days, weeks, months or years; 1 to 999.
        weekdays: 0 is Monday; of weekly and relative patterns, ascending.
        index: which of the month's days that are one of `weekdays`: 1 to 4, or -1 for the last; of relative patterns.
        day_of_month: 1 to 31, in shorter months the last day; of absolute patterns.
        month: 1 to 12; of yearly patterns.
        first_weekday: on which day a week begins, which matters for every second week and so on.
    """

    kind: PatternKind
    interval: int = 1
    weekdays: tuple[int, ...] = ()
    index: int = 0
    day_of_month: int = 0
    month: int = 0
    first_weekday: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """A pattern and how long it goes on: until a day (included), for a number of occurrences, or without an end."""

    pattern: Pattern
    until: date | None = None
    count: int | None = None

    @property
    def is_endless(self) -> bool:
        """Whether it never ends."""
        return self.until is None and self.count is None
