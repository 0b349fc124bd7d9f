"""The load generator of the gRPC figures: a grpc.aio client that does not parse what it gets.

One and the same program drives the service and the ceiling, so what it costs is in both.
"""

from __future__ import annotations

import asyncio
import time

import grpc
import uvloop

from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as pb
from tests.bench.figures import quantile
from tests.bench.lines import Json, announce, answer_lines
from tests.bench.programs import from_text, to_text

_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # or channels to one address would be one connection
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
]
_HEAD_BYTES = 160
"""Enough of a message to know it again: its resume token, and what follows that."""
_CHECKPOINT = -1
_PATIENCE_S = 120.0

_Call = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]


class _Stream:
    """One open stream. It is up from its first checkpoint on."""

    __slots__ = ("changes_count", "is_up", "last_s", "messages_count", "refusal")

    def __init__(self) -> None:
        self.is_up = False
        self.refusal: str | None = None
        self.changes_count = 0
        self.messages_count = 0
        self.last_s = 0.0


class _Load:
    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._streams: list[_Stream] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._channels: list[grpc.aio.Channel] = []
        self._known: dict[bytes, int] = {}
        self._kept = b""

    async def handle(self, job: Json) -> Json:
        match job["op"]:
            case "unary":
                return await self._unary(job)
            case "paced":
                return await _paced(job)
            case "watch":
                return await self._watch(job)
            case "counts":
                return {"changes": [stream.changes_count for stream in self._streams]}
            case "await":
                return await self._await(job["changes"])
            case "kept":
                return {"body": to_text(self._kept)}
            case "close":
                return await self._close()
        raise ValueError(job["op"])

    async def _unary(self, job: Json) -> Json:
        """Call as fast as answers come, from several places at once."""
        request = from_text(job["request"])
        durations_s: list[float] = []
        async with grpc.aio.insecure_channel(job["target"], _OPTIONS) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(job["method"])
            answer = await call(request)
            began_s = time.perf_counter()
            ends_s = began_s + job["seconds"]

            async def work() -> None:
                before_s = time.perf_counter()
                while before_s < ends_s:
                    await call(request)
                    after_s = time.perf_counter()
                    durations_s.append(after_s - before_s)
                    before_s = after_s

            async with asyncio.TaskGroup() as group:
                for _ in range(job["concurrency"]):
                    group.create_task(work())
            took_s = time.perf_counter() - began_s
        return {
            "calls": len(durations_s),
            "rps": len(durations_s) / took_s,
            "p50_s": quantile(durations_s, 0.5),
            "p95_s": quantile(durations_s, 0.95),
            "p99_s": quantile(durations_s, 0.99),
            "body": to_text(answer),
        }

    async def _watch(self, job: Json) -> Json:
        """Open streams all at once, and wait until each has had a checkpoint or was refused."""
        began_s = time.monotonic()
        channels = [grpc.aio.insecure_channel(job["target"], _OPTIONS) for _ in range(job["channels"])]
        calls: list[_Call] = [channel.unary_stream(job["method"]) for channel in channels]
        self._channels += channels
        requests = [from_text(text) for text in job["requests"]]
        opened: list[_Stream] = []
        for number, request in enumerate(requests):
            stream = _Stream()
            opened.append(stream)
            self._tasks.append(self._group.create_task(self._follow(calls[number % len(calls)], request, stream)))
        self._streams += opened
        async with asyncio.timeout(_PATIENCE_S):
            # Looked at now and then: waking somebody for each message would cost more than the message.
            while any(not stream.is_up and stream.refusal is None for stream in opened):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        refusals = [stream.refusal for stream in opened if stream.refusal is not None]
        return {
            "began_s": began_s,
            "took_s": time.monotonic() - began_s,
            "accepted": sum(stream.is_up for stream in opened),
            "refused": len(refusals),
            "codes": sorted(set(refusals)),
        }

    async def _follow(self, call: _Call, request: bytes, stream: _Stream) -> None:
        try:
            async for raw in call(request):
                count = self._known.get(raw[:_HEAD_BYTES])
                if count is None:
                    count = self._learn(raw)
                if count > 0:
                    stream.changes_count += count
                    stream.messages_count += 1
                    stream.last_s = time.monotonic()
                elif count == _CHECKPOINT:
                    stream.is_up = True
        except grpc.aio.AioRpcError as error:
            stream.refusal = error.code().name

    def _learn(self, raw: bytes) -> int:
        """Parse a message once; all streams that get it share the result."""
        message = pb.WatchRoomResponse.FromString(raw)
        # Rows of a snapshot come without a token; what is counted is changes.
        count = len(message.changes.changes) if message.resume_token else 0
        if message.HasField("checkpoint"):
            count = _CHECKPOINT
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[raw[:_HEAD_BYTES]] = count
        if count > 0:
            self._kept = raw
        return count

    async def _await(self, changes_count: int) -> Json:
        """Wait until each stream has had so many changes since it came up."""
        live = [stream for stream in self._streams if stream.refusal is None]
        async with asyncio.timeout(_PATIENCE_S):
            while any(stream.changes_count < changes_count for stream in live):  # noqa: ASYNC110  (as above)
                await asyncio.sleep(0.005)
        return {
            "ended_s": max(stream.last_s for stream in live),
            "messages": sum(stream.messages_count for stream in live),
            "changes": sum(stream.changes_count for stream in live),
            "refused": len(self._streams) - len(live),
        }

    async def _close(self) -> Json:
        for task in self._tasks:
            task.cancel()
        for channel in self._channels:
            await channel.close()
        self._streams, self._tasks, self._channels = [], [], []
        self._known.clear()
        return {}


async def _paced(job: Json) -> Json:
    """Call at fixed times, the requests in turn; how long a call took counts from when it was due."""
    requests = [from_text(text) for text in job["requests"]]
    durations_s: list[float] = []
    failed: list[str] = []
    async with grpc.aio.insecure_channel(job["target"], _OPTIONS) as channel:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(job["method"])

        async def call(number: int, due_s: float) -> None:
            try:
                await method(requests[number % len(requests)], timeout=_PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                failed.append(error.code().name)
            durations_s.append(time.perf_counter() - due_s)

        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(job["rate"] * job["seconds"])):
                due_s = began_s + number / job["rate"]
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                group.create_task(call(number, due_s))
        took_s = time.perf_counter() - began_s
    return {
        "rps": len(durations_s) / took_s,
        "p50_s": quantile(durations_s, 0.5),
        "p99_s": quantile(durations_s, 0.99),
        "max_s": max(durations_s),
        "failed": len(failed),
        "codes": sorted(set(failed)),
    }


async def _main() -> None:
    announce(ready=True)
    async with asyncio.TaskGroup() as group:
        load = _Load(group)
        await answer_lines(load.handle)
        await load.handle({"op": "close"})


if __name__ == "__main__":
    uvloop.run(_main())
