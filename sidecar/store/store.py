"""The store: transactions in the words of the domain, grouped by what they are about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sidecar.model.ids import TenantUid
from sidecar.store import journal
from sidecar.store.attendances import Attendances
from sidecar.store.audit import Audit, AuditedEngine
from sidecar.store.calendars import BookingCodec, Calendars
from sidecar.store.census import Census
from sidecar.store.changes import Changes
from sidecar.store.credentials import Credentials
from sidecar.store.engine import Connection, Engine
from sidecar.store.epochs import Epochs
from sidecar.store.erasure import Erasure
from sidecar.store.intents import Intents
from sidecar.store.lanes import TenantLanes
from sidecar.store.lifecycle import Lifecycle
from sidecar.store.occupancy import Occupancies
from sidecar.store.organizer_events import OrganizerEvents
from sidecar.store.propagations import Propagations
from sidecar.store.rooms import Rooms
from sidecar.store.sealed import SealedRecords
from sidecar.store.standing import StandingReader
from sidecar.store.subscriptions import Subscriptions
from sidecar.store.task_runs import TaskRuns
from sidecar.store.tenants import Tenants
from sidecar.store.vault import Vault
from sidecar.store.webhook_reach import WebhookReach
from sidecar.store.webhook_urls import WebhookUrls
from sidecar.store.writes import Writes


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Which store this is; a restored copy stays the same store. What tells its histories apart is a log's epoch."""

    store_id: str


class Store:
    """All of the store, over one engine."""

    def __init__(self, engine: Engine, *, vault: Vault, codec: BookingCodec) -> None:
        engine = AuditedEngine(engine)
        self._engine = engine
        self.audit = Audit(engine)
        self.tenants = Tenants(engine, vault)
        self.credentials = Credentials(engine, vault)
        self.sealed = SealedRecords(engine, vault)
        self.lifecycle = Lifecycle(engine)
        self.propagations = Propagations(engine)
        self.rooms = Rooms(engine, codec)
        self.calendars = Calendars(engine, codec)
        self.occupancies = Occupancies(engine)
        self.attendances = Attendances(engine, codec)
        self.changes = Changes(engine)
        self.epochs = Epochs(engine)
        self.subscriptions = Subscriptions(engine, vault)
        self.webhook_urls = WebhookUrls(engine)
        self.webhook_reach = WebhookReach(engine)
        self.intents = Intents(engine)
        self.lanes = TenantLanes(engine)
        self.task_runs = TaskRuns(engine)
        self.writes = Writes(engine, vault)
        self.organizer_events = OrganizerEvents(engine, vault)
        self.census = Census(engine)
        self.standing = StandingReader(engine)
        self.erasure = Erasure(engine, vault, codec)

    @property
    def version(self) -> int | None:
        """See `Engine.version`."""
        return self._engine.version

    async def identity(self) -> StoreIdentity:
        """Return which store this is."""

        async def run(c: Connection) -> StoreIdentity:
            found = {row[0]: str(row[1]) for row in await c.fetch("SELECT key, value FROM meta")}
            return StoreIdentity(found["store_id"])

        return await self._engine.read(run)

    async def check(self) -> None:
        """Find out whether the database answers.

        Raises:
            StoreUnavailable.
        """

        async def run(c: Connection) -> None:
            await c.fetch_one("SELECT 1")

        await self._engine.read(run)

    def on_changes(self, listener: Callable[[TenantUid], None]) -> Callable[[], None]:
        """Call `listener` whenever a tenant's log has grown; the result ends it.

        It is told an empty uid when any log may have grown, since announcements of other processes may have been missed.
        """
        return self._engine.listen(journal.CHANGES, lambda payload: listener(TenantUid(payload)))

    def on_tenants(self, listener: Callable[[TenantUid], None]) -> Callable[[], None]:
        """Call `listener` whenever a tenant itself has changed (empty: perhaps any); the result ends it."""
        return self._engine.listen(journal.TENANTS, lambda payload: listener(TenantUid(payload)))

    def on_work(self, listener: Callable[[TenantUid], None]) -> Callable[[], None]:
        """Call `listener` whenever work was marked in a lane (empty: perhaps in any); the result ends it."""
        return self._engine.listen(journal.WORK, lambda payload: listener(TenantUid(payload)))

    async def run(self) -> None:
        """Hear what other processes announce, until cancelled."""
        await self._engine.run()

    async def close(self) -> None:
        """Finish what is under way and close the database."""
        await self._engine.close()
