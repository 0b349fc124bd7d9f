"""The catalog of metrics: what it lists is what the code counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import pytest

from sidecar.feed.events import ClosingReason
from sidecar.graph.wire import Subject
from sidecar.model.change import SnapshotReason
from sidecar.model.intent import IntentKind
from sidecar.model.room import SyncState
from sidecar.model.tenant import TenantState
from sidecar.model.write import WriteKind
from sidecar.telemetry.catalog import COUNTERS, DURATIONS, GAUGES, LABELS, OF_STORE, OPEN, SERIES_MAX, series_of
from sidecar.telemetry.metrics import Telemetry

_SIDECAR = Path(__file__).resolve().parents[3] / "sidecar"
_SERIES_MAX = 200
"""Of one metric; all together are some hundreds, as many as a small library's."""


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Counters at 0."""
    made = Telemetry()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("name", "label", "values"),
    [
        ("intents_done", "kind", [kind.value for kind in IntentKind]),
        ("intents_failed", "kind", [kind.value for kind in IntentKind]),
        ("intents_put_off", "kind", [kind.value for kind in IntentKind]),
        ("graph_requests", "about", [subject.value for subject in Subject]),
        ("writes", "kind", [kind.value for kind in WriteKind]),
        ("snapshots", "reason", [reason.name.lower() for reason in SnapshotReason]),
        ("watches_ended", "reason", [*(reason.name.lower() for reason in ClosingReason), "too_slow", "failed", "left"]),
        ("rooms", "state", [state.value for state in SyncState]),
        ("tenants", "state", [state.value for state in TenantState if state is not TenantState.DELETED]),
        ("rpc_errors", "code", [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK]),
    ],
)
def test_values_of_labels_are_those_of_the_domain(name: str, label: str, values: Iterable[str]) -> None:
    """A value that the catalog lacks would end whatever counts it."""
    assert sorted(LABELS[name][label]) == sorted(values)


def test_no_metric_has_many_series() -> None:
    """Rooms and tenants come by the thousand; metrics do not."""
    open_ones = {name for name, labels in LABELS.items() if OPEN in labels.values()}
    assert open_ones - set(SERIES_MAX) == {"build_info"}
    counts = {name: len(list(series_of(name))) for name in (*COUNTERS, *DURATIONS, *GAUGES) if name not in open_ones}
    assert max(counts.values()) <= _SERIES_MAX, counts


def test_names_are_used_once_and_every_name_is_used() -> None:
    """A metric that nothing counts stays at 0 and looks like good news."""
    names = [*COUNTERS, *DURATIONS, *GAUGES]
    assert len(names) == len(set(names))
    assert set(LABELS) <= set(names)
    assert set(GAUGES) >= OF_STORE
    code = "\n".join(
        path.read_text()
        for path in sorted(_SIDECAR.rglob("*.py"))
        if path.name != "catalog.py" and "gen" not in path.parts
    )
    refused = {name for name in names if name.startswith("requests.")}  # intake counts these by f"requests.{why}"
    assert [name for name in names if f'"{name}"' not in code and name not in refused] == []
    assert [
        name for name in sorted(refused) if f'"{name.partition(".")[2]}"' not in code and f'"{name}"' not in code
    ] == []


def test_counter_is_shown_with_its_labels_from_the_start(telemetry: Telemetry) -> None:
    """A rate needs the 0 that a count began with."""
    telemetry.count("graph_requests", 2, "mailbox", "429")
    shown = telemetry.render().decode().splitlines()
    assert 'exchange_graph_requests_total{about="mailbox",outcome="429"} 2.0' in shown
    assert 'exchange_graph_requests_total{about="event",outcome="5xx"} 0.0' in shown


def test_unknown_value_of_a_label_is_refused(telemetry: Telemetry) -> None:
    """An id that becomes a label by mistake is found by the first test that counts it."""
    with pytest.raises(KeyError):
        telemetry.count("store_errors", 1, "7f1c")


def test_numbers_are_shown_whatever_the_platform_wants_of_every_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts live by them: without them all would be silent."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", "unknown")
    telemetry = Telemetry()
    assert b"exchange_rpc_calls_total 0.0" in telemetry.render()
    telemetry.close()
