"""One life of the service's process: built by the service's own composition root, and ended by a stop or by death."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from sidecar.api.booking_codec import ProtoBookingCodec
from sidecar.api.servicers import Servicers, build_servicers
from sidecar.api.streaming import Streams
from sidecar.app import build_service
from sidecar.errors import SidecarError
from sidecar.graph.transport import build_http
from sidecar.service import Service
from sidecar.settings import Settings
from sidecar.store.store import Store
from sidecar.telemetry.metrics import Telemetry
from sidecar.telemetry.outlets import Outlets
from sidecar.telemetry.tracing import OFF
from tests.simulation.engine import MortalEngine
from tests.simulation.loop import ShiftedClock
from tests.simulation.network import GraphTransport, InProcessLogin, PeerGone, Spawn, elsewhere
from tests.simulation.trace import Trace
from tests.support.stores import make_vault

T = TypeVar("T")
_POLL_S = 60.0
"""Looks at logs that nothing announced take a third of a simulated day, and would only hide an announcement that is lost."""


@dataclass(slots=True, kw_only=True)
class Outside:
    """What a process finds around it.

    Attributes:
        graph_app: Microsoft, as an ASGI app (Any: ASGI's own shape).
        spawn: runs what happens at Microsoft.
        stepped: called whenever the process has committed something.
        asked: called whenever it has been answered by Microsoft, with what it had asked.
    """

    path: Path
    settings: Settings
    clock: ShiftedClock
    graph_app: Any
    spawn: Spawn
    trace: Trace
    stepped: Callable[[], None]
    asked: Callable[[str], None]
    is_disk_failing: Callable[[], bool]


@dataclass(slots=True)
class Life:
    """A process, from its start to its stop or its death."""

    outside: Outside
    rng: Random
    is_dead: bool = False
    service: Service = field(init=False)
    servicers: Servicers = field(init=False)
    engine: MortalEngine = field(init=False)
    telemetry: Telemetry = field(init=False)
    intake: Any = field(init=False)  # an ASGI app
    _group: asyncio.TaskGroup = field(init=False)
    _task: asyncio.Task[None] | None = None
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self, group: asyncio.TaskGroup) -> None:
        """Start, and return once it serves, or is dead already."""
        self._task = group.create_task(self._live())
        self._task.add_done_callback(lambda _: self._ready.set())
        await self._ready.wait()

    def kill(self) -> None:
        """Die at once: nothing more is written or sent, whatever still runs."""
        if self.is_dead:
            return
        self.is_dead = True
        self.engine.kill()
        assert self._task is not None, "begin() comes first"
        self._task.cancel()

    async def stop(self) -> None:
        """End as a process does that is asked to."""
        self._stopping.set()
        await self.ended()

    async def ended(self) -> None:
        """Return once nothing of it runs any more."""
        assert self._task is not None, "begin() comes first"
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    @property
    def is_serving(self) -> bool:
        """Tell whether it can be reached."""
        return self._ready.is_set() and not self.is_dead

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:  # Any: nothing is sent or yielded
        """Run something inside the process, an incoming call for instance.

        Raises:
            PeerGone: it is dead.
        """
        if self.is_dead or not self._ready.is_set():
            work.close()
            raise PeerGone("the process is dead")
        return self._group.create_task(work)

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have something done by the process for somebody outside.

        Raises:
            PeerGone, or what the work raises.
        """
        try:
            return await elsewhere(self.spawn, work, hangs_up=True)
        except Exception:
            if self.is_dead:  # what a dead process still says, nobody hears
                raise PeerGone("the process is dead") from None
            raise

    async def _live(self) -> None:
        try:
            await self._serve()
        except SidecarError as error:
            if self._ready.is_set():
                raise
            self.outside.trace.note("life", f"does not begin: {error.reason}")
            self.is_dead = True
        except Exception:
            if not self.engine.is_killed:  # as in `call`
                raise

    async def _serve(self) -> None:
        outside = self.outside
        self.engine = MortalEngine(outside.path, clock=outside.clock, rng=Random(self.rng.random()))
        self.engine.is_failing = outside.is_disk_failing
        self.engine.stepped = self._stepped
        async with AsyncExitStack() as stack:
            self.telemetry = Telemetry()
            stack.callback(self.telemetry.close)
            await self.engine.open()
            store = Store(self.engine, vault=make_vault(), codec=ProtoBookingCodec())
            stack.push_async_callback(self._close, store)
            transport = GraphTransport(
                outside.graph_app,
                spawn=outside.spawn,
                is_alive=lambda: not self.is_dead,
                passed=self._asked,
                trace=outside.trace,
            )
            tokens = InProcessLogin(
                transport=transport,
                settings=outside.settings.graph,
                credentials=store.credentials,
                clock=outside.clock,
                telemetry=self.telemetry,
            )
            stack.callback(tokens.close)
            self.service = await build_service(
                outside.settings,
                store=store,
                outlets=Outlets(self.telemetry),
                tokens=tokens,
                http=build_http(outside.settings.graph, transport=transport),
                clock=outside.clock,
                rng=Random(self.rng.random()),
            )
            self.service.feed.poll_s = _POLL_S
            self.servicers = build_servicers(
                store=store,
                feed=self.service.feed,
                inquiries=self.service.inquiries,
                settings=outside.settings,
                clock=outside.clock,
                metrics=self.telemetry,
                streams=Streams(self.telemetry),
                tracing=OFF,
            )
            self.intake = self.service.intake()
            async with asyncio.TaskGroup() as self._group:
                working, *others = self.service.start_work(self._group)
                self._ready.set()
                await self._stopping.wait()
                await self.service.drain()
                await self.service.end_work(working, *others)
                self.is_dead = True

    async def _close(self, store: Store) -> None:
        if not self.engine.is_killed:
            await store.close()

    def _stepped(self) -> None:
        if not self.is_dead:
            self.outside.stepped()

    def _asked(self, what: str) -> None:
        if not self.is_dead:
            self.outside.asked(what)
