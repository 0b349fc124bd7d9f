"""A room that lives on delta checks alone, against the emulator in its worst delta moods: its copy equals its calendar."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from sidecar.emulator.moods import Moods
from tests.property.test_readers_of_the_emulator import _Script as Script
from tests.support.mirrored import Mirrored, mirrored
from tests.unit.emulator.rig import rig, weekly

pytestmark = pytest.mark.looptime
STEPS = 60
UNKIND = Moods(
    delta_empty_page_share=0.4,
    delta_repeat_share=0.4,
    delta_whole_series_share=0.5,
    small_page_share=0.5,
    delta_odd_expiry_share=0.9,
    delta_token_lifetime_s=600.0,
    throttle_share=0.0,
    unavailable_share=0.0,
    flaky_token_share=0.0,
    documented_limits=False,
)
FORGOTTEN = [
    (410, "SyncStateNotFound"),
    (410, "syncStateNotFound"),
    (410, "ResyncRequired"),
    (410, "SyncStateInvalid"),
    (400, "SyncStateInvalid"),
    (400, "ResyncRequired"),
    (404, "SyncStateNotFound"),
]


def reads(mirror: Mirrored) -> list[str]:
    """Return what was asked for of the calendar since the last clearing, in words; whose mailbox it is, is not of it."""
    words = {
        "/calendarView/delta?start": "first round",
        "/calendarView/delta?": "round",
        "/calendarView?": "view",
        "userPrincipalName": "identity",
    }
    named = [next((word for part, word in words.items() if part in path), "event") for path in mirror.requests]
    return [word for word in named if word != "identity"]


@pytest.mark.parametrize("seed", [*range(6), 53])
async def test_room_that_is_only_checked_follows_its_calendar(tmp_path: Path, seed: int) -> None:
    """Whatever people do: no notification is there, and the full read at the beginning stays the only one needed.

    With seed 53 somebody answers for a room whose cancellation is on its way, and the room is invited again later.
    """
    rng = Random(seed)
    async with rig(seed=seed, moods=UNKIND) as r, mirrored(r, tmp_path, seed=seed, hints_max=100) as mirror:
        script = Script(r, rng)
        await mirror.compare()
        for number in range(STEPS):
            await script.step()
            if number % 3 == 0:
                await mirror.check()
            if number % 6 == 0:
                await r.rest()  # rooms answer while one reads, and then the calendar is ahead
                await mirror.check()
                await mirror.check_equal()
        await r.rest()
        before_at = r.clock.now()
        await mirror.check()
        await mirror.check_equal()
        fresh_at = (await mirror.reloaded()).fresh_as_of_at
        assert fresh_at is not None
        assert before_at <= fresh_at < r.clock.now()


async def test_quiet_round_is_one_request_and_an_announced_change_is_not_read_again(tmp_path: Path) -> None:
    """Microsoft's etag is the change key that the direct read gave, of single meetings and of occurrences."""
    async with rig() as r, mirrored(r, tmp_path) as mirror:
        await r.book("2026-11-24T09:00:00", "2026-11-24T10:00:00")
        await r.book("2026-11-25T09:00:00", "2026-11-25T10:00:00", recurrence=weekly("2026-11-25", days=["wednesday"]))
        await r.rest()
        await mirror.compare()
        mirror.requests.clear()
        await mirror.check()
        assert reads(mirror) == ["round"]
        await r.book("2026-11-24T11:00:00", "2026-11-24T12:00:00")
        await r.book("2026-11-26T09:00:00", "2026-11-26T10:00:00", recurrence=weekly("2026-11-26", days=["thursday"]))
        await r.rest()
        place = (await mirror.reloaded()).delta
        await mirror.check()
        await mirror.check_equal()
        assert place is not None
        await mirror.opened.execute("UPDATE rooms SET delta_link = $1", place.link)
        mirror.requests.clear()
        await mirror.check()
        assert reads(mirror) == ["round"]


@pytest.mark.parametrize(("status", "code"), FORGOTTEN)
async def test_forgotten_link_costs_a_full_read_and_no_change(tmp_path: Path, status: int, code: str) -> None:
    """In every spelling that was seen."""
    async with rig() as r, mirrored(r, tmp_path) as mirror:
        await mirror.compare()
        await r.book("2026-11-24T09:00:00", "2026-11-24T10:00:00")
        await r.rest()
        await r.told("POST", r.path(f"/calendars/{r.room}/expire_delta"), {"status": status, "code": code})
        mirror.requests.clear()
        await mirror.check()
        await mirror.check_equal()
        assert reads(mirror) == ["round", "first round", "view"]
        mirror.requests.clear()
        await mirror.check()
        assert reads(mirror) == ["round"]


async def test_endless_rounds_are_left_and_tried_again_a_day_later(tmp_path: Path) -> None:
    """Meanwhile the room is read as a whole, and stays right."""
    async with rig() as r, mirrored(r, tmp_path) as mirror:
        await r.book("2026-11-24T09:00:00", "2026-11-24T10:00:00")
        await r.rest()
        await mirror.compare()
        await r.told("POST", r.path(f"/calendars/{r.room}/endless_delta"), {"on": True})
        await r.book("2026-11-24T11:00:00", "2026-11-24T12:00:00")
        await r.rest()
        await mirror.check()
        await mirror.check_equal()
        mirror.requests.clear()
        await mirror.check()
        assert reads(mirror) == ["view"]
        await r.told("POST", r.path(f"/calendars/{r.room}/endless_delta"), {"on": False})
        await mirror.advance(timedelta(days=1, seconds=1).total_seconds())
        await r.sign_in()
        mirror.requests.clear()
        await mirror.check()
        assert reads(mirror) == ["first round", "view"]
        mirror.requests.clear()
        await mirror.check()
        assert reads(mirror) == ["round"]
