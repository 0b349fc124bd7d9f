"""Lets the real service live through hard minutes; ends with 1 when anything was lost, repeated wrongly or found by luck."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random, SystemRandom

from sidecar.emulator.fixture import run_emulator
from tests.e2e.conftest import QUICK, store_of
from tests.e2e.test_crash import NO_COMPARE
from tests.soak.soak import Soak
from tests.support.processes import service_started
from tests.support.stores import ENGINES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long people work and things go wrong")
    parser.add_argument("--store", choices=ENGINES, default="sqlite")
    parser.add_argument("--rooms", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000), help="of what is chosen here")
    options = parser.parse_args(arguments)
    # Real processes are not repeated by a seed to the letter; it repeats who does what, and how long until each cut.
    print(f"seed {options.seed}: {options.minutes:g} minutes, {options.rooms} rooms, {options.store}", flush=True)
    try:
        asyncio.run(_run(options))
    except Exception:
        traceback.print_exc()
        print(f"FAILED, seed {options.seed}")
        return 1
    print(f"held, seed {options.seed}")
    return 0


async def _run(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak")))
        store = stack.enter_context(store_of(options.store))
        emulator = stack.enter_context(run_emulator(folder, calm=False, seed=options.seed))
        service = stack.enter_context(service_started(folder, emulator, **QUICK, **NO_COMPARE, **store))
        soak = Soak(service, emulator, folder, Random(options.seed), rooms_count=options.rooms, store=options.store)
        await soak.run(options.minutes)


if __name__ == "__main__":
    sys.exit(main())
