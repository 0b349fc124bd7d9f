"""Opens watches, and reads the log by pages: the one door from the API to the tenants' logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import ResumeTokenForeign, ServerDraining, TenantNotFound, WatcherLimit
from sidecar.feed.events import Closing, WatchEvent
from sidecar.feed.gaps import expired, log_epoch
from sidecar.feed.source import LogSource
from sidecar.feed.tenant_watch import watch_standing
from sidecar.feed.tenants import TenantStanding, TenantWatches
from sidecar.feed.watch import Start, Watch
from sidecar.model.change import SnapshotReason
from sidecar.model.cursor import Cursor, decode_cursor, scope_hash
from sidecar.model.ids import RoomId, RoomUid, TenantId, TenantUid
from sidecar.model.room import FreshnessLimits
from sidecar.settings import WatchSettings
from sidecar.store.changes import LogHead
from sidecar.store.store import Store, StoreIdentity
from sidecar.telemetry.metrics import Telemetry

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchScope:
    """What is watched. `room_ids` None: all rooms of the tenant, those mapped later too."""

    tenant_id: TenantId
    room_ids: tuple[RoomId, ...] | None

    @property
    def hash(self) -> bytes:
        """What ties a token to this scope."""
        return scope_hash(self.tenant_id, self.room_ids)


class Feed(LogSource):
    """The tenants' logs, for readers.

    Attributes:
        poll_s: time between looks at watched logs that nothing announced; with announcements it costs nobody anything.
    """

    poll_s = 1.0

    def __init__(
        self,
        *,
        store: Store,
        identity: StoreIdentity,
        settings: WatchSettings,
        limits: FreshnessLimits,
        watches_max: int,
        clock: Clock,
        rng: Random,
        telemetry: Telemetry,
    ) -> None:
        super().__init__(store=store, settings=settings, limits=limits, clock=clock, rng=rng)
        self.tenants = TenantWatches(store=store, limits=limits, clock=clock)
        self._identity = identity
        self._telemetry = telemetry
        self._watches_max = watches_max
        self._watches_count = 0

    async def run(self) -> None:
        """Follow the logs of watched tenants for ever."""
        stop = self.store.on_changes(self.note)
        try:
            await self.tails.run(poll_s=self.poll_s)
        finally:
            stop()

    def drain(self) -> None:
        """End all watches with a closing message, and refuse new ones."""
        self.is_draining = True
        self.tails.ring_all()
        self.tenants.ring_all()

    @property
    def watches_count(self) -> int:
        """How many watches are open."""
        return self._watches_count

    async def watch(
        self, scope: WatchScope, *, resume_token: str, fail_on_gap: bool, heartbeat_s: float
    ) -> AsyncGenerator[WatchEvent, None]:
        """Tell what happens in a scope, from a token on or from a snapshot; ends after a `Closing`.

        Raises:
            ResumeTokenMalformed, ResumeTokenForeign, ResumeTokenExpired, TenantNotFound, RoomNotFound, WatcherLimit,
            ServerDraining; later StoreUnavailable.
        """
        with self._admitted():
            cursor = self.decode(scope, resume_token) if resume_token else None
            tenant_uid, head = await self.head(scope.tenant_id, cursor)
            room_uids = await self._resolve(scope)
            start = self._start(scope, tenant_uid, cursor, head, fail_on_gap=fail_on_gap)
            how = "new" if cursor is None else "resumed" if start.cursor is cursor else "gap"
            self._telemetry.count("watches_begun", 1, how)
            with self.tails.watching(tenant_uid, head):
                watch = Watch(self, tenant_uid, room_uids, start, fail_on_gap=fail_on_gap, heartbeat_s=heartbeat_s)
                async for event in watch.events():
                    yield event

    async def watch_tenant(
        self, tenant_id: TenantId, *, heartbeat_s: float
    ) -> AsyncGenerator[TenantStanding | Closing, None]:
        """Tell where a tenant stands: at once, when that changes, and at every heartbeat; ends after a `Closing`.

        Raises:
            TenantNotFound, WatcherLimit, ServerDraining; later StoreUnavailable.
        """
        with self._admitted():
            tenant = await self.store.tenants.load(tenant_id)
            self._telemetry.count("watches_begun", 1, "new")
            with self.tenants.watching(tenant.uid) as watch:
                async for event in watch_standing(self, watch, heartbeat_s=heartbeat_s):
                    yield event

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """Count a watch while it is open.

        Raises:
            WatcherLimit, ServerDraining: it is not counted.
        """
        if self.is_draining:
            raise ServerDraining("the server is shutting down", retry_after_s=1.0)
        if self._watches_count >= self._watches_max:
            raise WatcherLimit("too many watches are open", details={"watches_max": str(self._watches_max)})
        self._watches_count += 1
        try:
            yield
        finally:
            self._watches_count -= 1

    async def _resolve(self, scope: WatchScope) -> tuple[RoomUid, ...] | None:
        if scope.room_ids is None:
            return None
        return tuple([(await self.store.rooms.load(scope.tenant_id, room_id)).uid for room_id in scope.room_ids])

    def _start(
        self, scope: WatchScope, tenant_uid: TenantUid, cursor: Cursor | None, head: LogHead, *, fail_on_gap: bool
    ) -> Start:
        """Decide where a watch begins: at its token, or with snapshots and why."""
        fresh = self.cursor(scope, tenant_uid, head, done=RoomUid(""))
        if cursor is None:
            return Start(fresh, SnapshotReason.REQUESTED)
        gap = self.gap(cursor, tenant_uid, head)
        if gap is None:
            return Start(cursor, SnapshotReason.REQUESTED)
        if fail_on_gap:
            raise expired(gap)
        return Start(fresh, gap)

    def decode(self, scope: WatchScope, resume_token: str) -> Cursor:
        """Read a token that must belong to a scope.

        Raises:
            ResumeTokenMalformed, ResumeTokenForeign.
        """
        cursor = decode_cursor(resume_token)
        if cursor.scope != scope.hash:
            raise ResumeTokenForeign("the resume token was given out for another tenant or other rooms")
        return cursor

    async def head(self, tenant_id: TenantId, cursor: Cursor | None) -> tuple[TenantUid, LogHead]:
        """Return a tenant's uid and where its log stands, for a reader at `cursor`.

        A reader that comes from this log's future proves that the database went back and nobody noticed; what it holds
        has revisions that are given again. The epoch is renewed on the spot, for all readers.

        Raises:
            TenantNotFound.
        """
        tenant_uid, head = await self.store.changes.tenant_head(tenant_id)
        if cursor is None or not self._is_of_log(cursor, tenant_uid, head) or cursor.revision <= head.revision:
            return tenant_uid, head
        log.error("store.went_back", tenant_uid=tenant_uid, revision=head.revision, known_revision=cursor.revision)
        renewed = await self.store.epochs.renew_lost(tenant_uid, head)
        if renewed is None:
            raise TenantNotFound("the tenant is gone")
        return tenant_uid, renewed

    def gap(self, cursor: Cursor, tenant_uid: TenantUid, head: LogHead) -> SnapshotReason | None:
        """Tell why a cursor cannot be honoured; None when it can."""
        if not self._is_of_log(cursor, tenant_uid, head):
            return SnapshotReason.EPOCH_CHANGED
        return SnapshotReason.TOKEN_EXPIRED if cursor.revision < head.floor else None

    def _is_of_log(self, cursor: Cursor, tenant_uid: TenantUid, head: LogHead) -> bool:
        return (cursor.store_id, cursor.epoch) == (self._identity.store_id, log_epoch(tenant_uid, head))

    def cursor(self, scope: WatchScope, tenant_uid: TenantUid, head: LogHead, *, done: RoomUid | None = None) -> Cursor:
        """Return the position at the end of a tenant's log."""
        return Cursor(
            store_id=self._identity.store_id,
            epoch=log_epoch(tenant_uid, head),
            scope=scope.hash,
            revision=head.revision,
            done=done,
        )
