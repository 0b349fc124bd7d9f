"""The promise, on whole simulated lives: whatever goes wrong, every mirror ends equal to the calendars, and nobody lies."""

from __future__ import annotations

import pytest

from tests.simulation.plan import Plan, calm_plan, plan_of
from tests.simulation.regressions import SEEDS
from tests.simulation.run import run
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]


def _must_hold(plan: Plan) -> str:
    """Run a plan and return its digest."""
    print(f"seed {plan.seed}: python -m tests.simulation --seed {plan.seed}")
    outcome = run(plan)
    if outcome.failure is not None:
        outcome.failure.add_note(f"seed {plan.seed}; the end of its trace:\n" + "\n".join(outcome.last[-40:]))
        raise outcome.failure
    return outcome.digest


def test_calm_office_ends_with_every_mirror_equal_to_the_calendars() -> None:
    """Nothing goes wrong, and nothing is wrong."""
    _must_hold(calm_plan(1, rooms=3, actions=40, hours=6))


@pytest.mark.parametrize("seed", SEEDS)
def test_seed_that_once_found_something_finds_nothing(seed: int) -> None:
    """What was mended stays mended."""
    print(SEEDS[seed])
    _must_hold(plan_of(seed))
