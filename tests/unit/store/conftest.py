"""Fixtures for the unit tests of the store."""

from __future__ import annotations

from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]
