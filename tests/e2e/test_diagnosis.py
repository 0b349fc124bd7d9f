"""What people are told when they ask why something does not work."""

from __future__ import annotations

import asyncio

import pytest
from exchange_client import ExchangeClient
from exchange_client.messages import CheckResult, Tenant

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import Service, run_cli
from tests.support.scene import Scene, directory_made, scene_set

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
        await scene.state(Tenant.STATE_CONSENT_MISSING)
        refused = await client.verify_tenant(scene.tenant)
        assert outcomes(refused.checks)["consent.calendars"] == "failed"
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
