"""The composition root: builds every object, owns the task group, and stops things in order.

Nothing else picks concrete classes. To see what talks to what, read `build_service`; to see what stops when, read `drain`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random

import httpx
import structlog
from starlette.applications import Starlette

from sidecar.aio.clock import Clock, SystemClock
from sidecar.aio.serving import address_of, bind, serving
from sidecar.aio.supervise import keep_running
from sidecar.api.convert import ProtoBookingCodec
from sidecar.api.server import ApiServer
from sidecar.errors import SettingsInvalid, SidecarError
from sidecar.feed.feed import Feed
from sidecar.graph.auth import TokenSource
from sidecar.graph.breaker import Breaker
from sidecar.graph.client import GraphClient
from sidecar.graph.throttle import Throttle
from sidecar.graph.transport import build_http
from sidecar.intake.http import build_intake
from sidecar.intake.probes import build_probes
from sidecar.intake.sink import MarkingSink
from sidecar.model.room import freshness_limits
from sidecar.settings import Role, Settings, StoreSettings, split_address
from sidecar.store.engine import Engine
from sidecar.store.migrate import migrate
from sidecar.store.sqlite import SqliteEngine
from sidecar.store.store import Store
from sidecar.store.vault import load_vault
from sidecar.sync.freshness import FreshnessGauges
from sidecar.sync.rooms import RoomSync
from sidecar.sync.strays import SubscriptionAudit
from sidecar.sync.subscriptions import SubscriptionKeeper
from sidecar.sync.webhook_address import WebhookAddress
from sidecar.tasks.chores import Chores
from sidecar.tasks.lanes import Lanes
from sidecar.tasks.runner import EmbeddedRunner, Resting, Runner
from sidecar.tasks.tenant_health import TenantHealth
from sidecar.telemetry import Telemetry
from sidecar.tenants.remove import TenantRemover
from sidecar.tenants.verify import TenantVerifier

log = structlog.get_logger(__name__)

_WORK_GRACE_S = 5.0
"""How long background work under way may go on when the process stops; it is safe to cut off, and done again."""
_PROBE_CONNECTIONS_MAX = 32
_SILENT_MAX_S = 30.0
"""A process that is there for background work only, and could not look for any for so long, is not ready."""


@dataclass(frozen=True, slots=True)
class Listening:
    """What the process does, and where it listens, once it does.

    `grpc` is empty without the role api; `webhooks` is None without the role ingress, and when no public URL is set.
    """

    roles: Sequence[Role]
    grpc: Sequence[str]
    webhooks: str | None
    probes: str


class Service:
    """The running service. Built by `running`, which also takes it apart."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        feed: Feed,
        runner: Runner,
        api: ApiServer | None,
        address: WebhookAddress | None,
        telemetry: Telemetry,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._settings = settings
        self.store = store
        self.feed = feed
        self._runner = runner
        self._api = api
        self._address = address
        self._telemetry = telemetry
        self._gauges = FreshnessGauges(
            store=store, limits=freshness_limits(settings.sync), clock=clock, telemetry=telemetry
        )
        self._clock = clock
        self._rng = rng
        self._is_serving = False

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Listening]:
        """Listen and work while inside; drain on the way out.

        Raises:
            SettingsInvalid: an address is taken, or cannot be used.
        """
        try:
            async with self._serving() as listening:
                yield listening
        except ExceptionGroup as failures:
            # The group wraps whatever passes through it; a failed start is one sentence for whoever started us.
            if len(failures.exceptions) == 1 and isinstance(failures.exceptions[0], SidecarError):
                raise failures.exceptions[0] from None
            raise

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[Listening]:
        settings = self._settings
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(asyncio.TaskGroup())
            working, *others = self.start_work(group)
            # What is entered last is left first: the probes outlive everything, so that the kubelet sees the draining.
            probes = build_probes(
                telemetry=self._telemetry,
                check_store=self.store.check,
                look=self._gauges.look,
                is_serving=lambda: self._is_serving,
                trouble=self._trouble,
            )
            probes_socket = _bind(settings.probes.listen, "probes.listen")
            await stack.enter_async_context(
                serving(probes, probes_socket, group=group, connections_max=_PROBE_CONNECTIONS_MAX, grace_s=1.0)
            )
            stack.push_async_callback(self.end_work, working, *others)
            webhooks = None
            if "ingress" in settings.roles and settings.webhook.public_url is not None:
                intake_socket = _bind(settings.webhook.listen, "webhook.listen")
                await stack.enter_async_context(
                    serving(
                        self.intake(),
                        intake_socket,
                        group=group,
                        connections_max=settings.webhook.requests_max * 4,
                        grace_s=3.0,
                    )
                )
                webhooks = address_of(intake_socket)
            grpc: Sequence[str] = ()
            if self._api is not None:
                grpc = await self._api.start()
                group.create_task(self._api.wait_ended(), name="api")
            stack.push_async_callback(self.drain)
            self._is_serving = True
            yield Listening(roles=settings.roles, grpc=grpc, webhooks=webhooks, probes=address_of(probes_socket))

    def _trouble(self) -> str | None:
        """Say what keeps the process from what it is for; who also serves callers goes on serving them meanwhile."""
        if self._settings.roles == ("worker",) and self._runner.silent_s() > _SILENT_MAX_S:
            return "the worker cannot look for work"
        return None

    def start_work(self, group: asyncio.TaskGroup) -> tuple[asyncio.Task[None], ...]:
        """Start what runs whether or not anybody calls: the background work, which comes first, and what it rests on."""
        bodies = {"runner": self._runner.run, "feed": self.feed.run, "store": self.store.run}
        if self._api is None:
            del bodies["feed"]  # nobody watches here
        if self._address is not None:
            bodies["webhook address"] = self._address.run
        return tuple(
            group.create_task(keep_running(name, body, clock=self._clock, rng=self._rng), name=name)
            for name, body in bodies.items()
        )

    def intake(self) -> Starlette:
        """Return the application behind the webhook address."""
        sink = MarkingSink(self.store.subscriptions, settings=self._settings.sync, telemetry=self._telemetry)
        return build_intake(sink=sink, counters=self._telemetry, settings=self._settings.webhook)

    async def drain(self) -> None:
        """First stage of stopping: unready, watches closed with a message, calls finished. The webhooks still answer."""
        log.info("service.draining", watches_count=self.feed.watches_count)
        self._is_serving = False
        self.feed.drain()
        self._runner.stop()
        if self._api is not None:
            await self._api.stop(self._settings.grpc.drain_s)

    async def end_work(self, working: asyncio.Task[None], *others: asyncio.Task[None]) -> None:
        """Last stage: background work finishes what it has begun, within its grace."""
        self._runner.stop()  # again, for a start that failed: that is left without draining
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WORK_GRACE_S):
                await asyncio.shield(working)
        for task in (working, *others):
            task.cancel()


@asynccontextmanager
async def running(
    settings: Settings, *, clock: Clock | None = None, rng: Random | None = None
) -> AsyncIterator[Service]:
    """Build the service over its database, and close everything on the way out.

    Raises:
        SettingsInvalid, StoreUnavailable: it cannot start, and why.
    """
    rng = rng or Random(secrets.randbits(64))
    vault = load_vault(settings.vault.key_ring_file)
    await migrate(settings.store, with_hints=settings.tasks.runner == "procrastinate")
    async with AsyncExitStack() as stack:
        telemetry = Telemetry()
        stack.callback(telemetry.close)
        engine, clock = await _open_engine(settings.store, stack, clock=clock, rng=rng)
        store = Store(engine, vault=vault, codec=ProtoBookingCodec())
        tokens = TokenSource(credentials=store.tenants, settings=settings.graph, clock=clock)
        stack.callback(tokens.close)
        http = await stack.enter_async_context(build_http(settings.graph))
        yield await build_service(
            settings, store=store, telemetry=telemetry, tokens=tokens, http=http, clock=clock, rng=rng
        )


async def _open_engine(
    settings: StoreSettings, stack: AsyncExitStack, *, clock: Clock | None, rng: Random
) -> tuple[Engine, Clock]:
    """Open the database that is set, and say whose time the service goes by: its own, or that of all who share it."""
    if settings.dsn_file is None:
        clock = clock or SystemClock()
        sqlite = SqliteEngine(settings.path, synchronous=settings.synchronous, busy_s=settings.busy_s, clock=clock)
        stack.push_async_callback(sqlite.close)
        await sqlite.open()
        return sqlite, clock
    # Imported here: who runs on SQLite does without the driver.
    from sidecar.store.postgres import PostgresEngine
    from sidecar.store.postgres_link import Link

    link = Link(settings.dsn_file, statement_s=settings.statement_s, lock_s=settings.busy_s)
    postgres = PostgresEngine(link, connections_max=settings.connections_max, clock=clock, rng=rng)
    stack.push_async_callback(postgres.close)
    await postgres.open()
    return postgres, postgres.clock


async def build_service(
    settings: Settings,
    *,
    store: Store,
    telemetry: Telemetry,
    tokens: TokenSource,
    http: httpx.AsyncClient,
    clock: Clock,
    rng: Random,
) -> Service:
    """Put the service together over an open store, and make the store fit its settings.

    What reaches outside (database, login, network, time, chance) is handed in: a simulation brings its own.
    """
    renewal = await store.epochs.renew_if_rolled_back()  # before anything else is written
    if renewal is not None:
        log.warning("store.epochs_renewed", tenants_count=renewal.tenants_count, rooms_count=renewal.rooms_count)
    if settings.store.dsn_file is None:
        await store.intents.break_leases()  # the file is ours alone: whoever held a lane is dead
    address = await _announce_address(settings, store=store, clock=clock)
    throttle = Throttle(settings=settings.graph, clock=clock)
    breaker = Breaker(clock=clock, rng=rng)
    graph = GraphClient(
        http=http, tokens=tokens, throttle=throttle, breaker=breaker, clock=clock, rng=rng, settings=settings.graph
    )
    room_sync = RoomSync(store=store, reader=graph, clock=clock, settings=settings.sync, telemetry=telemetry)
    keeper = SubscriptionKeeper(
        store=store,
        subscriber=graph,
        clock=clock,
        rng=rng,
        settings=settings.sync,
        telemetry=telemetry,
    )
    chores = Chores(
        store=store,
        room_sync=room_sync,
        subscriptions=keeper,
        audit=SubscriptionAudit(store=store, lister=graph, pace=keeper.pace, clock=clock, telemetry=telemetry),
        verifier=TenantVerifier(store=store, tokens=tokens, prober=graph, rng=rng),
        remover=TenantRemover(store=store, unsubscriber=graph, tokens=tokens),
        health=TenantHealth(store=store, breaker=breaker, clock=clock, rng=rng),
        clock=clock,
        rng=rng,
        sync_settings=settings.sync,
        store_settings=settings.store,
    )
    owner = f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(3)}"
    lanes = Lanes(
        store=store, chores=chores, owner=owner, clock=clock, rng=rng, settings=settings.tasks, telemetry=telemetry
    )
    identity = await store.identity()
    runner = _build_runner(
        settings, store=store, store_id=identity.store_id, lanes=lanes, owner=owner, clock=clock, rng=rng
    )
    feed = Feed(
        store=store,
        identity=identity,
        settings=settings.watch,
        limits=freshness_limits(settings.sync),
        watches_max=settings.grpc.watches_max,
        clock=clock,
        rng=rng,
    )
    api = None
    if "api" in settings.roles:
        api = ApiServer(store=store, feed=feed, settings=settings, clock=clock, metrics=telemetry)
    telemetry.observe("watches_open", lambda: feed.watches_count)
    telemetry.observe("tenants_paused", lambda: breaker.open_count)
    telemetry.observe("requests_under_way", lambda: throttle.under_way_count)
    telemetry.observe("requests_waiting", lambda: throttle.waiting_count)
    return Service(
        settings,
        store=store,
        feed=feed,
        runner=runner,
        api=api,
        address=address,
        telemetry=telemetry,
        clock=clock,
        rng=rng,
    )


async def _announce_address(settings: Settings, *, store: Store, clock: Clock) -> WebhookAddress | None:
    """Say where Microsoft is to call, for whoever works; return what goes on saying it, None where nobody has to hear it."""
    if "worker" not in settings.roles:
        return None
    is_alone = settings.store.dsn_file is None  # a file has no other process
    address = WebhookAddress(urls=store.webhook_urls, url=settings.webhook.public_url, is_alone=is_alone, clock=clock)
    await address.begin()
    return None if is_alone else address


def _build_runner(
    settings: Settings, *, store: Store, store_id: str, lanes: Lanes, owner: str, clock: Clock, rng: Random
) -> Runner:
    if "worker" not in settings.roles:
        return Resting()
    if settings.tasks.runner == "embedded":
        return EmbeddedRunner(store=store, lanes=lanes, clock=clock, settings=settings.tasks)
    assert settings.store.dsn_file is not None, "checked with the settings"
    # Imported here: who does not use Procrastinate need not have it.
    from sidecar.tasks.procrastinate_queue import ProcrastinateQueue
    from sidecar.tasks.procrastinate_runner import ProcrastinateRunner

    queue = ProcrastinateQueue(settings.store.dsn_file, store_id=store_id, statement_s=settings.store.statement_s)
    return ProcrastinateRunner(
        store=store, lanes=lanes, queue=queue, owner=owner, clock=clock, rng=rng, settings=settings.tasks
    )


def _bind(address: str, setting: str) -> socket.socket:
    try:
        return bind(*split_address(address))
    except OSError as error:
        raise SettingsInvalid("cannot listen", details={setting: f"{address}: {error.strerror or error}"}) from error


def tune_collector() -> None:
    """Make Python look for cycles less often: serving makes few of them, and very many short-lived messages.

    With a thousand watchers the collector takes a third of the time otherwise.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def run(settings: Settings, *, announce: Callable[[Listening], None]) -> None:
    """Run the service until SIGTERM or SIGINT; a second one ends it at once.

    Args:
        announce: called once everything listens.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            os._exit(1)  # asked twice: whoever asks wants it now; the database survives it
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with running(settings) as service, service.serve() as listening:
        log.info(
            "service.ready",
            roles=list(listening.roles),
            grpc=list(listening.grpc),
            webhooks=listening.webhooks,
            probes=listening.probes,
        )
        announce(listening)
        await stopping.wait()
    log.info("service.stopped")
