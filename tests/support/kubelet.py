"""Runs the pods of rendered manifests as processes of this machine, doing what a kubelet does and nothing else.

A pod gets an address of loopback to itself, so its ports are those of the manifest. Its volumes are folders: secrets are
laid out as the kubelet does it, behind a link that is switched when they change, and a secret or key that is not there
keeps the pod from starting. What a container is told is the manifest's arguments and environment, in which mounted paths
and the wildcard address are put in their places; of this process's environment it has the PATH alone.

No policy, limit or user is enforced here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom

import httpx

from tests.support.chart import KubeObject
from tests.support.processes import ROOT

Secrets = Mapping[str, Mapping[str, str]]
"""Name of a secret -> its keys and their values."""

_START_S = 60.0
_INIT_S = 60.0
_POLL_S = 0.05


class PodFailed(Exception):
    """The pod did not come up; the message is what `kubectl describe` would begin with, and the end of the log."""


@dataclass(slots=True)
class Pod:
    """One pod: made from the template of a Deployment, or from an object of kind Pod.

    Attributes:
        manifest: an object with `metadata.labels` and `spec`.
        folder: a short path, because a Unix socket's path is limited to 107 bytes; it holds volumes and logs.
        secrets: those of its namespace.
        moved: environment variables whose values this machine decides, such as where Microsoft is.
    """

    name: str
    manifest: KubeObject
    folder: Path
    secrets: Secrets
    moved: Mapping[str, str] = field(default_factory=dict)
    address: str = field(default_factory=lambda: _some_address())
    process: subprocess.Popen[bytes] | None = None
    _versions: int = 0

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self.manifest["metadata"]["labels"])

    @property
    def container(self) -> KubeObject:
        """Its only container, init containers apart."""
        (container,) = self.manifest["spec"]["containers"]
        return dict(container)

    @property
    def log_file(self) -> Path:
        """What its container writes to standard error."""
        return self.folder / "log"

    def log(self) -> str:
        """Return the end of the log."""
        return self.log_file.read_text(errors="replace")[-3000:] if self.log_file.exists() else ""

    def mount(self, secrets: Secrets | None = None) -> None:
        """Lay the volumes out, or with `secrets` put others in their places.

        Raises:
            PodFailed: a secret or one of its keys is not there.
        """
        self.secrets = secrets or self.secrets
        self._versions += 1
        for volume in self.manifest["spec"]["volumes"]:
            place = self.folder / "v" / volume["name"]
            place.mkdir(parents=True, exist_ok=True)
            if "secret" in volume:
                self._lay_out(place, volume["secret"])

    def _lay_out(self, place: Path, wanted: KubeObject) -> None:
        version = place / f"..{self._versions}"
        version.mkdir()
        for item in wanted["items"]:
            value = self.secrets.get(wanted["secretName"], {}).get(item["key"])
            if value is None:
                raise PodFailed(f"{self.name}: no key {item['key']} in secret {wanted['secretName']}")
            (version / item["path"]).write_text(value)
            (version / item["path"]).chmod(wanted["defaultMode"])
            link = place / item["path"]
            if not link.is_symlink():
                link.symlink_to(Path("..data", item["path"]))
        fresh = place / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.replace(place / "..data")

    def env(self, container: KubeObject) -> dict[str, str]:
        """Return what a container's process has for an environment."""
        found = {variable["name"]: self._here(variable["value"], container) for variable in container["env"]}
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder)} | found | dict(self.moved)

    def _here(self, value: str, container: KubeObject) -> str:
        places = {mount["mountPath"]: str(self.folder / "v" / mount["name"]) for mount in container["volumeMounts"]}
        # In one go: what has been put in the place of one mount may begin like another.
        paths = "|".join(map(re.escape, sorted(places, key=len, reverse=True)))
        value = re.sub(rf"(?<![\w.-])({paths})(?=/|$)", lambda found: places[found[1]], value)
        return value.replace("0.0.0.0", self.address)

    def port(self, name: str) -> int:
        """Return the number of a named port."""
        (port,) = [port["containerPort"] for port in self.container["ports"] if port["name"] == name]
        return int(port)

    def run(self, container: KubeObject, *, timeout_s: float = _INIT_S) -> subprocess.CompletedProcess[str]:
        """Run a container to its end."""
        return subprocess.run(
            [sys.executable, "-m", "sidecar", *container["args"]],
            env=self.env(container),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def start(self) -> None:
        """Mount the volumes, run the init containers in turn, start the container, and ask its probes until it is ready.

        Raises:
            PodFailed: one of these did not go well.
        """
        self.mount()
        for init in self.manifest["spec"].get("initContainers", []):
            done = self.run(init)
            if done.returncode:
                raise PodFailed(f"{self.name}: {init['name']} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sidecar", *self.container["args"]],
                env=self.env(self.container),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            self._wait_for(kind)

    def _wait_for(self, kind: str) -> None:
        ends_s = time.monotonic() + _START_S
        while not self.probe(kind):
            if self.process is None or self.process.poll() is not None:
                raise PodFailed(f"{self.name}: ended before its {kind} was answered:\n{self.log()}")
            if time.monotonic() > ends_s:
                raise PodFailed(f"{self.name}: no good answer to its {kind} in {_START_S:g} s:\n{self.log()}")
            time.sleep(_POLL_S)

    def probe(self, kind: str) -> bool:
        """Ask one of the container's probes as the kubelet does."""
        asked = self.container[kind]["httpGet"]
        url = f"http://{self.address}:{self.port(asked['port'])}{asked['path']}"
        try:
            return httpx.get(url, trust_env=False, timeout=5.0).status_code < 400
        except httpx.HTTPError:
            return False

    def stop(self) -> int:
        """Tell it to stop and wait for its grace; return its exit code, which is -9 where the grace was not enough."""
        process = self.process
        if process is None:
            return 0
        process.terminate()
        try:
            return process.wait(self.manifest["spec"]["terminationGracePeriodSeconds"])
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def pods_to_run(objects: Sequence[KubeObject], folder: Path, secrets: Secrets, moved: Mapping[str, str]) -> list[Pod]:
    """Make one pod of each Deployment, whatever its number of replicas."""
    return [
        Pod(
            name=o["metadata"]["name"],
            manifest=o["spec"]["template"],
            folder=folder / str(number),
            secrets=secrets,
            moved=moved,
        )
        for number, o in enumerate(objects)
        if o["kind"] == "Deployment"
    ]


def endpoints(service: KubeObject, pods: Sequence[Pod]) -> list[str]:
    """Return where a Service with one port leads to, as host:port of each pod that it selects."""
    wanted = service["spec"]["selector"].items()
    (port,) = service["spec"]["ports"]
    return [f"{pod.address}:{pod.port(port['targetPort'])}" for pod in pods if wanted <= pod.labels.items()]


def start_all(pods: Sequence[Pod]) -> None:
    """Start pods as a cluster does, all at once; raise the first failure once all have come up or failed."""
    failures: list[BaseException] = []

    def start(pod: Pod) -> None:
        try:
            pod.start()
        except BaseException as error:  # whatever it was, the test's thread should have it
            failures.append(error)

    threads = [threading.Thread(target=start, args=(pod,)) for pod in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _some_address() -> str:
    """Return an address of loopback of which nobody else has heard: four million are more than enough to meet none."""
    random = SystemRandom()
    return f"127.{random.randrange(64, 128)}.{random.randrange(256)}.{random.randrange(1, 255)}"
