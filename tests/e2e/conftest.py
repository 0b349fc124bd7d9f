"""One emulator for each test process, one service for each module that does not restart it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from sidecar.emulator.fixture import RunningEmulator
from sidecar.emulator.fixture.plugin import exchange_emulator
from tests.support import postgres
from tests.support.processes import Service, service_started

__all__ = ["exchange_emulator"]

QUICK = {"SYNC__SETTLE_S": "0.2", "SYNC__PROBE_INTERVAL_S": "0.5", "TASKS__LINGER_S": "0.2"}
"""Settings of a service in a test: nothing is skipped, only waited for less."""


@contextmanager
def store_of(kind: str) -> Iterator[dict[str, str]]:
    """Give the settings of a service on one of ENGINES, with an empty database."""
    if kind == "sqlite":
        yield {}
        return
    with postgres.database(is_migrated=False) as dsn_file:
        # A killed process cannot free its lanes, and in a shared database nobody else may do it before their lease is over.
        yield {"STORE__DSN_FILE": str(dsn_file), "TASKS__LEASE_S": "2"}


@pytest.fixture(scope="session")
def emulator(exchange_emulator: RunningEmulator) -> RunningEmulator:
    """Give a calm emulator; each test makes a directory of its own in it."""
    patience = {"retry_first_s": 0.5, "retry_max_s": 1.0}  # Graph's own would be 10 s and longer
    url = f"{exchange_emulator.text('control_url')}/control/moods"
    httpx.put(url, json=patience, trust_env=False).raise_for_status()
    return exchange_emulator


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator) -> Iterator[Service]:
    """Give a running service; each test registers a tenant of its own at it, and nobody stops it."""
    with service_started(tmp_path_factory.mktemp("s"), emulator, **QUICK) as running:
        yield running


@pytest.fixture
def own_service(tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator) -> Iterator[Service]:
    """Give a running service that the test may end, starve and start again."""
    with service_started(tmp_path_factory.mktemp("s"), emulator, **QUICK) as running:
        yield running
