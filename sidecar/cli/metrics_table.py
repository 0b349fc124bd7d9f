"""Writes sidecar/metrics.md from the catalog of metrics and the alerts that use them, so that they never differ.

Usage: python -m sidecar.cli.metrics_table --write | --check
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from sidecar.cli.generated import write_or_check
from sidecar.telemetry.catalog import COUNTERS, DURATIONS, GAUGES, LABELS, OF_STORE, PROCESS, SERIES_MAX, shown_name

_ROOT = Path(__file__).resolve().parents[2]
_DOCUMENT = _ROOT / "sidecar" / "metrics.md"
_ALERTS = _ROOT / "helm" / "exchange-sidecar" / "alerts"
_NAME = re.compile(r"\b(?:exchange|process)_[a-z0-9_]+")
_PARTS = re.compile(r"_(?:bucket|sum|count)$")
_OPENING = """\
# Metrics

What each process shows under `/metrics` on its probe port (9464), in Prometheus' text format. Made by `make docs` from
[`telemetry/catalog.py`](telemetry/catalog.py); a test compares it with a running service.

Labels have the values listed and no others, and every counter is there from the start with 0. *of* says whose number it
is: a **process** tells its own, to be summed over processes; what is told of the **store** every process tells alike, so
take the maximum. Store numbers are counted when asked, every 15 seconds at most. Histograms end in `_bucket`, `_sum` and
`_count`, appear with their first value, and have bounds from 1 ms to 60 s. Files that say who may call and stalled watches are
told by processes with the role api, the database's size and the room on its disk where it is SQLite.

The last column names the alerts that use a metric; each has its section in the [runbook](runbook.md).
"""


def metric_names(expression: str) -> list[str]:
    """Return the metrics that a query names, those of a histogram without their endings, each once."""
    return list(dict.fromkeys(_PARTS.sub("", name) for name in _NAME.findall(expression)))


def load_rules(folder: Path = _ALERTS) -> list[Mapping[str, object]]:
    """Return all rules of the chart, recorded ones and alerts, in the order of their files."""
    return [
        rule
        for path in sorted(folder.glob("*.yaml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]


def table(rules: Sequence[Mapping[str, object]]) -> str:
    """Return the table in Markdown: a row for each metric, in the order of the catalog."""
    users: dict[str, list[str]] = {}
    for rule in rules:
        if "alert" in rule:
            for name in metric_names(str(rule["expr"])):
                users.setdefault(name, []).append(str(rule["alert"]))
    rows = "\n".join(_row(*fields, users.get(fields[0], [])) for fields in _fields())
    return f"| metric | type | of | labels | meaning | alerts |\n|---|---|---|---|---|---|\n{rows}"


def _fields() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the name, type, whose it is, labels and meaning of each metric."""
    for kind, metrics in (("gauge", GAUGES), ("counter", COUNTERS), ("histogram", DURATIONS)):
        for name, meaning in metrics.items():
            yield shown_name(name), kind, "store" if name in OF_STORE else "process", _labels(name), meaning
    for name, (kind, meaning) in PROCESS.items():
        yield name, kind, "process", "", meaning


def _labels(name: str) -> str:
    parts = []
    for label, values in LABELS.get(name, {}).items():
        most = f", {SERIES_MAX[name]:,} at most" if name in SERIES_MAX else ""
        parts.append(f"`{label}`: {', '.join(values) if values else f'any{most}'}")
    return "; ".join(parts)


def _row(name: str, kind: str, whose: str, labels: str, meaning: str, alerts: Sequence[str]) -> str:
    links = ", ".join(f"[{alert}](runbook.md#{alert.lower()})" for alert in alerts)
    return f"| `{name}` | {kind} | {whose} | {labels} | {meaning} | {links} |"


def document() -> str:
    """Return the whole of metrics.md."""
    return f"{_OPENING}\n{table(load_rules())}\n"


def main() -> None:
    """Write the document, or say that it is out of date."""
    write_or_check(_DOCUMENT, document(), about=__doc__)


if __name__ == "__main__":
    main()
