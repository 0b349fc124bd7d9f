"""Recurrence rules of RFC 5545, read into what Exchange can express, and written back. Pure.

A rule is read exactly or refused: a series that takes place on other days than the caller asked for is worse than none. The
names in a refusal are those of the RFC.

Source: RFC 5545 section 3.3.10.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo

from dateutil.rrule import rrulestr

from sidecar.model.recurrence import COUNT_MAX, INTERVAL_MAX, LAST_INDEX, Pattern, PatternKind, Recurrence

RULE_CHARS_MAX = 500
_PREFIX = "RRULE:"
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_FREQUENCIES = {"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}
_TOO_OFTEN = {"SECONDLY", "MINUTELY", "HOURLY"}
_PARTS = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", "BYMONTH", "BYMONTHDAY", "BYSETPOS"}
_INEXPRESSIBLE = {"BYSECOND", "BYMINUTE", "BYHOUR", "BYYEARDAY", "BYWEEKNO"}
_SAFE_DAY = 28
"""Every month has this day."""
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_YEARS_SEARCHED = 100


class RuleRefused(ValueError):
    """A rule breaks RFC 5545, or says what Exchange cannot express; the text is a sentence for the caller."""


def parse_rule(text: str, *, start_at: datetime, zone: tzinfo) -> Recurrence:
    """Read a rule.

    Args:
        text: with or without the leading "RRULE:".
        start_at: when the first occurrence starts; an instant.
        zone: in which the series keeps its time of day.
    Raises:
        RuleRefused.
    """
    parts = _split(text)
    start = start_at.astimezone(zone)
    pattern = _pattern(parts, start.date())
    recurrence = Recurrence(pattern=pattern, until=_until(parts, start), count=_count(parts))
    if recurrence.until is not None and recurrence.until < start.date():
        raise RuleRefused("the rule ends before its first occurrence")
    if next(occurrence_dates(recurrence, start.date()), None) != start.date():
        raise RuleRefused("the first occurrence must start on a day of the rule")
    return recurrence


def format_rule(recurrence: Recurrence) -> str:
    """Write a recurrence as a rule, without the leading "RRULE:"."""
    pattern = recurrence.pattern
    parts = [f"FREQ={_frequency(pattern.kind)}"]
    if pattern.interval > 1:
        parts.append(f"INTERVAL={pattern.interval}")
    if pattern.month:
        parts.append(f"BYMONTH={pattern.month}")
    if pattern.day_of_month:
        parts.append(_format_day_of_month(pattern))
    if pattern.weekdays:
        days = ",".join(_WEEKDAYS[day] for day in pattern.weekdays)
        parts.append(f"BYDAY={days}")
    if pattern.index:
        parts.append(f"BYSETPOS={pattern.index}")
    if pattern.kind is PatternKind.WEEKLY and pattern.interval > 1:
        parts.append(f"WKST={_WEEKDAYS[pattern.first_weekday]}")
    if recurrence.count is not None:
        parts.append(f"COUNT={recurrence.count}")
    if recurrence.until is not None:
        parts.append(f"UNTIL={recurrence.until:%Y%m%d}")
    return ";".join(parts)


def occurrence_dates(recurrence: Recurrence, start: date) -> Iterator[date]:
    """Give the days of a series that starts on a day, ascending; a series without an end gives those of a hundred years."""
    last = date(min(start.year + _YEARS_SEARCHED, date.max.year - 1), 1, 1)
    rule = rrulestr(format_rule(recurrence), dtstart=datetime.combine(start, datetime.min.time()), cache=False)
    for found in rule:
        if found.date() > last:
            return
        yield found.date()


def _split(text: str) -> dict[str, str]:
    if len(text) > RULE_CHARS_MAX:
        raise RuleRefused(f"a rule has at most {RULE_CHARS_MAX} characters")
    folded = text.strip().upper().removeprefix(_PREFIX)
    if not folded.isascii() or any(character in folded for character in "\r\n"):
        raise RuleRefused("a rule is one line of ASCII; EXDATE and RDATE are not taken")
    parts: dict[str, str] = {}
    for item in folded.split(";"):
        name, equals, value = item.partition("=")
        if not equals or not value:
            raise RuleRefused("a rule is made of NAME=VALUE parts, separated by semicolons")
        if name in parts:
            raise RuleRefused(f"{name} stands twice in the rule")
        if name in _INEXPRESSIBLE:
            raise RuleRefused(f"Exchange has no series with {name}")
        if name not in _PARTS:
            raise RuleRefused("a part of the rule is unknown")
        parts[name] = value
    frequency = parts.get("FREQ")
    if frequency is None:
        raise RuleRefused("a rule needs FREQ")
    if frequency in _TOO_OFTEN:
        raise RuleRefused("Exchange has no series more often than daily")
    if frequency not in _FREQUENCIES:
        raise RuleRefused("FREQ is one of DAILY, WEEKLY, MONTHLY, YEARLY")
    return parts


def _pattern(parts: dict[str, str], start: date) -> Pattern:
    interval = _number("INTERVAL", parts["INTERVAL"], least=1, most=INTERVAL_MAX) if "INTERVAL" in parts else 1
    match parts["FREQ"]:
        case "DAILY":
            return _daily(parts, interval)
        case "WEEKLY":
            return _weekly(parts, interval, start)
        case "MONTHLY":
            _refuse(parts, "BYMONTH", because="a monthly series takes place in every month")
            return _in_month(parts, interval, start, month=0)
        case _:
            months = _numbers("BYMONTH", parts["BYMONTH"], most=12) if "BYMONTH" in parts else []
            if len(months) > 1 or (months and months[0] < 1):
                raise RuleRefused("Exchange's yearly series take place in one month")
            if not months and ("BYMONTHDAY" in parts or "BYDAY" in parts):
                raise RuleRefused("a yearly rule with BYDAY or BYMONTHDAY needs BYMONTH; Exchange takes one month")
            return _in_month(parts, interval, start, month=months[0] if months else start.month)


def _daily(parts: dict[str, str], interval: int) -> Pattern:
    for name in ("BYMONTH", "BYMONTHDAY", "BYSETPOS"):
        _refuse(parts, name, because="a daily series takes place all year")
    if "BYDAY" not in parts:
        return Pattern(kind=PatternKind.DAILY, interval=interval)
    if interval != 1:
        raise RuleRefused("Exchange has no daily series with both INTERVAL and BYDAY")
    return Pattern(kind=PatternKind.WEEKLY, weekdays=_plain_weekdays(parts["BYDAY"]))


def _weekly(parts: dict[str, str], interval: int, start: date) -> Pattern:
    for name in ("BYMONTH", "BYMONTHDAY", "BYSETPOS"):
        _refuse(parts, name, because="a weekly series takes place on days of the week")
    first = parts.get("WKST", "MO")
    if first not in _WEEKDAYS:
        raise RuleRefused("WKST is one of MO, TU, WE, TH, FR, SA, SU")
    return Pattern(
        kind=PatternKind.WEEKLY,
        interval=interval,
        weekdays=_plain_weekdays(parts["BYDAY"]) if "BYDAY" in parts else (start.weekday(),),
        first_weekday=_WEEKDAYS.index(first) if interval > 1 else 0,
    )


def _in_month(parts: dict[str, str], interval: int, start: date, *, month: int) -> Pattern:
    """Read what a rule says of days within a month; `month` 0: of every month."""
    if "BYDAY" in parts:
        _refuse(parts, "BYMONTHDAY", because="Exchange has no series with both BYDAY and BYMONTHDAY")
        weekdays, index = _ordinal_weekdays(parts)
        kind = PatternKind.RELATIVE_YEARLY if month else PatternKind.RELATIVE_MONTHLY
        return Pattern(kind=kind, interval=interval, weekdays=weekdays, index=index, month=month)
    day = _day_of_month(parts, start, month)
    kind = PatternKind.ABSOLUTE_YEARLY if month else PatternKind.ABSOLUTE_MONTHLY
    return Pattern(kind=kind, interval=interval, day_of_month=day, month=month)


def _day_of_month(parts: dict[str, str], start: date, month: int) -> int:
    longest = _LONGEST[month - 1] if month else 31
    days = _numbers("BYMONTHDAY", parts["BYMONTHDAY"], most=31) if "BYMONTHDAY" in parts else [start.day]
    if "BYSETPOS" in parts:
        # The one form of it that says "this day, or the month's last": 28,29,30 with the last one taken.
        if parts["BYSETPOS"] != "-1" or days != list(range(_SAFE_DAY, days[-1] + 1)) or days[-1] <= _SAFE_DAY:
            raise RuleRefused("Exchange has no series with this BYMONTHDAY and BYSETPOS")
        return days[-1]
    if len(days) > 1:
        raise RuleRefused("Exchange's series take place on one day of the month")
    day = days[0]
    if day == LAST_INDEX:
        return longest
    if day < 1:
        raise RuleRefused("Exchange counts days from the end of a month only as BYMONTHDAY=-1")
    if day > longest:
        raise RuleRefused("the month never has this day")
    if day > (longest if month and month != 2 else _SAFE_DAY):
        raise RuleRefused(
            f"RFC 5545 leaves out months without a day {day}, Exchange takes their last day;"
            f" say BYMONTHDAY=-1, or BYMONTHDAY={_range_to(day)};BYSETPOS=-1"
        )
    return day


def _ordinal_weekdays(parts: dict[str, str]) -> tuple[tuple[int, ...], int]:
    """Read which of a month's days: "2MO", or days of the week and BYSETPOS."""
    items = [_weekday(item) for item in parts["BYDAY"].split(",")]
    ordinals = {ordinal for _, ordinal in items}
    if "BYSETPOS" in parts:
        if ordinals != {0}:
            raise RuleRefused("with BYSETPOS the days in BYDAY have no number")
        positions = _numbers("BYSETPOS", parts["BYSETPOS"], most=366)
        if len(positions) != 1:
            raise RuleRefused("Exchange's series take place once in a month")
        index = positions[0]
    elif len(items) == 1:
        index = items[0][1]
    else:
        raise RuleRefused("Exchange's series take place once in a month: one day in BYDAY, or BYSETPOS beside it")
    if index == 0:
        raise RuleRefused("a day in BYDAY needs its number, such as 2MO or -1FR; for each of them use FREQ=WEEKLY")
    if index not in {1, 2, 3, 4, LAST_INDEX}:
        raise RuleRefused("Exchange knows the first, second, third, fourth and last of a month, no other")
    return tuple(sorted({day for day, _ in items})), index


def _plain_weekdays(value: str) -> tuple[int, ...]:
    items = [_weekday(item) for item in value.split(",")]
    if any(ordinal for _, ordinal in items):
        raise RuleRefused("days in BYDAY have a number only in monthly and yearly rules")
    return tuple(sorted({day for day, _ in items}))


def _weekday(item: str) -> tuple[int, int]:
    """Read "MO" as (0, 0) and "-1FR" as (4, -1)."""
    name, ordinal = item[-2:], item[:-2]
    if name not in _WEEKDAYS:
        raise RuleRefused("BYDAY holds days such as MO or 2MO, separated by commas")
    return _WEEKDAYS.index(name), _signed("BYDAY", ordinal, most=53) if ordinal else 0


def _until(parts: dict[str, str], start: datetime) -> date | None:
    if "UNTIL" not in parts:
        return None
    if "COUNT" in parts:
        raise RuleRefused("a rule has COUNT or UNTIL, not both")
    text = parts["UNTIL"]
    try:
        if "T" not in text:
            return datetime.strptime(text, "%Y%m%d").date()
        ends_at = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).astimezone(start.tzinfo)
    except (ValueError, OverflowError):
        raise RuleRefused("UNTIL is a day as 20261231, or an instant in UTC as 20261231T235959Z") from None
    is_before = ends_at.time() < start.time()
    try:
        return ends_at.date() - timedelta(days=int(is_before))
    except OverflowError:
        raise RuleRefused("the rule ends before its first occurrence") from None


def _count(parts: dict[str, str]) -> int | None:
    if "COUNT" not in parts:
        return None
    return _number("COUNT", parts["COUNT"], least=1, most=COUNT_MAX)


def _number(name: str, text: str, *, least: int, most: int) -> int:
    if not text.isdigit() or len(text) > len(str(most)) + 3 or not least <= int(text) <= most:
        raise RuleRefused(f"{name} is a number from {least} to {most} here")
    return int(text)


def _numbers(name: str, text: str, *, most: int) -> list[int]:
    return [_signed(name, item, most=most) for item in text.split(",")]


def _signed(name: str, text: str, *, most: int) -> int:
    sign = -1 if text.startswith("-") else 1
    digits = text[1:] if text[:1] in {"-", "+"} else text
    return sign * _number(name, digits, least=1, most=most)


def _refuse(parts: dict[str, str], name: str, *, because: str) -> None:
    if name in parts:
        raise RuleRefused(f"{name} cannot be used here: {because}")


def _frequency(kind: PatternKind) -> str:
    match kind:
        case PatternKind.DAILY:
            return "DAILY"
        case PatternKind.WEEKLY:
            return "WEEKLY"
        case PatternKind.ABSOLUTE_MONTHLY | PatternKind.RELATIVE_MONTHLY:
            return "MONTHLY"
        case PatternKind.ABSOLUTE_YEARLY | PatternKind.RELATIVE_YEARLY:
            return "YEARLY"


def _format_day_of_month(pattern: Pattern) -> str:
    """Say a day so that it means the same to RFC 5545, which leaves out what Outlook moves to the last day."""
    day = pattern.day_of_month
    shortest = calendar.monthrange(2001, pattern.month)[1] if pattern.month else _SAFE_DAY
    longest = _LONGEST[pattern.month - 1] if pattern.month else 31
    if day <= shortest:
        return f"BYMONTHDAY={day}"
    return "BYMONTHDAY=-1" if day >= longest else f"BYMONTHDAY={_range_to(day)};BYSETPOS=-1"


def _range_to(day: int) -> str:
    return ",".join(str(one) for one in range(_SAFE_DAY, day + 1))
