"""Waits for access that was granted: tells such refusals apart, looks after the rooms, and sees when it is over.

Two thousand rooms that each ask on their own would be a storm. So a room that waits asks by itself once an hour only, and in
between the tenant's look asks some of them; as soon as one more can be read, all are asked, twenty a second.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import AccessPending, MailboxDenied
from sidecar.model.ids import TenantUid
from sidecar.model.problem import Problem
from sidecar.model.propagation import may_be_pending, next_look_at
from sidecar.model.room import Room
from sidecar.store.store import Store

log = structlog.get_logger(__name__)

_ASKED_COUNT = 20
_ASKED_ALL_MAX = 10_000
_STEP_S = 0.05
_SOON = timedelta(seconds=5)
"""After a room could be read: others may be read as well a moment later, and one look is for all of them."""


class PropagationWatch:
    """Watches over grants."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def weigh(self, room: Room, refusal: MailboxDenied) -> MailboxDenied:
        """Return what a refusal is told as: one that may be waited for, or itself. What is waited for is looked after."""
        tenant_granted_at = await self._store.propagations.granted_at(room.tenant_uid)
        if tenant_granted_at is None:
            return refusal
        now = self._clock.now()
        granted_at = max(tenant_granted_at, room.mapped_at)
        if not may_be_pending(granted_at, read_at=room.fresh_as_of_at, now=now):
            return refusal
        look_at = next_look_at(granted_at, now=now)
        assert look_at is not None, "the time is not over"
        await self._store.propagations.begin(room.tenant_uid, granted_at, look_at=look_at)
        return AccessPending(refusal.message, details=refusal.details)

    async def note_read(self, room: Room, *, before: Problem) -> None:
        """After a room could be read that had refused us: others may be read as well."""
        log.info("room.access_granted", room_uid=room.uid)
        await self._store.propagations.look_soon(
            room.tenant_uid, look_at=self._clock.now() + _SOON, is_grant=before.reason != AccessPending.reason
        )

    async def look(self, tenant_uid: TenantUid) -> datetime | None:
        """Have rooms that refuse us asked again; return when to look next, None when nothing is waited for any more."""
        standing = await self._store.propagations.standing(tenant_uid)
        if standing is None or standing.started_at is None:
            return None
        next_at = next_look_at(standing.started_at, now=self._clock.now())
        # At the end all are asked, so that those which still refuse us say so.
        is_all = next_at is None or standing.readable_count > standing.seen_count
        asked_count = await self._store.propagations.ask_again(
            tenant_uid,
            count_max=_ASKED_ALL_MAX if is_all else _ASKED_COUNT,
            step_s=_STEP_S,
            readable_count=standing.readable_count,
        )
        log.info(
            "propagation.looked",
            asked_count=asked_count,
            readable_count=standing.readable_count,
            denied_count=standing.denied_count,
        )
        if next_at is None or standing.denied_count == 0:
            await self._store.propagations.end(tenant_uid)
            return None
        return next_at
