"""A pod in miniature: the containers of a rendered pod as processes, with its volumes, users, probes and order.

What the kubelet does is done here from the manifest and nothing else: volumes are made with the pod's group, secrets become
files, a native sidecar is started first and waited for by its start-up probe, and it is stopped after the app. Paths and ports
are moved so that several fit on one machine. Where root runs the tests, processes may have the users of the manifest.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.chart import KubeObject
from tests.support.library_chart import app_of, sidecar_of
from tests.support.processes import ROOT, eventually, free_port

_EXAMPLE = ROOT / "clients" / "python" / "example.py"
_IN_IMAGES = {"python": sys.executable, "/app/example.py": str(_EXAMPLE)}
"""What stands for the files of the app's image."""
_SERVICE = [sys.executable, "-m", "sidecar"]
"""What stands for the entry point of the service's image."""
_BECOME = """
import os, sys
uid, gid, group, *command = sys.argv[1:]
os.setgroups([int(group)])
os.setgid(int(gid))
os.setuid(int(uid))
os.execv(command[0], command)
"""
_KUBELET_STOP_S = 30.0
_PATH = os.environ.get("PATH", "")


@functools.cache
def can_change_users() -> bool:
    """Tell whether processes can have the manifest's users: root runs the tests, and all may read Python and the project."""
    if os.geteuid() != 0:
        return False
    command = [sys.executable, "-I", "-c", _BECOME, "65532", "65532", "65532", sys.executable, "-c", "import sidecar"]
    return subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False).returncode == 0


class Pod:
    """One pod; `start_sidecar` and `start_app` run what the manifest says."""

    def __init__(
        self,
        spec: KubeObject,
        folder: Path,
        *,
        secrets: Mapping[str, Mapping[str, bytes]],
        settings: Mapping[str, str],
        has_users: bool,
    ) -> None:
        """Make the volumes.

        Args:
            secrets: by name, their keys and what these hold.
            settings: added to the sidecar's environment, or replacing what is there.
            has_users: processes have the users of the manifest; else all have the test's own.
        """
        self.spec, self.folder = spec, folder
        self.sidecar, self.app = sidecar_of(spec), app_of(spec)
        self._group = int(spec["securityContext"]["fsGroup"]) if has_users else os.getgid()
        self._has_users = has_users
        self.settings = settings
        self._ports = {port["containerPort"]: free_port() for port in self.sidecar["ports"]}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for volume in spec["volumes"]:
            self._make_volume(volume, secrets)

    def _make_volume(self, volume: KubeObject, secrets: Mapping[str, Mapping[str, bytes]]) -> None:
        place = self.folder / volume["name"]
        place.mkdir()
        secret: KubeObject = volume.get("secret", {})
        for item in secret.get("items", ()):
            file = place / item["path"]
            file.write_bytes(secrets[secret["secretName"]][item["key"]])
            os.chown(file, -1, self._group)
            file.chmod(secret["defaultMode"])
        os.chown(place, -1, self._group)
        place.chmod(0o2755 if secret else 0o2777)

    def place(self, container: KubeObject, path: str) -> str:
        """Return where a path of a container, or a target with one, is on this machine."""
        for mount in container["volumeMounts"]:
            if mount["mountPath"] != "/tmp":
                path = re.sub(
                    rf"^(unix://)?{re.escape(mount['mountPath'])}/", rf"\1{self.folder / mount['name']}/", path
                )
        return re.sub(r"^0\.0\.0\.0:(\d+)$", lambda found: f"127.0.0.1:{self._ports[int(found[1])]}", path)

    @property
    def socket(self) -> Path:
        """The socket, where it is on this machine."""
        return Path(self._environment(self.sidecar)["EXCHANGE_GRPC__SOCKET"])

    @property
    def target(self) -> str:
        """What clients in the app's container are given."""
        return self._environment(self.app)["EXCHANGE_TARGET"]

    def log(self, container: KubeObject) -> str:
        """Return what a container has written."""
        return (self.folder / f"{container['name']}.log").read_text(errors="replace")

    def process(self, container: KubeObject) -> subprocess.Popen[bytes]:
        """Return a container's process, or the one that ran last."""
        return self._processes[container["name"]]

    def _environment(self, container: KubeObject) -> dict[str, str]:
        given = {variable["name"]: self.place(container, variable["value"]) for variable in container["env"]}
        return given | (dict(self.settings) if container is self.sidecar else {})

    def _start(self, container: KubeObject) -> None:
        environment = self._environment(container)
        command = [_IN_IMAGES[word] for word in container.get("command", ())] or _SERVICE
        words = [re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], word) for word in container["args"]]
        user = {**self.spec["securityContext"], **container["securityContext"]}
        ids = [str(user["runAsUser"]), str(user["runAsGroup"]), str(self._group)]
        become = [sys.executable, "-I", "-c", _BECOME, *ids] if self._has_users else []
        image = {
            "PATH": _PATH,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'clients' / 'python'}",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self.folder / "exchange-tmp"),
        }
        with (self.folder / f"{container['name']}.log").open("ab") as log:
            self._processes[container["name"]] = subprocess.Popen(
                [*become, *command, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**image, **environment},
            )

    async def start_sidecar(self) -> None:
        """Start the sidecar, and ask its start-up probe until it answers, as the kubelet does before it starts the app."""
        self._start(self.sidecar)
        probe = self.sidecar["startupProbe"]
        (port,) = [one["containerPort"] for one in self.sidecar["ports"] if one["name"] == probe["httpGet"]["port"]]
        url = f"http://127.0.0.1:{self._ports[port]}{probe['httpGet']['path']}"
        patience_s = float(probe["periodSeconds"] * probe["failureThreshold"])
        async with httpx.AsyncClient(trust_env=False) as http:

            async def has_started() -> bool:
                assert self.process(self.sidecar).poll() is None, self.log(self.sidecar)
                try:
                    return (await http.get(url)).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(has_started, "the start-up probe answers", deadline_s=patience_s)

    def start_app(self) -> None:
        """Start the app's container."""
        self._start(self.app)

    async def ended(self, container: KubeObject) -> int:
        """Wait until a container has ended; return its exit code."""
        return await asyncio.to_thread(self.process(container).wait, _KUBELET_STOP_S)

    async def stopped(self, container: KubeObject) -> int:
        """Send a container SIGTERM, and wait until it has ended; return its exit code."""
        self.process(container).send_signal(signal.SIGTERM)
        return await self.ended(container)

    def close(self) -> None:
        """End what still runs."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def pod_made(
    spec: KubeObject,
    *,
    secrets: Mapping[str, Mapping[str, bytes]],
    settings: Mapping[str, str],
    has_users: bool = False,
) -> Iterator[Pod]:
    """Make a pod in a folder that everybody may enter, as pytest's own are not; see `Pod`."""
    folder = Path(tempfile.mkdtemp(prefix="exchange-pod-"))
    folder.chmod(0o755)
    try:
        pod = Pod(spec, folder, secrets=secrets, settings=settings, has_users=has_users)
        try:
            yield pod
        finally:
            pod.close()
    finally:
        shutil.rmtree(folder)
