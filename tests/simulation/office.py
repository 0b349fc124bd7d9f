"""People who do everything that people do to room calendars, and some things twice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.world import World
from tests.support.truth import ZONE

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS_AHEAD = 9
_BURST_MAX = 6


@dataclass(slots=True)
class _Meeting:
    id: str
    events: dict[str, str]
    start_at: datetime
    is_series: bool
    all_day: bool


class Office:
    """The people of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.meetings: list[_Meeting] = []
        self._rng = world.plan.rng("office")

    async def work(self) -> None:
        """Act as often as the plan says, in bursts: most of what people do comes several at a time."""
        plan, rng = self.world.plan, self._rng
        left = plan.actions_count
        bursts: list[int] = []
        while left > 0:
            bursts.append(min(left, rng.randint(1, _BURST_MAX)))
            left -= bursts[-1]
        moments = sorted(rng.uniform(0.0, plan.duration_s) for _ in bursts)
        began_s = asyncio.get_running_loop().time()
        for at_s, count in zip(moments, bursts, strict=True):
            await asyncio.sleep(max(0.0, began_s + at_s - asyncio.get_running_loop().time()))
            for _ in range(count):
                await self.act()
                await asyncio.sleep(rng.choice((0.0, 0.0, 0.2, 1.0, 4.0)))
        await asyncio.sleep(max(0.0, began_s + plan.duration_s - asyncio.get_running_loop().time()))

    async def act(self) -> None:
        """Do one thing."""
        acts_by_weight = {
            self._book: 30,
            self._book_series: 12,
            self._book_in_room: 6,
            self._move: 14,
            self._edit: 8,
            self._cancel: 10,
            self._move_occurrence: 7,
            self._cancel_occurrence: 7,
            self._change_rooms: 5,
            self._respond: 3,
            self._delete_from_room: 5,
            self._refile: 4,
        }
        (act,) = self._rng.choices(list(acts_by_weight), list(acts_by_weight.values()))
        await act()

    async def _book(self, organizer: str | None = None, **more: Any) -> None:  # Any: JSON
        rng = self._rng
        start_at = self._start()
        end_at = start_at + timedelta(minutes=rng.choice((15, 30, 60, 60, 120)))
        all_day = rng.random() < 0.06
        if all_day:
            start_at = start_at.replace(hour=0, minute=0)
            end_at = start_at + timedelta(days=rng.choice((1, 1, 2)))
        people = self.world.directory.people
        body = {
            "organizer": organizer or rng.choice(people),
            "rooms": [] if organizer else self._some_rooms(),
            "attendees": [one for one in people if rng.random() < 0.2],
            "subject": f"CANARY-subject {rng.randrange(10**6)}",
            "body": "CANARY-body",
            "start": _wall(start_at),
            "end": _wall(end_at),
            "time_zone": rng.choice(("UTC", ZONE, ZONE, "America/New_York")),
            "all_day": all_day,
            "sensitivity": rng.choice(("normal", "normal", "normal", "private")),
            **more,
        }
        made = await self.world.act("book", **body)
        if made is not None:
            is_series = "recurrence" in more
            self.meetings.append(_Meeting(made["meeting"], made["events"], start_at, is_series, bool(body["all_day"])))

    async def _book_series(self) -> None:
        rng = self._rng
        start_at = self._start()
        pattern: dict[str, Any] = rng.choice(  # Any: JSON
            (
                {"type": "daily", "interval": rng.randint(1, 3)},
                {"type": "weekly", "interval": 1, "daysOfWeek": [_DAYS[start_at.weekday()]]},
                {"type": "weekly", "interval": rng.randint(1, 2), "daysOfWeek": sorted(rng.sample(_DAYS, 2))},
                {"type": "absoluteMonthly", "interval": 1, "dayOfMonth": start_at.day},
            )
        )
        reach: dict[str, Any] = rng.choice(  # Any: JSON
            (
                {"type": "noEnd"},
                {"type": "numbered", "numberOfOccurrences": rng.choice((*range(1, 9), 300))},
                {
                    "type": "endDate",
                    "endDate": (start_at + timedelta(days=rng.choice((*range(31), 900)))).date().isoformat(),
                },
            )
        )
        span = {"startDate": start_at.date().isoformat(), "recurrenceTimeZone": ZONE, **reach}
        await self._book(
            start=_wall(start_at),
            end=_wall(start_at + timedelta(minutes=30)),
            time_zone=ZONE,
            all_day=False,
            recurrence={"pattern": pattern, "range": span},
        )

    async def _book_in_room(self) -> None:
        await self._book(self._rng.choice(self.world.directory.rooms))

    async def _move(self) -> None:
        meeting = self._some(is_series=False) or self._some()
        if meeting is None:
            return
        start_at = self._start() if self._rng.random() < 0.9 else self._start() - timedelta(days=400)
        lasts = timedelta(minutes=45)
        if meeting.all_day:  # Outlook moves it by whole days
            start_at, lasts = start_at.replace(hour=0, minute=0), timedelta(days=1)
        meeting.start_at = start_at
        await self._try("move", meeting, start=_wall(start_at), end=_wall(start_at + lasts))

    async def _edit(self) -> None:
        meeting = self._some()
        if meeting is not None:
            change = self._rng.choice(
                (
                    {"subject": f"CANARY-subject {self._rng.randrange(10**6)}"},
                    {"sensitivity": self._rng.choice(("normal", "private"))},
                    {"body": "CANARY-body"},
                )
            )
            await self._try("edit", meeting, **change, **self._perhaps_occurrence(meeting))

    async def _cancel(self) -> None:
        meeting = self._some()
        if meeting is not None:
            await self._try("cancel", meeting)
            if self._rng.random() < 0.9:
                self.meetings.remove(meeting)

    async def _move_occurrence(self) -> None:
        meeting = self._some(is_series=True)
        if meeting is not None:
            day = self._day_of(meeting)
            start_at = day + timedelta(minutes=15 * self._rng.randint(1, 20))
            times = {"start": _wall(start_at), "end": _wall(start_at + timedelta(minutes=20))}
            await self._try("move", meeting, occurrence=day.date().isoformat(), time_zone=ZONE, **times)

    async def _cancel_occurrence(self) -> None:
        meeting = self._some(is_series=True)
        if meeting is not None:
            await self._try("cancel", meeting, occurrence=self._day_of(meeting).date().isoformat())

    async def _change_rooms(self) -> None:
        meeting = self._some()
        if meeting is not None:
            made = await self._try("edit", meeting, rooms=self._some_rooms())
            meeting.events = meeting.events if made is None else made["events"]

    async def _respond(self) -> None:
        meeting = self._some()
        if meeting is not None:
            address = self._rng.choice(self.world.directory.people + self.world.directory.rooms)
            answer = self._rng.choice(("accept", "tentative", "decline"))
            await self._try("respond", meeting, address=address, answer=answer, **self._perhaps_occurrence(meeting))

    async def _delete_from_room(self) -> None:
        found = self._some_copy()
        if found is not None:
            await self.world.act("delete_from_room", address=found[0], event=found[1])

    async def _refile(self) -> None:
        found = self._some_copy()
        if found is not None:
            await self.world.act("refile", address=found[0], event=found[1])

    def _some_copy(self) -> tuple[str, str] | None:
        """Choose an item of a room's calendar: its mailbox and its id."""
        rooms = self.world.directory.rooms
        meeting = self._some()
        copies = [] if meeting is None else [pair for pair in sorted(meeting.events.items()) if pair[0] in rooms]
        return self._rng.choice(copies) if copies else None

    async def _try(self, what: str, meeting: _Meeting, **body: Any) -> dict[str, Any] | None:  # Any: JSON
        return await self.world.act(what, meeting=meeting.id, **body)

    def _some(self, *, is_series: bool | None = None) -> _Meeting | None:
        found = [meeting for meeting in self.meetings if is_series in (None, meeting.is_series)]
        return self._rng.choice(found) if found else None

    def _some_rooms(self) -> list[str]:
        rooms = self.world.directory.rooms
        return self._rng.sample(rooms, min(len(rooms), self._rng.choice((1, 1, 1, 2))))

    def _perhaps_occurrence(self, meeting: _Meeting) -> dict[str, str]:
        if not meeting.is_series or self._rng.random() < 0.5:
            return {}
        return {"occurrence": self._day_of(meeting).date().isoformat()}

    def _day_of(self, meeting: _Meeting) -> datetime:
        """Return a day on which the series may have an occurrence."""
        return meeting.start_at + timedelta(days=self._rng.choice((0, 1, 2, 7, 7, 14)))

    def _start(self) -> datetime:
        today = self.world.now().replace(minute=0, second=0, microsecond=0, tzinfo=None)
        day = today + timedelta(days=self._rng.randint(-1, _DAYS_AHEAD))
        return day.replace(hour=self._rng.choice((0, 1, 2, *range(7, 20), 23)), minute=self._rng.choice((0, 0, 30)))


def _wall(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S")
