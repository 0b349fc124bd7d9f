"""What may change while the service runs, and what is said of the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import structlog
from structlog.testing import capture_logs

from sidecar.errors import SettingsInvalid
from sidecar.reloading import Reloading
from sidecar.settings import LogSettings, Settings, SyncSettings
from sidecar.telemetry.logs import LogLevel
from tests.support.stores import ManualClock


def reloading(read: Callable[[], Settings], *, level: LogLevel, file: Path | None = None) -> Reloading:
    """Return what reloads a service that was built with the defaults."""
    built_with = Settings.model_construct()
    return Reloading(built_with, file=file, read=read, log_level=level, clock=ManualClock(), rng=Random(1))


def passes(level: LogLevel, method: str) -> bool:
    """Tell whether a line is written."""
    try:
        level(None, method, {})
    except structlog.DropEvent:
        return False
    return True


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_level_lets_through_what_is_as_severe_and_more(level: str) -> None:
    """As logging orders them."""
    wanted = logging.getLevelNamesMapping()[level.upper()]
    for method in ("debug", "info", "warning", "error"):
        assert passes(LogLevel(level), method) == (logging.getLevelNamesMapping()[method.upper()] >= wanted)


def test_level_of_the_log_changes_at_once() -> None:
    """And is told, with nothing that waits."""
    level = LogLevel("info")
    with capture_logs() as logs:
        reloading(lambda: Settings(log=LogSettings(level="debug")), level=level).reload()
    assert passes(level, "debug")
    told = {"event": "settings.reloaded", "log_level": "info", "least_level": "debug", "waiting_for_restart": []}
    assert logs == [told]


def test_everything_else_waits_for_a_restart_and_is_named() -> None:
    """Nobody is left to believe that it is in force."""
    fresh = Settings(log=LogSettings(format="console"), sync=SyncSettings(past_days=3))
    with capture_logs() as logs:
        reloading(lambda: fresh, level=LogLevel("info")).reload()
    assert [(line["event"], line["waiting_for_restart"]) for line in logs] == [
        ("settings.reloaded", ["sync.past_days", "log.format"])
    ]


def test_mistake_changes_nothing_but_the_log() -> None:
    """A service that runs goes on running, whatever is written into its file."""

    def refuse() -> Settings:
        raise SettingsInvalid("the configuration breaks rules", details={"sync.past_days": "too small"})

    level = LogLevel("warning")
    with capture_logs() as logs:
        reloading(refuse, level=level).reload()
    assert not passes(level, "info")
    assert logs == [{"event": "settings.unusable", "log_level": "error", "sync_past_days": "too small"}]
