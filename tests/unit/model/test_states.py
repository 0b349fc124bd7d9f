"""States of rooms and tenants follow from facts."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.model.change import Change, ChangeKind
from sidecar.model.ids import RoomUid, TenantId, TenantUid
from sidecar.model.plan import RoomPlan
from sidecar.model.room import FreshnessLimits, RoomState, SyncState, freshness_limits, sync_state
from sidecar.model.tenant import Cloud, Credential, CredentialInfo, CredentialKind, Tenant, TenantState
from sidecar.settings import SyncSettings
from tests.support.builders import CANARY, NOW, after, make_booking, make_problem, make_room, removal, upsert

BLOCKED = make_problem("CREDENTIAL_REJECTED")


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, RoomState.UP),
        ({"fresh_as_of_at": None, "horizon": None}, RoomState.IMPORTING),
        ({"problem": make_problem("MAILBOX_ACCESS_DENIED")}, RoomState.DENIED),
        ({"problem": make_problem("MAILBOX_NOT_FOUND")}, RoomState.NOT_FOUND),
        ({"problem": make_problem("MAILBOX_NOT_IN_CLOUD")}, RoomState.NOT_CLOUD_MAILBOX),
        ({"problem": make_problem("EXCHANGE_UNAVAILABLE")}, RoomState.DEGRADED),
        ({"subscription_problem": make_problem("WEBHOOK_UNREACHABLE")}, RoomState.DEGRADED),
        ({"hold_problem": make_problem("DELETION_HELD")}, RoomState.DEGRADED),
        ({"tenant_problem": BLOCKED}, RoomState.CREDENTIAL_EXPIRED),
        ({"tenant_problem": BLOCKED, "problem": make_problem("MAILBOX_NOT_FOUND")}, RoomState.CREDENTIAL_EXPIRED),
        ({"tenant_problem": make_problem("EXCHANGE_UNAVAILABLE")}, RoomState.DEGRADED),
        ({"fresh_as_of_at": None, "problem": make_problem("EXCHANGE_UNAVAILABLE")}, RoomState.IMPORTING),
        ({"fresh_as_of_at": None, "problem": make_problem("MAILBOX_NOT_FOUND")}, RoomState.NOT_FOUND),
    ],
)
def test_state_of_a_room_is_the_widest_obstacle(facts: dict[str, Any], state: RoomState) -> None:
    """The tenant's before the mailbox's, the mailbox's before the import, the import before what only slows."""
    assert make_room(**facts).state is state


LIMITS = FreshnessLimits(live_s=100, polling_s=30, outage_s=20)
AWAY = make_problem("EXCHANGE_UNAVAILABLE")
THROTTLED_LATER = make_problem("EXCHANGE_THROTTLED", seen_at=after(seconds=9))
UNSUBSCRIBED = {"is_subscribed": False}


@pytest.mark.parametrize(
    ("facts", "age_s", "state"),
    [
        ({}, 0, SyncState.LIVE),
        ({}, 100, SyncState.LIVE),
        ({}, 101, SyncState.STALE),
        ({}, -60, SyncState.LIVE),
        ({}, -61, SyncState.STALE),
        (UNSUBSCRIBED, -61, SyncState.STALE),
        (UNSUBSCRIBED, 0, SyncState.POLLING),
        (UNSUBSCRIBED, 30, SyncState.POLLING),
        (UNSUBSCRIBED, 31, SyncState.STALE),
        ({"subscription_problem": make_problem("WEBHOOK_UNREACHABLE")}, 30, SyncState.POLLING),
        ({"subscription_problem": make_problem("WEBHOOK_UNREACHABLE")}, 31, SyncState.STALE),
        ({"fresh_as_of_at": None}, 101, SyncState.INITIALIZING),
        ({"problem": make_problem("MAILBOX_NOT_FOUND")}, 0, SyncState.BLOCKED),
        ({"problem": AWAY}, 20, SyncState.LIVE),
        ({"problem": AWAY}, 21, SyncState.STALE),
        ({"problem": AWAY, **UNSUBSCRIBED}, 21, SyncState.STALE),
        ({"problem": make_problem("SOMETHING_ELSE")}, 21, SyncState.LIVE),
        (
            {"problem": AWAY, "tenant_problem": make_problem("EXCHANGE_THROTTLED", seen_at=after(seconds=9))},
            21,
            SyncState.STALE,
        ),
        ({"hold_problem": make_problem("DELETION_HELD")}, 0, SyncState.LIVE),
        ({"tenant_problem": AWAY}, 20, SyncState.LIVE),
        ({"tenant_problem": AWAY}, 21, SyncState.STALE),
        ({"tenant_problem": AWAY, **UNSUBSCRIBED}, 21, SyncState.STALE),
        ({"tenant_problem": make_problem("EXCHANGE_THROTTLED")}, 21, SyncState.STALE),
        ({"tenant_problem": make_problem("SOMETHING_ELSE")}, 21, SyncState.LIVE),
        ({"tenant_problem": AWAY, "fresh_as_of_at": None}, 21, SyncState.INITIALIZING),
        ({"tenant_problem": BLOCKED, "fresh_as_of_at": None}, 0, SyncState.BLOCKED),
    ],
)
def test_copy_is_trusted_no_further_than_its_last_check(facts: dict[str, Any], age_s: int, state: SyncState) -> None:
    """A room is never silently stale: not its own check, nor the tenant's way to Exchange, may be older than is promised."""
    assert sync_state(make_room(**facts), now=after(seconds=age_s), limits=LIMITS) is state


def test_limits_follow_from_how_often_rooms_are_checked() -> None:
    """A check may be late by a tenth of jitter and the budget; then nobody vouches for the room."""
    limits = freshness_limits(SyncSettings(check_interval_s=900, freshness_budget_s=300))
    assert (limits.live_s, limits.polling_s, limits.outage_s) == (1_290, 300, 300)


def test_problems_are_told_the_widest_first() -> None:
    """Mending the first may mend the rest."""
    room = make_room(
        subscription_problem=make_problem("C"), problem=make_problem("B"), tenant_problem=make_problem("A")
    )
    assert [problem.reason for problem in room.problems] == ["A", "B", "C"]
    assert make_room().problems == []
    assert room.name == "tenants/acme/rooms/r1"


def test_problem_seen_again_keeps_its_beginning() -> None:
    """Another cause has a beginning of its own."""
    first, again = make_problem(seen_at=NOW), make_problem(seen_at=after(hours=1))
    assert again.since(first).first_seen_at == NOW
    assert again.since(first).last_seen_at == after(hours=1)
    assert again.since(make_problem("OTHER")).first_seen_at == after(hours=1)
    assert again.since(None) == again


def make_tenant(**changes: Any) -> Tenant:  # any field of a tenant
    facts: dict[str, Any] = {
        "uid": TenantUid("t1"),
        "tenant_id": TenantId("acme"),
        "display_name": "Acme",
        "directory_id": "d",
        "cloud": Cloud.GLOBAL,
        "problem": None,
        "verified_at": NOW,
        "deleted_at": None,
        "credential": CredentialInfo(
            application_id="a", kind=CredentialKind.CLIENT_SECRET, fingerprint="f", expires_at=None, proven_at=None
        ),
        "version": 1,
        "revision": 0,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Tenant(**(facts | changes))


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, TenantState.ACTIVE),
        ({"verified_at": None}, TenantState.VERIFYING),
        ({"problem": BLOCKED}, TenantState.CREDENTIAL_REJECTED),
        ({"problem": make_problem("DIRECTORY_NOT_FOUND")}, TenantState.CREDENTIAL_REJECTED),
        ({"problem": make_problem("CONSENT_MISSING"), "verified_at": None}, TenantState.CONSENT_MISSING),
        ({"problem": make_problem("EXCHANGE_UNAVAILABLE")}, TenantState.DEGRADED),
        ({"problem": BLOCKED, "deleted_at": NOW}, TenantState.DELETED),
    ],
)
def test_state_of_a_tenant_follows_from_its_facts(facts: dict[str, Any], state: TenantState) -> None:
    """Nothing about it is stored, so nothing can contradict it."""
    assert make_tenant(**facts).state is state


def test_credential_never_shows_its_proof() -> None:
    """Not even to somebody who logs it."""
    credential = Credential(application_id="a", kind=CredentialKind.CLIENT_SECRET, proof=CANARY.encode())
    assert CANARY not in f"{credential} {credential!r}"


def test_plan_counts_what_watchers_hear_of() -> None:
    """What never took the room comes and goes unheard."""
    plan = RoomPlan(
        upserts=(upsert(make_booking("a")), upsert(make_booking("b"), None)),
        removals=(removal("c"), removal("d", None)),
    )
    assert plan.news_count == 2


def test_three_kinds_of_entry_are_about_a_booking() -> None:
    """The others say something about a room or the tenant."""
    about = [kind for kind in ChangeKind if Change(1, RoomUid("r"), kind, 0, None, b"", NOW).is_booking]
    assert about == [ChangeKind.UPSERTED, ChangeKind.REMOVED, ChangeKind.LEFT_SCOPE]
