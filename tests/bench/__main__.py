"""Runs benchmarks and prints their table: `python -m tests.bench [--quick] [name ...]`."""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
from pathlib import Path
from typing import Protocol, cast

from rich.console import Console

from tests.bench.figures import Figure, Scale, print_table

NAMES = (
    "list_bookings",
    "availability",
    "create_bookings",
    "verdict",
    "watch_room",
    "telemetry",
    "idle_streams",
    "notify",
    "intake",
    "first_import",
    "engine",
    "marks",
    "requests",
    "fairness",
    "limits",
    "backup",
    "commits",
    "emulator",
    "many_rooms",
    "everything",
)


class _Bench(Protocol):
    """A module of this package that measures something."""

    def run(self, folder: Path, scale: Scale) -> list[Figure]:
        """Measure, keeping files in a folder that is removed afterwards."""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"what to measure, by default all: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: to see that it runs")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}")
    scale = Scale(2, 1.0, True) if options.quick else Scale(5, 3.0, False)
    console, figures = Console(width=200), list[Figure]()
    for name in options.names or NAMES:
        began_s = time.monotonic()
        bench = cast("_Bench", importlib.import_module(f"tests.bench.{name}"))  # a module is matched by its function
        with tempfile.TemporaryDirectory(prefix="exchange-bench-") as folder:
            found = bench.run(Path(folder), scale)
        figures += found
        console.print(f"{name}: {time.monotonic() - began_s:.0f} s", highlight=False)
        for figure in found:
            console.print(f"  {figure.name}: {figure.measured}; {figure.result} (goal {figure.goal})", highlight=False)
    print_table(figures, console)


if __name__ == "__main__":
    main()
