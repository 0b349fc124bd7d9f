"""The example app's pods in miniature: app and sidecar as the rendered manifests run them, in the kubelet's order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from exchange_client import ExchangeClient, names
from exchange_client.messages import Tenant

from sidecar.emulator.fixture import RunningEmulator
from sidecar.emulator.fixture.tenant import EmulatedTenant
from sidecar.store.key_ring import create_key_ring
from tests.e2e.conftest import QUICK
from tests.support import postgres
from tests.support.chart import KubeObject
from tests.support.library_chart import golden_file, pod_specs
from tests.support.pods import Pod, can_change_users, pod_made
from tests.support.processes import eventually
from tests.support.scene import directory_made, tomorrow

pytestmark = pytest.mark.e2e

_TENANT = "acme"
"""As the example's values have it."""


def pod_spec(case: str, kind: str) -> KubeObject:
    """Return a pod as one case of the example renders it; the goldens are compared with that elsewhere."""
    documents = yaml.safe_load_all(golden_file(case).read_text(encoding="utf-8"))
    return dict(pod_specs([document for document in documents if document])[kind])


def key_ring(folder: Path) -> dict[str, dict[str, bytes]]:
    """Return the secret with the key ring."""
    file = folder / "keyring.json"
    create_key_ring(file)
    return {"exchange-key-ring": {"keyring.json": file.read_bytes()}}


def microsoft(emulator: RunningEmulator) -> dict[str, str]:
    """Return settings by which the emulator stands for Microsoft; rooms are polled."""
    quick = {f"EXCHANGE_{name}": value for name, value in QUICK.items()}
    return quick | {
        "EXCHANGE_GRAPH__LOGIN_URL": emulator.text("login_url"),
        "EXCHANGE_GRAPH__GRAPH_URL": emulator.text("graph_url"),
        "EXCHANGE_GRAPH__CA_FILE": emulator.text("ca_file"),
        "EXCHANGE_WEBHOOK__PUBLIC_URL": "",
        "EXCHANGE_SYNC__POLL_MIN_S": "0.5",
        "EXCHANGE_SYNC__POLL_MAX_S": "1",
    }


async def furnish(pod: Pod, directory: EmulatedTenant) -> None:
    """Register the tenant and map its room, as an operator does in the sidecar's container."""
    async with ExchangeClient.connect(f"unix://{pod.socket}", timeout_s=30.0) as client:
        registered = await client.register_tenant(
            _TENANT,
            directory_id=directory.id,
            application_id=directory.application_id,
            client_secret=directory.secret,
        )
        assert registered.name == names.tenant(_TENANT)
        await client.map_room(names.tenant(_TENANT), "r1", directory.rooms[0])

        async def is_active() -> bool:
            return (await client.get_tenant(names.tenant(_TENANT))).state == Tenant.STATE_ACTIVE

        await eventually(is_active, "the tenant is active")


async def told(pod: Pod, words: str) -> None:
    """Wait until the app has printed something."""

    def is_told() -> bool:
        assert words in pod.log(pod.app), pod.log(pod.app)
        return True

    await eventually(is_told, f"the app prints {words!r}")


def readable_by_all(emulator: RunningEmulator, settings: Mapping[str, str], pod: Pod) -> dict[str, str]:
    """Return settings with the emulator's certificate where the pod's users can read it."""
    copy = pod.folder / "ca.pem"
    copy.write_bytes(Path(emulator.text("ca_file")).read_bytes())
    return {**settings, "EXCHANGE_GRAPH__CA_FILE": str(copy)}


async def test_app_with_another_user_follows_its_rooms_and_is_outlived_by_the_sidecar(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    """Start: sidecar, its probe, app. End: app, sidecar. The users are the manifest's where root runs the test."""
    settings = microsoft(emulator)
    async with directory_made(emulator, rooms=1) as directory:
        with pod_made(
            pod_spec("default", "Deployment"),
            secrets=key_ring(tmp_path),
            settings=settings,
            has_users=can_change_users(),
        ) as pod:
            pod.settings = readable_by_all(emulator, settings, pod)
            await pod.start_sidecar()
            found = pod.socket.stat()
            assert stat.S_IMODE(found.st_mode) == 0o660
            if can_change_users():
                security = pod.spec["securityContext"]
                assert (found.st_uid, found.st_gid) == (65532, security["fsGroup"])
                assert security["runAsUser"] != found.st_uid
            await furnish(pod, directory)
            pod.start_app()
            await told(pod, "r1 is complete")
            await directory.book(directory.rooms[0], tomorrow())
            await told(pod, "r1 added")
            assert await pod.stopped(pod.app) == -signal.SIGTERM
            assert pod.process(pod.sidecar).poll() is None
            assert await pod.stopped(pod.sidecar) == 0
            assert "service.stopped" in pod.log(pod.sidecar)


async def test_frozen_app_holds_up_nobody_and_goes_on_with_the_next_sidecar(
    tmp_path: Path, emulator: RunningEmulator
) -> None:
    """The app hangs with its stream open; the sidecar ends all the same, is started again, and the app wakes up."""
    loop = asyncio.get_running_loop()
    async with directory_made(emulator, rooms=1) as directory:
        with pod_made(
            pod_spec("default", "Deployment"), secrets=key_ring(tmp_path), settings=microsoft(emulator)
        ) as pod:
            await pod.start_sidecar()
            await furnish(pod, directory)
            pod.start_app()
            await told(pod, "r1 is complete")
            os.kill(pod.process(pod.app).pid, signal.SIGSTOP)
            began_s = loop.time()
            assert await pod.stopped(pod.sidecar) == 0
            print(f"ended beside a frozen app in {loop.time() - began_s:.1f} s")
            await pod.start_sidecar()
            os.kill(pod.process(pod.app).pid, signal.SIGCONT)
            await directory.book(directory.rooms[0], tomorrow())
            await told(pod, "r1 added")


async def test_job_ends_with_its_app_and_its_sidecar_at_once(tmp_path: Path, emulator: RunningEmulator) -> None:
    """A nightly Job beside a Deployment on one PostgreSQL: its sidecar serves, and has nothing that anybody waits for."""
    loop = asyncio.get_running_loop()
    secrets = key_ring(tmp_path)
    async with directory_made(emulator, rooms=1) as directory:
        with postgres.database() as dsn_file:
            secrets["exchange-postgres"] = {"dsn": dsn_file.read_bytes()}
            deployment, job = (
                pod_made(pod_spec("postgres", kind), secrets=secrets, settings=microsoft(emulator))
                for kind in ("Deployment", "CronJob")
            )
            with deployment as stays, job as ends:
                await stays.start_sidecar()
                await furnish(stays, directory)
                await ends.start_sidecar()
                ends.start_app()
                assert await ends.ended(ends.app) == 0
                assert [room["name"] for room in json.loads(ends.log(ends.app))] == [names.room(_TENANT, "r1")]
                began_s = loop.time()
                assert await ends.stopped(ends.sidecar) == 0
                print(f"the Job's sidecar ended in {loop.time() - began_s:.1f} s")
                assert await stays.stopped(stays.sidecar) == 0
