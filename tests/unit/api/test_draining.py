"""How calls cease when the process stops: who still asks is answered, for a while, and nobody is waited for in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from google.protobuf.message import Message

from sidecar.aio.clock import SystemClock
from sidecar.api.audited import Auditor
from sidecar.api.boundary import Boundary, Context, Pool, Rpc, Send
from sidecar.api.door import Door
from sidecar.api.limits import CallerLimits
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.settings import GrpcSettings
from tests.unit.api.rig import Counts, Noted

pytestmark = pytest.mark.looptime


class FakeContext:
    """A call's context, as far as a call that goes well needs one."""

    def peer(self) -> str:
        """Return a caller on the socket."""
        return "unix:"

    def invocation_metadata(self) -> tuple[()]:
        """Return nothing."""
        return ()

    def auth_context(self) -> Mapping[str, bytes]:
        """Return nothing."""
        return {}

    def time_remaining(self) -> float | None:
        """Return that there is no deadline."""
        return None


CONTEXT: Context = FakeContext()  # type: ignore[assignment]  # as far as it is needed
LIST = Rpc(
    method="TenantService/ListTenants", request_type=pb.ListTenantsRequest, named_by=(), naming=(), pool=Pool.CALLS
)
WATCH = Rpc(
    method="WatchService/WatchTenant", request_type=pb.ListTenantsRequest, named_by=(), naming=(), pool=Pool.WATCHES
)


def make_boundary() -> Boundary:
    """Make a boundary that knows everybody."""
    clock = SystemClock()
    return Boundary(
        door=Door(callers=None, clock=clock),
        caller_limits=CallerLimits(GrpcSettings(), clock=clock),
        calls_max=8,
        waiting_max=8,
        auditor=Auditor(audit=Noted(), clock=clock),
        clock=clock,
        metrics=Counts(),
    )


async def ask(boundary: Boundary, *, takes_s: float = 0.0) -> None:
    """Make a call that is answered after a while."""

    async def handler(_: Message) -> bytes:
        await asyncio.sleep(takes_s)
        return b""

    await boundary.unary(LIST, handler)(b"", CONTEXT)


async def waited(boundary: Boundary) -> tuple[bool, float]:
    """Wait until callers are quiet for a second, ten seconds at most; return whether they were, and after how long."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    was_quiet = await boundary.wait_quiet(1.0, 10.0)
    return was_quiet, round(loop.time() - began_s, 2)


async def test_nobody_who_ever_called_is_not_waited_for() -> None:
    assert await waited(make_boundary()) == (True, 0.0)


async def test_quiet_is_counted_from_the_end_of_the_last_call() -> None:
    boundary = make_boundary()
    await ask(boundary)
    await asyncio.sleep(0.75)
    assert await waited(boundary) == (True, 0.25)


async def test_calls_that_go_on_coming_are_waited_for() -> None:
    boundary = make_boundary()

    async def goes_on() -> None:
        for _ in range(4):
            await asyncio.sleep(0.75)
            await ask(boundary)

    await ask(boundary)
    async with asyncio.TaskGroup() as group:
        group.create_task(goes_on())
        was_quiet, after_s = await waited(boundary)
    assert was_quiet
    assert 4.0 <= after_s <= 4.2


async def test_call_under_way_is_not_quiet() -> None:
    boundary = make_boundary()
    async with asyncio.TaskGroup() as group:
        group.create_task(ask(boundary, takes_s=5.0))
        await asyncio.sleep(0)
        was_quiet, after_s = await waited(boundary)
    assert was_quiet
    assert 6.0 <= after_s <= 6.2


async def test_calls_without_end_are_waited_for_no_longer_than_allowed() -> None:
    boundary = make_boundary()
    async with asyncio.TaskGroup() as group:
        group.create_task(ask(boundary, takes_s=60.0))
        await asyncio.sleep(0)
        assert await waited(boundary) == (False, 10.0)


async def test_open_watch_keeps_nobody_from_being_quiet() -> None:
    """A watch that idles, or whose reader is frozen, is not a call that may still be followed by another."""
    boundary = make_boundary()

    async def handler(_: Message, __: Send) -> None:
        await asyncio.Event().wait()

    watch = asyncio.ensure_future(boundary.streaming(WATCH, handler)(b"", CONTEXT))
    await asyncio.sleep(0.1)
    assert await waited(boundary) == (True, 0.0)
    watch.cancel()
    await asyncio.wait([watch])
