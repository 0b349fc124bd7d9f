"""Starts helper programs of this package, talks to them, and reads from /proc what a process has used."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.lines import Json

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOP_S = 20.0
_IDLE_SHARE = 0.04
_IDLE_LOOK_S = 0.5
_IDLE_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """A helper program that is ready, and what it said about itself."""

    process: subprocess.Popen[bytes]
    ready: Json

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def tell(self, **job: object) -> None:
        """Send a job; read its answer with `answer`."""
        assert self.process.stdin is not None, "a pipe was asked for"
        self.process.stdin.write(json.dumps(job).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self) -> Json:
        """Wait for the answer to the oldest job without one."""
        return _read(self.process)

    def ask(self, **job: object) -> Json:
        """Send a job and wait for its answer."""
        self.tell(**job)
        return self.answer()


@contextmanager
def program(name: str, *arguments: str) -> Iterator[Program]:
    """Run `tests.bench.<name>` as a process of its own; it ends when its standard input does."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.bench.{name}", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield Program(process, _read(process))
    finally:
        assert process.stdin is not None, "a pipe was asked for"
        process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _read(process: subprocess.Popen[bytes]) -> Json:
    assert process.stdout is not None, "a pipe was asked for"
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended without an answer")
    answer: Json = json.loads(line)
    return answer


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def rss_kb(pid: int) -> int:
    """Return how much memory a process holds, in KB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} has no memory")


def wait_idle(*pids: int) -> None:
    """Wait until processes do next to nothing, so that what they began before does not count in what comes next."""
    deadline_s = time.monotonic() + _IDLE_PATIENCE_S
    while time.monotonic() < deadline_s:
        before_s = sum(map(cpu_s, pids))
        time.sleep(_IDLE_LOOK_S)
        if sum(map(cpu_s, pids)) - before_s <= _IDLE_SHARE * _IDLE_LOOK_S:
            return


def to_text(raw: bytes) -> str:
    """Spell bytes for a job."""
    return base64.b64encode(raw).decode()


def from_text(text: str) -> bytes:
    """Read what `to_text` wrote."""
    return base64.b64decode(text)
