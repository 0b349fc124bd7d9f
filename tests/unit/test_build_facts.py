"""Which build this is: the facts an image carries, and what is said where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from exchange_client.messages import Tenant
from typer.testing import CliRunner

from sidecar import build_facts
from sidecar.build_facts import BuildFacts, installed_version, read_build_facts, write_build_facts
from sidecar.cli.main import app
from sidecar.store.migrate import SCHEMA_VERSION

CREATED = "2026-11-23T04:05:06Z"


def test_facts_of_a_build_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "build.json"
    write_build_facts(installed_version(), "a1b2c3", CREATED, file=file)
    known = BuildFacts(version=installed_version(), revision="a1b2c3", created=CREATED, is_image=True)
    assert read_build_facts(file) == known


def test_build_that_was_told_nothing_is_an_image_without_facts(tmp_path: Path) -> None:
    file = tmp_path / "build.json"
    write_build_facts(installed_version(), "", "", file=file)
    assert read_build_facts(file) == BuildFacts(version=installed_version(), is_image=True)


def test_checkout_has_no_facts(tmp_path: Path) -> None:
    assert read_build_facts(tmp_path / "none.json") == BuildFacts(version=installed_version())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"revision": "' + b"x" * 10_000 + b'"}'])
def test_broken_facts_are_no_facts(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "build.json"
    file.write_bytes(content)
    assert read_build_facts(file) == BuildFacts(version=installed_version())


@pytest.mark.parametrize("content", ["[]", '"revision"', "{}"])
def test_facts_in_another_shape_are_left_out(tmp_path: Path, content: str) -> None:
    file = tmp_path / "build.json"
    file.write_text(content)
    assert read_build_facts(file) == BuildFacts(version=installed_version(), is_image=True)


def test_build_of_another_version_than_it_was_told_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"VERSION is '9\.9\.9'"):
        write_build_facts("9.9.9", "", "", file=tmp_path / "build.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("revision", ["x" * 101, "two\nlines", "ä"])
def test_fact_that_is_no_short_line_is_refused(tmp_path: Path, revision: str) -> None:
    with pytest.raises(ValueError, match="REVISION"):
        write_build_facts(installed_version(), revision, "", file=tmp_path / "build.json")


def test_version_in_an_image_tells_every_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    known = BuildFacts(version="1.2.3", revision="a1b2c3", created=CREATED, is_image=True)
    monkeypatch.setattr(build_facts, "read_build_facts", lambda: known)
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0, result.output
    first, *rest = result.output.splitlines()
    told = dict(line.split(maxsplit=1) for line in rest)
    assert first == "exchange-sidecar 1.2.3"
    assert (told["revision"], told["built"], told["schema"]) == ("a1b2c3", CREATED, SCHEMA_VERSION)
    assert told["api"] == Tenant.DESCRIPTOR.file.package


def test_version_in_a_checkout_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_facts, "read_build_facts", lambda: BuildFacts(version="1.2.3"))
    result = CliRunner().invoke(app, ["--version"])
    assert "revision  not an image: a checkout or a plain install" in result.output.splitlines()
