"""The commands against a running service: what they print, and how they end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import ROOT, Service, run_cli
from tests.support.scene import tomorrow, wall

pytestmark = pytest.mark.e2e

BUF = Path(sys.executable).with_name("buf")
CANARY = "CANARY-cli-secret"
GUID = "00000000-0000-4000-8000-000000000000"
Run = Callable[..., subprocess.CompletedProcess[str]]


class Desk:
    """An emulated directory with a registered tenant, worked at with commands alone."""

    def __init__(self, service: Service, http: httpx.Client) -> None:
        self._http = http
        self.target = service.target
        self.made = self.post("/control/tenants", {"client_secret": CANARY})
        self.directory = self.made["tenant_id"]
        self.rooms = self.post(f"/control/tenants/{self.directory}/rooms", {"count": 2})["rooms"]
        self.people = self.post(f"/control/tenants/{self.directory}/users", {"count": 1})["users"]
        self.tenant = f"t-{self.directory[:8]}"

    def post(self, path: str, body: dict[str, object]) -> Any:  # Any: JSON
        """Call the emulator's control API."""
        answer = self._http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command against the service; no output may ever hold the secret."""
        result = run_cli(*arguments, stdin=stdin, env={"EXCHANGE_TARGET": self.target})
        assert CANARY not in result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result

    def register(self) -> subprocess.CompletedProcess[str]:
        """Register the tenant, the secret on standard input."""
        ids = ["--directory-id", self.directory, "--application-id", self.made["client_id"]]
        return self.run("tenant", "register", self.tenant, *ids, "--secret-file", "-", stdin=f"{CANARY}\n")

    def until(self, wanted: str, *arguments: str) -> Any:  # Any: JSON
        """Repeat a command with -o json until its output holds a text; return the output."""
        ends_s = time.monotonic() + 20.0
        while True:
            result = self.run(*arguments, "-o", "json")
            if wanted in result.stdout:
                return json.loads(result.stdout)
            assert time.monotonic() < ends_s, f"{wanted} did not come: {result.stdout} {result.stderr}"


@pytest.fixture
def desk(service: Service, emulator: RunningEmulator) -> Iterator[Desk]:
    """Give a directory and a registered tenant."""
    with httpx.Client(base_url=emulator.text("control_url"), trust_env=False, timeout=30.0) as http:
        ready = Desk(service, http)
        registered = ready.register()
        assert registered.returncode == 0, registered.stderr
        assert "verifying" in registered.stdout.lower()
        yield ready


def test_tenant_room_and_bookings_are_shown_as_tables_and_as_json(desk: Desk) -> None:
    active = desk.until("STATE_ACTIVE", "tenant", "get", desk.tenant)
    assert active["directory_id"] == desk.directory
    assert len(active["credentials"][0]["fingerprint"]) == 12
    mapped = desk.run("room", "map", f"{desk.tenant}/r1", desk.rooms[0]["address"], "--time-zone", "Europe/Berlin")
    assert mapped.returncode == 0, mapped.stderr
    booking = {"organizer": desk.people[0]["address"], "rooms": [desk.rooms[0]["address"]], "subject": "Plans"}
    times = {"start": wall(tomorrow()), "end": wall(tomorrow(10))}
    desk.post(f"/control/tenants/{desk.directory}/outlook/book", {**booking, **times})
    found = desk.until("STATE_CONFIRMED", "booking", "list", f"{desk.tenant}/r1")
    assert found[0]["time"]["start_time"] == f"{wall(tomorrow())}Z"
    desk.until("SYNC_STATE_LIVE", "room", "list", desk.tenant)
    table = desk.run("room", "list", desk.tenant).stdout.splitlines()
    assert table[0].split() == ["room", "name", "mailbox", "state", "copy", "fresh", "as", "of", "problem"]
    assert table[1].split()[:4] == ["r1", desk.rooms[0]["address"], "up", "live"]
    row = desk.run("booking", "list", f"{desk.tenant}/-").stdout.splitlines()[1]
    assert row.split()[:3] == ["r1", *tomorrow().strftime("%Y-%m-%d %H:%MZ").split()]
    span = ["--start", wall(tomorrow(8)), "--end", wall(tomorrow(12))]
    free = desk.run("booking", "find", desk.tenant, "r1", "nowhere", *span, "--for", "90")
    assert free.returncode == 0, free.stderr
    header, only, *rest = free.stdout.splitlines()
    assert header.split() == ["room", "free", "from", "until", "for"]
    assert only.split()[0] == "r1"
    assert only.endswith("2 h")
    assert "nowhere is not known: ROOM_NOT_FOUND: No room has this name." in rest
    assert desk.tenant in desk.run("tenant", "list").stdout
    assert desk.run("room", "resync", f"{desk.tenant}/r1", "-o", "json").returncode == 0
    assert desk.run("room", "unmap", f"{desk.tenant}/r1").returncode == 0
    assert desk.run("room", "list", desk.tenant).stdout == "nothing found\n"
    assert desk.run("tenant", "delete", desk.tenant, "--yes").returncode == 0


def test_tenant_is_suspended_resumed_deleted_and_brought_back(desk: Desk) -> None:
    desk.until("STATE_ACTIVE", "tenant", "get", desk.tenant)
    suspended = desk.run("tenant", "suspend", desk.tenant, "--reason", "unpaid")
    assert suspended.returncode == 0, suspended.stderr
    assert "TENANT_SUSPENDED: The tenant is suspended" in suspended.stdout
    row = next(line for line in desk.run("tenant", "list").stdout.splitlines() if desk.tenant in line)
    assert row.split() == [desk.tenant, "suspended", desk.directory, "TENANT_SUSPENDED"]
    assert json.loads(desk.run("tenant", "resume", desk.tenant, "-o", "json").stdout)["state"] == "STATE_ACTIVE"
    gone = json.loads(desk.run("tenant", "delete", desk.tenant, "--yes", "-o", "json").stdout)
    assert gone["state"] == "STATE_DELETED"
    assert desk.tenant not in desk.run("tenant", "list").stdout
    shown = desk.run("tenant", "list", "--show-deleted").stdout.splitlines()
    assert shown[0].split() == ["tenant", "state", "directory", "problem", "purged", "at"]
    assert gone["purge_time"][:10] in next(line for line in shown if desk.tenant in line)
    taken = desk.register()
    assert (taken.returncode, "undelete" in taken.stderr, "purge" in taken.stderr) == (1, True, True)
    assert desk.run("tenant", "undelete", desk.tenant).returncode == 0
    desk.until("STATE_ACTIVE", "tenant", "get", desk.tenant)
    assert desk.run("tenant", "delete", desk.tenant, "--purge", "--yes").returncode == 0
    refused = desk.run("tenant", "undelete", desk.tenant)
    assert refused.returncode == 1
    assert "TENANT_PURGED" in refused.stderr or "TENANT_NOT_FOUND" in refused.stderr


def test_settings_of_a_tenant_are_changed_and_shown(desk: Desk) -> None:
    desk.until("STATE_ACTIVE", "tenant", "get", desk.tenant)
    wanted = ["--past-days", "0", "--check-interval", "120", "--subjects", "masked", "--private-events", "like_others"]
    told = desk.run("tenant", "update", desk.tenant, *wanted, "--display-name", "Contoso", "-o", "json")
    assert told.returncode == 0, told.stderr
    settings = json.loads(told.stdout)["settings"]
    assert (settings["past_days"], settings["check_interval"]) == (0, "120s")
    assert settings["subject_visibility"] == "VISIBILITY_MASKED"
    table = desk.run("tenant", "show", desk.tenant).stdout
    assert re.search("display name +Contoso", table)
    assert re.search("time between checks +120 s", table)
    assert re.search("days kept after today +as the server is set", table)
    assert re.search("private events +like_others", table)
    back = desk.run("tenant", "update", desk.tenant, "--reset", "past_days", "--reset", "check_interval", "-o", "json")
    assert not {"past_days", "check_interval"} & json.loads(back.stdout)["settings"].keys()
    refused = desk.run("tenant", "update", desk.tenant, "--future-days", "0")
    assert refused.returncode == 1
    assert "tenant.settings.future_days: must be between 1 and 1400" in refused.stderr
    assert desk.run("tenant", "update", desk.tenant, "--past-days", "1", "--etag", "0").returncode == 1
    for misused in ([], ["--subjects", "hidden"], ["--reset", "directory_id"]):
        assert desk.run("tenant", "update", desk.tenant, *misused).returncode == 2


def test_audit_tells_who_did_what_and_nothing_secret(desk: Desk) -> None:
    desk.run("tenant", "suspend", desk.tenant, "--reason", "CANARY-reason")
    desk.run("room", "unmap", f"{desk.tenant}/nobody")
    listed = desk.run("audit", "list", "--tenant", desk.tenant)
    assert listed.returncode == 0, listed.stderr
    found = json.loads(desk.run("audit", "list", "--tenant", desk.tenant, "-o", "json").stdout)
    assert [(entry["method"], entry["outcome"]) for entry in found] == [
        ("RoomService/UnmapRoom", "ROOM_NOT_FOUND"),
        ("TenantService/SuspendTenant", "OK"),
        ("TenantService/RegisterTenant", "OK"),
    ]
    assert found[0]["caller"]["kind"] == "KIND_LOOPBACK"
    header, row, *_ = listed.stdout.splitlines()
    assert header.split() == ["time", "caller", "call", "about", "outcome", "fields"]
    assert "RoomService/UnmapRoom" in row
    assert "CANARY" not in listed.stdout
    begun = found[-1]["time"]
    assert (
        len(json.loads(desk.run("audit", "list", "--until", begun, "--tenant", desk.tenant, "-o", "json").stdout)) == 0
    )
    assert len(json.loads(desk.run("audit", "list", "--since", begun, "--limit", "2", "-o", "json").stdout)) == 2
    assert desk.run("audit", "list", "--since", "2026-11-22T08:00").returncode == 2


def test_exit_code_tells_refused_from_misused_from_unavailable(desk: Desk) -> None:
    refused = desk.run("tenant", "get", "nobody")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("exchange-sidecar: TENANT_NOT_FOUND: ")
    taken = desk.run("room", "map", f"{desk.tenant}/r1", "no address")
    assert taken.returncode == 1
    assert "room.mailbox: must be an address" in taken.stderr
    misused = desk.run("room", "get", "no-slash")
    assert misused.returncode == 2
    assert "TENANT/ROOM" in misused.stderr
    ids = ["--directory-id", GUID, "--application-id", GUID]
    for wrong in (["--secret-file", "/no/such/file"], [], ["--cloud", "moon", "--secret-file", "-"]):
        assert desk.run("tenant", "register", "x", *ids, *wrong, stdin=CANARY).returncode == 2
    assert desk.run("no-such-command").returncode == 2
    nobody = desk.run("tenant", "delete", "x", "--yes", "--target", "127.0.0.1:9")
    assert nobody.returncode == 3
    assert nobody.stderr.count("\n") == 1


def test_secret_id_in_place_of_the_secret_is_recognised(desk: Desk) -> None:
    ids = ["--directory-id", desk.directory, "--application-id", desk.made["client_id"]]
    refused = desk.run("tenant", "register", desk.tenant, *ids, "--secret-file", "-", stdin=GUID)
    assert refused.returncode == 1
    assert "not its Secret ID" in refused.stderr
    assert GUID not in refused.stderr


def test_watch_prints_a_line_for_each_message_until_interrupted(desk: Desk) -> None:
    desk.run("room", "map", f"{desk.tenant}/r1", desk.rooms[0]["address"])
    command = [sys.executable, "-m", "sidecar", "watch", desk.tenant, "-o", "json", "--target", desk.target]
    watch = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # Whoever runs the tests in the background of a shell has this signal ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert watch.stdout is not None
        seen: list[dict[str, Any]] = []  # Any: JSON
        while not any("checkpoint" in message for message in seen):
            seen.append(json.loads(watch.stdout.readline()))
        assert any("resume_token" in message for message in seen)
        watch.send_signal(signal.SIGINT)
        _, errors = watch.communicate(timeout=20)
        assert watch.returncode == 0, errors
        assert errors == ""
    finally:
        watch.kill()
        watch.wait()


def test_watch_of_a_tenant_prints_its_state_until_it_is_erased(desk: Desk) -> None:
    desk.until("STATE_ACTIVE", "tenant", "get", desk.tenant)
    command = [sys.executable, "-m", "sidecar", "tenant", "watch", desk.tenant, "--target", desk.target]
    table = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    lines = subprocess.Popen(
        [*command, "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert table.stdout is not None
        assert lines.stdout is not None
        assert table.stdout.readline().startswith("active  0 rooms")
        assert json.loads(lines.stdout.readline())["tenant"]["state"] == "STATE_ACTIVE"
        desk.run("tenant", "suspend", desk.tenant)
        assert table.stdout.readline().startswith("suspended  0 rooms")
        assert table.stdout.readline().startswith("  TENANT_SUSPENDED: The tenant is suspended")
        desk.run("tenant", "delete", desk.tenant, "--purge", "--yes")
        told, errors = table.communicate(timeout=30)
        assert (table.returncode, errors) == (0, "")
        assert told.splitlines()[-1] == "closed: scope_gone"
        last, errors = lines.communicate(timeout=30)
        assert (lines.returncode, errors) == (0, "")
        assert json.loads(last.splitlines()[-1])["closing"]["reason"] == "REASON_SCOPE_GONE"
    finally:
        for process in (table, lines):
            process.kill()
            process.wait()


def test_config_check_lists_every_mistake_at_once(service: Service, tmp_path: Path) -> None:
    env = service.env
    assert run_cli("config", "check", env=env).stdout == "the configuration is in order\n"
    config = tmp_path / "config.yaml"
    config.write_text(
        "webhook: {public_url: 'ftp://x'}\nsync: {future_days: 0, colour: red}\nwatch: {heartbeat_s: 1}\n"
    )
    wrong = {name: value for name, value in env.items() if name != "EXCHANGE_WEBHOOK__PUBLIC_URL"}
    wrong["EXCHANGE_GRPC__WATCHES_MAX"] = "many"
    checked = run_cli("config", "check", "--config", str(config), env=wrong)
    assert checked.returncode == 2
    for name in ("webhook.public_url", "sync.future_days", "sync.colour", "watch.heartbeat_s", "grpc.watches_max"):
        assert f"\n  {name}: " in checked.stderr
    assert "Traceback" not in checked.stderr
    shown = run_cli("config", "show", "-o", "json", env=env)
    (path,) = [row for row in json.loads(shown.stdout) if row["setting"] == "store.path"]
    assert path == {"setting": "store.path", "value": str(service.database), "from": "environment"}
    assert (service.folder / "keyring.json").read_text() not in shown.stdout


def test_config_check_tells_a_wrong_uri_of_the_database_without_showing_it(service: Service, tmp_path: Path) -> None:
    dsn_file = tmp_path / "dsn"
    dsn_file.write_text("postgresql://user:CANARY-password@db.example/exchange\n")
    checked = run_cli("config", "check", env=service.env | {"EXCHANGE_STORE__DSN_FILE": str(dsn_file)})
    assert checked.returncode == 2
    assert "store.dsn_file" in checked.stderr
    assert "sslmode=verify-full" in checked.stderr
    assert "CANARY" not in checked.stderr + checked.stdout


def test_reflection_lets_buf_call_the_service(desk: Desk) -> None:
    url = f"http://{desk.target}/ioffice.exchange.v1.TenantService/GetTenant"
    body = json.dumps({"name": f"tenants/{desk.tenant}"})
    command = [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", body, url]
    called = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert called.returncode == 0, called.stderr
    assert json.loads(called.stdout)["tenant"]["directoryId"] == desk.directory
    assert CANARY not in called.stdout


def test_new_key_ring_is_private_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    made = run_cli("vault", "init", str(path))
    assert made.returncode == 0
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    again = run_cli("vault", "init", str(path))
    assert again.returncode != 0
    assert "Traceback" not in again.stderr
    assert path.read_bytes() == before


def test_kit_is_written_for_a_tenant_and_its_rooms(desk: Desk, tmp_path: Path) -> None:
    mailbox = desk.rooms[0]["address"]
    assert desk.run("room", "map", f"{desk.tenant}/r1", mailbox).returncode == 0
    written = desk.run("kit", "show", desk.tenant, "--to", str(tmp_path / "kit"), "-o", "json")
    values = json.loads(written.stdout)
    script = Path(values["script"]).read_text("ascii")
    assert (desk.directory in script, desk.made["client_id"] in script, f"'{mailbox}'" in script) == (True, True, True)
    assert Path(values["script"]).name in Path(values["guide"]).read_text()
    assert desk.run("kit", "show", desk.tenant).stdout == Path(values["guide"]).read_text()
    assert desk.run("kit", "show", desk.tenant, "--script").stdout == script


def test_kit_for_a_tenant_not_registered_yet_needs_its_directory(desk: Desk, tmp_path: Path) -> None:
    rooms = tmp_path / "rooms.txt"
    rooms.write_text("a@contoso.example\n\nb@contoso.example\n")
    missing = desk.run("kit", "show", "new-customer")
    assert (missing.returncode, "TENANT_NOT_FOUND" in missing.stderr) == (1, True)
    shown = desk.run(
        "kit", "show", "new-customer", "--directory-id", GUID, "--mailboxes-file", str(rooms), "-o", "json"
    )
    assert json.loads(shown.stdout)["mailboxes"] == ["a@contoso.example", "b@contoso.example"]
    wrong = desk.run("kit", "show", "new-customer", "--directory-id", GUID, "--cloud", "moon")
    assert (wrong.returncode, "no cloud" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("content", "code", "told"),
    [
        ({"Identity": "Room 1", "AutomateProcessing": "AutoAccept", "AllowConflicts": True}, 1, "AllowConflicts"),
        ({"Identity": "Room 1", "AutomateProcessing": "AutoAccept"}, 0, "nothing to say against it"),
        ({"Identity": "Room 1"}, 2, "no output of Get-CalendarProcessing"),
    ],
)
def test_result_of_the_kit_is_checked_without_a_service(
    tmp_path: Path, content: dict[str, object], code: int, told: str
) -> None:
    file = tmp_path / "result.json"
    file.write_text(json.dumps(content), encoding="utf-16")
    result = run_cli("kit", "check", str(file))
    assert (result.returncode, told in result.stdout + result.stderr) == (code, True)
