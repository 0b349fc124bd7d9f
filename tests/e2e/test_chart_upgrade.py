"""An update of a release: values that were good stay good, and nothing changes that Kubernetes would refuse to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import chart, upgrades
from tests.support.chart import ChartRefused, KubeObject

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not chart.HELM.exists(), reason="Helm is not in .tools/bin; run: sh .ci/tools"),
]

RECORDED = [
    pytest.param(kept, id=f"{path.stem}-{case}")
    for path in upgrades.records()
    for case, kept in yaml.safe_load(path.read_text(encoding="utf-8")).items()
]


def lost(kept: KubeObject, now: KubeObject) -> list[str]:
    """What was fixed and is not as it was; more than there was is no loss."""
    changes = []
    for name, fields in kept.items():
        for field, value in fields.items():
            found: Any = now.get(name, {}).get(field)  # of any shape
            is_kept = value.items() <= found.items() if isinstance(value, dict) and found else value == found
            if not is_kept:
                changes.append(f"{name}: {field} was {value} and is {found}")
    return changes


@pytest.mark.parametrize("kept", RECORDED)
def test_values_of_a_version_before_still_install_and_change_nothing_that_is_fixed(
    kept: KubeObject, tmp_path: Path
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(kept["values"]), encoding="utf-8")
    objects = chart.render_objects(values)
    assert lost(kept["fixed"], upgrades.fixed_fields(objects)) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("fullnameOverride=other", "PersistentVolumeClaim/demo-exchange-sidecar"),
        ("nameOverride=rooms", "Deployment/demo-exchange-sidecar: selector"),
        ("persistence.existingClaim=other", "Deployment/demo-exchange-sidecar: volumes"),
        ("grpc.port=6001", "Service/demo-exchange-sidecar-grpc: ports"),
    ],
)
def test_change_that_would_break_an_update_is_seen(change: str, complaint: str) -> None:
    """The test above passes on whatever is not recorded."""
    kept = upgrades.fixed_fields(chart.render_objects("default"))
    assert complaint in "\n".join(lost(kept, upgrades.fixed_fields(chart.render_objects("default", sets=[change]))))


def test_values_without_a_new_one_s_default_are_refused() -> None:
    """So `--reuse-values`, which forgets the new chart's defaults, ends with a sentence and not with half a release."""
    with pytest.raises(ChartRefused, match="topologySpread is required"):
        chart.render("default", sets=["topologySpread=null"])
