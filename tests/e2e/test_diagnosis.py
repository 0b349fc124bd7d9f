"""What people are told when they ask why something does not work."""

from __future__ import annotations

import asyncio

import pytest
from exchange_client import ExchangeClient
from exchange_client.messages import CheckResult, Problem, Tenant

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import Service, run_cli
from tests.support.scene import Scene, booking_changes, directory_made, scene_set, tomorrow

pytestmark = pytest.mark.e2e


def outcomes(checks: object) -> dict[str, str]:
    """Return each check's outcome by its name."""
    return {
        check.check_id: CheckResult.Outcome.Name(check.outcome).removeprefix("OUTCOME_").lower()
        for check in checks  # type: ignore[attr-defined]  # a repeated field
    }


async def test_tenant_in_order_passes_and_the_command_says_so(service: Service, emulator: RunningEmulator) -> None:
    async with scene_set(service, emulator, rooms=2) as scene:
        told = await asyncio.to_thread(run_cli, "tenant", "verify", scene.tenant_id, "--target", service.target)
        assert told.returncode == 0, told.stderr
        assert "2 of 2 rooms can be read." in told.stdout
        assert "active" in told.stdout.splitlines()[0]


async def test_mended_tenant_is_in_use_again_by_the_time_verify_answers(
    service: Service, emulator: RunningEmulator
) -> None:
    async with directory_made(emulator, rooms=2) as directory, ExchangeClient.connect(service.target) as client:
        scene = Scene(service, client, directory, tenant_id=f"t-{directory.id[:8]}")
        await directory.call("PATCH", "app", {"roles": []})
        await scene.register()
        await scene.map_all()
        refused = await client.verify_tenant(scene.tenant)
        assert outcomes(refused.checks)["consent.calendars"] == "failed"
        assert refused.tenant.state == Tenant.STATE_CONSENT_MISSING
        told = await asyncio.to_thread(run_cli, "tenant", "verify", scene.tenant_id, "--target", service.target)
        assert told.returncode == 1
        assert "the customer's Microsoft 365 administrator" in told.stdout
        await directory.call("PATCH", "app", {"roles": ["Calendars.ReadWrite"]})
        healed = await client.verify_tenant(scene.tenant)
        assert set(outcomes(healed.checks).values()) == {"passed"}
        assert healed.tenant.state == Tenant.STATE_ACTIVE
        await scene.settled_rooms()


async def test_verify_finds_a_withdrawn_consent_at_once(service: Service, emulator: RunningEmulator) -> None:
    async with scene_set(service, emulator, rooms=2) as scene:
        await scene.directory.call("PATCH", "app", {"roles": []})
        found = await scene.client.verify_tenant(scene.tenant)
        assert outcomes(found.checks) == {
            "token.acquire": "passed",
            "token.claims": "passed",
            "rooms.read": "failed",
            "consent.calendars": "failed",
        }
        assert found.tenant.state == Tenant.STATE_CONSENT_MISSING


async def test_reserve_test_books_and_leaves_nothing_and_no_watcher_hears_of_it(
    service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(service, emulator) as scene, scene.watching() as watcher:
        told = await asyncio.to_thread(
            run_cli, "room", "check", f"{scene.tenant_id}/r0001", "--write", "--target", service.target
        )
        assert told.returncode == 0, told.stdout + told.stderr
        assert "A test booking of one minute was placed, read back and removed." in told.stdout
        assert await far_bookings(scene) == []
        await scene.directory.book(scene.mailbox(), tomorrow())
        await scene.converged(watcher)
        (only,) = watcher.mirror.bookings(scene.room())
        assert {change.booking.name for change in booking_changes(watcher.messages)} == {only.name}


async def test_address_that_is_not_mapped_yet_can_be_checked(service: Service, emulator: RunningEmulator) -> None:
    async with scene_set(service, emulator) as scene:
        (new,) = await scene.directory.add_rooms(1)
        found = await scene.client.check_room_access(parent=scene.tenant, mailbox=new)
        assert outcomes(found.checks) == {
            "token.acquire": "passed",
            "token.claims": "passed",
            "room.read": "passed",
            "mailbox.zone": "passed",
            "room.write": "skipped",
        }
        assert not found.HasField("room")
        await scene.directory.call("PATCH", "app", {"access_policy": [scene.mailbox()]})
        refused = await scene.client.check_room_access(parent=scene.tenant, mailbox=new)
        assert outcomes(refused.checks)["room.read"] == "failed"
        (read,) = (check for check in refused.checks if check.check_id == "room.read")
        assert "access policy" in read.message
        assert read.problem.actor == Problem.ACTOR_CUSTOMER


async def far_bookings(scene: Scene) -> list[object]:
    """Return what the emulator's calendar holds beyond the copy."""
    begins, ends = tomorrow(days=370), tomorrow(days=600)
    return list(await scene.directory.truth(scene.mailbox(), begins, ends))
