"""The horizon moves with the days: what falls out at its past end leaves the scope, what comes in at the other end is news."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from exchange_client.messages import Booking

from sidecar.model.change import Cause, ChangeKind
from tests.support.mirrored import Mirrored, mirrored
from tests.support.truth import ZONE
from tests.unit.emulator.rig import START, Rig, rig, weekly, wire_event

pytestmark = pytest.mark.looptime
DAY_S = timedelta(days=1).total_seconds()
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DAILY = {"pattern": {"type": "daily", "interval": 1}}


async def pass_days(r: Rig, mirror: Mirrored, days: float) -> None:
    """Let days pass, and the full read come that belongs to the new one."""
    await mirror.advance(days * DAY_S)
    await r.sign_in()
    await mirror.compare()
    await mirror.check_equal()


async def news(mirror: Mirrored, after_revision: int) -> list[tuple[ChangeKind, int, datetime]]:
    """Return what watchers are told, by start: kind, cause, start."""
    told = []
    for change in await mirror.told(after_revision):
        start = Booking.FromString(change.body).time.start_time.ToDatetime(START.tzinfo)
        told.append((change.kind, change.cause, start))
    return sorted(told, key=lambda one: one[2])


async def revision(mirror: Mirrored) -> int:
    """Return the newest revision."""
    return await mirror.opened.head()


async def test_booking_that_falls_out_of_the_past_leaves_the_scope(tmp_path: Path) -> None:
    """It was held, and is not deleted; one that straddles the edge stays until it is wholly outside."""
    async with rig() as r, mirrored(r, tmp_path, past_days=1, future_days=5) as mirror:
        await r.book("2026-11-23T09:00:00", "2026-11-23T10:00:00", time_zone="UTC")
        await r.book("2026-11-23T22:00:00", "2026-11-24T02:00:00", time_zone="UTC")
        await r.rest()
        await mirror.compare()
        head = await revision(mirror)
        await pass_days(r, mirror, 1)
        assert await news(mirror, head) == []
        await pass_days(r, mirror, 1)
        morning, night = START.replace(hour=9), START.replace(hour=22)
        assert await news(mirror, head) == [(ChangeKind.LEFT_SCOPE, Cause.OUTSIDE_HORIZON, morning)]
        await pass_days(r, mirror, 1)
        assert (await news(mirror, head))[1:] == [(ChangeKind.LEFT_SCOPE, Cause.OUTSIDE_HORIZON, night)]
        assert await mirror.copy() == []


async def test_endless_series_gains_and_loses_an_occurrence_each_day(tmp_path: Path) -> None:
    """Nobody changed it, so neither a notification nor delta says anything; and none of it is drift."""
    async with rig() as r, mirrored(r, tmp_path, past_days=1, future_days=5) as mirror:
        endless = {**DAILY, "range": {"type": "noEnd", "startDate": "2026-11-23", "recurrenceTimeZone": ZONE}}
        body = wire_event("2026-11-23T10:00:00", "2026-11-23T11:00:00", zone=ZONE, recurrence=endless)
        answer = await r.graph.post(f"/users/{r.room}/events", json=body)  # a room would decline the invitation
        assert answer.status_code == 201, answer.text
        await mirror.compare()
        head = await revision(mirror)
        await pass_days(r, mirror, 3)
        kinds = [kind for kind, _, _ in await news(mirror, head)]
        assert kinds == [ChangeKind.LEFT_SCOPE] * 2 + [ChangeKind.UPSERTED] * 3
        assert (await mirror.reloaded()).drift_count == 0
        starts = [stay.start_at for stay in await mirror.copy()]
        assert len(starts) == 6 + 1


async def test_booking_beyond_the_future_end_arrives_when_its_day_does(tmp_path: Path) -> None:
    """Also one that begins inside and ends outside was there all the time."""
    async with rig() as r, mirrored(r, tmp_path, past_days=1, future_days=3) as mirror:
        await r.book("2026-11-26T22:00:00", "2026-11-27T02:00:00", time_zone="UTC")
        await r.book("2026-11-27T09:00:00", "2026-11-27T10:00:00", time_zone="UTC")
        await r.rest()
        await mirror.compare()
        assert [stay.start_at.day for stay in await mirror.copy()] == [26]
        head = await revision(mirror)
        await mirror.check()
        assert await news(mirror, head) == []
        await pass_days(r, mirror, 1)
        assert [(kind, start.day) for kind, _, start in await news(mirror, head)] == [(ChangeKind.UPSERTED, 27)]


async def test_coverage_moves_only_with_a_full_read(tmp_path: Path) -> None:
    """A snapshot says what it is complete for; a check at midnight knows nothing of the new day."""
    async with rig() as r, mirrored(r, tmp_path, past_days=1, future_days=3) as mirror:
        await mirror.compare()
        before = (await mirror.reloaded()).horizon
        await mirror.advance(DAY_S)
        await r.sign_in()
        await r.book("2026-11-27T09:00:00", "2026-11-27T10:00:00", time_zone="UTC")
        await r.rest()
        await mirror.check()
        assert (await mirror.reloaded()).horizon == before
        await mirror.check_equal()
        await mirror.compare()
        after = (await mirror.reloaded()).horizon
        assert before is not None
        assert after is not None
        assert (after.start_at - before.start_at, after.end_at - before.end_at) == (timedelta(days=1),) * 2
        await mirror.check_equal()


@pytest.mark.parametrize("days", [122, 124, 335, 337], ids=["spring", "spring, after", "autumn", "autumn, after"])
async def test_days_on_which_the_clocks_change_are_like_any_other(tmp_path: Path, days: int) -> None:
    """Whole days of 23 and 25 hours, and a series that keeps its hour, at both edges of the horizon and inside of it."""
    async with rig() as r, mirrored(r, tmp_path, past_days=2, future_days=3) as mirror:
        await mirror.advance((days - 1) * DAY_S)
        await r.sign_in()
        first = r.clock.now() - timedelta(days=4)
        series = {**DAILY, "range": {"type": "numbered", "numberOfOccurrences": 20, "startDate": f"{first:%F}"}}
        series["range"] |= {"recurrenceTimeZone": ZONE}
        await r.book(f"{first:%F}T09:00:00", f"{first:%F}T10:00:00", recurrence=series, time_zone=ZONE)
        for number in range(20):
            day, following = (first + timedelta(days=number + more) for more in (0, 1))
            body = {
                "subject": "Whole day",
                "isAllDay": True,
                "start": {"dateTime": f"{day:%F}T00:00:00", "timeZone": ZONE},
                "end": {"dateTime": f"{following:%F}T00:00:00", "timeZone": ZONE},
            }
            answer = await r.graph.post(f"/users/{r.room}/events", json=body)
            assert answer.status_code == 201, answer.text
        await r.rest()
        await mirror.compare()
        await mirror.check_equal()
        for _ in range(5):
            head = await revision(mirror)
            await pass_days(r, mirror, 1)
            kinds = {kind for kind, _, _ in await news(mirror, head)}
            assert kinds == {ChangeKind.LEFT_SCOPE, ChangeKind.UPSERTED}
            mirror.requests.clear()
            await mirror.check()
            assert len(mirror.requests) == 1, "what was read is known"
        assert (await mirror.reloaded()).drift_count == 0


async def test_series_that_was_cut_while_part_of_it_left_the_scope_is_told_right(tmp_path: Path) -> None:
    """Its past leaves the scope, its future is removed; the two are not the same to a reader."""
    async with rig() as r, mirrored(r, tmp_path, past_days=1, future_days=30) as mirror:
        booked = await r.book(
            "2026-11-23T09:00:00", "2026-11-23T10:00:00", recurrence=weekly("2026-11-23", days=DAYS), time_zone=ZONE
        )
        await r.rest()
        await mirror.compare()
        head = await revision(mirror)
        await mirror.advance(3 * DAY_S)
        await r.sign_in()
        await r.told("POST", r.path("/outlook/cancel"), {"meeting": booked["meeting"]})
        await r.rest()
        await mirror.compare()
        await mirror.check_equal()
        kinds = [kind for kind, _, _ in await news(mirror, head)]
        assert kinds == [ChangeKind.LEFT_SCOPE] * 2 + [ChangeKind.REMOVED] * 2
