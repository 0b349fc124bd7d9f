"""Seeds that found something, and what it was. They are run with every test run."""

from __future__ import annotations

SEEDS: dict[int, str] = {}
