"""What the kubelet and Prometheus are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest

from sidecar.errors import StoreUnavailable
from sidecar.intake.probes import build_probes
from sidecar.telemetry.catalog import COUNTERS, DURATIONS
from sidecar.telemetry.metrics import Telemetry


@dataclass
class Probed:
    """The probes, and what they look at."""

    telemetry: Telemetry = field(default_factory=Telemetry)
    is_serving: bool = True
    is_store_well: bool = True
    trouble: str | None = None
    looks_count: int = 0

    async def check_store(self) -> None:
        """Answer for the store."""
        if not self.is_store_well:
            raise StoreUnavailable("away")

    async def look(self) -> None:
        """Count what is only counted when asked."""
        self.looks_count += 1

    async def get(self, path: str) -> httpx.Response:
        """Ask."""
        app = build_probes(
            telemetry=self.telemetry,
            check_store=self.check_store,
            look=self.look,
            is_serving=lambda: self.is_serving,
            trouble=lambda: self.trouble,
        )
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://probes") as http:
            return await http.get(path)


@pytest.fixture
async def probed() -> AsyncIterator[Probed]:
    """Probes of a service that is well."""
    probed = Probed()
    yield probed
    probed.telemetry.close()


async def test_serving_process_is_started_alive_and_ready(probed: Probed) -> None:
    """All is well."""
    assert [(await probed.get(path)).status_code for path in ("/startupz", "/livez", "/readyz")] == [200, 200, 200]


async def test_draining_process_is_alive_but_not_ready(probed: Probed) -> None:
    """It takes no new callers, and must not be killed for that."""
    probed.is_serving = False
    assert [(await probed.get(path)).status_code for path in ("/livez", "/readyz")] == [200, 503]


async def test_process_without_its_store_is_not_ready(probed: Probed) -> None:
    """Without the store nothing can be served; restarting would not help."""
    probed.is_store_well = False
    assert [(await probed.get(path)).status_code for path in ("/livez", "/readyz")] == [200, 503]


async def test_process_that_cannot_do_what_it_is_for_is_not_ready_and_says_why(probed: Probed) -> None:
    """A worker that cannot look for work is no worker."""
    probed.trouble = "the worker cannot look for work"
    answer = await probed.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "the worker cannot look for work\n")


async def test_metrics_are_brought_up_to_date_when_they_are_asked_for(probed: Probed) -> None:
    """What costs a query is not counted for nobody."""
    await probed.get("/readyz")
    assert probed.looks_count == 0
    await probed.get("/metrics")
    assert probed.looks_count == 1


async def test_every_metric_is_there_from_the_start(probed: Probed) -> None:
    """A counter that never moved can be watched by an alert all the same."""
    probed.telemetry.measure("mark_duration", 0.01)
    text = (await probed.get("/metrics")).text
    for name in COUNTERS:
        assert (
            f"exchange_{name.replace('.', '_')}_total 0.0" in text
            or f"exchange_{name.replace('.', '_')}_total{{" in text
        )
    assert "exchange_mark_duration_seconds_bucket" in text
    assert set(DURATIONS) >= {"mark_duration"}


async def test_other_paths_are_not_served(probed: Probed) -> None:
    """Nothing else lives on this port."""
    assert (await probed.get("/")).status_code == 404
