"""The pod of `helm test`: a caller like any other, that no call is ever sent to."""

from __future__ import annotations

import pytest

from tests.support import chart
from tests.support.chart import KubeObject, settings_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not chart.HELM.exists(), reason="Helm is not in .tools/bin; run: sh .ci/tools"),
]


def asking_pod(*sets: str, case: str = "split") -> KubeObject:
    """The test pod of a case."""
    return chart.only(chart.render_objects(case, sets=sets), "Pod", "-test")


def mounted(pod: KubeObject) -> dict[str, tuple[str, list[str]]]:
    """Where the pod has keys of secrets: the secret's name and the keys, by the folder."""
    secrets = {v["name"]: v["secret"] for v in pod["spec"]["volumes"] if "secret" in v}
    (container,) = pod["spec"]["containers"]
    folders = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    return {folders[n]: (s["secretName"], [item["key"] for item in s["items"]]) for n, s in secrets.items()}


@pytest.mark.parametrize("case", ["default", "split"])
def test_pod_of_the_test_is_no_part_of_the_service(case: str) -> None:
    """With the labels of the service it would get calls, the service's policy, and a disruption budget."""
    objects = chart.render_objects(case)
    labels = chart.only(objects, "Pod", "-test")["metadata"]["labels"]
    selectors = [o["spec"]["selector"] for o in objects if o["kind"] == "Service"]
    policy = chart.only(objects, "NetworkPolicy")["spec"]
    selectors.append(policy["podSelector"]["matchLabels"])
    assert not [selector for selector in selectors if selector.items() <= labels.items()]


def test_pod_of_the_test_is_let_in_by_the_policy() -> None:
    objects = chart.render_objects(sets=["networkPolicy.grpc.podLabels.team=rooms"])
    labels = chart.only(objects, "Pod", "-test")["metadata"]["labels"]
    grpc = chart.only(objects, "NetworkPolicy")["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert grpc == {"exchange-sidecar-client": "true", "team": "rooms"}
    assert grpc.items() <= labels.items()


def test_pod_of_the_test_runs_when_helm_says_and_once() -> None:
    annotations = asking_pod()["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "test"
    assert asking_pod()["spec"]["restartPolicy"] == "Never"


def test_test_calls_the_service_by_name_and_trusts_the_authority_beside_its_certificate() -> None:
    pod = asking_pod()
    (container,) = pod["spec"]["containers"]
    assert settings_of(container) == {
        "EXCHANGE_TARGET": "demo-exchange-sidecar-grpc:50551",
        "EXCHANGE_TLS": "true",
        "EXCHANGE_SERVER_NAME": "demo-exchange-sidecar-grpc",
        "EXCHANGE_CA": "/etc/exchange/authority/ca.crt",
    }
    assert mounted(pod) == {"/etc/exchange/authority": ("exchange-tls", ["ca.crt"])}, "the key is the service's own"


def test_certificate_of_a_public_authority_needs_nothing_mounted() -> None:
    pod = asking_pod("test.authority=system", "test.serverName=rooms.example.com")
    (container,) = pod["spec"]["containers"]
    assert settings_of(container).keys() == {"EXCHANGE_TARGET", "EXCHANGE_TLS", "EXCHANGE_SERVER_NAME"}
    assert settings_of(container)["EXCHANGE_SERVER_NAME"] == "rooms.example.com"
    assert mounted(pod) == {}


def test_service_that_asks_callers_for_certificates_is_tested_with_one_or_not_at_all() -> None:
    with_one = asking_pod("grpc.tls.clientCa=true", "test.clientSecretName=exchange-caller")
    (container,) = with_one["spec"]["containers"]
    assert settings_of(container)["EXCHANGE_KEY"] == "/etc/exchange/client/tls.key"
    assert mounted(with_one)["/etc/exchange/client"] == ("exchange-caller", ["tls.crt", "tls.key"])
    without = chart.render_objects("split", sets=["grpc.tls.clientCa=true"])
    assert not [o for o in without if o["kind"] == "Pod"]


def test_plain_service_is_asked_plainly() -> None:
    (container,) = asking_pod(case="ephemeral")["spec"]["containers"]
    assert settings_of(container) == {"EXCHANGE_TARGET": "exchange-try-grpc:50551"}
