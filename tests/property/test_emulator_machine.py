"""The emulator's events beside a plain model: the same calls, and always the same lists, views, ids, keys and delta rounds.

What is asserted is what Microsoft documents or users rely on; where it is open (the change key of a regular occurrence whose
series was touched) either is accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from dateutil import rrule
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.emulator.core import Emulator
from sidecar.emulator.moods import calm_moods
from tests.support.csdl_bodies import given_checker, judged
from tests.support.delta_copy import DeltaCopy

T = TypeVar("T")
Json = dict[str, Any]  # Any: JSON from the wire
DAY = datetime(2035, 3, 5, tzinfo=UTC)
WINDOW = (3, 14)
"""The days delta watches; events are made on days 0 to 20, so some come and go."""
WHOLE = (-1, 200)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SUBJECTS = st.sampled_from(["Plans", "Review", "Größe 🗓", ""])
DAYS, HOURS, LENGTHS = st.integers(0, 20), st.integers(7, 18), st.sampled_from([0, 15, 60, 240])


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """A recurrence that is easy to work out: every so many days, or on some days of every so many weeks."""

    interval: int
    count: int
    weekdays: tuple[int, ...] = ()

    def days(self, first: date) -> list[date]:
        """Give its days, dateutil's way."""
        start = datetime.combine(first, time())
        if self.weekdays:
            found = rrule.rrule(
                rrule.WEEKLY, dtstart=start, interval=self.interval, count=self.count, byweekday=self.weekdays, wkst=0
            )
        else:
            found = rrule.rrule(rrule.DAILY, dtstart=start, interval=self.interval, count=self.count)
        return [one.date() for one in found]

    def wire(self, first: date) -> Json:
        """Give Graph's JSON."""
        pattern: Json = {"type": "daily", "interval": self.interval}
        if self.weekdays:
            names = [WEEKDAYS[day] for day in self.weekdays]
            pattern = {**pattern, "type": "weekly", "daysOfWeek": names, "firstDayOfWeek": "monday"}
        reach = {"type": "numbered", "numberOfOccurrences": self.count, "startDate": first.isoformat()}
        return {"pattern": pattern, "range": reach}


REPEATS = st.builds(
    Repeats,
    interval=st.integers(1, 3),
    count=st.integers(1, 6),
    weekdays=st.one_of(st.just(()), st.sets(st.integers(0, 6), min_size=1, max_size=3).map(lambda d: tuple(sorted(d)))),
)


@dataclass(slots=True, kw_only=True)
class Changed:
    """An occurrence that is not like the others."""

    start: datetime
    minutes: int
    subject: str | None
    """None after the master's subject changed: whether an exception follows is not documented."""


@dataclass(slots=True, kw_only=True)
class Item:
    """An event as the model knows it."""

    event_id: str
    uid: str
    subject: str
    start: datetime
    minutes: int
    repeats: Repeats | None
    changed: dict[date, Changed] = field(default_factory=dict)
    removed: set[date] = field(default_factory=set)
    seen: dict[date, tuple[str, str]] = field(default_factory=dict)
    """Ids and calendar UIDs of occurrences, as first seen."""

    def days(self) -> list[date]:
        """Give the days that are left of a series."""
        if self.repeats is None:
            return []
        return [day for day in self.repeats.days(self.start.date()) if day not in self.removed]

    def on(self, day: date) -> Changed:
        """Give a series' occurrence."""
        regular = Changed(
            start=datetime.combine(day, self.start.time(), tzinfo=UTC), minutes=self.minutes, subject=self.subject
        )
        return self.changed.get(day, regular)

    def forget(self) -> None:
        """Begin anew, as a retimed series does."""
        self.changed.clear()
        self.removed.clear()
        self.seen.clear()

    def align(self) -> None:
        """Move a series to the first day its pattern has."""
        if self.repeats is not None:
            first = self.repeats.days(self.start.date())[0]
            self.start = datetime.combine(first, self.start.time(), tzinfo=UTC)


class EventMachine(RuleBasedStateMachine):
    """Calls on one mailbox, and what a plain model makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Item] = []
        self.keys: dict[str, str] = {}
        self.touched: set[str] = set()
        """Items that must have a new change key."""
        self.may_change: set[str] = set()
        """Masters whose other occurrences may have one."""
        self.copy = DeltaCopy()
        self.link: str | None = None
        self.earlier: list[tuple[str, DeltaCopy]] = []

    @initialize(seed=st.integers(0, 2**16), small_pages=st.booleans())
    def open(self, seed: int, small_pages: bool) -> None:
        self.runner = asyncio.Runner()
        moods = msgspec.structs.replace(calm_moods(), small_page_share=0.5 if small_pages else 0.0)
        emulator = Emulator(seed=seed, moods=moods)
        transport = httpx.ASGITransport(app=emulator.graph_app)
        self.graph = httpx.AsyncClient(
            transport=judged(transport, given_checker()),
            base_url="https://graph.microsoft.com/v1.0",
            headers={"prefer": 'IdType="ImmutableId", odata.maxpagesize=7'},
        )
        control = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=emulator.control_app), base_url="http://control/control"
        )
        login = httpx.AsyncClient(transport=transport, base_url="https://login.microsoftonline.com")
        self.run(self._sign_in(control, login))

    async def _sign_in(self, control: httpx.AsyncClient, login: httpx.AsyncClient) -> None:
        tenant = (await control.post("/tenants", json={})).json()
        rooms = (await control.post(f"/tenants/{tenant['tenant_id']}/rooms", json={"count": 1})).json()["rooms"]
        self.calendar = f"/users/{rooms[0]['id']}"
        form = {
            "client_id": tenant["client_id"],
            "client_secret": tenant["client_secret"],
            "grant_type": "client_credentials",
            "scope": "https://graph.microsoft.com/.default",
        }
        token = (await login.post(f"/{tenant['tenant_id']}/oauth2/v2.0/token", data=form)).json()["access_token"]
        self.graph.headers["authorization"] = f"Bearer {token}"

    def run(self, call: Coroutine[Any, Any, T]) -> T:  # Any: nothing is sent or yielded
        """Run a call to its end."""
        return self.runner.run(call)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.run(self.graph.aclose())
            self.runner.close()

    # -- calls

    def ask(self, method: str, path: str, body: Json | None = None, **headers: str) -> httpx.Response:
        """Make a call."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.run(self.graph.request(method, path, json=body, headers=named))

    def pages(self, path: str, params: dict[str, str] | None = None) -> list[Json]:
        """Read a list, all pages."""

        async def read() -> list[Json]:
            found, link, given = list[Json](), path, params
            while True:
                answer = await self.graph.get(link, params=given)
                assert answer.status_code == 200, answer.text
                found += answer.json()["value"]
                if "@odata.nextLink" not in answer.json():
                    return found
                link, given = answer.json()["@odata.nextLink"], None

        return self.run(read())

    def view(self, days: tuple[int, int]) -> list[Json]:
        """Read the view of some days."""
        return self.pages(f"{self.calendar}/calendarView", _window(days))

    def patch(self, event_id: str, body: Json) -> Json:
        """Change an event; it must be accepted."""
        answer = self.ask("PATCH", self.url(event_id), body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["id"] == event_id
        changed: Json = answer.json()
        return changed

    def url(self, event_id: str) -> str:
        """Give an event's path."""
        return f"{self.calendar}/events/{quote(event_id, safe='')}"

    # -- rules

    @rule(subject=SUBJECTS, day=DAYS, hour=HOURS, minutes=LENGTHS, repeats=st.one_of(st.none(), REPEATS))
    def create(self, subject: str, day: int, hour: int, minutes: int, repeats: Repeats | None) -> None:
        start = DAY + timedelta(days=day, hours=hour)
        body = {"subject": subject, **_times(start, minutes)}
        if repeats is not None:
            body["recurrence"] = repeats.wire(start.date())
        answer = self.ask("POST", f"{self.calendar}/events", body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert made["id"] not in [item.event_id for item in self.items]
        item = Item(
            event_id=made["id"], uid=made["iCalUId"], subject=subject, start=start, minutes=minutes, repeats=repeats
        )
        item.align()
        self.items.append(item)

    @precondition(lambda self: self.items)
    @rule(data=st.data(), subject=SUBJECTS)
    def rename(self, data: st.DataObject, subject: str) -> None:
        item = data.draw(st.sampled_from(self.items))
        self.patch(item.event_id, {"subject": subject})
        item.subject = subject
        for one in item.changed.values():
            one.subject = None
        self._touch(item)

    @precondition(lambda self: any(item.repeats is None for item in self.items))
    @rule(data=st.data(), day=DAYS, hour=HOURS, minutes=LENGTHS)
    def move(self, data: st.DataObject, day: int, hour: int, minutes: int) -> None:
        item = data.draw(st.sampled_from([item for item in self.items if item.repeats is None]))
        item.start, item.minutes = DAY + timedelta(days=day, hours=hour), minutes
        self.patch(item.event_id, _times(item.start, minutes))
        self._touch(item)

    @precondition(lambda self: self.items)
    @rule(data=st.data(), hour=HOURS, minutes=LENGTHS, repeats=st.one_of(st.none(), REPEATS))
    def repeat(self, data: st.DataObject, hour: int, minutes: int, repeats: Repeats | None) -> None:
        """Give an event new clock times and another recurrence, or none."""
        item = data.draw(st.sampled_from(self.items))
        start = datetime.combine(item.start.date(), time(hour), tzinfo=UTC)
        recurrence = None if repeats is None else repeats.wire(start.date())
        self.patch(item.event_id, {**_times(start, minutes), "recurrence": recurrence})
        before = (item.start, item.minutes, item.repeats)
        item.start, item.minutes, item.repeats = start, minutes, repeats
        item.align()
        if before != (item.start, item.minutes, item.repeats):
            item.forget()
        self._touch(item)

    @precondition(lambda self: self.items)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.items))
        assert self.ask("DELETE", self.url(item.event_id)).status_code == 204
        self.items.remove(item)
        for event_id in (item.event_id, *(event_id for event_id, _ in item.seen.values())):
            assert self.ask("GET", self.url(event_id)).status_code == 404

    @precondition(lambda self: any(item.days() for item in self.items))
    @rule(data=st.data(), subject=st.one_of(st.none(), SUBJECTS), hour=st.one_of(st.none(), HOURS), minutes=LENGTHS)
    def change_occurrence(self, data: st.DataObject, subject: str | None, hour: int | None, minutes: int) -> None:
        item, day = self._occurrence(data)
        was = item.on(day)
        body: Json = {} if subject is None else {"subject": subject}
        start, length = was.start, was.minutes
        if hour is not None:
            start, length = datetime.combine(day, time(hour), tzinfo=UTC), minutes
            body |= _times(start, length)
        changed = self.patch(item.seen[day][0], body)
        assert (changed["type"], changed["seriesMasterId"]) == ("exception", item.event_id)
        item.changed[day] = Changed(start=start, minutes=length, subject=was.subject if subject is None else subject)
        self._touch(item, item.seen[day][0])

    @precondition(lambda self: any(item.days() for item in self.items))
    @rule(data=st.data())
    def delete_occurrence(self, data: st.DataObject) -> None:
        item, day = self._occurrence(data)
        event_id = item.seen[day][0]
        assert self.ask("DELETE", self.url(event_id)).status_code == 204
        assert self.ask("GET", self.url(event_id)).status_code == 404
        item.changed.pop(day, None)
        item.removed.add(day)
        self._touch(item)

    @precondition(lambda self: self.items)
    @rule(data=st.data())
    def change_by_an_old_key(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.items))
        answer = self.ask("PATCH", self.url(item.event_id), {"subject": "never"}, if_match='W/"of long ago"')
        assert answer.status_code == 412

    @rule()
    def delta_round(self) -> None:
        told, self.link = self._round(self.link)
        self.copy.take(told)
        self._check_copy()
        self.earlier.append((self.link, DeltaCopy(self.copy.items)))

    @precondition(lambda self: self.earlier)
    @rule(data=st.data())
    def delta_round_from_an_older_link(self, data: st.DataObject) -> None:
        """A consumer that lost its newest state goes on from an older one, and ends at the same."""
        link, copy = data.draw(st.sampled_from(self.earlier))
        self.copy = DeltaCopy(copy.items)
        told, self.link = self._round(link)
        self.copy.take(told)
        self._check_copy()

    def _round(self, link: str | None) -> tuple[list[Json], str]:
        async def read() -> tuple[list[Json], str]:
            found = list[Json]()
            url, params = (link, None) if link else (f"{self.calendar}/calendarView/delta", _window(WINDOW))
            while True:
                answer = await self.graph.get(url, params=params)
                assert answer.status_code == 200, answer.text
                body = answer.json()
                found += body["value"]
                if "@odata.deltaLink" in body:
                    return found, str(body["@odata.deltaLink"])
                url, params = body["@odata.nextLink"], None

        return self.run(read())

    def _check_copy(self) -> None:
        viewed = {(one["id"], one["start"]["dateTime"], one["end"]["dateTime"]) for one in self.view(WINDOW)}
        assert self.copy.shown() == viewed

    def _occurrence(self, data: st.DataObject) -> tuple[Item, date]:
        item = data.draw(st.sampled_from([item for item in self.items if item.days()]))
        return item, data.draw(st.sampled_from(item.days()))

    def _touch(self, item: Item, *others: str) -> None:
        self.touched |= {item.event_id, *others}
        self.may_change.add(item.event_id)

    # -- what must hold

    @invariant()
    def list_and_view_are_the_models(self) -> None:
        if not hasattr(self, "graph"):
            return
        listed = self.pages(f"{self.calendar}/events")
        shown = self.view(WHOLE)
        self._check_list(listed)
        self._check_view(shown)
        self._check_keys(listed + shown)

    def _check_list(self, listed: list[Json]) -> None:
        expected = {
            item.event_id: ("singleInstance" if item.repeats is None else "seriesMaster", item.subject, item.uid)
            for item in self.items
        }
        assert {one["id"]: (one["type"], one["subject"], one["iCalUId"]) for one in listed} == expected
        assert len(listed) == len(expected)
        for one in listed:
            assert one["@odata.etag"] == f'W/"{one["changeKey"]}"'

    def _check_view(self, shown: list[Json]) -> None:
        by_id = {one["id"]: one for one in shown}
        assert len(by_id) == len(shown), "an id was shown twice"
        assert len({one["iCalUId"] for one in shown}) == len(shown)
        for item in self.items:
            if item.repeats is None:
                _check_times(by_id.pop(item.event_id), item.start, item.minutes)
                continue
            parts = [one for one in shown if one["seriesMasterId"] == item.event_id]
            by_day = {date.fromisoformat(one["originalStart"][:10]): one for one in parts}
            assert sorted(by_day) == sorted(item.days())
            for day, one in by_day.items():
                self._check_part(item, day, by_id.pop(one["id"]))
        assert by_id == {}

    def _check_part(self, item: Item, day: date, one: Json) -> None:
        wanted = item.on(day)
        _check_times(one, wanted.start, wanted.minutes)
        assert one["type"] == ("exception" if day in item.changed else "occurrence")
        assert wanted.subject is None or one["subject"] == wanted.subject
        assert one["originalStart"][:19] == datetime.combine(day, item.start.time()).isoformat()
        assert one["iCalUId"] != item.uid
        assert item.seen.setdefault(day, (one["id"], one["iCalUId"])) == (one["id"], one["iCalUId"])

    def _check_keys(self, found: list[Json]) -> None:
        for one in found:
            before, now = self.keys.get(one["id"]), one["changeKey"]
            if before is None:
                continue
            if one["id"] in self.touched:
                assert now != before, "a changed item kept its change key"
            elif one["seriesMasterId"] not in self.may_change:
                assert now == before, "an item nobody touched has a new change key"
        self.keys = {one["id"]: one["changeKey"] for one in found}
        self.touched.clear()
        self.may_change.clear()


def _times(start: datetime, minutes: int) -> Json:
    ends = {"start": start, "end": start + timedelta(minutes=minutes)}
    return {name: {"dateTime": at.strftime("%Y-%m-%dT%H:%M:%S"), "timeZone": "UTC"} for name, at in ends.items()}


def _window(days: tuple[int, int]) -> dict[str, str]:
    first, last = ((DAY + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ") for day in days)
    return {"startDateTime": first, "endDateTime": last}


def _check_times(one: Json, start: datetime, minutes: int) -> None:
    wanted = {name: at["dateTime"] for name, at in _times(start, minutes).items()}
    assert {name: one[name]["dateTime"][:19] for name in ("start", "end")} == wanted


TestEvents = EventMachine.TestCase
TestEvents.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
