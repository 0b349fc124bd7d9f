"""Waiting for an answer of Graph, and reading it: what fails at either is that Exchange is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sidecar.errors import GraphUnavailable
from sidecar.graph.wire import Malformed


@contextmanager
def understood() -> Iterator[None]:
    """Read an answer inside.

    Raises:
        GraphUnavailable: it is none.
    """
    try:
        yield
    except Malformed as error:
        raise GraphUnavailable("Exchange answered with something that is no answer") from error


@asynccontextmanager
async def budget(duration_s: float) -> AsyncIterator[None]:
    """Wait inside for as long as this.

    Raises:
        GraphUnavailable: it took longer.
    """
    try:
        async with asyncio.timeout(duration_s):
            yield
    except TimeoutError as error:
        raise GraphUnavailable("Exchange took longer than we wait") from error
