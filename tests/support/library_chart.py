"""Render the library chart through the example app that uses it, and through small charts made for one question.

Charts are copied before their dependency is built, so that a run leaves nothing in the source tree. Run as a module, this
rewrites the goldens.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.support import chart
from tests.support.chart import KUBE_VERSION, ROOT, ChartRefused, KubeObject, run_helm

LIBRARY = ROOT / "helm" / "exchange-sidecar-lib"
EXAMPLE = ROOT / "helm" / "example-app"
CASES = ("default", "webhooks", "postgres")


def values_file(case: str) -> Path:
    """Where the values of a case are."""
    return EXAMPLE / "ci" / f"{case}-values.yaml"


def golden_file(case: str) -> Path:
    """Where the expected manifests of a case are."""
    return EXAMPLE / "ci" / f"{case}-golden.yaml"


def build_example(folder: Path) -> Path:
    """Copy the example and its library into a folder and build the dependency, as an app team does; return the example."""
    for source in (LIBRARY, EXAMPLE):
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    return _build(folder / EXAMPLE.name)


def build_app(folder: Path, templates: dict[str, str], values: KubeObject) -> Path:
    """Make a chart of some templates that has the library as its dependency; return it."""
    dependency = {"name": LIBRARY.name, "alias": "exchange", "version": "*", "repository": f"file://{LIBRARY}"}
    described = {"apiVersion": "v2", "name": "my-app", "version": "1.0.0", "dependencies": [dependency]}
    app = folder / "my-app"
    (app / "templates").mkdir(parents=True)
    for name, content in {"Chart.yaml": described, "values.yaml": values}.items():
        (app / name).write_text(yaml.safe_dump(content), encoding="utf-8")
    for name, text in templates.items():
        (app / "templates" / name).write_text(text, encoding="utf-8")
    return _build(app)


def _build(source: Path) -> Path:
    result = run_helm("dependency", "build", source)
    if result.returncode:
        raise ChartRefused(result.stderr)
    return source


def render(
    built: Path, case: str | None = "default", *, sets: Sequence[str] = (), kube_version: str = KUBE_VERSION
) -> str:
    """Render a built chart as `chart.render` does; the cases are the example's."""
    return chart.render(_values(case), chart=built, sets=sets, kube_version=kube_version)


def render_objects(
    built: Path, case: str | None = "default", *, sets: Sequence[str] = (), kube_version: str = KUBE_VERSION
) -> list[KubeObject]:
    """Render like `render` and read the manifests."""
    return chart.render_objects(_values(case), chart=built, sets=sets, kube_version=kube_version)


def _values(case: str | None) -> Path | None:
    return None if case is None else values_file(case)


def pod_specs(objects: Sequence[KubeObject]) -> dict[str, KubeObject]:
    """Return the specs of all pods by the kind that runs them."""
    specs = {}
    for one in objects:
        if one["kind"] in {"Deployment", "StatefulSet", "Job"}:
            specs[one["kind"]] = one["spec"]["template"]["spec"]
        elif one["kind"] == "CronJob":
            specs[one["kind"]] = one["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return specs


def sidecar_of(pod: KubeObject) -> KubeObject:
    """Return the only init container, which is the service."""
    (container,) = pod["initContainers"]
    assert container["name"] == "exchange-sidecar"
    return dict(container)


def app_of(pod: KubeObject) -> KubeObject:
    """Return the only container of the app."""
    (container,) = pod["containers"]
    return dict(container)


def write_goldens() -> None:
    """Make every golden what the example renders now."""
    with tempfile.TemporaryDirectory() as folder:
        built = build_example(Path(folder))
        for case in CASES:
            golden_file(case).write_text(render(built, case), encoding="utf-8")


if __name__ == "__main__":
    write_goldens()
    sys.exit(0)
