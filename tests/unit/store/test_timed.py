"""The engine that measures: what it lets through is unchanged, what fails is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import StoreConflict, StoreUnavailable
from sidecar.store.engine import Connection
from sidecar.store.timed import TimedEngine
from sidecar.telemetry.metrics import Telemetry
from tests.support.counted import counted
from tests.support.stores import ManualClock, open_store


class Broken:
    """An engine whose database is away."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:  # Any: read and write, whatever they are given
        async def fail(*_: object) -> None:
            raise self._error

        return fail


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Counters at 0."""
    made = Telemetry()
    yield made
    made.close()


async def one(c: Connection) -> int:
    """Ask for one."""
    row = await c.fetch_one("SELECT 1")
    assert row is not None
    return int(row[0])


async def test_every_write_and_one_read_in_eight_is_measured(tmp_path: Path, telemetry: Telemetry) -> None:
    async with open_store(tmp_path / "s.sqlite3", clock=ManualClock()) as opened:
        engine = TimedEngine(opened.engine, telemetry=telemetry)
        assert [await engine.write(one) for _ in range(3)] == [1, 1, 1]
        assert [await engine.read(one) for _ in range(9)] == [1] * 9
    assert counted(telemetry, "store_write_duration_seconds_count") == {"": 3}
    assert counted(telemetry, "store_read_duration_seconds_count") == {"": 2}


@pytest.mark.parametrize("operation", ["read", "write"])
async def test_transaction_that_the_database_did_not_do_is_counted(operation: str, telemetry: Telemetry) -> None:
    engine = TimedEngine(Broken(StoreUnavailable("away")), telemetry=telemetry)
    with pytest.raises(StoreUnavailable):
        await getattr(engine, operation)(one)
    assert counted(telemetry, "store_errors") == {f'operation="{operation}"': 1}


async def test_conflict_between_writers_is_no_error_of_the_database(telemetry: Telemetry) -> None:
    """It is an answer."""
    engine = TimedEngine(Broken(StoreConflict("another was first")), telemetry=telemetry)
    with pytest.raises(StoreConflict):
        await engine.write(one)
    assert counted(telemetry, "store_errors") == {}
