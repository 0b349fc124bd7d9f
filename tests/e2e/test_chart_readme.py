"""The platform's chapter of helm/README.md, held against what the chart renders for its example."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import chart
from tests.support.chart import CHART, ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not chart.HELM.exists(), reason="Helm is not in .tools/bin; run: sh .ci/tools"),
]


def chapter() -> str:
    """The text of the chapter."""
    text = (ROOT / "helm" / "README.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("## Install for a platform")
    return rest.partition("\n## ")[0]


def commands(program: str) -> list[list[str]]:
    """The chapter's commands of one program, without its name."""
    lines = re.findall(r"^ {7}(\S.*)$", chapter(), re.MULTILINE)
    return [words[1:] for words in map(shlex.split, lines) if words[0] == program]


@pytest.mark.parametrize("command", commands("exchange-sidecar"), ids=" ".join)
def test_commands_that_need_no_cluster_work_as_written(command: list[str], tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    program = [sys.executable, "-m", "sidecar", *command]
    done = subprocess.run(program, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_secrets_that_are_made_are_those_that_the_pods_mount() -> None:
    made: dict[str, set[str]] = {}
    for words in commands("kubectl"):
        if "secret" in words:
            name, *files = words[words.index("generic") + 1 :]
            made[name] = {file.removeprefix("--from-file=") for file in files}
    mounted: dict[str, set[str]] = {}
    for manifest in chart.render_objects("split"):
        spec = manifest["spec"]["template"]["spec"] if manifest["kind"] == "Deployment" else manifest.get("spec", {})
        for secret in (volume["secret"] for volume in spec.get("volumes", []) if "secret" in volume):
            mounted.setdefault(secret["secretName"], set()).update(item["key"] for item in secret["items"])
    assert made == mounted


def test_names_are_those_of_the_release_that_the_chapter_installs() -> None:
    (install,) = [words for words in commands("helm") if words[0] == "install"]
    values = CHART / "ci" / "split-values.yaml"
    rendered = chart.run_helm(
        "template", install[1], ROOT / install[2], "--values", values, "--kube-version", chart.KUBE_VERSION
    )
    names = {o["metadata"]["name"] for o in yaml.safe_load_all(rendered.stdout) if o}
    told = set(re.findall(r"exchange-exchange-sidecar-[a-z]+", chapter()))
    assert told
    assert told <= names
