"""The ceiling of the gRPC figures: a server that does nothing but hand ready bytes to the transport.

Same library, event loop and channel options as the service; identity serializers; no store, no parsing, no limits.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import uvloop

from sidecar.aio.wakeup import Broadcast

# The very options of the service, private as they are: a copy would drift.
from sidecar.api.server import _options
from sidecar.app import tune_collector
from sidecar.settings import GrpcSettings
from tests.bench.lines import Json, announce, answer_lines
from tests.bench.programs import from_text

HELLO = b"\x2a\x00"
"""A WatchRoomResponse with an empty checkpoint: tells the load generator that the stream is up."""
_FAR_S = 3_600.0

_Context = grpc.aio.ServicerContext[bytes, bytes]


class _Bare:
    def __init__(self) -> None:
        self._body = b""
        self._emitted_count = 0
        self._bell = Broadcast()

    async def get(self, _: bytes, __: _Context) -> bytes:
        return self._body

    async def watch(self, request: bytes, context: _Context) -> None:
        """Write as many messages as the request says, or follow what is emitted."""
        await context.write(HELLO)
        for _ in range(int(request or b"0")):
            await context.write(self._body)
        sent_count = self._emitted_count
        while True:
            seen_version = self._bell.version
            while sent_count < self._emitted_count:
                await context.write(self._body)
                sent_count += 1
            await self._bell.wait(seen_version, _FAR_S)

    async def handle(self, job: Json) -> Json:
        if job["op"] == "body":
            self._body = from_text(job["body"])
            return {}
        began_s = time.monotonic()
        self._emitted_count += job["messages"]
        self._bell.ring()
        return {"began_s": began_s}


async def _main() -> None:
    bare = _Bare()
    server = grpc.aio.server(options=_options(GrpcSettings()))
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {  # Any: bytes both ways, which the stubs do not know
        "Get": grpc.unary_unary_rpc_method_handler(bare.get),
        "Watch": grpc.unary_stream_rpc_method_handler(bare.watch),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench.Bare", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    announce(target=f"127.0.0.1:{port}")
    await answer_lines(bare.handle)
    await server.stop(0)
    await asyncio.sleep(0)


if __name__ == "__main__":
    tune_collector()  # as the service does
    uvloop.run(_main())
