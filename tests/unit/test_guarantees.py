"""The README's chapter of guarantees: each test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CHAPTER = "## Guarantees and how they are tested\n"


def _chapter() -> str:
    return (ROOT / "README.md").read_text().partition(_CHAPTER)[2].partition("\n## ")[0]


def test_every_test_named_by_a_guarantee_exists() -> None:
    """Renaming a test that holds a guarantee leaves no guarantee without one."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", _chapter())
    assert len(named) > 20
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, f"{file} has no {name}"


def test_every_guarantee_names_a_test() -> None:
    """A promise that nothing holds is none."""
    guarantees = re.split(r"^- ", _chapter(), flags=re.MULTILINE)[1:]
    assert len(guarantees) > 10
    for guarantee in guarantees:
        assert "::test_" in guarantee, f"no test holds: {guarantee[:80]}"
