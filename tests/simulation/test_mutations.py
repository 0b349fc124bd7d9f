"""Each rule that the simulation guards, taken away: the life that is known to miss it misses it still."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.simulation import mutations
from tests.support.processes import ROOT
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

_KNOWN = {name: one.found_by for name, one in mutations.ALL.items() if one.found_by is not None}
_SEEDS_COUNT = 100
"""Looked at when the known seed finds it no more, because plans have changed; or else nothing guards the rule any more."""


@pytest.mark.parametrize("name", sorted(_KNOWN)[::2])  # half of them, for time's sake; make sim-mutations looks at all
def test_rule_that_is_taken_away_is_missed(name: str) -> None:
    """A simulation that finds nothing wrong proves something only if it can find this."""
    assert _is_found(name, _KNOWN[name], 1) or _is_found(name, 0, _SEEDS_COUNT), (
        f"nobody misses the rule that {mutations.ALL[name].rule}; make sim-mutations looks further"
    )


def _is_found(name: str, first: int, count: int) -> bool:
    """Look in a process of its own: what other lives leave in a process's caches moves the next one's times."""
    hunt = [sys.executable, "-m", "tests.simulation", "--mutations", "--mutation", name, "--workers", "1"]
    told = subprocess.run(
        [*hunt, "--first", str(first), "--seeds", str(count)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(told.stdout, told.stderr[-2_000:])
    return told.returncode == 0


class _Place:
    def rule(self) -> int:
        return 1


async def _coroutine() -> None:
    pass


def test_mutation_of_something_that_is_not_there_is_stale() -> None:
    """What a mutation replaces may have been renamed."""
    stale = mutations.Mutation("r", (_Place,), "former_rule", lambda _: 2, 0, lambda _: True)
    with pytest.raises(mutations.MutationStale), stale.applied():
        pass


def test_mutation_of_another_kind_of_function_is_stale() -> None:
    """What a mutation replaces may have become another kind of thing."""
    stale = mutations.Mutation("r", (_Place,), "rule", _coroutine, 0, lambda _: True)
    with pytest.raises(mutations.MutationStale), stale.applied():
        pass


def test_stand_in_that_fails_by_itself_is_noted() -> None:
    """A TypeError of the stand-in is no finding."""
    stale = mutations.Mutation("r", (_Place,), "rule", lambda _, more: more, 0, lambda _: True)
    with stale.applied() as use, pytest.raises(TypeError):
        _Place().rule()
    assert use.calls_count == 1
    assert use.faults
