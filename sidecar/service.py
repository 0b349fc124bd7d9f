"""The running service: what listens, what works, and what stops when.

`app` builds it. To see what stops when, read `drain` and `end_work`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import Random

import structlog
from starlette.applications import Starlette

from sidecar.aio.clock import Clock
from sidecar.aio.lag import LoopLag
from sidecar.aio.serving import address_of, bind, serving
from sidecar.aio.supervise import keep_running
from sidecar.api.server import ApiServer
from sidecar.api.servicers import Inquiries
from sidecar.build_facts import read_build_facts
from sidecar.errors import SettingsInvalid, SidecarError
from sidecar.feed.feed import Feed
from sidecar.intake.http import build_intake
from sidecar.intake.path_secrets import PathSecrets
from sidecar.intake.probes import build_probes
from sidecar.intake.sink import MarkingSink
from sidecar.model.room import freshness_limits
from sidecar.settings import Role, Settings, split_address
from sidecar.store.resealing import KeyRingKeeper
from sidecar.store.store import Store
from sidecar.sync.freshness import FreshnessGauges
from sidecar.sync.standing import StandingGauges
from sidecar.sync.webhook_address import WebhookAddress
from sidecar.tasks.runner import Runner
from sidecar.telemetry.outlets import Outlets

log = structlog.get_logger(__name__)

_WORK_GRACE_S = 5.0
"""How long background work under way may go on when the process stops; it is safe to cut off, and done again."""
_WRITES_GRACE_S = 5.0
"""How long writes under way may go on when the process stops; what is cut off is gone on with from its row."""
_WEBHOOKS_GRACE_S = 3.0
"""How long requests of Microsoft under way may go on; what is cut off is sent again."""
_PROBES_GRACE_S = 1.0
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
        store_id: str,
        feed: Feed,
        runner: Runner,
        inquiries: Inquiries,
        api: ApiServer | None,
        address: WebhookAddress | None,
        path_secrets: PathSecrets | None,
        outlets: Outlets,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._settings = settings
        self.store = store
        self._store_id = store_id
        self.feed = feed
        self.inquiries = inquiries
        self._runner = runner
        self._api = api
        self._address = address
        self._path_secrets = path_secrets
        self._outlets = outlets
        self._telemetry = telemetry = outlets.telemetry
        self._gauges = FreshnessGauges(
            store=store, limits=freshness_limits(settings.sync), clock=clock, telemetry=telemetry
        )
        self._standing = StandingGauges(store=store, clock=clock, telemetry=telemetry)
        self._lag = LoopLag(clock=clock)
        telemetry.observe("loop_lag_seconds", lambda: self._lag.worst_s)
        telemetry.observe("serving", lambda: float(self._is_serving))
        build = read_build_facts()
        telemetry.tell("build_info", build.version, build.revision or "unknown")
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
            # Here and not with the work: a simulated life has no use for it, and it never rests.
            others.append(group.create_task(self._lag.run(), name="loop lag"))
            # What is entered last is left first: the probes outlive everything, so that the kubelet sees the draining.
            probes = build_probes(
                telemetry=self._telemetry,
                check_store=self.store.check,
                look=self._look,
                is_serving=lambda: self._is_serving,
                trouble=self._trouble,
            )
            probes_socket = _bind(settings.probes.listen, "probes.listen")
            await stack.enter_async_context(
                serving(
                    probes, probes_socket, group=group, connections_max=_PROBE_CONNECTIONS_MAX, grace_s=_PROBES_GRACE_S
                )
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
                        grace_s=_WEBHOOKS_GRACE_S,
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

    async def _look(self) -> None:
        """Bring up to date what is counted only when it is asked for."""
        await self._gauges.look()
        await self._standing.look()

    def _trouble(self) -> str | None:
        """Say what keeps the process from what it is for; who also serves callers goes on serving them meanwhile."""
        if self._settings.roles == ("worker",) and self._runner.silent_s() > _SILENT_MAX_S:
            return "the worker cannot look for work"
        return None

    def start_work(self, group: asyncio.TaskGroup) -> tuple[asyncio.Task[None], ...]:
        """Start what runs whether or not anybody calls: the background work, which comes first, and what it rests on."""
        bodies = {
            "runner": self._runner.run,
            "feed": self.feed.run,
            "store": self.store.run,
            "tenants": self.feed.tenants.run,
            "writes": self.inquiries.writing.driver.run,
        }
        if self._api is None:
            del bodies["feed"], bodies["tenants"]  # nobody watches here
        if self._settings.is_working and self.store.sealed.follows_file:
            bodies["key ring"] = KeyRingKeeper(sealed=self.store.sealed, clock=self._clock).run
        if self._address is not None:
            bodies["webhook address"] = self._address.run
        if self._outlets.metric_sender is not None:
            sending = partial(self._outlets.metric_sender.run, look=self._look, sleep=self._clock.sleep)
            bodies["metrics"] = sending
        return tuple(
            group.create_task(
                keep_running(name, body, clock=self._clock, rng=self._rng, failed=self._note_failure), name=name
            )
            for name, body in bodies.items()
        )

    def _note_failure(self) -> None:
        self._telemetry.count("loop_failures", 1)

    def intake(self) -> Starlette:
        """Return the application behind the webhook address."""
        sink = MarkingSink(self.store.subscriptions, settings=self._settings.sync, telemetry=self._telemetry)
        return build_intake(
            sink=sink,
            counters=self._telemetry,
            settings=self._settings.webhook,
            store_id=self._store_id,
            clock=self._clock,
            path_secrets=self._path_secrets,
            tracing=self._outlets.tracing,
        )

    async def drain(self) -> None:
        """First stage of stopping: unready, watches closed with a message, calls finished. The webhooks still answer.

        Callers who only wait for something (changes, a room's answer) are told what is known; who still asks is answered.
        """
        log.info("service.draining", watches_count=self.feed.watches_count)
        self._is_serving = False
        self.feed.drain()
        self._runner.stop()
        self.inquiries.writing.driver.drain()
        if self._api is not None:
            await self._api.stop(self._settings.grpc.drain_s, quiet_s=self._settings.grpc.quiet_s)

    async def end_work(self, working: asyncio.Task[None], *others: asyncio.Task[None]) -> None:
        """Last stage: background work finishes what it has begun, within its grace."""
        self._runner.stop()  # again, for a start that failed: that is left without draining
        await self.inquiries.writing.driver.wait_idle(_WRITES_GRACE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WORK_GRACE_S):
                await asyncio.shield(working)
        for task in (working, *others):
            task.cancel()


def _bind(address: str, setting: str) -> socket.socket:
    try:
        return bind(*split_address(address))
    except OSError as error:
        raise SettingsInvalid("cannot listen", details={setting: f"{address}: {error.strerror or error}"}) from error
