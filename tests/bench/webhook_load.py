"""The load generator of the webhook figure: posts bodies at fixed times, over kept connections, with as little work as can be.

How long an answer took counts from when its request was due, so that a late request does not hide a slow answer.
"""

from __future__ import annotations

import asyncio
import time

import uvloop

from tests.bench.figures import quantile
from tests.bench.lines import Json, announce, answer_lines

_CONNECTIONS = 16


async def _handle(job: Json) -> Json:
    """Post bodies in turn, so many a second, for a while."""
    period_s, count = 1.0 / job["rate"], int(job["rate"] * job["seconds"])
    pool: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.LifoQueue()
    for _ in range(_CONNECTIONS):
        pool.put_nowait(await asyncio.open_connection("127.0.0.1", job["port"]))
    requests = [_request(job["port"], text.encode()) for text in job["bodies"]]
    durations_s: list[float] = []
    statuses: dict[str, int] = {}

    async def post(number: int, due_s: float) -> None:
        reader, writer = await pool.get()
        writer.write(requests[number % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        durations_s.append(time.perf_counter() - due_s)
        pool.put_nowait((reader, writer))
        status = head[9:12].decode()
        statuses[status] = statuses.get(status, 0) + 1

    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            due_s = began_s + number * period_s
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            group.create_task(post(number, due_s))
    while not pool.empty():
        pool.get_nowait()[1].close()
    shares = {"p50_s": 0.5, "p95_s": 0.95, "p99_s": 0.99, "max_s": 1.0}
    return {"statuses": statuses, **{name: quantile(durations_s, share) for name, share in shares.items()}}


def _request(port: int, body: bytes) -> bytes:
    head = (
        f"POST /graph/notifications HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"content-type: application/json; charset=utf-8\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _main() -> None:
    announce(ready=True)
    await answer_lines(_handle)


if __name__ == "__main__":
    uvloop.run(_main())
