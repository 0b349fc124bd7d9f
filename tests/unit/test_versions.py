"""One release, one number: wherever the version stands, it is the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from sidecar.graph.wire import USER_AGENT

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
CHARTS = sorted((ROOT / "helm").glob("*/Chart.yaml"))


def test_client_is_of_the_same_release() -> None:
    """The service needs exactly this one, for its commands."""
    client = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    assert client["version"] == VERSION
    assert f"exchange-sidecar-client=={VERSION}" in PROJECT["dependencies"]


def test_charts_install_this_release() -> None:
    """Charts, their images, and what one chart needs of another."""
    assert CHARTS
    for path in CHARTS:
        chart = yaml.safe_load(path.read_text())
        assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION), path
        assert {one["version"] for one in chart.get("dependencies", []) if "exchange" in one["name"]} <= {VERSION}, path


def test_image_and_requests_name_this_release() -> None:
    """The image's label, and what Microsoft's support sees."""
    assert set(re.findall(r'^ARG VERSION="(.*)"$', (ROOT / "Dockerfile").read_text(), re.MULTILINE)) == {VERSION}
    assert f"exchange-sidecar/{VERSION}" == USER_AGENT


def test_changelog_begins_with_this_release() -> None:
    """With the day of the release, or that there is none yet."""
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert re.fullmatch(rf"{re.escape(VERSION)} - (not yet released|\d{{4}}-\d{{2}}-\d{{2}})", headings[0]), headings[0]
    assert len(headings) == len(set(headings))
