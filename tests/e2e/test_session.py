"""The sessions that the README shows are what happens."""

from __future__ import annotations

import pytest

from tests.support.session import play, shown

pytestmark = pytest.mark.e2e


def test_newcomers_sessions_go_as_the_readme_shows_them() -> None:
    """Each command, each state and each sentence; `python -m tests.support.session --write` writes them anew."""
    assert {name: text.strip() for name, text in play().items()} == {
        name: text.strip() for name, text in shown().items()
    }
