"""The service as it is shipped: the image that .ci/image builds, run by podman as a cluster would run it.

`Container` is a `Service` to whoever plays with it. Inside it has nothing but the image's own settings; outside are its
socket, its database and its key ring. Containers are ended by their names, and podman's mounts end with its process.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from functools import cache
from pathlib import Path

import pytest

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import ROOT, Service

UID = 65532
LOCKED_DOWN = (
    *("--network", "host", "--cgroups", "disabled", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    "--passwd=false",  # as in Kubernetes, where nobody gives the number a name
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp"),
    *("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"),
)
"""The least that a container has; the network is the machine's own, for the emulator is on its loopback."""
SHELLS = ("/usr/bin/dash", "/usr/bin/bash")
"""All shells of the base; each is hidden behind an empty file, so that nothing can use one in secret."""
_BUILD_S = 900.0
_RUN_S = 60.0


@cache
def image() -> str:
    """Return the id of the image built from the working tree; skip the test where it cannot be built, and say why."""
    built = subprocess.run(
        [ROOT / ".ci" / "image"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=_BUILD_S
    )
    if built.returncode == 3:
        pytest.skip(built.stderr.strip())
    assert built.returncode == 0, built.stdout + built.stderr
    return built.stdout.strip()


def podman(*arguments: str | Path, timeout_s: float = _RUN_S) -> subprocess.CompletedProcess[str]:
    """Run a podman command to its end."""
    return subprocess.run(
        [ROOT / ".ci" / "podman", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout_s
    )


def run_image(*arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the image's program with some arguments to its end, locked down."""
    return podman("run", "--rm", "--no-healthcheck", *LOCKED_DOWN, *options, image(), *arguments)


def python_in_image(program: str) -> str:
    """Run a piece of Python in the image, as root who may look everywhere, and return what it printed."""
    options = ("--user", "0", "--cap-add", "DAC_READ_SEARCH", "--entrypoint", "/opt/exchange/bin/python")
    ran = run_image("-I", "-c", program, options=options)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


class Container(Service):
    """A service in a container, without a shell."""

    def __init__(self, folder: Path, emulator: RunningEmulator, **settings: str) -> None:
        """Prepare one; `settings` as those of any service."""
        super().__init__(folder, emulator, **settings)
        self.name = f"exchange-{os.getpid()}-{folder.name}"
        self.database = folder / "data" / "exchange.sqlite3"
        self.socket = folder / "run" / "exchange.sock"
        self.ready_s = self.ready_cpu_s = 0.0
        """From the call of podman to the ready line, and what the service's own process needed of the processor."""
        for part in ("data", "run", "etc"):
            (folder / part).mkdir()
            os.chown(folder / part, UID, UID)
        os.rename(folder / "keyring.json", folder / "etc" / "keyring.json")
        os.chown(folder / "etc" / "keyring.json", UID, UID)
        (folder / "etc" / "ca.pem").write_bytes(Path(emulator.text("ca_file")).read_bytes())
        (folder / "no-shell").touch(mode=0o444)
        # Where things lie is what the image says, except for whom the emulator is trusted by.
        for name in ("EXCHANGE_GRPC__SOCKET", "EXCHANGE_STORE__PATH", "EXCHANGE_VAULT__KEY_RING_FILE"):
            del self.env[name]
        self.env["EXCHANGE_GRAPH__CA_FILE"] = "/etc/exchange/ca.pem"

    @property
    def target(self) -> str:
        """Where gRPC listens for those outside: the socket."""
        return f"unix:{self.socket}"

    def start(self) -> None:
        """Run it until it is ready. Blocks."""
        volumes = {"data": "/var/lib/exchange", "run": "/run/exchange", "etc": "/etc/exchange:ro"}
        options = [option for part, path in volumes.items() for option in ("--volume", f"{self.folder / part}:{path}")]
        options += [option for shell in SHELLS for option in ("--volume", f"{self.folder / 'no-shell'}:{shell}:ro")]
        options += [option for name, value in self.env.items() for option in ("--env", f"{name}={value}")]
        command = [str(ROOT / ".ci" / "podman"), "run", "--rm", "--name", self.name, *LOCKED_DOWN, *options, image()]
        began_s = time.monotonic()
        with self.log_file.open("ab") as stderr:
            self._process = subprocess.Popen(
                [*command, *self.arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the container did not start:\n{self.log_tail()}"
        self.ready = json.loads(line)
        self.ready_s = time.monotonic() - began_s
        fields = Path(f"/proc/{self.pid()}/stat").read_text().rpartition(")")[2].split()
        self.ready_cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def pid(self) -> int:
        """Return the number of the service's process, as seen from outside."""
        return int(podman("inspect", "--format", "{{.State.Pid}}", self.name).stdout)

    def stop(self) -> int:
        """Stop it as Kubernetes does; return its exit code. Blocks."""
        self.process.terminate()
        code = self.process.wait(_RUN_S)
        self.close()
        return code

    def close(self) -> None:
        """End it if it runs."""
        if self._process is None:
            return
        if self._process.poll() is None:
            podman("rm", "--force", "--time", "0", "--ignore", self.name)
            self._process.wait(_RUN_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
