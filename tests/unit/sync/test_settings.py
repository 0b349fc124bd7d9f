"""A tenant's own settings in the reading of its rooms."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

from sidecar.model.change import Cause, ChangeKind
from sidecar.model.privacy import Privacy, PrivateEvents, Visibility
from sidecar.model.room import SyncState, freshness_limits, sync_state
from sidecar.model.tenant_settings import TenantSettings
from sidecar.settings import SyncSettings
from sidecar.sync.rhythm import next_check_s
from tests.support.builders import NOW, TENANT, after, make_room
from tests.support.desk import Desk
from tests.support.fake_calendar import event
from tests.support.stores import decoded

OLD = "2026-01-01T00:00:00Z"


async def update(desk: Desk, **settings: Any) -> None:  # any setting
    await desk.opened.store.tenants.update(TENANT, lambda name, _: (name, TenantSettings(**settings)), etag="")


async def told(desk: Desk) -> list[tuple[ChangeKind, int, str]]:
    return [(change.kind, change.cause, decoded(change.body)["subject"]) for change in await desk.told()]


async def test_smaller_horizon_lets_bookings_leave_and_a_larger_one_lets_them_come(desk: Desk) -> None:
    """They still exist, so they are not told as removed; and nothing about it was lost."""
    await desk.subscribe()
    for name, days in (("far", 20), ("near", 1), ("past", -5)):
        desk.calendar.put(event(name, after(days=days), subject=name, lastModifiedDateTime=OLD))
    await desk.compare()
    await update(desk, past_days=1, future_days=3)
    applied = await desk.compare()
    assert (applied.changes_count, applied.unannounced_count, applied.drift_count) == (2, 0, 0)
    assert set(await told(desk)) == {(ChangeKind.LEFT_SCOPE, Cause.OUTSIDE_HORIZON, name) for name in ("far", "past")}
    assert desk.room.horizon is not None
    assert desk.room.horizon.end_at - desk.room.horizon.start_at == timedelta(days=5)
    await update(desk, future_days=30)
    applied = await desk.compare()
    assert (applied.changes_count, applied.unannounced_count, applied.drift_count) == (2, 0, 0)
    assert set((await told(desk))[2:]) == {(ChangeKind.UPSERTED, Cause.NONE, name) for name in ("far", "past")}


async def test_check_after_a_change_of_horizon_reads_everything(desk: Desk) -> None:
    """Its delta link is bound to the former window."""
    await desk.compare()
    await update(desk, future_days=3)
    desk.calendar.put(event("e1", after(hours=1)))
    await desk.compare()
    assert desk.room.delta is not None
    assert desk.room.delta.window == desk.room.horizon


async def test_masked_calendar_has_no_endless_changes(desk: Desk) -> None:
    """What is compared is what was let in, so a masked subject differs from nothing."""
    await update(desk, privacy=Privacy(subject=Visibility.MASKED, organizer=Visibility.HASHED))
    desk.calendar.put(event("e1", after(hours=1), subject="One"))
    await desk.compare()
    for subject in ("One", "Two"):
        desk.calendar.put(event("e1", after(hours=1), subject=subject, changeKey=f"ck-{subject}"))
        await desk.hint("e1")
        assert await desk.read_hinted()
        assert (await desk.check()).changes_count == 0
        assert (await desk.compare()).changes_count == 0
    assert await told(desk) == []


async def test_hashed_subject_changes_with_what_it_stands_for(desk: Desk) -> None:
    await update(desk, privacy=Privacy(subject=Visibility.HASHED))
    desk.calendar.put(event("e1", after(hours=1), subject="One"), event("e2", after(hours=2), subject="One"))
    await desk.compare()
    desk.calendar.put(event("e1", after(hours=1), subject="Two"), event("e3", after(hours=3), subject="One"))
    assert (await desk.compare()).changes_count == 2
    rows = await desk.opened.fetch("SELECT body FROM bookings ORDER BY start_at")
    first, second, third = (decoded(bytes(row[0]))["subject"] for row in rows)
    assert "" != first != second == third


async def test_looser_visibility_shows_what_was_hidden_and_is_no_drift(desk: Desk) -> None:
    await desk.subscribe()
    desk.calendar.put(event("e1", after(hours=1), subject="Secret", sensitivity="private", lastModifiedDateTime=OLD))
    await desk.compare()
    assert await told(desk) == []
    await update(desk, privacy=Privacy(private_events=PrivateEvents.LIKE_OTHERS))
    applied = await desk.compare()
    assert (applied.changes_count, applied.unannounced_count, applied.drift_count) == (1, 0, 0)
    assert await told(desk) == [(ChangeKind.UPSERTED, Cause.NONE, "Secret")]


async def test_settings_that_change_during_a_read_win(desk: Desk) -> None:
    """What was read with the former ones is thrown away, and its hints are kept for the next read."""
    await desk.compare()
    desk.calendar.put(event("e1", after(hours=1), subject="Secret"))
    await desk.hint("e1")
    room = await desk.opened.reload(desk.room)
    await update(desk, privacy=Privacy(subject=Visibility.MASKED))
    assert await desk.sync.compare(room, desk.tenant, lease=desk.lease) is None
    assert await desk.sync.check(room, desk.tenant, lease=desk.lease) is None
    assert await desk.sync.read_hinted(room, desk.tenant, lease=desk.lease)
    assert await desk.hints() == ["e1"]
    assert (await desk.compare()).changes_count == 1
    assert [subject for _, _, subject in await told(desk)] == [""]


def test_tenants_own_pace_comes_before_the_servers() -> None:
    settings = SyncSettings(check_interval_s=900)
    own = make_room(settings=TenantSettings(check_interval_s=60))
    for room, least_s, most_s in ((own, 54, 66), (make_room(), 810, 990)):
        wait_s = next_check_s(room, now=NOW, is_pressed=False, settings=settings, rng=Random(1))
        assert least_s <= wait_s <= most_s


def test_room_is_stale_by_its_tenants_own_pace() -> None:
    limits = freshness_limits(SyncSettings(check_interval_s=900, freshness_budget_s=300))
    for interval_s, limit_s in ((60, 366), (3_600, 4_260)):
        room = make_room(settings=TenantSettings(check_interval_s=interval_s))
        for age_s, state in ((limit_s - 1, SyncState.LIVE), (limit_s + 1, SyncState.STALE)):
            old = replace(room, fresh_as_of_at=after(seconds=-age_s))
            assert sync_state(old, now=NOW, limits=limits) is state
