"""Weeks of random office life; at rest the mailboxes agree with each other, whatever happened on the way."""

import itertools
import random
from typing import Any

import pytest

from tests.unit.emulator.rig import Rig, rig, weekly

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize("seed", range(8))
async def test_rooms_and_organizers_agree_at_rest(seed: int) -> None:
    rng = random.Random(seed)
    async with rig(seed=seed, calm=False) as r:
        await r.subscribe()
        meetings: list[str] = []
        for _ in range(40):
            await _act(r, rng, meetings)
        await r.rest()
        for room in r.rooms:
            await _check_room(r, room["address"])


async def _act(r: Rig, rng: random.Random, meetings: list[str]) -> None:
    day, hour = rng.randint(24, 28), rng.randint(8, 17)
    times = {"start": f"2026-11-{day}T{hour:02}:00:00", "end": f"2026-11-{day}T{hour:02}:{rng.choice((30, 45))}:00"}
    what = rng.choice(["book", "book", "series", "move", "cancel", "edit", "wait"])
    if what == "wait":
        await r.told("POST", "/control/clock", {"advance_s": rng.randint(0, 5)})
    elif what in ("book", "series") or not meetings:
        more: dict[str, Any] = {"organizer": rng.choice(r.users)["address"], "rooms": [rng.choice(r.rooms)["address"]]}
        if what == "series":
            days = [("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")[(day - 23) % 7]]
            more["recurrence"] = weekly(f"2026-11-{day}", days=days, zone="UTC")
        meetings.append((await r.book(**times, **more))["meeting"])
    else:
        body: dict[str, Any] = {"meeting": rng.choice(meetings)}
        if what == "move":
            body |= times
        elif what == "edit":
            body["subject"] = f"Subject {rng.randint(1, 9)}"
        if rng.random() < 0.3:
            body["occurrence"] = f"2026-12-{rng.randint(1, 5):02}"
        answer = await r.control.post(r.path(f"/outlook/{what}"), json=body)
        assert answer.status_code in (200, 400, 404), answer.text  # cancelled before, not a series, no such day


async def _check_room(r: Rig, address: str) -> None:
    settled = [item for item in await r.truth(address) if not item["is_cancelled"]]
    assert {item["response"] for item in settled} <= {"accepted"}
    for one, other in itertools.pairwise(settled):
        assert one["end"] <= other["start"], (one, other)
    own = {}
    for user in r.users:
        for item in await r.truth(user["address"]):
            own[item["ical_uid"]] = item
    for item in settled:
        theirs = own[item["ical_uid"]]
        assert (item["start"], item["end"]) == (theirs["start"], theirs["end"])
