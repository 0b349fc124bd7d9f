"""What the kubelet and Prometheus ask. Exchange being down never makes the service unready: its copy still serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sidecar.errors import StoreUnavailable
from sidecar.telemetry.metrics import Telemetry


def build_probes(
    *,
    telemetry: Telemetry,
    check_store: Callable[[], Awaitable[None]],
    look: Callable[[], Awaitable[None]],
    is_serving: Callable[[], bool],
    trouble: Callable[[], str | None] = lambda: None,
) -> Starlette:
    """Build the application with /startupz, /livez, /readyz and /metrics.

    Args:
        look: brings up to date what is measured only when it is asked for.
        is_serving: true from the end of the start until draining begins.
        trouble: says what besides the store keeps the process from what it is for, None for nothing.
    """

    async def live(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        if not is_serving():
            return PlainTextResponse("starting or draining\n", status_code=503)
        try:
            await check_store()
        except StoreUnavailable:
            return PlainTextResponse("the store does not answer\n", status_code=503)
        why = trouble()
        return PlainTextResponse("ok\n" if why is None else f"{why}\n", status_code=200 if why is None else 503)

    async def started(_: Request) -> Response:
        return PlainTextResponse("ok\n" if is_serving() else "starting\n", status_code=200 if is_serving() else 503)

    async def metrics(_: Request) -> Response:
        await look()
        return Response(telemetry.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(
        routes=[
            Route("/startupz", started),
            Route("/livez", live),
            Route("/readyz", ready),
            Route("/metrics", metrics),
        ]
    )
