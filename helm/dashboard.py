"""Make the Grafana dashboard of the chart, helm/exchange-sidecar/dashboards/exchange.json.

A dashboard is some thousand lines of JSON of which a person decides a hundred: which questions, in which order, in which
unit. These are here; the rest is Grafana's form (schema 39, Grafana 10.4 and later).

Usage: python helm/dashboard.py --write | --check
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.cli.generated import write_or_check

DOCUMENT = Path(__file__).resolve().parent / "exchange-sidecar" / "dashboards" / "exchange.json"
_WIDTH, _HEIGHT, _STAT_HEIGHT = 24, 8, 4
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_HERE = 'namespace=~"$namespace"'
_RATE = "$__rate_interval"
_OURS = "and on (instance) @exchange_serving"
"""Other programs have metrics of the process under the same names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One question.

    Attributes:
        queries: legend -> expression. In an expression `@name` is a metric of the chosen namespaces, with further labels
            as `@name{state="stale"}`.
        unit: as Grafana calls it.
        red_above: a number (not a curve) that is red above this and green below.
        per_row: how many such panels stand side by side.
        can_be_negative: else the axis begins at 0.
    """

    title: str
    meaning: str
    queries: dict[str, str]
    unit: str = "short"
    red_above: float | None = None
    per_row: int = 2
    can_be_negative: bool = False


def _quantiles(name: str) -> dict[str, str]:
    """Return the median and the 99th percentile of a histogram."""
    buckets = f"sum by (le) (rate(@{name}_bucket[{_RATE}]))"
    return {f"p{share}": f"histogram_quantile(0.{share}, {buckets})" for share in ("50", "99")}


def _rate(name: str, *, by: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate(@{name}[{_RATE}]))"


def _stat(title: str, meaning: str, expression: str, *, red_above: float = 0, unit: str = "short") -> Panel:
    return Panel(title=title, meaning=meaning, queries={"": expression}, red_above=red_above, unit=unit, per_row=6)


ROWS: dict[str, list[Panel]] = {
    "The promise": [
        _stat("Stale rooms", "Copies older than is promised.", 'max(@exchange_rooms{state="stale"})'),
        _stat(
            "Drift, 24 h",
            "What only a full read found. 0 is the proof that nothing is lost.",
            "sum(increase(@exchange_room_drift_total[24h]))",
        ),
        _stat(
            "Unannounced, 24 h",
            "Changes that no notification announced.",
            "sum(increase(@exchange_unannounced_changes_total[24h]))",
            red_above=100,
        ),
        _stat(
            "Oldest copy",
            "Of rooms that are not blocked or paused.",
            "max(@exchange_freshness_oldest_seconds)",
            red_above=1_500,
            unit="s",
        ),
        _stat(
            "Commit to watcher, p99",
            "From the commit of a change until a watcher was sent it.",
            f"histogram_quantile(0.99, sum by (le) (rate(@exchange_commit_to_watcher_seconds_bucket[{_RATE}])))",
            red_above=2.5,
            unit="s",
        ),
        _stat(
            "Tenants refused",
            "By Microsoft: the credential, or the consent.",
            'sum(max by (state) (@exchange_tenants{state=~"credential_rejected|consent_missing"}))',
        ),
        Panel(
            title="Rooms by state of their copy",
            meaning="Counted over the whole store.",
            queries={"{{state}}": "max by (state) (@exchange_rooms)"},
        ),
        Panel(
            title="Changes told, and how they were found",
            meaning="Announced ones arrive in seconds, the others with the next check or full read.",
            queries={
                "told": _rate("exchange_changes_total"),
                "unannounced": _rate("exchange_unannounced_changes_total"),
                "drift": _rate("exchange_room_drift_total"),
            },
            unit="ops",
        ),
        Panel(
            title="From announced to in the copy",
            meaning="Counted from when the room was due to be read, about a second after the notification.",
            queries=_quantiles("exchange_hint_to_commit_seconds"),
            unit="s",
        ),
        Panel(
            title="From the commit to the watcher",
            meaning="Sampled, of watchers that were waiting.",
            queries=_quantiles("exchange_commit_to_watcher_seconds"),
            unit="s",
        ),
    ],
    "Exchange": [
        Panel(
            title="Requests by outcome",
            meaning="429: asked to slow down. Each try counts.",
            queries={"{{outcome}}": _rate("exchange_graph_requests_total", by="outcome")},
            unit="reqps",
        ),
        Panel(
            title="How long Exchange takes",
            meaning="From sending a request until its whole answer was there.",
            queries=_quantiles("exchange_graph_request_duration_seconds"),
            unit="s",
        ),
        Panel(
            title="Under way and in line",
            meaning="If many wait all the time, raise the limit or spread imports.",
            queries={
                "under way": "sum(@exchange_requests_under_way)",
                "waiting": "sum(@exchange_requests_waiting)",
                "tenants paused": "max(@exchange_tenants_paused)",
            },
        ),
        Panel(
            title="Put off, and tokens",
            meaning="Calls not sent, by cause; and what the login answered.",
            queries={
                "put off: {{cause}}": _rate("exchange_graph_put_off_total", by="cause"),
                "token: {{outcome}}": _rate("exchange_token_requests_total", by="outcome"),
            },
            unit="ops",
        ),
        Panel(
            title="Set right by itself",
            meaning="Many deletions at once are held for five minutes; lost subscriptions and delta links are made anew.",
            queries={
                "deletions held": _rate("exchange_deletions_held_total"),
                "subscriptions lost": _rate("exchange_subscriptions_lost_total"),
                "delta links given up": _rate("exchange_delta_resets_total"),
                "events without times": _rate("exchange_events_broken_total"),
            },
            unit="ops",
        ),
        Panel(
            title="Clock ahead of Microsoft's by",
            meaning="As the dates of its answers tell, to a second. At five minutes Microsoft refuses certificates.",
            queries={"{{instance}}": "max by (instance) (@exchange_clock_ahead_seconds)"},
            unit="s",
            can_be_negative=True,
        ),
        Panel(
            title="Tenants by state",
            meaning="Counted over the whole store.",
            queries={"{{state}}": "max by (state) (@exchange_tenants)"},
        ),
        Panel(
            title="Credentials that run out first",
            meaning="Days left, of those of which the end is known.",
            queries={"{{tenant}}": "bottomk(10, min by (tenant) (@exchange_credential_expires_seconds)) / 86400"},
            unit="d",
            can_be_negative=True,
        ),
    ],
    "Webhooks": [
        _stat("Webhook unreachable", "1 while Microsoft does not get through.", "max(@exchange_webhook_unreachable)"),
        _stat("Rooms not announced", "Of those that can be read.", 'max(@exchange_subscriptions{state="missing"})'),
        _stat(
            "Not renewed", "Subscriptions with less than a day left.", 'max(@exchange_subscriptions{state="expiring"})'
        ),
        Panel(
            title="Notifications",
            meaning="Dropped ones and unknown ones do no harm; those not stored are sent again.",
            queries={
                "marked": _rate("exchange_notifications_marked_total"),
                "unknown": _rate("exchange_notifications_unknown_total"),
                "unwanted": _rate("exchange_notifications_unwanted_total"),
                "dropped": _rate("exchange_notifications_dropped_total"),
                "not stored": _rate("exchange_notifications_not_stored_total"),
            },
            unit="ops",
        ),
        Panel(
            title="Requests refused, by cause",
            meaning="Microsoft sends again what got 503 (too fast, too much).",
            queries={
                cause.replace("_", " "): _rate(f"exchange_requests_{cause}_total")
                for cause in ("too_fast", "too_much", "too_large", "too_slow", "malformed", "misdirected", "broken_off")
            },
            unit="reqps",
        ),
        Panel(
            title="Until a mark is durable",
            meaning="From the arrival of a body; Microsoft waits for it.",
            queries=_quantiles("exchange_mark_duration_seconds"),
            unit="s",
        ),
        Panel(
            title="Subscriptions",
            meaning="Of rooms that are to be announced.",
            queries={"{{state}}": "max by (state) (@exchange_subscriptions)"},
        ),
    ],
    "Watchers and calls": [
        Panel(
            title="Watches",
            meaning="Stalled: a message has not been taken for more than a second.",
            queries={"open": "sum(@exchange_watches_open)", "stalled": "sum(@exchange_watches_stalled)"},
        ),
        Panel(
            title="Watches that end and begin",
            meaning="too_slow: the reader did not take a message for a minute.",
            queries={
                "ended: {{reason}}": _rate("exchange_watches_ended_total", by="reason"),
                "begun: {{how}}": _rate("exchange_watches_begun_total", by="how"),
            },
            unit="ops",
        ),
        Panel(
            title="Snapshots by reason",
            meaning="token_expired and epoch_changed mean that readers lost their place.",
            queries={"{{reason}}": _rate("exchange_snapshots_total", by="reason")},
            unit="ops",
        ),
        Panel(
            title="Calls",
            meaning="All calls of the API, and those that failed, by code.",
            queries={
                "calls": _rate("exchange_rpc_calls_total"),
                "{{code}}": f"{_rate('exchange_rpc_errors_total', by='code')} > 0",
            },
            unit="reqps",
        ),
        Panel(
            title="How long calls take",
            meaning="Those with one answer.",
            queries=_quantiles("exchange_rpc_duration_seconds"),
            unit="s",
        ),
        Panel(
            title="Callers refused",
            meaning="Unknown ones, and those over their own limits.",
            queries={
                "unknown": _rate("exchange_rpc_rejected_total"),
                "over limits": _rate("exchange_rpc_limited_total"),
            },
            unit="ops",
        ),
    ],
    "Writes": [
        Panel(
            title="Writes by outcome",
            meaning="left: not known yet, gone on with until it is.",
            queries={
                "{{outcome}}": _rate("exchange_writes_total", by="outcome"),
                "under way": "sum(@exchange_writes_under_way)",
            },
            unit="ops",
        ),
        Panel(
            title="From the request to the outcome",
            meaning="The room's answer included, where it is the room that decides.",
            queries=_quantiles("exchange_write_duration_seconds"),
            unit="s",
        ),
    ],
    "Background work": [
        Panel(
            title="Due and not done",
            meaning="Of tenants in use. A large import stays due until it is read.",
            queries={
                "pieces": "max(@exchange_intents_due)",
                "tenants": "max(@exchange_lanes_due)",
                "tenants worked for": "sum(@exchange_lanes_draining)",
            },
        ),
        Panel(
            title="How late",
            meaning="The oldest piece that is due, and when a worker last looked.",
            queries={
                "oldest due": "max(@exchange_intents_oldest_due_seconds)",
                "worker silent": "max(@exchange_runner_silent_seconds)",
            },
            unit="s",
        ),
        Panel(
            title="Done, by kind",
            meaning="",
            queries={"{{kind}}": f"{_rate('exchange_intents_done_total', by='kind')} > 0"},
            unit="ops",
        ),
        Panel(
            title="Failed and put off, by kind",
            meaning="Failed ones are tried again; put off: Exchange or a state does not allow it now.",
            queries={
                "failed: {{kind}}": f"{_rate('exchange_intents_failed_total', by='kind')} > 0",
                "put off: {{kind}}": f"{_rate('exchange_intents_put_off_total', by='kind')} > 0",
            },
            unit="ops",
        ),
    ],
    "Store and process": [
        Panel(
            title="How long the database takes",
            meaning="Writes with the wait for their turn.",
            queries={
                f"{kind} {share}": query
                for kind in ("read", "write")
                for share, query in _quantiles(f"exchange_store_{kind}_duration_seconds").items()
            },
            unit="s",
        ),
        Panel(
            title="Transactions not done",
            meaning="",
            queries={"{{operation}}": _rate("exchange_store_errors_total", by="operation")},
            unit="ops",
        ),
        Panel(
            title="Disk",
            meaning="Of a SQLite database.",
            queries={"database": "max(@exchange_store_bytes)", "free": "min(@exchange_store_free_bytes)"},
            unit="bytes",
        ),
        Panel(
            title="Traces",
            meaning="Spans; lost: not taken by the collector, dropped: too many waited for it.",
            queries={kind: _rate(f"exchange_spans_{kind}_total") for kind in ("sent", "lost", "dropped")},
            unit="ops",
        ),
        Panel(
            title="Event loop late by",
            meaning="Everything in the process waits as long.",
            queries={"{{instance}}": "max by (instance) (@exchange_loop_lag_seconds)"},
            unit="s",
        ),
        Panel(
            title="Processor",
            meaning="1 is one core; one process uses little more than one.",
            queries={"{{instance}}": f"sum by (instance) (rate(@process_cpu_seconds_total[{_RATE}]) {_OURS})"},
        ),
        Panel(
            title="Memory",
            meaning="",
            queries={"{{instance}}": f"sum by (instance) (@process_resident_memory_bytes {_OURS})"},
            unit="bytes",
        ),
    ],
}
"""The rows from top to bottom: whether it holds, then why not."""


def expression(text: str) -> str:
    """Write an expression out: `@name` names a metric of the chosen namespaces."""
    written = ""
    for place, part in enumerate(text.split("@")):
        if place == 0:
            written = part
            continue
        end = next((at for at, letter in enumerate(part) if not (letter.isalnum() or letter == "_")), len(part))
        name, rest = part[:end], part[end:]
        written += f"{name}{{{_HERE},{rest[1:]}" if rest.startswith("{") else f"{name}{{{_HERE}}}{rest}"
    return written


def _panels() -> Iterator[dict[str, Any]]:  # Any: Grafana's JSON
    """Yield rows and panels, placed from left to right and from top to bottom."""
    top = number = 0
    for title, panels in ROWS.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": _place(0, top, _WIDTH, 1),
        }
        top, left, height = top + 1, 0, 0
        for panel in panels:
            width, tall = _WIDTH // panel.per_row, _HEIGHT if panel.red_above is None else _STAT_HEIGHT
            if left + width > _WIDTH or (left and tall != height):
                top, left = top + height, 0
            number, height = number + 1, tall
            yield _panel(number, panel, _place(left, top, width, tall))
            left += width
        top += height


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    is_number = panel.red_above is not None
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_above is not None:
        # Thresholds hold from their value on, so "above 0" begins just above it.
        steps.append({"color": "red", "value": panel.red_above or 0.001})
    custom = {} if is_number else {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
    stat = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background",
        "graphMode": "area",
    }
    curve = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return {
        "id": number,
        "type": "stat" if is_number else "timeseries",
        "title": panel.title,
        "description": panel.meaning,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": None if panel.can_be_negative else 0,
                "custom": custom,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": stat if is_number else curve,
        "targets": [
            {
                "refId": chr(ord("A") + place_of),
                "datasource": _DATASOURCE,
                "expr": expression(query),
                "legendFormat": legend,
                "range": True,
            }
            for place_of, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def dashboard() -> dict[str, Any]:
    """Return the whole dashboard."""
    variables = [
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "current": {},
            "hide": 0,
        },
        {
            "name": "namespace",
            "label": "Namespace",
            "type": "query",
            "datasource": _DATASOURCE,
            "query": {"query": "label_values(exchange_serving, namespace)", "refId": "namespace"},
            "definition": "label_values(exchange_serving, namespace)",
            "includeAll": True,
            "allValue": ".*",  # also where nothing has such a label
            "multi": True,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "refresh": 2,
            "sort": 1,
            "hide": 0,
        },
    ]
    return {
        "uid": "exchange-sidecar",
        "title": "Exchange sidecar",
        "description": "Whether the promise holds, and if not, why. sidecar/metrics.md explains each metric.",
        "tags": ["exchange-sidecar"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "templating": {"list": variables},
        "annotations": {"list": []},
        "links": [],
        "panels": list(_panels()),
    }


def document() -> str:
    """Return the file's text."""
    return json.dumps(dashboard(), indent=2) + "\n"


def main() -> None:
    """Write the file, or say that it is out of date."""
    write_or_check(DOCUMENT, document(), about=__doc__)


if __name__ == "__main__":
    main()
