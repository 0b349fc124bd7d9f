"""Recurrence rules: RFC 5545's own examples, each taken exactly or refused with a reason."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.recurrence import LAST_INDEX, Pattern, PatternKind, Recurrence
from sidecar.writes.rrule import RuleRefused, format_rule, occurrence_dates, parse_rule

_NEW_YORK = ZoneInfo("America/New_York")
_SHOWN_COUNT = 40

_TAKEN = [
    ("19970902T090000", "FREQ=DAILY;COUNT=10"),
    ("19970902T090000", "FREQ=DAILY;UNTIL=19971224T000000Z"),
    ("19970902T090000", "FREQ=DAILY;INTERVAL=2"),
    ("19970902T090000", "FREQ=DAILY;INTERVAL=10;COUNT=5"),
    ("19970902T090000", "FREQ=WEEKLY;COUNT=10"),
    ("19970902T090000", "FREQ=WEEKLY;UNTIL=19971224T000000Z"),
    ("19970902T090000", "FREQ=WEEKLY;INTERVAL=2;WKST=SU"),
    ("19970902T090000", "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH"),
    ("19970902T090000", "FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH"),
    ("19970901T090000", "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR"),
    ("19970902T090000", "FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH"),
    ("19970905T090000", "FREQ=MONTHLY;COUNT=10;BYDAY=1FR"),
    ("19970905T090000", "FREQ=MONTHLY;UNTIL=19971224T000000Z;BYDAY=1FR"),
    ("19970904T090000", "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3"),
    ("19970805T090000", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO"),
    ("19970805T090000", "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU"),
    ("19970902T090000", "FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR"),
    ("20260131T090000", "FREQ=MONTHLY;BYMONTHDAY=-1"),
    ("20260130T090000", "FREQ=MONTHLY;BYMONTHDAY=28,29,30;BYSETPOS=-1;COUNT=3"),
    ("20240229T090000", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1"),
    ("20260430T090000", "FREQ=YEARLY"),
    ("20260430T090000", "rrule:freq=yearly;byday=-1th;bymonth=4"),
]
_REFUSED = [
    ("19980101T090000", "FREQ=YEARLY;UNTIL=20000131T140000Z;BYMONTH=1;BYDAY=SU,MO,TU,WE,TH,FR,SA", "once in a month"),
    ("19980101T090000", "FREQ=DAILY;UNTIL=20000131T140000Z;BYMONTH=1", "all year"),
    ("19970907T090000", "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU", "once in a month"),
    ("19970922T090000", "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", "fourth and last"),
    ("19970928T090000", "FREQ=MONTHLY;BYMONTHDAY=-3", "BYMONTHDAY=-1"),
    ("19970902T090000", "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15", "one day of the month"),
    ("19970930T090000", "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1", "one day of the month"),
    ("19970910T090000", "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15", "one day of the month"),
    ("19970902T090000", "FREQ=MONTHLY;INTERVAL=2;BYDAY=TU", "needs its number"),
    ("19970610T090000", "FREQ=YEARLY;COUNT=10;BYMONTH=6,7", "one month"),
    ("19970310T090000", "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3", "one month"),
    ("19970101T090000", "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200", "BYYEARDAY"),
    ("19970519T090000", "FREQ=YEARLY;BYDAY=20MO", "BYMONTH"),
    ("19970512T090000", "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "BYWEEKNO"),
    ("19970313T090000", "FREQ=YEARLY;BYMONTH=3;BYDAY=TH", "needs its number"),
    ("19970605T090000", "FREQ=YEARLY;BYDAY=TH;BYMONTH=6,7,8", "one month"),
    ("19980213T090000", "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "both BYDAY and BYMONTHDAY"),
    ("19970913T090000", "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13", "both BYDAY and BYMONTHDAY"),
    ("19961105T090000", "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8", "both BYDAY"),
    ("19970929T090000", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2", "fourth and last"),
    ("19970902T090000", "FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T170000Z", "daily"),
    ("19970902T090000", "FREQ=MINUTELY;INTERVAL=15;COUNT=6", "daily"),
    ("19970902T090000", "FREQ=DAILY;BYHOUR=9,10;BYMINUTE=0,20,40", "BYHOUR"),
    ("20070115T090000", "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5", "one day of the month"),
    ("20260131T090000", "FREQ=MONTHLY", "BYMONTHDAY=-1"),
    ("20240229T090000", "FREQ=YEARLY", "BYMONTHDAY=28,29;BYSETPOS=-1"),
    ("20260105T090000", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "never has this day"),
    ("20260105T090000", "FREQ=WEEKLY;BYDAY=TU", "a day of the rule"),
    ("20260105T090000", "FREQ=DAILY;UNTIL=20260104", "before its first"),
    ("20260105T090000", "FREQ=DAILY;UNTIL=20260105T135959Z", "before its first"),
    ("20260105T090000", "FREQ=DAILY;COUNT=5;UNTIL=20270101", "not both"),
    ("20260105T090000", "FREQ=DAILY;COUNT=1000", "1 to 999"),
    ("20260105T090000", "FREQ=DAILY;COUNT=0", "1 to 999"),
    ("20260105T090000", "FREQ=DAILY;COUNT=" + "9" * 400, "1 to 999"),
    ("20260105T090000", "FREQ=DAILY;INTERVAL=-1", "1 to 999"),
    ("20260105T090000", "FREQ=DAILY;INTERVAL=\u0661", "ASCII"),
    ("20260105T090000", "FREQ=DAILY;FREQ=WEEKLY", "twice"),
    ("20260105T090000", "INTERVAL=2", "needs FREQ"),
    ("20260105T090000", "FREQ=OFTEN", "one of DAILY"),
    ("20260105T090000", "FREQ=DAILY;X-NAME=1", "unknown"),
    ("20260105T090000", "FREQ=DAILY;", "NAME=VALUE"),
    ("20260105T090000", "FREQ=DAILY\r\nEXDATE:20260106T090000Z", "EXDATE"),
    ("20260105T090000", "FREQ=WEEKLY;BYDAY=1MO", "only in monthly"),
    ("20260105T090000", "FREQ=WEEKLY;BYDAY=XX", "BYDAY holds"),
    ("20260105T090000", "FREQ=WEEKLY;WKST=XX", "WKST"),
    ("20260105T090000", "FREQ=DAILY;UNTIL=tomorrow", "UNTIL is"),
    ("20260105T090000", "FREQ=DAILY;UNTIL=00010101", "before its first"),
    ("20260105T090000", "FREQ=DAILY;UNTIL=00010101T000000Z", "UNTIL is|before its first"),
    ("20260105T090000", "FREQ=DAILY;" + "INTERVAL=1;" * 60, "500 characters"),
    ("20260105T090000", "", "NAME=VALUE"),
]


def _starts(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=_NEW_YORK)


@pytest.mark.parametrize(("start", "rule"), _TAKEN)
def test_rule_that_exchange_knows_means_the_days_of_rfc_5545(start: str, rule: str) -> None:
    """What is taken takes place on exactly the days that another reader of the RFC finds."""
    start_at = _starts(start)
    recurrence = parse_rule(rule, start_at=start_at, zone=_NEW_YORK)
    ours = list(islice(occurrence_dates(recurrence, start_at.date()), _SHOWN_COUNT))
    theirs = [found.date() for found in islice(rrulestr(rule.upper(), dtstart=start_at), _SHOWN_COUNT)]
    assert ours == theirs


@pytest.mark.parametrize(("start", "rule", "sentence"), _REFUSED)
def test_rule_that_exchange_does_not_know_is_refused_with_the_reason(start: str, rule: str, sentence: str) -> None:
    """A series on other days than asked for is worse than none."""
    with pytest.raises(RuleRefused, match=sentence):
        parse_rule(rule, start_at=_starts(start), zone=_NEW_YORK)


def test_until_in_utc_ends_on_the_day_of_the_series_zone() -> None:
    """An instant late in the day in UTC is earlier in the day elsewhere."""
    start_at = datetime(2026, 1, 5, 23, 0, tzinfo=ZoneInfo("Asia/Tokyo"))
    zone = ZoneInfo("Asia/Tokyo")
    included = parse_rule("FREQ=DAILY;UNTIL=20260109T140000Z", start_at=start_at, zone=zone)
    missed = parse_rule("FREQ=DAILY;UNTIL=20260109T135959Z", start_at=start_at, zone=zone)
    assert (included.until, missed.until) == (date(2026, 1, 9), date(2026, 1, 8))


def test_start_in_another_zone_is_taken_in_the_series_zone() -> None:
    """Monday evening in UTC is Tuesday in Tokyo, and the rule is about Tokyo."""
    start_at = datetime(2026, 1, 5, 20, 0, tzinfo=UTC)
    recurrence = parse_rule("FREQ=WEEKLY", start_at=start_at, zone=ZoneInfo("Asia/Tokyo"))
    assert recurrence.pattern.weekdays == (1,)


def _patterns() -> st.SearchStrategy[Pattern]:
    interval = st.integers(1, 5)
    weekdays = st.frozensets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days)))
    index = st.sampled_from([1, 2, 3, 4, LAST_INDEX])
    day, month = st.integers(1, 31), st.integers(1, 12)
    return st.one_of(
        st.builds(Pattern, kind=st.just(PatternKind.DAILY), interval=interval),
        st.builds(Pattern, kind=st.just(PatternKind.WEEKLY), weekdays=weekdays),
        st.builds(
            Pattern,
            kind=st.just(PatternKind.WEEKLY),
            interval=st.integers(2, 5),
            weekdays=weekdays,
            first_weekday=st.integers(0, 6),
        ),
        st.builds(Pattern, kind=st.just(PatternKind.ABSOLUTE_MONTHLY), interval=interval, day_of_month=day),
        st.builds(
            Pattern, kind=st.just(PatternKind.RELATIVE_MONTHLY), interval=interval, weekdays=weekdays, index=index
        ),
        st.builds(
            Pattern,
            kind=st.just(PatternKind.RELATIVE_YEARLY),
            interval=interval,
            weekdays=weekdays,
            index=index,
            month=month,
        ),
        st.tuples(month, day, interval).map(
            lambda drawn: Pattern(
                kind=PatternKind.ABSOLUTE_YEARLY,
                month=drawn[0],
                day_of_month=min(drawn[1], (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[drawn[0] - 1]),
                interval=drawn[2],
            )
        ),
    )


@given(pattern=_patterns(), start=st.dates(date(2020, 1, 1), date(2030, 12, 31)), count=st.integers(1, 999))
def test_pattern_written_as_a_rule_is_read_back_as_itself(pattern: Pattern, start: date, count: int) -> None:
    """Whatever Exchange can say has a rule, and that rule says nothing else."""
    recurrence = Recurrence(pattern=pattern, count=count)
    # A day before the first occurrence is no start of the series; RFC 5545 would count it.
    first = next(occurrence_dates(recurrence, start))
    start_at = datetime.combine(first, datetime.min.time(), _NEW_YORK) + timedelta(hours=9)
    assert parse_rule(format_rule(recurrence), start_at=start_at, zone=_NEW_YORK) == recurrence
