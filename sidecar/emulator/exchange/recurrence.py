"""Which days a series falls on: six patterns, three ranges, pure date arithmetic.

Clock times and time zones are the series' business (`series.py`); here a recurrence is a set of days. A day that a month
does not have (31 April, 29 February) falls on the month's last day, as Outlook does it.

Source: Graph "recurrencePattern resource type" and "recurrenceRange resource type" pages; the last-day rule is MS-OXOCAL's.
"""

import calendar
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from enum import Enum
from functools import lru_cache
from typing import assert_never

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
INDEXES = ("first", "second", "third", "fourth", "last")
_LAST_DAY = date(4500, 8, 31)  # Exchange knows no later day; so a series without end has one, too


class PatternKind(Enum):
    """The six patterns, by their wire names."""

    DAILY = "daily"
    WEEKLY = "weekly"
    ABSOLUTE_MONTHLY = "absoluteMonthly"
    RELATIVE_MONTHLY = "relativeMonthly"
    ABSOLUTE_YEARLY = "absoluteYearly"
    RELATIVE_YEARLY = "relativeYearly"


class RangeKind(Enum):
    """The three ranges, by their wire names."""

    END_DATE = "endDate"
    NO_END = "noEnd"
    NUMBERED = "numbered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """A pattern and a range; fields a pattern does not use keep their wire defaults."""

    kind: PatternKind
    interval: int
    range_kind: RangeKind
    start: date
    zone: str
    days: tuple[int, ...] = ()
    day_of_month: int = 0
    month: int = 0
    index: int = 0
    first_day: int = 6
    end: date | None = None
    count: int = 0
    clock: tuple[time, time] | None = None
    """Start and end by the clock, where the clocks skip them on the first day, so that its times do not tell them."""

    def dates(self, first: date, last: date) -> Iterator[date]:
        """Give the series' days from `first` to `last`, both included, ascending; `noEnd` is expanded no further."""
        if self.range_kind is RangeKind.NUMBERED:
            found = _numbered_dates(self)
            yield from found[bisect_left(found, first) : bisect_right(found, last)]
            return
        end = min(last, self.end or _LAST_DAY)
        for day in self._from_period(self._period_before(first)):
            if day > end:
                return
            if day >= first:
                yield day

    def first_date(self) -> date | None:
        """Give the first day of the series; None if the range ends before any."""
        return next(iter(self.dates(self.start, min(_LAST_DAY, self.start + timedelta(days=366 * 100)))), None)

    def last_date(self) -> date | None:
        """Give the last day the series can reach; None if it has no end."""
        if self.range_kind is RangeKind.NUMBERED:
            return _numbered_dates(self)[-1]
        return self.end if self.range_kind is RangeKind.END_DATE else None

    def has(self, day: date) -> bool:
        """Tell whether the pattern puts an occurrence on `day`."""
        return next(self.dates(day, day), None) is not None

    def _from_period(self, period: int) -> Iterator[date]:
        while True:
            try:
                days = self._period_dates(period)
            except (OverflowError, ValueError):  # past the year 9999
                return
            for day in days:
                if day > _LAST_DAY:
                    return
                if day >= self.start:
                    yield day
            period += 1

    def _period_before(self, day: date) -> int:
        """Give a period that starts no later than `day`, so that expansion can begin there."""
        if day <= self.start:
            return 0
        match self.kind:
            case PatternKind.DAILY:
                passed = (day - self.start).days
            case PatternKind.WEEKLY:
                passed = (day - self.start).days // 7
            case PatternKind.ABSOLUTE_MONTHLY | PatternKind.RELATIVE_MONTHLY:
                passed = (day.year - self.start.year) * 12 + day.month - self.start.month
            case PatternKind.ABSOLUTE_YEARLY | PatternKind.RELATIVE_YEARLY:
                passed = day.year - self.start.year
            case _:
                assert_never(self.kind)
        return max(0, passed // self.interval - 1)

    def _period_dates(self, period: int) -> list[date]:
        step = period * self.interval
        match self.kind:
            case PatternKind.DAILY:
                return [self.start + timedelta(days=step)]
            case PatternKind.WEEKLY:
                week = self.start - timedelta(days=(self.start.weekday() - self.first_day) % 7) + timedelta(weeks=step)
                return [week + timedelta(days=offset) for offset in sorted((d - self.first_day) % 7 for d in self.days)]
            case PatternKind.ABSOLUTE_MONTHLY | PatternKind.RELATIVE_MONTHLY:
                years, month = divmod(self.start.month - 1 + step, 12)
                return [self._day_in(self.start.year + years, month + 1)]
            case PatternKind.ABSOLUTE_YEARLY | PatternKind.RELATIVE_YEARLY:
                return [self._day_in(self.start.year + step, self.month)]
            case _:
                assert_never(self.kind)

    def _day_in(self, year: int, month: int) -> date:
        month_days = calendar.monthrange(year, month)[1]
        if self.kind in (PatternKind.ABSOLUTE_MONTHLY, PatternKind.ABSOLUTE_YEARLY):
            return date(year, month, min(self.day_of_month, month_days))
        hits = [day for n in range(1, month_days + 1) if (day := date(year, month, n)).weekday() in self.days]
        return hits[-1] if self.index == INDEXES.index("last") else hits[self.index]


@lru_cache(maxsize=4096)
def _numbered_dates(recurrence: Recurrence) -> tuple[date, ...]:
    days = recurrence._from_period(0)
    return tuple(day for day, _ in zip(days, range(recurrence.count), strict=False))
