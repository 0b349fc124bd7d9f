"""What a process has counted, as Prometheus would be told."""

from __future__ import annotations

import re

from sidecar.telemetry.metrics import Telemetry

_SERIES = re.compile(r"^exchange_(?P<name>\w+?)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE)


def counted(telemetry: Telemetry, name: str) -> dict[str, float]:
    """Return the series of a metric that are not 0, by their labels as they are written; "" for none.

    Args:
        name: without `exchange_`; of a counter without `_total`.
    """
    found = _SERIES.finditer(telemetry.render().decode())
    return {
        each["labels"] or "": float(each["value"])
        for each in found
        if each["name"] in (name, f"{name}_total") and float(each["value"])
    }
