"""The whole emulator as plain objects: what `server.py` puts behind TLS and a simulation runs in its own event loop."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidecar.emulator.clock import Clock, LoopClock
from sidecar.emulator.control.app import ControlApp
from sidecar.emulator.control.routes import control_routes
from sidecar.emulator.control.snapshot import Snapshots
from sidecar.emulator.control.tenants import TenantControl
from sidecar.emulator.entra.login import Login
from sidecar.emulator.entra.tokens import Tokens
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.mailroom import Mailroom
from sidecar.emulator.exchange.meetings import Meetings
from sidecar.emulator.exchange.world import World
from sidecar.emulator.faults import FaultScript
from sidecar.emulator.graph.app import GraphApp
from sidecar.emulator.graph.route_table import graph_routes
from sidecar.emulator.ids import IdMaker
from sidecar.emulator.moods import Moods, calm_moods
from sidecar.emulator.notify.deliveries import Deliveries
from sidecar.emulator.notify.rich import change_tracking_app
from sidecar.emulator.notify.sender import HttpxSender, Sender, webhook_client
from sidecar.emulator.notify.subscribing import Subscribing
from sidecar.emulator.parts import Parts


class Emulator:
    """One emulated Microsoft 365: `graph_app` serves login and Graph, `control_app` the hand that moves them.

    Requests are answered only between the start and the end of `running()`, because rooms and notifications act in the
    background.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        calm: bool = False,
        moods: Moods | None = None,
        clock: Clock | None = None,
        sender: Sender | None = None,
        graph_url: str = "https://graph.microsoft.com",
    ) -> None:
        """Build an emulator with no tenants.

        Args:
            seed: of everything random; the same seed and the same calls in the same order give the same run.
            calm: take the calm moods; `moods` overrules it.
            clock: the emulated present; by default it runs with the event loop.
            sender: how webhooks are reached; by default by httpx, without certificates of its own.
            graph_url: what the control API tells callers to use for Graph and login.
        """
        self._own_client = webhook_client() if sender is None else None
        if sender is None:
            assert self._own_client is not None
            sender = HttpxSender(self._own_client)
        rng = random.Random(seed)
        self.world = World(
            clock=clock or LoopClock(),
            rng=rng,
            ids=IdMaker(rng),
            moods=moods or (calm_moods() if calm else Moods()),
        )
        self.script = FaultScript()
        self.tokens = Tokens(world=self.world)
        self.deliveries = Deliveries(world=self.world, sender=sender, mint_validation=self._mint_validation)
        self.mailroom = Mailroom(world=self.world, note_change=self.deliveries.note_change)
        self.meetings = Meetings(world=self.world, mailroom=self.mailroom)
        self.subscribing = Subscribing(world=self.world, sender=sender, deliveries=self.deliveries)
        self.graph_app = GraphApp(
            world=self.world,
            login=Login(world=self.world, tokens=self.tokens),
            tokens=self.tokens,
            script=self.script,
            routes=graph_routes(
                world=self.world, mailroom=self.mailroom, meetings=self.meetings, subscribing=self.subscribing
            ),
        )
        parts = Parts(
            seed=seed,
            graph_url=graph_url,
            world=self.world,
            script=self.script,
            tokens=self.tokens,
            deliveries=self.deliveries,
            mailroom=self.mailroom,
            meetings=self.meetings,
            subscribing=self.subscribing,
        )
        self.tenants = TenantControl(parts)
        self._snapshots = Snapshots(parts)
        self.control_app = ControlApp(control_routes(parts, self.tenants))

    def load_state(self, dump: JsonObject) -> None:
        """Take over a dumped state, while running; everything there was before is gone.

        Raises:
            ControlError: it is no dump that this emulator can read.
        """
        self._snapshots.load(dump)

    async def run(self, stop: asyncio.Event) -> None:
        """Let rooms and notifications act until `stop` is set."""
        await self._run(asyncio.Event(), stop)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Emulator"]:
        """Let rooms and notifications act while the body runs."""
        started, stop = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run(started, stop), name="emulator")
            await started.wait()
            try:
                yield self
            finally:
                stop.set()

    async def _run(self, started: asyncio.Event, stop: asyncio.Event) -> None:
        try:
            await self.world.background.run(started.set, stop)
        finally:
            if self._own_client is not None:
                await self._own_client.aclose()

    def _mint_validation(self, tenant: Tenant, client_id: str) -> str:
        """Sign a token that shows an app that notifications with resource data come from Microsoft."""
        return self.tokens.mint(tenant, change_tracking_app(), by_assertion=True, audience=client_id)[0]
