"""Metrics of a real process: they are those of the table, and the dashboard's questions have answers in a real Prometheus."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from exchange_client import NotFound
from prometheus_client.parser import text_string_to_metric_families

from helm.dashboard import DOCUMENT, document
from sidecar.cli.metrics_table import metric_names
from sidecar.emulator.fixture import RunningEmulator
from sidecar.telemetry.catalog import COUNTERS, DURATIONS, GAUGES, LABELS, OPEN, PROCESS, shown_name
from tests.support import chart
from tests.support.processes import Service, eventually, free_port
from tests.support.scene import Scene, scene_set, tomorrow

PROMETHEUS = chart.ROOT / ".tools" / "bin" / "prometheus"
pytestmark = pytest.mark.e2e
needs_prometheus = pytest.mark.skipif(
    not PROMETHEUS.exists(), reason="prometheus is not in .tools/bin; run: sh .ci/promtool"
)

_KINDS = {"counter": COUNTERS, "histogram": DURATIONS, "gauge": GAUGES}
_RATE = "5s"
"""What stands for Grafana's $__rate_interval: five scrapes."""
_ABOUT_THE_MACHINE = {"ExchangeLoopLate", "ExchangeStoreSlow", "ExchangeDeliverySlow", "ExchangeChangesLate"}
"""They are near where other tests take the processor, and rightly so."""


@pytest.fixture
async def scene(service: Service, emulator: RunningEmulator) -> AsyncIterator[Scene]:
    """Give a tenant with two rooms."""
    async with scene_set(service, emulator, rooms=2) as scene:
        yield scene


async def everything_once(scene: Scene, *, day: int = 1) -> None:
    """Do what the service is for on a day, so that there is something to count: a notification, a watch, a write, a refusal."""
    async with scene.watching() as watcher:
        await scene.directory.book(scene.mailbox(), tomorrow(9, days=day))
        await scene.converged(watcher)
        await scene.client.create_booking(
            scene.room(1), tomorrow(12, days=day), tomorrow(13, days=day), subject="Plans"
        )
        with pytest.raises(NotFound):
            await scene.client.get_tenant("tenants/nobody")


async def scraped(service: Service) -> str:
    """Return what Prometheus would be told."""
    async with httpx.AsyncClient(trust_env=False) as http:
        return (await http.get(f"{service.probes}/metrics")).text


async def test_running_service_shows_the_metrics_of_the_table_and_no_others(scene: Scene) -> None:
    """Names, types, meanings, labels and their values."""
    await everything_once(scene)
    wanted = {shown_name(name): kind for kind, metrics in _KINDS.items() for name in metrics}
    wanted |= {name: kind for name, (kind, _) in PROCESS.items()}
    meanings = {shown_name(name): text for metrics in _KINDS.values() for name, text in metrics.items()}

    async def all_shown() -> dict[str, Any]:  # Any: the parser's families
        families = {}
        for family in text_string_to_metric_families(await scraped(scene.service)):
            families[f"{family.name}_total" if family.type == "counter" else family.name] = family
        # The tenant's credential has no known end, and what has no series is not shown at all.
        assert wanted.keys() - families.keys() <= {"exchange_credential_expires_seconds"}
        return families

    families = await eventually(all_shown, "every metric is there", service=scene.service)
    assert families.keys() - wanted.keys() == set(), "metrics that the table does not know"
    for name, family in families.items():
        assert family.type == wanted[name], name
        assert family.documentation == meanings.get(name, family.documentation), name
        _labels_hold(name, family)


def _labels_hold(shown: str, family: Any) -> None:  # Any: see all_shown
    labels = next((found for name, found in LABELS.items() if shown_name(name) == shown), {})
    told: dict[str, set[str]] = {label: set() for label in labels}
    for sample in family.samples:
        found = {label: value for label, value in sample.labels.items() if label != "le"}
        assert found.keys() == labels.keys(), shown
        for label, value in found.items():
            told[label].add(value)
    for label, values in labels.items():
        assert values == OPEN or told[label] == set(values), (shown, label)


async def test_numbers_tell_what_was_done(scene: Scene) -> None:
    await scene.client.set_credential_expiry(scene.tenant, expire_at=tomorrow(9, days=30))
    before = await _numbers(scene.service)
    await everything_once(scene)

    async def counted() -> bool:
        after = await _numbers(scene.service)
        grown = {name for name in after if after[name] > before.get(name, 0.0)}
        missing = {
            'exchange_graph_requests_total{about="event",outcome="2xx"}',
            'exchange_intents_done_total{kind="room.sync"}',
            'exchange_writes_total{kind="create",outcome="done"}',
            'exchange_watches_begun_total{how="new"}',
            'exchange_watches_ended_total{reason="left"}',
            'exchange_snapshots_total{reason="requested"}',
            'exchange_rpc_errors_total{code="NOT_FOUND"}',
            "exchange_requests_taken_total",
        } - grown
        assert not missing, missing
        return True

    await eventually(counted, "what was done is counted", service=scene.service)
    now = await _numbers(scene.service)
    assert now['exchange_subscriptions{state="alive"}'] >= 2
    assert now['exchange_tenants{state="active"}'] + now['exchange_tenants{state="degraded"}'] >= 1
    assert now["exchange_store_free_bytes"] > now["exchange_store_bytes"] > 0
    assert now["exchange_serving"] == 1


async def _numbers(service: Service) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in (await scraped(service)).splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_dashboard_is_current_and_names_metrics_that_exist() -> None:
    assert DOCUMENT.read_text() == document(), "run `make docs`"
    shown = {shown_name(name) for metrics in _KINDS.values() for name in metrics} | set(PROCESS)
    for query in _queries():
        names = metric_names(query)
        assert names, query
        assert set(names) <= shown, query


def test_dashboard_has_the_form_that_grafana_reads() -> None:
    """No panel lies upon another or outside the grid, each has its own number, and each query names the data source."""
    board = json.loads(DOCUMENT.read_text())
    assert (board["schemaVersion"], board.get("id")) == (39, None)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert [target["datasource"]["uid"] for target in panel["targets"]] == ["${datasource}"] * len(
                panel["targets"]
            )
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len(set(numbers))


@pytest.mark.skipif(not chart.HELM.exists(), reason="Helm is not in .tools/bin; run: sh .ci/tools")
def test_chart_hands_the_dashboard_to_grafana_as_it_is() -> None:
    made = chart.render_objects(sets=["monitoring.dashboards.enabled=true"])
    (board,) = [each for each in made if each["kind"] == "ConfigMap" and "dashboard" in each["metadata"]["name"]]
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(board["data"]["exchange.json"]) == json.loads(DOCUMENT.read_text())


@needs_prometheus
async def test_every_question_of_the_dashboard_has_an_answer_and_no_alert_is_near_while_all_is_well(
    own_service: Service, emulator: RunningEmulator, tmp_path: Path
) -> None:
    """A real Prometheus scrapes a process of its own, and evaluates the rules, each second while it works."""
    async with scene_set(own_service, emulator, rooms=2) as scene:
        await scene.client.set_credential_expiry(scene.tenant, expire_at=tomorrow(9, days=30))
        days = count(1)
        with prometheus(tmp_path, own_service) as url:
            async with httpx.AsyncClient(trust_env=False, base_url=url) as http:

                async def all_answered() -> bool:
                    await everything_once(scene, day=next(days))
                    silent = [query for query in _queries() if not await _answer(http, query)]
                    assert not silent, f"{len(silent)} without an answer: {silent}"
                    return True

                await eventually(all_answered, "every query has an answer", service=own_service)
                alerts = (await http.get("/api/v1/alerts")).json()["data"]["alerts"]
                near = {alert["labels"]["alertname"] for alert in alerts} - _ABOUT_THE_MACHINE
                assert near == set(), "pending counts, too: nothing is wrong"
                rules = (await http.get("/api/v1/rules")).json()["data"]["groups"]
                assert {rule["health"] for group in rules for rule in group["rules"]} == {"ok"}


async def _answer(http: httpx.AsyncClient, query: str) -> list[Any]:  # Any: Prometheus' JSON
    """Ask what a panel asks; of one that shows only what is above 0 it counts that there is something to look at."""
    asked = query.replace("$__rate_interval", _RATE).replace("$namespace", ".*").removesuffix(" > 0")
    reply = await http.get("/api/v1/query", params={"query": asked})
    assert reply.status_code == 200, (asked, reply.text)
    result: list[Any] = reply.json()["data"]["result"]
    return result


def _queries() -> list[str]:
    board = json.loads(DOCUMENT.read_text())
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


@contextmanager
def prometheus(folder: Path, service: Service) -> Iterator[str]:
    """Run a Prometheus that scrapes a service each second; give its base URL."""
    address = f"127.0.0.1:{free_port()}"
    target = service.probes.removeprefix("http://")
    scrape = {"job_name": "exchange-sidecar", "static_configs": [{"targets": [target]}]}
    rules = [str(path) for path in sorted((chart.CHART / "alerts").glob("*.yaml"))]
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": rules,
        "scrape_configs": [scrape],
    }
    config = folder / "prometheus.yaml"
    config.write_text(yaml.safe_dump(settings))
    command = [str(PROMETHEUS), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address={address}", "--log.level=error"]
    with (folder / "prometheus.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            yield f"http://{address}"
        finally:
            running.terminate()
