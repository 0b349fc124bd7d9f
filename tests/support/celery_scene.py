"""Workers and bridges as real processes over a scene, to be killed; and what their handlers wrote down."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from example_celery import opened
from exchange_client import RoomMirror
from kombu import Connection, Queue

from tests.support.celery_app import BEGUN, CALLS, QUEUES_COUNT, TOLD
from tests.support.processes import ROOT, Service, eventually

APP = "tests.support.celery_app"
QUEUES = ",".join(f"exchange.changes.{number}" for number in range(QUEUES_COUNT))
_STOP_S = 30.0


class Process:
    """A process that is killed and started again; its output is kept in a file."""

    def __init__(self, folder: Path, name: str, *arguments: str, env: dict[str, str]) -> None:
        """Prepare one: `arguments` are those of Python."""
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, *arguments]
        self._env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'clients/python'}", "PYTHONWARNINGS": "", **env}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def number(self) -> int | None:
        """Its id, while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Run it."""
        with self.log.open("ab") as output:
            # A session of its own: what a worker has forked, beat too, is killed with it.
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdout=output, stderr=output, start_new_session=True
            )

    def kill(self) -> None:
        """End it as a loss of power does; nothing if it does not run."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """End it as Kubernetes does; return its exit code."""
        assert self._process is not None, "start() comes first"
        process, self._process = self._process, None
        process.terminate()
        try:
            return process.wait(_STOP_S)
        finally:
            process.kill()

    def wait(self) -> int:
        """Wait for its own end; return its exit code."""
        assert self._process is not None, "start() comes first"
        code = self._process.wait(_STOP_S)
        self._process = None
        return code

    def text(self) -> str:
        """Return its output."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class CeleryScene:
    """A broker with whatever runs on it, in a folder of its own."""

    def __init__(self, folder: Path, broker_url: str, *, target: str, tenant_id: str) -> None:
        """Prepare; nothing runs."""
        self.folder = folder
        self.cursor = folder / "cursor"
        self.database = folder / "rooms.sqlite3"
        self._env = {"BROKER_URL": broker_url, "ROOMS_DB": str(self.database)}
        self._target = target
        self._tenant_id = tenant_id
        self._processes: list[Process] = []

    def worker(self, name: str, *arguments: str, queues: str = QUEUES, **env: str) -> Process:
        """Prepare a worker of one slot."""
        usual = ["-c", "1", "-Q", queues, "-n", f"{name}@localhost", "--loglevel", "INFO", "--without-gossip"]
        command = ["-m", "celery", "-A", APP, "worker", "--without-mingle", *usual, *arguments]
        return self._process(name, command, env)

    def worker_with_bridge(self, name: str, *, queues: str = QUEUES) -> Process:
        """Prepare a worker of one slot that runs the bridge as well."""
        bridge = {"BRIDGE_TARGET": self._target, "BRIDGE_TENANT": self._tenant_id, "BRIDGE_CURSOR": str(self.cursor)}
        return self.worker(name, "-P", "threads", queues=queues, **bridge)

    def chores(self, name: str) -> Process:
        """Prepare a worker of two slots, in processes of their own, that drives the sidecar's chores, and beat in it."""
        beat = ["-B", "-s", str(self.folder / "beat"), "-P", "prefork", "-c", "2"]
        return self.worker(name, *beat, queues="exchange.chores", CHORES_TARGET=self._target)

    def bridge(self, *arguments: str) -> Process:
        """Prepare a bridge of the tenant."""
        usual = ["--app", APP, "--target", self._target, "--tenant", self._tenant_id, "--cursor", str(self.cursor)]
        return self._process("bridge", ["-m", "exchange_client.celery", "bridge", *usual, *arguments], {})

    def _process(self, name: str, command: list[str], env: dict[str, str]) -> Process:
        process = Process(self.folder, name, *command, env=self._env | env)
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End whatever runs."""
        for process in self._processes:
            process.kill()

    def outputs(self) -> str:
        """Return the ends of all outputs."""
        return "\n".join(f"--- {process.log.name}\n{process.text()[-3000:]}" for process in self._processes)

    def same_as(self, mirror: RoomMirror) -> bool:
        """Compare what the handlers keep with a mirror; raise with the difference."""
        told = {booking.name: booking.revision for room in mirror.rooms for booking in mirror.bookings(room)}
        kept = self.kept()
        assert kept == told, f"missing {told.items() - kept.items()}, too many {kept.items() - told.items()}"
        return True

    def kept(self) -> dict[str, int]:
        """Return the revisions of the bookings that the handlers keep."""
        return dict(self._rows("SELECT name, revision FROM bookings WHERE takes_room"))

    @staticmethod
    def length(broker_url: str, queue: str) -> int:
        """Return how many messages wait in a queue of the broker."""
        with Connection(broker_url) as connection:
            return int(Queue(queue, durable=True)(connection.default_channel).queue_declare(passive=True).message_count)

    async def hears_more(self, service: Service) -> None:
        """Wait until a handler is told something new."""
        known = self.count("told")
        await eventually(lambda: self.count("told") > known, "a handler is told something", service=service)

    async def kill_at_work(self, service: Service) -> Process:
        """Kill a worker that has just begun on a change; give it."""
        known = len(self._begun())
        await eventually(lambda: len(self._begun()) > known, "a handler begins", service=service)
        number = int(self._begun()[-1])
        (process,) = (process for process in self._processes if process.number == number)
        process.kill()
        return process

    def _begun(self) -> list[str]:
        file = Path(f"{self.database}{BEGUN}")
        return file.read_text().split() if file.exists() else []

    def check_order(self) -> None:
        """See that no room, and no booking of it, went backwards."""
        newest: dict[tuple[str, str], int] = {}
        for kind, room, epoch, revision, name in self._rows(
            "SELECT kind, room, epoch, revision, name FROM told ORDER BY place"
        ):
            # A snapshot tells each booking with the revision of its last change: between bookings only news has an order.
            for key in [name] if kind == "SNAPSHOT_ITEM" else [name, room]:
                assert revision > newest.get((key, epoch), -1), (
                    f"{key} went back from {newest[key, epoch]} to {revision}"
                )
                newest[key, epoch] = revision

    def count(self, what: str) -> int:
        """Count the rows of a table, or of what follows a FROM."""
        ((count,),) = self._rows(f"SELECT count(*) FROM {what}")
        return int(count)

    def _rows(self, sql: str) -> list[Any]:  # Any: rows of SQLite
        with closing(opened(str(self.database))) as db:
            db.execute(TOLD)
            db.execute(CALLS)
            return db.execute(sql).fetchall()


@contextmanager
def celery_scene(folder: Path, broker_url: str, *, target: str, tenant_id: str) -> Iterator[CeleryScene]:
    """Give a scene, and end what runs in it; print the outputs when the test fails."""
    scene = CeleryScene(folder, broker_url, target=target, tenant_id=tenant_id)
    try:
        yield scene
    except (AssertionError, sqlite3.Error):
        print(scene.outputs())
        raise
    finally:
        scene.close()
