"""The inside of a helper program: jobs come as lines of JSON on standard input, answers go out the same way."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

Json = dict[str, Any]
"""A job or an answer (Any: JSON between programs of this package)."""

_LINE_BYTES_MAX = 64 * 1024 * 1024


def announce(**facts: object) -> None:
    """Print a line; the first one says that the program is ready."""
    print(json.dumps(facts), flush=True)


async def answer_lines(handle: Callable[[Json], Awaitable[Json]]) -> None:
    """Answer jobs, one after the other, until standard input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        announce(**await handle(json.loads(line)))
