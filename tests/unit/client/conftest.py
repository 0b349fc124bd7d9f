"""A scripted service on a Unix socket, and both clients on it with clocks that never wait."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from exchange_client import ExchangeClient, SyncExchangeClient

from tests.unit.client.fake_server import FakeClock, FakeServer, FakeSyncClock


@pytest.fixture
def target(tmp_path: Path) -> str:
    return f"unix://{tmp_path}/exchange.sock"


@pytest.fixture
async def server(target: str) -> AsyncIterator[FakeServer]:
    service = FakeServer()
    await service.start(target)
    yield service
    await service.stop()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sync_clock() -> FakeSyncClock:
    return FakeSyncClock()


@pytest.fixture
async def client(server: FakeServer, target: str, clock: FakeClock) -> AsyncIterator[ExchangeClient]:
    async with ExchangeClient.connect(target, clock=clock, rng=random.Random(7)) as made:
        yield made


@pytest.fixture
async def sync_client(server: FakeServer, target: str, sync_clock: FakeSyncClock) -> AsyncIterator[SyncExchangeClient]:
    with SyncExchangeClient.connect(target, clock=sync_clock, rng=random.Random(7)) as made:
        yield made
