"""Rooms that are alike in all that their states follow from, so that ten thousand are counted without being loaded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sidecar.model.problem import Problem
from sidecar.model.room import FreshnessLimits, RoomState, SyncState, copy_state, outage_since, room_state


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomGroup:
    """So many rooms; `fresh_as_of_at` is the oldest of theirs.

    `problem_reason` is that of the rooms' own problem, and `outage` that problem itself where it may say since when their
    mailboxes are away. `is_hindered`: a room has some problem of its own.
    """

    tenant_problem: Problem | None
    problem_reason: str | None
    outage: Problem | None
    is_hindered: bool
    is_announced: bool
    is_paused: bool
    fresh_as_of_at: datetime | None
    check_interval_s: int | None
    count: int

    @property
    def state(self) -> RoomState:
        """What stands between these rooms and normal service, as `Room.state` says of one."""
        return room_state(
            is_paused=self.is_paused,
            tenant_reason=None if self.tenant_problem is None else self.tenant_problem.reason,
            room_reason=self.problem_reason,
            is_read=self.fresh_as_of_at is not None,
            is_hindered=self.is_hindered or self.tenant_problem is not None,
        )

    def sync_state(self, *, now: datetime, limits: FreshnessLimits) -> SyncState:
        """Tell how far these rooms' copies can be trusted, as `sync_state` says of one."""
        return copy_state(
            is_paused=self.is_paused,
            is_blocked=self.state.is_blocked,
            is_announced=self.is_announced,
            fresh_as_of_at=self.fresh_as_of_at,
            check_interval_s=self.check_interval_s,
            outage_since_at=outage_since(self.tenant_problem, self.outage),
            now=now,
            limits=limits,
        )
