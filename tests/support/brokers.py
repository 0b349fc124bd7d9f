"""Real brokers for tests: Debian's RabbitMQ and Redis, each with ports and a folder of its own, on loopback, ended by its id.

`.ci/servers` installs them. Tests that lack one are skipped, and the mark says so.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.processes import free_port

_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_EPMD = shutil.which("epmd")
_REDIS = shutil.which("redis-server")
_START_S = 60.0
_STOP_S = 20.0
_HOST = "127.0.0.1"

needs_rabbitmq = pytest.mark.skipif(
    not _RABBITMQ.exists() or _EPMD is None, reason="there is no rabbitmq-server: .ci/servers installs it"
)
needs_redis = pytest.mark.skipif(_REDIS is None, reason="there is no redis-server: .ci/servers installs it")


@contextmanager
def rabbitmq() -> Iterator[str]:
    """Run a RabbitMQ; give its URL. Some seven seconds until it is up.

    Its name server is a process of its own, or Erlang would leave a daemon behind.
    """
    ports = {"EPMD": free_port(), "DIST": free_port(), "NODE": free_port()}
    with _folder("exchange-rabbitmq-") as folder:
        plugins = folder / "plugins"
        plugins.write_text("[].\n")
        env = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(folder),  # of the cookie
            "ERL_EPMD_PORT": str(ports["EPMD"]),
            "ERL_EPMD_ADDRESS": _HOST,
            "RABBITMQ_NODENAME": f"exchange{ports['NODE']}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": _HOST,
            "RABBITMQ_NODE_PORT": str(ports["NODE"]),
            "RABBITMQ_DIST_PORT": str(ports["DIST"]),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        log = folder / "log"
        with ExitStack() as stack:
            names = [str(_EPMD), "-port", str(ports["EPMD"]), "-address", _HOST]
            stack.enter_context(_running(names, env, folder / "epmd.log"))
            _await(lambda: _listens(ports["EPMD"]), folder / "epmd.log")
            stack.enter_context(_running([str(_RABBITMQ)], env, log))
            _await(lambda: "Server startup complete" in log.read_text(errors="replace"), log)
            yield f"amqp://{_HOST}:{ports['NODE']}//"


class Redis:
    """A Redis that writes each command to the disk before it answers, as README asks for."""

    def __init__(self, folder: Path) -> None:
        """Prepare one; nothing runs."""
        port = free_port()
        self.url = f"redis://{_HOST}:{port}/0"
        options = {"port": port, "bind": _HOST, "dir": folder, "save": "", "appendonly": "yes", "appendfsync": "always"}
        self._command = [str(_REDIS), *(str(part) for name, value in options.items() for part in (f"--{name}", value))]
        self._folder = folder
        self._starts_count = 0
        self._stack = ExitStack()

    def start(self) -> None:
        """Run it until it takes connections."""
        self._starts_count += 1
        log = self._folder / f"log-{self._starts_count}"
        self._stack.enter_context(_running(self._command, {"PATH": os.environ["PATH"]}, log, ending=signal.SIGKILL))
        _await(lambda: "Ready to accept connections" in log.read_text(errors="replace"), log)

    def kill(self) -> None:
        """End it as a loss of power does."""
        self._stack.close()


@contextmanager
def redis() -> Iterator[Redis]:
    """Run a Redis that may be killed and started again."""
    with _folder("exchange-redis-") as folder:
        server = Redis(folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _running(
    command: list[str], env: dict[str, str], log: Path, *, ending: signal.Signals = signal.SIGTERM
) -> Iterator[None]:
    with log.open("ab") as output:
        # A session of its own: RabbitMQ is a shell, an emulator and a helper, and all of them go together.
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield
    finally:
        process.send_signal(ending)
        try:
            process.wait(_STOP_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) == 0


def _await(is_up: Callable[[], bool], log: Path) -> None:
    deadline_s = time.monotonic() + _START_S
    while not is_up():
        assert time.monotonic() < deadline_s, f"not up after {_START_S} s:\n{log.read_text(errors='replace')[-3000:]}"
        time.sleep(0.05)
