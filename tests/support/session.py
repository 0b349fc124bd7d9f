"""A newcomer's sessions at the command line, as the README shows them: played against real processes, and written down.

`python -m tests.support.session --write` plays them and puts them into the README; a test plays them and compares. What differs
from one run to the next is replaced: times, days, and ids.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx

from sidecar.cli.processes import Started, service_env, started
from sidecar.store.key_ring import create_key_ring
from tests.support.processes import ROOT, free_port, run_cli

README = ROOT / "README.md"
_MARKS = {
    "onboarding": ("<!-- a session, written by tests/support/session.py -->\n", "<!-- the end of the session -->\n"),
    "booking": ("<!-- bookings, written by tests/support/session.py -->\n", "<!-- the end of the bookings -->\n"),
}
"""Where each session begins and ends in the README."""
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?Z")
_PORT = re.compile(r"127\.0\.0\.1:\d+")
_PATIENCE_S = 60.0
_COLUMNS = "132"
_SHOWN_TIME = "2026-11-22 09:30Z"
_BOOKING = re.compile(r"/bookings/([a-z0-9]+)")
_SHOWN_DAY = date(2026, 12, 1)
"""What the first day of bookings is called; it is the day after tomorrow, whenever the session is played."""
_DAYS = 3
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
        self.people: list[str] = list(tenant["people"])
        today = datetime.now(UTC).date()
        self.days = [(today + timedelta(days=2 + number)).isoformat() for number in range(_DAYS)]
        self.bookings: list[str] = []
        """Ids of bookings, in the order in which they were first told."""
        self.text = ""

    def says(self, text: str) -> None:
        """Explain what comes next."""
        self.text += f"{text}\n\n"

    def types(self, *arguments: str, exit_code: int = 0) -> None:
        """Run a command and write down what it printed."""
        ran = self._run(*arguments)
        assert ran.returncode == exit_code, f"{arguments}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
        shown = shlex.join(argument.replace(f"{self._folder}/", "") for argument in arguments)
        lines = [f"$ exchange-sidecar {shown}", *ran.stdout.splitlines(), *ran.stderr.splitlines()]
        for told in _BOOKING.findall(ran.stdout):
            if told not in self.bookings:
                self.bookings.append(told)
        tidy = "\n".join(self._tidy(line).rstrip() for line in lines)
        for name in ("tenant_id", "client_id"):
            tidy = tidy.replace(
                self.tenant[name], f"<{name.replace('tenant', 'directory').replace('client', 'application')}>"
            )
        self.text += f"```\n{tidy}\n```\n\n"

    def _tidy(self, line: str) -> str:
        """Replace times that are no bookings', days, and ids of bookings."""
        line = _PORT.sub("127.0.0.1:8443", line)
        line = _TIME.sub(lambda found: found[0] if found[0][:10] in self.days else _SHOWN_TIME, line)
        for number, day in enumerate(self.days):
            line = line.replace(day, (_SHOWN_DAY + timedelta(days=number)).isoformat())
        for number, booking in enumerate(self.bookings, 1):
            line = line.replace(booking, f"<booking-{number}>")
        return line

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

    def waits_for_bookings(self, count: int, *days: str) -> None:
        """Wait until the copy holds so many bookings between two days; nothing is written down."""
        ends_s = time.monotonic() + _PATIENCE_S
        listing = ("booking", "list", "acme/-", "--start", days[0], "--end", days[1], "-o", "json")
        while len(told := json.loads(self._run(*listing).stdout)) != count:
            assert time.monotonic() < ends_s, told
            time.sleep(0.2)

    def at_microsoft(self, **app: object) -> None:
        """Do what the customer's administrator does."""
        url = f"{self._emulator.text('control_url')}/control/tenants/{self.tenant['tenant_id']}/app"
        httpx.patch(url, json=app, trust_env=False).raise_for_status()

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_cli(*arguments, env=self._env)


def play() -> dict[str, str]:
    """Play the sessions, the second where the first ended; return them by name, as Markdown."""
    with tempfile.TemporaryDirectory(prefix="session-") as name, _stage(Path(name)) as session:
        _onboard(session, Path(name))
        onboarding, session.text = session.text, ""
        _book(session)
        return {"onboarding": onboarding, "booking": session.text}


def _onboard(session: _Session, folder: Path) -> None:
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


def _book(session: _Session) -> None:
    day, _, end = session.days
    ada = session.people[0]
    session.says("Who needs a room for six people for an hour on that morning looks first:")
    session.types(
        "booking", "find", "acme", "--start", f"{day}T08:00", "--end", f"{day}T12:00", "--for", "60", "--seats", "6"
    )
    session.types("booking", "create", "acme/hq-2", f"{day}T09:00", "--for", "90", "--subject", "Design review")
    session.says(
        "It is confirmed once it is known to stand alone. The room cannot be taken twice, and whoever tries is told by what:"
    )
    session.types("booking", "create", "acme/hq-2", f"{day}T10:00", exit_code=1)
    session.says("A booking is named by its full name, or like this; what is not given stays as it is.")
    session.types("booking", "update", f"acme/hq-2/{session.bookings[0]}", "--start", f"{day}T09:30")
    session.types("booking", "find", "acme", "hq-2", "--start", f"{day}T08:00", "--end", f"{day}T12:00")
    session.says(
        "In mode organizer the meeting lies in a person's calendar and the room is invited; its own rules decide."
        " `--wait` waits for its answer. A series is made from a rule of RFC 5545, in the zone that its time of day is"
        " meant in:"
    )
    session.types(
        *("booking", "create", "acme/hq-3", f"{day}T14:00", "--zone", "Asia/Dubai", "--subject", "Stand-up"),
        *("--repeat", "FREQ=DAILY;COUNT=2", "--mode", "organizer", "--organizer", ada, "--wait", "20"),
    )
    session.says("Its first booking is in the copy at once, the others with the next read of the room, within seconds:")
    session.waits_for_bookings(3, day, end)
    session.types("booking", "list", "acme/-", "--start", day, "--end", end)
    session.says(
        "Of a series one booking is cancelled, it and all that follow, or all. A room that nobody uses is given back:"
    )
    session.types(
        "booking", "cancel", f"acme/hq-3/{session.bookings[1]}", "--scope", "all", "--comment", "Moved to May."
    )
    session.types("booking", "release", f"acme/hq-2/{session.bookings[0]}", "--reason", "no-show")


@contextmanager
def _stage(folder: Path) -> Iterator[_Session]:
    create_key_ring(folder / "keyring.json")
    with ExitStack() as stack:
        command = ["emulator", "--ca-dir", str(folder), "--seed", "1", "--calm", "--rooms", "3"]
        emulator = stack.enter_context(started(command, log_file=folder / "emulator.log"))
        env = service_env(folder, emulator, webhook_port=free_port())
        service = stack.enter_context(started(["serve"], log_file=folder / "service.log", env=env))
        yield _Session(emulator, service, folder)


def shown() -> dict[str, str]:
    """Return the sessions that the README shows, by name."""
    text = README.read_text()
    return {name: text.split(begin)[1].split(end)[0].strip() + "\n" for name, (begin, end) in _MARKS.items()}


def main() -> None:
    """Play them, and print them or write them into the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into the README")
    played = play()
    if not parser.parse_args().write:
        sys.stdout.write("".join(played.values()))
        return
    for name, (begin, end) in _MARKS.items():
        before, rest = README.read_text().split(begin)
        README.write_text(f"{before}{begin}\n{played[name]}{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    main()
