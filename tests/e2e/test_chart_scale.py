"""How many pods the chart lets there be, where they go, and how they are taken away."""

from __future__ import annotations

import pytest

from tests.support import chart
from tests.support.chart import KubeObject, refusal

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not chart.HELM.exists(), reason="Helm is not in .tools/bin; run: sh .ci/tools"),
]


def by_name(objects: list[KubeObject], kind: str) -> dict[str, KubeObject]:
    """The specs of all objects of a kind, by what their names end in after the release's."""
    names = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == kind}
    return {name.removeprefix("demo-exchange-sidecar").lstrip("-"): spec for name, spec in names.items()}


@pytest.mark.parametrize("case", ["postgres", "split"])
def test_budget_selects_the_pods_of_one_deployment_and_lets_one_go(case: str) -> None:
    """A budget over all roles would let the last ingress pod go while a worker is left."""
    objects = chart.render_objects(case)
    deployments, budgets = by_name(objects, "Deployment"), by_name(objects, "PodDisruptionBudget")
    assert budgets.keys() == deployments.keys()
    for name, budget in budgets.items():
        assert budget["selector"] == deployments[name]["selector"]
        assert budget["maxUnavailable"] == 1
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize(("change", "left"), [("split.worker.replicas=1", {"api", "ingress"}), ("replicas=1", None)])
def test_single_pod_has_no_budget(change: str, left: set[str] | None) -> None:
    """It would keep its node from being emptied for ever, or mean nothing."""
    case = "split" if left else "postgres"
    assert by_name(chart.render_objects(case, sets=[change]), "PodDisruptionBudget").keys() == (left or set())


def test_budgets_can_be_left_to_others() -> None:
    objects = chart.render_objects("split", sets=["podDisruptionBudget.enabled=false"])
    assert not by_name(objects, "PodDisruptionBudget")


def test_scaled_pods_leave_their_number_to_the_autoscaler() -> None:
    """A number in the Deployment as well would undo the autoscaler's at every update."""
    objects = chart.render_objects("split")
    scalers, deployments = by_name(objects, "HorizontalPodAutoscaler"), by_name(objects, "Deployment")
    assert {name: (s["minReplicas"], s["maxReplicas"]) for name, s in scalers.items()} == {
        "api": (2, 6),
        "ingress": (2, 4),
    }
    assert {name: spec.get("replicas") for name, spec in deployments.items()} == {
        "api": None,
        "worker": 3,
        "ingress": None,
    }
    for name, scaler in scalers.items():
        assert scaler["scaleTargetRef"] == {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": f"demo-exchange-sidecar-{name}",
        }


def test_scaling_goes_by_a_share_of_a_core_and_takes_pods_away_slowly() -> None:
    objects = chart.render_objects("postgres", sets=["autoscaling.cpu=750m", "autoscaling.scaleDownSeconds=900"])
    (scaler,) = by_name(objects, "HorizontalPodAutoscaler").values()
    (metric,) = scaler["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "750m"}}
    down = scaler["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 900
    assert [(policy["type"], policy["value"]) for policy in down["policies"]] == [("Pods", 1)]


@pytest.mark.parametrize(
    ("case", "change", "sentence"),
    [
        ("default", "maxReplicas=2", "maxReplicas is 2: the SQLite store belongs to one process"),
        ("postgres", "maxReplicas=1", "maxReplicas is 1 and replicas is 2: the most cannot be less than the least"),
        ("postgres", "replicas=0", "replicas is 0 and maxReplicas is set: an autoscaler never begins with no pod"),
        ("split", "split.api.maxReplicas=1", "split.api.maxReplicas is 1 and split.api.replicas is 2"),
        ("split", "maxReplicas=3", "mode is split and maxReplicas is set: each kind of pods is scaled by itself"),
        ("split", "split.worker.maxReplicas=9", "maxReplicas is not allowed"),
        ("split", "settings.EXCHANGE_TASKS__RUNNER=outside", "a task runner outside calls the api pods"),
    ],
)
def test_impossible_scale_is_refused(case: str, change: str, sentence: str) -> None:
    assert sentence in refusal(change, case=case)


@pytest.mark.parametrize("case", ["postgres", "split"])
def test_pods_that_do_the_same_are_spread_over_nodes_and_zones(case: str) -> None:
    for deployment in by_name(chart.render_objects(case), "Deployment").values():
        spread = deployment["template"]["spec"]["topologySpreadConstraints"]
        found = {rule["topologyKey"]: rule["whenUnsatisfiable"] for rule in spread}
        assert found == {
            "kubernetes.io/hostname": "ScheduleAnyway",
            "topology.kubernetes.io/zone": "ScheduleAnyway",
        }
        assert all(rule["labelSelector"] == deployment["selector"] for rule in spread)


def test_spreading_can_be_required_and_left_out() -> None:
    objects = chart.render_objects("postgres", sets=["topologySpread.nodes=require", "topologySpread.zones=off"])
    (rule,) = chart.pod_of(objects)["topologySpreadConstraints"]
    assert (rule["topologyKey"], rule["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")
    both_off = chart.render_objects("postgres", sets=["topologySpread.nodes=off", "topologySpread.zones=off"])
    assert "topologySpreadConstraints" not in chart.pod_of(both_off)


def test_single_pod_goes_anywhere() -> None:
    assert "topologySpreadConstraints" not in chart.pod_of(chart.render_objects())


def test_role_with_resources_of_its_own_has_those_and_the_others_the_common_ones() -> None:
    deployments = by_name(chart.render_objects("split"), "Deployment")
    limits = {
        name: {c["resources"]["limits"]["memory"] for c in (*pod["initContainers"], *pod["containers"])}
        for name, pod in ((name, spec["template"]["spec"]) for name, spec in deployments.items())
    }
    assert limits == {"api": {"1Gi"}, "worker": {"512Mi"}, "ingress": {"512Mi"}}


def test_task_runner_outside_goes_without_worker_pods() -> None:
    sets = ["settings.EXCHANGE_TASKS__RUNNER=outside", "split.worker.replicas=0"]
    assert by_name(chart.render_objects("split", sets=sets), "Deployment")["worker"]["replicas"] == 0


def test_split_without_a_public_address_has_no_pods_for_webhooks() -> None:
    objects = chart.render_objects(
        "split", sets=["webhook.publicUrl=", "webhook.pathSecrets.existingSecret=", "httpRoute.enabled=false"]
    )
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert by_name(objects, kind).keys() == {"api", "worker"}
    assert by_name(objects, "HorizontalPodAutoscaler").keys() == {"api"}
    assert by_name(objects, "Service").keys() == {"grpc"}
