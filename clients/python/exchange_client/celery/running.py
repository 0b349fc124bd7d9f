"""Puts a bridge together from what a person names: where the sidecar is, whose rooms, where the cursor is kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from exchange_client import names
from exchange_client.celery.bridge import Bridge, Counts
from exchange_client.celery.changes import ExchangeChanges
from exchange_client.celery.cursor import Cursor, locked
from exchange_client.celery.pressure import HIGH_COUNT, Pressure
from exchange_client.channel import BearerToken, ChannelOptions, Tls
from exchange_client.client import ExchangeClient
from exchange_client.clock import SystemClock
from exchange_client.requests import watch_name
from exchange_client.tokens import FileTokenStore, TokenStore
from exchange_client.watching import HEARTBEAT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOptions:
    """How a bridge is run.

    Attributes:
        target: of the sidecar, `unix:///path/of.sock` or `host:port`.
        tenant: id of the tenant.
        cursor: folder of the cursor, which is locked as long as the bridge runs; or a store of your own, and then you see to it
            that one bridge at a time uses it.
        rooms: ids of the rooms, at most 1000; empty: all, also those mapped later.
        token, tls, channel: as for `ExchangeClient.connect`.
        high_count: messages in one queue above which nothing more is read.
        heartbeat_s: time between messages of a quiet stream.
        accept_queues: see `Cursor.load`.
    """

    target: str
    tenant: str
    cursor: Path | TokenStore
    rooms: Sequence[str] = ()
    token: BearerToken = field(default=None, repr=False)
    tls: Tls | None = field(default=None, repr=False)
    channel: ChannelOptions = ()
    high_count: int = HIGH_COUNT
    heartbeat_s: float = HEARTBEAT_S
    accept_queues: bool = False


async def run_bridge(
    changes: ExchangeChanges, options: BridgeOptions, *, begun: Callable[[Bridge], object] = lambda _: None
) -> Counts:
    """Run a bridge until somebody stops it, or the tenant is gone; give what it has done.

    Args:
        begun: is handed the bridge before it runs, to stop it with.
    Raises:
        CursorError: the cursor is used by another bridge, or was kept for other queues.
        ValueError: a name or number that cannot be.
        others: as `Bridge.run`.
    """
    tenant = names.tenant(options.tenant)
    rooms = [names.room(options.tenant, room) for room in options.rooms]
    queues_count = changes.layout.queues_count
    name = watch_name(tenant, rooms)
    pressure = Pressure(high_count=options.high_count)
    with ExitStack() as stack:
        store = options.cursor
        if isinstance(store, Path):
            stack.enter_context(locked(store, tenant))
            store = FileTokenStore(store)
        cursor = Cursor(store, name, queues_count=queues_count)
        cursor.load(accept_queues=options.accept_queues)
        async with ExchangeClient.connect(
            options.target, token=options.token, tls=options.tls, options=options.channel
        ) as client:
            bridge = Bridge(
                tenant=tenant,
                rooms=rooms,
                queues_count=queues_count,
                open_watch=lambda token: client.watch_rooms(
                    tenant, rooms, resume_token=token, heartbeat_s=options.heartbeat_s, watcher_id="celery-bridge"
                ),
                outlet=changes.outlet(),
                cursor=cursor,
                pressure=pressure,
                clock=SystemClock(),
                rng=random.Random(),
            )
            begun(bridge)
            await bridge.run()
            return bridge.counts
