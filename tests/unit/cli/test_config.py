"""`config check` and `config show`: everything that is wrong at once, and where each value is from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from typer.testing import CliRunner, Result

from sidecar.cli.main import app
from sidecar.store.key_ring import create_key_ring
from tests.support.callers import entry, make_token, write

CANARY = "CANARY-5b1d"
NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a key ring, and an environment that keeps everything in it."""
    for name in [name for name in os.environ if name.startswith("EXCHANGE_")]:
        monkeypatch.delenv(name)
    create_key_ring(tmp_path / "keyring.json")
    give(monkeypatch, VAULT__KEY_RING_FILE=tmp_path / "keyring.json", STORE__PATH=tmp_path / "exchange.sqlite3")
    give(monkeypatch, GRPC__SOCKET=tmp_path / "exchange.sock")
    return tmp_path


def give(monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    """Set settings by the rest of their variables' names."""
    for name, value in settings.items():
        monkeypatch.setenv(f"EXCHANGE_{name}", str(value))


def run(*arguments: str) -> Result:
    """Run `config`; options given on the command line stay in this process's environment no longer than the call."""
    before = dict(os.environ)
    try:
        return CliRunner().invoke(app, ["config", *arguments])
    finally:
        os.environ.clear()
        os.environ.update(before)


def checked(*arguments: str) -> tuple[dict[str, str], dict[str, str], int]:
    """Return mistakes, warnings and exit code of `config check`."""
    result = run("check", "-o", "json", *arguments)
    assert CANARY not in result.output
    told = json.loads(result.stdout)
    return told["mistakes"], {one["setting"]: one["sentence"] for one in told["warnings"]}, result.exit_code


def shown(*arguments: str) -> Mapping[str, tuple[Any, str]]:
    """Return values and sources of `config show`."""
    return {
        row["setting"]: (row["value"], row["from"]) for row in json.loads(run("show", "-o", "json", *arguments).stdout)
    }


def put(path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a file with a mode."""
    path.write_text(text)
    path.chmod(mode)
    return path


def issue(folder: Path, *, ends_at: datetime | None = None) -> None:
    """Write tls.crt and tls.key."""
    made = trustme.CA().issue_cert("127.0.0.1", not_after=ends_at)
    made.private_key_pem.write_to_path(str(folder / "tls.key"))
    (folder / "tls.key").chmod(0o600)
    made.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))


def test_configuration_in_order_is_told_in_one_sentence(folder: Path) -> None:
    """Nothing to act on: exit code 0, and no warning."""
    result = run("check")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "the configuration is in order\n", "")


def test_mistakes_of_settings_and_of_all_files_are_told_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken file is not hidden behind a broken setting; nothing of what they hold is quoted."""
    broken = put(folder / "broken", f"{CANARY} {CANARY}\n")
    give(monkeypatch, SYNC__PAST_DAYS="-1", GRPC__CALLERS_FILE=broken, GRPC__TLS_CERT_FILE=broken)
    give(monkeypatch, GRPC__TLS_KEY_FILE=broken, STORE__DSN_FILE=broken, GRAPH__CA_FILE=broken)
    give(monkeypatch, WEBHOOK__PATH_SECRETS_FILE=broken, VAULT__KEY_RING_FILE=broken)
    give(monkeypatch, CREDENTIALS__TOKEN_FILES_FOLDER=broken, TELEMETRY__OTLP_ENDPOINT="https://collector")
    give(monkeypatch, TELEMETRY__OTLP_HEADERS_FILE=broken, TELEMETRY__OTLP_CA_FILE=broken)
    mistakes, _, code = checked()
    files = {"grpc.callers_file", "grpc.tls_cert_file", "store.dsn_file", "graph.ca_file", "vault.key_ring_file"}
    files |= {"webhook.path_secrets_file", "credentials.token_files_folder"}
    files |= {"telemetry.otlp_headers_file", "telemetry.otlp_ca_file"}
    assert (set(mistakes), code) == ({"sync.past_days"} | files, 2)


def test_missing_files_are_mistakes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that is not mounted is found before the start."""
    gone = folder / "gone" / "file"
    give(monkeypatch, GRPC__CALLERS_FILE=gone, GRAPH__CA_FILE=gone, STORE__PATH=gone)
    give(monkeypatch, GRPC__SOCKET=folder / "gone" / "deeper" / "socket", WEBHOOK__PATH_SECRETS_FILE=gone)
    mistakes, _, code = checked()
    assert set(mistakes) == {
        "grpc.callers_file", "graph.ca_file", "store.path", "grpc.socket", "webhook.path_secrets_file",
    }  # fmt: skip
    assert code == 2


def test_folders_that_cannot_be_written_are_mistakes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite makes files beside its own, and the socket is made anew at each start."""
    monkeypatch.setattr(os, "access", lambda path, what, **_: not what & os.W_OK)
    mistakes, _, _ = checked()
    assert set(mistakes) == {"store.path", "grpc.socket"}
    assert "cannot be written by user" in mistakes["store.path"]


def test_key_that_is_not_of_the_certificate_is_a_mistake(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC would fail each handshake without a word."""
    issue(folder)
    former = (folder / "tls.key").read_text()
    issue(folder)
    put(folder / "tls.key", former)
    give(monkeypatch, GRPC__TLS_CERT_FILE=folder / "tls.crt", GRPC__TLS_KEY_FILE=folder / "tls.key")
    mistakes, _, _ = checked()
    assert "is not the key of the first certificate" in mistakes["grpc.tls_key_file"]


@pytest.mark.parametrize(
    ("days", "told"), [(-1, "mistake"), (29, "warning"), (31, "nothing")], ids=["ended", "ends soon", "goes on"]
)
def test_certificate_is_told_before_and_after_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, days: int, told: str
) -> None:
    """A month is time to have another one made."""
    issue(folder, ends_at=NOW + timedelta(days=days, hours=1))
    give(monkeypatch, GRPC__TLS_CERT_FILE=folder / "tls.crt", GRPC__TLS_KEY_FILE=folder / "tls.key")
    mistakes, warnings, code = checked()
    assert ("grpc.tls_cert_file" in mistakes, "grpc.tls_cert_file" in warnings) == (
        told == "mistake",
        told == "warning",
    )
    assert code == (2 if told == "mistake" else 0)


def test_caller_whose_last_entry_ends_soon_is_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a rotation the entry that ends is the one that should."""
    soon = (NOW + timedelta(days=3)).isoformat()
    rotating = [entry("rotating", make_token(), expire_at=soon), entry("rotating", make_token())]
    path = write(folder / "callers.json", [entry("ending", make_token(), expire_at=soon), *rotating])
    give(monkeypatch, GRPC__CALLERS_FILE=path)
    mistakes, warnings, code = checked()
    assert (mistakes, code) == ({}, 0)
    assert warnings["grpc.callers_file"].startswith("the last entry of ending ends on ")


def test_secret_that_everybody_may_read_is_a_warning(folder: Path) -> None:
    """It works, and should not be so."""
    (folder / "keyring.json").chmod(0o644)
    mistakes, warnings, code = checked()
    assert (mistakes, code) == ({}, 0)
    assert "can be read by everybody (mode 0644)" in warnings["vault.key_ring_file"]


def test_files_of_the_api_are_looked_at_only_where_it_is_served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `serve --roles` does."""
    dsn = put(folder / "dsn", "postgresql://user@localhost/exchange")
    give(monkeypatch, STORE__DSN_FILE=dsn, GRPC__CALLERS_FILE=folder / "gone")
    assert set(checked()[0]) == {"grpc.callers_file"}
    assert checked("--roles", "worker") == ({}, {}, 0)


def test_profile_of_the_command_line_is_checked(folder: Path) -> None:
    """As `serve --profile` does."""
    assert "lacks TLS" in checked("--profile", "service")[0]["settings"]


def test_variable_of_somebody_else_is_a_warning_and_stops_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes' own variables for a service named exchange are not even that."""
    give(
        monkeypatch, RATES_URL="x", PORT="tcp://10.0.0.1:80", GRPC_PORT_50551_TCP_ADDR="10.0.0.1", TARGET="127.0.0.1:1"
    )
    assert checked() == ({}, {"EXCHANGE_RATES_URL": "is no setting of ours, and has no effect"}, 0)


def test_show_tells_where_each_value_is_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wonders why a setting has no effect sees what won over it."""
    file = put(folder / "settings.yaml", "sync: {past_days: 3, future_days: 30}\nlog: {level: debug}\n")
    give(monkeypatch, SYNC__PAST_DAYS="5", CONFIG_FILE=file)
    found = shown("--profile", "sidecar")
    assert found["sync.past_days"] == (5, "environment")
    assert found["sync.future_days"] == (30, "file")
    assert found["log.level"] == ("debug", "file")
    assert found["watch.heartbeat_s"] == (15.0, "default")
    assert found["profile"] == ("sidecar", "command line")


def test_show_names_files_of_secrets_and_nothing_of_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output may go into a ticket."""
    words = put(folder / "words", f"{CANARY}-0123456789\n")
    give(monkeypatch, WEBHOOK__PATH_SECRETS_FILE=words)
    result = run("show")
    assert str(words) in result.stdout
    assert CANARY not in result.stdout
    assert json.loads((folder / "keyring.json").read_text())["keys"]["k1"] not in result.stdout
