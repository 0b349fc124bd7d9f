"""Keys that seal are replaced while the service runs, by the operator's commands."""

from __future__ import annotations

import asyncio
import json
import subprocess

import pytest
from exchange_client import requests
from exchange_client.messages import RotateTenantCredentialResponse, Tenant

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import Service, eventually, run_cli
from tests.support.scene import prove_copy, scene_set, tomorrow

pytestmark = pytest.mark.e2e


async def vault(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the service's key ring and database."""
    return await asyncio.to_thread(run_cli, "vault", *arguments, env=service.env)


async def test_key_is_replaced_and_retired_without_a_restart(own_service: Service, emulator: RunningEmulator) -> None:
    service = own_service
    async with scene_set(service, emulator) as scene, scene.watching() as watcher:
        assert (await vault(service, "add-key")).returncode == 0

        async def both_known() -> bool:
            return await service.metric("key_ring_keys") == 2

        await eventually(both_known, "the service has read the new key", service=service)
        early = await vault(service, "retire", "k1")
        assert early.returncode == 1, early.stdout
        assert scene.tenant_id in early.stderr
        assert (await vault(service, "promote", "k2")).returncode == 0
        resealed = await vault(service, "reseal", "-o", "json")
        assert resealed.returncode == 0, resealed.stderr
        status = json.loads((await vault(service, "status", "-o", "json")).stdout)
        assert (status["primary"], status["records_count"]["k1"], status["missing_keys"]) == ("k2", 0, {})
        assert status["records_count"]["k2"] >= 1
        retired = await vault(service, "retire", "k1")
        assert retired.returncode == 0, retired.stderr
        # A login from the sealed record, and a new record: both with the key that is left.
        answer = await scene.client.rotate_tenant_credential(
            scene.tenant, requests.make_credential(scene.directory.application_id, client_secret=scene.directory.secret)
        )
        assert answer.outcome == RotateTenantCredentialResponse.OUTCOME_DONE
        await asyncio.to_thread(service.stop)
        await asyncio.to_thread(service.start)
        await scene.directory.book(scene.mailbox(), tomorrow())
        await scene.converged(watcher)
        await prove_copy(scene)


async def test_lost_key_is_told_by_its_tenant_and_heals_when_it_is_back(
    own_service: Service, emulator: RunningEmulator
) -> None:
    service = own_service
    async with scene_set(service, emulator) as scene:
        ring = service.folder / "keyring.json"
        kept = ring.read_bytes()
        await asyncio.to_thread(service.stop)
        ring.unlink()
        assert (await asyncio.to_thread(run_cli, "vault", "init", str(ring))).returncode == 0
        made = json.loads(ring.read_text())
        ring.write_text(json.dumps({"primary": "other", "keys": {"other": made["keys"]["k1"]}}))
        await asyncio.to_thread(service.start)
        await scene.client.verify_tenant(scene.tenant)
        tenant = await scene.state(Tenant.STATE_DEGRADED)
        assert tenant.problems[0].reason == "SECRET_UNREADABLE"
        status = await vault(service, "status")
        assert (status.returncode, "no key k1 in the ring" in status.stderr) == (1, True)
        ring.write_bytes(kept)
        await scene.client.verify_tenant(scene.tenant)
        await scene.state(Tenant.STATE_ACTIVE)
        await scene.settled_rooms()
