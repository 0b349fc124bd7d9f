"""How what the service tells of itself leaves the pods: read by Prometheus once each, sent to a collector if named."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.support import chart, custom_objects
from tests.support.chart import KubeObject, refusal

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not chart.HELM.exists(), reason="Helm is not in .tools/bin; run: sh .ci/tools"),
]


def monitored(kind: str, case: str = "split") -> list[KubeObject]:
    """What a case renders with this kind of monitor and no other."""
    given = {other: f"monitoring.{other[0].lower()}{other[1:]}" for other in ("PodMonitor", "ServiceMonitor")}
    switches = [f"{value}.enabled={str(other == kind).lower()}" for other, value in given.items()]
    return chart.render_objects(case, sets=[*switches, f"{given[kind]}.labels.release=kube-prometheus"])


def labels_of_pods(objects: list[KubeObject]) -> list[dict[str, str]]:
    """The labels of the pods that the Deployments make."""
    return [o["spec"]["template"]["metadata"]["labels"] for o in objects if o["kind"] == "Deployment"]


@pytest.mark.parametrize("kind", ["PodMonitor", "ServiceMonitor"])
def test_monitor_is_what_the_operator_knows_and_has_the_given_labels(kind: str) -> None:
    objects = monitored(kind)
    chart.check_valid(objects, chart.KUBE_VERSION)
    monitor = chart.only(objects, kind)
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus"
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"


def test_pod_monitor_finds_every_pod_by_the_port_of_the_probes() -> None:
    objects = monitored("PodMonitor")
    spec = chart.only(objects, "PodMonitor")["spec"]
    assert all(spec["selector"]["matchLabels"].items() <= labels.items() for labels in labels_of_pods(objects))
    (endpoint,) = spec["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("probes", "/metrics")
    assert all(
        {"name": "probes", "containerPort": 9464} in c["ports"] for p in chart.pods_of(objects) for c in p["containers"]
    )


def test_service_monitor_finds_the_metrics_service_only_and_it_every_pod() -> None:
    """The other Services have the same common labels, and would be read at ports that have no figures."""
    objects = monitored("ServiceMonitor")
    spec = chart.only(objects, "ServiceMonitor")["spec"]
    wanted = spec["selector"]["matchLabels"].items()
    (service,) = [o for o in objects if o["kind"] == "Service" and wanted <= o["metadata"]["labels"].items()]
    assert service["metadata"]["name"] == "demo-exchange-sidecar-metrics"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert [port["name"] for port in service["spec"]["ports"]] == [spec["endpoints"][0]["port"]]
    assert all(service["spec"]["selector"].items() <= labels.items() for labels in labels_of_pods(objects))


def test_without_a_monitor_metrics_have_no_service() -> None:
    names = [o["metadata"]["name"] for o in chart.render_objects() if o["kind"] == "Service"]
    assert names == ["demo-exchange-sidecar-grpc", "demo-exchange-sidecar-webhook"]


def test_two_monitors_are_refused() -> None:
    said = refusal("monitoring.podMonitor.enabled=true", "monitoring.serviceMonitor.enabled=true")
    assert "Prometheus would count every pod twice" in said


COLLECTOR = "telemetry.otlpEndpoint=https://collector.example.com"


def test_traces_are_sent_to_the_named_collector_with_headers_from_a_file() -> None:
    secrets = ["telemetry.headers.existingSecret=otlp-headers", "telemetry.ca.existingSecret=otlp-ca"]
    objects = chart.render_objects(sets=[COLLECTOR, "telemetry.traceRatio=0.5", *secrets])
    volumes = {v["name"]: v["secret"] for v in chart.pod_of(objects)["volumes"] if "secret" in v}
    for container in chart.containers(objects):
        settings = chart.settings_of(container)
        assert settings["EXCHANGE_TELEMETRY__OTLP_ENDPOINT"] == "https://collector.example.com"
        assert settings["EXCHANGE_TELEMETRY__TRACE_RATIO"] == "0.5"
        folders = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        for name, secret in (("OTLP_HEADERS_FILE", "otlp-headers"), ("OTLP_CA_FILE", "otlp-ca")):
            folder, _, file = settings[f"EXCHANGE_TELEMETRY__{name}"].rpartition("/")
            volume = volumes[folders[folder]]
            assert (volume["secretName"], [item["path"] for item in volume["items"]]) == (secret, [file])


def test_without_a_collector_no_traces_are_made() -> None:
    for container in chart.containers(chart.render_objects()):
        assert not [name for name in chart.settings_of(container) if "TELEMETRY" in name]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (("telemetry.headers.existingSecret=otlp",), "nothing is sent anywhere; name the collector"),
        (
            ("telemetry.otlpEndpoint=http://collector:4318", "telemetry.headers.existingSecret=otlp"),
            "the headers may be secret and would cross the network in the open",
        ),
        (("telemetry.otlpEndpoint=http://collector:4318",), "the policy keeps the pods from the collector"),
        (("telemetry.otlpEndpoint=https://collector:4318",), "the policy keeps the pods from the collector"),
        (("telemetry.traceRatio=2",), "telemetry.traceRatio"),
    ],
)
def test_impossible_collector_is_refused(changes: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal(*changes)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("spec", "podMetricsEndpoints", 0, "interval", "30"), "is not like"),
        (("spec", "endpoints", []), "no such field"),
        (("spec", "podMetricsEndpoints", []), "no list with something in it"),
        (("spec", "selector", {}), "matchLabels: missing"),
    ],
)
def test_shape_of_a_monitor_finds_mistakes(change: tuple[object, ...], complaint: str) -> None:
    """The shapes are our own: one that lets everything through would prove nothing."""
    monitor = copy.deepcopy(chart.only(monitored("PodMonitor"), "PodMonitor"))
    *path, field, value = change
    place: Any = monitor  # an object or a list, by the step
    for step in path:
        place = place[step]
    place[field] = value
    (said,) = custom_objects.mistakes(monitor)
    assert complaint in said
