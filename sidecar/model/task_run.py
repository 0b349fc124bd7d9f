"""Runs of chores that somebody asked for."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sidecar.model.ids import RoomId, TenantId
from sidecar.model.intent import IntentKind, Priority

RUN_LIFE = timedelta(days=1)
"""A run that is not done after this is given up: its lanes are at rest, or nobody drains them."""
PROBLEMS_MAX = 10
EXAMPLES_MAX = 20


class Subject(enum.Enum):
    """What a piece of a chore's work is about."""

    ROOM = "room"
    """Each mapped room."""
    TENANT = "tenant"
    """Each tenant."""
    PLANNED = "planned"
    """Whatever is planned of it for a tenant: it cannot be thought up from outside."""


class RunState(enum.Enum):
    """Where a run stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a chore is to be done for.

    Attributes:
        task: its name.
        tenant_id: None: all tenants that whoever asks may name.
        room_id: of that tenant; None: all rooms, or the chore is not about rooms.
        visible: the tenants that whoever asks may name; None: all there are.
    """

    task: str
    kind: IntentKind
    subject: Subject
    priority: Priority
    tenant_id: TenantId | None
    room_id: RoomId | None
    visible: frozenset[TenantId] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProblem:
    """Why pieces of a run failed. `example` is the name of one of them, "" when it is not there any more."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a run would be about."""

    total_count: int
    left_out_count: int
    examples: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """A run.

    Attributes:
        tenant_id, room_id: see `Aim`.
        total_count: pieces of work; each ends as one of those that were done or failed, or is left when the run is given up.
        changed_count: of those that were done.
        left_out_count: suspended tenants.
        seen_at: when this was so.
    """

    uid: str
    task: str
    tenant_id: TenantId | None
    room_id: RoomId | None
    total_count: int
    done_count: int
    failed_count: int
    changed_count: int
    left_out_count: int
    problems: Sequence[RunProblem]
    started_at: datetime
    ended_at: datetime | None
    seen_at: datetime

    @property
    def remaining_count(self) -> int:
        """How many pieces have not ended."""
        return self.total_count - self.done_count - self.failed_count

    @property
    def state(self) -> RunState:
        """Where it stands."""
        if self.remaining_count:
            return RunState.EXPIRED if self.seen_at >= self.started_at + RUN_LIFE else RunState.RUNNING
        return RunState.FAILED if self.failed_count else RunState.SUCCEEDED

    @property
    def over_at(self) -> datetime | None:
        """When it ended or was given up; None: it is under way."""
        return self.started_at + RUN_LIFE if self.state is RunState.EXPIRED else self.ended_at
