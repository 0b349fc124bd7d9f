"""A new webhook address rolls out over processes that live side by side: nobody fights, and no change is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import httpx
import pytest
from exchange_client import names
from exchange_client.messages import CheckResult

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK
from tests.support import postgres
from tests.support.cluster import cluster_made
from tests.support.processes import Service, eventually, free_port
from tests.support.scene import Scene, prove_copy, scene_set

pytestmark = pytest.mark.e2e

ROOMS = 6


def move(service: Service, port: int) -> str:
    """Give a service another webhook address than its neighbours have, and return it."""
    service.env["EXCHANGE_WEBHOOK__PUBLIC_URL"] = f"http://127.0.0.1:{port}"
    return service.webhooks


async def addresses(scene: Scene) -> Counter[str]:
    """Count the tenant's live subscriptions by the address for lifecycle notices, which cannot be changed later."""
    found = (await scene.directory.call("GET", "subscriptions"))["subscriptions"]
    return Counter(str(one["lifecycleNotificationUrl"]).removesuffix("/graph/lifecycle") for one in found)


async def test_new_address_rolls_out_while_an_old_process_lives_and_restarts(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    with postgres.database(is_migrated=False) as dsn_file:
        async with cluster_made(tmp_path_factory.mktemp, dsn_file, emulator, **QUICK) as cluster:
            old = cluster.add()
            await cluster.start(old)
            async with scene_set(old, emulator, cluster.target, rooms=ROOMS) as scene, scene.watching() as watcher:
                assert await addresses(scene) == {old.webhooks: ROOMS}
                office = scene.office(Random(5))
                new = cluster.add()
                port = free_port()
                url = move(new, port)
                async with cluster.webhooks.listening(port), asyncio.TaskGroup() as group:
                    working = group.create_task(office.work(20.0, pause_s=0.1))
                    await cluster.start(new)

                    async def moved() -> bool:
                        return await addresses(scene) == {url: ROOMS}

                    await eventually(moved, "all rooms are announced at the new address", service=new)
                    await scene.settled_rooms()  # what was made is also known here
                    made = await creations(scene)
                    await asyncio.to_thread(old.kill)
                    await cluster.start(old)
                    await working
                    assert await addresses(scene) == {url: ROOMS}, "the old process took none back"
                    assert await asyncio.to_thread(old.stop) == 0
                    scene.service = new
                    await scene.converged(watcher, deadline_s=60.0)
                    assert await creations(scene) == made, "nobody fights"
                    await scene.settled_rooms()
                    await prove_copy(scene)


async def creations(scene: Scene) -> int:
    """Count the subscriptions that were ever made for the tenant."""
    found = await scene.directory.requests()
    return sum(one["method"] == "POST" and one["path"].endswith("/subscriptions") for one in found)


async def test_word_in_the_path_is_told_to_microsoft_and_moves_without_a_gap(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    """Strangers find nothing without it, and no answer and no log shows it. Nobody restarts anything."""
    folder = tmp_path_factory.mktemp("s")
    words = folder / "words"
    former, new = "former-word-of-the-path", "new-word-of-the-path"
    await asyncio.to_thread(words.write_text, former)
    service = Service(folder, emulator, **QUICK, WEBHOOK__PATH_SECRETS_FILE=str(words))
    try:
        await asyncio.to_thread(service.start)
        async with scene_set(service, emulator, rooms=ROOMS) as scene, scene.watching() as watcher:
            assert await addresses(scene) == {f"{service.webhooks}/{former}": ROOMS}
            office = scene.office(Random(6))
            await office.work(1.0, pause_s=0.1)
            await scene.converged(watcher)
            assert await service.metric("notifications_marked_total") > 0
            async with httpx.AsyncClient(trust_env=False) as stranger:
                answer = await stranger.post(f"{service.webhooks}/graph/notifications?validationToken=x")
            assert answer.status_code == 404
            report = await scene.client.diagnose_tenant(names.tenant(scene.tenant_id))
            handshakes = [check for check in report.checks if check.check_id == "webhook.handshake"]
            assert [check.outcome for check in handshakes] == [CheckResult.OUTCOME_PASSED]
            await asyncio.to_thread(words.write_text, f"{new}\n{former}\n")

            async def moved() -> bool:
                return await addresses(scene) == {f"{service.webhooks}/{new}": ROOMS}

            await eventually(moved, "all rooms are announced with the new word", service=service)
            await office.work(1.0, pause_s=0.1)
            await scene.converged(watcher, deadline_s=60.0)
            log = await asyncio.to_thread(service.log_file.read_text)
            assert not any(word in text for word in (former, new) for text in (log, str(report)))
    finally:
        await asyncio.to_thread(service.close)
