"""The alerts and their runbook: they fire on bad numbers and not on good ones, and what the runbook names exists."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from sidecar.cli.main import app
from sidecar.cli.metrics_table import document, load_rules, metric_names
from sidecar.settings import Settings
from sidecar.telemetry.catalog import COUNTERS, DURATIONS, GAUGES, LABELS, PROCESS, shown_name
from tests.support import chart
from tests.support.alert_cases import CASES, promtool_tests

ROOT = chart.ROOT
ALERTS = chart.CHART / "alerts"
RUNBOOK = (ROOT / "sidecar" / "runbook.md").read_text()
PROMTOOL = ROOT / ".tools" / "bin" / "promtool"
RULES: list[Any] = [dict(rule) for rule in load_rules()]  # Any: rules have the shape that Prometheus gives them

pytestmark = pytest.mark.e2e
needs_promtool = pytest.mark.skipif(not PROMTOOL.exists(), reason="promtool is not in .tools/bin; run: sh .ci/promtool")
needs_helm = pytest.mark.skipif(not chart.HELM.exists(), reason="Helm is not in .tools/bin; run: sh .ci/tools")

_SHOWN = {shown_name(name) for name in (*COUNTERS, *DURATIONS, *GAUGES)} | set(PROCESS)
_CODE = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(r"exchange-sidecar((?: [a-z][a-z-]*)+)((?: --[a-z-]+| [A-Z/]+)*)")
_EVENT = re.compile(r"[a-z_]+\.[a-z_]+")


def run_promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=120)


def told_in_code() -> list[str]:
    """Return what the runbook sets as code, lines of examples included."""
    examples = [line.strip() for line in RUNBOOK.splitlines() if line.startswith("    ")]
    return [*_CODE.findall(RUNBOOK), *examples]


def test_every_alert_says_what_a_person_needs() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        for text in ("summary", "description"):
            assert rule["annotations"][text].endswith("."), (rule["alert"], text)


def test_every_metric_that_an_alert_names_exists_with_its_labels() -> None:
    labels = {shown_name(name): set(found) for name, found in LABELS.items()} | {"": set()}
    for rule in RULES:
        assert set(metric_names(rule["expr"])) <= _SHOWN, rule["alert"]
        for name, matchers in re.findall(r"(exchange_[a-z_]+)\{([^}]*)\}", rule["expr"]):
            assert set(re.findall(r"(\w+)=~?", matchers)) <= labels.get(name, set()), rule["alert"]


def test_every_value_that_an_alert_asks_for_exists() -> None:
    values = {value for labels in LABELS.values() for found in labels.values() for value in found}
    for rule in RULES:
        for matched in re.findall(r'=~?"([^"]*)"', rule["expr"]):
            assert set(matched.split("|")) <= values, rule["alert"]


@needs_promtool
def test_rules_are_what_prometheus_takes() -> None:
    result = run_promtool("check", "rules", *sorted(ALERTS.glob("*.yaml")))
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
def test_each_alert_fires_on_bad_numbers_and_not_on_good_ones(tmp_path: Path) -> None:
    """Each with series of its own; `alert_cases` has them."""
    assert list(CASES) == [rule["alert"] for path in ("promise", "microsoft", "service") for rule in _rules_of(path)]
    cases = tmp_path / "cases.yaml"
    cases.write_text(yaml.safe_dump(promtool_tests([str(path) for path in sorted(ALERTS.glob("*.yaml"))])))
    result = run_promtool("test", "rules", cases)
    assert result.returncode == 0, result.stdout + result.stderr


def _rules_of(name: str) -> list[Any]:  # Any: see RULES
    groups = yaml.safe_load((ALERTS / f"{name}.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    sections = re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)
    assert sections == [rule["alert"] for path in ("promise", "microsoft", "service") for rule in _rules_of(path)]


def test_each_section_of_the_runbook_tells_all_that_is_asked_at_night() -> None:
    for section in RUNBOOK.split("\n### ")[1:]:
        words = ("**Means**", "**Users see**", "**Look at**", "**Ends**")
        assert [word for word in words if word not in section] == [], section.splitlines()[0]
        assert re.search(r"\*\*[Dd]o\*\*", section), section.splitlines()[0]


def test_commands_that_the_runbook_names_exist() -> None:
    """Each is asked for its help, which must know the options that are given."""
    commands = {(found[1].strip(), found[2]) for text in told_in_code() for found in _COMMAND.finditer(text)}
    assert len(commands) > 10
    for command, rest in sorted(commands):
        result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert result.exit_code == 0, (command, result.output)
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in result.output, (command, option)


def test_settings_metrics_and_events_that_the_runbook_names_exist() -> None:
    code = "\n".join(path.read_text() for path in sorted((ROOT / "sidecar").rglob("*.py")))
    settings = {
        f"EXCHANGE_{group}__{field}".upper()
        for group, about in Settings.model_fields.items()
        if hasattr(about.annotation, "model_fields")
        for field in about.annotation.model_fields  # type: ignore[union-attr]  # a group of settings
    }
    for text in told_in_code():
        for name in re.findall(r"EXCHANGE_\w+__\w+", text):
            assert name in settings, name
        for name in metric_names(text):
            assert name in _SHOWN or name.endswith("_"), name
        if _EVENT.fullmatch(text) and not text.endswith(".md"):
            assert f'"{text}"' in code or text in (ROOT / "helm/exchange-sidecar/values.yaml").read_text(), text


def test_table_of_metrics_is_current() -> None:
    assert (ROOT / "sidecar" / "metrics.md").read_text() == document(), "run `make docs`"


@needs_helm
def test_chart_renders_all_alerts_and_where_to_read_on() -> None:
    sets = ["monitoring.rules.enabled=true", "monitoring.rules.runbookUrl=https://wiki.example/runbook.md"]
    (made,) = [each for each in chart.render_objects(sets=sets) if each["kind"] == "PrometheusRule"]
    rendered = [rule for group in made["spec"]["groups"] for rule in group["rules"]]
    assert sorted(rule["alert"] for rule in rendered) == sorted(CASES)
    for rule in rendered:
        assert rule["annotations"].pop("runbook_url") == f"https://wiki.example/runbook.md#{rule['alert'].lower()}"
    assert sorted(rendered, key=_name) == sorted(RULES, key=_name), "nothing is lost on the way through the template"


@needs_helm
def test_chart_names_no_runbook_that_nobody_serves() -> None:
    (made,) = [
        each
        for each in chart.render_objects(sets=["monitoring.rules.enabled=true"])
        if each["kind"] == "PrometheusRule"
    ]
    assert all("runbook_url" not in rule["annotations"] for group in made["spec"]["groups"] for rule in group["rules"])


def _name(rule: dict[str, Any]) -> str:  # Any: see RULES
    return str(rule["alert"])


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep settings of whoever runs the tests out of the commands."""
    for name in list(os.environ):
        if name.startswith("EXCHANGE_") and name != "EXCHANGE_GRAPH_CSDL":
            monkeypatch.delenv(name)
