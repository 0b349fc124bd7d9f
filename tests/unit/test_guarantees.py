"""The chapters that promise something: each test that they name exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_CHAPTERS = {
    "README.md": "## Guarantees and how they are tested\n",
    "sidecar/security.md": "## What stops what\n",
}

chapters = pytest.mark.parametrize("document", _CHAPTERS)


def _chapter(document: str) -> str:
    return (ROOT / document).read_text().partition(_CHAPTERS[document])[2].partition("\n## ")[0]


@chapters
def test_every_test_named_by_a_guarantee_exists(document: str) -> None:
    """Renaming a test that holds a guarantee leaves no guarantee without one."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", _chapter(document))
    assert len(named) > 20
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, f"{file} has no {name}"


@chapters
def test_every_guarantee_names_a_test(document: str) -> None:
    """A promise that nothing holds is none."""
    guarantees = re.split(r"^- ", _chapter(document), flags=re.MULTILINE)[1:]
    assert len(guarantees) > 10
    for guarantee in guarantees:
        assert "::test_" in guarantee, f"no test holds: {guarantee[:80]}"
