"""Starts the emulator and the service as processes of their own, on loopback, and stops them again.

For the demo, and for tests that want real processes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sidecar.errors import SidecarError

_STOP_S = 20.0


class ProcessFailed(SidecarError):
    """A process ended before it was ready; the message holds the end of its log."""


class Ready(Protocol):
    """Something that said where it listens when it was ready."""

    def text(self, key: str) -> str:
        """Return a value of the ready line."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process that is ready, and what it said about itself."""

    process: subprocess.Popen[bytes]
    ready: Mapping[str, object]
    log_file: Path

    def text(self, key: str) -> str:
        """Return a value of the ready line."""
        return str(self.ready[key])


@contextmanager
def started(command: list[str], *, log_file: Path, env: Mapping[str, str] | None = None) -> Iterator[Started]:
    """Run `exchange-sidecar` with a command until it prints its ready line; stop it on the way out."""
    with log_file.open("ab") as stderr:
        process = subprocess.Popen(  # noqa: S603  (our own program)
            [sys.executable, "-m", "sidecar", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **(env or {})},
        )
    try:
        assert process.stdout is not None, "a pipe was asked for"
        line = process.stdout.readline()
        if not line:
            process.wait()
            raise ProcessFailed(f"`{' '.join(command)}` did not start:\n{log_file.read_text()[-2000:]}")
        yield Started(process, json.loads(line), log_file)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> int:
    """End a process politely, then less so; return its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    if process.stdout is not None:
        process.stdout.close()
    return process.wait()


def service_env(folder: Path, emulator: Ready, *, webhook_port: int) -> dict[str, str]:
    """Return the environment of a service that lives in `folder` and takes an emulator for Microsoft.

    Args:
        webhook_port: where it listens for notifications; the emulator is told this address, so it is not a random one.
    """
    return {
        "EXCHANGE_GRPC__SOCKET": str(folder / "exchange.sock"),
        "EXCHANGE_GRPC__ADDRESSES": '["127.0.0.1:0"]',
        "EXCHANGE_STORE__PATH": str(folder / "exchange.sqlite3"),
        "EXCHANGE_VAULT__KEY_RING_FILE": str(folder / "keyring.json"),
        "EXCHANGE_WEBHOOK__LISTEN": f"127.0.0.1:{webhook_port}",
        "EXCHANGE_WEBHOOK__PUBLIC_URL": f"http://127.0.0.1:{webhook_port}",
        "EXCHANGE_PROBES__LISTEN": "127.0.0.1:0",
        "EXCHANGE_GRAPH__LOGIN_URL": emulator.text("login_url"),
        "EXCHANGE_GRAPH__GRAPH_URL": emulator.text("graph_url"),
        "EXCHANGE_GRAPH__CA_FILE": emulator.text("ca_file"),
    }
