"""Random office life on a few rooms; whatever happens, the emulator's rooms keep their promises when everything is at rest.

No room holds two settled meetings at one time, the organizer's view of a room's answer is the room's own, copies are when the
organizer's items are, and nothing is left to do.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from sidecar.emulator.zones import parse_instant
from tests.unit.emulator.rig import Rig, rig, weekly

pytestmark = pytest.mark.looptime
STEPS = 60
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WINDOW = ("2026-11-01T00:00:00Z", "2027-03-01T00:00:00Z")


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("calm", [True, False])
async def test_rooms_keep_their_promises_at_rest(seed: int, calm: bool) -> None:
    rng = random.Random(seed)
    async with rig(seed=seed, calm=calm) as r:
        script = _Script(r, rng)
        if rng.random() < 0.3:
            settings = {"ConflictPercentageAllowed": 50, "MaximumConflictInstances": 2, "DeleteSubject": False}
            await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"settings": settings})
        for _ in range(STEPS):
            await script.step()
            for room in r.rooms:
                _check_no_overlap(await _items(r, room["address"]))
        await r.rest()
        assert (await r.told("GET", r.path("/pending")))["room_processing"] == 0
        own = [item for user in r.users for item in await _organized(r, user["address"])]
        for room in r.rooms:
            _check_agreement(room["address"], await _items(r, room["address"]), own)


class _Script:
    """What people do, one random step at a time."""

    def __init__(self, r: Rig, rng: random.Random) -> None:
        self._r = r
        self._rng = rng
        self._meetings: list[str] = []

    async def step(self) -> None:
        what = self._rng.choice(
            ["book", "book", "series", "move", "move", "cancel", "edit", "rooms", "respond", "forward", "wait"]
        )
        if what == "wait":
            await self._r.told("POST", "/control/clock", {"advance_s": self._rng.choice([0, 0.5, 1, 2, 5, 3600])})
        elif what in ("book", "series") or not self._meetings:
            await self._book(is_series=what == "series")
        else:
            await self._act(what)

    async def _book(self, *, is_series: bool) -> None:
        day, times = self._times()
        users = [one["address"] for one in self._r.users]
        organizer = self._rng.choice(users)
        guests = [one for one in users if one != organizer and self._rng.random() < 0.5]
        more: dict[str, Any] = {"organizer": organizer, "rooms": self._some_rooms(), "attendees": guests}
        if is_series:
            more["recurrence"] = weekly(f"2026-11-{day}", days=[DAYS[(day - 23) % 7]], zone="UTC")
        self._meetings.append((await self._r.book(**times, **more))["meeting"])

    async def _act(self, what: str) -> None:
        body: dict[str, Any] = {"meeting": self._rng.choice(self._meetings)}
        if what == "move":
            body |= self._times()[1]
        elif what == "edit":
            body["subject"] = f"Subject {self._rng.randint(1, 9)}"
        elif what == "rooms":
            body["rooms"] = self._some_rooms()
        elif what == "respond":
            body["address"] = self._rng.choice(self._r.users)["address"]
            body["answer"] = self._rng.choice(["accept", "tentative", "decline"])
        elif what == "forward":
            body["address"] = self._rng.choice(self._r.users)["address"]
            body["to"] = [self._rng.choice(self._r.rooms + self._r.users)["address"]]
        if what != "forward" and self._rng.random() < 0.4:
            body["occurrence"] = f"2026-12-{self._rng.randint(1, 8):02}"
        path = self._r.path(f"/outlook/{'edit' if what == 'rooms' else what}")
        answer = await self._r.control.post(path, json=body)
        # Cancelled before, not a series, no such day, over a neighbour, not invited: people try such things.
        assert answer.status_code in (200, 400, 404, 409), answer.text

    def _times(self) -> tuple[int, dict[str, str]]:
        day, hour = self._rng.randint(24, 27), self._rng.randint(8, 12)
        minute = self._rng.choice(("30", "45", "59"))
        return day, {"start": f"2026-11-{day}T{hour:02}:00:00", "end": f"2026-11-{day}T{hour:02}:{minute}:00"}

    def _some_rooms(self) -> list[str]:
        rooms = [one["address"] for one in self._r.rooms]
        return self._rng.sample(rooms, self._rng.choice([0, 1, 1, 1, 2]))


async def _items(r: Rig, address: str) -> list[dict[str, Any]]:
    """Tell what a room holds and means to keep: not cancelled, answered."""
    found = await r.truth(address)
    return [one for one in found if not one["is_cancelled"] and one["response"] == "accepted"]


async def _organized(r: Rig, address: str) -> list[dict[str, Any]]:
    """Tell what a person has called together, with everybody's answers; the emulator's own calendar is read, not a page."""
    (tenant,) = r.emulator.world.directory.tenants.values()
    mailbox = tenant.mailbox(address)
    assert mailbox is not None
    answers = {
        event.ical_uid: {one.person.address: one.response for one in event.content.attendees}
        for event in mailbox.calendar.view(parse_instant(WINDOW[0]), parse_instant(WINDOW[1]))
        if event.is_organizer
    }
    found = [one for one in await r.truth(address) if one["organizer"] == address]
    return [{**one, "answers": answers[one["ical_uid"]]} for one in found]


def _check_no_overlap(items: list[dict[str, Any]]) -> None:
    busy = [one for one in items if one["show_as"] != "free"]
    for one, other in itertools.pairwise(busy):
        assert one["end"] <= other["start"], (one, other)


def _check_agreement(room: str, items: list[dict[str, Any]], own: list[dict[str, Any]]) -> None:
    _check_no_overlap(items)
    held = {one["ical_uid"]: one for one in items}
    assert len(held) == len(items), "one meeting is there twice"
    for theirs in own:
        answer, mine = theirs["answers"].get(room), held.pop(theirs["ical_uid"], None)
        assert (answer == "accepted") == (mine is not None), (answer, theirs, mine)
        assert answer in (None, "accepted", "declined"), theirs
        if mine is not None:
            assert (mine["start"], mine["end"]) == (theirs["start"], theirs["end"])
    assert held == {}, "the room holds what nobody organizes"
