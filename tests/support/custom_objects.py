"""Shapes of the objects that are not Kubernetes' own: those of the Prometheus operator and of the Gateway API.

No package carries their schemas for use without a network, so the fields that the chart writes are listed here, as the
operator's and the Gateway API's own definitions have them (read 2026-11: operator 0.91, Gateway API 1.x, channel
standard). A field that is not listed counts as a mistake: extend the shape from the definition, not from the chart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

DURATION = r"([0-9]+(ms|s|m|h))+"
HOSTNAME = r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
LABEL_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?"

Shape = Any
"""A type for a plain value, a string for a pattern, [shape] for a list, {str: shape} for any keys, {field: shape} else.

A field's name that ends in `!` must be there.
"""


@dataclass(frozen=True, slots=True)
class Literals:
    """A value that is one of a few words."""

    words: tuple[str, ...]


_SELECTOR: Shape = {"matchLabels!": {str: str}}
_ENDPOINT: Shape = {"port!": str, "path": str, "interval": DURATION, "scrapeTimeout": DURATION}
_MONITOR: Shape = {"selector!": _SELECTOR, "jobLabel": LABEL_NAME, "podTargetLabels": [LABEL_NAME]}
_RULE: Shape = {
    "alert": r"[A-Za-z][A-Za-z0-9]*",
    "record": r"[a-zA-Z_:][a-zA-Z0-9_:]*",
    "expr!": str,
    "for": DURATION,
    "keep_firing_for": DURATION,
    "labels": {str: str},
    "annotations": {str: str},
}
_HTTP_RULE: Shape = {
    "matches": [
        {"path": {"type!": Literals(("Exact", "PathPrefix")), "value!": r"/.*"}, "method": Literals(("POST",))}
    ],
    "backendRefs": [{"name!": str, "port!": int}],
}
_PARENT: Shape = {"name!": str, "namespace": str, "sectionName": str, "port": int}
SPECS: dict[tuple[str, str], Shape] = {
    ("monitoring.coreos.com/v1", "PodMonitor"): {**_MONITOR, "podMetricsEndpoints!": [_ENDPOINT]},
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {**_MONITOR, "endpoints!": [_ENDPOINT]},
    ("monitoring.coreos.com/v1", "PrometheusRule"): {
        "groups!": [{"name!": str, "interval": DURATION, "rules!": [_RULE]}]
    },
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): {
        "parentRefs!": [_PARENT],
        "hostnames": [HOSTNAME],
        "rules!": [_HTTP_RULE],
    },
}
"""The spec of each kind, by its API version and name."""


def is_custom(rendered: dict[str, Any]) -> bool:
    """Tell whether an object is one of those that Kubernetes itself has no schema of."""
    return (rendered["apiVersion"], rendered["kind"]) in SPECS


def mistakes(rendered: dict[str, Any]) -> list[str]:
    """Return what is wrong with such an object, each mistake as `place: what`."""
    fields = {"apiVersion!": str, "kind!": str, "metadata!": {str: object}}
    return list(_mistakes(rendered, {**fields, "spec!": SPECS[rendered["apiVersion"], rendered["kind"]]}, ""))


def _mistakes(value: object, shape: Shape, place: str) -> Iterator[str]:
    if isinstance(shape, list):
        yield from _in_list(value, shape[0], place)
    elif isinstance(shape, dict):
        yield from _in_object(value, shape, place)
    elif isinstance(shape, str):
        if not isinstance(value, str) or not re.fullmatch(shape, value):
            yield f"{place}: {value!r} is not like {shape}"
    elif isinstance(shape, Literals):
        if value not in shape.words:
            yield f"{place}: {value!r} is none of {shape.words}"
    elif not isinstance(value, shape):
        yield f"{place}: {value!r} is no {shape.__name__}"


def _in_list(value: object, shape: Shape, place: str) -> Iterator[str]:
    if not isinstance(value, list) or not value:
        yield f"{place}: {value!r} is no list with something in it"
        return
    for number, item in enumerate(value):
        yield from _mistakes(item, shape, f"{place}[{number}]")


def _in_object(value: object, shape: dict[Any, Shape], place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is no object"
        return
    if str in shape:
        for key, item in value.items():
            yield from _mistakes(key, str, place)
            yield from _mistakes(item, shape[str], f"{place}.{key}")
        return
    known = {field.removesuffix("!"): inner for field, inner in shape.items()}
    for field in shape:
        if field.endswith("!") and field[:-1] not in value:
            yield f"{place}.{field[:-1]}: missing"
    for field, item in value.items():
        if field not in known:
            yield f"{place}.{field}: no such field"
        else:
            yield from _mistakes(item, known[field], f"{place}.{field}")
