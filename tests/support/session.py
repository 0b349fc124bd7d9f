"""A newcomer's session at the command line, as the README shows it: played against real processes, and written down.

`python -m tests.support.session --write` plays it and puts it into the README; a test plays it and compares. What differs
from one run to the next is replaced: times, and the ids that the first answer holds.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from sidecar.cli.processes import Started, service_env, started
from sidecar.store.key_ring import create_key_ring
from tests.support.processes import ROOT, free_port, run_cli

README = ROOT / "README.md"
_BEGIN, _END = "<!-- a session, written by tests/support/session.py -->\n", "<!-- the end of the session -->\n"
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?Z")
_PORT = re.compile(r"127\.0\.0\.1:\d+")
_PATIENCE_S = 60.0
_COLUMNS = "132"
_SHOWN_TIME = "2026-11-22 09:30Z"
_READING = ["Calendars.ReadWrite", "MailboxSettings.Read"]


class _Session:
    """What was typed and what came back, as Markdown."""

    def __init__(self, emulator: Started, service: Started, folder: Path) -> None:
        self._emulator = emulator
        self._folder = folder
        addresses = service.ready["grpc"]
        assert isinstance(addresses, list)
        self._env = {"EXCHANGE_TARGET": str(addresses[-1]), "COLUMNS": _COLUMNS}
        tenant = emulator.ready["tenant"]
        assert isinstance(tenant, dict)
        self.tenant: dict[str, str] = tenant
        self.rooms: list[str] = list(tenant["rooms"])
        self.text = ""

    def says(self, text: str) -> None:
        """Explain what comes next."""
        self.text += f"{text}\n\n"

    def types(self, *arguments: str, exit_code: int = 0) -> None:
        """Run a command and write down what it printed."""
        ran = self._run(*arguments)
        assert ran.returncode == exit_code, f"{arguments}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
        shown = " ".join(argument.replace(f"{self._folder}/", "") for argument in arguments)
        lines = [f"$ exchange-sidecar {shown}", *ran.stdout.splitlines(), *ran.stderr.splitlines()]
        tidy = "\n".join(_PORT.sub("127.0.0.1:8443", _TIME.sub(_SHOWN_TIME, line)).rstrip() for line in lines)
        for name in ("tenant_id", "client_id"):
            tidy = tidy.replace(
                self.tenant[name], f"<{name.replace('tenant', 'directory').replace('client', 'application')}>"
            )
        self.text += f"```\n{tidy}\n```\n\n"

    def waits_for(self, *states: str) -> None:
        """Wait until the rooms are in these states; nothing is written down."""
        ends_s = time.monotonic() + _PATIENCE_S
        while True:
            told = self._run("room", "list", "acme", "-o", "json")
            found = [room["state"].removeprefix("STATE_") for room in json.loads(told.stdout)]
            live = [room["sync"]["state"].removeprefix("SYNC_STATE_") for room in json.loads(told.stdout)]
            if found == list(states) and all(
                copy == "LIVE" for copy, is_up in zip(live, found, strict=True) if is_up == "UP"
            ):
                return
            assert time.monotonic() < ends_s, f"rooms are {found} and {live}, not {states}"
            time.sleep(0.2)

    def waits_for_news(self) -> None:
        """Wait until the doctor has nothing to say but that Microsoft announced a change."""
        ends_s = time.monotonic() + _PATIENCE_S
        while "announced a change" not in (told := self._run("doctor", "--no-local").stdout):
            assert time.monotonic() < ends_s, told
            time.sleep(0.2)

    def at_microsoft(self, **app: object) -> None:
        """Do what the customer's administrator does."""
        url = f"{self._emulator.text('control_url')}/control/tenants/{self.tenant['tenant_id']}/app"
        httpx.patch(url, json=app, trust_env=False).raise_for_status()

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_cli(*arguments, env=self._env)


def play() -> str:
    """Play the session; return it as Markdown."""
    with tempfile.TemporaryDirectory(prefix="session-") as name, _stage(Path(name)) as session:
        _play(session, Path(name))
        return session.text


def _play(session: _Session, folder: Path) -> None:
    session.at_microsoft(roles=[], access_policy=[])
    tenant = session.tenant
    (folder / "secret").write_text(tenant["client_secret"])
    rows = [f"hq-{number},{mailbox},{2 + 2 * number}" for number, mailbox in enumerate(session.rooms[:3], 1)]
    (folder / "rooms.csv").write_text("\n".join(["room_id,mailbox,capacity", *rows, ""]))
    session.says(
        "The customer's administrator has made an app registration, and hands over three values. Nothing is granted yet."
    )
    session.types(
        *("tenant", "register", "acme", "--directory-id", tenant["tenant_id"]),
        *("--application-id", tenant["client_id"], "--secret-file", f"{folder}/secret"),
    )
    session.says(
        "The rooms come from a file (`room discover acme -o csv` writes one where `Place.Read.All` is granted)."
    )
    session.types("room", "import", f"{folder}/rooms.csv", "--tenant", "acme", "--dry-run")
    session.types("room", "import", f"{folder}/rooms.csv", "--tenant", "acme")
    session.types("tenant", "verify", "acme", exit_code=1)
    session.says("The administrator grants the permission, and has forgotten a room in the access policy.")
    session.at_microsoft(roles=_READING, access_policy=session.rooms[:2])
    session.types("tenant", "verify", "acme")
    session.waits_for("UP", "UP", "PENDING_PROPAGATION")
    session.types("room", "list", "acme")
    session.says(
        "Exchange may take hours to apply a policy, so the third room is waited for: it is asked again and again for two days,"
        " `tenant show` counts (`2 of 3 rooms, 3 h ago, next look in 5 min`), and it comes up by itself. Once the room is in"
        " the policy, and at once if somebody verifies:"
    )
    session.at_microsoft(access_policy=None)
    session.types("tenant", "verify", "acme")
    session.waits_for("UP", "UP", "UP")
    session.types("room", "check", "acme/hq-3", "--write")
    session.says("And at any time, for whoever is called at night:")
    session.waits_for_news()
    session.types("doctor", "--no-local", "--tenant", "acme")


@contextmanager
def _stage(folder: Path) -> Iterator[_Session]:
    create_key_ring(folder / "keyring.json")
    with ExitStack() as stack:
        command = ["emulator", "--ca-dir", str(folder), "--seed", "1", "--calm", "--rooms", "3"]
        emulator = stack.enter_context(started(command, log_file=folder / "emulator.log"))
        env = service_env(folder, emulator, webhook_port=free_port())
        service = stack.enter_context(started(["serve"], log_file=folder / "service.log", env=env))
        yield _Session(emulator, service, folder)


def shown() -> str:
    """Return the session that the README shows."""
    return README.read_text().split(_BEGIN)[1].split(_END)[0].strip() + "\n"


def main() -> None:
    """Play it, and print it or write it into the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into the README")
    text = play()
    if not parser.parse_args().write:
        sys.stdout.write(text)
        return
    before, rest = README.read_text().split(_BEGIN)
    README.write_text(f"{before}{_BEGIN}\n{text}{_END}{rest.split(_END)[1]}")


if __name__ == "__main__":
    main()
