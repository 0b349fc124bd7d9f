"""The Helm chart: what it renders, what it refuses, and that its documents are current."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

from sidecar.settings import load_settings
from tests.support import chart
from tests.support.chart import CASES, CHART, ROOT, ChartRefused, KubeObject, pod_of, pods_of, refusal, settings_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not chart.HELM.exists(), reason="Helm is not in .tools/bin; run: sh .ci/tools"),
]


ALL_IN_ONE = [case for case in CASES if case != "split"]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    """Name of one file of values in the chart's ci folder."""
    return str(request.param)


@pytest.fixture
def objects(case: str) -> list[KubeObject]:
    """What one case renders."""
    return chart.render_objects(case)


def test_lint_finds_nothing(case: str) -> None:
    result = chart.run_helm("lint", "--strict", CHART, "--values", chart.values_file(case))
    assert result.returncode == 0, result.stdout + result.stderr


def test_render_equals_golden(case: str) -> None:
    assert chart.render(case) == chart.golden_file(case).read_text(encoding="utf-8")


@pytest.mark.parametrize("minor", [28, 30, 33, 37])  # the oldest that is taken, the first with all fields, the newest
def test_render_is_valid_for_kubernetes(case: str, minor: int) -> None:
    version = f"1.{minor}.0"
    chart.check_valid(chart.render_objects(case, kube_version=version), version)


def test_kubernetes_older_than_tested_is_refused() -> None:
    with pytest.raises(ChartRefused, match="kubeVersion"):
        chart.render(kube_version="1.27.0")


def test_kinds_are_the_intended_ones() -> None:
    everything = {"Deployment", "Service", "Ingress", "NetworkPolicy", "PersistentVolumeClaim", "ServiceAccount", "Pod"}
    scaled = {"PodDisruptionBudget", "HorizontalPodAutoscaler"}
    kinds = {case: {o["kind"] for o in chart.render_objects(case)} for case in CASES}
    assert kinds["default"] == everything
    assert kinds["no-ingress"] == everything - {"Ingress", "PersistentVolumeClaim", "ServiceAccount"}
    assert kinds["no-address"] == everything - {"Ingress"}
    assert kinds["ephemeral"] == everything - {"NetworkPolicy", "PersistentVolumeClaim"}
    assert kinds["postgres"] == everything - {"PersistentVolumeClaim"} | scaled | {"ServiceMonitor"}
    assert kinds["split"] == everything - {"PersistentVolumeClaim", "Ingress"} | scaled | {"HTTPRoute", "PodMonitor"}


def test_pod_meets_the_restricted_standard(objects: list[KubeObject]) -> None:
    test = chart.only(objects, "Pod", "-test")["spec"]
    for pod in (*pods_of(objects), test):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (65532, 65532, 65532)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*chart.containers(objects), *test["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        }


def test_no_secret_is_in_the_manifests(objects: list[KubeObject]) -> None:
    assert not [o for o in objects if o["kind"] in {"Secret", "ConfigMap"}]
    for container in chart.containers(objects):
        assert "envFrom" not in container
        for variable in container["env"]:
            assert variable.keys() == {"name", "value"}, "a secret would come as valueFrom"
            assert not re.search("(SECRET|PASSWORD|TOKEN)S?$", variable["name"]), "a file's name may be told"


def test_key_ring_comes_as_a_read_only_file(objects: list[KubeObject]) -> None:
    for pod in pods_of(objects):
        volume = next(v for v in pod["volumes"] if v["name"] == "vault")
        assert [item["path"] for item in volume["secret"]["items"]] == ["keyring.json"]
        assert volume["secret"]["defaultMode"] == 0o440
    for container in chart.containers(objects):
        mount = next(m for m in container["volumeMounts"] if m["name"] == "vault")
        assert mount["readOnly"] is True
        assert settings_of(container)["EXCHANGE_VAULT__KEY_RING_FILE"] == f"{mount['mountPath']}/keyring.json"


def test_uri_of_the_postgres_comes_as_a_read_only_file() -> None:
    objects = chart.render_objects("postgres")
    volume = next(v for v in pod_of(objects)["volumes"] if v["name"] == "postgres")
    assert volume["secret"]["secretName"] == "exchange-postgres"
    assert volume["secret"]["defaultMode"] == 0o440
    for container in chart.containers(objects):
        mount = next(m for m in container["volumeMounts"] if m["name"] == "postgres")
        assert mount["readOnly"] is True
        (item,) = volume["secret"]["items"]
        assert settings_of(container)["EXCHANGE_STORE__DSN_FILE"] == f"{mount['mountPath']}/{item['path']}"


def test_authority_of_the_postgres_is_a_file_that_the_driver_finds() -> None:
    objects = chart.render_objects("postgres", sets=["postgres.caKey=authority.pem"])
    volume = next(v for v in pod_of(objects)["volumes"] if v["name"] == "postgres")
    assert {"key": "authority.pem", "path": "ca.crt"} in volume["secret"]["items"]
    for container in chart.containers(objects):
        mount = next(m for m in container["volumeMounts"] if m["name"] == "postgres")
        assert settings_of(container)["PGSSLROOTCERT"] == f"{mount['mountPath']}/ca.crt"
    assert "there is no PostgreSQL to believe" in refusal("postgres.caKey=authority.pem")


def test_federated_credentials_have_a_token_for_microsoft_and_none_for_kubernetes() -> None:
    objects = chart.render_objects(sets=["federation.enabled=true"])
    chart.check_valid(objects, chart.KUBE_VERSION)
    pod = pod_of(objects)
    (volume,) = [v["projected"] for v in pod["volumes"] if v["name"] == "tokens"]
    (source,) = volume["sources"]
    assert source["serviceAccountToken"]["audience"] == "api://AzureADTokenExchange"
    assert pod["automountServiceAccountToken"] is False
    for container in chart.containers(objects):
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == "tokens"]
        assert mount["readOnly"] is True
        assert settings_of(container)["EXCHANGE_CREDENTIALS__TOKEN_FILES_FOLDER"] == mount["mountPath"]
    said = refusal("federation.enabled=true", "serviceAccount.create=false")
    assert "Microsoft would trust every pod of the namespace" in said


def test_postgres_behind_a_policy_that_does_not_let_it_through_is_refused() -> None:
    assert "networkPolicy.extraEgress is empty" in refusal("postgres.existingSecret=exchange-postgres")


def test_only_three_folders_can_be_written(objects: list[KubeObject]) -> None:
    for container in chart.containers(objects):
        written = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
        assert written == {"/var/lib/exchange", "/run/exchange", "/tmp"}


def test_probes_ask_the_probe_listener(objects: list[KubeObject]) -> None:
    for pod in pods_of(objects):
        (container,) = pod["containers"]
        paths = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        assert paths == {
            "startup": {"path": "/startupz", "port": "probes"},
            "liveness": {"path": "/livez", "port": "probes"},
            "readiness": {"path": "/readyz", "port": "probes"},
        }
        assert {"name": "probes", "containerPort": 9464} in container["ports"]


def test_pod_that_does_everything_has_every_port() -> None:
    (container,) = pod_of(chart.render_objects())["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 50551, "webhook": 8080, "probes": 9464}
    assert container["args"] == ["serve"]


def test_split_pods_have_one_role_each_and_its_port_only() -> None:
    deployments = [o for o in chart.render_objects("split") if o["kind"] == "Deployment"]
    found = {}
    for deployment in deployments:
        spec = deployment["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        assert container["args"] == ["serve"]
        (role,) = {settings_of(c)["EXCHANGE_ROLES"] for c in (container, *spec["template"]["spec"]["initContainers"])}
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert spec["selector"]["matchLabels"]["app.kubernetes.io/component"] == role
        found[role] = [port["name"] for port in container["ports"]]
    assert found == {"api": ["grpc", "probes"], "worker": ["probes"], "ingress": ["webhook", "probes"]}


def test_split_services_lead_to_the_pods_of_their_role() -> None:
    objects = chart.render_objects("split")
    for suffix, role in (("-grpc", "api"), ("-webhook", "ingress")):
        selector = chart.only(objects, "Service", suffix)["spec"]["selector"]
        matching = [
            o["metadata"]["name"]
            for o in objects
            if o["kind"] == "Deployment" and selector.items() <= o["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert matching == [f"demo-exchange-sidecar-{role}"]


def test_settings_listen_where_the_ports_are() -> None:
    changes = ["grpc.port=6001", "webhook.port=6002", "probes.port=6003", "settings.EXCHANGE_X=on"]
    objects = chart.render_objects(sets=changes)
    (container,) = pod_of(objects)["containers"]
    settings = settings_of(container)
    assert settings["EXCHANGE_GRPC__ADDRESSES"] == '["0.0.0.0:6001"]'
    assert settings["EXCHANGE_WEBHOOK__LISTEN"] == "0.0.0.0:6002"
    assert settings["EXCHANGE_PROBES__LISTEN"] == "0.0.0.0:6003"
    assert settings["EXCHANGE_X"] == "on"


def test_service_takes_the_rendered_settings(
    case: str, objects: list[KubeObject], monkeypatch: pytest.MonkeyPatch
) -> None:
    for container in chart.containers(objects):
        with monkeypatch.context() as patch:
            for name, value in settings_of(container).items():
                patch.setenv(name, value)
            settings = load_settings()
        assert settings.profile == "service"
        assert ("api" not in settings.roles) or settings.grpc.addresses == ("0.0.0.0:50551",)
        assert (settings.webhook.public_url is None) == (case == "no-address")


def test_pods_without_the_api_hold_neither_its_key_nor_its_callers() -> None:
    """What takes requests from the internet has nothing of the lock that callers pass."""
    for deployment in (
        o for o in chart.render_objects("split", sets=["federation.enabled=true"]) if o["kind"] == "Deployment"
    ):
        volumes = {volume["name"] for volume in deployment["spec"]["template"]["spec"]["volumes"]}
        role = deployment["metadata"]["labels"]["app.kubernetes.io/component"]
        assert (
            volumes & {"tls", "callers", "tokens"}
            == {
                "api": {"tls", "callers", "tokens"},
                "worker": {"tokens"},
                "ingress": set(),
            }[role]
        )


def test_files_of_the_lock_are_mounted_where_the_settings_look_for_them() -> None:
    """Certificates of callers too, once they are asked for."""
    objects = chart.render_objects(sets=["grpc.tls.clientCa=true"])
    pod = pod_of(objects)
    (container,) = pod["containers"]
    folders = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    items = {volume["name"]: volume["secret"]["items"] for volume in pod["volumes"] if "secret" in volume}
    settings = settings_of(container)
    for name in ("TLS_CERT_FILE", "TLS_KEY_FILE", "CLIENT_CA_FILE", "CALLERS_FILE"):
        folder, _, file = settings[f"EXCHANGE_GRPC__{name}"].rpartition("/")
        assert file in {item["path"] for item in items[folders[folder]]}, name


@pytest.mark.parametrize("case", [case for case in ALL_IN_ONE if case != "no-address"], indirect=True)
def test_services_reach_the_pod(objects: list[KubeObject]) -> None:
    deployment = chart.only(objects, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    for service in (chart.only(objects, "Service", "-grpc"), chart.only(objects, "Service", "-webhook")):
        assert service["spec"]["selector"] == deployment["selector"]["matchLabels"]
        assert service["spec"]["selector"].items() <= labels.items()
    assert chart.only(objects, "Service", "-grpc")["spec"]["clusterIP"] == "None"


def test_ingress_has_the_two_webhook_paths_and_tls() -> None:
    objects = chart.render_objects()
    ingress = chart.only(objects, "Ingress")["spec"]
    assert ingress.keys() == {"tls", "rules"}, "a default backend would open every path"
    assert ingress["tls"] == [{"hosts": ["hooks.example.com"], "secretName": "hooks-tls"}]
    (rule,) = ingress["rules"]
    assert rule["host"] == "hooks.example.com"
    assert [(p["path"], p["pathType"]) for p in rule["http"]["paths"]] == [
        ("/graph/notifications", "Exact"),
        ("/graph/lifecycle", "Exact"),
    ]
    webhook = chart.only(objects, "Service", "-webhook")
    backend = {"name": webhook["metadata"]["name"], "port": {"name": "webhook"}}
    assert all(p["backend"]["service"] == backend for p in rule["http"]["paths"])


def test_policy_names_one_caller_for_each_port() -> None:
    policy = chart.only(chart.render_objects(), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    callers = {rule["ports"][0]["port"]: rule["from"] for rule in policy["ingress"] if len(rule["ports"]) == 1}
    assert callers == {
        50551: [{"podSelector": {"matchLabels": {"exchange-sidecar-client": "true"}}}],
        8080: [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}],
        9464: [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    }


def test_without_a_public_url_nothing_serves_webhooks() -> None:
    objects = chart.render_objects("no-address")
    assert [o["metadata"]["name"] for o in objects if o["kind"] == "Service"] == ["demo-exchange-sidecar-grpc"]
    rules = chart.only(objects, "NetworkPolicy")["spec"]["ingress"]
    assert [rule["ports"][0]["port"] for rule in rules] == [50551, 9464]


def test_policy_keeps_the_pod_from_the_metadata_address() -> None:
    policy = chart.only(chart.render_objects(), "NetworkPolicy")["spec"]
    dns, microsoft = policy["egress"]
    assert {p["port"] for p in dns["ports"]} == {53}
    assert [p["port"] for p in microsoft["ports"]] == [443]
    blocks = {to["ipBlock"]["cidr"]: to["ipBlock"]["except"] for to in microsoft["to"]}
    assert "169.254.0.0/16" in blocks["0.0.0.0/0"]
    assert all(":" in cidr for cidr in blocks["::/0"])


@pytest.mark.parametrize("case", [case for case in ALL_IN_ONE if case != "postgres"], indirect=True)
def test_one_pod_at_a_time_owns_the_store(objects: list[KubeObject]) -> None:
    deployment = chart.only(objects, "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})


def test_pods_that_share_a_database_are_replaced_one_by_one() -> None:
    deployment = chart.only(chart.render_objects("postgres"), "Deployment")["spec"]
    rolling = {"maxUnavailable": 0, "maxSurge": 1}
    assert deployment["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}


def test_store_is_kept_unless_asked_otherwise() -> None:
    claim = chart.only(chart.render_objects(), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    volumes = {case: pod_of(chart.render_objects(case))["volumes"][0] for case in ALL_IN_ONE}
    assert volumes["default"]["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
    assert volumes["no-ingress"]["persistentVolumeClaim"] == {"claimName": "exchange-store"}
    assert volumes["ephemeral"]["emptyDir"] == {"sizeLimit": "1Gi"}


def test_pod_labels_cannot_take_the_pod_from_its_services() -> None:
    objects = chart.render_objects(sets=[r"podLabels.app\.kubernetes\.io/name=other"])
    labels = chart.only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "exchange-sidecar"


def test_digest_decides_over_the_tag() -> None:
    (container,) = pod_of(chart.render_objects("no-ingress"))["containers"]
    assert re.fullmatch(r"registry\.example\.com/exchange-sidecar:[0-9.]+@sha256:[0-9a-f]{64}", container["image"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("replicas=2", "replicas is 2: the SQLite store belongs to one process, so run 1 replica, or set"),
        ("image.repository=", "image.repository is empty: name the image in your registry"),
        ("grpc.tls.secretName=", "grpc.tls.secretName is empty: gRPC would cross the network without TLS"),
        ("grpc.callers.existingSecret=", "grpc.callers.existingSecret is empty: whoever reaches the port could"),
        ("webhook.publicUrl=", "webhook.publicUrl is empty: name the https address of the Ingress"),
        ("webhook.publicUrl=https://hooks.example.com:8443", "webhook.publicUrl names a port"),
        ("webhook.publicUrl=https://hooks.example.com/base", "webhook.publicUrl has a path"),
        ("vault.existingSecret=", "vault.existingSecret is empty: create a secret with the key ring"),
        ("ingress.tls.secretName=", "ingress.tls.secretName is empty: Microsoft calls HTTPS only"),
        ("probes.port=8080", "grpc.port, webhook.port and probes.port must differ"),
        ("networkPolicy.grpc.podLabels=null", "networkPolicy.grpc.podLabels is empty: an empty selector admits"),
        ("networkPolicy.metrics.namespaceLabels=null", "networkPolicy.metrics.namespaceLabels is empty"),
        ("mode=split", "mode is split: the SQLite store belongs to one process"),
        ("settings.EXCHANGE_ROLES=api", "settings.EXCHANGE_ROLES is set by the chart itself"),
        ("settings.EXCHANGE_TASKS__RUNNER=procrastinate", "its queue is in a PostgreSQL; name the secret"),
        ("persistence.enabled=false,persistence.existingClaim=mine", "the claim would stay unused"),
        ("terminationGracePeriodSeconds=20", "terminationGracePeriodSeconds is 20: the service takes up to 25 seconds"),
        ("settings.EXCHANGE_PROFILE=sidecar", "settings.EXCHANGE_PROFILE is set by the chart itself"),
    ],
)
def test_impossible_choice_is_refused_with_a_sentence(change: str, sentence: str) -> None:
    assert sentence in refusal(change)


def test_problems_are_reported_together() -> None:
    said = refusal("replicas=3", "vault.existingSecret=", "image.repository=")
    assert said.count("\n  - ") == 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("replica=1", "replica is not allowed"),
        ("grpc.token=true", "token is not allowed"),
        ("vault.keyRing=canary", "keyRing is not allowed"),
        ("mode=both", "mode must be one of"),
        ("split.worker.roles=api", "roles is not allowed"),
        ("vault=null", "vault is required"),
        ("webhook.publicUrl=http://hooks.example.com", "webhook.publicUrl"),
        ("persistence.accessMode=ReadWriteMany", "persistence.accessMode"),
        ("settings.PATH=/bin", "PATH"),
        ("settings.EXCHANGE_ADMIN__PASSWORD=canary", "EXCHANGE_ADMIN__PASSWORD"),
    ],
)
def test_schema_refuses_what_it_does_not_know(change: str, complaint: str) -> None:
    said = refusal(change)
    assert "don't meet the specifications of the schema" in said
    assert complaint in said
    assert "canary" not in said


@pytest.mark.parametrize(("case", "protocol"), [("default", "https"), ("ephemeral", "kubernetes.io/h2c")])
def test_service_tells_meshes_whether_grpc_is_in_tls(case: str, protocol: str) -> None:
    (port,) = chart.only(chart.render_objects(case), "Service", "-grpc")["spec"]["ports"]
    assert port["appProtocol"] == protocol


def test_chart_works_inside_another_chart(tmp_path: Path) -> None:
    parent = chart.make_parent(tmp_path, {"global": {"imageRegistry": "example.com"}, CHART.name: {"enabled": True}})
    assert chart.only(chart.render_objects(None, chart=parent), "Deployment")
    assert chart.render(None, chart=parent, sets=[f"{CHART.name}.enabled=false"]).strip() == ""
    with pytest.raises(ChartRefused, match="bogus is not allowed"):
        chart.render(None, chart=parent, sets=[f"{CHART.name}.bogus=1"])


def test_every_object_of_a_case_is_made_inside_another_chart_too(tmp_path: Path) -> None:
    split = yaml.safe_load(chart.values_file("split").read_text(encoding="utf-8"))
    parent = chart.make_parent(tmp_path, {CHART.name: {**split, "global": {"team": "rooms"}}})
    inside = {(o["kind"], o["metadata"]["name"]) for o in chart.render_objects(None, chart=parent)}
    assert inside == {(o["kind"], o["metadata"]["name"]) for o in chart.render_objects("split")}


@pytest.mark.parametrize(
    ("case", "warnings"),
    [("default", 0), ("no-ingress", 0), ("no-address", 1), ("ephemeral", 2), ("split", 0)],
    indirect=["case"],
)
def test_notes_warn_of_what_is_switched_off(case: str, warnings: int, tmp_path: Path) -> None:
    notes = chart.render_notes(case, tmp_path)
    assert notes.count("WARNING") == warnings
    assert ("/graph/notifications" in notes) == (case != "no-address")


def test_notes_name_every_secret_that_a_pod_would_wait_for(case: str, tmp_path: Path) -> None:
    notes = chart.render_notes(case, tmp_path)
    for pod in pods_of(chart.render_objects(case)):
        for secret in (volume["secret"] for volume in pod["volumes"] if "secret" in volume):
            assert f"{secret['secretName']}: {' '.join(item['key'] for item in secret['items'])}" in notes


def test_versions_are_the_project_s() -> None:
    described = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert described["version"] == described["appVersion"] == project["version"]


def test_packaged_chart_renders_the_same_and_leaves_the_cases_at_home(tmp_path: Path) -> None:
    """Alerts and dashboards are files that a template reads; what installs the chart reads the package."""
    made = chart.run_helm("package", CHART, "--destination", tmp_path)
    assert made.returncode == 0, made.stderr
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        names = archive.getnames()
    assert not [name for name in names if "/ci/" in name]
    everything = ["monitoring.rules.enabled=true", "monitoring.dashboards.enabled=true"]
    rendered = chart.render("split", chart=package, sets=everything)
    assert rendered == chart.render("split", sets=everything)
    chart.check_valid([o for o in yaml.safe_load_all(rendered) if o], chart.KUBE_VERSION)
    assert "kind: PrometheusRule" in rendered


def test_table_of_values_is_current() -> None:
    command = [sys.executable, str(ROOT / "helm" / "values_table.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
