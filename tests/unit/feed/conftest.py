"""Fixtures for the unit tests of the feed: a store without threads, virtual time, and watches that tests read step by step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from tests.support.stores import OpenStore, TickingClock, no_stray_loop, open_store

__all__ = ["no_stray_loop"]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenStore]:
    """An empty store in which everything follows from one seed."""
    async with open_store(tmp_path / "exchange.sqlite3", clock=TickingClock(), stepped=Random(1)) as opened:
        yield opened
