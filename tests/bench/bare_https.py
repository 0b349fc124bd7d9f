"""The ceiling of the emulator's reads: uvicorn with TLS, which hands out the same bytes whatever it is asked."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from typing import Any

import trustme
import uvicorn
import uvloop

from tests.bench.lines import Json, announce, answer_lines
from tests.bench.programs import from_text

_body = b""


async def _app(scope: Any, receive: Any, send: Any) -> None:  # Any: ASGI
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _body})


async def _handle(job: Json) -> Json:
    """Take the bytes to hand out from now on."""
    global _body
    _body = from_text(job["body"])
    return {}


async def _main(ca_file: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        _app,
        lifespan="off",
        log_level="warning",
        access_log=False,
        ssl_context_factory=lambda _config, _default: context,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    announce(port=listener.getsockname()[1])
    await answer_lines(_handle)
    server.should_exit, server.force_exit = True, True
    await serving


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1]))
