"""What a benchmark found, and the table that shows it. Medians over interleaved rounds; nothing here judges but by a goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. `is_met` is None where there is no goal."""

    name: str
    measured: str
    ceiling: str
    result: str
    goal: str
    is_met: bool | None
    ran: str


@dataclass(frozen=True, slots=True)
class Scale:
    """How long to measure."""

    rounds_count: int
    round_s: float
    is_quick: bool


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies; 0 of none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def ratio_of(ours: Sequence[float], ceilings: Sequence[float]) -> float:
    """Return the median of the ratios of rounds that ran side by side."""
    return median(one / other for one, other in zip(ours, ceilings, strict=True))


def spread(ours: Sequence[float], ceilings: Sequence[float]) -> str:
    """Tell a ratio's median with its extremes, so that a noisy run shows as one."""
    ratios = [one / other for one, other in zip(ours, ceilings, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def print_table(figures: Sequence[Figure], console: Console) -> None:
    """Print all figures."""
    table = Table(title="Benchmarks", title_justify="left", show_lines=True)
    for column in ("figure", "measured", "ceiling", "result", "goal", "met", "what ran"):
        table.add_column(column, overflow="fold")
    for figure in figures:
        met = {True: "yes", False: "NO", None: ""}[figure.is_met]
        table.add_row(figure.name, figure.measured, figure.ceiling, figure.result, figure.goal, met, figure.ran)
    console.print(table, highlight=False)
