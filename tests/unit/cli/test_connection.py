"""How commands reach a service that is locked: over TLS, with a token from a file."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sidecar.cli.main import app
from tests.support.callers import make_token
from tests.unit.api.rig import Rig
from tests.unit.api.test_tls import TOKEN, Files, secured


async def run(rig: Rig, options: Sequence[str], env: dict[str, str] | None = None) -> Result:
    """Run `tenant list`; in a thread, because the service lives in this loop."""
    command = [*options, "tenant", "list", "--target", rig.addresses[1]]
    return await asyncio.to_thread(CliRunner().invoke, app, command, env=env)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with a token that is known."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


async def test_command_uses_the_authority_and_the_token_of_its_options(tmp_path: Path, token_file: Path) -> None:
    files = Files(tmp_path)
    wrong = tmp_path / "wrong"
    wrong.write_text(make_token())
    ca = tmp_path / "trusted.crt"
    ca.write_bytes(files.ca_pem)
    async with secured(tmp_path, files) as rig:
        done = await run(rig, ["--ca", str(ca), "--token-file", str(token_file)])
        assert (done.exit_code, "acme" in done.stdout) == (0, True)
        by_environment = await run(rig, [], {"EXCHANGE_CA": str(ca), "EXCHANGE_TOKEN_FILE": str(token_file)})
        assert by_environment.stdout == done.stdout
        without = await run(rig, ["--ca", str(ca)])
        assert (without.exit_code, "CALLER_REJECTED" in without.stderr) == (1, True)
        unknown = await run(rig, ["--ca", str(ca), "--token-file", str(wrong)])
        assert (unknown.exit_code, "CALLER_REJECTED" in unknown.stderr) == (1, True)


def test_file_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for option in ("--token-file", "--ca"):
        done = CliRunner().invoke(app, [option, missing, "tenant", "list"])
        assert done.exit_code == 2
        assert f"cannot read {missing}" in done.stderr


def test_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cert").write_text("x")
    done = CliRunner().invoke(app, ["--cert", str(tmp_path / "cert"), "tenant", "list"])
    assert (done.exit_code, "go together" in done.stderr) == (2, True)
