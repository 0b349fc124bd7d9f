"""Section 5.2: calendarView and lists, their windows, pages and options."""

from __future__ import annotations

from datetime import timedelta

from tests.contract.graph.case import Table
from tests.contract.graph.subject import Subject, assert_refused, starts, window

TABLE = Table()


@TABLE.case(
    "5.2",
    "the window is half-open, and holds whatever overlaps it",
    rows={
        "ends-at-start": ((10, 11), False),
        "starts-at-end": ((8, 9), False),
        "same": ((9, 10), True),
        "inside": ((9.25, 9.75), True),
        "around": ((8, 11), True),
        "cuts-start": ((8, 9.5), True),
        "cuts-end": ((9.5, 11), True),
    },
)
async def overlap(s: Subject, hours: tuple[float, float], held: bool) -> None:
    made = await s.create()
    shown = await s.view(hours[0] / 24, hours[1] / 24)
    assert [one["id"] for one in shown] == ([made["id"]] if held else [])


@TABLE.case("5.2", "an event of several days is in each day's window")
async def long_event(s: Subject) -> None:
    made = await s.create(start=s.at(9), end=s.at(9, day=3))
    for day in range(4):
        assert [one["id"] for one in await s.view(day, day + 1)] == [made["id"]]


@TABLE.case("5.2", "a page holds ten unless asked, and links lead through all of them")
async def pages(s: Subject) -> None:
    made = [(await s.create(subject=str(at), start=s.at(at / 4), end=s.at(at / 4 + 1)))["id"] for at in range(12)]
    url = f"/users/{s.mailbox}/calendarView"
    first = (await s.graph.get(url, params=s.window())).json()
    assert len(first["value"]) == 10
    assert "skip" in first["@odata.nextLink"].lower()
    second = (await s.graph.get(first["@odata.nextLink"])).json()
    assert "@odata.nextLink" not in second
    assert {one["id"] for one in first["value"] + second["value"]} == set(made)


@TABLE.case("5.2", "$top sets the page's size", rows={"one": (1,), "two": (2,), "thousand": (1000,)})
async def top(s: Subject, size: int) -> None:
    for hour in range(3):
        await s.create(start=s.at(hour), end=s.at(hour + 1))
    params = {**s.window(), "$top": str(size)}
    page = (await s.graph.get(f"/users/{s.mailbox}/calendarView", params=params)).json()
    assert len(page["value"]) == min(size, 3)
    assert ("@odata.nextLink" in page) is (size < 3)
    assert len(await s.view(top=str(size))) == 3


@TABLE.case("5.2", "$skip leaves the first ones out")
async def skip(s: Subject) -> None:
    for hour in range(3):
        await s.create(start=s.at(hour), end=s.at(hour + 1))
    shown = await s.view(skip="1", orderby="start/dateTime")
    assert starts(shown) == [s.at(1)["dateTime"][:16], s.at(2)["dateTime"][:16]]


@TABLE.case(
    "5.2",
    "an impossible window or page is refused",
    rows={
        "no-end": ({"endDateTime": None}, ()),
        "no-start": ({"startDateTime": None}, ()),
        "no-time": ({"endDateTime": "tomorrow"}, ()),
        "backwards": ({"endDateTime": "2035-03-04T00:00:00Z"}, ()),
        "too-wide": ({"endDateTime": "2041-03-05T00:00:00Z"}, ("ErrorInvalidRequest",)),
        "top-over-1000": ({"$top": "1001"}, ("ErrorInvalidRequest",)),
        "top-not-a-number": ({"$top": "many"}, ()),
    },
)
async def impossible(s: Subject, change: dict[str, str | None], codes: tuple[str, ...]) -> None:
    params = {name: value for name, value in {**s.window(), **change}.items() if value is not None}
    assert_refused(await s.graph.get(f"/users/{s.mailbox}/calendarView", params=params), 400, *codes)


@TABLE.case("5.2", "a window may be 1,825 days wide")
async def widest(s: Subject) -> None:
    params = window(s.day, s.day + timedelta(days=1825))
    assert (await s.graph.get(f"/users/{s.mailbox}/calendarView", params=params)).status_code == 200


@TABLE.case("5.2", "a window's moments may carry an offset")
async def offset(s: Subject) -> None:
    await s.create()  # nine to ten in UTC is eleven to twelve at +02:00
    day = s.day.date().isoformat()
    for first, last, count in (("09", "11", 0), ("11", "12", 1), ("12", "13", 0)):
        params = {"startDateTime": f"{day}T{first}:00:00+02:00", "endDateTime": f"{day}T{last}:00:00+02:00"}
        assert len(await s.pages(f"/users/{s.mailbox}/calendarView", params)) == count


@TABLE.case("5.2", "without an offset the window is UTC, whatever zone is preferred")
async def no_offset(s: Subject) -> None:
    await s.create()
    day = s.day.date().isoformat()
    params = {"startDateTime": f"{day}T09:00:00", "endDateTime": f"{day}T10:00:00"}
    shown = await s.pages(f"/users/{s.mailbox}/calendarView", params, prefer='outlook.timezone="Pacific Standard Time"')
    assert starts(shown) == [f"{day}T01:00"]


@TABLE.case("5.2", "occurrences are shown complete, and the master never")
async def occurrences(s: Subject) -> None:
    master = await s.create_series({"type": "daily"}, categories=["Blue"])
    shown = await s.view(0, 7)
    assert [one["type"] for one in shown] == ["occurrence"] * 4
    for one in shown:
        assert (one["subject"], one["categories"], one["seriesMasterId"]) == ("Contract", ["Blue"], master["id"])
        assert one["organizer"] == master["organizer"]


@TABLE.case("6.2", "a list holds masters and single events, never occurrences")
async def list_of_roots(s: Subject) -> None:
    single = await s.create()
    master = await s.create_series({"type": "daily"})
    listed = {one["id"]: one["type"] for one in await s.pages(f"/users/{s.mailbox}/events")}
    assert listed == {single["id"]: "singleInstance", master["id"]: "seriesMaster"}


@TABLE.case("5.2", "$select picks properties; id and etag come with them")
async def select(s: Subject) -> None:
    await s.create()
    (shown,) = await s.view(select="subject,start")
    assert set(shown) == {"@odata.etag", "id", "subject", "start"}


@TABLE.case("10", "$select of what an event does not have is refused")
async def select_unknown(s: Subject) -> None:
    params = {**s.window(), "$select": "colour"}
    answer = await s.graph.get(f"/users/{s.mailbox}/calendarView", params=params)
    assert_refused(answer, 400, "RequestBroker--ParseUri", "BadRequest")


@TABLE.case("5.2", "$orderby sorts by start, up or down", rows={"up": ("asc",), "down": ("desc",)})
async def order(s: Subject, direction: str) -> None:
    for hour in (5, 3, 4):
        await s.create(start=s.at(hour), end=s.at(hour + 1))
    shown = starts(await s.view(orderby=f"start/dateTime {direction}"))
    assert shown == sorted(shown, reverse=direction == "desc")
    assert len(shown) == 3


@TABLE.case("5.2", "the default calendar has the same view under its own path")
async def calendar_path(s: Subject) -> None:
    made = await s.create()
    for path in ("calendar/calendarView", "calendar/events"):
        params = s.window() if path.endswith("View") else None
        assert [one["id"] for one in await s.pages(f"/users/{s.mailbox}/{path}", params)] == [made["id"]]


@TABLE.case("5.2", "a page says of what it is, and of whom")
async def context(s: Subject) -> None:
    body = (await s.graph.get(f"/users/{s.mailbox}/calendarView", params=s.window())).json()
    assert "$metadata#users('" in body["@odata.context"]
    assert body["@odata.context"].endswith("')/calendarView")
    assert body["value"] == []


@TABLE.case("6.3", "odata.maxpagesize sets a list's page size")
async def max_page_size(s: Subject) -> None:
    for hour in range(3):
        await s.create(start=s.at(hour), end=s.at(hour + 1))
    answer = await s.graph.get(f"/users/{s.mailbox}/events", headers={"prefer": "odata.maxpagesize=2"})
    assert len(answer.json()["value"]) == 2
    assert "@odata.nextLink" in answer.json()


@TABLE.case("6.2", "instances need a window and hold one series only")
async def window_of_instances(s: Subject) -> None:
    master = await s.create_series({"type": "daily"})
    await s.create(start=s.at(12), end=s.at(13))
    url = f"{s.url(master['id'])}/instances"
    shown = await s.pages(url, s.window(0, 3))
    assert starts(shown) == [s.at(9, day=day)["dateTime"][:16] for day in range(3)]
    assert {one["seriesMasterId"] for one in shown} == {master["id"]}
    assert_refused(await s.graph.get(url), 400)


@TABLE.case("5.2", "what is deleted is gone from the next view")
async def after_delete(s: Subject) -> None:
    made = await s.create()
    await s.delete(made["id"])
    assert await s.view() == []


@TABLE.case("5.2", "a moved event leaves its old window for its new one")
async def after_move(s: Subject) -> None:
    made = await s.create()
    await s.patch(made["id"], {"start": s.at(9, day=2), "end": s.at(10, day=2)})
    assert await s.view() == []
    assert [one["id"] for one in await s.view(2, 3)] == [made["id"]]
