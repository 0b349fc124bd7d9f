"""A mapped room, and how far its copy can be trusted."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from sidecar.model.ids import Mailbox, RoomId, RoomUid, TenantId, TenantUid
from sidecar.model.problem import Problem
from sidecar.model.tenant import BLOCKING_REASONS
from sidecar.model.window import Window


class RoomState(enum.StrEnum):
    """What stands between a room and normal service."""

    IMPORTING = "importing"
    UP = "up"
    DEGRADED = "degraded"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    NOT_CLOUD_MAILBOX = "not_cloud_mailbox"
    CREDENTIAL_EXPIRED = "credential_expired"


class SyncState(enum.StrEnum):
    """How far a copy can be trusted, from the best to the worst."""

    LIVE = "live"
    POLLING = "polling"
    INITIALIZING = "initializing"
    STALE = "stale"
    BLOCKED = "blocked"


_ROOM_REASONS = {
    "MAILBOX_ACCESS_DENIED": RoomState.DENIED,
    "MAILBOX_NOT_FOUND": RoomState.NOT_FOUND,
    "MAILBOX_NOT_IN_CLOUD": RoomState.NOT_CLOUD_MAILBOX,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A room.

    `horizon` and `fresh_as_of_at` are those of the last complete read, None before the first; everything that Exchange
    held inside the horizon at `fresh_as_of_at` is in the copy. `is_subscribed` means Exchange has promised to call us.
    Three things can stand in the way: `tenant_problem` (the whole tenant is refused), `problem` (this mailbox cannot be
    read) and `subscription_problem` (it can be read, but its changes are not announced). `resyncs` counts the requests
    for a new snapshot that no read has answered yet.
    """

    uid: RoomUid
    tenant_uid: TenantUid
    tenant_id: TenantId
    room_id: RoomId
    mailbox: Mailbox
    object_id: str | None
    display_name: str
    time_zone: str
    capacity: int
    annotations: dict[str, str]
    tenant_problem: Problem | None
    problem: Problem | None
    subscription_problem: Problem | None
    horizon: Window | None
    fresh_as_of_at: datetime | None
    is_subscribed: bool
    drift_count: int
    resyncs: int
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def name(self) -> str:
        """The name callers use."""
        return f"tenants/{self.tenant_id}/rooms/{self.room_id}"

    @property
    def state(self) -> RoomState:
        """What stands between the room and normal service; follows from the facts and is never stored."""
        if self.tenant_problem is not None and self.tenant_problem.reason in BLOCKING_REASONS:
            return RoomState.CREDENTIAL_EXPIRED
        if self.problem is not None and self.problem.reason in _ROOM_REASONS:
            return _ROOM_REASONS[self.problem.reason]
        if self.fresh_as_of_at is None:
            return RoomState.IMPORTING
        return RoomState.UP if self.problem is None and self.subscription_problem is None else RoomState.DEGRADED

    @property
    def problems(self) -> list[Problem]:
        """Everything that stands in the way, the widest first."""
        found = (self.tenant_problem, self.problem, self.subscription_problem)
        return [problem for problem in found if problem is not None]


_BLOCKED = frozenset({RoomState.DENIED, RoomState.NOT_FOUND, RoomState.NOT_CLOUD_MAILBOX, RoomState.CREDENTIAL_EXPIRED})


def sync_state(room: Room, *, now: datetime, stale_after_s: float) -> SyncState:
    """Tell how far a room's copy can be trusted at this moment.

    Args:
        stale_after_s: how long after the last complete read the copy is still vouched for, in seconds.
    """
    if room.state in _BLOCKED:
        return SyncState.BLOCKED
    if room.fresh_as_of_at is None:
        return SyncState.INITIALIZING
    if (now - room.fresh_as_of_at).total_seconds() > stale_after_s:
        return SyncState.STALE
    is_announced = room.is_subscribed and room.subscription_problem is None
    return SyncState.LIVE if is_announced else SyncState.POLLING
