"""The command that makes tokens."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from typer.testing import CliRunner

from sidecar.aio.clock import SystemClock
from sidecar.api.callers import Proof, digest_of, read_callers
from sidecar.cli.main import app
from sidecar.model.access import Scope
from tests.support.callers import write

NEW = ("token", "new", "backend", "--scope", "bookings.read", "--scope", "rooms.read", "--tenant", "acme")


def test_printed_entry_lets_the_printed_token_in(tmp_path: Path) -> None:
    made = CliRunner().invoke(app, [*NEW, "--days", "30", "-o", "json"])
    told = json.loads(made.stdout)
    callers = read_callers(write(tmp_path / "callers.json", [told["entry"]]))
    now = SystemClock().now()
    grant = callers.find(Proof(token_digest=digest_of(told["token"])), now=now)
    assert (grant.caller, grant.scopes) == ("backend", frozenset({Scope.BOOKINGS_READ, Scope.ROOMS_READ}))
    assert grant.tenants is not None
    assert grant.expire_at is not None
    assert sorted(grant.tenants) == ["acme"]
    assert timedelta(days=29) < grant.expire_at - now <= timedelta(days=30)


def test_token_is_printed_once_and_is_not_in_the_entry() -> None:
    lines = CliRunner().invoke(app, NEW).stdout.splitlines()
    token = lines[1].strip()
    assert token.startswith("exs_")
    assert sum(token in line for line in lines) == 1
    assert json.loads(lines[3])["tenants"] == ["acme"]


def test_id_that_the_file_would_not_take_is_refused() -> None:
    made = CliRunner().invoke(app, ["token", "new", "no name", "--scope", "bookings.read"])
    assert made.exit_code != 0
    assert "exs_" not in made.stdout
