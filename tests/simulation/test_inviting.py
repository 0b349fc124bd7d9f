"""Whole lives in which programs book in people's calendars, among everything else that goes on and goes wrong."""

from __future__ import annotations

import pytest

from tests.simulation.plan import inviting_plan
from tests.simulation.run import run
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

FOUND = (0, 11)
"""Seeds that once found something: a meeting beyond the copy was told to be cancelled, and stayed."""


@pytest.mark.parametrize("seed", [2, 4, *FOUND])
def test_meetings_exist_once_and_rooms_hold_those_that_were_confirmed(seed: int) -> None:
    print(f"repeat it: .venv/bin/python -m tests.simulation --invites --seed {seed}")
    outcome = run(inviting_plan(seed))
    if outcome.failure is not None:
        outcome.failure.add_note(f"seed {seed}; the end of its trace:\n" + "\n".join(outcome.last[-40:]))
        raise outcome.failure
