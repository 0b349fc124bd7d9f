"""The secrets of a run, which follow from its seed like everything else: ids have a part in them, and ids decide orders."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from tests.simulation.plan import Plan

_BYTES = 32


@contextmanager
def seeded_secrets(plan: Plan) -> Iterator[None]:
    """Replace the standard library's source of secrets while inside."""
    rng = plan.rng("secrets")

    def token_bytes(nbytes: int | None = None) -> bytes:
        return rng.randbytes(_BYTES if nbytes is None else nbytes)

    def token_urlsafe(nbytes: int | None = None) -> str:
        return base64.urlsafe_b64encode(token_bytes(nbytes)).rstrip(b"=").decode()

    with mock.patch.multiple(
        "secrets",
        token_bytes=token_bytes,
        token_hex=lambda nbytes=None: token_bytes(nbytes).hex(),
        token_urlsafe=token_urlsafe,
        randbits=rng.getrandbits,
    ):
        yield
