"""One suite over every engine that the store has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.stores import ENGINES, ManualClock, OpenStore, open_any


@pytest.fixture
def clock() -> ManualClock:
    """The store's clock; it stands still."""
    return ManualClock()


@pytest.fixture(params=ENGINES)
async def opened(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[OpenStore]:
    """An empty store over one engine."""
    async with open_any(request.param, tmp_path, clock=clock) as opened:
        yield opened
