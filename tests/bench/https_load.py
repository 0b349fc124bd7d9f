"""The load generator of the emulator's figures: requests over kept TLS connections, each sent when the answer before is there.

It reads no body, only how long it is, so that what it costs is little and the same for every server.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections import Counter

import uvloop

from tests.bench.lines import Json, announce, answer_lines
from tests.bench.programs import from_text

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


async def _handle(job: Json) -> Json:
    """Send requests in turn over some connections for a while; count the answers by status, and their bytes."""
    context = ssl.create_default_context(cafile=job["ca_file"])
    requests = [from_text(text) for text in job["requests"]]
    statuses: Counter[str] = Counter()
    ends_s = time.perf_counter() + job["seconds"]
    size_bytes = 0

    async def client(first: int) -> None:
        nonlocal size_bytes
        reader, writer = await asyncio.open_connection("127.0.0.1", job["port"], ssl=context, limit=1 << 24)
        number = first
        while time.perf_counter() < ends_s:
            writer.write(requests[number % len(requests)])
            number += job["connections"]
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            size = int(length[1]) if length else 0
            if size:
                await reader.readexactly(size)
            statuses[head[9:12].decode()] += 1
            size_bytes += size
        writer.close()

    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(job["connections"]):
            group.create_task(client(number))
    return {"seconds": time.perf_counter() - began_s, "statuses": dict(statuses), "size_bytes": size_bytes}


async def _main() -> None:
    announce(ready=True)
    await answer_lines(_handle)


if __name__ == "__main__":
    uvloop.run(_main())
