"""A scripted office for the demo: people who book, move, cancel and repeat meetings in (emulated) Outlook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import httpx

from sidecar.aio.clock import Clock

_SUBJECTS = ("Design review", "Stand-up", "Interview", "Budget", "Retro", "Customer call", "One on one", "Planning")


class Control:
    """The emulator's control API, as far as the demo needs it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
        """Call, and return the answer."""
        answer = await self._http.post(path, json=body)
        answer.raise_for_status()
        return dict(answer.json())

    async def get(self, path: str, **query: str) -> Any:  # Any: JSON
        """Read."""
        answer = await self._http.get(path, params=query)
        answer.raise_for_status()
        return answer.json()


@dataclass(slots=True)
class Meeting:
    """A meeting that somebody made."""

    id: str
    uid: str
    room: str
    start_at: datetime
    end_at: datetime
    is_series: bool


@dataclass(slots=True)
class Office:
    """The people. `acted` is called with a meeting's calendar uid at the moment somebody does something to it."""

    control: Control
    tenant: str
    rooms: list[str]
    people: list[str]
    clock: Clock
    rng: Random
    acted: Callable[[str], None]
    meetings: list[Meeting] = field(default_factory=list)
    actions_count: int = 0

    async def work(self, duration_s: float, *, pause_s: float) -> None:
        """Act every `pause_s` seconds for a while."""
        ends_s = self.clock.monotonic() + duration_s
        while self.clock.monotonic() < ends_s:
            await self._act()
            self.actions_count += 1
            await self.clock.sleep(pause_s * (0.5 + self.rng.random()))

    async def _act(self) -> None:
        dice = self.rng.random()
        single = [meeting for meeting in self.meetings if not meeting.is_series]
        series = [meeting for meeting in self.meetings if meeting.is_series]
        if dice < 0.45 or not single:
            await self._book()
        elif dice < 0.65:
            await self._move(self.rng.choice(single))
        elif dice < 0.80:
            await self._cancel(self.rng.choice(single))
        elif dice < 0.92 or not series:
            await self._book_series()
        else:
            await self._cancel_occurrence(self.rng.choice(series))

    async def _book(self, recurrence: dict[str, Any] | None = None) -> Meeting:
        today = self.clock.now().replace(hour=7, minute=0, second=0, microsecond=0)
        start_at = today + timedelta(days=self.rng.randrange(5), minutes=30 * self.rng.randrange(20))
        end_at = start_at + timedelta(minutes=30 * self.rng.randint(1, 4))
        room = self.rng.choice(self.rooms)
        if recurrence is not None:
            first = start_at.date().isoformat()
            recurrence = {**recurrence, "range": {"type": "numbered", "startDate": first, "numberOfOccurrences": 6}}
        made = await self.control.post(
            f"/control/tenants/{self.tenant}/outlook/book",
            {
                "organizer": self.rng.choice(self.people),
                "rooms": [room],
                "subject": self.rng.choice(_SUBJECTS),
                "start": _wall(start_at),
                "end": _wall(end_at),
                **({} if recurrence is None else {"recurrence": recurrence}),
            },
        )
        meeting = Meeting(made["meeting"], made["ical_uid"], room, start_at, end_at, recurrence is not None)
        self.acted(meeting.uid)
        self.meetings.append(meeting)
        return meeting

    async def _book_series(self) -> None:
        await self._book({"pattern": {"type": "daily", "interval": self.rng.randint(1, 3)}})

    async def _move(self, meeting: Meeting) -> None:
        by = timedelta(minutes=30 * self.rng.randint(1, 6))
        meeting.start_at += by
        meeting.end_at += by
        body = {"meeting": meeting.id, "start": _wall(meeting.start_at), "end": _wall(meeting.end_at)}
        self.acted(meeting.uid)
        await self.control.post(f"/control/tenants/{self.tenant}/outlook/move", body)

    async def _cancel(self, meeting: Meeting) -> None:
        self.meetings.remove(meeting)
        self.acted(meeting.uid)
        await self.control.post(f"/control/tenants/{self.tenant}/outlook/cancel", {"meeting": meeting.id})

    async def _cancel_occurrence(self, meeting: Meeting) -> None:
        self.meetings.remove(meeting)
        body = {"meeting": meeting.id, "occurrence": meeting.start_at.date().isoformat()}
        await self.control.post(f"/control/tenants/{self.tenant}/outlook/cancel", body)


def _wall(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S")
