"""Nothing but unreliable task runners outside drives the service: everything holds as with its own schedule."""

from __future__ import annotations

import os

import pytest

from tests.simulation.plan import Plan, calm_plan, driven, outside_plan, plan_of
from tests.simulation.run import Outcome, run
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

SEEDS_COUNT = max(2, int(os.environ.get("SIMULATION_SEEDS", "24")) // 12)
ALIKE_SEEDS = (1, 6)
"""Lives in which people do the same, whatever the service does: nobody unmaps a room, say, because of what it tells."""


def _must_hold(plan: Plan) -> Outcome:
    print(f"repeat it: .venv/bin/python -m tests.simulation --outside --seed {plan.seed}")
    outcome = run(plan)
    if outcome.failure is not None:
        outcome.failure.add_note(f"seed {plan.seed}; the end of its trace:\n" + "\n".join(outcome.last[-40:]))
        raise outcome.failure
    return outcome


def test_calm_life_driven_from_outside_ends_as_with_the_inner_schedule() -> None:
    """The same people do the same, so that the same is in the calendars, in the copies and in every mirror."""
    plan = calm_plan(1, rooms=2, actions=30, hours=2)
    inner, outer = _must_hold(plan), _must_hold(driven(plan))
    assert inner.truth
    assert inner.truth == outer.truth
    assert inner.digest != outer.digest, "the two went different ways"


@pytest.mark.parametrize("seed", ALIKE_SEEDS)
def test_script_of_faults_driven_from_outside_ends_as_with_the_inner_schedule(seed: int) -> None:
    inner, outer = _must_hold(plan_of(seed)), _must_hold(outside_plan(seed))
    assert inner.truth
    assert inner.truth == outer.truth


@pytest.mark.parametrize("seed", range(SEEDS_COUNT))
def test_life_in_which_everything_goes_wrong_holds_when_driven_from_outside(seed: int) -> None:
    """Crashes in the middle of drains and runs, runners that are late, doubled, away, and hang up."""
    _must_hold(outside_plan(seed))
