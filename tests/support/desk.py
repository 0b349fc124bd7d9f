"""A store with one room, and the calendar it is a copy of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from sidecar.model.change import Change
from sidecar.model.intent import IntentKind, Lease
from sidecar.model.plan import Applied
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.settings import SyncSettings
from sidecar.sync.pace import SubscriptionPace
from sidecar.sync.rooms import RoomSync
from sidecar.sync.strays import SubscriptionAudit
from sidecar.sync.subscriptions import SubscriptionKeeper
from sidecar.telemetry.metrics import Telemetry
from tests.support.builders import make_notification, secret_hash
from tests.support.fake_calendar import FakeCalendar, FakeSubscriptions
from tests.support.stores import ManualClock, OpenStore, open_store

URL = "https://hooks.example.com"


@dataclass
class Desk:
    """What a test of `sync` works with."""

    opened: OpenStore
    clock: ManualClock
    tenant: Tenant
    room: Room
    lease: Lease
    settings: SyncSettings = field(default_factory=SyncSettings)
    calendar: FakeCalendar = field(default_factory=FakeCalendar)
    subscriptions: FakeSubscriptions = field(default_factory=FakeSubscriptions)
    telemetry: Telemetry = field(default_factory=Telemetry)

    @property
    def sync(self) -> RoomSync:
        """The room sync under test."""
        return RoomSync(
            store=self.opened.store,
            reader=self.calendar,
            clock=self.clock,
            settings=self.settings,
            telemetry=self.telemetry,
        )

    async def announce(self, url: str | None) -> None:
        """Start the only process with a webhook address."""
        await self.opened.store.webhook_urls.announce(url, is_start=True, is_alone=True)

    def keeper(self) -> SubscriptionKeeper:
        """The subscription keeper under test."""
        return SubscriptionKeeper(
            store=self.opened.store,
            subscriber=self.subscriptions,
            clock=self.clock,
            rng=Random(1),
            settings=self.settings,
            telemetry=self.telemetry,
        )

    def audit(self) -> SubscriptionAudit:
        """The audit under test."""
        return SubscriptionAudit(
            store=self.opened.store,
            lister=self.subscriptions,
            pace=SubscriptionPace(clock=self.clock),
            clock=self.clock,
            telemetry=self.telemetry,
        )

    async def compare(self) -> Applied:
        """Read everything."""
        self.room = await self.opened.reload(self.room)
        applied = await self.sync.compare(self.room, self.tenant, lease=self.lease)
        self.room = await self.opened.reload(self.room)
        assert applied is not None
        return applied

    async def check(self, *, attempts: int = 0) -> Applied:
        """Ask what changed, and read it."""
        self.room = await self.opened.reload(self.room)
        applied = await self.sync.check(self.room, self.tenant, lease=self.lease, attempts=attempts)
        self.room = await self.opened.reload(self.room)
        assert applied is not None
        return applied

    async def subscribe(self) -> None:
        """Have Exchange promise to announce the room's changes."""
        await self.keeper().ensure(await self.opened.reload(self.room), self.tenant)
        self.room = await self.opened.reload(self.room)

    async def hint(self, *event_ids: str) -> None:
        """Have notifications name events."""
        store = self.opened.store.subscriptions
        if await store.load_for_room(self.room.uid) is None:
            await store.prepare(
                self.room.uid,
                self.tenant.uid,
                key="k1",
                secret_hash=secret_hash("s"),
                directory_id=self.tenant.directory_id,
                url=URL,
            )
        items = [make_notification("k1", secret="s", event_id=event_id) for event_id in event_ids]
        outcome = await store.mark(items, settle_s=0.0, settle_max_s=0.0)
        assert outcome.marked_count == len(event_ids)

    async def read_hinted(self) -> bool:
        """Read what was named."""
        return await self.sync.read_hinted(await self.opened.reload(self.room), self.tenant, lease=self.lease)

    async def hints(self) -> list[str]:
        """Return what was named and not read."""
        return list((await self.opened.store.calendars.load_hints(self.room.uid))[0])

    async def told(self, after_revision: int = 0) -> list[Change]:
        """Return the changes of bookings in the log."""
        entries, _ = await self.opened.store.changes.read(
            self.tenant.uid, after_revision=after_revision, count_max=1000
        )
        return [entry for entry in entries if entry.is_booking]

    async def due(self) -> dict[IntentKind, Any]:  # row values
        """Return what is due for the room, with its time."""
        rows = await self.opened.fetch("SELECT kind, ready_at FROM intents WHERE key = $1", self.room.uid)
        return {IntentKind(kind): ready_at for kind, ready_at in rows}


@asynccontextmanager
async def open_desk(folder: Path) -> AsyncIterator[Desk]:
    """Open a store with a mapped room that was never read."""
    clock = ManualClock()
    async with open_store(folder / "exchange.sqlite3", clock=clock) as opened:
        await opened.store.webhook_urls.announce(URL, is_start=True, is_alone=True)
        tenant = await opened.add_tenant()
        room = await opened.add_room()
        lease = await opened.store.intents.take_lane(tenant.uid, owner="test", lease_s=1e6)
        assert lease is not None
        desk = Desk(opened, clock, tenant, room, lease)
        yield desk
        desk.telemetry.close()
