"""The composition root: builds every object, and runs the service until it is told to stop.

Nothing else picks concrete classes. To see what talks to what, read `build_service`; what stops when is `service`'s.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from random import Random

import httpx
import structlog

from sidecar.aio.budget import Budget
from sidecar.aio.clock import Clock, SystemClock
from sidecar.aio.stopping import StartGivenUp, Stop
from sidecar.api.booking_codec import ProtoBookingCodec
from sidecar.api.server import ApiServer
from sidecar.api.servicers import Inquiries
from sidecar.diagnosis.diagnosis import build_diagnosis
from sidecar.diagnosis.reserve import ReserveTest
from sidecar.diagnosis.verify import TenantVerifier
from sidecar.feed.feed import Feed
from sidecar.graph.auth import TokenSource
from sidecar.graph.breaker import Breaker
from sidecar.graph.client import GraphClient
from sidecar.graph.event_writer import EventWriter
from sidecar.graph.logins import trusting
from sidecar.graph.reserve_test import ReserveTestCalls
from sidecar.graph.schedules import ScheduleCalls
from sidecar.graph.skew import SkewWatch
from sidecar.graph.throttle import Throttle
from sidecar.graph.time_told import fetch_time
from sidecar.graph.transport import Transport, build_http
from sidecar.graph.webhook_call import WebhookCaller
from sidecar.intake.path_secrets import PathSecrets, follow_path_secrets
from sidecar.model.room import freshness_limits
from sidecar.reloading import Reloading
from sidecar.service import Listening, Service
from sidecar.settings import Settings, StoreSettings
from sidecar.store.engine import Engine
from sidecar.store.migrate import migrate
from sidecar.store.sqlite import SqliteEngine
from sidecar.store.sqlite_files import free_bytes, size_bytes
from sidecar.store.store import Store
from sidecar.store.timed import TimedEngine
from sidecar.store.vault import load_vault
from sidecar.sync.rooms import RoomSync
from sidecar.sync.strays import SubscriptionAudit
from sidecar.sync.subscriptions import SubscriptionKeeper
from sidecar.sync.webhook_address import WebhookAddress
from sidecar.sync.webhook_watch import WebhookWatch
from sidecar.tasks.called_runner import BothRunners, CalledRunner
from sidecar.tasks.chores import Chores
from sidecar.tasks.driving import LaneDriving
from sidecar.tasks.lanes import Lanes
from sidecar.tasks.runner import EmbeddedRunner, Runner
from sidecar.tasks.tenant_health import TenantHealth
from sidecar.telemetry.outlets import Outlets, outlets_opened
from sidecar.tenants.credentials import CredentialKeeper
from sidecar.tenants.discover import RoomDiscovery
from sidecar.tenants.readdress import RoomEditor
from sidecar.tenants.remove import TenantRemover
from sidecar.writes.asking import ScheduleAsking
from sidecar.writes.writing import build_writing

log = structlog.get_logger(__name__)

_TRACES_ASKED_PER_S = 50.0
"""Calls that are traced because their callers trace; of what comes beyond, the ratio's share is."""


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
        asked = Budget(most=_TRACES_ASKED_PER_S, per_s=_TRACES_ASKED_PER_S, clock=SystemClock())
        outlets = await stack.enter_async_context(
            outlets_opened(settings.telemetry, roles=settings.roles, trusting=trusting, asked=asked, rng=rng)
        )
        telemetry = outlets.telemetry
        engine, clock = await _open_engine(settings.store, stack, clock=clock, rng=rng)
        if settings.store.dsn_file is None:
            telemetry.observe("store_bytes", partial(size_bytes, settings.store.path))
            telemetry.observe("store_free_bytes", partial(free_bytes, settings.store.path))
        store = Store(TimedEngine(engine, telemetry=telemetry), vault=vault, codec=ProtoBookingCodec())
        tokens = TokenSource(
            credentials=store.credentials,
            settings=settings.graph,
            token_files_folder=settings.credentials.token_files_folder,
            clock=clock,
            telemetry=telemetry,
        )
        stack.callback(tokens.close)
        http = await stack.enter_async_context(build_http(settings.graph))
        yield await build_service(
            settings, store=store, outlets=outlets, tokens=tokens, http=http, clock=clock, rng=rng
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
    outlets: Outlets,
    tokens: TokenSource,
    http: httpx.AsyncClient,
    clock: Clock,
    rng: Random,
) -> Service:
    """Put the service together over an open store, and make the store fit its settings.

    What reaches outside (database, login, network, time, chance) is handed in: a simulation brings its own.
    """
    telemetry = outlets.telemetry
    renewal = await store.epochs.renew_if_rolled_back()  # before anything else is written
    if renewal is not None:
        log.warning("store.epochs_renewed", tenants_count=renewal.tenants_count, rooms_count=renewal.rooms_count)
    if settings.store.dsn_file is None:
        await store.intents.break_leases()  # the file is ours alone: whoever held a lane is dead
        await store.writes.break_claims()
    path_secrets = follow_path_secrets(settings.webhook.path_secrets_file)
    address = await _announce_address(settings, path_secrets, store=store, clock=clock)
    throttle = Throttle(settings=settings.graph, clock=clock)
    breaker = Breaker(clock=clock, rng=rng)
    skew = SkewWatch()
    transport = Transport(
        http=http,
        tokens=tokens,
        throttle=throttle,
        breaker=breaker,
        skew=skew,
        clock=clock,
        rng=rng,
        settings=settings.graph,
        telemetry=telemetry,
    )
    graph = GraphClient(transport=transport, settings=settings.graph)
    room_sync = RoomSync(store=store, reader=graph, clock=clock, settings=settings.sync, telemetry=telemetry)
    keeper = SubscriptionKeeper(
        store=store,
        subscriber=graph,
        clock=clock,
        rng=rng,
        settings=settings.sync,
        telemetry=telemetry,
    )
    verifier = TenantVerifier(store=store, tokens=tokens, prober=graph, clock=clock, rng=rng)
    reserve = ReserveTest(
        store=store,
        calls=ReserveTestCalls(transport),
        reader=graph,
        clock=clock,
        rng=rng,
        settings=settings.sync,
    )
    writing = build_writing(
        store=store,
        calls=EventWriter(transport=transport, settings=settings.graph),
        reader=graph,
        limits=freshness_limits(settings.sync),
        telemetry=telemetry,
        clock=clock,
    )
    chores = Chores(
        store=store,
        room_sync=room_sync,
        subscriptions=keeper,
        webhook=WebhookWatch(store=store, caller=graph, pace=keeper.pace, clock=clock, rng=rng),
        audit=SubscriptionAudit(store=store, lister=graph, pace=keeper.pace, clock=clock, telemetry=telemetry),
        verifier=verifier,
        credentials=CredentialKeeper(
            store=store, tokens=tokens, prober=graph, clock=clock, rng=rng, settings=settings.credentials
        ),
        remover=TenantRemover(store=store, unsubscriber=graph, tokens=tokens, clock=clock),
        reserve=reserve,
        writes=writing.driver,
        health=TenantHealth(store=store, breaker=breaker, skew=skew, clock=clock, rng=rng),
        clock=clock,
        rng=rng,
        sync_settings=settings.sync,
        store_settings=settings.store,
        telemetry=telemetry,
    )
    owner = f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(3)}"
    lanes = Lanes(
        store=store,
        chores=chores,
        owner=owner,
        clock=clock,
        rng=rng,
        settings=settings.tasks,
        telemetry=telemetry,
        tracing=outlets.tracing,
    )
    identity = await store.identity()
    called = CalledRunner(
        store=store,
        lanes=lanes,
        clock=clock,
        settings=settings.tasks,
        is_relied_on=settings.is_working and settings.tasks.runner == "outside",
    )
    schedule = _build_schedule(
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
        telemetry=telemetry,
    )
    diagnosis = build_diagnosis(
        store=store,
        store_id=identity.store_id,
        verifier=verifier,
        tokens=tokens,
        reader=graph,
        reserve=reserve,
        caller=WebhookCaller(settings.graph),
        tell_time=partial(fetch_time, settings.graph),
        settings=settings,
        clock=clock,
        rng=rng,
    )
    inquiries = Inquiries(
        diagnosis=diagnosis,
        discovery=RoomDiscovery(store=store, places=graph, tokens=tokens),
        room_editor=RoomEditor(store=store, reader=graph),
        writing=writing,
        schedules=ScheduleAsking(tenants=store.tenants, reader=ScheduleCalls(transport)),
        driving=LaneDriving(store=store, runner=called, clock=clock, sweep_s=settings.tasks.sweep_s),
    )
    api = None
    if "api" in settings.roles:
        api = ApiServer(
            store=store,
            feed=feed,
            inquiries=inquiries,
            settings=settings,
            clock=clock,
            metrics=telemetry,
            tracing=outlets.tracing,
        )
        telemetry.observe("access_files_unusable", lambda: api.unusable_files_count)
        telemetry.observe("watches_stalled", lambda: api.stalled_watches_count)
    telemetry.observe("key_ring_keys", lambda: store.sealed.keys_count)
    telemetry.observe("watches_open", lambda: feed.watches_count)
    telemetry.observe("tenants_paused", lambda: breaker.open_count)
    telemetry.observe("requests_under_way", lambda: throttle.under_way_count)
    telemetry.observe("requests_waiting", lambda: throttle.waiting_count)
    telemetry.observe("clock_ahead_seconds", lambda: skew.ahead_s)
    telemetry.observe("writes_under_way", lambda: writing.driver.under_way_count)
    telemetry.observe("lanes_draining", lambda: lanes.draining_count)
    runner = called if schedule is None else BothRunners(schedule, called)
    telemetry.observe("runner_silent_seconds", runner.silent_s)
    return Service(
        settings,
        store=store,
        store_id=identity.store_id,
        feed=feed,
        runner=runner,
        inquiries=inquiries,
        api=api,
        address=address,
        path_secrets=path_secrets,
        outlets=outlets,
        clock=clock,
        rng=rng,
    )


def _url_told(settings: Settings, path_secrets: PathSecrets | None) -> str | None:
    """Return the base URL that Microsoft is told now; None: there is none."""
    url = settings.webhook.public_url
    return f"{url}/{path_secrets.current[0]}" if url is not None and path_secrets is not None else url


async def _announce_address(
    settings: Settings, path_secrets: PathSecrets | None, *, store: Store, clock: Clock
) -> WebhookAddress | None:
    """Say where Microsoft is to call, for whoever works; return what goes on saying it, None where nobody has to hear it."""
    if not settings.is_working:
        return None
    is_alone = settings.store.dsn_file is None  # a file has no other process
    url = partial(_url_told, settings, path_secrets)
    address = WebhookAddress(urls=store.webhook_urls, url=url, is_alone=is_alone, clock=clock)
    await address.begin()
    return None if is_alone and path_secrets is None else address


def _build_schedule(
    settings: Settings, *, store: Store, store_id: str, lanes: Lanes, owner: str, clock: Clock, rng: Random
) -> Runner | None:
    """Return what looks for work by itself; None in a process that does what it is called for only."""
    if "worker" not in settings.roles or settings.tasks.runner == "outside":
        return None
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


def tune_collector() -> None:
    """Make Python look for cycles less often: serving makes few of them, and very many short-lived messages.

    With a thousand watchers the collector takes a third of the time otherwise.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def run(settings: Settings, *, reloading: Reloading, announce: Callable[[Listening], None]) -> None:
    """Run the service until SIGTERM or SIGINT; a second one ends it at once, one during the start gives the start up.

    SIGHUP has the settings read again.

    Args:
        announce: called once everything listens.
    Raises:
        SettingsInvalid, StoreUnavailable: it cannot start, and why.
    """
    stop = Stop()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloading.ask)
    async with AsyncExitStack() as stack:
        try:
            with stop.starting():
                service = await stack.enter_async_context(running(settings))
                listening = await stack.enter_async_context(service.serve())
        except StartGivenUp:
            log.info("service.start_given_up")
            return
        log.info(
            "service.ready",
            roles=list(listening.roles),
            grpc=list(listening.grpc),
            webhooks=listening.webhooks,
            probes=listening.probes,
        )
        announce(listening)
        async with reloading.following():
            await stop.wait()
    log.info("service.stopped")
