"""What an update of a release may not change, recorded for each version of the chart that somebody may have installed.

Run as a module with the version that is being released, this writes the record of the chart as it is now, beside the cases
that it is made of; a later chart is rendered with the same values and compared.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from tests.support import chart
from tests.support.chart import CHART, KubeObject, settings_of

_HEADER = """\
# Values that releases of the chart {version} may have, and what of them Kubernetes lets nobody change, or what would lose
# the store: selectors, claims, headless Services, where the store is, and the secrets by name. Made by
# tests/support/upgrades.py; never edited, and kept for as long as an update from this version is supported.
"""


def records() -> list[Path]:
    """The records of all versions from which an update is supported."""
    return sorted((CHART / "ci").glob("upgrade-from-*.yaml"))


def fixed_fields(objects: Sequence[KubeObject]) -> KubeObject:
    """Return what an update must leave as it is, by `Kind/name`."""
    return {f"{o['kind']}/{o['metadata']['name']}": fields for o in objects if (fields := _fixed_of(o))}


def _fixed_of(rendered: KubeObject) -> KubeObject:
    spec = rendered.get("spec", {})
    match rendered["kind"]:
        case "Deployment":
            pod = spec["template"]["spec"]
            (container,) = pod["containers"]
            return {
                "selector": spec["selector"],
                "store": settings_of(container)["EXCHANGE_STORE__PATH"],
                "volumes": dict(_kept(pod["volumes"])),
            }
        case "Service":
            return {"clusterIP": spec.get("clusterIP", "given"), "ports": {p["name"]: p["port"] for p in spec["ports"]}}
        case "PersistentVolumeClaim":
            return dict(spec)
        case _:
            return {}


def _kept(volumes: Sequence[KubeObject]) -> Iterator[tuple[str, KubeObject]]:
    """Give the volumes that outlive a pod, by name."""
    for volume in volumes:
        if "persistentVolumeClaim" in volume:
            yield volume["name"], volume["persistentVolumeClaim"]
        elif "secret" in volume:
            yield volume["name"], {"secretName": volume["secret"]["secretName"], "items": volume["secret"]["items"]}


def write_record(version: str) -> Path:
    """Record the chart as it is, under the version that it has."""
    cases = {
        case: {
            "values": yaml.safe_load(chart.values_file(case).read_text(encoding="utf-8")),
            "fixed": fixed_fields(chart.render_objects(case)),
        }
        for case in chart.CASES
    }
    path = CHART / "ci" / f"upgrade-from-{version}.yaml"
    path.write_text(_HEADER.format(version=version) + yaml.safe_dump(cases, sort_keys=True), encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{write_record(sys.argv[1])}\n")
