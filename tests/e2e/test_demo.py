"""The demo is the first thing anybody runs, and it checks itself."""

from __future__ import annotations

import re

import pytest

from tests.support.processes import run_cli

pytestmark = pytest.mark.e2e


def test_demo_ends_well_and_says_so_in_four_lines() -> None:
    result = run_cli("demo", "--seconds", "6", timeout_s=120.0)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    actions, latency, equal, drift = result.stdout.splitlines()[-4:]
    counts = re.fullmatch(r"(\d+) actions in Outlook, (\d+) changes told by the stream", actions)
    assert counts is not None, actions
    assert min(int(count) for count in counts.groups()) > 0
    assert re.fullmatch(r"from Outlook to the watcher: p50 .* s, p95 .* s, of which .* s settling", latency)
    assert equal == "mirror equals the calendars: yes"
    assert drift == "drift 0: what full reads found that nothing had announced"
    assert result.stderr == ""
