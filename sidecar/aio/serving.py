"""Serving an ASGI application inside a running loop, on a socket that was bound before."""

from __future__ import annotations

import socket
from asyncio import TaskGroup
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

_BACKLOG = 1024


class _Server(uvicorn.Server):
    """uvicorn without its own handling of signals: the process has one place for that, and it is not here."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """Bind a TCP socket; port 0 takes a free one.

    Raises:
        OSError: the address is in use, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def address_of(bound: socket.socket) -> str:
    """Return host:port of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@asynccontextmanager
async def serving(
    app: ASGIApp, bound: socket.socket, *, group: TaskGroup, connections_max: int, grace_s: float
) -> AsyncIterator[None]:
    """Serve while inside; on the way out let requests under way finish for up to `grace_s` seconds."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        limit_concurrency=connections_max,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=max(1, int(grace_s)),
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = _Server(config)
    task = group.create_task(server.serve(sockets=[bound]), name=f"http {address_of(bound)}")
    try:
        yield
    finally:
        server.should_exit = True
        if not task.done():
            await task
