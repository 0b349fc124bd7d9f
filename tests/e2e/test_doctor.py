"""The doctor, run as an operator runs it: beside the service, with its environment."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any

import pytest
from exchange_client.messages import Tenant

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import Service, run_cli
from tests.support.scene import scene_set

pytestmark = pytest.mark.e2e


async def doctor(service: Service, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it with the service's environment; no output may hold a secret or a stack."""
    settings = {name: value for name, value in service.env.items() if name.startswith("EXCHANGE_")}
    told = await asyncio.to_thread(run_cli, "doctor", "--target", service.target, *arguments, env={**settings, **env})
    assert "Traceback" not in told.stderr
    return told


async def test_good_tenant_on_a_good_machine_has_nothing_wrong(service: Service, emulator: RunningEmulator) -> None:
    async with scene_set(service, emulator, rooms=2) as scene:
        told = await doctor(service, "--tenant", scene.tenant_id)
        assert told.returncode == 0, told.stdout + told.stderr
        assert "Nothing is wrong." in told.stdout
        assert scene.directory.secret not in told.stdout


async def test_broken_tenant_is_told_with_who_must_act_and_the_command_that_helps(
    service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(service, emulator, rooms=2) as scene:
        await scene.directory.call("PATCH", "app", {"roles": []})
        told = await doctor(service, "--tenant", scene.tenant_id)
        assert told.returncode == 1
        assert told.stdout.count("\nCONSENT_MISSING (") == 1
        assert "to do, the customer's Microsoft 365 administrator" in told.stdout
        assert f"command: exchange-sidecar kit show {scene.tenant_id} --to DIR" in told.stdout


async def test_suspended_tenant_is_told_with_the_command_that_resumes_it(
    service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(service, emulator) as scene:
        await scene.client.suspend_tenant(scene.tenant)
        told = await doctor(service, "--tenant", scene.tenant_id, "--no-local")
        assert "TENANT_SUSPENDED" in told.stdout
        assert f"command: exchange-sidecar tenant resume {scene.tenant_id}" in told.stdout
        assert (await scene.client.get_tenant(scene.tenant)).state == Tenant.STATE_SUSPENDED


async def test_all_of_it_is_there_for_programs(service: Service, emulator: RunningEmulator) -> None:
    async with scene_set(service, emulator) as scene:
        told = await doctor(service, "--tenant", scene.tenant_id, "-o", "json")
        page: dict[str, Any] = json.loads(told.stdout)  # Any: JSON
        assert page["service"] == "reachable"
        assert {check["check_id"] for check in page["machine"]} == {
            "config.settings",
            "config.key_ring",
            "config.webhook_url",
            "database",
            "clock",
        }
        assert page["tenants"][0]["tenant"]["name"] == scene.tenant


async def test_service_that_is_down_has_an_exit_code_of_its_own(own_service: Service) -> None:
    await asyncio.to_thread(own_service.stop)
    told = await doctor(own_service)
    assert told.returncode == 3
    assert "The service cannot be reached" in told.stdout


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"EXCHANGE_VAULT__KEY_RING_FILE": "/no/such/file"}, "config.key_ring"),
        ({"EXCHANGE_STORE__DSN_FILE": "/no/such/file"}, "database"),
        ({"EXCHANGE_SYNC__PAST_DAYS": "many"}, "config.settings"),
        ({"EXCHANGE_WEBHOOK__PUBLIC_URL": ""}, "WEBHOOK_UNSET"),
    ],
)
async def test_mistake_of_the_machine_is_named(service: Service, wrong: dict[str, str], says: str) -> None:
    told = await doctor(service, **wrong)
    assert says in told.stdout
    assert told.returncode == 1 or says == "WEBHOOK_UNSET"  # polling is slower, and no failure
