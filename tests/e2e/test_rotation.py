"""Credentials replaced while changes flow: nothing is lost, and what does not work is told and changes nothing."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from exchange_client import Reconnected, requests
from exchange_client.messages import CredentialInfo, RotateTenantCredentialResponse, Tenant

from sidecar.emulator.fixture import EmulatedTenant, RunningEmulator
from tests.e2e.conftest import QUICK
from tests.support import postgres
from tests.support.cluster import cluster_made
from tests.support.processes import Service, eventually, run_cli
from tests.support.scene import Scene, prove_copy, scene_set, tomorrow

pytestmark = pytest.mark.e2e

Outcome = RotateTenantCredentialResponse
NEW_SECRET = "CANARY-new~secret-5f2b9e"


def roles_of(tenant: Tenant) -> dict[str, str]:
    """Return the fingerprints of a tenant's credentials by their roles."""
    return {CredentialInfo.Role.Name(one.role).removeprefix("ROLE_"): one.fingerprint for one in tenant.credentials}


async def add_secret(directory: EmulatedTenant, secret: str, **more: object) -> None:
    """Have the administrator make another secret; the former ones stay good."""
    await directory.call("PATCH", "app", {"client_secret": secret, **more})


async def book_on(scene: Scene, booked: list[int], ending: asyncio.Event) -> None:
    """Book the rooms one after the other until told to end; note each booking."""
    while not ending.is_set():
        number = len(booked)
        await scene.directory.book(scene.mailbox(number % len(scene.rooms)), tomorrow(number % 20))
        booked.append(number)


async def test_rotation_under_load_loses_no_change_and_keeps_the_subscriptions(
    service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(service, emulator, rooms=4) as scene, scene.watching() as watcher:
        booked: list[int] = []
        ending = asyncio.Event()
        subscribed = await scene.directory.call("GET", "subscriptions")
        async with asyncio.TaskGroup() as group:
            group.create_task(book_on(scene, booked, ending))
            await eventually(lambda: len(booked) >= 5, "bookings flow", service=service)
            await add_secret(scene.directory, NEW_SECRET, propagation_s=0)
            before = roles_of(await scene.client.get_tenant(scene.tenant))
            credential = requests.make_credential(scene.directory.application_id, client_secret=NEW_SECRET)
            answer = await scene.client.rotate_tenant_credential(scene.tenant, credential)
            assert answer.outcome == Outcome.OUTCOME_DONE, answer
            assert answer.read_room in scene.rooms
            # From here on only the new secret is good: whatever still used the old one would stop.
            await scene.directory.call("PATCH", "app", {"remove_client_secret": scene.directory.secret})
            count = len(booked)
            await eventually(lambda: len(booked) >= count + 5, "bookings flow on", service=service)
            ending.set()
        after = roles_of(answer.tenant)
        assert after["PREVIOUS"] == before["CURRENT"] != after["CURRENT"]
        assert "NEXT" not in after
        await scene.converged(watcher)
        assert await scene.directory.call("GET", "subscriptions") == subscribed
        assert not (await scene.client.get_tenant(scene.tenant)).problems
        await prove_copy(scene)


async def test_new_secret_that_is_not_known_everywhere_yet_is_waited_for(
    service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(service, emulator) as scene:
        credential = requests.make_credential(scene.directory.application_id, client_secret=NEW_SECRET)
        rotating = asyncio.ensure_future(scene.client.rotate_tenant_credential(scene.tenant, credential))

        async def is_tried() -> bool:
            known = (await scene.client.get_tenant(scene.tenant)).credentials
            return any(one.role == CredentialInfo.ROLE_NEXT and one.HasField("problem") for one in known)

        await eventually(is_tried, "the new secret was tried and refused", service=service)
        tenant = await scene.client.get_tenant(scene.tenant)
        assert (tenant.state, list(tenant.problems)) == (Tenant.STATE_ACTIVE, [])
        await add_secret(scene.directory, NEW_SECRET, propagation_s=0)
        answer = await rotating
        assert answer.outcome == Outcome.OUTCOME_DONE, answer


async def test_command_rotates_from_standard_input_and_refuses_a_secret_as_argument(
    service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(service, emulator) as scene:
        await add_secret(scene.directory, NEW_SECRET, propagation_s=0)
        target = ("--target", service.target)
        for argument in (("--secret", NEW_SECRET), (NEW_SECRET,)):
            refused = await asyncio.to_thread(run_cli, "tenant", "rotate", scene.tenant_id, *argument, *target)
            assert refused.returncode == 2
            assert "process list" in refused.stderr
            assert NEW_SECRET not in refused.stdout + refused.stderr
        rotate = ("tenant", "rotate", scene.tenant_id, "--secret-file", "-", "--expires", "2027-01-31", *target)
        rotated = await asyncio.to_thread(run_cli, *rotate, stdin=f"{NEW_SECRET}\n")
        assert rotated.returncode == 0, rotated.stderr
        assert "in use (proof: read " in rotated.stdout
        shown = await asyncio.to_thread(run_cli, "tenant", "credentials", scene.tenant_id, *target)
        assert [line.split()[0] for line in shown.stdout.splitlines()] == ["role", "current", "previous"]
        assert "2027-01-31" in shown.stdout
        told = await asyncio.to_thread(run_cli, "tenant", "set-expiry", scene.tenant_id, "unknown", *target)
        assert told.returncode == 0, told.stderr
        (current, _) = (await scene.client.get_tenant(scene.tenant)).credentials
        assert not current.HasField("expire_time")


async def test_expiry_told_by_the_caller_is_a_problem_and_a_metric(service: Service, emulator: RunningEmulator) -> None:
    async with scene_set(service, emulator) as scene:
        expire_at = datetime.now().astimezone() + timedelta(days=6, hours=12)
        tenant = await scene.client.set_credential_expiry(scene.tenant, expire_at=expire_at)
        (problem,) = tenant.problems
        assert (problem.reason, problem.metadata["days"]) == ("CREDENTIAL_EXPIRES_SOON", "7")
        assert expire_at.astimezone().date().isoformat()[:7] in problem.message
        assert tenant.state == Tenant.STATE_DEGRADED
        await scene.settled_rooms()  # which concerns no room

        async def is_counted() -> bool:
            return 6 * 86_400 < await service.metric("credential_expires_seconds") < 7 * 86_400

        await eventually(is_counted, "the metric tells the seconds left", service=service)


async def test_watch_of_a_tenant_tells_of_a_rotation(service: Service, emulator: RunningEmulator) -> None:
    async with scene_set(service, emulator) as scene:
        await add_secret(scene.directory, NEW_SECRET, propagation_s=0)
        seen: list[set[str]] = []

        async def look() -> None:
            async for message in scene.client.watch_tenant(scene.tenant):
                if isinstance(message, Reconnected):
                    continue
                seen.append(set(roles_of(message.tenant)))
                if "PREVIOUS" in seen[-1]:
                    return

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(look())
            await eventually(lambda: seen, "the watch has begun", service=service)
            credential = requests.make_credential(scene.directory.application_id, client_secret=NEW_SECRET)
            await scene.client.rotate_tenant_credential(scene.tenant, credential)
        assert seen[0] == {"CURRENT"}


async def test_other_processes_use_the_new_credential_at_once(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    """The old secret and its tokens end the moment the new one is in use; nobody was told but the store."""
    with postgres.database(is_migrated=False) as dsn_file:
        async with cluster_made(tmp_path_factory.mktemp, dsn_file, emulator, **QUICK) as cluster:
            api, workers = cluster.add("api,ingress"), [cluster.add("worker") for _ in range(2)]
            await cluster.start(api, *workers)
            async with scene_set(api, emulator, rooms=2) as scene, scene.watching() as watcher:
                await add_secret(scene.directory, NEW_SECRET, propagation_s=0)
                credential = requests.make_credential(scene.directory.application_id, client_secret=NEW_SECRET)
                answer = await scene.client.rotate_tenant_credential(scene.tenant, credential)
                assert answer.outcome == Outcome.OUTCOME_DONE, answer
                await scene.directory.call("PATCH", "app", {"remove_client_secret": scene.directory.secret})
                await scene.directory.call("PATCH", "app", {"revoke_tokens": True})
                for number, worker in enumerate(workers):
                    await scene.directory.book(scene.mailbox(number), tomorrow(number))
                    await scene.converged(watcher)
                    await asyncio.to_thread(worker.stop)  # the other one works for the tenant from here on
                    await asyncio.to_thread(worker.start)
                assert not (await scene.client.get_tenant(scene.tenant)).problems
                await prove_copy(scene)
