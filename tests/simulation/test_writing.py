"""Whole lives in which programs write through the API, among everything else that goes on and goes wrong."""

from __future__ import annotations

import pytest

from tests.simulation.plan import writing_plan
from tests.simulation.run import run
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

FOUND = {
    11: "a booking beyond the copy was made, and refused because it could not be read",
    25: "a calendar that was shown as empty had a caller told that his booking was removed",
}
"""Seeds that once found something."""


@pytest.mark.parametrize("seed", FOUND)
def test_exchange_holds_what_callers_were_told_and_nothing_else(seed: int) -> None:
    print(f"repeat it: .venv/bin/python -m tests.simulation --writes --seed {seed}")
    outcome = run(writing_plan(seed))
    if outcome.failure is not None:
        outcome.failure.add_note(f"seed {seed}; the end of its trace:\n" + "\n".join(outcome.last[-40:]))
        raise outcome.failure
