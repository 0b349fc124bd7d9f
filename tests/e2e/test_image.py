"""The image, built and run for real: what a platform team gets, driven from outside over its socket.

Skipped, with the reason, where .ci/image cannot build: it takes root on Debian.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK
from tests.support.image import SHELLS, UID, Container, image, podman, python_in_image, run_image
from tests.support.processes import ROOT
from tests.support.scene import scene_set, tomorrow

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("image")]

SIZE_BYTES_MAX = 250_000_000
CPU_S_MAX = 2.0
"""To the ready line. Of the processor, because other tests run beside this one."""


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator) -> Iterator[Container]:
    """Give a running container; nobody stops it."""
    image()
    running = Container(tmp_path_factory.mktemp("c"), emulator, **QUICK)
    try:
        running.start()
        yield running
    finally:
        running.close()


@pytest.fixture
def own_container(tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator) -> Iterator[Container]:
    """Give a container that the test starts, and may end."""
    image()
    prepared = Container(tmp_path_factory.mktemp("c"), emulator, **QUICK)
    try:
        yield prepared
    finally:
        prepared.close()


@pytest.fixture(scope="module")
def described() -> dict[str, object]:
    """Give what podman knows of the image."""
    (found,) = json.loads(podman("image", "inspect", image()).stdout)
    assert isinstance(found, dict)
    return found


async def test_build_is_told_as_a_metric(container: Container) -> None:
    revision = run_image("--version").stdout.splitlines()[1].split()[1]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    async with httpx.AsyncClient(trust_env=False) as http:
        told = (await http.get(f"{container.probes}/metrics")).text
    (line,) = (line for line in told.splitlines() if line.startswith("exchange_build_info{"))
    assert set(re.findall(r'(\w+)="([^"]*)"', line)) == {("version", version), ("revision", revision)}
    assert float(line.rpartition(" ")[2]) == 1


async def test_booking_made_in_outlook_reaches_a_watcher_over_the_socket(
    container: Container, emulator: RunningEmulator
) -> None:
    async with scene_set(container, emulator, rooms=2) as scene:
        await scene.directory.book(scene.mailbox(0), tomorrow())
        async with scene.watching() as watcher:
            await scene.converged(watcher)
            await scene.directory.book(scene.mailbox(1), tomorrow())
            await scene.converged(watcher)
        for room in scene.rooms:
            assert len((await scene.client.list_bookings(room, tomorrow(0), tomorrow(0, days=2))).bookings) == 1


def test_health_check_of_a_ready_service_passes(container: Container) -> None:
    asked = podman("healthcheck", "run", container.name)
    assert asked.returncode == 0, asked.stdout + asked.stderr


def test_health_check_without_a_service_fails_and_says_why() -> None:
    asked = run_image("probe", "ready", options=("--env", "EXCHANGE_PROBES__LISTEN=127.0.0.1:1"))
    assert asked.returncode == 1
    assert "not ready: nothing answers at 127.0.0.1:1" in asked.stderr


def test_process_has_no_name_no_capability_and_no_way_to_gain_one(container: Container) -> None:
    status = Path(f"/proc/{container.pid()}/status").read_text()
    said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert set(said["Uid"].split()) == set(said["Gid"].split()) == {str(UID)}
    assert {int(said[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert said["NoNewPrivs"] == "1"


def test_nothing_can_be_written_but_the_volumes(container: Container) -> None:
    mounts = [line.split() for line in Path(f"/proc/{container.pid()}/mountinfo").read_text().splitlines()]
    writable = {m[4] for m in mounts if "rw" in m[5].split(",") and not m[4].startswith(("/dev", "/proc", "/sys"))}
    named_by_podman = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv"}
    assert writable - named_by_podman == {"/var/lib/exchange", "/run/exchange", "/tmp"}


def test_service_runs_where_no_shell_can(container: Container) -> None:
    for shell in SHELLS:
        tried = podman("exec", container.name, shell, "-c", "exit 0")
        assert tried.returncode == 126, f"{shell}: {tried.stdout}{tried.stderr}"
    assert podman("exec", container.name, "exchange-sidecar", "probe", "live").returncode == 0


def test_socket_lets_its_owner_and_group_in_only(container: Container) -> None:
    found = container.socket.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (UID, UID, 0o660)


def test_start_is_quick(container: Container) -> None:
    print(f"ready {container.ready_s:.2f} s after podman was called, with {container.ready_cpu_s:.2f} s of CPU")
    assert container.ready_cpu_s < CPU_S_MAX


def test_start_compiles_nothing(own_container: Container) -> None:
    own_container.env["PYTHONVERBOSE"] = "1"
    own_container.start()
    imported = own_container.log_file.read_text(errors="replace")
    assert (
        "code object from '/opt/exchange/lib/python3.13/site-packages/sidecar/__pycache__/app.cpython-313.pyc'"
        in imported
    )
    assert not re.findall(r"^# code object from '(.*\.py)'", imported, flags=re.MULTILINE)


def test_sigterm_ends_it_in_order(own_container: Container) -> None:
    own_container.start()
    assert own_container.stop() == 0
    assert "Traceback" not in own_container.log_file.read_text()


def test_image_is_small(described: dict[str, object]) -> None:
    size = described["Size"]
    assert isinstance(size, int)
    print(f"the image has {size / 1e6:.0f} MB")
    assert size < SIZE_BYTES_MAX


def test_image_holds_neither_compiler_nor_installer() -> None:
    tools = {"cc", "gcc", "g++", "clang", "ld", "as", "strip", "make", "pip", "pip3", "uv", "curl", "wget", "git"}
    modules = {"pip", "ensurepip", "hatchling", "cyclonedx"}
    program = f"import shutil, importlib.util as u; print([n for n in {tools} if shutil.which(n)]"
    program += f" + [n for n in {modules} if u.find_spec(n)])"
    for python in ("/opt/exchange/bin/python", "/usr/local/bin/python"):
        ran = run_image("-I", "-c", program, options=("--entrypoint", python))
        assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr


def test_image_keeps_nothing_of_its_build() -> None:
    folders = {"/src", "/own-wheels", "/root/.cache", "/root/.config"}
    program = f"import os; print([f for f in {folders} if os.path.exists(f)], os.listdir('/tmp')"
    program += ", os.path.getsize('/etc/pip.conf'))"
    assert python_in_image(program).strip() == "[] [] 0"  # the file is there because our base brings an empty one


def test_labels_and_version_tell_the_same_build(described: dict[str, object]) -> None:
    labels = described["Labels"]
    assert isinstance(labels, dict)
    first, *rest = run_image("--version").stdout.splitlines()
    told = dict(line.split(maxsplit=1) for line in rest)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert first == f"exchange-sidecar {version}"
    label = "org.opencontainers.image"
    assert (labels[f"{label}.version"], labels[f"{label}.title"]) == (version, "exchange-sidecar")
    assert told["revision"] == labels[f"{label}.revision"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", told["revision"])
    assert told["built"] == labels[f"{label}.created"]
    assert datetime.fromisoformat(told["built"]).tzinfo is not None
    assert told["python"].startswith("3.13.")


def test_bill_of_materials_names_everything_installed() -> None:
    bill = json.loads(python_in_image("print(open('/opt/exchange/sbom.cdx.json').read())"))
    components = [bill["metadata"]["component"], *bill["components"]]
    installed = json.loads(
        python_in_image(
            "import json, importlib.metadata as m\n"
            "print(json.dumps([[d.metadata['Name'], d.version] for d in m.distributions()]))"
        )
    )
    assert len(installed) > 60
    assert sorted(map(tuple, installed)) == sorted((c["name"], c["version"]) for c in components)
    for component in bill["components"]:
        references = component.pop("externalReferences", [])
        own = [h["content"] for r in references if r["type"] == "distribution" for h in r.get("hashes", [])]
        assert component.get("purl", "").startswith("pkg:pypi/") or own, component["name"]
    # Without the addresses of all projects: the validator takes a tenth of a second for each.
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
