"""Random life through Graph and Outlook; however a mailbox is read, it tells the same, and whoever listens hears of it.

Lists with their series expanded, instances, views, a consumer of delta, schedules, change keys and notifications are compared
with each other after every few steps; none of them is the truth for the others.
"""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from sidecar.emulator.moods import Moods
from tests.support.delta_copy import DeltaCopy
from tests.unit.emulator.rig import Rig, rig, wire_event

pytestmark = pytest.mark.looptime
Json = dict[str, Any]  # Any: JSON from the wire
ID_TAIL_CHARS = 11
STEPS, CHECKS_EVERY = 40, 4
FIRST = datetime(2026, 11, 20, tzinfo=UTC)
DAYS = 60
WINDOW = {"startDateTime": "2026-11-20T00:00:00Z", "endDateTime": "2027-01-19T00:00:00Z"}
NARROW = {"startDateTime": "2026-11-25T12:00:00Z", "endDateTime": "2026-12-03T09:30:00Z"}
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
KEYS = ("changeKey", "@odata.etag", "lastModifiedDateTime", "emulatorNovelty")
STATUSES = {"free": "0", "tentative": "1", "busy": "2", "oof": "3", "workingElsewhere": "4", "unknown": "0"}


@pytest.mark.parametrize("seed", range(8))
async def test_all_readers_are_told_the_same(seed: int) -> None:
    rng = random.Random(seed)
    moods = Moods(throttle_share=0, unavailable_share=0, flaky_token_share=0, delta_token_lifetime_s=0, latency_max_s=0)
    async with rig(seed=seed, moods=moods) as r:
        r.graph.headers["prefer"] = 'IdType="ImmutableId", odata.maxpagesize=40'
        readers = [_Reader(r, one["address"]) for one in (*r.rooms, *r.users)]
        for reader in readers:
            await reader.start()
        script = _Script(r, rng)
        for number in range(STEPS):
            await script.step()
            if number % CHECKS_EVERY == 0:
                if rng.random() < 0.5:
                    await r.rest()
                for reader in readers:
                    await reader.check()
        await r.rest()
        for reader in readers:
            await reader.check()
            reader.check_notifications()


class _Reader:
    """Somebody who reads one mailbox in every way there is, and remembers what it showed before."""

    def __init__(self, r: Rig, mailbox: str) -> None:
        self._r, self.mailbox = r, mailbox
        self._copy, self._link = DeltaCopy(), ""
        self._before: dict[str, Json] = {}
        self._changed: set[tuple[str, str]] = set()
        """What subscribers must hear: change types and ids of single items and series."""
        self._known: set[str] = set()
        self._subscription = ""

    async def start(self) -> None:
        answer = await self._r.subscribe(self.mailbox)
        self._subscription = answer.json()["id"]

    async def check(self) -> None:
        roots = await self._read(f"/users/{self.mailbox}/events")
        shown = await self._read(f"/users/{self.mailbox}/calendarView", WINDOW)
        expanded = [one for one in roots if one["type"] == "singleInstance" and _is_within(one, WINDOW)]
        for master in (one for one in roots if one["type"] == "seriesMaster"):
            url = f"{self._r.event_url(master['id'], self.mailbox)}/instances"
            instances = await self._read(url, WINDOW)
            assert {one["seriesMasterId"] for one in instances} <= {master["id"]}
            narrow = await self._read(url, NARROW)
            assert _by_id(narrow) == {key: one for key, one in _by_id(instances).items() if _is_within(one, NARROW)}
            expanded += instances
        assert _by_id(expanded) == _by_id(shown)
        assert [one["start"]["dateTime"] for one in shown] == sorted(one["start"]["dateTime"] for one in shown)
        narrow = await self._read(f"/users/{self.mailbox}/calendarView", NARROW)
        assert _by_id(narrow) == {key: one for key, one in _by_id(shown).items() if _is_within(one, NARROW)}
        await self._check_delta(narrow)
        await self._check_schedule(shown)
        for one in shown[:: max(1, len(shown) // 5)]:
            alone = (await self._r.graph.get(self._r.event_url(one["id"], self.mailbox))).json()
            assert _told(alone) == _told(one)
        self._compare({one["id"]: one for one in (*roots, *shown)})

    def _compare(self, now: dict[str, Json]) -> None:
        """Find what changed since the last look: it must have a new change key, and its subscriber must hear of it."""
        for key, one in now.items():
            before, root = self._before.get(key), one["seriesMasterId"] or key
            if before is not None and _said(before) != _said(one):
                assert before["changeKey"] != one["changeKey"], (before, one)
            if root not in self._before:
                self._changed.add(("created", root))
            elif before is None or before["changeKey"] != one["changeKey"]:
                self._changed.add(("updated", root))
        for key, one in self._before.items():
            root = one["seriesMasterId"] or key
            if key not in now:
                self._changed.add(("updated", root) if root in now else ("deleted", root))
        self._before = now
        self._known |= set(now)

    def check_notifications(self) -> None:
        """Compare what was delivered with what was seen; other things may have come and gone between two looks."""
        mine = [one for one in self._r.webhook.items if one["subscriptionId"] == self._subscription]
        heard = {(one["changeType"], one["resourceData"]["id"]) for one in mine}
        assert self._changed <= heard, sorted(self._changed - heard)
        known = self._known | {key for change, key in heard if change == "created"}
        roots = {key[:-ID_TAIL_CHARS] for key in known}  # an occurrence's id differs from its series' in the day only
        strangers = {key for _, key in heard if key[:-ID_TAIL_CHARS] not in roots}
        assert not strangers, strangers

    async def _check_delta(self, viewed: list[Json]) -> None:
        path = f"/users/{self.mailbox}/calendarView/delta"
        link, params = (self._link, None) if self._link else (path, NARROW)
        told = list[Json]()
        while True:
            body = (await self._get(link, params)).json()
            told += body["value"]
            if "@odata.deltaLink" in body:
                break
            link, params = body["@odata.nextLink"], None
        self._link = body["@odata.deltaLink"]
        self._copy.take(told)
        assert self._copy.shown() == {(one["id"], one["start"]["dateTime"], one["end"]["dateTime"]) for one in viewed}

    async def _check_schedule(self, shown: list[Json]) -> None:
        minutes = 30
        body = {
            "schedules": [self.mailbox],
            "startTime": {"dateTime": "2026-11-20T00:00:00", "timeZone": "UTC"},
            "endTime": {"dateTime": "2027-01-19T00:00:00", "timeZone": "UTC"},
            "availabilityViewInterval": minutes,
        }
        answer = await self._r.graph.post(f"/users/{self._r.ada}/calendar/getSchedule", json=body)
        (found,) = answer.json()["value"]
        digits = ["0"] * (DAYS * 24 * 60 // minutes)
        for one in shown:
            if one["isCancelled"]:
                continue
            start_s, end_s = ((_moment(one[name]) - FIRST).total_seconds() for name in ("start", "end"))
            touched = range(math.floor(start_s / 60 / minutes), math.ceil(end_s / 60 / minutes))
            for at in set(touched) & set(range(len(digits))):
                digits[at] = max(digits[at], STATUSES[one["showAs"]], key="04123".index)
        assert found["availabilityView"] == "".join(digits)
        assert len(found["scheduleItems"]) == len(shown)

    async def _read(self, path: str, params: dict[str, str] | None = None) -> list[Json]:
        found = list[Json]()
        while True:
            body = (await self._get(path, params)).json()
            found += body["value"]
            if "@odata.nextLink" not in body:
                return found
            path, params = body["@odata.nextLink"], None

    async def _get(self, path: str, params: dict[str, str] | None) -> httpx.Response:
        answer = await self._r.graph.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer


class _Script:
    """What people and applications do, one random step at a time."""

    def __init__(self, r: Rig, rng: random.Random) -> None:
        self._r, self._rng = r, rng
        self._meetings: list[str] = []
        self._addresses = [one["address"] for one in (*r.rooms, *r.users)]

    async def step(self) -> None:
        what = self._rng.choice(
            ["post", "book", "book", "outlook", "outlook", "patch", "patch", "patch", "act", "wait"]
        )
        await {
            "post": self._post,
            "book": self._book,
            "outlook": self._outlook,
            "patch": self._patch,
            "act": self._act,
            "wait": self._wait,
        }[what]()

    async def _wait(self) -> None:
        await self._r.told("POST", "/control/clock", {"advance_s": self._rng.choice([0.5, 2, 60])})

    async def _post(self) -> None:
        """Write into a calendar directly, by chance inviting somebody."""
        body = wire_event(**self._times(), subject=self._word(), zone=self._zone())
        if self._rng.random() < 0.4:
            body["recurrence"] = self._recurrence(body["start"]["dateTime"])
        if self._rng.random() < 0.3:
            body["attendees"] = self._attendees()
        if self._rng.random() < 0.2:
            for name in ("start", "end"):
                body[name]["dateTime"] = body[name]["dateTime"][:10] + "T00:00:00"
            first = datetime.fromisoformat(body["start"]["dateTime"])
            body["end"]["dateTime"] = (first + timedelta(days=1)).isoformat()
            body["isAllDay"] = True
        await self._graph("POST", f"/users/{self._rng.choice(self._addresses)}/events", body)

    async def _book(self) -> None:
        users = [one["address"] for one in self._r.users]
        organizer = self._rng.choice(users)
        more: Json = {
            "organizer": organizer,
            "rooms": self._rooms(),
            "attendees": [one for one in users if one != organizer],
        }
        times = self._times()
        if self._rng.random() < 0.5:
            more["recurrence"] = self._recurrence(times["start"])
        self._meetings.append((await self._r.book(**times, **more))["meeting"])

    async def _outlook(self) -> None:
        if not self._meetings:
            return
        what = self._rng.choice(["move", "edit", "cancel", "rooms"])
        body: Json = {"meeting": self._rng.choice(self._meetings)}
        if what == "move":
            body |= self._times()
        elif what == "edit":
            body["subject"] = self._word()
        elif what == "rooms":
            body["rooms"] = self._rooms()
        if self._rng.random() < 0.4:
            body["occurrence"] = f"2026-12-{self._rng.randint(1, 8):02}"
        path = self._r.path(f"/outlook/{'edit' if what == 'rooms' else what}")
        answer = await self._r.control.post(path, json=body)
        assert answer.status_code in (200, 400, 404, 409), answer.text

    async def _patch(self) -> None:
        mailbox, item = await self._item()
        if item is None:
            return
        body: Json = {}
        for name in self._rng.sample(["subject", "times", "showAs", "categories", "attendees", "same"], 2):
            if name == "times":
                times = self._times()
                body |= {key: {"dateTime": times[key], "timeZone": "UTC"} for key in ("start", "end")}
                if item["isAllDay"]:
                    body["isAllDay"] = False
            elif name == "attendees" and item["isOrganizer"]:
                body["attendees"] = self._attendees()
            elif name == "same":
                body |= {"start": item["start"], "end": item["end"], "isAllDay": item["isAllDay"]}
            elif name != "attendees":
                body[name] = {"subject": self._word(), "showAs": "oof", "categories": [self._word()]}[name]
        await self._graph("PATCH", self._r.event_url(item["id"], mailbox), body)

    async def _act(self) -> None:
        mailbox, item = await self._item()
        if item is None:
            return
        url = self._r.event_url(item["id"], mailbox)
        what = self._rng.choice(["DELETE", "cancel", "accept", "tentativelyAccept", "decline", "extensions", "refile"])
        if what == "refile":
            await self._r.told("POST", self._r.path("/outlook/refile"), {"address": mailbox, "event": item["id"]})
        elif what == "DELETE":
            await self._graph("DELETE", url)
        else:
            body = {"extensionName": self._word()} if what == "extensions" else {}
            await self._graph("POST", f"{url}/{what}", body)

    async def _graph(self, method: str, path: str, body: Json | None = None) -> None:
        answer = await self._r.graph.request(method, path, json=body)
        assert answer.status_code in (200, 201, 202, 204, 400, 409, 412, 501), answer.text

    async def _item(self) -> tuple[str, Json | None]:
        mailbox = self._rng.choice(self._addresses)
        path = self._rng.choice(["events", "calendarView"])
        params = {**(WINDOW if path == "calendarView" else {}), "$top": "1000"}
        found = (await self._r.graph.get(f"/users/{mailbox}/{path}", params=params)).json()["value"]
        return mailbox, self._rng.choice(found) if found else None

    def _times(self) -> dict[str, str]:
        start = FIRST + timedelta(days=self._rng.randint(1, 18), hours=self._rng.randint(6, 18))
        end = start + timedelta(minutes=self._rng.choice([15, 30, 60, 180]))
        return {"start": start.strftime("%Y-%m-%dT%H:%M:%S"), "end": end.strftime("%Y-%m-%dT%H:%M:%S")}

    def _recurrence(self, start: str) -> Json:
        day = datetime.fromisoformat(start)
        pattern: Json = {"type": "daily", "interval": self._rng.randint(1, 3)}
        if self._rng.random() < 0.5:
            days = {WEEKDAYS[day.weekday()], self._rng.choice(WEEKDAYS)}
            pattern = {"type": "weekly", "interval": 1, "daysOfWeek": sorted(days), "firstDayOfWeek": "monday"}
        reach = {"type": "numbered", "numberOfOccurrences": self._rng.randint(1, 8), "startDate": start[:10]}
        return {"pattern": pattern, "range": reach}

    def _attendees(self) -> list[Json]:
        chosen = self._rng.sample(self._addresses, self._rng.randint(0, 3))
        rooms = {one["address"] for one in self._r.rooms}
        return [
            {"type": "resource" if one in rooms else "required", "emailAddress": {"address": one}} for one in chosen
        ]

    def _rooms(self) -> list[str]:
        rooms = [one["address"] for one in self._r.rooms]
        return self._rng.sample(rooms, self._rng.choice([0, 1, 1, 2]))

    def _word(self) -> str:
        return self._rng.choice(["Plans", "Review", "Größe 🗓", "Other"])

    def _zone(self) -> str:
        return self._rng.choice(["UTC", "Europe/Berlin", "America/New_York"])


def _told(one: Json) -> Json:
    return {name: value for name, value in one.items() if name not in ("emulatorNovelty", "@odata.context")}


def _said(one: Json) -> Json:
    return {name: value for name, value in one.items() if name not in KEYS}


def _by_id(found: list[Json]) -> dict[str, Json]:
    by_id = {one["id"]: _told(one) for one in found}
    assert len(by_id) == len(found), "an id was told twice"
    return by_id


def _moment(wire: Json) -> datetime:
    return datetime.fromisoformat(wire["dateTime"][:19]).replace(tzinfo=UTC)


def _is_within(one: Json, window: dict[str, str]) -> bool:
    start_at, end_at = (datetime.fromisoformat(window[name]) for name in ("startDateTime", "endDateTime"))
    return _moment(one["start"]) < end_at and _moment(one["end"]) > start_at
