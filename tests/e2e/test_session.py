"""The session that the README shows is what happens."""

from __future__ import annotations

import pytest

from tests.support.session import play, shown

pytestmark = pytest.mark.e2e


def test_newcomers_session_goes_as_the_readme_shows_it() -> None:
    """Each command, each state and each sentence; `python -m tests.support.session --write` writes it anew."""
    assert play().strip() == shown().strip()
