"""Who reaches the service: from the internet the two webhook paths, by one door; from the cluster whom the policy names."""

from __future__ import annotations

import pytest

from tests.support import chart
from tests.support.chart import KubeObject, refusal, settings_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not chart.HELM.exists(), reason="Helm is not in .tools/bin; run: sh .ci/tools"),
]

ROUTE = ("ingress.enabled=false", "httpRoute.enabled=true", "httpRoute.parentRefs[0].name=public")
WORDS = "webhook.pathSecrets.existingSecret=exchange-path"


def test_http_route_takes_posts_to_the_two_webhook_paths_and_nothing_else() -> None:
    objects = chart.render_objects(sets=ROUTE)
    chart.check_valid(objects, chart.KUBE_VERSION)
    spec = chart.only(objects, "HTTPRoute")["spec"]
    assert spec["parentRefs"] == [{"name": "public"}]
    assert spec["hostnames"] == ["hooks.example.com"], "without a name it would take every host of the Gateway"
    (rule,) = spec["rules"]
    assert rule["matches"] == [
        {"path": {"type": "Exact", "value": path}, "method": "POST"}
        for path in ("/graph/notifications", "/graph/lifecycle")
    ]
    webhook = chart.only(objects, "Service", "-webhook")
    (port,) = webhook["spec"]["ports"]
    assert rule["backendRefs"] == [{"name": webhook["metadata"]["name"], "port": port["port"]}]
    assert not [o for o in objects if o["kind"] == "Ingress"]


def test_http_route_names_the_host_without_the_gateway_s_port() -> None:
    objects = chart.render_objects(sets=[*ROUTE, "webhook.publicUrl=https://hooks.example.com:8443"])
    assert chart.only(objects, "HTTPRoute")["spec"]["hostnames"] == ["hooks.example.com"]


@pytest.mark.parametrize(("sets", "kind"), [((), "Ingress"), (ROUTE, "HTTPRoute")])
def test_word_before_the_paths_is_a_file_and_in_no_manifest(sets: tuple[str, ...], kind: str) -> None:
    """The service has the two paths behind the word only, and answers 404 to all others."""
    objects = chart.render_objects(sets=[*sets, WORDS])
    pod = chart.pod_of(objects)
    (volume,) = [v["secret"] for v in pod["volumes"] if v["name"] == "webhook"]
    assert volume == {
        "secretName": "exchange-path",
        "defaultMode": 0o440,
        "items": [{"key": "words", "path": "words"}],
    }
    for container in chart.containers(objects):
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == "webhook"]
        assert mount["readOnly"] is True
        assert settings_of(container)["EXCHANGE_WEBHOOK__PATH_SECRETS_FILE"] == f"{mount['mountPath']}/words"
    assert paths_of(chart.only(objects, kind)) == [("/", "Prefix" if kind == "Ingress" else "PathPrefix")]


def paths_of(door: KubeObject) -> list[tuple[str, str]]:
    """The paths that an Ingress or an HTTPRoute lets through, and how each is compared."""
    (rule,) = door["spec"]["rules"]
    if door["kind"] == "Ingress":
        return [(path["path"], path["pathType"]) for path in rule["http"]["paths"]]
    return [(match["path"]["value"], match["path"]["type"]) for match in rule["matches"]]


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        ((*ROUTE, "ingress.enabled=true"), "ingress and httpRoute are both on: one address has one door"),
        (ROUTE[:2], "httpRoute.parentRefs is empty: no Gateway would take the route"),
        ((*ROUTE, "webhook.publicUrl="), "name the https address of the HTTPRoute"),
        ((*ROUTE, "webhook.publicUrl=https://hooks.example.com/base"), "the HTTPRoute does not rewrite paths"),
        ((WORDS, "webhook.publicUrl=", "ingress.enabled=false"), "nobody is told the words"),
        (("httpRoute.hostnames[0]=other",), "hostnames is not allowed"),
    ],
)
def test_impossible_door_is_refused_with_a_sentence(sets: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal(*sets)


@pytest.mark.parametrize(
    ("version", "waits"), [("1.28.0", False), ("1.29.0", False), ("1.30.0", True), ("1.37.0", True)]
)
def test_pods_that_take_webhooks_wait_until_none_are_sent_to_them(version: str, waits: bool) -> None:
    """Where Kubernetes can wait for them; the image has no shell that could."""
    pods = {
        settings_of(pod["containers"][0])["EXCHANGE_ROLES"]: pod["containers"][0].get("lifecycle")
        for pod in chart.pods_of(chart.render_objects("split", kube_version=version))
    }
    waiting = {"preStop": {"sleep": {"seconds": 3}}} if waits else None
    assert pods == {"api": None, "worker": None, "ingress": waiting}


def test_pod_that_has_no_other_beside_it_stops_at_once() -> None:
    """Waiting would only lengthen the time without a service."""
    assert "lifecycle" not in chart.pod_of(chart.render_objects())["containers"][0]
