"""A webhook that shakes hands, takes everything and counts it: what the emulator's notifications are sent to."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from urllib.parse import unquote_plus

import uvloop

from tests.bench.lines import Json, announce, answer_lines

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_TOKEN = re.compile(rb"validationToken=([^ &]+)")
_taken = {"items": 0, "posts": 0}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # The other side went away, or this program ends.
    with suppress(asyncio.IncompleteReadError, asyncio.CancelledError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            token = _TOKEN.search(head)
            if token:
                text = unquote_plus(token[1].decode()).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text)
                )
            else:
                _taken["posts"] += 1
                _taken["items"] += len(json.loads(body)["value"])
                writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
    writer.close()


async def _handle(_: Json) -> Json:
    """Tell what has been taken so far."""
    return dict(_taken)


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    announce(port=server.sockets[0].getsockname()[1])
    await answer_lines(_handle)
    server.close()


if __name__ == "__main__":
    uvloop.run(_main())
