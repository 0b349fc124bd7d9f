"""Asking whether a service serves, as its callers would reach it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import trustme
from typer.testing import CliRunner, Result

from sidecar.cli.main import app
from tests.unit.api.rig import Rig
from tests.unit.api.test_tls import Files, secured


async def ping(rig: Rig, options: Sequence[str], *more: str) -> Result:
    """Run `ping`; in a thread, because the service lives in this loop."""
    command = [*options, "ping", "--target", rig.addresses[1], *more]
    return await asyncio.to_thread(CliRunner().invoke, app, command)


async def test_locked_service_is_found_serving_without_a_token(tmp_path: Path) -> None:
    files = Files(tmp_path)
    ca = tmp_path / "trusted.crt"
    ca.write_bytes(files.ca_pem)
    async with secured(tmp_path, files) as rig:
        done = await ping(rig, ["--ca", str(ca)])
        assert (done.exit_code, done.stdout) == (0, f"{rig.addresses[1]} serves\n")


async def test_certificate_of_an_unknown_authority_or_another_name_is_no_answer(tmp_path: Path) -> None:
    files = Files(tmp_path)
    ca, stranger = tmp_path / "trusted.crt", tmp_path / "stranger.crt"
    ca.write_bytes(files.ca_pem)
    trustme.CA().cert_pem.write_to_path(str(stranger))
    async with secured(tmp_path, files) as rig:
        for options in (["--ca", str(stranger)], ["--ca", str(ca), "--server-name", "other.example.com"], []):
            done = await ping(rig, options)
            assert done.exit_code == 3, options
            assert f"{rig.addresses[1]} does not serve: " in done.stderr


async def test_service_that_begins_to_stop_does_not_serve(tmp_path: Path) -> None:
    """Calls under way are still finished, but a new caller should go elsewhere."""
    files = Files(tmp_path)
    ca = tmp_path / "trusted.crt"
    ca.write_bytes(files.ca_pem)
    async with secured(tmp_path, files) as rig:
        await rig.server.drain()
        done = await ping(rig, ["--ca", str(ca)])
        assert (done.exit_code, "it is NOT_SERVING" in done.stderr) == (3, True)


def test_patience_ends_with_the_last_answer(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["ping", "--target", f"unix://{tmp_path}/nobody.sock", "--wait", "0.6"])
    assert (done.exit_code, "does not serve" in done.stderr) == (3, True)


def test_target_with_a_scheme_is_refused() -> None:
    done = CliRunner().invoke(app, ["ping", "--target", "https://exchange.example.com"])
    assert (done.exit_code, "without a scheme" in done.stderr) == (2, True)
