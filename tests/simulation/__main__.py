"""Simulates seeds from the command line: prints each that fails and how to repeat it, and how many held."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sidecar.emulator.moods import Moods
from tests.simulation import mutations
from tests.simulation.plan import Plan, calm_plan, inviting_plan, outside_plan, plan_of, resting_plan, writing_plan
from tests.simulation.run import Outcome, run

_LAST_LINES = 40


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is told of a seed; it crosses processes, which an exception and its frames cannot."""

    seed: int
    failure: str
    digest: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; return 1 if a seed failed, or a mutation was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed alone, and show the end of its trace if it fails")
    parser.add_argument("--trace", type=Path, help="with --seed: write the whole trace to this file")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--mutations", action="store_true", help="break one rule at a time and see that it is found")
    parser.add_argument("--mutation", choices=sorted(mutations.ALL), help="break this rule, for --seed or --mutations")
    parser.add_argument("--day", action="store_true", help="time a day of twenty rooms, calm and unkind")
    parser.add_argument("--rests", action="store_true", help="also suspend the tenant, or delete it and bring it back")
    parser.add_argument("--writes", action="store_true", help="also have programs write through the API")
    parser.add_argument(
        "--invites", action="store_true", help="as --writes, and have rooms invited to people's meetings"
    )
    parser.add_argument("--outside", action="store_true", help="have unreliable task runners outside drive everything")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args(arguments)
    if options.day:
        return _time_a_day()
    if options.mutations:
        return _hunt(options)
    if options.seed is not None:
        return _show(_run(options.seed, options.mutation, options.trace, kind=_kind(options)))
    return _run_many(options)


_PLANS: dict[str, Callable[[int], Plan]] = {
    "": plan_of,
    "rests": resting_plan,
    "writes": writing_plan,
    "invites": inviting_plan,
    "outside": outside_plan,
}
"""By the option that asks for them."""


def _kind(options: argparse.Namespace) -> str:
    return next((kind for kind in ("rests", "writes", "invites", "outside") if getattr(options, kind)), "")


def _run(seed: int, mutation: str | None, trace_file: Path | None = None, *, kind: str = "") -> Outcome:
    if mutation is None:
        return run(_PLANS[kind](seed), trace_file=trace_file)
    plan = mutations.ALL[mutation].plans(seed)
    with mutations.ALL[mutation].applied():
        return run(plan, trace_file=trace_file)


def _show(outcome: Outcome) -> int:
    print(outcome.plan)
    print(", ".join(f"{kind} {count}" for kind, count in sorted(outcome.counts.items())))
    if outcome.failure is not None:
        print("\n".join(outcome.last[-_LAST_LINES:]))
        traceback.print_exception(outcome.failure)
    print(f"seed {outcome.plan.seed}: {'held' if outcome.failure is None else 'FAILED'}, trace {outcome.digest}")
    return int(outcome.failure is not None)


def _time_a_day() -> int:
    day = calm_plan(1, rooms=20, actions=200, hours=24)
    failed = 0
    for name, plan in (("calm", day), ("unkind", replace(day, moods=Moods()))):
        outcome = run(plan)
        failed += outcome.failure is not None
        verdict = "held" if outcome.failure is None else f"FAILED: {outcome.failure}"
        print(f"a {name} day of {plan.rooms_count} rooms: {outcome.took_s:.1f} s, {verdict}")
    return int(failed > 0)


def _judge(seed: int, *, kind: str = "") -> _Verdict:
    outcome = _run(seed, None, kind=kind)
    failure = "" if outcome.failure is None else f"{type(outcome.failure).__name__}: {outcome.failure}"
    return _Verdict(seed, failure, outcome.digest)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))


def _run_many(options: argparse.Namespace) -> int:
    began_s = time.monotonic()
    failed: list[int] = []
    flag = f" --{_kind(options)}" if _kind(options) else ""
    seeds = range(options.first, options.first + options.seeds)
    # A process for each seed, as `--seed` has one: what a run leaves in the process's caches moves the next one's times.
    with multiprocessing.get_context("fork").Pool(options.workers, maxtasksperchild=1) as pool:
        for verdict in pool.imap(partial(_judge, kind=_kind(options)), seeds, chunksize=1):
            if verdict.failure:
                failed.append(verdict.seed)
                print(f"seed {verdict.seed} FAILED: {verdict.failure[:600]}")
                print(f"  repeat it: .venv/bin/python -m tests.simulation{flag} --seed {verdict.seed}", flush=True)
    print(f"{options.seeds - len(failed)} of {options.seeds} seeds held, {time.monotonic() - began_s:.0f} s")
    return int(bool(failed))


def _hunt(options: argparse.Namespace) -> int:
    names = sorted(mutations.ALL) if options.mutation is None else [options.mutation]
    seeds = range(options.first, options.first + options.seeds)
    missed: list[str] = []
    with _pool(options.workers) as pool:
        searches = {pool.submit(_search, name, seeds): name for name in names}
        for search in as_completed(searches):
            is_found, what = search.result()
            print(f"{searches[search]}: {what}", flush=True)
            missed += [] if is_found else [searches[search]]
    print(f"{len(names) - len(missed)} of {len(names)} mutations were found; not found: {sorted(missed)}")
    return int(bool(missed))


def _search(name: str, seeds: Sequence[int]) -> tuple[bool, str]:
    """Look for a seed that finds a mutation, the one that is known first."""
    known = mutations.ALL[name].found_by
    try:
        found = mutations.find(name, [*([known] if known is not None and known in seeds else []), *seeds])
    except mutations.MutationStale as error:
        return False, f"STALE: {error}"
    if found is None:
        return False, f"NOT found in {len(seeds)} seeds"
    return True, f"found by seed {found.seed}: {found.how}"


if __name__ == "__main__":
    sys.exit(main())
