"""All targets."""

from __future__ import annotations

from tests.fuzz import graph_targets, own_targets
from tests.fuzz.target import Target

TARGETS: tuple[Target, ...] = (*graph_targets.TARGETS, *own_targets.TARGETS)
