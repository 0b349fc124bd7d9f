"""Run Helm on the chart and read what it renders.

Only the pinned Helm in `.tools` counts: goldens are compared by text, and other versions may space it differently. Run as
a module, this rewrites the goldens. What a rendered chart must be like belongs in the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from tests.support import custom_objects

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "exchange-sidecar"
HELM = ROOT / ".tools" / "bin" / "helm"
CASES = ("default", "no-ingress", "no-address", "ephemeral", "postgres", "split")
# The newest version of the schemas that were there when the goldens were made; nothing in the chart depends on it.
KUBE_VERSION = "1.37.0"

# A Kubernetes object has no fixed type: its shape is what the tests look at.
KubeObject = dict[str, Any]


class ChartRefused(Exception):
    """Helm did not render; the message is Helm's."""


def values_file(case: str) -> Path:
    """Where the values of a case are."""
    return CHART / "ci" / f"{case}-values.yaml"


def golden_file(case: str) -> Path:
    """Where the expected manifests of a case are."""
    return CHART / "ci" / f"{case}-golden.yaml"


def run_helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Helm without the person's own Helm folders, so that their plugins and repositories change nothing."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(ROOT / ".tools" / "home")}
    command = [str(HELM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


def render(
    case: str | Path | None = "default",
    *,
    chart: Path = CHART,
    sets: Sequence[str] = (),
    kube_version: str = KUBE_VERSION,
) -> str:
    """Render one case as release `demo` in namespace `rooms`.

    Args:
        case: the name of one of CASES, or a file of values; none means the chart's own.
        sets: further values as Helm's `--set` takes them.

    Raises:
        ChartRefused: the schema or a template refused the values.
    """
    arguments: list[str | Path] = ["template", "demo", chart, "--namespace", "rooms", "--kube-version", kube_version]
    if case is not None:
        arguments += ["--values", values_file(case) if isinstance(case, str) else case]
    for change in sets:
        arguments += ["--set", change]
    result = run_helm(*arguments)
    if result.returncode:
        raise ChartRefused(result.stderr)
    return result.stdout


def render_objects(
    case: str | Path | None = "default",
    *,
    chart: Path = CHART,
    sets: Sequence[str] = (),
    kube_version: str = KUBE_VERSION,
) -> list[KubeObject]:
    """Render like `render` and read the manifests; empty documents are left out."""
    manifests = render(case, chart=chart, sets=sets, kube_version=kube_version)
    return [document for document in yaml.safe_load_all(manifests) if document]


def refusal(*sets: str, case: str = "default") -> str:
    """Return what Helm says when it refuses these changes to a case; fail when it takes them."""
    try:
        render(case, sets=sets)
    except ChartRefused as refused:
        return str(refused)
    raise AssertionError(f"the chart took {', '.join(sets)}")


def check_valid(objects: Sequence[KubeObject], kube_version: str) -> None:
    """Fail unless every object is what this version of Kubernetes, or the definition of its kind, allows."""
    for rendered in objects:
        if custom_objects.is_custom(rendered):
            assert custom_objects.mistakes(rendered) == [], rendered["kind"]
        else:
            kubernetes_validate.validate(rendered, kube_version, strict=True)


def render_notes(case: str, folder: Path) -> str:
    """Render the notes of one case; `helm template` leaves them out, so a copy of the chart carries them in an object."""
    copied = shutil.copytree(CHART, folder / CHART.name)
    shutil.copy(copied / "templates" / "NOTES.txt", copied / "notes")
    carrier = 'kind: Notes\nmetadata: {name: notes}\ntext: {{ tpl (.Files.Get "notes") . | toJson }}\n'
    (copied / "templates" / "carrier.yaml").write_text(carrier, encoding="utf-8")
    return str(only(render_objects(case, chart=copied), "Notes")["text"])


def make_parent(folder: Path, values: dict[str, KubeObject]) -> Path:
    """Make a chart that has this one as its part, with the default case's values beside the given ones."""
    dependency = {"name": CHART.name, "version": "*", "condition": f"{CHART.name}.enabled"}
    described = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}
    default = yaml.safe_load(values_file("default").read_text(encoding="utf-8"))
    merged = {**values, CHART.name: {**default, **values.get(CHART.name, {})}}
    shutil.copytree(CHART, folder / "charts" / CHART.name)
    for name, content in {"Chart.yaml": described, "values.yaml": merged}.items():
        (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def only(objects: Sequence[KubeObject], kind: str, suffix: str = "") -> KubeObject:
    """Return the one object of this kind whose name ends so."""
    found = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(suffix)]
    assert len(found) == 1, f"{len(found)} objects of kind {kind} ending in {suffix!r}"
    return found[0]


def pods_of(objects: Sequence[KubeObject]) -> list[KubeObject]:
    """Return the specs of the pods that the Deployments make."""
    return [o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Deployment"]


def pod_of(objects: Sequence[KubeObject]) -> KubeObject:
    """Return the spec of the pod that the only Deployment makes."""
    (pod,) = pods_of(objects)
    return pod


def containers(objects: Sequence[KubeObject]) -> list[KubeObject]:
    """Return all containers of the pods, init containers first."""
    return [container for pod in pods_of(objects) for container in [*pod.get("initContainers", []), *pod["containers"]]]


def settings_of(container: KubeObject) -> dict[str, str]:
    """Return a container's environment; a variable that is not a plain value raises KeyError."""
    return {variable["name"]: variable["value"] for variable in container["env"]}


def write_goldens() -> None:
    """Make every golden what the chart renders now."""
    for case in CASES:
        golden_file(case).write_text(render(case), encoding="utf-8")


if __name__ == "__main__":
    write_goldens()
    sys.exit(0)
