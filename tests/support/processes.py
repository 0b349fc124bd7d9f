"""Real processes for the end-to-end tests: an emulator, a service that may be killed and started again, and waiting.

Nothing here knows what a calendar is; that is `scene.py`. Only processes started here are ended, each by its own handle.
"""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import SystemRandom
from typing import TypeVar, overload

import httpx

from sidecar.cli.processes import service_env, started
from sidecar.emulator.fixture import RunningEmulator
from sidecar.store.key_ring import create_key_ring

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0
"""How long anything may take that should take a second: the machine is shared."""
_POLL_S, _POLL_GROWTH, _POLL_MAX_S = 0.02, 1.15, 0.3
"""Quick answers are seen at once, and slow ones are not asked for so often that they become slower."""
_TAIL_LINES = 25
_PORTS = range(20_000, 32_000)
"""Below what the system gives to outgoing connections: a port must still be free when its service comes back."""
_RESERVED_PORTS: list[int] = []
"""Descriptors of the lock files of this process's ports; the locks end with the process."""


def free_port() -> int:
    """Return a port of loopback that nobody has, that no outgoing connection is given, and no other test run takes.

    Looking is not enough: a service that is down for a moment leaves its port free for the next one who looks.
    """
    folder = Path(tempfile.gettempdir(), f"exchange-sidecar-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    for port in SystemRandom().sample(_PORTS, len(_PORTS)):
        lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
            continue
        _RESERVED_PORTS.append(lock)
        return port
    raise AssertionError("every port is taken")


class Service:
    """A service with a folder of its own; what it writes and where it listens stay when it is started again."""

    def __init__(self, folder: Path, emulator: RunningEmulator, **settings: str) -> None:
        """Prepare one; `settings` are by the rest of their name: `SYNC__SETTLE_S="0.2"`."""
        self.folder = folder
        self.log_file = folder / "service.log"
        self.database = folder / "exchange.sqlite3"
        key_ring = folder / "keyring.json"
        if not key_ring.exists():
            create_key_ring(key_ring)
        self.env = service_env(folder, emulator, webhook_port=free_port())
        self.env["EXCHANGE_GRPC__ADDRESSES"] = f'["127.0.0.1:{free_port()}"]'
        self.env["EXCHANGE_PROBES__LISTEN"] = f"127.0.0.1:{free_port()}"
        self.env["EXCHANGE_GRPC__QUIET_S"] = "0.1"  # the tests end a service in the middle of calls, and that often
        self.env |= {f"EXCHANGE_{name}": value for name, value in settings.items()}
        self.arguments: list[str] = []
        """Given to `serve`."""
        self.ready: Mapping[str, object] = {}
        """What it said when it was ready last."""
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """Where gRPC listens, over TCP."""
        return str(json.loads(self.env["EXCHANGE_GRPC__ADDRESSES"])[0])

    @property
    def webhooks(self) -> str:
        """Base URL of the webhook."""
        return self.env["EXCHANGE_WEBHOOK__PUBLIC_URL"]

    @property
    def probes(self) -> str:
        """Base URL of probes and metrics."""
        return f"http://{self.env['EXCHANGE_PROBES__LISTEN']}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process, or the one that ran last."""
        assert self._process is not None, "start() comes first"
        return self._process

    def start(self) -> None:
        """Run it until it is ready. Blocks: from async code use `asyncio.to_thread`."""
        command = ["serve", *self.arguments]
        running = self._stack.enter_context(started(command, log_file=self.log_file, env=self.env))
        self._process, self.ready = running.process, running.ready

    def stop(self) -> int:
        """Stop it as Kubernetes does; return its exit code. Blocks."""
        self._stack.close()
        return self.process.wait()

    def kill(self) -> None:
        """End it as a loss of power does."""
        self.process.kill()
        self.process.wait()
        self._stack.close()

    def close(self) -> None:
        """Stop it if it runs."""
        self._stack.close()

    def log_tail(self) -> str:
        """Return the end of its log."""
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return "\n".join(line[:600] for line in lines[-_TAIL_LINES:])

    def log_lines(self) -> list[dict[str, object]]:
        """Return its log, without what libraries wrote."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def metric(self, name: str) -> float:
        """Return a counter or gauge, by its name in Prometheus without `exchange_`."""
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as http:
            text = (await http.get(f"{self.probes}/metrics")).text
        found = re.findall(rf"^exchange_{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        assert found, f"there is no metric exchange_{name}:\n{text}"
        return sum(map(float, found))

    async def is_ready(self) -> bool:
        """Tell whether it would get traffic from Kubernetes."""
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as http:
            return (await http.get(f"{self.probes}/readyz")).status_code == 200


@contextmanager
def service_started(folder: Path, emulator: RunningEmulator, **settings: str) -> Iterator[Service]:
    """Run a service of its own."""
    service = Service(folder, emulator, **settings)
    try:
        service.start()
        yield service
    finally:
        service.close()


def run_cli(
    *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run an `exchange-sidecar` command to its end, as a script would: no terminal, a fixed width."""
    return subprocess.run(
        [sys.executable, "-m", "sidecar", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **(env or {})},
    )


@overload
async def eventually(
    check: Callable[[], Awaitable[T]], what: str, *, service: Service | None = ..., deadline_s: float = ...
) -> T: ...
@overload
async def eventually(
    check: Callable[[], T], what: str, *, service: Service | None = ..., deadline_s: float = ...
) -> T: ...
async def eventually(
    check: Callable[[], object], what: str, *, service: Service | None = None, deadline_s: float = DEADLINE_S
) -> object:
    """Ask until the answer is true, and return it; an AssertionError counts as "not yet".

    Fails with what was last seen and the end of the service's log.
    """
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + deadline_s
    poll_s = _POLL_S
    while True:
        seen: object
        try:
            seen = check()
            if inspect.isawaitable(seen):
                seen = await seen
            if seen:
                return seen
        except AssertionError as error:
            seen = error
        if loop.time() > ends_s:
            tail = "" if service is None else f"\nThe service's log ends:\n{service.log_tail()}"
            raise AssertionError(f"{what}: not within {deadline_s:g} s. Last seen: {seen}{tail}")
        await asyncio.sleep(poll_s)
        poll_s = min(_POLL_MAX_S, poll_s * _POLL_GROWTH)
