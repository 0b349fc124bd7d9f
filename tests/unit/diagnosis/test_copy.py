"""What is known of copies, told for one room or for many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sidecar.diagnosis.copy import judge_drift, judge_freshness, judge_subscription
from sidecar.errors import CredentialRejected, SubscriptionRefused
from sidecar.model.check import CheckOutcome, CheckResult
from sidecar.model.lifecycle import Suspension
from sidecar.model.room import Room, freshness_limits
from sidecar.settings import SyncSettings
from sidecar.sync.problems import problem_of
from tests.support.builders import NOW
from tests.support.stores import ManualClock, open_store

PASSED, WARNING, FAILED, SKIPPED = CheckOutcome
LIMITS = freshness_limits(SyncSettings())


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    """Give a room that was read a moment ago, and is announced."""
    async with open_store(tmp_path / "c.sqlite3", clock=ManualClock()) as db:
        await db.add_tenant()
        yield replace(await db.add_filled_room("r1"), is_subscribed=True)


def fresh(*rooms: Room) -> CheckResult:
    return judge_freshness(rooms, limits=LIMITS, now=NOW)


def announced(*rooms: Room, has_url: bool = True) -> CheckResult:
    return judge_subscription(rooms, has_url=has_url, now=NOW)


def reason_of(result: CheckResult) -> str | None:
    return None if result.problem is None else result.problem.reason


def test_good_room_passes_all(room: Room) -> None:
    assert [check.outcome for check in (fresh(room), announced(room), judge_drift([room], now=NOW))] == [PASSED] * 3


def test_without_rooms_there_is_nothing_to_say() -> None:
    assert {check.outcome for check in (fresh(), announced(), judge_drift([], now=NOW))} == {SKIPPED}


def test_room_without_a_subscription_is_told_by_what_stands_in_its_way(room: Room) -> None:
    bare = replace(room, is_subscribed=False)
    refused = problem_of(SubscriptionRefused("no"), now=NOW, next_check_at=None)
    blocked = problem_of(CredentialRejected("no"), now=NOW, next_check_at=None)
    assert reason_of(announced(bare)) == "SUBSCRIPTION_PENDING"
    assert reason_of(announced(replace(bare, subscription_problem=refused))) == "SUBSCRIPTION_REFUSED"
    assert reason_of(announced(replace(bare, tenant_problem=blocked))) == "CREDENTIAL_REJECTED"
    assert announced(bare, has_url=False).outcome is SKIPPED


def test_stale_room_among_good_ones_is_counted_and_named(room: Room) -> None:
    stale = replace(room, uid=room.uid + "x", room_id=room.room_id + "x", fresh_as_of_at=NOW - timedelta(hours=3))  # type: ignore[arg-type]  # texts
    result = fresh(room, stale)
    assert (result.outcome, reason_of(result)) == (FAILED, "ROOM_STALE")
    assert (result.facts["fresh_count"], result.facts["rooms"]) == ("1", "r1x")


def test_what_is_meant_to_be_old_is_no_failure(room: Room) -> None:
    new = replace(room, fresh_as_of_at=None)
    suspended = replace(room, suspension=Suspension(since_at=NOW, reason=""))
    assert (fresh(new).outcome, reason_of(fresh(new))) == (WARNING, "ROOM_IMPORTING")
    assert (fresh(suspended).outcome, reason_of(fresh(suspended))) == (WARNING, "TENANT_SUSPENDED")


def test_drift_is_counted_over_all_rooms(room: Room) -> None:
    result = judge_drift([room, replace(room, drift_count=2)], now=NOW)
    assert (result.outcome, reason_of(result), result.facts["drift_count"]) == (WARNING, "ROOM_DRIFT", "2")
