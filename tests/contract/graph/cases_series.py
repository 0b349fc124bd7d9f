"""Sections 6.2 and 6.6 on series: six patterns, three ranges, exceptions, removed occurrences, changes of clocks.

The expected days are written out, not worked out: a second piece of code could be wrong in the same way. What a calculation
can check over many series is in `tests/property/test_series_expansion.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.contract.graph.case import Table
from tests.contract.graph.subject import Json, Subject, assert_refused, starts

TABLE = Table()
_DAILY = {"type": "daily"}
# The empty day is Monday, 5 March 2035.
_PATTERNS: dict[str, tuple[Json, list[str]]] = {
    "daily": ({"type": "daily", "interval": 2}, ["2035-03-05", "2035-03-07", "2035-03-09", "2035-03-11"]),
    "weekly": (
        {"type": "weekly", "interval": 2, "daysOfWeek": ["monday", "thursday"], "firstDayOfWeek": "sunday"},
        ["2035-03-05", "2035-03-08", "2035-03-19", "2035-03-22"],
    ),
    "absolute-monthly": (
        {"type": "absoluteMonthly", "interval": 3, "dayOfMonth": 5},
        ["2035-03-05", "2035-06-05", "2035-09-05", "2035-12-05"],
    ),
    "relative-monthly": (
        {"type": "relativeMonthly", "interval": 1, "daysOfWeek": ["monday"], "index": "first"},
        ["2035-03-05", "2035-04-02", "2035-05-07", "2035-06-04"],
    ),
    "absolute-yearly": (
        {"type": "absoluteYearly", "interval": 1, "dayOfMonth": 5, "month": 3},
        ["2035-03-05", "2036-03-05", "2037-03-05", "2038-03-05"],
    ),
    "relative-yearly": (
        {"type": "relativeYearly", "interval": 1, "daysOfWeek": ["monday"], "index": "first", "month": 3},
        ["2035-03-05", "2036-03-03", "2037-03-02", "2038-03-01"],
    ),
}


def _reach(kind: str, days: list[str]) -> Json:
    reaches: dict[str, Json] = {
        "numbered": {"type": "numbered", "numberOfOccurrences": 4},
        "endDate": {"type": "endDate", "endDate": days[-1]},
        "noEnd": {"type": "noEnd"},
    }
    return reaches[kind]


@TABLE.case(
    "6.2",
    "each pattern with each range falls on its days",
    rows={
        f"{name}-{kind}": (pattern, kind, days)
        for name, (pattern, days) in _PATTERNS.items()
        for kind in ("numbered", "endDate", "noEnd")
    },
)
async def pattern(s: Subject, pattern: Json, kind: str, days: list[str]) -> None:
    master = await s.create_series(pattern, _reach(kind, days))
    assert master["type"] == "seriesMaster"
    window = {"startDateTime": "2035-01-01T00:00:00Z", "endDateTime": f"{days[-1]}T23:00:00Z"}
    shown = await s.pages(f"/users/{s.mailbox}/calendarView", {**window, "$orderby": "start/dateTime"})
    assert starts(shown) == [f"{day}T09:00" for day in days]
    window["endDateTime"] = "2039-12-01T00:00:00Z"
    whole = await s.pages(f"/users/{s.mailbox}/calendarView", {**window, "$top": "1000"})
    assert (len(whole) > 4) is (kind == "noEnd")


@TABLE.case(
    "6.2",
    "a recurrence is told as it was written",
    rows={name: (pattern,) for name, (pattern, _) in _PATTERNS.items()},
)
async def recurrence_is_told(s: Subject, pattern: Json) -> None:
    told = (await s.create_series(pattern))["recurrence"]
    assert {name: told["pattern"][name] for name in pattern} == pattern
    assert (told["range"]["type"], told["range"]["numberOfOccurrences"]) == ("numbered", 4)
    assert told["range"]["startDate"] == "2035-03-05"
    assert told["range"]["recurrenceTimeZone"] == "UTC"


@TABLE.case(
    "6.2",
    "the last of a month's weekdays, and the week's first day, count",
    rows={
        "last-friday": (
            {"type": "relativeMonthly", "daysOfWeek": ["friday"], "index": "last"},
            ["2035-03-30", "2035-04-27", "2035-05-25", "2035-06-29"],
        ),
        "last-weekday": (
            {
                "type": "relativeMonthly",
                "daysOfWeek": ["monday", "tuesday", "wednesday", "thursday", "friday"],
                "index": "last",
            },
            ["2035-03-30", "2035-04-30", "2035-05-31", "2035-06-29"],
        ),
        "second-tuesday": (
            {"type": "relativeMonthly", "daysOfWeek": ["tuesday"], "index": "second"},
            ["2035-03-13", "2035-04-10", "2035-05-08", "2035-06-12"],
        ),
        "weeks-from-sunday": (
            {"type": "weekly", "interval": 2, "daysOfWeek": ["sunday", "monday"], "firstDayOfWeek": "sunday"},
            ["2035-03-05", "2035-03-18", "2035-03-19", "2035-04-01"],
        ),
        "weeks-from-monday": (
            {"type": "weekly", "interval": 2, "daysOfWeek": ["sunday", "monday"], "firstDayOfWeek": "monday"},
            ["2035-03-05", "2035-03-11", "2035-03-19", "2035-03-25"],
        ),
        "month-end": (
            {"type": "absoluteMonthly", "dayOfMonth": 31},
            ["2035-03-31", "2035-04-30", "2035-05-31", "2035-06-30"],
        ),
    },
)
async def odd_days(s: Subject, pattern: Json, days: list[str]) -> None:
    await s.create_series(pattern)
    assert starts(await s.view(0, 200, orderby="start/dateTime")) == [f"{day}T09:00" for day in days]


@TABLE.case(
    "10",
    "a recurrence that cannot be is refused",
    rows={
        "no-days": ({"type": "weekly"}, {"type": "noEnd"}),
        "unknown-type": ({"type": "hourly"}, {"type": "noEnd"}),
        "unknown-day": ({"type": "weekly", "daysOfWeek": ["funday"]}, {"type": "noEnd"}),
        "no-day-of-month": ({"type": "absoluteMonthly"}, {"type": "noEnd"}),
        "interval-0": ({"type": "daily", "interval": 0}, {"type": "noEnd"}),
        "no-count": ({"type": "daily"}, {"type": "numbered"}),
        "end-before-start": ({"type": "daily"}, {"type": "endDate", "endDate": "2035-03-04"}),
        "unknown-range": ({"type": "daily"}, {"type": "forever"}),
    },
)
async def bad_recurrence(s: Subject, pattern: Json, reach: Json) -> None:
    span = {"startDate": "2035-03-05", **reach}
    body = s.body(recurrence={"pattern": {"interval": 1, **pattern}, "range": span})
    assert_refused(await s.post(body), 400)
    assert await s.view(0, 7) == []


@TABLE.case("6.2", "occurrences have ids and calendar UIDs of their own and name their master")
async def identities(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    shown = await s.view(0, 7)
    assert [one["type"] for one in shown] == ["occurrence"] * 4
    assert {one["seriesMasterId"] for one in shown} == {master["id"]}
    assert len({one["id"] for one in shown} | {master["id"]}) == 5
    assert len({one["iCalUId"] for one in shown} | {master["iCalUId"]}) == 5


@TABLE.case("6.2", "a master's times are those of its first occurrence")
async def master_times(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    first = (await s.view(0, 1))[0]
    assert (master["start"], master["end"]) == (first["start"], first["end"])
    assert master["seriesMasterId"] is None


@TABLE.case("6.2", "an occurrence is read by its own id, with its original start")
async def read_occurrence(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    second = (await s.view(0, 7))[1]
    shown = await s.get(second["id"])
    for name in ("id", "iCalUId", "start", "type", "changeKey"):
        assert shown[name] == second[name]
    assert shown["seriesMasterId"] == master["id"]
    assert shown["originalStart"][:19] == s.at(9, day=1)["dateTime"]
    assert shown["recurrence"] is None


@TABLE.case("6.2", "a moved occurrence is an exception with its old id, UID and original start")
async def moved_occurrence(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    second = (await s.view(0, 7))[1]
    moved = await s.patch(second["id"], {"start": s.at(14, day=1), "end": s.at(15, day=1)})
    assert (moved["type"], moved["seriesMasterId"]) == ("exception", master["id"])
    assert (moved["id"], moved["iCalUId"]) == (second["id"], second["iCalUId"])
    assert moved["originalStart"][:19] == s.at(9, day=1)["dateTime"]
    hours = [one[11:13] for one in starts(await s.view(0, 7, orderby="start/dateTime"))]
    assert hours == ["09", "14", "09", "09"]


@TABLE.case("6.6", "a changed occurrence leaves the others alone")
async def edited_occurrence(s: Subject) -> None:
    await s.create_series(_DAILY)
    second = (await s.view(0, 7))[1]
    edited = await s.patch(second["id"], {"subject": "Another"})
    assert (edited["type"], edited["subject"]) == ("exception", "Another")
    shown = await s.view(0, 7, orderby="start/dateTime")
    assert [one["subject"] for one in shown] == ["Contract", "Another", "Contract", "Contract"]
    assert [one["type"] for one in shown] == ["occurrence", "exception", "occurrence", "occurrence"]


@TABLE.case("6.6", "an exception can be changed again")
async def edited_twice(s: Subject) -> None:
    await s.create_series(_DAILY)
    second = (await s.view(0, 7))[1]
    first = await s.patch(second["id"], {"subject": "Another"})
    again = await s.patch(second["id"], {"start": s.at(14, day=1), "end": s.at(15, day=1)})
    assert (again["subject"], again["id"]) == ("Another", first["id"])
    assert again["changeKey"] != first["changeKey"]


@TABLE.case("6.6", "an occurrence moved to or over its neighbour is refused", rows={"onto": (2, 9), "over": (3, 12)})
async def crossing(s: Subject, day: int, hour: int) -> None:
    await s.create_series(_DAILY)
    second = (await s.view(0, 7))[1]
    times = {"start": s.at(hour, day=day), "end": s.at(hour + 1, day=day)}
    assert_refused(await s.graph.patch(s.url(second["id"]), json=times), 400, "ErrorOccurrenceCrossingBoundary")


@TABLE.case("6.6", "a deleted occurrence is gone, the others stay")
async def deleted_occurrence(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    shown = await s.view(0, 7, orderby="start/dateTime")
    await s.delete(shown[1]["id"])
    assert_refused(await s.graph.get(s.url(shown[1]["id"])), 404, "ErrorItemNotFound")
    left = await s.view(0, 7, orderby="start/dateTime")
    assert [one["id"] for one in left] == [shown[0]["id"], shown[2]["id"], shown[3]["id"]]
    assert (await s.get(master["id"]))["changeKey"] != master["changeKey"]


@TABLE.case("6.2", "the master names its cancelled occurrences when asked for them")
async def cancelled_occurrences(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    assert (await s.get(master["id"], select="cancelledOccurrences"))["cancelledOccurrences"] == []
    await s.delete((await s.view(0, 7))[1]["id"])
    told = await s.get(master["id"], select="subject,cancelledOccurrences")
    assert told["cancelledOccurrences"] == [f"OID.{master['id']}.2035-03-06"]
    assert "cancelledOccurrences" not in await s.get(master["id"])


@TABLE.case("6.2", "instances tell exceptions and leave out what was deleted")
async def instances(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    shown = await s.view(0, 7, orderby="start/dateTime")
    await s.delete(shown[1]["id"])
    await s.patch(shown[2]["id"], {"subject": "Another"})
    told = await s.pages(f"{s.url(master['id'])}/instances", s.window(0, 7))
    assert {(one["id"], one["type"]) for one in told} == {
        (shown[0]["id"], "occurrence"),
        (shown[2]["id"], "exception"),
        (shown[3]["id"], "occurrence"),
    }


@TABLE.case("6.6", "a change of the master reaches its occurrences")
async def changed_master(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    before = await s.view(0, 7, orderby="start/dateTime")
    changed = await s.patch(master["id"], {"subject": "Changed"})
    after = await s.view(0, 7, orderby="start/dateTime")
    assert changed["type"] == "seriesMaster"
    assert [one["subject"] for one in after] == ["Changed"] * 4
    assert [one["id"] for one in after] == [one["id"] for one in before]
    assert not {one["changeKey"] for one in after} & {one["changeKey"] for one in before}


@TABLE.case("6.6", "a moved master moves its occurrences")
async def moved_master(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    await s.patch(master["id"], {"start": s.at(11), "end": s.at(12)})
    assert [one[11:13] for one in starts(await s.view(0, 7))] == ["11"] * 4


@TABLE.case("6.6", "a new recurrence replaces the old one whole")
async def changed_recurrence(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    weekly = {
        "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": ["monday"]},
        "range": {"type": "numbered", "numberOfOccurrences": 2, "startDate": "2035-03-05"},
    }
    changed = await s.patch(master["id"], {"recurrence": weekly})
    assert (changed["id"], changed["recurrence"]["pattern"]["type"]) == (master["id"], "weekly")
    assert starts(await s.view(0, 30, orderby="start/dateTime")) == ["2035-03-05T09:00", "2035-03-12T09:00"]


@TABLE.case("6.6", "an event becomes a series when it is given a recurrence")
async def single_becomes_series(s: Subject) -> None:
    made = await s.create()
    daily = {
        "pattern": {"type": "daily", "interval": 1},
        "range": {"type": "numbered", "numberOfOccurrences": 3, "startDate": "2035-03-05"},
    }
    changed = await s.patch(made["id"], {"recurrence": daily})
    assert (changed["id"], changed["type"]) == (made["id"], "seriesMaster")
    assert len(await s.view(0, 7)) == 3


@TABLE.case("6.6", "a deleted master takes its occurrences and exceptions with it")
async def deleted_master(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    shown = await s.view(0, 7)
    await s.patch(shown[1]["id"], {"subject": "Another"})
    await s.delete(master["id"])
    assert await s.view(0, 7) == []
    for one in shown:
        assert (await s.graph.get(s.url(one["id"]))).status_code == 404


_CLOCKS: dict[str, tuple[str, str, list[str]]] = {
    # Sunday, 25 March 2035: clocks in Berlin go forward; Sunday, 11 March: clocks in the US do.
    "berlin-windows": ("W. Europe Standard Time", "2035-03-19", ["08:00", "07:00"]),
    "berlin-iana": ("Europe/Berlin", "2035-03-19", ["08:00", "07:00"]),
    "pacific": ("Pacific Standard Time", "2035-03-05", ["17:00", "16:00"]),
    "kolkata": ("India Standard Time", "2035-03-19", ["03:30", "03:30"]),
    "berlin-back": ("Europe/Berlin", "2035-10-22", ["07:00", "08:00"]),
}


@TABLE.case("13", "a series keeps its clock time in its own zone when the clocks change", rows=_CLOCKS)
async def clock_change(s: Subject, zone: str, first: str, in_utc: list[str]) -> None:
    recurrence = {
        "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": ["monday"]},
        "range": {"type": "numbered", "numberOfOccurrences": 2, "startDate": first, "recurrenceTimeZone": zone},
    }
    times: dict[str, Any] = {
        name: {"dateTime": f"{first}T{hour}:00:00", "timeZone": zone} for name, hour in (("start", "09"), ("end", "10"))
    }
    made = await s.create(recurrence=recurrence, **times)
    assert made["recurrence"]["range"]["recurrenceTimeZone"] == zone
    shown = await s.view(0, 300, orderby="start/dateTime")
    assert [one[11:16] for one in starts(shown)] == in_utc
    local = await s.view(0, 300, orderby="start/dateTime", prefer=f'outlook.timezone="{zone}"')
    assert [one[11:16] for one in starts(local)] == ["09:00", "09:00"]
    for one in shown:
        assert _minutes(one) == 60


@TABLE.case("6.3", "an all-day series floats across a change of clocks")
async def all_day_series(s: Subject) -> None:
    times: dict[str, Any] = {
        name: {"dateTime": f"2035-03-{day}T00:00:00", "timeZone": "Europe/Berlin"}
        for name, day in (("start", 24), ("end", 25))
    }
    reach = {"type": "numbered", "numberOfOccurrences": 3, "startDate": "2035-03-24"}
    await s.create_series(_DAILY, reach, isAllDay=True, **times)
    shown = await s.view(0, 40, orderby="start/dateTime", prefer='outlook.timezone="America/New_York"')
    assert starts(shown) == [f"2035-03-{day}T00:00" for day in (24, 25, 26)]


@TABLE.case("6.6", "an occurrence cannot be given a recurrence")
async def recurrence_of_an_occurrence(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    second = (await s.view(0, 7))[1]
    answer = await s.graph.patch(s.url(second["id"]), json={"recurrence": master["recurrence"]})
    assert_refused(answer, 400)


def _minutes(event: Json) -> float:
    first, last = (datetime.fromisoformat(event[name]["dateTime"][:19]) for name in ("start", "end"))
    return (last - first).total_seconds() / 60
