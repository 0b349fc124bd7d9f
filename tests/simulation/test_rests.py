"""A tenant that is suspended, or deleted and brought back, in the middle of everything that goes wrong: nothing is missed."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.simulation.plan import Plan, Rest, calm_plan, resting_plan
from tests.simulation.run import run
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

SEEDS_COUNT = max(6, int(os.environ.get("SIMULATION_SEEDS", "24")) // 4)


def _must_hold(plan: Plan) -> None:
    print(f"repeat it: .venv/bin/python -m tests.simulation --rests --seed {plan.seed}")
    outcome = run(plan)
    if outcome.failure is not None:
        outcome.failure.add_note(f"seed {plan.seed}; the end of its trace:\n" + "\n".join(outcome.last[-40:]))
        raise outcome.failure


@pytest.mark.parametrize("is_deletion", [False, True], ids=["suspended", "deleted"])
def test_calm_tenant_at_rest_for_an_hour_misses_nothing(is_deletion: bool) -> None:
    """Nothing goes wrong, people work on, Microsoft is asked nothing, and what the reads afterwards find is no drift."""
    plan = calm_plan(1, rooms=3, actions=40, hours=4)
    _must_hold(replace(plan, rests=(Rest(at_s=3_600.0, lasts_s=3_600.0, is_deletion=is_deletion),)))


@pytest.mark.parametrize("seed", range(SEEDS_COUNT))
def test_tenant_that_rests_while_everything_goes_wrong_misses_nothing(seed: int) -> None:
    """Crashes, outages, lost subscriptions, set clocks, and watchers that come back with tokens of any age."""
    _must_hold(resting_plan(seed))
