"""The library chart, through the example app: what it puts into a pod, what it refuses, and that its documents are current."""

from __future__ import annotations

import re
import shutil
import textwrap
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from sidecar.settings import load_settings
from tests.support import chart as application_chart
from tests.support import library_chart
from tests.support.chart import HELM, ROOT, ChartRefused, KubeObject, only, run_helm, settings_of
from tests.support.library_chart import (
    CASES,
    EXAMPLE,
    LIBRARY,
    app_of,
    build_app,
    build_example,
    pod_specs,
    render,
    render_objects,
    sidecar_of,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not HELM.exists(), reason="Helm is not in .tools/bin; run: sh .ci/tools"),
]

CUSTOM = {"HTTPRoute"}
"""Kinds that are no part of Kubernetes itself, and of which it has no schema."""
DICT = '(dict "root" $ "workload" "{workload}" "replicas" 1 "name" .Release.Name "labels" dict "selectorLabels" dict)'
NEEDED = {"image": {"repository": "example.com/sidecar"}, "vault": {"existingSecret": "ring"}}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example app's chart with its dependency built."""
    return build_example(tmp_path_factory.mktemp("charts"))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    """Name of one file of values in the example's ci folder."""
    return str(request.param)


@pytest.fixture
def objects(example: Path, case: str) -> list[KubeObject]:
    """What one case renders."""
    return render_objects(example, case)


@pytest.fixture
def pods(objects: list[KubeObject]) -> list[KubeObject]:
    """The pods of one case: the Deployment's, and the CronJob's where there is one."""
    return list(pod_specs(objects).values())


def refusal(example: Path, *sets: str, case: str = "default", kube_version: str = "1.33.0") -> str:
    """What Helm says when it refuses these changes to a case."""
    with pytest.raises(ChartRefused) as refused:
        render(example, case, sets=sets, kube_version=kube_version)
    return str(refused.value)


def test_dependency_is_built_without_a_network(example: Path) -> None:
    assert [path.name for path in (example / "charts").iterdir()] == ["exchange-sidecar-lib-0.1.0.tgz"]


def test_lint_finds_nothing(example: Path, case: str) -> None:
    result = run_helm("lint", "--strict", example, "--values", library_chart.values_file(case))
    assert result.returncode == 0, result.stdout + result.stderr


def test_lint_of_the_library_finds_nothing() -> None:
    result = run_helm("lint", "--strict", LIBRARY)
    assert result.returncode == 0, result.stdout + result.stderr


def test_render_equals_golden(example: Path, case: str) -> None:
    assert render(example, case) == library_chart.golden_file(case).read_text(encoding="utf-8")


@pytest.mark.parametrize("minor", range(29, 38))
def test_render_is_valid_for_kubernetes(example: Path, case: str, minor: int) -> None:
    version = f"1.{minor}.0"
    for rendered in render_objects(example, case, kube_version=version):
        if rendered["kind"] not in CUSTOM:
            assert kubernetes_validate.validate(rendered, version, strict=True) == f"1.{minor}"


def test_sidecar_is_native(pods: list[KubeObject]) -> None:
    for pod in pods:
        sidecar = sidecar_of(pod)
        assert sidecar["restartPolicy"] == "Always"
        assert sidecar["startupProbe"]["httpGet"] == {"path": "/startupz", "port": "exch-probes"}
        assert {"name": "exch-probes", "containerPort": 9464} in sidecar["ports"]


def test_pod_meets_the_restricted_standard(pods: list[KubeObject]) -> None:
    for pod in pods:
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all(volume.keys() & {"emptyDir", "secret", "persistentVolumeClaim"} for volume in pod["volumes"])
        for container in (sidecar_of(pod), app_of(pod)):
            security = {**pod["securityContext"], **container["securityContext"]}
            assert security["runAsNonRoot"] is True
            assert security["runAsUser"] > 0
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["readOnlyRootFilesystem"] is True


def test_sidecar_is_restricted_whatever_the_pod_allows(pods: list[KubeObject]) -> None:
    for pod in pods:
        security = sidecar_of(pod)["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"], security["runAsGroup"]) == (True, 65532, 65532)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}


def test_socket_is_on_a_memory_volume_that_the_app_shares_and_cannot_write_to(pods: list[KubeObject]) -> None:
    for pod in pods:
        (volume,) = [one for one in pod["volumes"] if one["name"] == "exchange-run"]
        assert volume["emptyDir"]["medium"] == "Memory"
        assert {"name": "exchange-run", "mountPath": "/run/exchange"} in sidecar_of(pod)["volumeMounts"]
        assert app_of(pod)["volumeMounts"] == [{"name": "exchange-run", "mountPath": "/run/exchange", "readOnly": True}]
        socket = settings_of(sidecar_of(pod))["EXCHANGE_GRPC__SOCKET"]
        assert settings_of(app_of(pod))["EXCHANGE_TARGET"] == f"unix://{socket}"
        assert socket.startswith("/run/exchange/app/")


def test_app_has_another_user_and_the_group_of_the_socket(pods: list[KubeObject]) -> None:
    for pod in pods:
        assert pod["securityContext"]["fsGroup"] == 65532
        assert pod["securityContext"]["runAsUser"] != sidecar_of(pod)["securityContext"]["runAsUser"]


def test_secrets_are_files_of_the_sidecar_only(pods: list[KubeObject]) -> None:
    for pod in pods:
        secrets = {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
        assert "exchange-vault" in secrets
        assert all(secret["defaultMode"] == 0o440 for secret in secrets.values())
        mounts = {mount["name"]: mount for mount in sidecar_of(pod)["volumeMounts"]}
        assert all(mounts[name]["readOnly"] is True for name in secrets)
        assert not secrets.keys() & {mount["name"] for mount in app_of(pod)["volumeMounts"]}
        for container in (sidecar_of(pod), app_of(pod)):
            assert "envFrom" not in container
            for variable in container["env"]:
                assert variable.keys() == {"name", "value"}, "a secret would come as valueFrom"


def test_no_secret_is_in_the_manifests(objects: list[KubeObject]) -> None:
    assert not [one for one in objects if one["kind"] in {"Secret", "ConfigMap"}]


def test_service_takes_the_rendered_settings(pods: list[KubeObject], monkeypatch: pytest.MonkeyPatch) -> None:
    for pod in pods:
        sidecar = sidecar_of(pod)
        with monkeypatch.context() as patch:
            for name, value in settings_of(sidecar).items():
                patch.setenv(name, value)
            settings = load_settings()
        assert settings.profile == "sidecar"
        folders = [mount["mountPath"] for mount in sidecar["volumeMounts"]]
        for file in (settings.grpc.socket, settings.store.path, settings.vault.key_ring_file):
            assert any(str(file).startswith(f"{folder}/") for folder in folders), file


def test_files_are_mounted_where_the_settings_look_for_them(pods: list[KubeObject]) -> None:
    for pod in pods:
        sidecar = sidecar_of(pod)
        folders = {mount["mountPath"]: mount["name"] for mount in sidecar["volumeMounts"]}
        items = {volume["name"]: volume["secret"]["items"] for volume in pod["volumes"] if "secret" in volume}
        settings = settings_of(sidecar)
        for name in ("EXCHANGE_VAULT__KEY_RING_FILE", "EXCHANGE_STORE__DSN_FILE"):
            if name in settings:
                folder, _, file = settings[name].rpartition("/")
                assert [item["path"] for item in items[folders[folder]]] == [file]


def test_token_of_the_cluster_is_a_file_of_the_sidecar_for_microsoft_only(example: Path) -> None:
    objects = render_objects(example, sets=["exchange.federation.enabled=true"])
    pod = pod_specs(objects)["Deployment"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == "exchange-tokens"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "api://AzureADTokenExchange"
    (mount,) = [one for one in sidecar_of(pod)["volumeMounts"] if one["name"] == "exchange-tokens"]
    assert mount["readOnly"] is True
    assert settings_of(sidecar_of(pod))["EXCHANGE_CREDENTIALS__TOKEN_FILES_FOLDER"] == mount["mountPath"]
    assert "exchange-tokens" not in [one["name"] for one in app_of(pod)["volumeMounts"]]
    for rendered in objects:
        assert kubernetes_validate.validate(rendered, "1.33.0", strict=True) == "1.33"


def test_authority_of_the_postgres_lies_beside_its_uri_where_the_driver_looks(example: Path) -> None:
    for pod in pod_specs(render_objects(example, "postgres", sets=["exchange.postgres.caKey=ca.pem"])).values():
        (volume,) = [one for one in pod["volumes"] if one["name"] == "exchange-postgres"]
        (mount,) = [one for one in sidecar_of(pod)["volumeMounts"] if one["name"] == "exchange-postgres"]
        assert {"key": "ca.pem", "path": "ca.crt"} in volume["secret"]["items"]
        assert settings_of(sidecar_of(pod))["PGSSLROOTCERT"] == f"{mount['mountPath']}/ca.crt"


def test_collector_is_spoken_to_with_files_of_the_sidecar(example: Path) -> None:
    collector = ["exchange.telemetry.otlpEndpoint=https://collector.example.com", "exchange.telemetry.traceRatio=0.5"]
    secrets = ["exchange.telemetry.headers.existingSecret=otlp", "exchange.telemetry.ca.existingSecret=otlp-ca"]
    pod = pod_specs(render_objects(example, sets=[*collector, *secrets]))["Deployment"]
    settings = settings_of(sidecar_of(pod))
    assert settings["EXCHANGE_TELEMETRY__OTLP_ENDPOINT"] == "https://collector.example.com"
    assert settings["EXCHANGE_TELEMETRY__TRACE_RATIO"] == "0.5"
    mounts = {mount["name"]: mount["mountPath"] for mount in sidecar_of(pod)["volumeMounts"]}
    files = {
        f"{mounts[volume['name']]}/{item['path']}": volume["secret"]["secretName"]
        for volume in pod["volumes"]
        if "secret" in volume
        for item in volume["secret"]["items"]
    }
    assert files[settings["EXCHANGE_TELEMETRY__OTLP_HEADERS_FILE"]] == "otlp"
    assert files[settings["EXCHANGE_TELEMETRY__OTLP_CA_FILE"]] == "otlp-ca"


def test_pod_has_each_port_name_and_volume_once(pods: list[KubeObject]) -> None:
    for pod in pods:
        volumes = [volume["name"] for volume in pod["volumes"]]
        assert len(volumes) == len(set(volumes))
        mounted = {mount["name"] for one in (sidecar_of(pod), app_of(pod)) for mount in one["volumeMounts"]}
        assert mounted == set(volumes)


def test_sidecar_is_on_loopback_only_if_asked(example: Path) -> None:
    addresses = {
        case: settings_of(sidecar_of(pod_specs(render_objects(example, case))["Deployment"]))[
            "EXCHANGE_GRPC__ADDRESSES"
        ]
        for case in CASES
    }
    assert addresses == {"default": "[]", "webhooks": '["127.0.0.1:50551"]', "postgres": "[]"}


def test_job_has_a_sidecar_that_only_serves(example: Path) -> None:
    objects = render_objects(example, "postgres")
    pod = pod_specs(objects)["CronJob"]
    assert pod["restartPolicy"] == "Never"
    settings = settings_of(sidecar_of(pod))
    assert settings["EXCHANGE_ROLES"] == "api"
    assert "EXCHANGE_WEBHOOK__PUBLIC_URL" not in settings
    assert [port["name"] for port in sidecar_of(pod)["ports"]] == ["exch-probes"]
    labels = only(objects, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    selector = only(objects, "Service", "-webhook")["spec"]["selector"]
    assert not selector.items() <= labels.items(), "webhooks would come to a pod that takes none"


def test_ways_in_have_the_two_webhook_paths_and_lead_to_the_pods(example: Path) -> None:
    paths = ["/graph/notifications", "/graph/lifecycle"]
    objects = render_objects(example, "webhooks")
    service = only(objects, "Service", "-webhook")
    labels = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["ports"][0]["targetPort"] == "exch-webhook"
    ingress = only(objects, "Ingress")["spec"]
    assert ingress.keys() == {"ingressClassName", "tls", "rules"}, "a default backend would open every path"
    (rule,) = ingress["rules"]
    assert [(one["path"], one["pathType"]) for one in rule["http"]["paths"]] == [(path, "Exact") for path in paths]
    backend = {"name": service["metadata"]["name"], "port": {"name": "webhook"}}
    assert all(one["backend"]["service"] == backend for one in rule["http"]["paths"])
    (rule,) = only(render_objects(example, "postgres"), "HTTPRoute")["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "Exact", "value": path}, "method": "POST"} for path in paths]
    assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": 50552}]


@pytest.mark.parametrize(("case", "ways"), [("webhooks", [("/", "Prefix")]), ("postgres", [("/", "PathPrefix")])])
def test_word_before_the_paths_is_a_file_and_in_no_manifest(
    example: Path, case: str, ways: list[tuple[str, str]]
) -> None:
    objects = render_objects(example, case, sets=["exchange.webhook.pathSecrets.existingSecret=exchange-words"])
    pod = pod_specs(objects)["Deployment"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == "exchange-webhook"]
    (mount,) = [one for one in sidecar_of(pod)["volumeMounts"] if one["name"] == "exchange-webhook"]
    assert volume["secret"]["secretName"] == "exchange-words"
    file = settings_of(sidecar_of(pod))["EXCHANGE_WEBHOOK__PATH_SECRETS_FILE"]
    assert file == f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"
    if case == "webhooks":
        (rule,) = only(objects, "Ingress")["spec"]["rules"]
        assert [(one["path"], one["pathType"]) for one in rule["http"]["paths"]] == ways
    else:
        (rule,) = only(objects, "HTTPRoute")["spec"]["rules"]
        assert [(one["path"]["value"], one["path"]["type"]) for one in rule["matches"]] == ways
        assert "exchange-webhook" not in [one["name"] for one in pod_specs(objects)["CronJob"]["volumes"]]


def test_policies_cover_the_app_and_its_job(example: Path) -> None:
    objects = render_objects(example, "postgres")
    policies = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "NetworkPolicy"}
    assert policies.keys() == {"demo-exchange", "demo-report-exchange"}
    ports = {name: [rule["ports"][0]["port"] for rule in spec["ingress"]] for name, spec in policies.items()}
    assert ports == {"demo-exchange": [50552, 9464], "demo-report-exchange": [9464]}
    for spec in policies.values():
        assert [rule["ports"][0]["port"] for rule in spec["egress"]] == [53, 443, 5432]


def test_one_pod_at_a_time_opens_an_sqlite_file(example: Path) -> None:
    strategies = {case: only(render_objects(example, case), "Deployment")["spec"]["strategy"] for case in CASES}
    assert strategies["default"] == strategies["webhooks"] == {"type": "Recreate"}
    assert strategies["postgres"]["type"] == "RollingUpdate"


def test_made_claim_outlives_the_release_and_is_the_one_that_is_mounted(example: Path) -> None:
    objects = render_objects(example)
    claim = only(objects, "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert pod_specs(objects)["Deployment"]["volumes"][0]["persistentVolumeClaim"] == {
        "claimName": claim["metadata"]["name"]
    }


def test_stateful_set_brings_the_claim_of_its_own(tmp_path: Path) -> None:
    given = DICT.format(workload="StatefulSet")
    templates = {
        "all.yaml": (
            "kind: Pieces\nmetadata: {name: pieces}\n"
            f'volumes:\n{{{{ include "exchange-sidecar-lib.volumes" {given} | indent 2 }}}}\n'
            f'claims:\n{{{{ include "exchange-sidecar-lib.volumeClaimTemplates" {given} | indent 2 }}}}\n'
        ),
        "objects.yaml": f'{{{{ include "exchange-sidecar-lib.objects" {given} }}}}\n',
    }
    app = build_app(tmp_path, templates, {"exchange": {**NEEDED, "store": {"type": "template"}}})
    (pieces,) = render_objects(app, None)
    assert [claim["metadata"]["name"] for claim in pieces["claims"]] == ["exchange-store"]
    assert "exchange-store" not in [volume["name"] for volume in pieces["volumes"]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("replicas=2", "replicas is 2: the SQLite store belongs to one process, and each pod would have a copy"),
        ("exchange.image.repository=", "exchange.image.repository is empty: name the image in your registry"),
        ("exchange.vault.existingSecret=", "exchange.vault.existingSecret is empty: create a secret with the key ring"),
        ("report.enabled=true", "exchange.store.type is claim in a CronJob: its pod would begin with no tenant"),
        ("exchange.store.type=template", "exchange.store.type is template in a Deployment"),
        ("exchange.store.type=postgres", "exchange.postgres.existingSecret is empty"),
        ("exchange.settings.EXCHANGE_TASKS__RUNNER=procrastinate", "exchange.store.type is claim: its queue is in a"),
        ("exchange.postgres.caKey=ca.pem", "exchange.postgres.caKey is set and exchange.store.type is claim"),
        (
            "exchange.postgres.existingSecret=pg",
            "exchange.postgres.existingSecret is set and exchange.store.type is claim",
        ),
        ("exchange.ingress.enabled=true", "exchange.webhook.publicUrl is empty: name the https address"),
        ("exchange.httpRoute.enabled=true", "exchange.httpRoute.parentRefs is empty: name the Gateway"),
        ("exchange.webhook.pathSecrets.existingSecret=words", "nobody is told the words"),
        ("exchange.telemetry.ca.existingSecret=otlp", "nothing is sent anywhere; name the collector"),
        ("exchange.probes.port=50552", "exchange.probes.port must differ"),
        ("exchange.settings.EXCHANGE_ROLES=api", "exchange.settings.EXCHANGE_ROLES is set by the chart itself"),
        ("exchange.settings.EXCHANGE_GRPC__SOCKET=/x", "exchange.settings.EXCHANGE_GRPC__SOCKET is set by the chart"),
    ],
)
def test_impossible_choice_is_refused_with_a_sentence(example: Path, change: str, sentence: str) -> None:
    assert sentence in refusal(example, change)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("exchange.ingress.tls.secretName=", "exchange.ingress.tls.secretName is empty: Microsoft calls HTTPS only"),
        ("exchange.webhook.publicUrl=https://a.example:8443", "exchange.webhook.publicUrl names a port"),
        ("exchange.webhook.publicUrl=https://a.example/base", "exchange.webhook.publicUrl has a path"),
        ("exchange.httpRoute.enabled=true", "exchange.ingress.enabled and exchange.httpRoute.enabled are both true"),
    ],
)
def test_webhooks_that_cannot_arrive_are_refused(example: Path, change: str, sentence: str) -> None:
    assert sentence in refusal(example, change, case="webhooks")


def test_collector_that_cannot_be_reached_as_wished_is_refused(example: Path) -> None:
    wished = "exchange.telemetry.otlpEndpoint=http://collector:4318"
    assert "would cross the network in the open" in refusal(
        example, wished, "exchange.telemetry.headers.existingSecret=otlp"
    )
    assert "the policy keeps the pods from the collector" in refusal(
        example, wished, "exchange.networkPolicy.enabled=true"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("exchange.networkPolicy.extraEgress=null", "the policy keeps the pods from every PostgreSQL"),
        (
            "exchange.store.existingClaim=mine",
            "exchange.store.existingClaim is set and exchange.store.type is postgres",
        ),
    ],
)
def test_policy_and_store_that_contradict_each_other_are_refused(example: Path, change: str, sentence: str) -> None:
    assert sentence in refusal(example, change, case="postgres")


def test_kubernetes_without_native_sidecars_is_refused_in_any_chart(tmp_path: Path) -> None:
    given = DICT.format(workload="Deployment")
    template = f'{{{{ include "exchange-sidecar-lib.objects" {given} }}}}\n'
    app = build_app(tmp_path, {"objects.yaml": template}, {"exchange": NEEDED})
    assert render(app, None, kube_version="1.29.0")
    with pytest.raises(ChartRefused, match=r"the cluster runs Kubernetes v1\.28\.0: a native sidecar needs 1\.29"):
        render(app, None, kube_version="1.28.0")


def test_problems_are_reported_together(example: Path) -> None:
    assert (
        refusal(example, "replicas=3", "exchange.vault.existingSecret=", "exchange.image.repository=").count("\n  - ")
        == 3
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("exchange.bogus=1", "bogus is not allowed"),
        ("exchange.vault.keyRing=canary", "keyRing is not allowed"),
        ("exchange.store.type=nfs", "store.type must be one of"),
        ("exchange.webhook.publicUrl=http://a.example", "webhook.publicUrl"),
        ("exchange.settings.EXCHANGE_X__PASSWORD=canary", "EXCHANGE_X__PASSWORD"),
    ],
)
def test_schema_refuses_what_it_does_not_know(example: Path, change: str, complaint: str) -> None:
    said = refusal(example, change)
    assert "don't meet the specifications of the schema" in said
    assert complaint in said
    assert "canary" not in said


def test_dependency_without_its_alias_is_told_so(tmp_path: Path) -> None:
    template = f'{{{{ include "exchange-sidecar-lib.objects" {DICT.format(workload="Deployment")} }}}}\n'
    app = build_app(tmp_path, {"objects.yaml": template}, {})
    described = yaml.safe_load((app / "Chart.yaml").read_text(encoding="utf-8"))
    del described["dependencies"][0]["alias"]
    (app / "Chart.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    with pytest.raises(ChartRefused, match="give the dependency `alias: exchange`"):
        render(app, None)


def test_both_charts_treat_the_service_alike() -> None:
    """The charts share no text, so this holds together what must not differ."""
    pod = application_chart.pod_of(application_chart.render_objects())
    (theirs,) = pod["containers"]
    chart = yaml.safe_load((EXAMPLE / "ci" / "default-golden.yaml").read_text(encoding="utf-8").split("\n---\n")[-1])
    ours = sidecar_of(chart["spec"]["template"]["spec"])
    for probe in ("livenessProbe", "readinessProbe"):
        assert {**ours[probe], "httpGet": {**ours[probe]["httpGet"], "port": "probes"}} == theirs[probe]
    assert theirs["securityContext"].items() <= ours["securityContext"].items()
    paths = {mount["mountPath"] for mount in ours["volumeMounts"]}
    assert paths <= {mount["mountPath"] for mount in theirs["volumeMounts"]}
    assert ours["resources"] == theirs["resources"]
    same = ("EXCHANGE_STORE__PATH", "EXCHANGE_VAULT__KEY_RING_FILE", "EXCHANGE_PROBES__LISTEN")
    assert {name: settings_of(ours)[name] for name in same} == {name: settings_of(theirs)[name] for name in same}


def test_versions_are_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    described = yaml.safe_load((LIBRARY / "Chart.yaml").read_text(encoding="utf-8"))
    values = yaml.safe_load((LIBRARY / "values.yaml").read_text(encoding="utf-8"))
    (dependency,) = yaml.safe_load((EXAMPLE / "Chart.yaml").read_text(encoding="utf-8"))["dependencies"]
    versions = {described["version"], described["appVersion"], values["image"]["tag"], dependency["version"]}
    assert versions == {project["version"]}


def blocks(text: str) -> list[str]:
    """Return what a document shows indented, as files and commands."""
    found = re.findall(r"(?:^ {7}.*\n|^\n(?= {7}))+", text, re.MULTILINE)
    return [textwrap.dedent(block).strip() + "\n" for block in found]


def test_chart_made_as_the_readme_says_is_valid(tmp_path: Path) -> None:
    """Its steps are run as written, with the library where it is in this source tree."""
    shown = blocks((LIBRARY / "README.md").read_text(encoding="utf-8"))
    (dependencies,) = [block for block in shown if block.startswith("dependencies:")]
    (values,) = [block for block in shown if block.startswith("exchange:")]
    (template,) = [block for block in shown if "kind: Deployment" in block]
    shutil.copytree(LIBRARY, tmp_path / LIBRARY.name)
    app = tmp_path / "my-app"
    (app / "templates").mkdir(parents=True)
    described = "apiVersion: v2\nname: my-app\nversion: 1.0.0\n" + dependencies
    for name, text in {"Chart.yaml": described, "values.yaml": values, "templates/my-app.yaml": template}.items():
        (app / name).write_text(text, encoding="utf-8")
    assert run_helm("dependency", "build", app).returncode == 0
    assert run_helm("lint", "--strict", app).returncode == 0
    objects = render_objects(app, None, kube_version="1.33.0")
    assert [one["kind"] for one in objects] == ["PersistentVolumeClaim", "Deployment"]
    for one in objects:
        assert kubernetes_validate.validate(one, "1.33.0", strict=True) == "1.33"
    pod = pod_specs(objects)["Deployment"]
    assert sidecar_of(pod)["restartPolicy"] == "Always"
    assert app_of(pod)["env"] == [{"name": "EXCHANGE_TARGET", "value": "unix:///run/exchange/app/exchange.sock"}]


def test_every_template_that_the_readme_names_exists() -> None:
    readme = (LIBRARY / "README.md").read_text(encoding="utf-8")
    defined = {
        name
        for path in (LIBRARY / "templates").iterdir()
        for name in re.findall(r'define "([^"]+)"', path.read_text(encoding="utf-8"))
    }
    named = set(re.findall(r"`(exchange-sidecar-lib\.[A-Za-z]+)`", readme))
    assert named
    assert named <= defined
