"""Faults of a customer's organisation against real processes, on both databases: told with their cause, healed without loss.

`tests/simulation/fault_table.py` has all of them, on virtual time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from exchange_client.messages import Problem, Room, SyncState, Tenant

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK, store_of
from tests.support.processes import Service, eventually, service_started
from tests.support.scene import Scene, scene_set, tomorrow
from tests.support.stores import ENGINES

pytestmark = pytest.mark.e2e

GRANTED = ["Calendars.ReadWrite", "MailboxSettings.Read"]


@pytest.fixture(scope="module", params=ENGINES)
def any_service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> Iterator[Service]:
    """Give a running service over one of the databases."""
    with (
        store_of(request.param) as settings,
        service_started(tmp_path_factory.mktemp("s"), emulator, **QUICK, **settings) as running,
    ):
        yield running


async def told(scene: Scene, state: Tenant.State.ValueType, reason: str) -> Problem:
    """Wait until the tenant tells a cause, and its rooms are blocked by it."""

    async def is_told() -> Problem:
        tenant = await scene.client.get_tenant(scene.tenant)
        assert tenant.state == state, Tenant.State.Name(tenant.state)
        rooms = [room async for room in scene.client.list_rooms(scene.tenant)]
        assert {room.sync.state for room in rooms} == {SyncState.SYNC_STATE_BLOCKED}
        assert {room.state for room in rooms} == {Room.STATE_CREDENTIAL_EXPIRED}
        (problem,) = [problem for problem in tenant.problems if problem.reason == reason]
        return problem

    return await eventually(is_told, f"{reason} is told", service=scene.service)


@pytest.mark.parametrize(
    ("broken", "mended", "state", "reason", "says"),
    [
        (
            {"secret_expires_at": "2020-01-01T00:00:00Z", "revoke_tokens": True},
            {"secret_expires_at": "2090-01-01T00:00:00Z"},
            Tenant.STATE_CREDENTIAL_REJECTED,
            "CREDENTIAL_EXPIRED",
            "The client secret has expired.",
        ),
        (
            {"roles": ["MailboxSettings.Read"], "revoke_tokens": True},
            {"roles": GRANTED},
            Tenant.STATE_CONSENT_MISSING,
            "CONSENT_MISSING",
            "The application has no permission to read calendars, or it was withdrawn.",
        ),
        (
            {"sign_in": {"block": "conditionalAccess"}, "revoke_tokens": True},
            {"sign_in": {"block": "none"}},
            Tenant.STATE_CREDENTIAL_REJECTED,
            "SIGN_IN_BLOCKED",
            "A Conditional Access policy of the customer keeps the application from signing in.",
        ),
    ],
    ids=["expired", "consent", "blocked"],
)
async def test_fault_is_told_by_its_cause_and_what_happened_meanwhile_is_read(
    any_service: Service,
    emulator: RunningEmulator,
    broken: dict[str, Any],  # Any: JSON
    mended: dict[str, Any],
    state: Tenant.State.ValueType,
    reason: str,
    says: str,
) -> None:
    async with scene_set(any_service, emulator, rooms=2) as scene, scene.watching() as watcher:
        await scene.directory.call("PATCH", "app", broken)
        await scene.directory.book(scene.mailbox(0), tomorrow(9))
        problem = await told(scene, state, reason)
        assert problem.message == says
        assert problem.actor == Problem.ACTOR_CUSTOMER
        await scene.directory.book(scene.mailbox(1), tomorrow(11))
        await scene.directory.call("PATCH", "app", mended)
        await scene.state(Tenant.STATE_ACTIVE)
        await scene.settled_rooms()
        await scene.converged(watcher)
